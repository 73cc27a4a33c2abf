"""Keeps a part of the training images, and bills the choosing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from scrimp.cost import Stopwatch, shared_sensor
from scrimp.errors import SettingError, UnknownName
from scrimp.images import Images
from scrimp.images.fingerprint import fingerprint
from scrimp.images.kinds import images_per_class
from scrimp.settings import Settings, to_toml
from scrimp.subset.random import random_balanced


class Method(Protocol):
    """A way to choose: it sees the training images alone, and returns `keep` different rows of them."""

    def __call__(self, train: Images, *, keep: int, balance: bool, seed: int) -> npt.NDArray[np.int64]: ...


METHODS: Mapping[str, Method] = {"random": random_balanced}
"""Every method of selection by name."""


class Selection(Settings):
    """Which training images are kept."""

    keep: int = Field(ge=1)
    """Training images to keep; val and test stay whole."""
    method: str = "random"
    """A name from the table of methods; "random" is what the others must beat."""
    balance: bool = True
    """As many of each class as of any other, as far as they go; False, and any task but classify, takes any images."""
    seed: int = Field(default=0, ge=0)
    """Which of the possible choices; the same number gives the same one on every machine."""

    @field_validator("method")
    @classmethod
    def _method_is_known(cls, method: str) -> str:
        if method not in METHODS:
            raise UnknownName("selection method", method, METHODS)
        return method


@dataclass(frozen=True, kw_only=True, eq=False)
class Selected(Images):
    """The images with a part of the training images kept; the cost includes finding and choosing."""

    selection: Selection


def select(images: Images, *, keep: int, method: str = "random", balance: bool = True, seed: int = 0) -> Selected:
    """Keep the `keep` training images that a method chooses; val and test are neither seen nor changed.

    The arguments are those of `Selection`. Raises `SettingError` for more images than there are to train on,
    or fewer than one a class. Cost: that of the method, added to the bill.

    >>> import scrimp
    >>> images = scrimp.find_images("digits")
    >>> kept = scrimp.select(images, keep=100)
    >>> len(kept.rows("train")), len(kept.rows("test")) == len(images.rows("test"))
    (100, True)
    """
    selection = Selection(keep=keep, method=method, balance=balance, seed=seed)
    with Stopwatch(shared_sensor()) as watch:
        rows = images.rows("train")
        _check(images, rows, keep)
        balance = balance and images.task == "classify"
        chosen = METHODS[method](images.only(rows), keep=keep, balance=balance, seed=seed)
        kept = np.sort(np.concatenate([rows[chosen], images.rows("val"), images.rows("test")]))
        cut = images.only(kept)
        selected = Selected(**{part.name: getattr(cut, part.name) for part in fields(Images)}, selection=selection)
    return replace(
        selected,
        notes=(*images.notes, *_notes(images, selected)),
        fingerprint=fingerprint(cut.fingerprint, to_toml(selection)),
        cost=images.cost + watch.cost,
    )


def _check(images: Images, rows: npt.NDArray[np.int64], keep: int) -> None:
    present = len(np.unique(images.labels[rows])) if images.task == "classify" else 1
    if keep > len(rows):
        raise SettingError(
            f"keep={keep:,} is more than the {len(rows):,} training images "
            f"(of {len(images):,}, the others are val and test)."
        )
    if keep < present:
        raise SettingError(
            f"keep={keep:,} is fewer than one for each of the {present:,} classes: keep at least {present:,}."
        )


def _notes(images: Images, selected: Selected) -> list[str]:
    """What a user who asked for equal shares, or for all classes, did not get."""
    names, n = images.classes, len(images.classes)
    had = images_per_class(images.labels[images.rows("train")], n)
    kept = images_per_class(selected.labels[selected.rows("train")], n)
    notes = []
    if images.task != "classify":
        notes.append("Selected without regard to labels: an image has no one class to balance.")
    lost = [names[i] for i in np.flatnonzero((had > 0) & (kept == 0))]
    if lost:
        notes.append(f"{len(lost):,} of {n:,} classes have no image selected: {_some(lost)}.")
    short = [names[i] for i in np.flatnonzero((kept == had) & (kept < kept.max(initial=0) - 1))]
    if short and selected.selection.balance and images.task == "classify":
        notes.append(
            f"{len(short):,} of {n:,} classes have fewer images than their share, so all of theirs are kept "
            f"and others have more: {_some(short)}."
        )
    return notes


def _some(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:5]) + (", …" if len(names) > 5 else "")
