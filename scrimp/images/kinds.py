"""The labelled images, as every later stage sees them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from scrimp.cost import FREE, Cost
from scrimp.errors import SettingError
from scrimp.images.fingerprint import fingerprint
from scrimp.settings import Settings

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


class ImageSource(Settings):
    """Where the images are and how they are divided."""

    source: str = Field(min_length=1)
    """A folder, a CSV or Parquet manifest, or the name of a data set ("digits", "cifar10", …)."""
    classes: int | None = Field(default=None, ge=2)
    """Keep this many classes, the largest ones, a given test split not counted; every class by default."""
    min_per_class: int | None = Field(default=None, ge=1)
    """Leave out classes with fewer images than this, a given test split not counted."""
    per_class: int | None = Field(default=None, ge=1)
    """Keep at most this many images a class; a test split that came with the data stays whole."""
    val_fraction: float = Field(default=0.15, gt=0, lt=1)
    """Part of the images outside a given test split, 0 to 1, cut off for choosing, where no val came."""
    test_fraction: float = Field(default=0.15, gt=0, lt=1)
    """Part of the images, 0 to 1, cut off for reporting, where no test split (nor val) came with them."""
    split_seed: int = Field(default=0, ge=0)
    """Which of the possible divisions; the same number gives the same one on every machine."""
    data_dir: str | None = None
    """Folder that holds, or will hold, data sets named by name; SCRIMP_DATA or the cache by default."""

    @model_validator(mode="after")
    def _something_is_left_to_train_on(self) -> Self:
        if self.val_fraction + self.test_fraction >= 1:
            raise SettingError(
                f"val_fraction={self.val_fraction} and test_fraction={self.test_fraction} leave nothing to "
                "train on: together they must stay below 1."
            )
        return self


class LeftOut(NamedTuple):
    """Something that was found but not used, and why."""

    key: str
    reason: str


@dataclass(frozen=True, kw_only=True, eq=False)  # eq would compare arrays; compare fingerprints
class Images:
    """n labelled images, not yet decoded.

    items: a path or URI each, or, for sets that live in memory, a uint8 array (h, w, 3).
    keys: a name each that is stable between machines ("sparrow/0001.jpg").
    labels: int64 (n,), the index into `classes`. splits: str (n,), "train", "val" or "test".
    left_out: files, folders and classes that were found and not used. notes: what else the user should know.
    mirror_ok: whether a mirrored image keeps its label (not so for digits and letters).
    fingerprint: changes whenever an image, a label or the division changes.
    """

    source: ImageSource
    items: tuple[str | npt.NDArray[np.uint8], ...]
    keys: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    splits: npt.NDArray[np.str_]
    classes: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    mirror_ok: bool = True
    fingerprint: str
    cost: Cost = FREE

    def __len__(self) -> int:
        return len(self.items)

    def rows(self, split: Split) -> npt.NDArray[np.int64]:
        """Indices of the images of a split, ascending."""
        return np.flatnonzero(self.splits == split)

    def counts(self) -> dict[str, Counter[str]]:
        """Images per split and class name."""
        names = np.array(self.classes)
        return {split: Counter(names[self.labels[self.rows(split)]].tolist()) for split in SPLITS}

    def only(self, rows: npt.NDArray[np.int64], *, left_out: tuple[LeftOut, ...] = ()) -> Self:
        """The same set cut down to some rows; the classes keep their numbers, the fingerprint changes."""
        items, keys = tuple(self.items[i] for i in rows), tuple(self.keys[i] for i in rows)
        return replace(
            self,
            items=items,
            keys=keys,
            labels=self.labels[rows],
            splits=self.splits[rows],
            left_out=self.left_out + left_out,
            fingerprint=fingerprint(self.fingerprint, rows),
        )
