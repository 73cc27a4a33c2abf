"""What images and labels are called in an inspection, whatever the task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from scrimp.images.inspection.kinds import Named
from scrimp.images.kinds import Images, LeftOut


def named(images: Images, row: int) -> Named:
    """The key, split and label of one image: its class, its labels joined by "; ", or its target."""
    label = images.labels[row]
    if images.task == "multilabel":
        text = "; ".join(images.classes[number] for number in np.flatnonzero(label)) or "no label"
    else:
        text = images.classes[label] if images.task == "classify" else f"{label:g}"
    return Named(key=images.keys[row], split=images.splits[row], label=text)


def with_printable_names(images: Images) -> Images:
    """The same images, but what is no valid text in their names, as file systems allow it, is written as \\udcff.

    Neither JSON nor a page can hold such names; the files themselves are still found.
    """
    return replace(
        images,
        keys=tuple(map(printable, images.keys)),
        classes=tuple(map(printable, images.classes)),
        left_out=tuple(LeftOut(printable(key), printable(reason)) for key, reason in images.left_out),
        notes=tuple(map(printable, images.notes)),
    )


def printable(text: str) -> str:
    """The text, with what is no valid text in it written as an escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def rows_of_class(images: Images, number: int) -> npt.NDArray[np.int64]:
    """The rows of the images that have a class, ascending."""
    return np.flatnonzero(images.labels[:, number] if images.task == "multilabel" else images.labels == number)
