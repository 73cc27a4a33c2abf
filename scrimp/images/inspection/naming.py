"""What images and labels are called in an inspection, whatever the task."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from scrimp.images.inspection.kinds import Named
from scrimp.images.kinds import Images


def named(images: Images, row: int) -> Named:
    """The key, split and label of one image: its class, its labels joined by "; ", or its target."""
    label = images.labels[row]
    if images.task == "multilabel":
        text = "; ".join(images.classes[number] for number in np.flatnonzero(label)) or "no label"
    else:
        text = images.classes[label] if images.task == "classify" else f"{label:.9g}"  # all that its 32 bits hold
    return Named(key=images.keys[row], split=images.splits[row], label=text)


def rows_of_class(images: Images, number: int) -> npt.NDArray[np.int64]:
    """The rows of the images that have a class, ascending."""
    return np.flatnonzero(images.labels[:, number] if images.task == "multilabel" else images.labels == number)
