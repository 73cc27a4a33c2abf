"""One pass over the pixels: every image is decoded once, and what is kept of it has the same few bytes for all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from scrimp.errors import ImageError, NotFound, StorageError
from scrimp.images.decode import full_size, open_row, reader_of, threads_to_read
from scrimp.images.kinds import Images, LeftOut
from scrimp.images.printable import printable
from scrimp.progress import bar
from scrimp.store import Reader, in_order, is_uri

THUMB_PX = 32
"""Side of the thumbnails that everything after this pass works with."""

_DRAFT_PX = 256  # JPEGs are decoded no smaller: enough for every measure here, and four times as fast for photos
_BLUR_PX = 224  # what is sharp at the size that models see is sharp enough
_WINDOW = 9  # pixels: the blur that an image is compared with
_AHEAD = 256  # images in flight: bounds memory, keeps all threads busy

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Looks:
    """What is kept of n readable images: `rows` says which of all they are.

    thumbs: uint8 (n, 32, 32, 3), the whole image squeezed into a square. digests: equal for equal pixels.
    sizes: (n, 2), width and height in pixels, upright. brightest: the 99th percentile of luma, 0 to 1; darkest: the
    5th. spread: what lies between the 1st and the 99th percentile, 0 to 1, in the colour where it is widest.
    blur: 0 to 1, NaN where an image is too small or too plain to tell. notes: where remote images were read from.
    Cost: 3.1 kB of memory an image.
    """

    rows: npt.NDArray[np.int64]
    thumbs: npt.NDArray[np.uint8]
    digests: list[bytes]
    sizes: npt.NDArray[np.int64]
    brightest: Floats
    darkest: Floats
    spread: Floats
    blur: Floats
    oddities: dict[str, int]
    unreadable: dict[int, LeftOut]
    notes: list[str]


class _Look(NamedTuple):
    thumb: npt.NDArray[np.uint8]
    digest: bytes
    size: tuple[int, int]
    brightest: float
    darkest: float
    spread: float
    blur: float
    oddities: list[str]


def look(images: Images) -> Looks:
    """Decodes every image once, over all cores, and keeps what the rest of the inspection needs of each.

    What cannot be read is listed with its reason and never ends the pass.
    """
    thumbs = np.empty((len(images), THUMB_PX, THUMB_PX, 3), np.uint8)
    rows: list[int] = []
    looks: list[tuple[tuple[int, int], float, float, float, float]] = []
    digests: list[bytes] = []
    oddities: Counter[str] = Counter()
    unreadable: dict[int, LeftOut] = {}
    with reader_of(images) as reader, bar("looking at the images", len(images)) as advance:
        every = in_order(
            lambda row: _look_at(images, row, reader), range(len(images)), threads_to_read(images), ahead=_AHEAD
        )
        for row, seen in enumerate(every):
            advance(1, f"{len(unreadable):,} unreadable" if unreadable else "")
            if isinstance(seen, str):
                unreadable[row] = LeftOut(images.keys[row], seen)
                continue
            thumbs[len(rows)] = seen.thumb
            rows.append(row)
            digests.append(seen.digest)
            looks.append((seen.size, seen.brightest, seen.darkest, seen.spread, seen.blur))
            oddities.update(seen.oddities)
    sizes, brightest, darkest, spread, blur = zip(*looks, strict=True) if looks else ((), (), (), (), ())
    return Looks(
        rows=np.array(rows, dtype=np.int64),
        thumbs=thumbs[: len(rows)],
        digests=digests,
        sizes=np.array(sizes, dtype=np.int64).reshape(-1, 2),
        brightest=np.array(brightest, dtype=np.float32),
        darkest=np.array(darkest, dtype=np.float32),
        spread=np.array(spread, dtype=np.float32),
        blur=np.array(blur, dtype=np.float32),
        oddities=dict(oddities.most_common()),
        unreadable=unreadable,
        notes=reader.told(),
    )


def _look_at(images: Images, row: int, reader: Reader) -> _Look | str:
    try:
        image, oddities = open_row(images, row, draft_px=_DRAFT_PX, reader=reader)
    except (ImageError, NotFound, StorageError) as error:
        if isinstance(error, StorageError) and is_uri(str(images.items[row])):  # the connection is broken
            raise
        return printable(str(error))
    size = full_size(image)
    grey = image.convert("L")
    levels = _percentiles(np.array(grey.histogram()), (5, 99))
    colours = np.array(image.histogram()).reshape(3, 256)
    spans = [_percentiles(colour, (1, 99)) for colour in colours]
    squeezed = image.resize((THUMB_PX, THUMB_PX), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return _Look(
        thumb=np.asarray(squeezed),
        digest=blake2b(b"%d %d " % size + image.tobytes(), digest_size=16).digest(),
        size=size,
        brightest=levels[1] / 255,
        darkest=levels[0] / 255,
        spread=max(high - low for low, high in spans) / 255,
        blur=blur(np.asarray(_reduced(grey))),
        oddities=oddities,
    )


def _percentiles(histogram: npt.NDArray[np.int64], percents: tuple[int, ...]) -> list[int]:
    """The least level that so many percent of the pixels do not exceed."""
    summed = np.cumsum(histogram)
    return [int(np.searchsorted(summed, summed[-1] * percent / 100)) for percent in percents]


def _reduced(grey: Image.Image) -> Image.Image:
    scale = _BLUR_PX / min(grey.size)
    if scale >= 1:
        return grey
    size = (max(1, round(grey.width * scale)), max(1, round(grey.height * scale)))
    return grey.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def blur(grey: npt.NDArray[np.uint8]) -> float:
    """How blurred a grey image (h, w) is, from 0 (sharp) to 1; NaN where it is too small or too plain to tell.

    Blurring a sharp image takes away most of the differences between its neighbours, blurring a blurred one hardly
    any: the part that is left is the measure. The worse of the two directions counts. Crété-Roffet and others, "The
    blur effect", 2007.
    """
    if min(grey.shape) <= _WINDOW:
        return float("nan")
    levels = grey.astype(np.int32)
    both = (_blur_along(levels), _blur_along(levels.T))
    return max((value for value in both if value is not None), default=float("nan"))


def _blur_along(levels: npt.NDArray[np.int32]) -> float | None:
    before = np.abs(np.diff(levels, axis=1))
    half = _WINDOW // 2
    padded = np.pad(levels, ((0, 0), (half, half)), mode="edge")
    after = np.abs(padded[:, _WINDOW:] - padded[:, :-_WINDOW])  # of a moving mean, times the window
    total = int(before.sum()) * _WINDOW
    lost = int(np.maximum(before * _WINDOW - after, 0).sum())
    return 1 - lost / total if total else None
