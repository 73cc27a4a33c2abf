"""Recipes that proved themselves, as plain functions: each gives a `Recipe`, and what is passed on top wins."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any

from scrimp.errors import UnknownName
from scrimp.training.recipe import Recipe


def plain(model: str, **changes: Any) -> Recipe:
    """What everybody does first: Adam at 1e-4, batches of 32, 10 epochs, all layers, no augmentation.

    Measured (mobilenet_v2, 10 breeds of Stanford Dogs cut to their boxes, written directly on torchvision, two cores,
    n = 3): 86.7 ± 1.6 % on test, 502 s; benchmarks/results/time_to_accuracy.json.
    """
    return _made(
        changes,
        model=model,
        epochs=10,
        batch_size=32,
        optimiser="adam",
        lr=1e-4,
        weight_decay=0.0,
        schedule="constant",
        augment="none",
    )


def quick(model: str, **changes: Any) -> Recipe:
    """A pretrained backbone as it is, and the best head for it: one forward pass per image."""
    return _made(changes, model=model, epochs=0, freeze="backbone", head_first="logistic")


def frugal(model: str, **changes: Any) -> Recipe:
    """The most accuracy per second from pretrained weights: the best head first, then a short fine-tuning of all.

    Measured (as `plain`): its head alone, with no epoch after it, reaches 92.5 % on test in 15 to 16 s, start of
    Python and reading included; benchmarks/results/time_to_accuracy.json.
    """
    return _made(
        changes,
        model=model,
        epochs=2,
        head_first="logistic",
        norm_stats="keep",
        lr=2e-4,
        px_start=0.75,
        average="ema",
    )


def thorough(model: str, **changes: Any) -> Recipe:
    """As `frugal` with the time to learn from crops: longer, augmented, averaged.

    Measured (as `plain`, n = 2): nothing over the head that it starts from, 92.5 % on test, in 206 s;
    benchmarks/results/presets.json. What it makes of more images is not measured.
    """
    return _made(
        changes,
        model=model,
        epochs=20,
        head_first="logistic",
        norm_stats="keep",
        lr=2e-4,
        augment="crop,mirror",
        mix="cutmix",
        label_smoothing=0.1,
        average="ema",
    )


def from_scratch_small(model: str = "fast_cnn", **changes: Any) -> Recipe:
    """Small images and nothing pretrained: Muon, smoothed labels, images that grow, mirror images asked as well.

    Measured (CIFAR-10, two cores, n = 3): 93.97 ± 0.14 % on test in 15.7 min, everything counted;
    benchmarks/results/cifar10_94.json.
    """
    return _made(
        changes,
        model=model,
        pretrained=False,
        epochs=22,
        batch_size=512,
        optimiser="muon",
        lr=0.02,
        weight_decay=0.5,
        schedule="linear",
        warmup=0.05,
        label_smoothing=0.2,
        augment="basic,cutout:0.25",
        px_start=0.75,
        flip_test=True,
    )


def few_images(model: str = "fast_cnn", **changes: Any) -> Recipe:
    """A thousand small images and nothing pretrained: long, strongly augmented, averaged, the last epoch kept.

    Measured (1,000 training images of CIFAR-10, n = 3, 12 to 14 min each on a busy machine of two cores), on test: by
    chance 74.3 ± 1.2 %, chosen by `el2n` 77.5 ± 0.5 %; benchmarks/results/cifar10_mini.json.
    """
    return _made(
        changes,
        model=model,
        pretrained=False,
        epochs=200,
        batch_size=128,
        optimiser="muon",
        lr=0.02,
        weight_decay=0.5,
        schedule="linear",
        warmup=0.05,
        augment="basic,trivial",
        label_smoothing=0.1,
        average="ema",
        keep="last",
        flip_test=True,
    )


def imagenet_resnet50(**changes: Any) -> Recipe:
    """ResNet-50 on ImageNet in 16 epochs, 128 to 192 px: prepare at 256 px, whole; after FFCV's and MosaicML's recipes.

    Not measured by us: 70 % top-1 and more is what these report for 16 epochs.
    """
    return _made(
        changes,
        model="resnet50",
        pretrained=False,
        epochs=16,
        batch_size=1024,
        optimiser="sgd",
        lr=2.0,
        weight_decay=5e-5,
        schedule="one-cycle",
        label_smoothing=0.1,
        augment="crop,mirror",
        px_start=0.5,
        px_end=0.75,
        average="ema",
        ema_decay=0.999,
    )


RECIPES: dict[str, Callable[..., Recipe]] = {
    "plain": plain,
    "quick": quick,
    "frugal": frugal,
    "thorough": thorough,
    "from_scratch_small": from_scratch_small,
    "few_images": few_images,
    "imagenet_resnet50": imagenet_resnet50,
}
"""Every preset by name, as `--recipe` takes it."""


def settings_of(name: str) -> dict[str, Any]:
    """What a preset sets, the model too where the preset has one of its own. Raises `UnknownName`."""
    if name not in RECIPES:
        raise UnknownName("recipe", name, RECIPES)
    model = signature(RECIPES[name]).parameters.get("model")
    wants_model = model is not None and model.default is Parameter.empty
    settings = RECIPES[name](**({"model": "simple_cnn"} if wants_model else {})).model_dump(exclude_unset=True)
    return {key: value for key, value in settings.items() if not (wants_model and key == "model")}


def _made(changes: dict[str, Any], **settings: Any) -> Recipe:
    return Recipe(**{**settings, **changes})
