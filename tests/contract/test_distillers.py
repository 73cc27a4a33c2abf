"""What every entry of the table of methods of distillation passes by being registered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from make_spots import spots

from scrimp.images import Images
from scrimp.subset import Distilled, distill
from scrimp.subset.distillation import LEARNED, METHODS


@pytest.fixture(params=METHODS, ids=str)
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIMP_CACHE", str(tmp_path / "cache"))


def made_by(method: str, images: Images, *, per_class: int = 1, seed: int = 0, out: Path | None = None) -> Distilled:
    steps = 3 if method in LEARNED else None
    return distill(images, method=method, per_class=per_class, image_px=8, steps=steps, seed=seed, out=out)


@pytest.mark.parametrize("per_class", [1, 2])
def test_as_many_of_each_class_as_asked_for(method: str, per_class: int) -> None:
    made = made_by(method, spots(), per_class=per_class)
    rows = made.rows("train")
    assert made.labels[rows].tolist() == [0] * per_class + [1] * per_class
    assert all(made.items[row].shape == (8, 8, 3) and made.items[row].dtype == np.uint8 for row in rows)
    assert len(set(made.keys)) == len(made.keys)


def test_each_image_is_of_its_class(method: str) -> None:
    made = made_by(method, spots())
    first, second = (made.items[row].astype(float) for row in made.rows("train"))
    assert first[:4, :4].mean() > first[4:, 4:].mean() + 50
    assert second[4:, 4:].mean() > second[:4, :4].mean() + 50


def test_val_and_test_stay_as_they_are_and_test_is_not_seen(method: str) -> None:
    images = spots()
    made = made_by(method, images)
    for split in ("val", "test"):
        assert all(made.items[i] is images.items[j] for i, j in zip(made.rows(split), images.rows(split), strict=True))
    other = list(images.items)
    for row in images.rows("test"):
        other[row] = np.full((8, 8, 3), 7, dtype=np.uint8)
    again = made_by(method, replace(images, items=tuple(other)))
    assert all(np.array_equal(made.items[row], again.items[row]) for row in made.rows("train"))


def test_the_same_seed_gives_the_same(method: str) -> None:
    one, other = (made_by(method, spots(), seed=3) for _ in range(2))
    assert one.fingerprint == other.fingerprint
    assert all(np.array_equal(one.items[row], other.items[row]) for row in one.rows("train"))


def test_it_is_billed(method: str) -> None:
    made = made_by(method, spots())
    assert made.cost.seconds > 100.0
    assert made.making.seconds > 0


def test_it_is_saved_as_a_folder_that_can_be_trained_on(method: str, tmp_path: Path) -> None:
    from scrimp.images import find_images

    made = made_by(method, spots(), per_class=2, out=tmp_path / "made")
    found = find_images(tmp_path / "made", val_fraction=0.4, test_fraction=0.4)
    assert found.classes == made.classes
    assert len(found) == 4
    assert (tmp_path / "made" / "grid.png").is_file()
    assert (tmp_path / "made" / "distilled.safetensors").is_file() == (method in LEARNED)
