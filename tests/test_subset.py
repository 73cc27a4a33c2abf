"""Which training images are kept, and what is made of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_photos import COLOURS
from PIL import Image

from scrimp.cost import Cost
from scrimp.errors import SettingError
from scrimp.images import Images, ImageSource, find_images
from scrimp.images.fingerprint import fingerprint
from scrimp.subset import Selection, distill, select
from scrimp.subset.pool import Choice, Method, Pool
from scrimp.subset.selection import METHODS


def make_images(train_counts: list[int], held_out: int = 3) -> Images:
    """Images with so many of each class to train on; each pixel of image i is i, modulo 256."""
    labels = [n for n, count in enumerate(train_counts) for _ in range(count)]
    splits = ["train"] * len(labels) + ["val", "test"] * held_out
    labels += [0] * (2 * held_out)
    return Images(
        source=ImageSource(source="made"),
        items=tuple(np.full((4, 4, 3), i % 256, dtype=np.uint8) for i in range(len(labels))),
        keys=tuple(f"{i:04d}" for i in range(len(labels))),
        labels=np.array(labels, dtype=np.int64),
        splits=np.array(splits, dtype="<U5"),
        classes=tuple(f"c{n}" for n in range(len(train_counts))),
        fingerprint=fingerprint(str(train_counts)),
        cost=Cost(seconds=100.0),
    )


def deal(counts: list[int], keep: int) -> list[int]:
    """Shares by hand: one to each class that has any left, as many whole rounds as there are."""
    shares = [0] * len(counts)
    while sum(shares) < keep:
        open_classes = [n for n, count in enumerate(counts) if count > shares[n]]
        if sum(shares) + len(open_classes) > keep:
            break
        for n in open_classes:
            shares[n] += 1
    return shares


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 12), min_size=2, max_size=6), st.data())
def test_balanced_shares_are_dealt_in_rounds(counts: list[int], data: st.DataObject) -> None:
    keep = data.draw(st.integers(len(counts), sum(counts)))
    images = make_images(counts)
    kept = select(images, keep=keep, balance="fill", seed=data.draw(st.integers(0, 5)))
    got = Counter(kept.labels[kept.rows("train")].tolist())
    least = deal(counts, keep)
    assert len(kept.rows("train")) == keep
    assert all(got[n] - least[n] in (0, 1) and got[n] <= count for n, count in enumerate(counts))


@pytest.mark.parametrize("balance", ["fill", "none"])
def test_a_larger_selection_extends_a_smaller_one(balance: Any) -> None:
    images = make_images([30, 25, 22])
    kept = [set(select(images, keep=k, balance=balance).keys) for k in range(10, 78)]
    assert all(small < large for small, large in pairwise(kept))


def test_val_and_test_stay_whole_and_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    import scrimp.subset.selection as room

    seen: list[str] = []

    def spy(pool: Pool, keep: int, seed: int) -> Choice:
        seen.extend(pool.keys)
        return Choice(np.arange(keep), None)

    monkeypatch.setattr(room, "METHODS", {"random": Method(spy, needs="keys")})
    images = make_images([4, 6])
    kept = room.select(images, keep=5)
    assert sorted(seen) == [images.keys[i] for i in images.rows("train")]
    for split in ("val", "test"):
        before, after = images.rows(split), kept.rows(split)
        assert [images.keys[i] for i in before] == [kept.keys[i] for i in after]


def test_the_seed_and_only_the_seed_changes_the_choice() -> None:
    images = make_images([50, 50])
    one, same, other = (select(images, keep=10, seed=seed) for seed in (0, 0, 1))
    assert one.keys == same.keys
    assert one.fingerprint == same.fingerprint
    assert one.keys != other.keys
    assert one.fingerprint != other.fingerprint


def test_unbalanced_keeps_the_proportions() -> None:
    kept = select(make_images([900, 100]), keep=500, balance="none")
    assert 430 <= np.sum(kept.labels[kept.rows("train")] == 0) <= 470  # 450 expected, spread 6.7


def test_a_class_that_would_lose_all_its_images_is_refused() -> None:
    images = make_images([900, 1, 2])
    with pytest.raises(SettingError, match=r"leaves no image of 2 of 3 classes, .*: 'c1', 'c2'\. Keep more, or"):
        select(images, keep=30, balance="none", seed=1)
    assert len(select(images, keep=903, balance="none").rows("train")) == 903
    numbers, source = images.labels.astype(np.float32), images.source.but(task="regress")
    no_class = replace(images, labels=numbers, classes=(), source=source)
    assert len(select(no_class, keep=30, balance="none", seed=1).rows("train")) == 30


def test_the_bill_grows() -> None:
    kept = select(make_images([5, 5]), keep=4)
    assert kept.cost.seconds > 100.0
    assert kept.selection == Selection(keep=4)


def test_too_many_or_too_few_to_keep() -> None:
    images = make_images([5, 5, 5])
    with pytest.raises(SettingError, match="keep=16 is more than the 15 training images"):
        select(images, keep=16)
    with pytest.raises(SettingError, match="keep=2 is fewer than one for each of the 3 classes"):
        select(images, keep=2)
    with pytest.raises(SettingError, match="keep"):
        select(images, keep=0)
    with pytest.raises(SettingError, match="Did you mean 'random'"):
        select(images, keep=5, method="randon")


def test_a_small_class_is_refused_or_told() -> None:
    images = make_images([20, 2, 20])
    with pytest.raises(SettingError, match=r"keep=20 is 6.667 for each of 3 classes, but 'c1' has 2 .* at most 6"):
        select(images, keep=20)
    assert len(select(images, keep=6).rows("train")) == 6
    assert len(select(images, keep=20, balance="none").rows("train")) == 20
    kept = select(images, keep=20, balance="fill")
    assert any("1 of 3 classes have fewer images than their share" in note for note in kept.notes)
    assert any("'c1'" in note for note in kept.notes)
    assert select(make_images([20, 10, 20]), keep=20).notes == ()


def test_a_class_that_is_one_short_of_the_last_round_is_no_small_class() -> None:
    assert Counter(select(make_images([5, 4, 5]), keep=14).labels[:14].tolist()) == {0: 5, 1: 4, 2: 5}


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.least > 1])
def test_one_image_a_class_has_no_other_to_be_compared_with(method: str) -> None:
    images = make_images([6, 6, 6])
    with pytest.raises(SettingError, match="keep=5 leaves a single one of some of 3 classes: keep at least 6"):
        select(images, keep=5, method=method)
    with pytest.raises(SettingError, match="keep=1 leaves a single one: keep at least 2"):
        select(replace(images, labels=images.labels * 0), keep=1, method=method, balance="none")


def test_selecting_twice(photos: Path) -> None:
    once = select(find_images(photos), keep=30)
    twice = select(once, keep=9)
    assert len(twice.rows("train")) == 9
    assert set(twice.keys) < set(once.keys)


# ---------------------------------------------------------------- distillation


def test_the_mean_of_each_class_by_hand() -> None:
    made = distill(make_images([3, 2]), image_px=4)  # pixels 0, 1, 2 and 3, 4
    train = made.rows("train")
    assert [made.items[i][0, 0, 0] for i in train] == [1, 4]  # type: ignore[index]
    assert [made.classes[made.labels[i]] for i in train] == ["c0", "c1"]
    assert made.keys[:2] == ("distilled/mean/c0/0000", "distilled/mean/c1/0000")
    assert made.cost.seconds > 100.0


def test_groups_share_out_every_image() -> None:
    made = distill(make_images([4, 4]), per_class=4, image_px=4)
    assert sorted(int(made.items[i][0, 0, 0]) for i in made.rows("train")) == list(range(8))  # type: ignore[index]


def test_val_and_test_are_unchanged() -> None:
    images = make_images([3, 2])
    made = distill(images, image_px=4)
    for split in ("val", "test"):
        assert [made.keys[i] for i in made.rows(split)] == [images.keys[i] for i in images.rows(split)]
        assert all(made.items[i] is images.items[j] for i, j in zip(made.rows(split), images.rows(split), strict=True))


def test_colours_of_photos_survive(photos: Path) -> None:
    made = distill(find_images(photos), image_px=8)
    for name, colour in COLOURS.items():
        (row,) = (i for i in made.rows("train") if made.classes[made.labels[i]] == name)
        assert np.abs(made.items[row].mean(axis=(0, 1)) - colour).max() < 8  # type: ignore[union-attr]


def test_the_largest_centred_square_is_used() -> None:
    wide = np.zeros((4, 12, 3), dtype=np.uint8)
    wide[:, 4:8] = 200
    images = replace(make_images([1, 1]), items=(wide, wide, *make_images([1, 1]).items[2:]))
    assert distill(images, image_px=4).items[0].min() == 200  # type: ignore[union-attr]


def test_an_image_that_cannot_be_decoded_is_counted(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for index in range(8):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("RGB", (9, 9), (10 * index, 0, 0)).save(tmp_path / name / f"{index}.png")
    images = find_images(tmp_path)
    broken = images.keys[images.rows("train")[0]]
    (tmp_path / broken).write_text("not an image")
    made = distill(images, image_px=4)
    assert [entry.key for entry in made.left_out] == [broken]
    assert len(made.rows("train")) == 2


def test_too_many_a_class_and_too_few_in_one() -> None:
    with pytest.raises(SettingError, match=r"per_class=4 is more than any class has to train on: .* 3"):
        distill(make_images([3, 2]), per_class=4, image_px=4)
    made = distill(make_images([3, 2]), per_class=3, image_px=4)
    assert len(made.rows("train")) == 5
    assert any("1 of 2 classes have too few images" in note for note in made.notes)


def test_settings_change_the_fingerprint() -> None:
    images = make_images([4, 4])
    prints = {distill(images, image_px=px, per_class=n).fingerprint for px in (4, 8) for n in (1, 2)}
    assert len(prints) == 4
