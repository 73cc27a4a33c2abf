"""The short way from a JPEG to a batch: decoded by libjpeg-turbo as small as will do, cut out and resized in place.

What it cannot read as Pillow would is left to `open_rgb`, image by image.
"""

from __future__ import annotations

import io
import math
import re
import threading
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from scrimp.images.decode import SIDEWAYS, orientation_of

Pixels = npt.NDArray[np.uint8]

NUMBERS = 41
"""Random numbers that one image uses up: four for each of ten tries of `random_box`, and one for the mirror."""

_AREA = (0.08, 1.0)  # of the image, as in torchvision's RandomResizedCrop and in "Going deeper with convolutions"
_ASPECT = (math.log(3 / 4), math.log(4 / 3))
_TRIES = (NUMBERS - 1) // 4
_KEPT_BYTES = 64_000_000  # a thread keeps no larger buffer: one poster must not cost memory for ever

_FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}  # of orientations, as OpenCV counts; after swapping

_TOO_MUCH = re.compile("extraneous bytes before marker 0xd9")

_own = threading.local()


class Head(NamedTuple):
    """What the beginning of a JPEG says: sides in the file, whether it is grey, how EXIF wants it turned (1: not).

    height_at: where in the file the height stands; 0 where the rows are not stored from top to bottom.
    """

    height: int
    width: int
    grey: bool
    orientation: int
    height_at: int

    @property
    def upright(self) -> tuple[int, int]:
        """Height and width as people see it."""
        return (self.width, self.height) if self.orientation in SIDEWAYS else (self.height, self.width)

    @property
    def oddities(self) -> list[str]:
        """What is odd about the image, in the words of `open_rgb`."""
        turned = ["rotated by EXIF"] if self.orientation in (*SIDEWAYS, *_FLIPS) else []
        return (["greyscale"] if self.grey else []) + turned


def jpeg_head(content: bytes | Pixels) -> Head | None:
    """The head of a JPEG that `decode_jpeg` reads as Pillow would; None for anything else.

    None also for CMYK, for what is damaged, and for more pixels than Pillow's limit.
    Cost: microseconds; 0.1 ms where there is EXIF.
    """
    import simplejpeg

    if bytes(content[:2]) != b"\xff\xd8":
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
    except ValueError:
        return None
    limit = Image.MAX_IMAGE_PIXELS
    if colours not in ("YCbCr", "Gray", "RGB") or (limit is not None and height * width > limit):
        return None
    height_at, may_be_turned = _segments(content)
    orientation = _orientation(content) if may_be_turned else 1
    return Head(height, width, colours == "Gray", orientation, height_at)


def decode_jpeg(content: bytes | Pixels, head: Head, scale: int = 1, *, exact: bool = True) -> Pixels | None:
    """Upright RGB (h, w, 3) with sides divided by `scale` (1, 2, 4 or 8) and rounded up; None where it is damaged.

    exact: the very pixels that Pillow gives; else a little faster, with colours not smoothed where they are stored
    at half size. The array may lie in this thread's own buffer: it holds until the thread decodes the next image.
    """
    import simplejpeg

    height, width = -(-head.height // scale), -(-head.width // scale)
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(
            content,
            fastdct=False,
            fastupsample=not exact,
            min_height=height,
            min_width=width,
            buffer=_buffer(height * width * 3),
        )
    except ValueError:
        return None
    return _turned(pixels, head.orientation)


def decode_top(content: bytes | Pixels, head: Head, rows: int, scale: int) -> Pixels | None:
    """As `decode_jpeg` with exact=False, but only so much of the top as holds `rows` rows of the full image.

    The decoder is told that the image is no higher, and what it does not get to see costs nothing. None where it cannot
    be done, or would not save much.
    """
    import simplejpeg

    rows = -(-rows // 16) * 16
    if not head.height_at or head.orientation != 1 or rows > 0.95 * head.height:
        return None
    lower = bytearray(content)
    lower[head.height_at : head.height_at + 2] = rows.to_bytes(2, "big")
    height, width = rows // scale, -(-head.width // scale)
    buffer = _buffer(height * width * 3)
    try:
        simplejpeg.decode_jpeg(
            lower, fastdct=False, fastupsample=True, min_height=height, min_width=width, buffer=buffer
        )
    except ValueError as error:
        if not _TOO_MUCH.search(str(error)):  # it has complained of something else than the rows left over
            return None
    return buffer[: height * width * 3].reshape(height, width, 3)


def scale_for(short: float, px: int) -> int:
    """By how much a JPEG may be divided so that `short` of its pixels are still `px`; between these it is no faster."""
    return next((scale for scale in (8, 4, 2) if short >= scale * px), 1)


def random_box(height: int, width: int, numbers: npt.NDArray[np.float64]) -> tuple[int, int, int, int]:
    """A part of an image, (top, left, height, width): 8 to 100 % of its area, 3:4 to 4:3, as torchvision draws it.

    numbers: `NUMBERS` from 0 to 1, of which all chance comes. Where ten tries do not fit, the middle.
    """
    area = height * width
    for first in range(0, 4 * _TRIES, 4):
        part, shape, down, right = numbers[first : first + 4].tolist()
        target = area * (_AREA[0] + part * (_AREA[1] - _AREA[0]))
        aspect = math.exp(_ASPECT[0] + shape * (_ASPECT[1] - _ASPECT[0]))
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(down * (height - h + 1)), int(right * (width - w + 1)), h, w
    low, high = math.exp(_ASPECT[0]), math.exp(_ASPECT[1])
    w = min(width, max(1, round(height * high)))
    h = min(height, max(1, round(width / low)))
    return (height - h) // 2, (width - w) // 2, h, w


def crop_into(out: Pixels, pixels: Pixels, box: tuple[int, int, int, int], *, mirrored: bool = False) -> None:
    """Resizes a part (top, left, height, width) of an image (h, w, 3) into `out` (px, px, 3).

    Linear between pixels, and the mean of them where two or more become one.
    """
    import cv2

    top, left, height, width = box
    part, px = pixels[top : top + height, left : left + width], out.shape[0]
    if part.shape == out.shape:
        out[:] = part
    else:
        shrinks = min(height, width) >= 2 * px
        cv2.resize(part, (px, px), dst=out, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    if mirrored:
        cv2.flip(out, 1, dst=out)


# ---------------------------------------------------------------- inside


def _buffer(size: int) -> Pixels:
    if size > _KEPT_BYTES:
        return np.empty(size, dtype=np.uint8)
    kept: Pixels | None = getattr(_own, "buffer", None)
    if kept is None or len(kept) < size:
        kept = _own.buffer = np.empty(size, dtype=np.uint8)
    return kept


def _segments(content: bytes | Pixels) -> tuple[int, bool]:
    """Where the height of a baseline JPEG stands, or 0; and whether there may be EXIF or XMP, which live in APP1.

    Where the segments make no sense, there may be.
    """
    at, height_at, may_be_turned = 2, 0, False
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xDA:
            return height_at, may_be_turned
        if marker in (0xC0, 0xC1):
            height_at = at + 5
        may_be_turned |= marker == 0xE1
        at += 2 + (int(content[at + 2]) << 8) + int(content[at + 3])
    return 0, True


def _orientation(content: bytes | Pixels) -> int:
    try:
        with Image.open(io.BytesIO(bytes(content))) as opened:
            return orientation_of(opened)
    except Exception:  # Pillow will say what is wrong when it is asked for the pixels
        return 1


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    import cv2

    turned: Any = cv2.transpose(pixels) if orientation in SIDEWAYS else pixels
    if orientation in _FLIPS:
        turned = cv2.flip(turned, _FLIPS[orientation])
    return np.asarray(turned)
