"""One image from wherever it lies, a pack, a file, a URI or memory, by the fast decoder or else by Pillow."""

from __future__ import annotations

from typing import NamedTuple, TypeGuard

import numpy as np
import numpy.typing as npt
from PIL import Image

from scrimp import store
from scrimp.batches.shaping import Pixels, middle_square, square
from scrimp.images import Images
from scrimp.images.decode import open_rgb, open_row
from scrimp.images.fast import crop_into, decode_jpeg, decode_top, jpeg_head, random_box, scale_for
from scrimp.images.packed import Pack


class Stored(NamedTuple):
    """Where images are read from: a pack of them, or what `images` holds.

    by_pillow: filled with the rows that the fast decoder leaves to Pillow while batches are read.
    """

    images: Images
    pack: Pack | None
    by_pillow: set[int]
    reader: store.Reader | None = None


class Opened(NamedTuple):
    """An upright image, what was odd about it, and whether Pillow had to read it."""

    image: Image.Image
    oddities: list[str]
    by_pillow: bool


def open_exactly(images: Images, row: int, px: int, reader: store.Reader | None) -> Opened:
    """One of the images as `open_row` gives it with draft_px=px, in about half the time where it is a plain JPEG."""
    if not _is_encoded(images, row):
        in_memory = isinstance(images.items[row], np.ndarray)
        return Opened(*open_row(images, row, draft_px=px, reader=reader), not in_memory)
    content = _content(images, row, reader)
    head = jpeg_head(content)
    if head is not None:
        pixels = decode_jpeg(content, head, scale_for(min(head.upright), px))
        if pixels is not None:
            return Opened(Image.fromarray(pixels), head.oddities, False)
    return Opened(*open_rgb(_name(images, row), draft_px=px, content=bytes(content)), True)


def square_of(stored: Stored, row: int, px: int) -> Pixels:
    """The middle square (px, px, 3) of one image, antialiased; it may lie in the pack or in this thread's buffer.

    Raises `ImageError` where the image cannot be decoded.
    """
    content = _content_of(stored, row)
    if _is_pixels(content):
        return middle_square(content, px)
    head = jpeg_head(content)
    pixels = None if head is None else decode_jpeg(content, head, scale_for(min(head.upright), px))
    return middle_square(_by_pillow(stored, row, content) if pixels is None else pixels, px)


def square_of_file(name: str, content: bytes, px: int) -> Pixels:
    """The same for the content of one file, as training reads it; name: what an error calls it."""
    head = jpeg_head(content)
    pixels = None if head is None else decode_jpeg(content, head, scale_for(min(head.upright), px))
    return square(open_rgb(name, draft_px=px, content=content)[0], px) if pixels is None else middle_square(pixels, px)


def crop_of(out: Pixels, stored: Stored, row: int, numbers: npt.NDArray[np.float64], *, mirrors: bool) -> None:
    """Fills `out` (px, px, 3) with a random part of one image, decoded no larger and no further down than need be.

    numbers: `NUMBERS` from 0 to 1, of which all chance comes. mirrors: whether half of them are mirrored.
    Raises `ImageError` where the image cannot be decoded.
    """
    mirrored = mirrors and bool(numbers[-1] < 0.5)
    content = _content_of(stored, row)
    head = None if _is_pixels(content) else jpeg_head(content)
    if head is not None:
        top, left, height, width = random_box(*head.upright, numbers)
        scale = scale_for(min(height, width), len(out))
        pixels = decode_top(content, head, top + height, scale)
        if pixels is None:
            pixels = decode_jpeg(content, head, scale, exact=False)
        if pixels is not None:
            box = top // scale, left // scale, max(1, height // scale), max(1, width // scale)
            crop_into(out, pixels, box, mirrored=mirrored)
            return
    pixels = content if _is_pixels(content) else _by_pillow(stored, row, content)
    crop_into(out, pixels, random_box(pixels.shape[0], pixels.shape[1], numbers), mirrored=mirrored)


def _is_pixels(content: bytes | Pixels) -> TypeGuard[Pixels]:
    """Whether this is an image (h, w, 3), and not the bytes of a file."""
    return isinstance(content, np.ndarray) and content.ndim == 3


def _content_of(stored: Stored, row: int) -> bytes | Pixels:
    """What is stored of an image: its pixels, or the bytes of its file."""
    images, reader = stored.images, stored.reader
    if stored.pack is not None:
        return stored.pack.item(row)
    if _is_encoded(images, row):
        return _content(images, row, reader)
    item = images.items[row]
    if isinstance(item, np.ndarray) and images.boxes is None:
        return item
    return np.asarray(open_row(images, row, reader=reader)[0])


def _by_pillow(stored: Stored, row: int, content: bytes | Pixels) -> Pixels:
    stored.by_pillow.add(row)
    return np.asarray(open_rgb(_name(stored.images, row), content=bytes(content))[0])


def _is_encoded(images: Images, row: int) -> bool:
    """Whether this is the file of a whole image: neither pixels in memory nor a box of a larger image."""
    item = images.items[row]
    boxed = images.boxes is not None and not np.isnan(images.boxes[row]).any()
    return not boxed and (isinstance(item, str) or item.ndim == 1)


def _content(images: Images, row: int, reader: store.Reader | None) -> bytes | Pixels:
    item = images.items[row]
    if isinstance(item, np.ndarray):
        return item
    if reader and store.is_uri(item):
        return reader.read(item, images.stamps[row] if images.stamps else "")
    return store.read_bytes(item)


def _name(images: Images, row: int) -> str:
    """What an error calls the image."""
    item = images.items[row]
    return item if isinstance(item, str) else images.keys[row]
