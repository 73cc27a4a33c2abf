"""Labels of every task: how a manifest writes them, what they become, by what they are divided evenly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from scrimp.errors import ImageError
from scrimp.images.kinds import Task

COLUMNS: dict[Task, tuple[str, ...]] = {
    "classify": ("label",),
    "multilabel": ("labels", "label"),
    "regress": ("target", "label"),
}
"""What a manifest may call the column of labels, the first that is there is read."""

SEPARATOR = ";"
_BINS = 10  # parts of the range of targets, of as many images each, that are divided evenly
_LEAST_IN_A_BIN = 10  # images: a part of fewer would leave nothing for val and test
_MOST = float(np.finfo(np.float32).max)


def canonical(text: str, task: Task) -> str:
    """The same text for the same label: several in alphabetical order, a number as Python writes it.

    Raises `ImageError`, whose message goes on after the place, for a target that is not a finite number.
    """
    if task == "multilabel":
        return SEPARATOR.join(sorted({label.strip() for label in text.split(SEPARATOR)} - {""}))
    if task == "classify":
        return text
    try:
        target = float(text)
    except ValueError:
        target = math.nan
    if not abs(target) <= _MOST:
        raise ImageError(f"has the target '{text}', which is not a finite number of 32 bits")
    return repr(target)


def encode(texts: Sequence[str], task: Task) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """Labels as `Images` holds them, one row for each canonical text, and the classes in alphabetical order."""
    if task == "regress":
        return np.array([float(text) for text in texts], dtype=np.float32), ()
    if task == "classify":
        classes = sorted(set(texts))
        number = {name: index for index, name in enumerate(classes)}
        return np.array([number[text] for text in texts], dtype=np.int64), tuple(classes)
    sets = [set(text.split(SEPARATOR)) - {""} for text in texts]
    classes = sorted(set().union(*sets))
    number = {name: index for index, name in enumerate(classes)}
    present = np.zeros((len(sets), len(classes)), dtype=np.uint8)
    for row, labels in enumerate(sets):
        present[row, [number[name] for name in labels]] = 1
    return present, tuple(classes)


def strata(labels: npt.NDArray[Any], task: Task) -> npt.NDArray[np.int64]:
    """A number for each image, (n,): those that share one are divided among the splits in the same proportion.

    classify: the class. multilabel: of an image's labels the one that the fewest images have, because a common label
    falls evenly by itself, while a rare one would miss a split; all images without a label share a number.
    regress: which tenth of the targets, fewer parts where a tenth would be under ten images.
    """
    if task == "classify":
        return labels
    if task == "multilabel":
        rarest_first = np.argsort(labels.sum(axis=0), kind="stable")
        ordered = labels[:, rarest_first]
        rarest: npt.NDArray[np.int64] = np.where(
            ordered.any(axis=1), rarest_first[ordered.argmax(axis=1)], labels.shape[1]
        )
        return rarest
    bins = max(1, min(_BINS, len(labels) // _LEAST_IN_A_BIN))
    borders = np.sort(labels)[np.arange(1, bins) * len(labels) // bins]  # targets themselves: no rounding anywhere
    return np.searchsorted(borders, labels, side="right").astype(np.int64)


def hints(texts: Sequence[str], task: Task) -> list[str]:
    """What a manifest's labels look like, where that is not what they are read as."""
    n = len(texts)
    if task == "multilabel":
        bare = sum(not text for text in texts)
        return [f"{bare:,} of {n:,} images have no label at all."] if bare else []
    several = sum(SEPARATOR in text for text in texts)
    if task == "classify" and several:
        return [f"{several:,} of {n:,} labels hold '{SEPARATOR}': task multilabel would read them as several each."]
    if task == "classify" and all(map(is_finite, texts)) and not all(float(text).is_integer() for text in texts):
        return ["All labels are numbers, and not whole ones: task regress would learn them as such."]
    return []


def is_finite(text: str) -> bool:
    """Whether a text is a number, and neither infinite nor NaN."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
