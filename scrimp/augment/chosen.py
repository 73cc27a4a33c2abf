"""Augmentations that choose others at random for each image, as torchvision has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor


def trivial(pixels: Tensor, generator: Generator) -> Tensor:
    """One change of random kind and strength for each image (TrivialAugment, Müller & Hutter, arXiv 2103.10158)."""
    from torchvision.transforms.v2 import TrivialAugmentWide

    return _each(TrivialAugmentWide(), pixels, generator)


def rand(pixels: Tensor, generator: Generator, magnitude: float = 9) -> Tensor:
    """Two changes of random kind and the same strength for each image (RandAugment, Cubuk et al., arXiv 1909.13719)."""
    from torchvision.transforms.v2 import RandAugment

    return _each(RandAugment(magnitude=int(magnitude)), pixels, generator)


def _each(change: Callable[[Tensor], Tensor], pixels: Tensor, generator: Generator) -> Tensor:
    """torchvision's changes draw from PyTorch's own random numbers, which are put back afterwards."""
    import torch

    changed = torch.empty_like(pixels)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        for i in range(len(pixels)):
            changed[i] = change(pixels[i])
    return changed
