"""What a page of an inspection shows, as data URIs."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from PIL import Image

from scrimp.errors import ImageError, NotFound, StorageError
from scrimp.images.decode import open_row, reader_of, threads_to_read
from scrimp.images.inspection.baseline import Components, components_of
from scrimp.images.inspection.kinds import Direction, Duplicates, Fault, Group, Pictures
from scrimp.images.inspection.looking import THUMB_PX
from scrimp.images.inspection.naming import rows_of_class
from scrimp.images.kinds import Images
from scrimp.progress import bar
from scrimp.store import Reader, in_order

CLASSES = 40
"""Classes with pictures, at most: the largest, so that a page stays within a few megabytes."""

GROUPS = 30
"""Groups of duplicates with pictures, at most, of each kind."""

MEMBERS = 6
"""Images of a group with pictures, at most."""

FLAGGED = 12
"""Images of a fault with pictures, at most."""

BY_TARGET = "from the least target to the greatest"
"""What stands in place of a class where images have none."""

_EXAMPLES = 8  # of each class
_PX = 112
_EIGENFACES = 16
_DIRECTIONS = 8  # of each class
_OF_A_CLASS = 500  # images that they are computed from, at most


def take_pictures(
    seen: Images,
    thumbs: npt.NDArray[np.uint8],
    duplicates: Duplicates,
    faults: tuple[Fault, ...],
    components: Components | None,
) -> Pictures:
    """Small copies of the images that a page shows, of the readable ones `seen`; they are opened once more.

    Cost: at most 1,200 images decoded, about 3 kB of memory each, and 0.1 s a class for its eigenfaces.
    """
    rows = _rows_to_show(seen)
    shown = sorted((name for name in rows if len(rows[name])), key=lambda name: -len(rows[name]))[:CLASSES]
    examples = {name: rows[name][_spaced(len(rows[name]))] for name in shown}
    keys = {seen.keys[row] for chosen in examples.values() for row in chosen.tolist()}
    keys |= {key for groups in (duplicates.two_labels, duplicates.exact, duplicates.near) for key in _first_of(groups)}
    keys |= {flagged.image.key for fault in faults for flagged in fault.images[:FLAGGED]}
    return Pictures(
        images=_small_copies(seen, keys),
        examples={name: tuple(seen.keys[row] for row in chosen.tolist()) for name, chosen in examples.items()},
        means={name: _png(thumbs[rows[name]].mean(axis=0)) for name in shown},
        eigenfaces=tuple(_eigenface(axis) for axis in components.axes[:_EIGENFACES]) if components else (),
        directions={name: _directions(thumbs[rows[name]]) for name in shown if seen.task != "regress"},
    )


def _rows_to_show(seen: Images) -> dict[str, npt.NDArray[np.int64]]:
    """The training images of each class; of targets all, by target."""
    train = seen.rows("train")
    if seen.task == "regress":
        return {BY_TARGET: train[np.argsort(seen.labels[train], kind="stable")]}
    of_class = {name: rows_of_class(seen, number) for number, name in enumerate(seen.classes)}
    return {name: rows[seen.splits[rows] == "train"] for name, rows in of_class.items()}


def _spaced(n: int) -> npt.NDArray[np.int64]:
    """At most `_EXAMPLES` of n, from the first to the last at equal steps."""
    return np.linspace(0, n - 1, min(n, _EXAMPLES)).round().astype(np.int64)


def _first_of(groups: Iterable[Group]) -> list[str]:
    return [member.key for group in list(groups)[:GROUPS] for member in group.members[:MEMBERS]]


def _small_copies(seen: Images, keys: set[str]) -> dict[str, str]:
    rows = [row for row, key in enumerate(seen.keys) if key in keys]
    with reader_of(seen) as reader, bar("taking pictures", len(rows)) as advance:
        copies = {}
        every = in_order(lambda row: _small_copy(seen, row, reader), rows, threads_to_read(seen))
        for row, uri in zip(rows, every, strict=True):
            copies[seen.keys[row]] = uri
            advance(1, "")
    return {key: uri for key, uri in copies.items() if uri}


def _small_copy(seen: Images, row: int, reader: Reader) -> str:
    """A JPEG of at most 112 x 112 pixels; empty where the file has gone since."""
    try:
        image, _ = open_row(seen, row, draft_px=_PX, reader=reader)
    except (ImageError, NotFound, StorageError):
        return ""
    image.thumbnail((_PX, _PX))
    image.info = {}  # comments and profiles of the original
    return _uri(image, "JPEG", quality=85)


def _png(pixels: npt.NDArray[np.floating]) -> str:
    return _uri(Image.fromarray(np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)), "PNG", optimize=True)


def _eigenface(axis: npt.NDArray[np.float32]) -> str:
    """Grey where a component changes nothing, brighter and darker where it does."""
    return _png(127.5 + 127.5 * axis.reshape(THUMB_PX, THUMB_PX, 3) / np.abs(axis).max())


def _directions(thumbs: npt.NDArray[np.uint8]) -> tuple[Direction, ...]:
    """The eigenfaces of one class; none where it has fewer than two different images."""
    spaced = np.linspace(0, len(thumbs) - 1, min(len(thumbs), _OF_A_CLASS)).round().astype(np.int64)
    found = components_of(thumbs[spaced], _DIRECTIONS)
    if found is None:
        return ()
    return tuple(
        Direction(image=_eigenface(axis), share=share)
        for axis, share in zip(found.axes, found.facts.shares, strict=True)
    )


def _uri(image: Image.Image, kind: str, **options: object) -> str:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{b64encode(file.getvalue()).decode()}"
