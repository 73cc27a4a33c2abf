"""What several augmentations share: chance, levels looked up in a table, and images changed one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Generator, Tensor

Pixels = npt.NDArray[np.uint8]


def up_to(most: float, n: int, generator: Generator) -> Tensor:
    """A strength for each of n images, float32 (n,), evenly from 0 to `most`."""
    import torch

    return torch.rand(n, generator=generator) * most


def either_way(most: float, n: int, generator: Generator) -> Tensor:
    """The same, evenly from -`most` to `most`."""
    import torch

    return (2 * torch.rand(n, generator=generator) - 1) * most


def whole_up_to(most: float, n: int, generator: Generator) -> list[int]:
    """A whole number for each of n images, from 0 to `most`, each as likely."""
    import torch

    numbers: list[int] = torch.randint(0, int(most) + 1, (n,), generator=generator).tolist()
    return numbers


def at(device_of: Tensor, generator: Generator) -> Generator:
    """A generator where those pixels are, which begins as this one says: a number for each pixel is made there."""
    import torch

    seed = int(torch.randint(2**62, (1,), generator=generator))
    return torch.Generator(device_of.device).manual_seed(seed)


def looked_up(pixels: Tensor, tables: Tensor) -> Tensor:
    """Each level of image i replaced by what row i of `tables`, (n, 256) from 0 to 255, has at its place."""
    import torch

    tables = tables.round().clamp(0, 255).to(torch.uint8)
    if pixels.is_cuda:
        images = torch.arange(len(pixels), device=pixels.device)[:, None, None, None]
        there = tables.to(pixels.device, non_blocking=True)
        return there[images, pixels.permute(0, 2, 3, 1).long()].permute(0, 3, 1, 2)
    import cv2

    rows = tables.numpy()
    return one_by_one(pixels, lambda image, i: cv2.LUT(image, rows[i]))


def one_by_one(pixels: Tensor, change: Callable[[Pixels, int], npt.NDArray[Any]]) -> Tensor:
    """The batch of what `change` makes of each image (h, w, 3) and its number, on the CPU and back."""
    import torch

    images = np.ascontiguousarray(pixels.cpu().permute(0, 2, 3, 1).numpy())
    made = np.empty_like(images)
    for i in range(len(images)):
        made[i] = change(images[i], i)
    return torch.from_numpy(made).permute(0, 3, 1, 2).to(pixels.device)
