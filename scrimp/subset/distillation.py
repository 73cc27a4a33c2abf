"""Replaces the training images by a few made out of them, and bills the making."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from pydantic import Field, field_validator

from scrimp.cost import Stopwatch, shared_sensor
from scrimp.errors import ImageError, SettingError, UnknownName
from scrimp.images import Images, LeftOut
from scrimp.images.decode import open_row, reader_of, threads_to_read
from scrimp.images.fingerprint import fingerprint
from scrimp.images.split import ordered_by_class
from scrimp.settings import Settings, to_toml
from scrimp.store import Reader, in_order
from scrimp.subset.mean import mean_image

Pixels = npt.NDArray[np.uint8]

METHODS: Mapping[str, Callable[[Iterable[Pixels]], Pixels]] = {"mean": mean_image}
"""Every method of distillation by name: it makes one image (px, px, 3) out of many."""


class Distillation(Settings):
    """What the training images are boiled down to."""

    per_class: int = Field(default=1, ge=1)
    """Images made for each class; its training images are dealt into as many groups, one image from each."""
    method: str = "mean"
    """A name from the table of methods; "mean" averages."""
    image_px: int = Field(default=32, ge=1, le=1024)
    """Side of the images made, in pixels; the largest centred square of each image is scaled to it."""

    @field_validator("method")
    @classmethod
    def _method_is_known(cls, method: str) -> str:
        if method not in METHODS:
            raise UnknownName("distillation method", method, METHODS)
        return method


@dataclass(frozen=True, kw_only=True, eq=False)
class Distilled(Images):
    """The images with made ones for training; the cost includes finding, decoding and making."""

    distillation: Distillation


def distill(images: Images, *, per_class: int = 1, method: str = "mean", image_px: int = 32) -> Distilled:
    """Replace the training images by `per_class` made ones a class; val and test are not seen or changed.

    The arguments are those of `Distillation`. Images that cannot be decoded are left out and counted.
    Raises `SettingError` for more images a class than any class has and for other tasks than classify, `ImageError`
    when none can be decoded.
    Cost: decoding every training image once, added to the bill; memory for one image at a time.

    >>> import scrimp
    >>> small = scrimp.distill(scrimp.find_images("digits"), image_px=8)
    >>> len(small.rows("train")), small.items[0].shape
    (10, (8, 8, 3))
    """
    distillation = Distillation(per_class=per_class, method=method, image_px=image_px)
    if images.task != "classify":
        raise SettingError(
            f"distill makes images of one class each, but with task='{images.task}' an image has no one class: use "
            "select to train on fewer images."
        )
    with Stopwatch(shared_sensor()) as watch:
        left_out: list[LeftOut] = []
        with reader_of(images) as reader:
            made, labels, notes = _make(images, distillation, left_out, reader)
        held_out = np.concatenate([images.rows("val"), images.rows("test")])
        rest = images.only(held_out, left_out=tuple(left_out))
        whole = {part.name: getattr(rest, part.name) for part in fields(Images)}
        digests = fingerprint(images.fingerprint, to_toml(distillation), np.stack(made))
    whole |= {
        "items": (*made, *rest.items),
        "keys": (*_keys(images, labels, method), *rest.keys),
        "boxes": _below_blanks(len(made), rest.boxes, np.nan),
        "box_sizes": _below_blanks(len(made), rest.box_sizes, 0),
        "stamps": (*("",) * len(made), *rest.stamps) if rest.stamps else (),
        "labels": np.concatenate([np.array(labels, dtype=np.int64), rest.labels]),
        "splits": np.concatenate([np.full(len(made), "train", dtype="<U5"), rest.splits]),
        "notes": (*images.notes, *notes, *reader.told()),
        "fingerprint": digests,
        "cost": images.cost + watch.cost,
    }
    return Distilled(**whole, distillation=distillation)


def _make(
    images: Images, distillation: Distillation, left_out: list[LeftOut], reader: Reader
) -> tuple[list[Pixels], list[int], list[str]]:
    """The images made, their labels, and what fell short."""
    per_class, make = distillation.per_class, METHODS[distillation.method]
    by_class = ordered_by_class(images.keys, images.labels, images.rows("train"), salt="distill")
    largest = max((len(rows) for rows in by_class), default=0)
    if per_class > largest:
        raise SettingError(
            f"per_class={per_class:,} is more than any class has to train on: the largest has {largest:,}."
        )
    made: list[Pixels] = []
    labels: list[int] = []
    short = 0
    for rows in by_class:
        before = len(made)
        for group in range(min(per_class, len(rows))):
            squares = _squares(images, rows[group::per_class], distillation.image_px, left_out, reader)
            first = next(squares, None)
            if first is not None:
                made.append(make(_chain(first, squares)))
                labels.append(int(images.labels[rows[0]]))
        short += len(made) - before < per_class
    if not made:
        raise ImageError(f"None of the {len(images.rows('train')):,} training images can be decoded.")
    told = f"{short:,} of {len(by_class):,} classes have too few images for per_class={per_class:,}."
    return made, labels, [told] if short else []


def _squares(
    images: Images, rows: npt.NDArray[np.int64], image_px: int, left_out: list[LeftOut], reader: Reader
) -> Iterator[Pixels]:
    """The largest centred square of each image at (image_px, image_px, 3), antialiased."""

    def square(row: int) -> Pixels | LeftOut:
        try:
            image, _ = open_row(images, row, draft_px=image_px, reader=reader)
        except ImageError as error:
            return LeftOut(images.keys[row], str(error))
        return np.asarray(ImageOps.fit(image, (image_px, image_px), Image.Resampling.BICUBIC))

    for found in in_order(square, rows.tolist(), threads_to_read(images)):
        if isinstance(found, LeftOut):
            left_out.append(found)
        else:
            yield found


def _below_blanks(count: int, column: npt.NDArray[Any] | None, blank: float) -> npt.NDArray[Any] | None:
    """A column of the other images with blank rows on top, for the images made; None stays None."""
    return None if column is None else np.vstack([np.full((count, column.shape[1]), blank, column.dtype), column])


def _chain(first: Pixels, others: Iterator[Pixels]) -> Iterator[Pixels]:
    yield first
    yield from others


def _keys(images: Images, labels: list[int], method: str) -> list[str]:
    """A key for each image made: its method, class and number within the class."""
    numbers: dict[int, int] = {}
    keys = []
    for label in labels:
        numbers[label] = numbers.get(label, -1) + 1
        keys.append(f"distilled/{method}/{images.classes[label]}/{numbers[label]:04d}")
    return keys
