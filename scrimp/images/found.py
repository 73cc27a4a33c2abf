"""What a reader hands over: labelled images before classes are dropped and splits are cut."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from scrimp.images.boxes import Box
from scrimp.images.kinds import LeftOut, Split

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm")

SPLIT_WORDS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""What folders and manifests call the splits, in any case."""


@dataclass
class Found:
    """Labelled images as a reader found them: lists of the same length, one entry an image.

    An image with several boxes is several entries with the same key, in the order of its boxes.
    stamps: size and modification time of files, which stand for their content; empty for arrays.
    given: the split that came with the data, or "" where none did. boxes: None for a whole image.
    divided: the given splits are final, as Scrimp cut them before: no more are cut off.
    """

    items: list[str | npt.NDArray[np.uint8]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    given: list[Split | Literal[""]] = field(default_factory=list)
    stamps: list[str] = field(default_factory=list)
    boxes: list[Box | None] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    mirror_ok: bool = True
    divided: bool = False

    def add(
        self,
        item: str | npt.NDArray[np.uint8],
        key: str,
        label: str,
        given: Split | Literal[""] = "",
        stamp: str = "",
        box: Box | None = None,
    ) -> None:
        """One more image."""
        self.items.append(item)
        self.keys.append(key)
        self.labels.append(label)
        self.given.append(given)
        self.stamps.append(stamp)
        self.boxes.append(box)
