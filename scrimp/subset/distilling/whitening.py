"""The space images are learned in: colours and frequencies that vary alike, lest a few of them take all the steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_FLOOR = 0.1  # added to each variance, which is 1 on average: what hardly varies is noise


@dataclass(frozen=True)
class Space:
    """Standardised colours, whitened frequency by frequency, with the way back.

    Photographs look alike wherever they are cut, so that cosines (the DCT of JPEG) diagonalise their covariance but for
    the three colours. This is the ZCA whitening of the papers at 9 * px ** 2 numbers and px ** 3 operations an image,
    where whole ZCA takes 9 * px ** 4 of both.
    """

    mean: Tensor
    deviation: Tensor
    """Of each colour, from 0 to 1: (3, 1, 1)."""
    forth: Tensor | None = None
    back: Tensor | None = None
    """A matrix of the colours for each pair of frequencies, (px, px, 3, 3); None without whitening."""

    def on(self, device: torch.device) -> Space:
        """The same on another device."""
        forth, back = (None if matrix is None else matrix.to(device) for matrix in (self.forth, self.back))
        return Space(self.mean.to(device), self.deviation.to(device), forth, back)

    def of(self, pixels: Tensor) -> Tensor:
        """float32 (n, 3, px, px), of variance about 1, on the device of the space, from uint8 of that shape."""
        standard = (pixels.to(self.mean.device).float() / 255 - self.mean) / self.deviation
        return _filtered(standard, self.forth)

    def pixels(self, images: Tensor) -> Tensor:
        """The way back: float32 (n, 3, px, px), where 0 is black and 1 is white, though they may lie outside."""
        natural: Tensor = _filtered(images, self.back) * self.deviation + self.mean
        return natural


def fit_space(pixels: Tensor, *, whitened: bool) -> Space:
    """The space of squares, uint8 (n, 3, px, px); without whitening, colours are standardised alone.

    Cost: memory for one float of each number, and `n * 3 * px ** 3` operations.
    """
    few = pixels.float() / 255
    mean, deviation = few.mean((0, 2, 3)).view(3, 1, 1), few.std((0, 2, 3)).clamp_min(1e-3).view(3, 1, 1)
    if not whitened:
        return Space(mean, deviation)
    cosines = _cosines(few.shape[-1])
    waves = (cosines @ ((few - mean) / deviation) @ cosines.T).permute(2, 3, 1, 0)
    covariance = waves @ waves.mT / len(few)
    values, vectors = torch.linalg.eigh(covariance.double())
    scale = (values.clamp_min(0) + _FLOOR).sqrt()

    def matrix(factors: Tensor) -> Tensor:
        made: Tensor = (vectors * factors[..., None, :]) @ vectors.mT
        return made.float()

    return Space(mean, deviation, matrix(1 / scale), matrix(scale))


def _filtered(images: Tensor, matrices: Tensor | None) -> Tensor:
    if matrices is None:
        return images
    cosines = _cosines(images.shape[-1]).to(images.device)
    waves = (cosines @ images @ cosines.T).permute(2, 3, 1, 0)  # (px, px, 3, n)
    filtered: Tensor = cosines.T @ (matrices @ waves).permute(3, 2, 0, 1) @ cosines
    return filtered


def _cosines(px: int) -> Tensor:
    """The orthonormal DCT-II, (px, px): a wave a row."""
    places = torch.arange(px, dtype=torch.float64)
    waves: Tensor = torch.cos(torch.pi / px * places[:, None] * (places + 0.5)) * (2 / px) ** 0.5
    waves[0] /= 2**0.5
    return waves.float()
