"""What a fit may try: which models, at which sizes, trained how."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scrimp.images.kinds import Task
from scrimp.models import MODELS
from scrimp.training import Recipe

SMALL_PX = 64
"""Images whose short side is at most this are learnt from scratch: weights trained on photos start too coarse."""
FROM_SCRATCH = ("fast_cnn", "ultralight", "vgg8", "resnet18", "simple_cnn")
PRETRAINED = (
    "mobilenet_v3_small",
    "mobilenet_v2",
    "shufflenet_v2_x1_0",
    "mobilenetv4_conv_small",
    "squeezenet1_0",
    "resnet18",
    "efficientnet_b0",
    "tiny_vit_5m",
)
PHOTO_SIZES = (160, 224, 128)
"""Sides in pixels; every model is looked at in the first, the best of them in the others too."""

_ENDLESS = 100_000  # epochs: the clock ends the training


def has_weights(model: str) -> bool:
    """Whether there are any to start from; a model of timm's is taken to have some."""
    return MODELS[model].weights is not None if model in MODELS else True


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to go. lr_times: over the learning rate that is usual for such a model."""

    model: str
    px: int
    pretrained: bool
    lr_times: float = 1.0

    @property
    def name(self) -> str:
        """As the story tells it."""
        times = f", lr x {self.lr_times:g}" if self.lr_times != 1 else ""
        return f"{self.model} @ {self.px} px{times}"

    def at(self, px: int) -> Candidate:
        """The same at another size."""
        return replace(self, px=px)


def recipe_for(candidate: Candidate, train_images: int, *, seed: int, task: Task = "classify") -> Recipe:
    """What fit trains a candidate with: gentle for weights that know photos already, bold for those that do not."""
    smoothing = 0.1 if task == "classify" else 0.0
    if candidate.pretrained:
        card = MODELS.get(candidate.model)
        px_start = 0.75 if card is None or card.min_px <= 0.75 * candidate.px else 1.0
        return Recipe(
            model=candidate.model,
            epochs=_ENDLESS,
            norm_stats="keep",
            lr=2e-4 * candidate.lr_times,
            weight_decay=0.05,
            label_smoothing=smoothing,
            px_start=px_start,
            average="ema",
            seed=seed,
        )
    if candidate.model == "fast_cnn":
        return Recipe(
            model=candidate.model,
            pretrained=False,
            epochs=_ENDLESS,
            batch_size=min(512, max(64, train_images // 40)),
            optimiser="muon",
            lr=0.02 * candidate.lr_times,
            weight_decay=0.5,
            schedule="linear",
            warmup=0.05,
            label_smoothing=2 * smoothing,
            average="ema",
            seed=seed,
        )
    return Recipe(
        model=candidate.model,
        pretrained=False,
        epochs=_ENDLESS,
        batch_size=32 if train_images < 2000 else 64,
        lr=3e-3 * candidate.lr_times,
        weight_decay=0.05,
        label_smoothing=smoothing,
        seed=seed,
    )
