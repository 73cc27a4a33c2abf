"""Images made worse: blur, noise, JPEG and brightness, each in three strengths, the same on every run."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from scrimp.explaining.kinds import CorruptionKind

Pixels = npt.NDArray[np.uint8]

_DRAWN_FOR = 224  # px: the side that the strengths of blur were chosen for


class Corruption(NamedTuple):
    """One kind of corruption: three strengths, what they are called, and what makes an image worse.

    work: takes pixels uint8 (px, px, 3), a strength, and a number that all chance of this image comes from.
    """

    strengths: tuple[float, float, float]
    words: str
    work: Callable[[Pixels, float, int], Pixels]


def blur(pixels: Pixels, strength: float, number: int) -> Pixels:
    """Gaussian blur; its standard deviation is `strength` pixels in an image of 224, and as much less in a smaller."""
    sigma = strength * len(pixels) / _DRAWN_FOR
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101), dtype=np.uint8)


def noise(pixels: Pixels, strength: float, number: int) -> Pixels:
    """Gaussian noise of every pixel and colour on its own; its standard deviation is `strength` of white."""
    drawn = np.random.default_rng(number).normal(0, 255 * strength, pixels.shape)
    return np.clip(np.rint(pixels + drawn), 0, 255).astype(np.uint8)


def jpeg(pixels: Pixels, strength: float, number: int) -> Pixels:
    """Saved as a JPEG of this quality, with half the colour resolution as usual, and opened again."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=int(strength))
    with Image.open(file) as opened:
        return np.asarray(opened, dtype=np.uint8)


def brightness(pixels: Pixels, strength: float, number: int) -> Pixels:
    """Every pixel brighter by this part of white, its hue and saturation kept (value of HSV)."""
    colours = cv2.cvtColor((pixels / 255).astype(np.float32), cv2.COLOR_RGB2HSV)
    colours[..., 2] = np.minimum(colours[..., 2] + strength, 1)
    return np.rint(cv2.cvtColor(colours, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8)


CORRUPTIONS: dict[CorruptionKind, Corruption] = {
    "blur": Corruption((1, 3, 6), "{:g} px of 224", blur),
    "noise": Corruption((0.08, 0.18, 0.38), "{:.0%} of white", noise),
    "JPEG": Corruption((25, 15, 7), "quality {:g}", jpeg),
    "brightness": Corruption((0.1, 0.3, 0.5), "+{:.0%} of white", brightness),
}
"""Kinds by name. The strengths are the first, third and fifth of ImageNet-C's.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness" (arXiv 1903.12261).
"""
