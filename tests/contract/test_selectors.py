"""What every entry of the table of methods of selection passes by being registered."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from scrimp.subset.coverage import pure_radius
from scrimp.subset.pool import Method, Pool, unit
from scrimp.subset.selection import METHODS


@pytest.fixture(params=METHODS, ids=str)
def method(request: pytest.FixtureRequest) -> Method:
    return METHODS[request.param]


def pool_of(values: Any) -> Pool:
    """Images with these features, half of them of another class, whose scores are as good as random."""
    features = unit(np.asarray(values, dtype=np.float32))
    n = len(features)
    return Pool(
        keys=tuple(f"{row:05d}" for row in range(n)),
        features=features,
        scores=np.random.default_rng(1).random(n).astype(np.float32),
        radius=pure_radius(features, np.arange(n) % 2, seed=0),
    )


def cloud(n: int, d: int = 8) -> Pool:
    """A few clusters."""
    chance = np.random.default_rng(n)
    return pool_of(chance.normal(size=(6, d))[chance.integers(6, size=n)] + 0.3 * chance.normal(size=(n, d)))


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scrimp.subset.chance.DRAWS", 50)
    monkeypatch.setattr("scrimp.subset.dispersion._MOVES", (200, 1))


def assert_sound(rows: Any, n: int, keep: int) -> None:
    assert rows.shape == (keep,)
    assert rows.dtype == np.int64
    assert len(set(rows.tolist())) == keep
    assert rows.min() >= 0
    assert rows.max() < n


@pytest.mark.parametrize(("n", "keep"), [(3, 2), (40, 7), (40, 39), (300, 60)])
def test_as_many_as_asked_for_each_once(method: Method, n: int, keep: int) -> None:
    choice = method.choose(cloud(n), keep, 0)
    assert_sound(choice.rows, n, keep)
    assert choice.objective is None or np.isfinite(choice.objective)


def test_the_least_that_it_says_it_can(method: Method) -> None:
    assert_sound(method.choose(cloud(30), method.least, 0).rows, 30, method.least)


def test_the_same_seed_gives_the_same(method: Method) -> None:
    one, other = (method.choose(cloud(80), 9, 3) for _ in range(2))
    assert one.rows.tolist() == other.rows.tolist()
    assert one.objective == other.objective


def test_a_nested_choice_begins_with_the_smaller_one(method: Method) -> None:
    if not method.nested:
        pytest.skip("it says that its choices are not nested")
    large = method.choose(cloud(80), 30, 2).rows
    for keep in range(method.least, 30, 7):
        assert method.choose(cloud(80), keep, 2).rows.tolist() == large[:keep].tolist()


def test_what_is_there_several_times_is_no_trouble(method: Method) -> None:
    values = np.repeat(np.eye(3), 12, axis=0)
    assert_sound(method.choose(pool_of(values), 10, 0).rows, 36, 10)
    assert_sound(method.choose(pool_of(np.ones((20, 4))), 5, 0).rows, 20, 5)


def test_rows_of_zeros_are_no_trouble(method: Method) -> None:
    values = np.random.default_rng(0).normal(size=(30, 5)) * (np.arange(30) % 3 > 0)[:, None]
    assert_sound(method.choose(pool_of(values), 8, 0).rows, 30, 8)


def test_no_table_of_all_pairs(method: Method) -> None:
    pool = cloud(6_000, d=4)
    tracemalloc.start()
    method.choose(pool, 10, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6_000**2 * 4 * 0.8
