import pytest
import torch

from scrimp.augment import AUGMENTATIONS, augmentations, mirror, shift
from scrimp.errors import SettingError, UnknownName


def seeded(number):
    return torch.Generator().manual_seed(number)


def pictures(n=8, side=16):
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=seeded(0))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_augmentation_keeps_shape_and_kind_and_does_something(name):
    before = pictures()
    after = AUGMENTATIONS[name](before, seeded(1))
    assert after.shape == before.shape
    assert after.dtype == torch.uint8
    assert not torch.equal(after, before)
    assert torch.equal(before, pictures()), "the batch that was given is left as it was"
    assert torch.equal(after, AUGMENTATIONS[name](before, seeded(1))), "the same seed, the same result"
    assert not torch.equal(after, AUGMENTATIONS[name](before, seeded(2)))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_augmentation_keeps_channels_last(name):
    before = pictures().contiguous(memory_format=torch.channels_last)
    assert AUGMENTATIONS[name](before, seeded(1)).is_contiguous(memory_format=torch.channels_last)


def test_shift_moves_by_whole_pixels_and_reflects():
    # Against padding by reflection and cutting a window out, for each possible offset.
    before = pictures(n=64)
    padded = torch.nn.functional.pad(before.float(), (2, 2, 2, 2), mode="reflect").to(torch.uint8)
    windows = [padded[:, :, y : y + 16, x : x + 16] for y in range(5) for x in range(5)]
    after = shift(before, seeded(3))
    offsets = [next(i for i, window in enumerate(windows) if torch.equal(window[n], after[n])) for n in range(64)]
    assert len(set(offsets)) > 15, "most of the 25 offsets occur among 64 images"


def test_mirror_flips_about_half_and_leaves_the_rest():
    before = pictures(n=200)
    after = mirror(before, seeded(4))
    flipped = [torch.equal(b.flip(2), a) for b, a in zip(before, after, strict=True)]
    same = [torch.equal(b, a) for b, a in zip(before, after, strict=True)]
    assert all(f or s for f, s in zip(flipped, same, strict=True))
    assert 70 <= sum(flipped) <= 130


def test_names():
    assert augmentations("none") == []
    assert augmentations("basic") == [shift, mirror]
    assert augmentations("basic", mirror_ok=False) == [shift]
    assert augmentations("mirror, shift") == [mirror, shift]
    with pytest.raises(UnknownName, match="'shift'"):
        augmentations("shfit")
    with pytest.raises(SettingError, match="changes its label"):
        augmentations("mirror", mirror_ok=False)
