"""From an image of any size to what is stored of it, and to the square that a model sees."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

WIDEST = 4
"""Long side of what is stored over its short side, at most: no crop of a training batch reaches much further."""


def square(image: Image.Image, px: int) -> Pixels:
    """The middle square of an RGB image at (px, px, 3), antialiased."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return _resized(image, (left, top, left + side, top + side), (px, px))


def whole(image: Image.Image, px: int) -> tuple[Pixels, bool]:
    """The image with its short side at `px`, antialiased; and whether it was cut to `WIDEST`.

    What `square` would give lies in its middle, pixel by pixel; at both ends less than a pixel is cut off.
    """
    middle = square(image, px)
    lying = image.width >= image.height
    long, side = (image.width, image.height) if lying else (image.height, image.width)
    fits = int((long - side) / 2 * px / side)
    strip = min(fits, (WIDEST - 1) * px // 2)
    if not strip:
        return middle, False
    start, width = (long - side) / 2, strip * side / px
    ends = [(max(0.0, start - width), start), (start + side, min(float(long), start + side + width))]
    if lying:
        left, right = (_resized(image, (low, 0, high, side), (strip, px)) for low, high in ends)
        return np.hstack([left, middle, right]), strip < fits
    above, below = (_resized(image, (0, low, side, high), (px, strip)) for low, high in ends)
    return np.vstack([above, middle, below]), strip < fits


def middle_square(pixels: Pixels, px: int) -> Pixels:
    """`square` of pixels (h, w, 3), cut out without resizing where they are of that size already."""
    height, width = pixels.shape[:2]
    top, left = divmod(height - px, 2), divmod(width - px, 2)
    if min(height, width) == px and not top[1] and not left[1]:
        return pixels[top[0] : top[0] + px, left[0] : left[0] + px]
    return square(Image.fromarray(pixels), px)


def _resized(image: Image.Image, box: tuple[float, float, float, float], size: tuple[int, int]) -> Pixels:
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=2.0), dtype=np.uint8)
