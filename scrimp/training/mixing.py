"""Images made of two, and labels that say so."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Generator, Tensor, nn

from scrimp.images.kinds import Task

_ALPHA = {"mixup": 0.2, "cutmix": 1.0}  # of the beta distribution of the shares, as the papers have it for photos


def mixed(
    pixels: Tensor,
    labels: Tensor,
    classes: int,
    how: Literal["mixup", "cutmix", "both"],
    task: Task,
    generator: Generator,
) -> tuple[Tensor, Tensor]:
    """Each image of a batch mixed with another one of it, all in the same shares.

    mixup blends the two (Zhang et al., arXiv 1710.09412). cutmix pastes a rectangle of the other, which may reach over
    the border (Yun et al., arXiv 1905.04899). both: either of them, with even chances a batch.

    pixels: uint8 (n, 3, h, w), channels last in memory, left as they are. labels: as `Images` holds them. generator: on
    the CPU, decides all. Returns pixels of the same kind, and targets float32: (n, classes) from 0 to 1, or (n,) for
    regress. Cost: about two passes over the pixels.
    """
    from scipy.special import betaincinv

    partner = torch.randperm(len(pixels), generator=generator).to(pixels.device)
    coin, chance, *centre = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
    if how == "both":
        how = "mixup" if coin < 0.5 else "cutmix"
    own = float(betaincinv(_ALPHA[how], _ALPHA[how], chance))  # draws from the beta distribution
    if how == "mixup":
        made = _blended(pixels, partner, own)
    else:
        made, own = _pasted(pixels, partner, own, centre)
    targets = nn.functional.one_hot(labels, classes).float() if task == "classify" else labels.float()
    return made, torch.lerp(targets[partner], targets, own)


def _blended(pixels: Tensor, partner: Tensor, own: float) -> Tensor:
    if pixels.device.type != "cpu":
        return torch.lerp(pixels[partner].float(), pixels.float(), own).round_().to(torch.uint8)
    import cv2  # which blends bytes without a detour over floats, five to fifty times as fast

    images = np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())
    made = np.empty_like(images)
    for i, j in enumerate(partner.tolist()):
        cv2.addWeighted(images[i], own, images[j], 1 - own, 0, dst=made[i])
    return torch.from_numpy(made).permute(0, 3, 1, 2)


def _pasted(pixels: Tensor, partner: Tensor, own: float, centre: list[float]) -> tuple[Tensor, float]:
    """The images, and what part of each is its own: the sides of the rectangle are sqrt(1 - own) of the image's."""
    (top, bottom), (left, right) = (
        _stretch(side, side * math.sqrt(1 - own), at * side) for side, at in zip(pixels.shape[2:], centre, strict=True)
    )
    made = pixels.clone()
    made[:, :, top:bottom, left:right] = pixels[:, :, top:bottom, left:right][partner]
    return made, 1 - (bottom - top) * (right - left) / (pixels.shape[2] * pixels.shape[3])


def _stretch(side: int, length: float, centre: float) -> tuple[int, int]:
    return max(0, round(centre - length / 2)), min(side, round(centre + length / 2))
