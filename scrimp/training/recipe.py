"""How a model is to be trained."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from scrimp.augment import augmentations
from scrimp.errors import SettingError, UnknownName
from scrimp.models import MODELS
from scrimp.settings import Settings


class Recipe(Settings):
    """Everything that decides how a model is trained; the defaults are a fair start for any model."""

    model: str
    """A name from `scrimp models`, or "timm:NAME"."""
    pretrained: bool = True
    """Start from ImageNet weights where the model has any; False starts from random numbers."""
    weights: str | None = None
    """A file of weights (.safetensors, .pth) to start from instead of the published ones."""
    epochs: int = Field(default=12, ge=1)
    """Times that every training image is seen."""
    max_seconds: float | None = Field(default=None, gt=0)
    """Training ends after this many seconds, its validation included; the schedule is fitted to end there."""
    batch_size: int = Field(default=32, ge=1)
    """Images per step; small batches learn more per image, large ones use the hardware better."""
    optimiser: Literal["sgd", "adam", "adamw"] = "adamw"
    """SGD uses Nesterov momentum 0.9; AdamW forgives a badly chosen learning rate."""
    lr: float = Field(default=1e-3, gt=0, le=100)
    """Learning rate at its highest."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Per step and unit of learning rate; not applied to biases and norms."""
    schedule: Literal["constant", "cosine", "one-cycle"] = "one-cycle"
    """One-cycle rises for the first quarter and falls to zero: no tuning of when to decay."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Part of the target, 0 to 1, that is spread over all classes."""
    augment: str = "basic"
    """Names from the table of augmentations, joined by commas; or "none"; "basic" shifts, and mirrors if allowed."""
    freeze: Literal["none", "backbone"] = "none"
    """What does not learn; "backbone" trains the head alone: far cheaper, a little less accurate."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after this many epochs without a better validation loss; never by default."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """"auto" takes the fastest that this hardware truly has."""
    seed: int = Field(default=0, ge=0)
    """Decides initial weights, order and augmentation."""

    @field_validator("model")
    @classmethod
    def _model_is_known(cls, model: str) -> str:
        if model not in MODELS and not model.startswith("timm:"):
            raise UnknownName("model", model, MODELS, f"'scrimp models' lists all {len(MODELS)}.")
        return model

    @field_validator("augment")
    @classmethod
    def _augmentations_are_known(cls, augment: str) -> str:
        augmentations(augment)
        return augment

    @model_validator(mode="after")
    def _weights_are_wanted(self) -> Self:
        if self.weights is not None and not self.pretrained:
            raise SettingError(
                f"weights='{self.weights}' and pretrained=False contradict each other: drop one of them."
            )
        return self
