"""Replaces the training images by a few made out of them, and bills the making."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from pydantic import Field, field_validator, model_validator

from scrimp.cost import FREE, Cost, Stopwatch, shared_sensor
from scrimp.errors import ImageError, SettingError, UnknownName
from scrimp.images import Images, LeftOut
from scrimp.images.decode import open_row, reader_of, threads_to_read
from scrimp.images.fingerprint import fingerprint
from scrimp.images.split import ordered_by_class
from scrimp.settings import Settings, to_toml
from scrimp.store import Reader, in_order
from scrimp.subset.mean import mean_image

if TYPE_CHECKING:
    from scrimp.subset.distilling.making import Lesson

Pixels = npt.NDArray[np.uint8]

METHODS = ("mean", "real", "k-center", "real-labels", "dm", "dsa", "frepo")
"""Every method of distillation by name; those from the fourth on learn: labels alone, or images too."""
LEARNED = METHODS[3:]


class Distillation(Settings):
    """What the training images are boiled down to."""

    per_class: int = Field(default=1, ge=1)
    """Images for each class."""
    method: str = "mean"
    """A name from the table of methods; "mean" averages groups of images, "real" and "k-center" take some as they are,
    the others learn."""
    image_px: int = Field(default=32, ge=1, le=1024)
    """Side of the images made, in pixels; the largest centred square of each image is scaled to it. A power of two for
    methods that learn."""
    formation: int = Field(default=1, ge=1, le=4)
    """Images along each side of one made: 2 learns four of half the side in the pixels of one."""
    steps: int | None = Field(default=None, ge=1)
    """Steps of learning; by default what the method is worth."""
    max_seconds: float | None = Field(default=None, gt=0)
    """Learning ends here, where its steps have not ended it before."""
    seed: int = Field(default=0, ge=0)
    """Which real images are taken or begun from, and every other draw."""

    @field_validator("method")
    @classmethod
    def _method_is_known(cls, method: str) -> str:
        if method not in METHODS:
            raise UnknownName("distillation method", method, METHODS)
        return method

    @model_validator(mode="after")
    def _only_what_learns_is_told_how(self) -> Self:
        told = {"steps": self.steps, "max_seconds": self.max_seconds}
        told["formation"] = self.formation if self.formation > 1 else None
        for name, value in told.items():
            if value is not None and self.method not in LEARNED:
                raise SettingError(
                    f"{name}={value} is for methods that learn ({', '.join(LEARNED)}), and method='{self.method}' does "
                    "not: leave it out."
                )
        if self.method in LEARNED and (self.image_px < 8 or self.image_px & (self.image_px - 1)):
            raise SettingError(
                f"method='{self.method}' learns at 8, 16, 32, 64, … pixels, not image_px={self.image_px}."
            )
        if self.image_px % self.formation:
            raise SettingError(f"formation={self.formation} does not divide image_px={self.image_px}.")
        return self


@dataclass(frozen=True, kw_only=True, eq=False)
class Distilled(Images):
    """The images with made ones for training; the cost includes finding, decoding and making.

    lesson: what a method that learns made, exactly; None for the others. steps: that it made. making: what making
    alone cost. status: "finished", or "interrupted" by Ctrl-C.
    """

    distillation: Distillation
    lesson: Lesson | None
    steps: int | None
    making: Cost
    status: str

    def save(self, folder: str | Path) -> None:
        """Writes `train/CLASS/0000.png`, `distilled.json`, `grid.png` and, where it was learned, the exact tensors."""
        from scrimp.subset.distilling.saving import save

        save(self, Path(folder))


@dataclass(frozen=True)
class _Made:
    """Images, their classes, and what is to be told of them."""

    items: list[Pixels]
    labels: list[int]
    notes: list[str]
    left_out: tuple[LeftOut, ...] = ()
    lesson: Lesson | None = None
    steps: int | None = None
    earlier: Cost = FREE
    interrupted: bool = False


def distill(
    images: Images,
    *,
    per_class: int = 1,
    method: str = "mean",
    image_px: int = 32,
    formation: int = 1,
    steps: int | None = None,
    max_seconds: float | None = None,
    seed: int = 0,
    out: str | Path | None = None,
) -> Distilled:
    """Replace the training images by `per_class` made ones a class; val and test are not seen or changed.

    The arguments are those of `Distillation`. Images that cannot be decoded are left out and counted.
    out: folder for `grid.png`, written anew as learning goes on, and `checkpoint.pt`, from which the same call goes on
    after a kill; at the end `Distilled.save` writes the rest there. Ctrl-C ends the learning, not the program.
    Raises `SettingError` for more images a class than any class has and for other tasks than classify, `ImageError`
    when none can be decoded.
    Cost: decoding every training image once, added to the bill; memory for one image at a time, or, where the method
    learns, for a few hundred, and a pack in the cache. Learning takes minutes to hours: `max_seconds` limits it.

    >>> import scrimp
    >>> small = scrimp.distill(scrimp.find_images("digits"), image_px=8)
    >>> len(small.rows("train")), small.items[0].shape
    (10, (8, 8, 3))
    """
    distillation = Distillation(
        per_class=per_class,
        method=method,
        image_px=image_px,
        formation=formation,
        steps=steps,
        max_seconds=max_seconds,
        seed=seed,
    )
    if images.task != "classify":
        raise SettingError(
            f"distill makes images of one class each, but with task='{images.task}' an image has no one class: use "
            "select to train on fewer images."
        )
    if out:
        from scrimp.subset.distilling.saving import check_folder

        check_folder(Path(out), distillation, images.source)
    with Stopwatch(shared_sensor()) as watch:
        by_class = ordered_by_class(images.keys, images.labels, images.rows("train"), salt="distill")
        largest = max((len(rows) for rows in by_class), default=0)
        if per_class > largest:
            raise SettingError(
                f"per_class={per_class:,} is more than any class has to train on: the largest has {largest:,}."
            )
        made = _make(images, by_class, distillation, Path(out) if out else None, watch)
        whole = _above_held_out(images, made, distillation)
    making = made.earlier + watch.cost
    distilled = Distilled(
        **whole,
        cost=images.cost + making,
        distillation=distillation,
        lesson=made.lesson,
        steps=made.steps,
        making=making,
        status="interrupted" if made.interrupted else "finished",
    )
    if out:
        distilled.save(out)
    return distilled


def _above_held_out(images: Images, made: _Made, distillation: Distillation) -> dict[str, Any]:
    """The fields of `Images`, but for the cost: the images made, for training, and below them those of val and test."""
    rest = images.only(np.concatenate([images.rows("val"), images.rows("test")]), left_out=made.left_out)
    count = len(made.items)
    whole = {part.name: getattr(rest, part.name) for part in fields(Images) if part.name != "cost"}
    return whole | {
        "items": (*made.items, *rest.items),
        "keys": (*_keys(images, made.labels, distillation.method), *rest.keys),
        "boxes": _below_blanks(count, rest.boxes, np.nan),
        "box_sizes": _below_blanks(count, rest.box_sizes, 0),
        "stamps": (*("",) * count, *rest.stamps) if rest.stamps else (),
        "labels": np.concatenate([np.array(made.labels, dtype=np.int64), rest.labels]),
        "splits": np.concatenate([np.full(count, "train", dtype="<U5"), rest.splits]),
        "notes": (*images.notes, *made.notes),
        "fingerprint": fingerprint(images.fingerprint, to_toml(distillation), *made.items),
    }


def _make(
    images: Images,
    by_class: list[npt.NDArray[np.int64]],
    distillation: Distillation,
    folder: Path | None,
    watch: Stopwatch,
) -> _Made:
    if distillation.method in LEARNED:
        from scrimp.subset.distilling.making import make

        return _Made(**make(images, distillation, folder, watch))
    left_out: list[LeftOut] = []
    with reader_of(images) as reader:
        items, labels, short = _not_learned(images, by_class, distillation, left_out, reader)
        told = reader.told()
    if not items:
        raise ImageError(f"None of the {len(images.rows('train')):,} training images can be decoded.")
    if short:
        told = [
            f"{short:,} of {len(by_class):,} classes have too few images for per_class={distillation.per_class:,}.",
            *told,
        ]
    return _Made(items, labels, told, tuple(left_out))


def _not_learned(
    images: Images,
    by_class: list[npt.NDArray[np.int64]],
    distillation: Distillation,
    left_out: list[LeftOut],
    reader: Reader,
) -> tuple[list[Pixels], list[int], int]:
    """Averages, or real images: by chance, or those from which no other is far; and how many classes fell short."""
    per_class = distillation.per_class

    def squares(rows: npt.NDArray[np.int64]) -> Iterator[Pixels]:
        return _squares(images, rows, distillation.image_px, left_out, reader)

    if distillation.method == "k-center":
        by_class = _centres_first(images, by_class, per_class)
    elif distillation.method == "real":
        draw = np.random.default_rng(distillation.seed)
        by_class = [draw.permutation(rows) for rows in by_class]
    items: list[Pixels] = []
    labels: list[int] = []
    short = 0
    for rows in by_class:
        made = _averages(rows, per_class, squares) if distillation.method == "mean" else squares(rows)
        found = list(islice(made, per_class))
        items += found
        labels += [int(images.labels[rows[0]])] * len(found) if found else []
        short += len(found) < per_class
    return items, labels, short


def _averages(
    rows: npt.NDArray[np.int64], per_class: int, squares: Callable[[npt.NDArray[np.int64]], Iterator[Pixels]]
) -> Iterator[Pixels]:
    """A class dealt into `per_class` groups, and one image made of each in which any can be decoded."""
    for group in range(min(per_class, len(rows))):
        some = squares(rows[group::per_class])
        first = next(some, None)
        if first is not None:
            yield mean_image(chain([first], some))


def _centres_first(
    images: Images, by_class: list[npt.NDArray[np.int64]], per_class: int
) -> list[npt.NDArray[np.int64]]:
    """Of each class the image nearest to its mean, then each time the one furthest from those before, by pixels."""
    from scrimp.subset.features import PIXELS, see
    from scrimp.subset.k_center import furthest_first
    from scrimp.subset.pool import unit

    seen = see(images, PIXELS, None)
    features = unit(seen.values)
    labels = images.labels[seen.rows]
    found = []
    for rows in by_class:
        own = np.flatnonzero(labels == images.labels[rows[0]])
        if not len(own):
            found.append(rows)
            continue
        central = int((features[own] @ features[own].mean(0)).argmax())
        chosen, _ = furthest_first(features[own], central, min(per_class, len(own)))
        found.append(seen.rows[own[chosen]])
    return found


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


def _keys(images: Images, labels: list[int], method: str) -> list[str]:
    """A key for each image made: its method, class and number within the class."""
    numbers: dict[int, int] = {}
    keys = []
    for label in labels:
        numbers[label] = numbers.get(label, -1) + 1
        keys.append(f"distilled/{method}/{images.classes[label]}/{numbers[label]:04d}")
    return keys
