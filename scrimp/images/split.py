"""Cuts off the images that nothing may learn or choose from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from scrimp.images.fingerprint import hash_ranks

Labels = npt.NDArray[np.int64]
Splits = npt.NDArray[np.str_]


def promote_val(given: Splits) -> tuple[Splits, str | None]:
    """Given splits (n,), "" where undecided; where val came without a test split, val becomes the test split.

    So ImageNet's figures are reported, and so nothing is chosen on what is reported.
    """
    if "val" not in given or "test" in given:
        return given, None
    note = "The data bring val but no test split: their val is the test split here, and val is cut from train."
    return np.where(given == "val", "test", given), note


def divide(
    keys: Sequence[str],
    labels: Labels,
    given: Splits,
    *,
    val_fraction: float,
    test_fraction: float,
    seed: int,
) -> Splits:
    """The split of each image, (n,): "train", "val" or "test"; a split that came with the data stays.

    What is missing is cut from the rest, class by class. The order is that of a hash of each key, so
    it is the same on every machine, and another image moves at most one of its class over each border.
    Test is taken from the low end of the order and val from the high end, so that no image ever moves
    between those two. Rows of the same key are parts of one image: they go to one split together, and count
    as one image of the rarest of their classes. Cost: a few seconds per million images.
    """
    if len(set(keys)) < len(keys):
        heads, image = _images_of(keys, labels)
        splits = divide(
            [keys[row] for row in heads],
            labels[heads],
            given[heads],
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            seed=seed,
        )
        return splits[image]
    splits = np.where(given == "", "train", given).astype("<U5")
    cut_test, cut_val = "test" not in given, "val" not in given
    free = np.flatnonzero(splits == "train")
    if not free.size or not (cut_test or cut_val):
        return splits
    for rows in ordered_by_class(keys, labels, free, salt=str(seed)):
        n_val, n_test = sizes(len(rows), val_fraction * cut_val, test_fraction * cut_test)
        splits[rows[:n_test]] = "test"
        splits[rows[len(rows) - n_val :]] = "val"
    return splits


def deal_folds(keys: Sequence[str], labels: Labels, splits: Splits, folds: int) -> Labels:
    """Which of `folds` parts each image outside test falls into, (n,); -1 in test.

    Each class is dealt in the order of a hash of its keys, and the next class goes on where it ended, so that both
    classes and parts differ by one image at most, and it is the same on every machine. Rows of the same key stay
    together, as in `divide`.
    """
    heads, image = _images_of(keys, labels)
    part = np.full(len(heads), -1)
    free = np.flatnonzero(splits[heads] != "test")
    dealt = ordered_by_class([keys[row] for row in heads], labels[heads], free, salt="fold")
    if dealt:
        part[np.concatenate(dealt)] = np.arange(len(free)) % folds
    return part[image]


def _images_of(keys: Sequence[str], labels: Labels) -> tuple[Labels, Labels]:
    """A row for each different key, the one of its rarest label; and for each row the number of its key."""
    numbers: dict[str, int] = {}
    image = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    order = np.lexsort((labels, np.bincount(labels)[labels], image))
    first = np.flatnonzero(np.diff(image[order], prepend=-1))
    return order[first], image


def sizes(n: int, val_fraction: float, test_fraction: float) -> tuple[int, int]:
    """How many of a class's n images go to val and to test; a fraction of 0 takes none.

    Each split that is wanted gets at least one, but train comes first, then val: a class of one image
    is only trained on, a class of two has no test image.
    """
    n_val = min(_at_least_one(n, val_fraction), n - 1)
    n_test = min(_at_least_one(n, test_fraction), n - 1 - n_val)
    if n_test < 1 <= n_val - 1 and test_fraction:  # val took all there was to take
        n_val, n_test = n_val - 1, 1
    return n_val, n_test


def keep_per_class(keys: Sequence[str], labels: Labels, splits: Splits, keep: int, seed: int) -> Labels:
    """Ascending rows with at most `keep` images a class; a test split that came with the data stays whole.

    A larger `keep` extends a smaller one.
    """
    free = np.flatnonzero(splits != "test")
    kept = [rows[:keep] for rows in ordered_by_class(keys, labels, free, salt=f"keep/{seed}")]
    return np.sort(np.concatenate([np.flatnonzero(splits == "test"), *kept]))


def ordered_by_class(keys: Sequence[str], labels: Labels, rows: Labels, salt: str) -> list[Labels]:
    """The rows of each class in turn, ordered by a hash of their keys."""
    if not len(rows):
        return []
    ranks = hash_ranks([keys[row] for row in rows], salt)
    order = np.lexsort((ranks, labels[rows]))
    borders = np.flatnonzero(np.diff(labels[rows][order])) + 1
    return np.split(rows[order], borders)


def _at_least_one(n: int, fraction: float) -> int:
    return max(1, int(n * fraction + 0.5)) if fraction else 0
