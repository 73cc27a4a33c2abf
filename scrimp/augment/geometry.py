"""Augmentations that move pixels, or cover them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrimp.augment.batch import either_way, one_by_one

if TYPE_CHECKING:
    from torch import Generator, Tensor


def shift(pixels: Tensor, generator: Generator, part: float = 1 / 8) -> Tensor:
    """Moves each image by up to a part of its side, reflecting at the border (a padded random crop)."""
    import torch

    n, _, height, width = pixels.shape
    rows = _reflected(_offsets(n, int(height * part), generator), height).to(pixels.device, non_blocking=True)
    columns = _reflected(_offsets(n, int(width * part), generator), width).to(pixels.device, non_blocking=True)
    if pixels.is_cuda:  # in one go, which on a CPU is slower
        images = torch.arange(n, device=pixels.device)[:, None, None]
        return pixels.permute(0, 2, 3, 1)[images, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)
    moved = torch.empty_like(pixels)
    for i in range(n):
        moved[i] = pixels[i].index_select(1, rows[i]).index_select(2, columns[i])
    return moved


def mirror(pixels: Tensor, generator: Generator) -> Tensor:
    """Flips half of the images left to right."""
    import torch

    chosen = torch.rand(len(pixels), generator=generator) < 0.5
    if pixels.is_cuda:  # without asking the GPU how many there are
        return torch.where(chosen.to(pixels.device, non_blocking=True)[:, None, None, None], pixels.flip(3), pixels)
    flipped = pixels.clone()
    flipped[chosen] = pixels[chosen].flip(3)
    return flipped


def crop(pixels: Tensor, generator: Generator) -> Tensor:
    """Enlarges a part of each image, 8 to 100 % of its area and 3:4 to 4:3, to the whole (a random resized crop).

    `batches` does this itself where it has the whole image at hand, and not its middle square alone.
    """
    import numpy as np
    import torch

    from scrimp.images.fast import NUMBERS, crop_into, random_box

    n, _, height, width = pixels.shape
    numbers = torch.rand(n, NUMBERS, generator=generator, dtype=torch.float64).numpy()
    source = np.ascontiguousarray(pixels.cpu().permute(0, 2, 3, 1).numpy())
    cropped = np.empty_like(source)
    for i in range(n):
        crop_into(cropped[i], source[i], random_box(height, width, numbers[i]))
    return torch.from_numpy(cropped).permute(0, 3, 1, 2).to(pixels.device)


def rotate(pixels: Tensor, generator: Generator, degrees: float = 15.0) -> Tensor:
    """Turns each image about its middle, by up to so many degrees either way, reflecting at the border."""
    import cv2

    n, _, height, width = pixels.shape
    angles = either_way(degrees, n, generator).tolist()
    middle = (width - 1) / 2, (height - 1) / 2
    return one_by_one(
        pixels,
        lambda image, i: cv2.warpAffine(
            image, cv2.getRotationMatrix2D(middle, angles[i], 1.0), (width, height), borderMode=cv2.BORDER_REFLECT_101
        ),
    )


def cutout(pixels: Tensor, generator: Generator, part: float = 0.5) -> Tensor:
    """Covers a square of each image with grey; it may reach over the border (DeVries & Taylor, arXiv 1708.04552).

    part: side of the square over that of the image.
    """
    import torch

    n, _, height, width = pixels.shape
    hidden = torch.ones(n, 1, 1, 1, dtype=torch.bool)
    for side, shape in ((height, (n, 1, height, 1)), (width, (n, 1, 1, width))):
        length = round(side * part)
        first = torch.randint(0, side, (n, 1), generator=generator) - length // 2
        places = torch.arange(side)
        hidden = hidden & ((places >= first) & (places < first + length)).view(shape)
    return pixels.clone().masked_fill_(hidden.to(pixels.device, non_blocking=True), 128)


def _offsets(n: int, reach: int, generator: Generator) -> Tensor:
    import torch

    return torch.randint(-reach, reach + 1, (n, 1), generator=generator)


def _reflected(offsets: Tensor, side: int) -> Tensor:
    """Indices (n, side) of the source pixels after a shift, folded back at both borders."""
    import torch

    index = (torch.arange(side) + offsets).abs()
    return torch.where(index >= side, 2 * (side - 1) - index, index)
