"""Images made ready for training: packed in the cache, or read where they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from scrimp.batches.packing import Keep, Packing, build, plan_pack, sweep_up, was_begun
from scrimp.batches.reading import Stored, square_of
from scrimp.batches.shaping import Pixels
from scrimp.cost import FREE, Cost
from scrimp.errors import ImageError, StorageError
from scrimp.images import Images, LeftOut
from scrimp.images.kinds import images_per_class
from scrimp.images.packed import Format, Pack, is_pack, open_pack, unmap
from scrimp.settings import Settings
from scrimp.store import cache_folder, is_uri


class Preparation(Settings):
    """How images become arrays of one size."""

    image_px: int = Field(default=160, ge=8, le=1024)
    """Side in pixels: the short side is resized to it, the middle square kept. Cost grows with its square."""
    pack: Literal["auto", "raw", "jpeg", "none"] = "auto"
    """Cache of pixels (fastest) or of small JPEGs (a ninth of the disk, slightly lossy); "auto" takes raw where disk
    and memory hold it; "none" decodes the files again in every epoch."""
    keep: Keep = "square"
    """What a pack keeps of an image: its middle square, or "whole" for true random crops ("crop" in a recipe)."""


class Squares:
    """The middle squares of images that are stored otherwise, made whenever they are asked for: `squares[rows]`."""

    dtype = np.dtype(np.uint8)

    def __init__(self, count: int, px: int, make: Callable[[int], Pixels]) -> None:
        """make: gives the square (px, px, 3) of a row."""
        self.shape = (count, px, px, 3)
        self._make = make

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Pixels:
        wanted = np.arange(len(self))[rows]
        if wanted.ndim == 0:
            return self._make(int(wanted))
        made = np.empty((len(wanted), *self.shape[1:]), dtype=np.uint8)
        for n, row in enumerate(wanted.tolist()):
            made[n] = self._make(row)
        return made


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Images ready to be read in batches.

    images: those that could be decoded, one a row. pixels: uint8 (n, image_px, image_px, 3), memory-mapped, or made
    from what is stored whenever rows of it are asked for. oddities: how many images were greyscale, turned by EXIF,
    animated, …. packed_by_pillow: how many the fast decoder left to Pillow when the pack was made; None without one.
    read_by_pillow: rows that it has left to it since. pack: None where the images are read where they are.
    packed_bytes: size of the pack, also of one that the images came from; 0 without any.
    from_cache: the pack was there already; `cost` then says what making it had cost.
    """

    images: Images
    preparation: Preparation
    pixels: Pixels | Squares
    oddities: dict[str, int]
    from_cache: bool
    cost: Cost
    packed_by_pillow: int | None = None
    read_by_pillow: set[int] = field(default_factory=set)
    pack: Pack | None = None
    packed_bytes: int = 0

    @property
    def image_px(self) -> int:
        """Side of every image, in pixels."""
        return self.preparation.image_px

    @property
    def by_pillow(self) -> int:
        """How many images the fast decoder left to Pillow: of all in a pack, else of those read so far."""
        return len(self.read_by_pillow) if self.packed_by_pillow is None else self.packed_by_pillow

    def let_go(self) -> None:
        """Unmaps what was read of a pack: the system keeps it cached, but counts what is mapped as our memory."""
        held = self.images.items[0] if self.pack is None else self.pack.data
        if isinstance(held, np.ndarray):
            unmap(held)


def prepare(
    images: Images,
    *,
    image_px: int = 160,
    pack: Literal["auto", "raw", "jpeg", "none"] = "auto",
    keep: Keep = "square",
) -> Prepared:
    """Decodes every image once, resizes it (antialiased) and packs it into the cache; the second time is instant.

    The arguments are those of `Preparation`. Images of a pack made by `scrimp pack` are read where they lie.
    Images that cannot be decoded are left out and listed in `images.left_out`; with pack="none" they raise
    `ImageError` when a batch needs them.
    Cost: one decode per image over all cores, `3 * image_px**2` bytes of disk per square, under 200 MB of memory
    whatever the number; a build that was killed is gone on with. Raises `StorageError` when the cache cannot be
    written, `ImageError` when a class has no image left to learn from.
    """
    preparation = Preparation(image_px=image_px, pack=pack, keep=keep)
    if pack == "none" or _lies_in_a_pack(images):
        return _as_it_lies(images, preparation)
    packs = cache_folder() / "packs"
    asked: tuple[Format, ...] = ("raw", "jpeg") if pack == "auto" else (pack,)
    candidates = [Packing(format=kind, px=image_px, keep=keep) for kind in asked]
    folders = [packs / packing.name(images) for packing in candidates]
    folder = next((folder for folder in folders if is_pack(folder)), None)
    from_cache = folder is not None
    if folder is None:
        packs.mkdir(exist_ok=True)
        sweep_up(packs)
        begun = (packing for packing in candidates if was_begun(packs / packing.name(images), packing.name(images)))
        packing = next(begun, None) or plan_pack(images, candidates[0], None if pack == "auto" else pack, packs)
        folder = packs / packing.name(images)
        build(images, packing, folder)
    return _opened(images, preparation, folder, from_cache)


def _opened(images: Images, preparation: Preparation, folder: Path, from_cache: bool) -> Prepared:
    pack = open_pack(folder)
    facts = pack.facts
    if facts["fingerprint"] != images.fingerprint:
        raise StorageError(f"The pack '{folder}' is of other images: delete the folder.")
    left_out = tuple(LeftOut(key, reason) for key, reason in facts["left_out"])
    readable = images.only(pack.rows, left_out=left_out) if left_out else images
    readable = replace(readable, notes=(*readable.notes, *facts["notes"]))
    _something_to_learn(readable)
    return from_pack(pack, readable, preparation, from_cache=from_cache)


def from_pack(pack: Pack, images: Images, preparation: Preparation, *, from_cache: bool) -> Prepared:
    """The images of a pack, one for each of its own and in their order, ready to be read from it."""
    facts, px = pack.facts, preparation.image_px
    seen: set[int] = set()
    stored = Stored(images, pack, seen)
    squares = pack.squares()
    return Prepared(
        images=images,
        preparation=preparation,
        pixels=Squares(len(pack), px, lambda row: square_of(stored, row, px).copy()) if squares is None else squares,
        oddities=facts["oddities"],
        from_cache=from_cache,
        cost=Cost(**facts["cost"]),
        packed_by_pillow=facts["by_pillow"],
        read_by_pillow=seen,
        pack=pack,
        packed_bytes=facts["bytes"],
    )


def redivided(ready: Prepared, images: Images) -> Prepared:
    """The same pixels for the same images in other splits, as `prepare` would give them, without packing them again.

    images: those that `ready` was prepared from, as they were found, in other splits.
    """
    told = ready.images.left_out[len(images.left_out) :]
    if told:
        rows = np.flatnonzero(np.isin(images.keys, ready.images.keys))
        images = images.only(rows, left_out=told)
    images = replace(images, notes=tuple(dict.fromkeys((*ready.images.notes, *images.notes))))
    _something_to_learn(images)
    return replace(ready, images=images)


def _lies_in_a_pack(images: Images) -> bool:
    source = images.source.source
    return not is_uri(source) and is_pack(source) and all(isinstance(item, np.ndarray) for item in images.items)


def _as_it_lies(images: Images, preparation: Preparation) -> Prepared:
    _something_to_learn(images)
    px, cost, oddities, by_pillow, size = preparation.image_px, FREE, {}, None, 0
    seen: set[int] = set()
    if _lies_in_a_pack(images):
        facts = open_pack(images.source.source).facts
        cost, oddities = Cost(**facts["cost"]), facts["oddities"]
        by_pillow, size = facts["by_pillow"], facts["bytes"]
        if facts["px"] < px:
            told = f"The pack '{images.source.source}' was made at {facts['px']} px and is enlarged to {px} px."
            images = replace(images, notes=(*images.notes, told))
    return Prepared(
        images=images,
        preparation=preparation,
        pixels=Squares(len(images), px, lambda row: square_of(Stored(images, None, seen), row, px).copy()),
        oddities=oddities,
        from_cache=True,
        cost=cost,
        packed_by_pillow=by_pillow,
        read_by_pillow=seen,
        packed_bytes=size,
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
