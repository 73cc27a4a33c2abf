"""Decode once, pack, and feed batches: every image becomes one row of a memory-mapped file of raw pixels.

A pack lies in the cache under a name made of the images' fingerprint and the settings, so it is never stale.
It is written beside its place and renamed when whole: a killed build leaves no pack, two builders cannot clash.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field

from scrimp.cost import Cost, Stopwatch, shared_sensor
from scrimp.errors import ImageError, NotFound, StorageError
from scrimp.images import Images, LeftOut
from scrimp.images.decode import open_row, reader_of, threads_to_read
from scrimp.images.fingerprint import fingerprint
from scrimp.images.kinds import images_per_class
from scrimp.progress import bar
from scrimp.settings import Settings
from scrimp.store import Reader, cache_folder, in_order

if TYPE_CHECKING:
    from torch import Generator, Tensor

_PACK_VERSION = "1"
_AHEAD = 256  # images in flight: bounds memory, keeps all threads busy


class Preparation(Settings):
    """How images become arrays of one size."""

    image_px: int = Field(default=160, ge=8, le=1024)
    """Side in pixels: the short side is resized to it, the middle square kept. Cost grows with its square."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Images decoded and packed.

    images: those that could be decoded, one a row. pixels: uint8 (n, image_px, image_px, 3), memory-mapped.
    oddities: how many images were greyscale, turned by EXIF, animated, ….
    from_cache: the pack was there already; `cost` then says what making it had cost.
    """

    images: Images
    preparation: Preparation
    pixels: npt.NDArray[np.uint8]
    oddities: dict[str, int]
    from_cache: bool
    cost: Cost

    @property
    def image_px(self) -> int:
        """Side of every image, in pixels."""
        return self.preparation.image_px


def prepare(images: Images, *, image_px: int = 160) -> Prepared:
    """Decodes every image once, resizes it (antialiased) and packs it into the cache; the second time is instant.

    Images that cannot be decoded are left out and listed in `images.left_out`.
    Cost: one decode per image over all cores (about 300 photos/s on two), `3 * image_px**2` bytes of disk per image,
    under 100 MB of memory whatever the number. Raises `StorageError` when the cache cannot be written,
    `ImageError` when a class has no image left to learn from.
    """
    preparation = Preparation(image_px=image_px)
    name = fingerprint("pack", _PACK_VERSION, images.fingerprint, str(preparation.image_px))[:32]
    folder = cache_folder() / "packs" / name
    from_cache = (folder / "pack.json").is_file()
    if not from_cache:
        _build(images, preparation, folder)
    return _open(images, preparation, folder, from_cache)


def batches(
    ready: Prepared, rows: npt.NDArray[np.int64], batch_size: int, *, order: Generator | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields pixels uint8 (b, 3, h, w), channels last in memory, and labels as `Images` holds them, each row once.

    With `order` the rows come shuffled by that generator. Batches differ in size by one image at most, so that
    there is never a leftover of a single image, on which batch norm fails.
    """
    import torch

    if order is not None:
        rows = rows[torch.randperm(len(rows), generator=order).numpy()]
    for part in np.array_split(rows, max(1, -(-len(rows) // batch_size))):
        pixels = torch.from_numpy(ready.pixels[part]).permute(0, 3, 1, 2)
        yield pixels, torch.from_numpy(ready.images.labels[part])


# ---------------------------------------------------------------- making a pack


class _Decoded(NamedTuple):
    pixels: npt.NDArray[np.uint8] | None
    reason: str
    oddities: list[str]


def square(image: Image.Image, px: int) -> npt.NDArray[np.uint8]:
    """The middle square of an RGB image at (px, px, 3), antialiased."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    resized = image.resize((px, px), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
    return np.asarray(resized, dtype=np.uint8)


def _decode(images: Images, row: int, px: int, reader: Reader) -> _Decoded:
    try:
        image, oddities = open_row(images, row, draft_px=px, reader=reader)
        return _Decoded(square(image, px), "", oddities)
    except (ImageError, NotFound) as error:
        return _Decoded(None, str(error), [])


def _build(images: Images, preparation: Preparation, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep_up(folder.parent)
    px = preparation.image_px
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}-{uuid.uuid4().hex[:6]}")
    wanted = len(images) * 3 * px * px
    try:
        partial.mkdir()
        free = shutil.disk_usage(partial).free
        if wanted > free:
            raise OSError(28, f"needs {wanted / 1e9:.2f} GB, {free / 1e9:.2f} GB are free")
        with Stopwatch(shared_sensor()) as watch:
            facts = _write_pixels(images, px, partial / "pixels.u8")
        facts["cost"] = asdict(watch.cost)
        (partial / "pack.json").write_text(json.dumps(facts))
        partial.rename(folder)
    except OSError as error:
        if isinstance(error, (ImageError, StorageError)):
            raise
        if (folder / "pack.json").is_file():
            return  # another process was first, with the same pack
        raise StorageError(
            f"Cannot write the pack of {len(images):,} images at {px} px to '{folder.parent}': {error.strerror}. "
            "Set SCRIMP_CACHE to a folder with room."
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_pixels(images: Images, px: int, path: Path) -> dict[str, Any]:
    """Decodes in threads (Pillow lets go of the interpreter), writes in order; returns the facts of pack.json."""
    kept: list[int] = []
    left_out: list[tuple[str, str]] = []
    oddities: Counter[str] = Counter()
    rows, threads = range(len(images)), threads_to_read(images)
    with reader_of(images) as reader, path.open("wb") as file, bar(f"decoding to {px} px", len(images)) as advance:
        every = in_order(lambda row: _decode(images, row, px, reader), rows, threads, ahead=_AHEAD)
        for row, decoded in enumerate(every):
            if decoded.pixels is None:
                left_out.append((images.keys[row], decoded.reason))
            else:
                file.write(decoded.pixels.tobytes())
                kept.append(row)
                oddities.update(decoded.oddities)
            advance(1, "")
        file.flush()
        os.fsync(file.fileno())
    return {"px": px, "kept": kept, "left_out": left_out, "oddities": dict(oddities), "notes": reader.told()}


def _sweep_up(packs: Path) -> None:
    """Removes what killed builds of this machine left behind."""
    for partial in packs.glob("*.partial-*"):
        pid = int(partial.name.split("-")[-2])
        if not _alive(pid):
            shutil.rmtree(partial, ignore_errors=True)


def _alive(pid: int) -> bool:
    import psutil

    return bool(psutil.pid_exists(pid))


def _open(images: Images, preparation: Preparation, folder: Path, from_cache: bool) -> Prepared:
    facts = json.loads((folder / "pack.json").read_text())
    px, kept = preparation.image_px, np.array(facts["kept"], dtype=np.int64)
    path = folder / "pixels.u8"
    expected = len(kept) * 3 * px * px
    if path.stat().st_size != expected:
        raise StorageError(
            f"The pack '{path}' holds {path.stat().st_size:,} bytes where {expected:,} belong: delete its folder."
        )
    left_out = tuple(LeftOut(key, reason) for key, reason in facts["left_out"])
    readable = images.only(kept, left_out=left_out) if left_out else images
    readable = replace(readable, notes=(*readable.notes, *facts.get("notes", ())))  # older packs have none
    _something_to_learn(readable)
    shape = (len(kept), px, px, 3)
    pixels = np.memmap(path, dtype=np.uint8, mode="r", shape=shape)
    return Prepared(
        images=readable,
        preparation=preparation,
        pixels=pixels,
        oddities=facts["oddities"],
        from_cache=from_cache,
        cost=Cost(**facts["cost"]),
    )


def _something_to_learn(images: Images) -> None:
    labels, classes = images.labels[images.rows("train")], images.classes
    missing = [classes[n] for n in np.flatnonzero(images_per_class(labels, len(classes)) == 0)]
    if not len(labels) or (missing and images.task == "classify"):  # a label that nobody has can be learnt
        whose = f" of {len(missing)} of {len(classes)} classes, the first being '{missing[0]}'" if missing else ""
        last = "".join(f", the last '{left.key}': {left.reason}" for left in images.left_out[-1:])
        raise ImageError(f"No readable training image is left{whose}; {len(images.left_out)} files were left out{last}")
    if not len(images.rows("val")):
        raise ImageError("No readable image is left for validation: add images, or raise val_fraction.")
