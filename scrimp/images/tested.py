"""Images to train on from one place, val and test from another."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from scrimp.errors import ImageError
from scrimp.images.fingerprint import fingerprint
from scrimp.images.kinds import Images
from scrimp.store import is_uri


def tested_on(images: Images, others: Images) -> Images:
    """The training images of one set with the val and test images of another.

    Raises `ImageError` where their classes do not have the same names, or where an image would be in both.
    """
    here, there = images.source.source, others.source.source
    if images.classes != others.classes:
        only_here = sorted(set(images.classes) - set(others.classes))
        only_there = sorted(set(others.classes) - set(images.classes))
        raise ImageError(
            f"'{here}' cannot be tested on '{there}': their {len(images.classes):,} and {len(others.classes):,} "
            f"classes do not have the same names. Only in the first: {_some(only_here)}; only in the second: "
            f"{_some(only_there)}. Rename the folders, or give the data that the first was made from."
        )
    train = images.only(images.rows("train"))
    held = others.only(np.sort(np.concatenate([others.rows("val"), others.rows("test")])))
    held_at = _places(held)
    both = held_at.keys() & _places(train).keys()
    if both:
        names = sorted(held_at[place] for place in both)
        raise ImageError(
            f"'{here}' cannot be tested on '{there}': {len(both):,} of {len(held):,} images to test on are trained on "
            f"as well: {_some(names)}. Give images that the first does not hold, or leave 'test' out."
        )
    sets = (train, held)
    stamped = any(one.stamps for one in sets)
    return replace(
        train,
        items=train.items + held.items,
        keys=(*(f"{here}/{key}" for key in train.keys), *(f"{there}/{key}" for key in held.keys)),
        labels=np.concatenate([train.labels, held.labels]),
        splits=np.concatenate([train.splits, held.splits]),
        boxes=_stacked([(one.boxes, len(one)) for one in sets], np.nan),
        box_sizes=_stacked([(one.box_sizes, len(one)) for one in sets], 0),
        stamps=tuple(stamp for one in sets for stamp in one.stamps or ("",) * len(one)) if stamped else (),
        left_out=train.left_out + held.left_out,
        notes=(*train.notes, *held.notes, f"Val and test come from '{there}'."),
        mirror_ok=train.mirror_ok and held.mirror_ok,
        fingerprint=fingerprint(train.fingerprint, held.fingerprint),
    )


def _places(images: Images) -> dict[str, str]:
    """The key of each image by where it lies, links followed."""
    pairs = zip(images.items, images.keys, strict=True)
    source = images.source.source
    return {(f"{source}/{key}" if not isinstance(item, str) else _real(item)): key for item, key in pairs}


def _real(item: str) -> str:
    return item if is_uri(item) else os.path.realpath(item)


def _some(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:5]) + (", …" if len(names) > 5 else "") if names else "none"


def _stacked(columns: list[tuple[npt.NDArray[Any] | None, int]], blank: float) -> npt.NDArray[Any] | None:
    """Rows of both, blank ones where a set has none; None where neither has."""
    known = next((column for column, _ in columns if column is not None), None)
    if known is None:
        return None
    width, kind = known.shape[1], known.dtype
    return np.vstack([np.full((count, width), blank, kind) if one is None else one for one, count in columns])
