"""Opens one image, of whatever kind, as eight-bit RGB."""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from scrimp import store
from scrimp.cores import cores
from scrimp.errors import ImageError, NotFound, StorageError
from scrimp.images.boxes import Box, part_of_image
from scrimp.images.kinds import Images

_ORIENTATION = 0x0112
_TILE = (0x0142, 0x0143)  # width and height of a TIFF's tiles
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)
"""Values of EXIF's orientation that swap height and width."""

_FULL_SIZE = "full_size"
_DECODING = threading.BoundedSemaphore(cores())  # more at once are no faster, and take more memory
_HUSH = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


@contextmanager
def reader_of(images: Images) -> Iterator[store.Reader]:
    """What reads the files of these images, and keeps those of a URI as their source says, for the length of a block.

    With remote="copy" the block begins when all of them are on this disk.
    """
    source = images.source
    with store.reader(source.remote, int(source.cache_size), source.source) as reader:
        files = zip(images.items, images.stamps or [""] * len(images), strict=True)
        reader.copy({item: stamp for item, stamp in files if isinstance(item, str)})
        yield reader


def threads_to_read(images: Images) -> int:
    """How many images to open at once: as many as there are cores, and more where reading one is mostly waiting."""
    remote = any(isinstance(item, str) and store.is_uri(item) for item in images.items)
    return store.THREADS if remote else cores()


def open_row(
    images: Images, row: int, *, draft_px: int | None = None, reader: store.Reader | None = None
) -> tuple[Image.Image, list[str]]:
    """One of the images, cut down to its box if it has one; all else is as for `open_rgb`.

    reader: that of `reader_of`; without it, a file at a URI is fetched and not kept.
    """
    box = None
    if images.boxes is not None and not np.isnan(images.boxes[row]).any():
        x0, y0, x1, y1 = images.boxes[row].tolist()
        width, height = (0, 0) if images.box_sizes is None else images.box_sizes[row].tolist()
        box = Box(x0, y0, x1, y1, (width, height) if width else None)
    item, content = images.items[row], None
    if reader and isinstance(item, str) and store.is_uri(item):
        content = reader.read(item, images.stamps[row] if images.stamps else "")
    return open_rgb(item, draft_px=draft_px, box=box, margin=images.source.box_margin, content=content)


def open_rgb(
    item: str | npt.NDArray[np.uint8],
    *,
    draft_px: int | None = None,
    box: Box | None = None,
    margin: float = 0.0,
    content: bytes | None = None,
) -> tuple[Image.Image, list[str]]:
    """One image as RGB, eight bits a colour, and what was odd about it ("greyscale", "rotated by EXIF", …).

    item: a path, a URI or a uint8 array, (h, w, 3) or the bytes of a file. draft_px: a JPEG may be decoded at a half,
    quarter or eighth of its size, as long as its short side keeps at least this many pixels, and that of its box
    twice as many, since its edges fall on whole pixels: about twice as fast. box: the part that is wanted, in pixels of
    the upright image; margin: room left around it, percent of its sides. content: what the file holds, where
    that is known; else it is read.
    The first frame stands for an animation; EXIF orientation is applied; transparency is laid on white;
    sixteen bits are scaled to eight.

    Raises `ImageError` with the file and the reason when it cannot be decoded, or when it claims more pixels
    than Pillow's limit (89 million unless set otherwise; refused before memory is allocated), or when the box
    is reversed, empty, outside the image or of an image of another size; `NotFound` or
    `StorageError` when it cannot be read at all. Safe to call from several threads. Cost: about 3 ms for a
    426 x 320 JPEG, and three bytes a pixel.
    """
    if isinstance(item, np.ndarray) and item.ndim == 1:
        content = item.tobytes()
        item = "an image in memory"
    if isinstance(item, np.ndarray):
        whole = _from_array(item)
        return (whole.crop(_whole_pixels(part_of_image(box, margin, whole.size, "an array"))) if box else whole), []
    _hush_pillow()
    try:
        file = store.open_bytes(item) if content is None else io.BytesIO(content)
        with file, _DECODING, Image.open(file) as opened:
            return _decode(opened, item, draft_px, box, margin)
    except (ImageError, NotFound, StorageError):
        raise
    except UnidentifiedImageError:
        raise ImageError(f"'{item}' cannot be decoded: it is not an image of a known kind.") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"'{item}' is refused: {_lowered(error)}.") from None
    except Exception as error:  # what a damaged file makes of a decoder has no bounds
        raise ImageError(f"'{item}' cannot be decoded: {_lowered(error)}.") from None


def claimed_size(content: bytes, formats: tuple[str, ...]) -> tuple[int, int]:
    """Width and height that the file of an image claims in its first bytes; nothing is decoded.

    formats: what Pillow calls the kinds that are let in. Raises `ImageError` for anything else.
    """
    _hush_pillow()
    try:
        with Image.open(io.BytesIO(content), formats=formats) as opened:
            return _claimed(opened)
    except Image.DecompressionBombError as error:
        raise ImageError(f"refused: {_lowered(error)}.") from None
    except Exception:  # what a damaged head makes of a reader has no bounds
        raise ImageError(f"not an image of a kind that is read here: {', '.join(formats)}.") from None


def _claimed(opened: Image.Image) -> tuple[int, int]:
    """The size of the image, or of one of a TIFF's tiles, which may be larger and is decoded whole."""
    tags: Any = getattr(opened, "tag_v2", {})
    tile = [side if isinstance(side := tags.get(tag), int) else 0 for tag in _TILE]
    return max(opened.width, tile[0]), max(opened.height, tile[1])


def full_size(image: Image.Image) -> tuple[int, int]:
    """Width and height that an image from `open_rgb` has in its file, or its box has, however small it was decoded."""
    width, height = image.info.get(_FULL_SIZE, image.size)
    return width, height


def _decode(
    opened: Image.Image, item: str, draft_px: int | None, box: Box | None, margin: float
) -> tuple[Image.Image, list[str]]:
    limit, (width, height) = Image.MAX_IMAGE_PIXELS, _claimed(opened)
    if limit is not None and width * height > limit:
        raise ImageError(
            f"'{item}' is refused: it claims {width:,} x {height:,} pixels, more than the limit of {limit:,}."
        )
    oddities = []
    if getattr(opened, "is_animated", False) and opened.format != "MPO":  # an MPO is a photo with previews
        oddities.append("animated: first frame")
    scale = _draft(opened, draft_px, box) if draft_px is not None and opened.format in ("JPEG", "MPO") else 1
    turned = getattr(opened, "tag_v2", {}).get(_ORIENTATION, 1) in _TURNS  # Pillow turns a TIFF as it loads
    opened.load()
    orientation = orientation_of(opened)
    image = _to_rgb(opened, oddities)
    if orientation in _TURNS:
        image = image.transpose(_TURNS[orientation])
    if turned or orientation in _TURNS:
        oddities.append("rotated by EXIF")
    upright = image.size if scale == 1 else (height, width) if orientation in SIDEWAYS else (width, height)
    wanted = (0, 0, *upright) if box is None else part_of_image(box, margin, upright, item)
    if box is not None:
        image = image.crop(_whole_pixels(wanted, scale))
    left, top, right, bottom = _whole_pixels(wanted)
    image.info[_FULL_SIZE] = (right - left, bottom - top)
    return image, oddities


def _draft(opened: Image.Image, draft_px: int, box: Box | None) -> int:
    """Has a JPEG decoded as small as keeps `draft_px` pixels; returns what its sides are divided by: 1, 2, 4 or 8."""
    width, height = opened.size
    scales = [8, 4, 2]
    if box is not None and orientation_of(opened) in _TURNS:  # else the odd pixels at the end would come first
        scales = [scale for scale in scales if width % scale == height % scale == 0]
    short = min(width, height) if box is None else min(width, height, (box.x1 - box.x0) / 2, (box.y1 - box.y0) / 2)
    scale = next((scale for scale in scales if short >= scale * draft_px), 1)
    drafted = opened.draft(None, (width // scale, height // scale))
    return scale if drafted else 1


def _whole_pixels(edges: tuple[float, float, float, float], scale: int = 1) -> tuple[int, int, int, int]:
    left, top, right, bottom = (round(edge / scale) for edge in edges)
    return left, top, max(left + 1, right), max(top + 1, bottom)


def _to_rgb(image: Image.Image, oddities: list[str]) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        oddities.append("float" if image.mode == "F" else "16-bit")
        image = _eight_bits(image)
    elif image.mode == "CMYK":
        oddities.append("CMYK")
    elif image.mode in ("P", "PA"):
        oddities.append("palette")
    if image.mode in ("1", "L", "LA", "La"):
        oddities.append("greyscale")
    if image.has_transparency_data:
        return _on_white(image, oddities)
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image.Image, oddities: list[str]) -> Image.Image:
    """Transparent parts hold whatever the editor left there, so that dropping alpha would show it."""
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    alpha = rgba.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return rgba.convert("RGB")
    oddities.append("transparency")
    white = Image.new("RGB", rgba.size, (255, 255, 255))
    white.paste(rgba, mask=alpha)
    return white


def _eight_bits(image: Image.Image) -> Image.Image:
    """Greys of 16 bits, or floats, as 8 bits; floats run to 1, 255 or 65,535, whichever holds them all."""
    values: npt.NDArray[Any] = np.array(image if image.mode == "F" else image.convert("I"))
    if image.mode != "F" and values.max(initial=0) <= 65535:  # in place: such files may be as large as is let in
        np.clip(values, 0, None, out=values)
        values += 128
        values //= 257
        return Image.fromarray(values.astype(np.uint8))
    values = np.nan_to_num(values.astype(np.float32), copy=False, posinf=0.0, neginf=0.0)
    top = float(values.max(initial=0.0))
    scales = (1.0, 255.0, 65535.0) if image.mode == "F" else ()
    values /= next((scale for scale in scales if top <= scale), top)
    np.clip(values, 0, 1, out=values)
    values *= 255
    return Image.fromarray(np.rint(values, out=values).astype(np.uint8))


def orientation_of(image: Image.Image) -> int:
    """How EXIF or XMP wants the image turned, 1 to 8; 1 (not at all) where they do not say."""
    try:
        value: Any = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF beside a sound image: the image is what counts
        return 1
    return value if isinstance(value, int) else 1


def _from_array(item: npt.NDArray[np.uint8]) -> Image.Image:
    if item.dtype != np.uint8 or item.ndim != 3 or item.shape[2] != 3:
        raise ImageError(f"An image in memory must be uint8 (h, w, 3), not {item.dtype} {item.shape}.")
    return Image.fromarray(np.ascontiguousarray(item))


def _hush_pillow() -> None:
    """Pillow warns of what is told here as an oddity or an error (corrupt EXIF, too many pixels).

    `warnings.catch_warnings` is not safe between threads, so the filter is set for good, for Pillow alone;
    and looked for each time, since others may have put back an older list of filters.
    """
    if _HUSH not in warnings.filters:
        warnings.filterwarnings("ignore", module=r"PIL\.")


def _lowered(error: Exception) -> str:
    text = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
    return text[:1].lower() + text[1:]
