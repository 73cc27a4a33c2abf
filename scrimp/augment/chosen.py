"""Augmentations that choose others at random for each image: TrivialAugment and RandAugment.

As torchvision has them, but for a pixel here and there; by OpenCV, which takes a fifth of the time on
small images and half of it on large ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from scrimp.augment.batch import Pixels, one_by_one

if TYPE_CHECKING:
    from torch import Generator, Tensor

_STEPS = 30  # from no strength at all to the highest


def trivial(pixels: Tensor, generator: Generator) -> Tensor:
    """One change of random kind and strength for each image (TrivialAugment, Müller & Hutter, arXiv 2103.10158)."""
    import torch

    n = len(pixels)
    kinds, steps, signs = (torch.randint(most, (n,), generator=generator).tolist() for most in (len(KINDS), 31, 2))
    names = list(KINDS)

    def change(image: Pixels, i: int) -> Pixels:
        return changed(image, names[kinds[i]], WIDE, steps[i] / _STEPS, bool(signs[i]))

    return one_by_one(pixels, change)


def rand(pixels: Tensor, generator: Generator, magnitude: float = 9) -> Tensor:
    """Two changes of random kind and the same strength for each image (RandAugment, Cubuk et al., arXiv 1909.13719)."""
    import torch

    n, part = len(pixels), magnitude / _STEPS
    kinds, signs = (torch.randint(most, (n, 2), generator=generator).tolist() for most in (len(KINDS), 2))
    names, tops = list(KINDS), usual(pixels.shape[-1])

    def change(image: Pixels, i: int) -> Pixels:
        for kind, sign in zip(kinds[i], signs[i], strict=True):
            image = changed(image, names[kind], tops, part, bool(sign))
        return image

    return one_by_one(pixels, change)


def changed(image: Pixels, name: str, tops: Mapping[str, float], part: float, negative: bool) -> Pixels:
    """One image (h, w, 3) after the change of that name, at this part of its highest strength."""
    strength = tops.get(name, 0.0) * part
    return KINDS[name](image, -strength if negative and name not in _ONE_WAY else strength)


# ---------------------------------------------------------------- the changes, each of an image and a strength


def _same(image: Pixels, strength: float) -> Pixels:
    return image


def _shear_x(image: Pixels, strength: float) -> Pixels:
    return _warped(image, [[1, strength, 0], [0, 1, 0]])


def _shear_y(image: Pixels, strength: float) -> Pixels:
    return _warped(image, [[1, 0, 0], [strength, 1, 0]])


def _translate_x(image: Pixels, strength: float) -> Pixels:
    return _warped(image, [[1, 0, -int(strength)], [0, 1, 0]])


def _translate_y(image: Pixels, strength: float) -> Pixels:
    return _warped(image, [[1, 0, 0], [0, 1, -int(strength)]])


def _rotate(image: Pixels, strength: float) -> Pixels:
    cosine, sine = np.cos(np.deg2rad(strength)), np.sin(np.deg2rad(strength))
    x, y = (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2
    return _warped(image, [[cosine, -sine, x - cosine * x + sine * y], [sine, cosine, y - sine * x - cosine * y]])


def _brightness(image: Pixels, strength: float) -> Pixels:
    return _looked_up(image, _LEVELS * (1 + strength))


def _contrast(image: Pixels, strength: float) -> Pixels:
    return _looked_up(image, _LEVELS * (1 + strength) - strength * _grey(image).mean())


def _colour(image: Pixels, strength: float) -> Pixels:
    return _apart(image, np.repeat(_grey(image)[..., None], 3, axis=2), strength)


def _sharpness(image: Pixels, strength: float) -> Pixels:
    import cv2

    smooth = image.copy()
    smooth[1:-1, 1:-1] = cv2.filter2D(image, -1, _SMOOTH)[1:-1, 1:-1]
    return _apart(image, smooth, strength)


def _posterise(image: Pixels, strength: float) -> Pixels:
    return image & np.uint8(256 - 2 ** round(strength))


def _solarise(image: Pixels, strength: float) -> Pixels:
    return _looked_up(image, np.where(255 * (1 - strength) <= _LEVELS, 255 - _LEVELS, _LEVELS))


def _autocontrast(image: Pixels, strength: float) -> Pixels:
    least, most = image.min((0, 1)).astype(float), image.max((0, 1)).astype(float)
    spread = np.where(most > least, most - least, 255.0)
    return _looked_up(image, (_LEVELS[:, None] - np.where(most > least, least, 0.0)) * (255 / spread))


def _equalise(image: Pixels, strength: float) -> Pixels:
    tables = np.empty((256, 3))
    for colour in range(3):
        counts = np.bincount(image[..., colour].ravel(), minlength=256)
        step = (counts.sum() - counts[counts.nonzero()[0][-1]]) // 255
        tables[:, colour] = (counts.cumsum() - counts + step // 2) // step if step else _LEVELS
    return _looked_up(image, tables)


KINDS: dict[str, Callable[[Pixels, float], Pixels]] = {
    "same": _same,
    "shear-x": _shear_x,
    "shear-y": _shear_y,
    "translate-x": _translate_x,
    "translate-y": _translate_y,
    "rotate": _rotate,
    "brightness": _brightness,
    "colour": _colour,
    "contrast": _contrast,
    "sharpness": _sharpness,
    "posterise": _posterise,
    "solarise": _solarise,
    "autocontrast": _autocontrast,
    "equalise": _equalise,
}
"""What an image may undergo, by name: functions of it, (h, w, 3), and of a strength."""

_ONE_WAY = {"posterise", "solarise", "autocontrast", "equalise"}
_LEVELS = np.arange(256.0)
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13

WIDE = {"shear-x": 0.99, "shear-y": 0.99, "translate-x": 32.0, "translate-y": 32.0, "rotate": 135.0}
WIDE |= dict.fromkeys(("brightness", "colour", "contrast", "sharpness"), 0.99) | {"posterise": 6.0, "solarise": 1.0}
"""The highest strengths of TrivialAugment: slopes, pixels, degrees, parts, bits taken away, part of white."""


def usual(side: int) -> dict[str, float]:
    """The highest strengths of RandAugment, for images of that side."""
    tops = {"shear-x": 0.3, "shear-y": 0.3, "translate-x": side * 150 / 331, "translate-y": side * 150 / 331}
    tops |= dict.fromkeys(("brightness", "colour", "contrast", "sharpness"), 0.9)
    return tops | {"rotate": 30.0, "posterise": 4.0, "solarise": 1.0}


def _warped(image: Pixels, matrix: list[list[float]]) -> Pixels:
    """Each pixel taken from where the matrix leads, the nearest; black beyond the border."""
    import cv2

    size = image.shape[1], image.shape[0]
    how = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, np.array(matrix, np.float64), size, flags=how)  # type: ignore[return-value]


def _grey(image: Pixels) -> Pixels:
    import cv2

    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)  # type: ignore[return-value]


def _apart(image: Pixels, other: Pixels, strength: float) -> Pixels:
    """Further from the other image, or nearer where the strength is below 0."""
    import cv2

    return cv2.addWeighted(image, 1 + strength, other, -strength, 0)  # type: ignore[return-value]


def _looked_up(image: Pixels, tables: npt.NDArray[np.float64]) -> Pixels:
    """Levels replaced by one table (256,), or by one a colour (256, 3)."""
    import cv2

    whole = np.rint(tables).clip(0, 255).astype(np.uint8)
    return cv2.LUT(image, whole if whole.ndim == 1 else whole[None])  # type: ignore[return-value]
