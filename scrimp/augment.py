"""Changes to training images that keep their label: one table of names, each a function of a whole batch.

The names are wanted before PyTorch is (to check a recipe), so each function imports it for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from scrimp.errors import SettingError, UnknownName

if TYPE_CHECKING:
    from torch import Generator, Tensor

Augmentation: TypeAlias = "Callable[[Tensor, Generator], Tensor]"
"""Takes uint8 (n, 3, h, w) on any device and a generator on the CPU; returns the same shape, dtype and device."""


def shift(pixels: Tensor, generator: Generator) -> Tensor:
    """Moves each image by up to an eighth of its side, reflecting at the border (a padded random crop)."""
    import torch

    n, _, height, width = pixels.shape
    rows = _reflected(_offsets(n, height, generator), height).to(pixels.device, non_blocking=True)
    columns = _reflected(_offsets(n, width, generator), width).to(pixels.device, non_blocking=True)
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


def trivial(pixels: Tensor, generator: Generator) -> Tensor:
    """One change of random kind and strength for each image (TrivialAugment, Müller & Hutter, arXiv 2103.10158)."""
    from torchvision.transforms.v2 import TrivialAugmentWide

    return _one_by_one(TrivialAugmentWide(), pixels, generator)


def rand(pixels: Tensor, generator: Generator) -> Tensor:
    """Two changes of random kind and middling strength for each image (RandAugment, Cubuk et al., arXiv 1909.13719)."""
    from torchvision.transforms.v2 import RandAugment

    return _one_by_one(RandAugment(), pixels, generator)


def _one_by_one(change: Callable[[Tensor], Tensor], pixels: Tensor, generator: Generator) -> Tensor:
    """torchvision's changes draw from PyTorch's own random numbers, which are put back afterwards."""
    import torch

    changed = torch.empty_like(pixels)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        for i in range(len(pixels)):
            changed[i] = change(pixels[i])
    return changed


AUGMENTATIONS: dict[str, Augmentation] = {
    "crop": crop,
    "shift": shift,
    "mirror": mirror,
    "trivial": trivial,
    "rand": rand,
}
"""Every augmentation by name; "basic" stands for "shift,mirror", or "shift" where a mirror image changes label."""


def augmentations(names: str, *, mirror_ok: bool = True) -> list[Augmentation]:
    """The functions that a recipe's `augment` names, in its order.

    Raises `UnknownName` for a name that the table does not hold, `SettingError` for "mirror" where a mirrored
    image changes its label.
    """
    if names == "none":
        return []
    if names == "basic":
        return [shift, mirror] if mirror_ok else [shift]
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in AUGMENTATIONS:
            raise UnknownName("augmentation", name, [*AUGMENTATIONS, "none", "basic"])
    if "mirror" in wanted and not mirror_ok:
        raise SettingError(f"augment='{names}' mirrors, but a mirrored image of this set changes its label.")
    return [AUGMENTATIONS[name] for name in wanted]


def _offsets(n: int, side: int, generator: Generator) -> Tensor:
    import torch

    reach = side // 8
    return torch.randint(-reach, reach + 1, (n, 1), generator=generator)


def _reflected(offsets: Tensor, side: int) -> Tensor:
    """Indices (n, side) of the source pixels after a shift, folded back at both borders."""
    import torch

    index = (torch.arange(side) + offsets).abs()
    return torch.where(index >= side, 2 * (side - 1) - index, index)
