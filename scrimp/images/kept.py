"""A kept list: the file that says which training images a selection chose, and what that had cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from scrimp.cost import Cost
from scrimp.errors import SettingError
from scrimp.images.fingerprint import composed, fingerprint
from scrimp.images.kinds import Images
from scrimp.store import read_bytes, write_whole


class Kept(BaseModel):
    """What `Selected.save` writes.

    source: where the images were. chosen_from: how many training images there were. fingerprint: of their names and
    labels. keys: of those kept, sorted. selection: every setting of it, among them method and seed. objective: the
    method's own measure, the mean over the classes; None where it has none. cost: of choosing alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    chosen_from: int
    fingerprint: str
    keys: tuple[str, ...]
    method: str
    seed: int
    selection: dict[str, Any]
    objective: float | None
    cost: Cost

    def write(self, path: str | Path) -> None:
        """Writes the list, whole or not at all."""
        write_whole(path, self.model_dump_json(indent=1).encode())


def read_kept(path: str | Path) -> Kept:
    """A kept list from its file or URI. Raises `NotFound`, or `SettingError` where it is something else."""
    try:
        return Kept.model_validate_json(read_bytes(path))
    except (ValidationError, UnicodeDecodeError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise SettingError(f"'{path}' is not a list that 'scrimp select' wrote: {first}.") from None


def training_print(images: Images) -> str:
    """Changes with the name or label of any training image; not with their dates or place, so that a copy fits too.

    Nor with the spelling of accented letters, by which a copy may have its names in another order.
    """
    rows, classes = images.rows("train"), list(map(composed, images.classes))
    keys = [composed(images.keys[row]) for row in rows]
    by_name = np.array(sorted(range(len(classes)), key=classes.__getitem__), dtype=np.int64)
    labels = images.labels[rows]
    if images.task == "classify":
        labels = np.argsort(by_name)[labels]
    elif images.task == "multilabel":
        labels = labels[:, by_name]
    if not all(map(str.isascii, keys)):
        order = sorted(range(len(keys)), key=keys.__getitem__)
        keys, labels = [keys[i] for i in order], labels[order]
    return fingerprint(keys, labels, sorted(classes), images.task)


def only_kept(images: Images, path: str) -> Images:
    """The images with those training images alone that a kept list names, and with its cost; val and test stay whole.

    Raises `SettingError` where the list was made from other training images.
    """
    kept, train = read_kept(path), images.rows("train")
    names = set(map(composed, kept.keys))
    chosen = [row for row in train.tolist() if composed(images.keys[row]) in names]
    if len(chosen) < len(names) or training_print(images) != kept.fingerprint:
        missing = sorted(names - {composed(images.keys[row]) for row in chosen})
        told = (
            f"{len(missing):,} of its {len(names):,} are not, such as '{missing[0]}'"
            if missing
            else ("all it names are there, but some image was added, removed, renamed or labelled otherwise")
        )
        raise SettingError(
            f"subset='{path}' does not match the images: it was chosen from {kept.chosen_from:,} training images of "
            f"'{kept.source}', and here are {len(train):,} of '{images.source.source}'; {told}. Select again, or give "
            "the options that the images were found with (classes, per_class, split_seed, test, …)."
        )
    rows = np.sort(np.concatenate([np.array(chosen, dtype=np.int64), images.rows("val"), images.rows("test")]))
    note = f"{len(chosen):,} of {len(train):,} training images are kept, by method '{kept.method}', as in '{path}'."
    return replace(images.only(rows), notes=(*images.notes, note), cost=images.cost + kept.cost)
