"""Differentiable siamese augmentation: one change at a time, the same for real and for learned images where wanted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample

Change = Callable[[Tensor, Tensor], Tensor]


def _colour(images: Tensor, draws: Tensor) -> Tensor:
    """Brighter by up to half a deviation, saturation from 0 to 2, contrast from 0.5 to 1.5."""
    brightness, saturation, contrast = (draws[:, at].view(-1, 1, 1, 1) for at in range(3))
    images = images + (brightness - 0.5)
    grey = images.mean(1, keepdim=True)
    images = (images - grey) * (2 * saturation) + grey
    mean = images.mean((1, 2, 3), keepdim=True)
    return (images - mean) * (contrast + 0.5) + mean


def _crop(images: Tensor, draws: Tensor) -> Tensor:
    """Moved by up to an eighth of the side, black beyond the edge."""
    shift = torch.round((draws[:, :2] * 2 - 1) * images.shape[-1] / 8) * 2 / images.shape[-1]
    return _warped(images, torch.eye(2, device=images.device).expand(len(images), 2, 2), shift)


def _cutout(images: Tensor, draws: Tensor) -> Tensor:
    """A square of half the side is emptied, wherever its centre falls."""
    px = images.shape[-1]
    centre = (draws[:, :2] * px).floor()
    near = ((torch.arange(px, device=images.device) - centre[..., None]).add(0.5).abs() < px / 4).to(images.dtype)
    return images * (1 - near[:, 0, :, None] * near[:, 1, None, :])[:, None]


def _flip(images: Tensor, draws: Tensor) -> Tensor:
    """Left and right swapped, half of the time."""
    return torch.where((draws[:, 0] < 0.5).view(-1, 1, 1, 1), images.flip(3), images)


def _scale(images: Tensor, draws: Tensor) -> Tensor:
    """Each side from 1/1.2 to 1.2 times as long."""
    factors = draws[:, :2] * (1.2 - 1 / 1.2) + 1 / 1.2
    return _warped(images, torch.diag_embed(factors), torch.zeros(len(images), 2, device=images.device))


def _rotate(images: Tensor, draws: Tensor) -> Tensor:
    """Turned by up to 15 degrees."""
    angle = torch.deg2rad((draws[:, 0] * 2 - 1) * 15)
    cosine, sine = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)
    return _warped(images, turn, torch.zeros(len(images), 2, device=images.device))


CHANGES: tuple[Change, ...] = (_colour, _crop, _cutout, _flip, _scale, _rotate)


def augment(images: Tensor, generator: Generator, *, mirror: bool, alike: bool = False) -> Tensor:
    """One change, drawn for the batch, of images (n, 3, px, px), each by its own amount, or all `alike`.

    mirror: whether a mirrored image keeps its label.

    DSA of Zhao and Bilen (ICML 2021, arXiv 2102.08259), in the form where each step draws one of six changes.
    Gradients pass through. Real and learned images are changed alike by generators of the same seed.
    """
    allowed = [change for change in CHANGES if mirror or change is not _flip]
    change = allowed[int(torch.randint(len(allowed), (), generator=generator))]
    draws = torch.rand(1 if alike else len(images), 3, generator=generator).to(images.device)
    return change(images, draws.expand(len(images), 3))


def _warped(images: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
    grid = affine_grid(torch.cat([matrix, shift[..., None]], 2), list(images.shape), align_corners=False)
    return grid_sample(images, grid, align_corners=False)
