"""Packs: a folder that holds decoded or re-encoded images one after the other, and all there is to know of them.

pack.json     what this is: version, format, size, fingerprint, counts, what was odd, what it cost
images.json   of each image: its key, its label as text, its split
index.bin     of each image: where its bytes lie, height and width, CRC-32 (`INDEX`); size 0 for one left out
images.u8     the bytes: RGB pixels row by row ("raw"), or whole JPEG files ("jpeg")
images.beton  instead of these, the file that FFCV has written and can read ("beton"): pixels, and its own tables
"""

from __future__ import annotations

import hashlib
import json
import mmap
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from scrimp.errors import SettingError, StorageError
from scrimp.images.found import Found
from scrimp.images.kinds import LeftOut, Task
from scrimp.progress import bar
from scrimp.store import in_order

VERSION = 1
INDEX = np.dtype([("offset", "<u8"), ("size", "<u4"), ("height", "<u4"), ("width", "<u4"), ("crc", "<u4")])
Format = Literal["raw", "jpeg", "beton"]
BETON = "images.beton"
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pack:
    """An open pack of n images.

    facts: all that pack.json holds. rows: int64 (n,), which of the images that were to be packed; the others could
    not be decoded. index: n records of `INDEX`. data: uint8, all bytes, memory-mapped.
    """

    folder: Path
    facts: dict[str, Any]
    rows: npt.NDArray[np.int64]
    index: npt.NDArray[Any]
    data: Pixels

    def __len__(self) -> int:
        return len(self.index)

    @property
    def format(self) -> Format:
        """Pixels ("raw" and "beton"), or JPEG files ("jpeg")."""
        return cast("Format", self.facts["format"])

    def item(self, n: int) -> Pixels:
        """The nth image as `Images` holds those in memory: pixels (h, w, 3), or the bytes of a JPEG file."""
        offset, size, height, width, _ = self.index[n].tolist()
        content = self.data[offset : offset + size]
        return content if self.format == "jpeg" else content.reshape(height, width, 3)

    def squares(self) -> Pixels | None:
        """Pixels (n, px, px, 3) of a raw pack whose images are all square and of one size, else None."""
        px = self.facts["px"]
        alike = len(self) and (self.index["height"] == px).all() and (self.index["width"] == px).all()
        return self.data.reshape(len(self), px, px, 3) if alike and self.format == "raw" else None

    def verify(self) -> None:
        """Reads every byte. Raises `StorageError` naming what is not as it was written. Cost: reading the files."""
        with bar(f"checking {self.folder.name}", len(self)) as advance:
            wrong = []
            for n, same in enumerate(in_order(self._is_sound, range(len(self)), 2, ahead=64)):
                wrong += [] if same else [n]
                if n % 500 == 0:
                    unmap(self.data)
                advance(1, "")
        if wrong:
            keys = read_table(self.folder)["keys"]
            raise StorageError(
                f"{len(wrong):,} of {len(self):,} images in the pack '{self.folder}' have changed since it was "
                f"written; the first is '{keys[self.rows[wrong[0]]]}'. Delete the folder and pack again."
            )

    def _is_sound(self, n: int) -> bool:
        offset, size, _, _, crc = self.index[n].tolist()
        return crc_of(self.data[offset : offset + size]) == int(crc)


def unmap(pixels: Pixels) -> None:
    """Lets go of all pages of the pack that these pixels were mapped from; who reads them maps them again.

    Cost: 0.1 ms, and a page fault per 64 kB read again. Does nothing where the system cannot (Windows).
    """
    base: Any = pixels
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview) and isinstance(base.obj, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.obj.madvise(mmap.MADV_DONTNEED)


def crc_of(content: Pixels) -> int:
    """The CRC-32 of bytes."""
    return zlib.crc32(np.ascontiguousarray(content).data)


def is_pack(folder: str | Path) -> bool:
    """Whether this folder holds a pack that was finished."""
    return (Path(folder) / "pack.json").is_file()


def open_pack(folder: str | Path) -> Pack:
    """Opens a pack and checks that its files belong together; the pixels are mapped, not read.

    Raises `StorageError` where a file is missing, has another size than it must have, or is of another version.
    Cost: 24 bytes of memory per image.
    """
    folder = Path(folder)
    try:
        facts = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
        _is_ours(folder, facts)
        records = (folder / "index.bin").read_bytes()
        data = _mapped(folder / (BETON if facts["format"] == "beton" else "images.u8"), facts["bytes"])
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"The pack '{folder}' cannot be read: {error}. Delete the folder and pack again.") from None
    if hashlib.blake2b(records, digest_size=16).hexdigest() != facts["index"]:
        raise StorageError(f"'{folder / 'index.bin'}' is not as it was written: delete the folder and pack again.")
    index = np.frombuffer(records, dtype=INDEX)
    rows = np.flatnonzero(index["size"])
    return Pack(folder=folder, facts=facts, rows=rows, index=index[rows], data=data)


def _is_ours(folder: Path, facts: dict[str, Any]) -> None:
    if facts.get("version") != VERSION:
        raise StorageError(
            f"The pack '{folder}' is of version {facts.get('version')}, and this Scrimp reads version {VERSION}: "
            "delete the folder and pack again."
        )


def _mapped(path: Path, expected: int) -> Pixels:
    found = path.stat().st_size
    if found != expected:
        raise StorageError(
            f"The pack '{path}' holds {found:,} bytes where {expected:,} belong: delete its folder and pack again."
        )
    if not found:
        return np.zeros(0, dtype=np.uint8)
    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)


# ---------------------------------------------------------------- as a source of images


def read_table(folder: Path) -> dict[str, list[str]]:
    """Keys, labels and splits of all images that were to be packed."""
    path = folder / "images.json"
    try:
        table: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"'{path}' cannot be read: {error}. Delete the folder and pack again.") from None
    return table


def read_pack(folder: str | Path, task: Task) -> Found:
    """The images of a pack, with the labels and splits that they were packed with; nothing is decoded or copied.

    Raises `SettingError` where they were packed for another task, `StorageError` as `open_pack` does.
    Cost: about 400 bytes of memory per image.
    """
    pack = open_pack(folder)
    if pack.facts["task"] != task:
        raise SettingError(f"'{folder}' was packed with task='{pack.facts['task']}', not '{task}'.")
    table = read_table(pack.folder)
    found = Found(mirror_ok=pack.facts["mirror_ok"], divided=True)
    for n, row in enumerate(pack.rows.tolist()):
        split = cast("Any", table["splits"][row])
        stamp = f"{pack.facts['format']} {pack.index['crc'][n]}"
        found.add(pack.item(n), table["keys"][row], table["labels"][row], split, stamp)
    found.left_out += [LeftOut(key, reason) for key, reason in pack.facts["left_out"]]
    found.notes += pack.facts["notes"]
    return found


def texts_of(labels: npt.NDArray[Any], classes: tuple[str, ...], task: Task) -> Iterable[str]:
    """Labels as `Images` holds them as the texts of a manifest, which `encode` turns back."""
    if task == "regress":
        return (repr(float(target)) for target in labels)
    if task == "classify":
        return (classes[number] for number in labels)
    return (";".join(classes[n] for n in np.flatnonzero(row)) for row in labels)
