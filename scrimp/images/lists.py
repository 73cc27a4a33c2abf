"""The lists of training and test images that come with a data set, as Stanford Dogs' do."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from scrimp import store
from scrimp.errors import ImageError
from scrimp.images.boxes import some
from scrimp.images.kinds import Split

_SUFFIXES = (".mat", ".txt")


class Lists(NamedTuple):
    """split: "train" or "test" by the key of the image. notes: what the user should know of them."""

    split: Mapping[str, Split]
    notes: list[str]


def find_lists(folder: str) -> dict[Split, str]:
    """The paths of train_list.mat and test_list.mat, or .txt, in a folder; empty where neither is there."""
    found: dict[Split, str] = {}
    splits: tuple[Split, ...] = ("train", "test")
    for split in splits:
        paths = [store.join(folder, f"{split}_list{suffix}") for suffix in _SUFFIXES]
        there = [path for path in paths if store.describe(path) is not None]
        found |= {split: there[0]} if there else {}
    return found


def read_lists(paths: Mapping[Split, str], keys: Collection[str]) -> Lists:
    """Which of the images `keys` are for training and which for the test, by the lists found by `find_lists`.

    Raises `ImageError` where a list cannot be read, or an image is in both.
    """
    if len(paths) == 1:
        [(split, path)] = paths.items()
        other = "test" if split == "train" else "train"
        return Lists({}, [f"'{path}' is not used: there is no {other}_list beside it."])
    train, test = _names(paths["train"]), _names(paths["test"])
    both = sorted({*train} & {*test})
    if both:
        raise ImageError(
            f"{len(both):,} of {len(train):,} images in '{paths['train']}' are in '{paths['test']}' as well: "
            f"{some(both)}. Delete them from one of the two."
        )
    listed: dict[str, Split] = {**dict.fromkeys(train, "train"), **dict.fromkeys(test, "test")}
    here = {key: listed[key] for key in keys if key in listed}
    names = f"'{paths['train']}' ({len(train):,} images) and '{paths['test']}' ({len(test):,})"
    if not here:
        return Lists({}, [f"{names} are not used: none of their images is here, where the first is '{min(keys)}'."])
    notes = [f"The split is that of {names}; val is cut from train."]
    gone = [name for name in listed if name not in here]
    if gone:
        notes.append(f"{len(gone):,} of the {len(listed):,} images in these lists are not here: {some(gone)}.")
    return Lists(here, notes)


def _names(path: str) -> list[str]:
    content = store.read_bytes(path)
    try:
        lines = _of_matlab(content) if path.endswith(".mat") else content.decode("utf-8-sig").splitlines()
    except Exception as error:  # what a damaged file makes of a reader has no bounds
        why = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
        raise ImageError(f"'{path}' cannot be read as a list of images: {why}.") from None
    return [line.strip().replace("\\", "/") for line in lines if line.strip()]


def _of_matlab(content: bytes) -> list[str]:
    from scipy.io import loadmat

    cells = loadmat(io.BytesIO(content), variable_names=["file_list"]).get("file_list")
    if cells is None:
        raise ValueError("it has no variable 'file_list'")
    return [str(np.ravel(cell)[0]) for cell in np.ravel(cells)]
