"""What every augmentation of the table must do; one that is added there is tried here at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from make_photos import photo
from torch import Generator, Tensor

from scrimp.augment import AUGMENTATIONS, augmentations

NAMES = [name for name, card in AUGMENTATIONS.items() if card.change]
STRONG = [name for name in NAMES if AUGMENTATIONS[name].unit]
SIZES = [(16, 16), (40, 24), (64, 64)]


def seeded(number: int) -> Generator:
    return torch.Generator().manual_seed(number)


def photos(n: int = 8, height: int = 32, width: int = 32) -> Tensor:
    """As batches come: uint8 (n, 3, h, w), channels last in memory."""
    arrays = np.stack([np.asarray(photo(seed, (width, height))) for seed in range(n)])
    return torch.from_numpy(arrays).permute(0, 3, 1, 2)


def changed(name: str, pixels: Tensor, seed: int = 1) -> Tensor:
    (change,) = augmentations(name)
    return change(pixels, seeded(seed))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_shape_kind_and_memory_stay(name: str, height: int, width: int) -> None:
    before = photos(4, height, width)
    after = changed(name, before)
    assert (after.shape, after.dtype, after.device) == (before.shape, torch.uint8, before.device)
    assert after.is_contiguous(memory_format=torch.channels_last)
    assert changed(name, before.contiguous()).shape == before.shape, "colours first in memory will do as well"


@pytest.mark.parametrize("name", NAMES)
def test_it_does_something_the_same_for_the_same_seed_and_leaves_the_batch_alone(name: str) -> None:
    before = photos()
    after = changed(name, before)
    assert torch.equal(before, photos())
    assert not torch.equal(after, before)
    assert torch.equal(after, changed(name, before))
    assert not torch.equal(after, changed(name, before, seed=2))


@pytest.mark.parametrize("name", NAMES)
def test_all_chance_comes_from_the_generator(name: str) -> None:
    before = photos()
    torch.manual_seed(5)
    one = changed(name, before)
    state = torch.get_rng_state()
    torch.manual_seed(6)
    assert torch.equal(one, changed(name, before))
    torch.manual_seed(5)
    assert torch.equal(torch.get_rng_state(), state), "and PyTorch's own random numbers are left as they were"


@pytest.mark.parametrize("name", NAMES)
def test_images_of_a_batch_are_changed_each_by_its_own_chance(name: str) -> None:
    same = photos(1).expand(16, -1, -1, -1).contiguous(memory_format=torch.channels_last)
    after = changed(name, same)
    different = torch.unique(after.flatten(1), dim=0)
    assert len(different) > 1


@pytest.mark.parametrize("name", NAMES)
def test_black_and_white_images_do_not_wrap_around(name: str) -> None:
    """255 + 1 is 0 in uint8: of a plain image, no pixel may jump to the other end where that is not the purpose."""
    for level in (0, 255):
        plain = torch.full((8, 3, 32, 32), level, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
        wrapped = (changed(name, plain).int() - level).abs() > 200
        assert name in ("salt", "edge", "trivial", "rand") or not wrapped.any()


@pytest.mark.parametrize("name", [name for name in STRONG if AUGMENTATIONS[name].nothing is not None])
def test_no_strength_no_change(name: str) -> None:
    before = photos()
    assert torch.equal(changed(f"{name}:{AUGMENTATIONS[name].nothing:g}", before), before)


@pytest.mark.parametrize("name", STRONG)
def test_the_strength_counts_and_both_ends_of_its_range_work(name: str) -> None:
    card, before = AUGMENTATIONS[name], photos()
    usual = changed(name, before)
    assert torch.equal(usual, changed(f"{name}:{card.usual:g}", before)), "the usual strength is that of the function"
    weak, strong = (changed(f"{name}:{end:g}", before) for end in (card.least, card.most))
    if name == "jpeg":
        weak, strong = strong, weak
    assert distance(weak, before) < distance(usual, before) <= distance(strong, before) + 0.01


def distance(one: Tensor, other: Tensor) -> float:
    return (one.float() - other.float()).abs().mean().item()
