"""Distillation at its simplest: the average of a class."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from scrimp.errors import ImageError


def mean_image(squares: Iterable[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """The average, uint8 (px, px, 3), of images of that shape; they are taken one at a time.

    Raises `ImageError` when there are none.
    """
    total: npt.NDArray[np.float64] | None = None
    count = 0
    for square in squares:
        total = square.astype(np.float64) if total is None else total + square
        count += 1
    if total is None:
        raise ImageError("There is no image to average.")
    return np.rint(total / count).astype(np.uint8)
