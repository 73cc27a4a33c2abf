"""Small images early in a run, which cost less."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scrimp.training.recipe import Recipe

_GROWTH = 0.7  # part of the run in which images grow


def px_at(done: float, recipe: Recipe, full_px: int) -> int:
    """Side of training images in pixels when the part `done` (0 to 1) of the run is behind; at most `full_px`.

    It grows in a straight line from `px_start` to `px_end` over the first 70 % and stays there, so that the last
    stretch is at the size that counts. Other than `full_px` itself it is a multiple of 8 above 64 and of 4 below, which
    suits convolutions with strides. Source: progressive resizing as in DAWNBench's entries (Howard 2018) and Tan & Le,
    arXiv 2104.00298, section 4.
    """
    part = recipe.px_start + (recipe.px_end - recipe.px_start) * min(1.0, done / _GROWTH)
    if part == 1:
        return full_px
    side = full_px * part
    step = 8 if side > 64 else 4
    return min(full_px, max(step, round(side / step) * step))


def resized(pixels: Tensor, px: int) -> Tensor:
    """Square images of another size by antialiased bilinear interpolation, rounded.

    pixels: uint8 (n, 3, h, w); the same tensor is returned where h and w are `px` already. Keeps the memory format.
    """
    if pixels.shape[2:] == (px, px):
        return pixels
    if pixels.device.type == "cpu":  # where PyTorch has it for bytes, several times as fast
        return nn.functional.interpolate(pixels, (px, px), mode="bilinear", antialias=True)
    floats = nn.functional.interpolate(pixels.float(), (px, px), mode="bilinear", antialias=True)
    return floats.round_().clamp_(0, 255).to(torch.uint8)
