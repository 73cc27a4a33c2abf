from itertools import pairwise

import pytest

from scrimp.training import Recipe
from scrimp.training.schedules import lr_at, momentum_at


def recipe(schedule, **changes):
    return Recipe(model="simple_cnn", schedule=schedule, **changes)


def rates(schedule, points, peak=2.0, **changes):
    return [lr_at(point, recipe(schedule, **changes), peak) for point in points]


def close(*expected):
    return pytest.approx(list(expected), abs=1e-12)


def test_each_curve_at_points_worked_by_hand():
    assert rates("constant", (0, 0.5, 1)) == [2, 2, 2]
    assert rates("linear", (0, 0.25, 0.5, 1)) == close(2, 1.5, 1, 0)
    assert rates("cosine", (0, 1 / 3, 0.5, 2 / 3, 1)) == close(2, 1.5, 1, 0.5, 0)  # cos(60°) is a half
    # Up from 0.04 by half a cosine until 0.25, then down by half a cosine.
    assert rates("one-cycle", (0, 0.125, 0.25, 0.5, 0.625, 0.75, 1)) == close(0.08, 1.04, 2, 1.5, 1, 0.5, 0)


def test_a_warm_up_rises_from_zero_and_the_curve_takes_what_is_left():
    points = (0, 0.1, 0.2, 0.6, 1)
    assert rates("constant", points, warmup=0.2) == close(0, 1, 2, 2, 2)
    assert rates("linear", points, warmup=0.2) == close(0, 1, 2, 1, 0)
    assert rates("cosine", points, warmup=0.2) == close(0, 1, 2, 1, 0)


def test_momentum_mirrors_one_cycle_and_else_stays():
    points = (0, 0.125, 0.25, 0.625, 1)
    assert [momentum_at(x, recipe("one-cycle")) for x in points] == close(0.9, 0.85, 0.8, 0.85, 0.9)
    assert [momentum_at(x, recipe("one-cycle", momentum=0.05)) for x in points] == close(0.05, 0.025, 0, 0.025, 0.05)
    assert {momentum_at(x, recipe("cosine", momentum=0.7)) for x in points} == {0.7}


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "one-cycle"])
def test_nothing_jumps_and_nothing_leaves_its_range(schedule):
    warmup = 0.0 if schedule == "one-cycle" else 0.1
    points = [i / 1000 for i in range(1001)]
    curve = rates(schedule, points, peak=1.0, warmup=warmup)
    assert all(0 <= rate <= 1 for rate in curve)
    assert max(curve) == pytest.approx(1)
    assert max(abs(a - b) for a, b in pairwise(curve)) < 0.011
    assert rates(schedule, [1.0 + 1e-9]) == pytest.approx(rates(schedule, [1.0])), "rounding past the end does no harm"
