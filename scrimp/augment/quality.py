"""Augmentations that make an image worse, as bad cameras, screens and compression do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrimp.augment.batch import Pixels, at, either_way, one_by_one, up_to, whole_up_to

if TYPE_CHECKING:
    from torch import Generator, Tensor


def noise(pixels: Tensor, generator: Generator, sd: float = 0.1) -> Tensor:
    """Adds Gaussian noise to each level; sd: its standard deviation at most, part of white."""
    import torch

    n, colours, height, width = pixels.shape
    sds = 255 * up_to(sd, n, generator).to(pixels.device, non_blocking=True)[:, None, None, None]
    source = at(pixels, generator)
    grain = torch.randn(n, height, width, colours, generator=source, device=pixels.device).permute(0, 3, 1, 2)
    return grain.mul_(sds).add_(pixels).round_().clamp_(0, 255).to(torch.uint8)


def salt(pixels: Tensor, generator: Generator, part: float = 0.05) -> Tensor:
    """Makes up to a part of the pixels white or black, as many of the one as of the other (salt and pepper)."""
    import torch

    n, _, height, width = pixels.shape
    half = up_to(part, n, generator).to(pixels.device, non_blocking=True)[:, None, None, None] / 2
    dice = torch.rand(n, 1, height, width, generator=at(pixels, generator), device=pixels.device)
    return pixels.clone().masked_fill_(dice < half, 0).masked_fill_(dice >= 1 - half, 255)


def grid(pixels: Tensor, generator: Generator, part: float = 0.2) -> Tensor:
    """Lays lines over each image, 2 to 16 pixels apart, lighter or darker by up to a part of white."""
    import torch

    n, _, height, width = pixels.shape
    lines = torch.zeros(n, 1, 1, 1, dtype=torch.bool)
    spacing = torch.randint(2, 17, (n, 1), generator=generator)
    for side, shape in ((height, (n, 1, height, 1)), (width, (n, 1, 1, width))):
        places = torch.arange(side) + torch.randint(0, 16, (n, 1), generator=generator)
        lines = lines | (places % spacing == 0).view(shape)
    change = (255 * either_way(part, n, generator)).round_().to(torch.int16)[:, None, None, None] * lines
    return (pixels + change.to(pixels.device, non_blocking=True)).clamp_(0, 255).to(torch.uint8)


def blur(pixels: Tensor, generator: Generator, radius: float = 2) -> Tensor:
    """Replaces each level by the median of a square of up to `radius` pixels around it."""
    import cv2

    radii = whole_up_to(radius, len(pixels), generator)
    return one_by_one(pixels, lambda image, i: cv2.medianBlur(image, 2 * radii[i] + 1) if radii[i] else image)


def jpeg(pixels: Tensor, generator: Generator, quality: float = 20) -> Tensor:
    """Compresses each image as JPEG, of a quality from the one given to 100."""
    import simplejpeg

    lost = whole_up_to(100 - quality, len(pixels), generator)

    def compressed(image: Pixels, i: int) -> Pixels:
        decoded: Pixels = simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(image, 100 - lost[i], "RGB", "420"), "RGB")
        return decoded

    return one_by_one(pixels, compressed)
