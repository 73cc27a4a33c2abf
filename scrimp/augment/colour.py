"""Augmentations of light and colour, and what is drawn from them: edges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from scrimp.augment.batch import Pixels, either_way, looked_up, one_by_one, up_to, whole_up_to

if TYPE_CHECKING:
    from torch import Generator, Tensor

_LUMA = (0.299, 0.587, 0.114)
_TILE_PX = 16  # below this, a tile has fewer pixels than there are levels
_CLIP = 3.0


def brightness(pixels: Tensor, generator: Generator, part: float = 0.4) -> Tensor:
    """Multiplies all levels of each image by a factor of 1 - part to 1 + part."""
    import torch

    factors = 1 + either_way(part, len(pixels), generator)
    return looked_up(pixels, factors[:, None] * torch.arange(256))


def contrast(pixels: Tensor, generator: Generator, part: float = 0.4) -> Tensor:
    """Draws the levels of each image away from their mean, or towards it, by a factor of 1 - part to 1 + part."""
    import torch

    factors = 1 + either_way(part, len(pixels), generator)[:, None]
    means = pixels.mean((1, 2, 3), dtype=torch.float32).cpu()[:, None]
    return looked_up(pixels, means + factors * (torch.arange(256) - means))


def saturation(pixels: Tensor, generator: Generator, part: float = 0.4) -> Tensor:
    """Draws the colours of each image away from grey, or towards it, by a factor of 1 - part to 1 + part."""
    import torch

    factors = 1 + either_way(part, len(pixels), generator)[:, None, None, None].to(pixels.device, non_blocking=True)
    luma = _LUMA[0] * pixels[:, :1] + _LUMA[1] * pixels[:, 1:2] + _LUMA[2] * pixels[:, 2:]
    return torch.lerp(luma.expand_as(pixels), pixels.float(), factors).round_().clamp_(0, 255).to(torch.uint8)


def posterise(pixels: Tensor, generator: Generator, bits: float = 4) -> Tensor:
    """Takes up to so many of the eight bits away from each level: flat areas with hard borders."""
    import torch

    taken = torch.tensor(whole_up_to(bits, len(pixels), generator))[:, None]
    return looked_up(pixels, (torch.arange(256) >> taken << taken) + ((1 << taken) >> 1))


def clahe(pixels: Tensor, generator: Generator, part: float = 1.0) -> Tensor:
    """Blends each image with itself, levels spread in each neighbourhood; part: how much of it that may become.

    Contrast limited adaptive histogram equalisation of luma (Zuiderveld 1994), in up to 8 x 8 tiles, where no level
    counts for more than thrice the mean.
    """
    import cv2

    shares = up_to(part, len(pixels), generator).tolist()
    tiles = max(1, min(8, min(pixels.shape[2:]) // _TILE_PX))
    spread = cv2.createCLAHE(_CLIP, (tiles, tiles))

    def equalised(image: Pixels, i: int) -> npt.NDArray[Any]:
        parts = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
        parts[..., 0] = spread.apply(parts[..., 0])
        return cv2.addWeighted(cv2.cvtColor(parts, cv2.COLOR_YCrCb2RGB), shares[i], image, 1 - shares[i], 0)

    return one_by_one(pixels, equalised)


def edge(pixels: Tensor, generator: Generator, part: float = 1.0) -> Tensor:
    """Blends each image with its own edges, white on black (Sobel); part: how much of it they may become."""
    import cv2

    shares = up_to(part, len(pixels), generator).tolist()

    def drawn(image: Pixels, i: int) -> npt.NDArray[Any]:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        across, down = (cv2.convertScaleAbs(cv2.Sobel(grey, cv2.CV_16S, x, 1 - x)) for x in (1, 0))
        edges = cv2.cvtColor(cv2.add(across, down), cv2.COLOR_GRAY2RGB)
        return cv2.addWeighted(edges, shares[i], image, 1 - shares[i], 0)

    return one_by_one(pixels, drawn)
