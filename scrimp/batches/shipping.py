"""Packs that stay: in a folder of the user's, with labels and splits, to be read like any folder of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from scrimp.batches.beton import write_beton
from scrimp.batches.packing import Keep, Packing, build, plan_pack, was_begun
from scrimp.errors import SettingError, StorageError
from scrimp.images import Images
from scrimp.images.packed import Pack, is_pack, open_pack

_ADVICE = "Make room, or write it elsewhere."


def write_pack(
    images: Images,
    out: str | Path,
    *,
    image_px: int = 256,
    format: Literal["auto", "raw", "jpeg", "beton"] = "auto",
    keep: Keep = "whole",
    threads: int | None = None,
    tell: Callable[[str], None] = lambda told: None,
) -> Pack:
    """Packs images, whatever holds them, into a folder that `find_images` reads with the same labels and splits.

    image_px: short side of what is stored, 8 to 1024. format: raw pixels, JPEGs, raw pixels in FFCV's own format
    ("beton"), or raw or JPEG, whichever the disk and the memory allow. keep: "whole" images, so that random crops are
    possible, or their middle "square". tell: called with how large it will be before a large set is packed.
    A pack of the same images and settings that lies there already is left as it is; a killed build is gone on with.
    Raises `StorageError` where it cannot be written or something else lies there, `MissingExtra` for beton without
    FFCV. Cost: about that of `prepare`.
    """
    out = Path(out)
    if not 8 <= image_px <= 1024:
        raise SettingError(f"image_px={image_px} must be from 8 to 1024.")
    asked = None if format == "auto" else format
    packings = [Packing(format=kind, px=image_px, keep=keep) for kind in ((asked,) if asked else ("raw", "jpeg"))]
    if is_pack(out):
        pack = open_pack(out)
        if pack.facts["job"] in [packing.name(images) for packing in packings]:
            return pack
        raise StorageError(f"'{out}' holds a pack of other images or settings: delete it, or write elsewhere.")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise StorageError(f"'{out}' holds something else: name a folder that does not exist yet.")
    near = next(folder for folder in out.absolute().parents if folder.is_dir())
    begun = (packing for packing in packings if was_begun(out, packing.name(images)))
    packing = next(begun, None) or plan_pack(images, packings[0], asked, near, advice=_ADVICE)
    if packing.told:
        tell(packing.told)
    if packing.format == "beton":
        write_beton(images, packing, out, threads=threads, advice=_ADVICE)
    else:
        build(images, packing, out, threads=threads, advice=_ADVICE)
    return open_pack(out)
