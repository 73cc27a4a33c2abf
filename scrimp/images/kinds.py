"""The labelled images, as every later stage sees them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import ByteSize, Field, model_validator

from scrimp.cost import FREE, Cost
from scrimp.errors import SettingError
from scrimp.images.fingerprint import fingerprint
from scrimp.settings import Settings

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

Task = Literal["classify", "multilabel", "regress"]
Remote = Literal["copy", "stream", "cache"]


class ImageSource(Settings):
    """Where the images are and how they are divided."""

    source: str = Field(min_length=1)
    """A folder, a CSV or Parquet manifest, a pack, or the name of a data set ("digits", "cifar10", …)."""
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
    folds: int | None = Field(default=None, ge=2)
    """Cut train and val, never test, into this many parts for cross-validation, each with its share of every class."""
    fold: int = Field(default=0, ge=0)
    """Which of these parts is val, from 0; the others are train."""
    data_dir: str | None = None
    """Folder that holds, or will hold, data sets named by name; SCRIMP_DATA or the cache by default."""
    task: Task = "classify"
    """One class an image; "multilabel": any number of them; "regress": a number an image."""
    boxes: Literal["voc"] | None = None
    """Crop to the boxes of Pascal-VOC XML files; a manifest's columns x0,y0,x1,y1 need no word here."""
    box_pick: Literal["first", "largest", "each"] = "largest"
    """Which box of an image that has several; "each" makes every one of them an image of its own."""
    box_margin: float = Field(default=0.0, ge=0, le=100)
    """Room left around a box, percent of its width and height on each side, as far as the image goes."""
    subset: str | None = None
    """A kept list (kept.json) of `select`: of the training images only those that it names; val and test stay whole.
    Folds are cut from what is then left."""
    test: str | None = None
    """Where val and test come from when all of `source` is to train on; its classes must have the same names."""
    remote: Remote = "cache"
    """How images at a URI are read: all copied first, each when needed, or kept on disk once read."""
    cache_size: ByteSize = Field(default=ByteSize(20_000_000_000), gt=0)
    """Disk that "cache" may fill, such as "20GB"."""

    @model_validator(mode="after")
    def _something_is_left_to_train_on(self) -> Self:
        if self.val_fraction + self.test_fraction >= 1:
            raise SettingError(
                f"val_fraction={self.val_fraction} and test_fraction={self.test_fraction} leave nothing to "
                "train on: together they must stay below 1."
            )
        return self

    @model_validator(mode="after")
    def _what_tests_is_not_cut_down(self) -> Self:
        for name, value in {"folds": self.folds, "boxes": self.boxes}.items():
            if self.test is not None and value is not None:
                raise SettingError(f"{name}={value} is not for images that are tested on others, test='{self.test}'.")
        return self

    @model_validator(mode="after")
    def _there_is_such_a_fold(self) -> Self:
        if self.fold >= (self.folds or 1):
            have = "no folds are asked for" if self.folds is None else f"folds={self.folds} are numbered from 0"
            raise SettingError(f"fold={self.fold}, but {have}: give folds, and a fold below it.")
        return self

    @model_validator(mode="after")
    def _classes_are_counted_where_an_image_has_one(self) -> Self:
        counted = {"classes": self.classes, "min_per_class": self.min_per_class, "per_class": self.per_class}
        for name, value in counted.items():
            if value is not None and self.task != "classify":
                raise SettingError(
                    f"{name}={value} counts the images of a class, but with task='{self.task}' an image has no one "
                    "class: leave it out, or thin the manifest."
                )
        return self


class LeftOut(NamedTuple):
    """Something that was found but not used, and why."""

    key: str
    reason: str


def images_per_class(labels: npt.NDArray[Any], classes: int) -> npt.NDArray[np.int64]:
    """How many images each class has, (classes,), by labels as `Images` holds them; targets have no classes."""
    if not classes:
        return np.zeros(0, dtype=np.int64)
    return labels.sum(axis=0, dtype=np.int64) if labels.ndim == 2 else np.bincount(labels, minlength=classes)


@dataclass(frozen=True, kw_only=True, eq=False)  # eq would compare arrays; compare fingerprints
class Images:
    """n labelled images, not yet decoded.

    items: a path or URI each, or, for sets that live in memory or in a pack, a uint8 array: pixels (h, w, 3), or the
    bytes of an image file (size,).
    keys: a name each that is stable between machines ("sparrow/0001.jpg").
    labels: by task: classify int64 (n,), the index into `classes`; multilabel uint8 (n, classes), 1 where the image
    has the label; regress float32 (n,), the target, and `classes` is empty.
    splits: str (n,), "train", "val" or "test".
    boxes: float64 (n, 4), the part of each upright image that counts, x0, y0, x1, y1 in pixels from its top left
    corner, x1 and y1 just outside, without `source.box_margin`; NaN where it is the whole image; None without any box.
    box_sizes: int64 (n, 2), width and height of the image that each box was drawn on; 0 where that is not known.
    stamps: size and date, or etag, of each file, which stand for its content; empty for images in memory.
    left_out: files, folders and classes that were found and not used. notes: what else the user should know.
    mirror_ok: whether a mirrored image keeps its label (not so for digits and letters).
    fingerprint: changes whenever an image, a label or the division changes.
    """

    source: ImageSource
    items: tuple[str | npt.NDArray[np.uint8], ...]
    keys: tuple[str, ...]
    labels: npt.NDArray[Any]
    splits: npt.NDArray[np.str_]
    classes: tuple[str, ...]
    boxes: npt.NDArray[np.float64] | None = None
    box_sizes: npt.NDArray[np.int64] | None = None
    stamps: tuple[str, ...] = ()
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

    @property
    def task(self) -> Task:
        """What is to be said about an image: its class, each of its labels, or a number."""
        return self.source.task

    @property
    def outputs(self) -> int:
        """Numbers that a model gives for an image: one a class, or the target alone."""
        return len(self.classes) or 1

    def counts(self) -> dict[str, Counter[str]]:
        """Images per split and class name; one with several labels counts for each, a target has no class."""
        names = self.classes
        found = {split: images_per_class(self.labels[self.rows(split)], len(names)).tolist() for split in SPLITS}
        return {
            split: Counter({name: n for name, n in zip(names, counts, strict=True) if n})
            for split, counts in found.items()
        }

    def only(self, rows: npt.NDArray[np.int64], *, left_out: tuple[LeftOut, ...] = ()) -> Self:
        """The same set cut down to some rows; the classes keep their numbers, the fingerprint changes."""
        return replace(
            self,
            items=tuple(self.items[i] for i in rows),
            keys=tuple(self.keys[i] for i in rows),
            labels=self.labels[rows],
            splits=self.splits[rows],
            boxes=None if self.boxes is None else self.boxes[rows],
            box_sizes=None if self.box_sizes is None else self.box_sizes[rows],
            stamps=tuple(self.stamps[i] for i in rows) if self.stamps else (),
            left_out=self.left_out + left_out,
            fingerprint=fingerprint(self.fingerprint, rows),
        )
