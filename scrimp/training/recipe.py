"""How a model is to be trained."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from scrimp.augment import augmentations
from scrimp.errors import SettingError, UnknownName
from scrimp.models import MODELS, Shape
from scrimp.models.table import USUAL_SHAPE, has_one_shape
from scrimp.settings import Settings


class Recipe(Settings):
    """Everything that decides how a model is trained; the defaults are a fair start for any model."""

    # What is trained, and for how long
    model: str
    """A name from `scrimp models`, or "timm:NAME"."""
    pretrained: bool = True
    """Start from ImageNet weights where the model has any; False starts from random numbers."""
    weights: str | None = None
    """A file of weights (.safetensors, .pth) to start from instead of the published ones."""
    width: float = Field(default=1.0, gt=0, le=8)
    """Factor on the channels of every layer, in models whose shape can be chosen (ultralight)."""
    depth: int = Field(default=1, ge=1, le=16)
    """How often each residual block is there, in these models."""
    batch_norm: bool = True
    """False builds these models without batch norm."""
    epochs: int = Field(default=12, ge=0)
    """Times that every training image is seen; 0 with `head_first` keeps the solved head as it is."""
    max_seconds: float | None = Field(default=None, gt=0)
    """Training ends after this many seconds, its validation included; the schedule is fitted to end there."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after this many epochs without a better validation loss; never by default."""
    min_delta: float = Field(default=0.0, ge=0)
    """By how much validation loss must fall to count as better."""
    seed: int = Field(default=0, ge=0)
    """Decides initial weights, order and augmentation."""

    # How each step learns
    batch_size: int = Field(default=32, ge=1)
    """Images per step; small batches learn more per image, large ones use the hardware better."""
    accumulate: int = Field(default=1, ge=1)
    """Parts that each batch is cut into to save memory; their gradients are added up (batch norm sees the parts)."""
    optimiser: Literal["sgd", "adam", "adamw", "muon", "schedule-free"] = "adamw"
    """SGD uses Nesterov momentum; AdamW forgives a badly chosen learning rate; Muon learns most per image from scratch;
    schedule-free AdamW needs no end to be known."""
    lr: float | Literal["auto"] = 1e-3
    """Learning rate at its highest; "auto" finds one first, in under 100 steps."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of SGD and Muon; Adam and its kin call it beta1."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Per step and unit of learning rate; not applied to biases and norms."""
    schedule: Literal["constant", "linear", "cosine", "one-cycle"] = "one-cycle"
    """One-cycle rises for the first quarter and falls to zero, momentum the other way round."""
    warmup: float = Field(default=0.0, ge=0, lt=1)
    """Part of the run in which the learning rate rises from zero; one-cycle has a rise of its own."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Learning rate of a layer over that of the layer above it: below 1, what is pretrained changes less."""
    sam: float = Field(default=0.0, ge=0)
    """Radius of sharpness-aware minimisation, such as 0.05: flatter minima for twice the time; 0 is without."""

    # What it learns from
    augment: str = "basic"
    """Names from the table of augmentations, joined by commas, with a strength after a colon: "mirror,noise:0.1"; or
    "none"; "basic" shifts, and mirrors if allowed."""
    mix: Literal["none", "mixup", "cutmix", "both"] = "none"
    """Blends images of a batch, or pastes a part of one into another, and their labels alike."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Part of the target, 0 to 1, that is spread over all classes."""
    teacher: str | None = None
    """Folder of a run whose model's answers are learnt from beside the labels."""
    teacher_weight: float = Field(default=0.5, gt=0, le=1)
    """Part of the loss that is the teacher's."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Part of the features that is dropped before the head; by default what the model has."""
    drop_path: float | None = Field(default=None, ge=0, lt=1)
    """Chance that the deepest residual is dropped (stochastic depth), in models that have such; by default what the
    model has, and 0 drops none."""

    # Doing less
    freeze: Literal["none", "backbone"] = "none"
    """What does not learn; "backbone" trains the head alone: far cheaper, a little less accurate."""
    thaw_at: float | None = Field(default=None, gt=0, lt=1)
    """Part of the run after which a frozen backbone learns too."""
    norm_stats: Literal["learn", "keep"] = "learn"
    """"keep": batch norm goes on with its pretrained statistics, so that what a solved head relies on stays true."""
    head_first: Literal["none", "logistic", "ridge"] = "none"
    """Solve for the best head on frozen features first, and go on from there: one forward pass per image."""
    head_views: int = Field(default=1, ge=1)
    """Times that each training image is looked at for that: as it is evaluated, then changed as `augment` says."""
    px_start: float = Field(default=1.0, gt=0, le=1)
    """Side of the first training images over `image_px`: small images early cost less."""
    px_end: float = Field(default=1.0, gt=0, le=1)
    """Side of the last training images over `image_px`, which is what they are evaluated at."""
    skip_easy: float = Field(default=0.0, ge=0, lt=1)
    """Chance that an image of less than average loss is left out of an epoch (InfoBatch); the others count more."""

    # Which weights are kept
    keep: Literal["best", "last"] = "best"
    """"best" on val of all epochs; or the "last", which is better where val is too small to choose by."""
    average: Literal["none", "ema", "swa"] = "none"
    """Validates and keeps an average of the weights: exponential, or the plain mean of the last quarter of the run."""
    ema_decay: float = Field(default=0.99, gt=0, lt=1)
    """Part of the exponential average that stays at each step; it rises to that within the first steps."""
    bn_reestimate: bool = False
    """Estimate batch norm's statistics again before each validation, for the weights that are validated."""
    flip_test: bool = False
    """The model answers with the mean over an image and its mirror image: for ever, at twice the time."""

    # How the machine is used; results differ by rounding alone
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """"auto" takes the fastest that this hardware truly has."""
    channels_last: bool = True
    """Colours of a pixel side by side in memory: what fast convolutions want."""
    keep_memory: bool = True
    """Tell the allocator to keep what is freed, on Linux: up to twice the speed on a CPU."""
    fused: bool = True
    """The optimiser updates all weights in one go, where PyTorch can."""
    compile: Literal["never", "auto", "always"] = "never"
    """torch.compile; "auto" does so where the run is long enough to win back its warm-up."""

    @property
    def shape(self) -> Shape:
        """The shape that its model is built in."""
        return Shape(self.width, self.depth, self.batch_norm)

    @field_validator("model")
    @classmethod
    def _model_is_known(cls, model: str) -> str:
        if model not in MODELS and not model.startswith("timm:"):
            raise UnknownName("model", model, MODELS, f"'scrimp models' lists all {len(MODELS)}.")
        return model

    @field_validator("lr", mode="before")
    @classmethod
    def _lr_is_possible(cls, lr: Any) -> Any:
        if lr != "auto" and not (isinstance(lr, int | float) and 0 < lr <= 100):
            raise SettingError(f"Recipe.lr: a number above 0 and at most 100 is wanted, or 'auto', not {lr!r}.")
        return lr

    @field_validator("augment")
    @classmethod
    def _augmentations_are_known(cls, augment: str) -> str:
        augmentations(augment)
        return augment

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.weights is not None and not self.pretrained:
            raise SettingError(
                f"weights='{self.weights}' and pretrained=False contradict each other: drop one of them."
            )
        if self.norm_stats == "keep" and not self.pretrained:
            raise SettingError("norm_stats='keep' with pretrained=False: random weights have no statistics to keep.")
        card = MODELS.get(self.model)
        if self.shape != USUAL_SHAPE and not (card and card.shapes):
            raise SettingError(has_one_shape(self.model, self.shape))
        if self.thaw_at is not None and self.freeze == "none":
            raise SettingError(f"thaw_at={self.thaw_at} thaws what freeze='none' never froze: set freeze='backbone'.")
        if self.px_start > self.px_end:
            raise SettingError(f"px_start={self.px_start} is above px_end={self.px_end}: images grow, never shrink.")
        if self.optimiser == "schedule-free" and self.schedule != "constant":
            raise SettingError(
                f"optimiser='schedule-free' stands in for a schedule, so schedule='{self.schedule}' contradicts it: "
                "take schedule='constant', with or without warmup."
            )
        if self.optimiser == "schedule-free" and not self.momentum:
            raise SettingError("optimiser='schedule-free' averages by its momentum, and momentum=0 is none: take 0.9.")
        if self.optimiser == "schedule-free" and self.thaw_at is not None:
            raise SettingError(
                f"optimiser='schedule-free' cannot take weights in later, at thaw_at={self.thaw_at}: take adamw."
            )
        if self.optimiser == "schedule-free" and self.average != "none":
            raise SettingError(
                f"optimiser='schedule-free' averages the weights itself, and average='{self.average}' would average "
                "those that it does not mean to be used: leave it at 'none'."
            )
        if self.bn_reestimate and (self.norm_stats == "keep" or (self.freeze == "backbone" and self.thaw_at is None)):
            kept = "norm_stats='keep'" if self.norm_stats == "keep" else "freeze='backbone'"
            raise SettingError(f"bn_reestimate=true replaces the statistics that {kept} keeps: drop one of them.")
        if self.skip_easy and self.mix != "none":
            raise SettingError(
                f"skip_easy={self.skip_easy} goes by the loss of each image, and mix='{self.mix}' makes images of two."
            )
        if self.warmup and self.schedule == "one-cycle":
            raise SettingError(f"warmup={self.warmup}: schedule='one-cycle' has a rise of its own; leave it at 0.")
        if not self.epochs and self.head_first == "none":
            raise SettingError("epochs=0 trains nothing: raise it, or solve for a head with head_first='logistic'.")
        if self.head_views > 1 and self.head_first == "none":
            raise SettingError(f"head_views={self.head_views} is for a head that is solved: set head_first='logistic'.")
        if self.head_views > 1 and not augmentations(self.augment):
            raise SettingError(
                f"head_views={self.head_views} with augment='{self.augment}': the views would be alike. Augment, or "
                "leave it at 1."
            )
        if self.accumulate > self.batch_size:
            raise SettingError(f"accumulate={self.accumulate} cuts a batch of {self.batch_size} into nothing.")
        return self
