"""Opens one image, of whatever kind, as eight-bit RGB."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from scrimp import store
from scrimp.errors import ImageError, NotFound, StorageError

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_HUSH = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


def open_rgb(item: str | npt.NDArray[np.uint8], *, draft_px: int | None = None) -> tuple[Image.Image, list[str]]:
    """One image as RGB, eight bits a colour, and what was odd about it ("greyscale", "rotated by EXIF", …).

    item: a path, a URI or a uint8 array (h, w, 3). draft_px: a JPEG may be decoded at a half, quarter or
    eighth of its size, as long as its short side keeps at least this many pixels: about twice as fast.
    The first frame stands for an animation; EXIF orientation is applied; transparency is laid on white;
    sixteen bits are scaled to eight.

    Raises `ImageError` with the file and the reason when it cannot be decoded, or when it claims more pixels
    than Pillow's limit (89 million unless set otherwise; refused before memory is allocated); `NotFound` or
    `StorageError` when it cannot be read at all. Safe to call from several threads. Cost: about 3 ms for a
    426 x 320 JPEG, and three bytes a pixel.
    """
    if isinstance(item, np.ndarray):
        return _from_array(item), []
    _hush_pillow()
    try:
        with store.open_bytes(item) as file, Image.open(file) as opened:
            return _decode(opened, item, draft_px)
    except (ImageError, NotFound, StorageError):
        raise
    except UnidentifiedImageError:
        raise ImageError(f"'{item}' cannot be decoded: it is not an image of a known kind.") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"'{item}' is refused: {_lowered(error)}.") from None
    except Exception as error:  # what a damaged file makes of a decoder has no bounds
        raise ImageError(f"'{item}' cannot be decoded: {_lowered(error)}.") from None


def _decode(opened: Image.Image, item: str, draft_px: int | None) -> tuple[Image.Image, list[str]]:
    limit, (width, height) = Image.MAX_IMAGE_PIXELS, opened.size
    if limit is not None and width * height > limit:
        raise ImageError(
            f"'{item}' is refused: it claims {width:,} x {height:,} pixels, more than the limit of {limit:,}."
        )
    oddities = []
    if getattr(opened, "is_animated", False) and opened.format != "MPO":  # an MPO is a photo with previews
        oddities.append("animated: first frame")
    if draft_px is not None and opened.format in ("JPEG", "MPO"):
        opened.draft(None, (draft_px, draft_px))
    turned = getattr(opened, "tag_v2", {}).get(_ORIENTATION, 1) in _TURNS  # Pillow turns a TIFF as it loads
    opened.load()
    orientation = _orientation(opened)
    image = _to_rgb(opened, oddities)
    if orientation in _TURNS:
        image = image.transpose(_TURNS[orientation])
    if turned or orientation in _TURNS:
        oddities.append("rotated by EXIF")
    return image, oddities


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
    floats = image.mode == "F"
    values = np.asarray(image if floats else image.convert("I"), dtype=np.float64)
    values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    top = float(values.max(initial=0.0))
    scales = (1.0, 255.0, 65535.0) if floats else (65535.0,)
    full = next((scale for scale in scales if top <= scale), top)
    return Image.fromarray(np.rint(np.clip(values / full, 0, 1) * 255).astype(np.uint8))


def _orientation(image: Image.Image) -> int:
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
