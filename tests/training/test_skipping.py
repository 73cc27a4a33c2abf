import numpy as np
import pytest
import torch

from scrimp.training.skipping import keep

NAN = float("nan")


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def array(*losses):
    return np.array(losses, dtype=np.float32)


def test_images_below_the_mean_are_left_out_or_count_more():
    losses = array(0, 1, 2, 3, 9)  # mean 3: three lie below it
    outcomes = set()
    for seed in range(100):
        kept, weights = keep(losses, 0.3, 0.75, seeded(seed))
        assert kept.dtype == np.bool_
        assert weights.dtype == np.float32
        assert kept[3:].all()
        assert weights.tolist() == [4, 4, 4, 1, 1]
        outcomes.add(tuple(kept[:3].tolist()))
    assert len(outcomes) == 8, "each image has a chance of its own"


def test_every_image_counts_as_much_as_ever_on_average():
    losses = array(0.1, 0.2, NAN, 5, 0.3, 2)
    generator, counted, left_out = seeded(), np.zeros(6), 0
    for _ in range(20_000):
        kept, weights = keep(losses, 0.0, 0.4, generator)
        counted += kept * weights
        left_out += int((~kept).sum())
    # The standard error of an image's count is sqrt(0.4 / 0.6 / 20,000) = 0.006.
    assert counted / 20_000 == pytest.approx(np.ones(6), abs=0.025)
    assert left_out / 20_000 == pytest.approx(3 * 0.4, abs=0.03)


def test_what_was_never_seen_is_seen_and_does_not_move_the_mean():
    kept, weights = keep(array(NAN, 1, 3, NAN), 0.0, 0.999, seeded())
    assert kept.tolist() == [True, False, True, True]
    assert weights.tolist() == pytest.approx([1, 1000, 1, 1], rel=1e-4)


@pytest.mark.parametrize("losses", [[NAN] * 5, [0.1] * 3001, [2.5], [0.0] * 7, []])
def test_nothing_stands_out_nothing_is_left_out(losses):
    kept, weights = keep(array(*losses), 0.5, 0.9, seeded())
    assert kept.all()
    assert (weights == 1).all()
    assert len(kept) == len(weights) == len(losses)


def test_a_loss_without_end_leaves_the_others_as_they_were():
    kept, weights = keep(array(1, 2, 6, float("inf")), 0.0, 0.999, seeded())
    assert kept.tolist() == [False, False, True, True]
    assert weights[2:].tolist() == [1, 1]


def test_nothing_is_left_out_in_the_last_eighth():
    losses = np.arange(1000, dtype=np.float32)
    assert not keep(losses, 0.874, 0.5, seeded())[0].all()
    kept, weights = keep(losses, 0.875, 0.5, seeded())
    assert kept.all()
    assert (weights == 1).all()


def test_no_chance_leaves_nothing_out_and_the_generator_decides():
    losses = np.arange(100, dtype=np.float32)
    assert keep(losses, 0.0, 0.0, seeded())[0].all()
    assert (keep(losses, 0.0, 0.5, seeded(1))[0] == keep(losses, 0.0, 0.5, seeded(1))[0]).all()
    assert (keep(losses, 0.0, 0.5, seeded(1))[0] != keep(losses, 0.0, 0.5, seeded(2))[0]).any()
