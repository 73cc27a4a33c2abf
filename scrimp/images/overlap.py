"""Data sets that share images with ImageNet, on which most published weights were learnt."""

from __future__ import annotations

import re
from collections.abc import Sequence

FROM_IMAGENET: dict[str, str] = {
    "cinic10": "a part of CINIC-10 is scaled down from ImageNet",
    "cub200": "the authors of CUB-200 warn that its images overlap with ImageNet's",
    "ilsvrc2012": "this is ImageNet itself",
    "imagenet1k": "this is ImageNet itself",
    "imagenette": "Imagenette is a part of ImageNet",
    "imagewang": "Imagewang is a part of ImageNet",
    "imagewoof": "Imagewoof is a part of ImageNet",
    "miniimagenet": "miniImageNet is a part of ImageNet",
    "stanforddogs": "Stanford Dogs is made of ImageNet's images",
    "stl10": "STL-10 is made of ImageNet's images",
    "tieredimagenet": "tieredImageNet is a part of ImageNet",
    "tinyimagenet": "Tiny ImageNet is scaled down from ImageNet",
}
"""What its authors say of each data set, by its name in small letters and digits; only what is sure stands here."""

_WNID = re.compile(r"n\d{8}(?!\d)")  # ImageNet's names for its classes: n01440764, n02086240-Shih-Tzu


def overlap_with_imagenet(source: str, classes: Sequence[str]) -> str | None:
    """A sentence on why pretrained test accuracy is flattered on these images, or None where nothing is known.

    Goes by the name of the source, its last two folders, and by class names that are ImageNet's own. None is no
    promise: photos from the web may be in ImageNet as well.
    """
    why = _by_name(source) or _by_classes(classes)
    if why is None:
        return None
    return (
        f"Overlap with ImageNet: {why}, so weights pretrained there have seen some or all of these test images, and "
        "test accuracy is flattered; from scratch it is not."
    )


def _by_name(source: str) -> str | None:
    for part in reversed(re.split(r"[/\\]+", source.rstrip("/\\"))[-2:]):
        plain = re.sub(r"[^a-z0-9]", "", part.lower())
        if plain == "imagenet":
            return "this is ImageNet itself"
        for name, why in FROM_IMAGENET.items():
            if plain.startswith(name):
                return why
    return None


def _by_classes(classes: Sequence[str]) -> str | None:
    named = [name for name in classes if _WNID.match(name)]
    if len(named) < max(2, len(classes) / 2):
        return None
    return f"{len(named):,} of {len(classes):,} classes bear ImageNet's own names ('{named[0]}')"
