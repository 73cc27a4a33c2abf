import pytest
import torch

from scrimp.training.mixing import _pasted, mixed

HOWS = ["mixup", "cutmix", "both"]


def seeded(number):
    return torch.Generator().manual_seed(number)


def flat(n=6, side=8):
    """Images of one colour each, far apart: image i is 40 i."""
    colours = torch.arange(n, dtype=torch.uint8) * 40
    return colours[:, None, None, None].expand(n, 3, side, side).clone(memory_format=torch.channels_last)


@pytest.mark.parametrize("seed", range(20))
def test_mixup_blends_pixels_and_labels_in_the_same_shares(seed):
    pixels, targets = mixed(flat(), torch.arange(6), 6, "mixup", "classify", seeded(seed))
    # The targets say how much of which image there should be: colour 40 i times share, over all i.
    expected = (targets * torch.arange(6) * 40).sum(1)
    assert torch.allclose(pixels.float(), expected[:, None, None, None].expand_as(pixels), atol=0.501)
    assert torch.allclose(targets.sum(1), torch.ones(6))
    assert len({round(row.max().item(), 4) for row in targets if row.max() < 1}) <= 1, "one share for the batch"


@pytest.mark.parametrize("seed", range(20))
def test_cutmix_pastes_one_rectangle_and_labels_by_its_area(seed):
    pixels, targets = mixed(flat(), torch.arange(6), 6, "cutmix", "classify", seeded(seed))
    for image, target in zip(pixels, targets, strict=True):
        area = torch.tensor([(image[0] == 40 * i).sum() / 64 for i in range(6)])
        assert torch.allclose(area, target, atol=1e-6)
        assert torch.equal(image[0], image[1])
    foreign = pixels[:, 0] != flat()[:, 0]
    changed = [mask for mask in foreign if mask.any()]
    for mask in changed:
        assert torch.equal(mask, mask.any(1)[:, None] & mask.any(0)[None, :]), "a rectangle"
        assert torch.equal(mask, changed[0]), "the same one in every image"


def test_a_rectangle_by_hand():
    pixels, partner = flat(n=2, side=4), torch.tensor([1, 0])
    made, own = _pasted(pixels, partner, 0.75, [0.5, 0.5])  # sides of half the image's, in the middle
    assert made[0, 0].tolist() == [[0, 0, 0, 0], [0, 40, 40, 0], [0, 40, 40, 0], [0, 0, 0, 0]]
    assert own == 0.75
    made, own = _pasted(pixels, partner, 0.75, [0.0, 0.999])  # cut off at the corner
    assert made[1, 2].tolist() == [[40, 40, 40, 0], [40] * 4, [40] * 4, [40] * 4]
    assert own == 1 - 1 / 16
    made, own = _pasted(pixels, partner, 0.0, [0.5, 0.5])
    assert (made[0] == 40).all()
    assert own == 0


def shares(how, draws=3000):
    """What part of the first image is its own, over many batches of two; those where it met itself left out."""
    generator, found = seeded(0), []
    pixels = flat(n=2, side=64 if how == "cutmix" else 1)
    for _ in range(draws):
        targets = mixed(pixels, torch.tensor([0, 1]), 2, how, "classify", generator)[1]
        found += [targets[0, 0].item()] if targets[0, 0] < 1 else []
    return torch.tensor(found)


def test_shares_of_mixup_are_of_its_beta_distribution():
    found = shares("mixup")
    assert 1300 < len(found) < 1700, "half of the time an image meets itself in a batch of two"
    assert found.mean() == pytest.approx(0.5, abs=0.04)
    assert found.var() == pytest.approx(1 / (4 * (2 * 0.2 + 1)), rel=0.08)  # of beta(a, a): 1 / (4 (2 a + 1))


def test_shares_of_cutmix_are_even_but_for_what_is_cut_off_at_the_border():
    even = (torch.arange(50) + 0.5) / 50
    area, down, across = torch.meshgrid(even, even, even, indexing="ij")  # every rectangle at every place
    inside = [(at + area.sqrt() / 2).clamp(max=1) - (at - area.sqrt() / 2).clamp(min=0) for at in (down, across)]
    expected, found = 1 - inside[0] * inside[1], shares("cutmix", 2000)
    assert found.mean() == pytest.approx(expected.mean().item(), abs=0.03)
    assert found.std() == pytest.approx(expected.std().item(), abs=0.03)


def test_both_takes_either_about_as_often():
    generator, blended = seeded(0), 0
    for _ in range(200):
        pixels, _ = mixed(flat(n=2), torch.tensor([0, 1]), 2, "both", "classify", generator)
        blended += bool(((pixels > 0) & (pixels < 40)).any())
    # About half of 200, of which half met themselves; and half of mixup's blends are too uneven to see in 40 levels.
    assert 15 < blended < 70


def test_several_labels_and_numbers_are_blended_like_the_pixels():
    pixels = flat(n=2)
    for seed in range(10):
        labels = torch.tensor([[1, 1, 0], [0, 1, 0]], dtype=torch.uint8)
        several = mixed(pixels, labels, 3, "mixup", "multilabel", seeded(seed))[1]
        number = mixed(pixels, torch.tensor([10.0, 20.0]), 1, "mixup", "regress", seeded(seed))[1]
        own = several[0, 0].item()
        assert several.dtype == number.dtype == torch.float32
        assert several.tolist() == pytest.approx(torch.tensor([[own, 1, 0], [1 - own, 1, 0]]), abs=1e-6)
        assert number.tolist() == pytest.approx([20 - 10 * own, 10 + 10 * own], abs=1e-5)


@pytest.mark.parametrize("how", HOWS)
def test_kind_shape_and_chance(how):
    pixels = torch.randint(0, 256, (5, 3, 12, 10), dtype=torch.uint8, generator=seeded(9))
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    before, labels = pixels.clone(), torch.tensor([0, 1, 2, 1, 0])
    made, targets = mixed(pixels, labels, 3, how, "classify", seeded(1))
    assert (made.shape, made.dtype) == (pixels.shape, torch.uint8)
    assert (targets.shape, targets.dtype) == ((5, 3), torch.float32)
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(pixels, before), "the batch that was given is left as it was"
    again = mixed(pixels, labels, 3, how, "classify", seeded(1))
    assert torch.equal(made, again[0])
    assert torch.equal(targets, again[1])
    assert not torch.equal(targets, mixed(pixels, labels, 3, how, "classify", seeded(2))[1])


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("seed", range(5))
def test_an_image_alone_and_a_class_alone_stay_what_they_are(how, seed):
    pixels = torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8, generator=seeded(seed))
    made, targets = mixed(pixels, torch.tensor([1]), 2, how, "classify", seeded(seed))
    assert torch.equal(made, pixels)
    assert targets.tolist() == [[0, 1]]
    assert (mixed(flat(), torch.zeros(6, dtype=torch.int64), 1, how, "classify", seeded(seed))[1] == 1).all()
