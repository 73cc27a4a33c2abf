"""Writes packs: decodes in threads, writes in order, and goes on where a killed build of the same pack ended.

A pack is written beside its place and renamed when whole. Every few seconds what has been written is made to last
and then recorded; what was recorded is what a later build can rely on.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import platform
import shutil
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np

from scrimp.batches.reading import open_exactly
from scrimp.batches.shaping import WIDEST, Pixels, square, whole
from scrimp.cost import FREE, Cost, Stopwatch, shared_sensor
from scrimp.errors import ImageError, NotFound, StorageError
from scrimp.images import Images
from scrimp.images.decode import reader_of, threads_to_read
from scrimp.images.fingerprint import fingerprint
from scrimp.images.packed import INDEX, VERSION, Format, is_pack, texts_of
from scrimp.images.printable import printable
from scrimp.progress import bar
from scrimp.store import Reader, in_order, is_uri

Keep = Literal["square", "whole"]

ELSEWHERE = "Set SCRIMP_CACHE to a folder with room."

QUALITY = 92
"""Of the JPEGs in a pack, of 100: above the 90 below which a second compression begins to be seen."""

_AHEAD_BYTES = 64_000_000  # of images in flight: bounds memory, keeps all threads busy
_COMMIT_S = 10.0  # seconds of work that a killed build may lose
_SAMPLE = 24  # images that are packed to see what all will take
_SMALL_BYTES = 500_000_000  # sets below are packed without asking how large they will be
_STILL_S = 900.0  # without a byte: a build that another machine began is dead
_LEFT_FOR_DAYS = 7  # how long what a killed build recorded waits to be gone on with


@dataclass(frozen=True, kw_only=True)
class Packing:
    """What a pack will be. told: why, and how large, where that had to be decided, at what cost; else empty."""

    format: Format
    px: int
    keep: Keep
    told: str = ""
    cost: Cost = FREE

    def name(self, images: Images) -> str:
        """Differs where the images or the settings do, so that no pack of that name is ever out of date."""
        return fingerprint("pack", VERSION, _identity(images), self.format, self.px, self.keep)[:32]


@lru_cache(maxsize=1)  # asked for several times in a row of the same images, and seconds for a million
def _identity(images: Images) -> str:
    """Of the images and of where they lie: two folders may hold files of the same names, sizes and dates."""
    files = [item for item in images.items if isinstance(item, str)]
    return fingerprint(images.fingerprint, [item if is_uri(item) else str(Path(item).absolute()) for item in files])


def plan_pack(
    images: Images, packing: Packing, asked: Format | None, near: Path, *, advice: str = ELSEWHERE
) -> Packing:
    """Chooses the format where none was asked for: raw, or jpeg for what does not fit the disk or the memory.

    near: a folder of the disk that will hold the pack. Raises `StorageError` where neither fits.
    Cost: for large sets, packing 24 of the images.
    """
    import psutil

    free, memory = shutil.disk_usage(near).free, int(psutil.virtual_memory().total)
    n = len(images)
    raw = float(n * 3 * packing.px**2)
    if packing.keep == "square" and asked == "raw":
        _has_room(images, packing, raw, free, near, advice)
        return packing
    if (raw * (1 if packing.keep == "square" else 2)) < min(_SMALL_BYTES, 0.5 * free, 0.3 * memory):
        return _as(packing, asked or "raw")
    rows = np.unique(np.linspace(0, n - 1, _SAMPLE).astype(np.int64)).tolist()
    sizes: dict[Format, float] = {}
    seconds: dict[Format, float] = {}
    with Stopwatch(shared_sensor()) as watch, reader_of(images) as reader:
        kinds: tuple[Format, ...] = ("raw", "jpeg")
        for kind in kinds:
            start = time.perf_counter()
            done = [_pack_one(images, row, _as(packing, kind), reader) for row in rows]
            seconds[kind] = (time.perf_counter() - start) / len(rows) * n / threads_to_read(images)
            sizes[kind] = sum(len(one.content) for one in done) / max(1, sum(bool(one.content) for one in done)) * n
    if asked is None:
        chosen: Format = "raw" if sizes["raw"] <= min(0.9 * free, 0.6 * memory) else "jpeg"
    else:
        chosen = asked
    sizes["beton"] = 2 * sizes["raw"]  # and a raw pack beside it
    seconds["beton"] = 2 * seconds["raw"]
    _has_room(images, packing, sizes[chosen], free, near, advice)
    told = f"{n:,} images: {_gb(sizes['raw'])} raw or {_gb(sizes['jpeg'])} jpeg; free: {_gb(free)} of disk, "
    told += f"{_gb(memory)} of memory in all; using {chosen}, about {_duration(seconds[chosen])}."
    return Packing(format=chosen, px=packing.px, keep=packing.keep, told=told, cost=watch.cost)


def build(images: Images, packing: Packing, folder: Path, *, threads: int | None = None, advice: str = "") -> None:
    """Writes the pack, or goes on with one that was cut off; another process that was first is as good.

    threads: by default as many as there are cores. advice: what to do where it cannot be written.
    Raises `StorageError` where it cannot be written. Images that cannot be decoded are recorded as left out.
    Cost: a decode per image; memory for some images at a time, 24 bytes for each image, and their names.
    """
    partial = partial_of(folder)
    cut_off = False
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        written = _take_up(folder, partial, packing.name(images))
        with Stopwatch(shared_sensor()) as watch:
            _write_images(images, packing, partial, written, watch, threads or threads_to_read(images))
        _is_whole(partial, written)
        _write_table(images, partial / "images.json")
        facts = _facts(images, packing, written, packing.cost + written.cost + watch.cost)
        _write_synced(partial / "pack.json", json.dumps(facts))
        (partial / "job").unlink()
        (partial / "told.jsonl").unlink()
        partial.rename(folder)
    except OSError as error:
        if isinstance(error, (ImageError, NotFound, StorageError)):
            cut_off = True
            raise
        if is_pack(folder):
            return  # another process was first, with the same pack
        raise StorageError(
            f"Cannot write the pack of {len(images):,} images at {packing.px} px to '{folder}': "
            f"{error.strerror}. {advice or ELSEWHERE}"
        ) from None
    except BaseException:
        cut_off = True
        raise
    finally:
        if cut_off and _has_records(partial):  # by nobody's process, so that the next build takes it up
            with suppress(OSError):
                partial.rename(partial_of(folder, pid=0))
        shutil.rmtree(partial, ignore_errors=True)


# ---------------------------------------------------------------- one image


class _Packed(NamedTuple):
    content: bytes
    height: int
    width: int
    crc: int
    reason: str
    oddities: list[str]
    by_pillow: bool


def _pack_one(images: Images, row: int, packing: Packing, reader: Reader) -> _Packed:
    try:
        opened = open_exactly(images, row, packing.px, reader)
    except ImageError as error:
        return _Packed(b"", 0, 0, 0, printable(str(error)), [], True)
    except StorageError as error:
        if not _is_forbidden(images.items[row]):
            raise
        return _Packed(b"", 0, 0, 0, printable(str(error)), [], True)
    except NotFound as error:  # a folder that is not mounted for a moment must not count as damaged images for good
        raise StorageError(f"An image has gone since it was listed: {error} Start again.") from None
    cut = False
    if packing.keep == "square":
        pixels = square(opened.image, packing.px)
    else:
        pixels, cut = whole(opened.image, packing.px)
    content = _jpeg(pixels) if packing.format == "jpeg" else pixels.tobytes()
    oddities = opened.oddities + ([f"cut to {WIDEST}:1"] if cut else [])
    height, width = pixels.shape[:2]
    return _Packed(content, height, width, zlib.crc32(content), "", oddities, opened.by_pillow)


def _is_forbidden(item: Any) -> bool:
    """Whether this one file may not be read, unlike a disk or a connection that fails for all."""
    return isinstance(item, str) and not is_uri(item) and os.path.isfile(item) and not os.access(item, os.R_OK)  # noqa: PTH113


def _jpeg(pixels: Pixels) -> bytes:
    import simplejpeg

    content: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), QUALITY, "RGB", "420")
    return content


# ---------------------------------------------------------------- writing, and what has been written


@dataclass
class _Written:
    """What lies in a partial folder: of the first `rows` images the index, and what was told of them."""

    rows: int = 0
    bytes: int = 0
    left_out: list[tuple[int, str]] = field(default_factory=list)
    oddities: Counter[str] = field(default_factory=Counter)
    by_pillow: int = 0
    notes: list[str] = field(default_factory=list)
    cost: Cost = FREE
    index: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=16))

    def tell(self, line: dict[str, Any]) -> None:
        """What one line of told.jsonl says."""
        if "cost" in line:
            self.cost = Cost(**line["cost"])
        else:
            self.left_out += [(line["row"], line["reason"])] if line["reason"] else []
            self.oddities.update(line["oddities"])
            self.by_pillow += line["by_pillow"]


def _write_images(
    images: Images, packing: Packing, partial: Path, written: _Written, watch: Stopwatch, threads: int
) -> None:
    ahead = max(2 * threads, min(256, _AHEAD_BYTES // (6 * packing.px**2)))
    label, rows = packing.told or f"packing {len(images):,} images at {packing.px} px", range(written.rows, len(images))
    with (
        reader_of(images) as reader,
        (partial / "images.u8").open("ab", buffering=1 << 20) as data,
        (partial / "told.jsonl").open("ab") as told,
        (partial / "index.bin").open("ab") as index,
        ThreadPoolExecutor(1) as syncing,
        bar(label, len(images)) as advance,
    ):
        advance(written.rows, "")
        earlier, records, lines = written.cost, [], []
        commit: Future[None] | None = None
        at = time.monotonic()
        every = in_order(lambda row: _pack_one(images, row, packing, reader), rows, threads, ahead=ahead)
        for row, one in zip(rows, every, strict=True):
            data.write(one.content)
            records.append((written.bytes, len(one.content), one.height, one.width, one.crc))
            written.bytes += len(one.content)
            if one.reason or one.oddities or one.by_pillow:
                line = {"row": row, "reason": one.reason, "oddities": one.oddities, "by_pillow": one.by_pillow}
                written.tell(line)
                lines.append(line)
            if time.monotonic() - at > _COMMIT_S and (commit is None or commit.done()):
                if commit:
                    commit.result()
                data.flush()
                lines.append({"cost": asdict(earlier + watch.cost)})
                commit = syncing.submit(_commit, data, told, index, lines, _packed_records(records, written))
                records, lines, at = [], [], time.monotonic()
            advance(1, "")
        if commit:
            commit.result()
        data.flush()
        _commit(data, told, index, lines, _packed_records(records, written))
        written.cost = earlier
        written.notes += reader.told()


def _is_whole(partial: Path, written: _Written) -> None:
    found = (partial / "images.u8").stat().st_size
    if found != written.bytes:
        raise StorageError(f"'{partial}' holds {found:,} bytes where {written.bytes:,} were written: start again.")


def _packed_records(records: Sequence[tuple[int, ...]], written: _Written) -> bytes:
    content = np.array(records, dtype=INDEX).tobytes()
    written.index.update(content)
    return content


def _commit(data: BinaryIO, told: BinaryIO, index: BinaryIO, lines: list[dict[str, Any]], records: bytes) -> None:
    """Makes the pixels last before the index says that they are there."""
    os.fsync(data.fileno())
    told.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    told.flush()
    os.fsync(told.fileno())
    index.write(records)
    index.flush()
    os.fsync(index.fileno())


def _facts(images: Images, packing: Packing, written: _Written, cost: Cost) -> dict[str, Any]:
    return {
        "version": VERSION,
        "format": packing.format,
        "px": packing.px,
        "keep": packing.keep,
        "job": packing.name(images),
        "fingerprint": images.fingerprint,
        "source": images.source.source,
        "task": images.task,
        "classes": images.classes,
        "mirror_ok": images.mirror_ok,
        "images": len(images) - len(written.left_out),
        "bytes": written.bytes,
        "index": written.index.hexdigest(),
        "left_out": [(images.keys[row], reason) for row, reason in written.left_out],
        "oddities": dict(written.oddities),
        "by_pillow": written.by_pillow,
        "notes": [*written.notes, *([packing.told] if packing.told else [])],
        "cost": asdict(cost),
    }


def _write_table(images: Images, path: Path) -> None:
    labels = list(texts_of(images.labels, images.classes, images.task))
    table = {"keys": images.keys, "labels": labels, "splits": images.splits.tolist()}
    _write_synced(path, json.dumps(table))


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


# ---------------------------------------------------------------- what killed builds left


def partial_of(folder: Path, *, pid: int | None = None) -> Path:
    """Where a process of this machine builds what is to be `folder`; with pid 0 whoever comes first may go on."""
    return folder.with_name(f"{folder.name}.partial-{machine_mark()}-{os.getpid() if pid is None else pid}-{_random()}")


def was_begun(folder: Path, job: str) -> bool:
    """Whether a killed build of this pack has left something to go on with."""
    return any((left / "index.bin").is_file() and _job_of(left) == job for left in _left_of(folder))


def _take_up(folder: Path, partial: Path, job: str) -> _Written:
    """Makes the partial folder: that of a dead build of the same pack, cut back to what it recorded, or a new one."""
    for left in _left_of(folder):
        with suppress(OSError, ValueError, KeyError):
            if _job_of(left) == job:
                left.rename(partial)
                return _read_written(partial)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    (partial / "job").write_text(job)
    return _Written()


def _read_written(partial: Path) -> _Written:
    records = (partial / "index.bin").read_bytes()
    records = records[: len(records) // INDEX.itemsize * INDEX.itemsize]
    index = np.frombuffer(records, dtype=INDEX)
    written = _Written(rows=len(index))
    written.bytes = int(index["offset"][-1] + index["size"][-1]) if len(index) else 0
    if (partial / "images.u8").stat().st_size < written.bytes:
        raise ValueError("it lost bytes that it had recorded")
    lines = [json.loads(line) for line in (partial / "told.jsonl").read_text().splitlines() if line.endswith("}")]
    kept = [line for line in lines if line.get("row", -1) < written.rows]
    for line in kept:
        written.tell(line)
    written.index.update(records)
    _write_synced(partial / "told.jsonl", "".join(json.dumps(line) + "\n" for line in kept))
    os.truncate(partial / "index.bin", len(records))
    os.truncate(partial / "images.u8", written.bytes)
    return written


def sweep_up(packs: Path) -> None:
    """Removes what killed builds left, unless it can be gone on with and is not old."""
    for left in _left_behind(packs, "*.partial-*"):
        with suppress(OSError):
            if not _has_records(left) or _days_old(left / "index.bin") > _LEFT_FOR_DAYS:
                shutil.rmtree(left, ignore_errors=True)


def _left_of(folder: Path) -> Iterable[Path]:
    return _left_behind(folder.parent, f"{glob.escape(folder.name)}.partial-*")


def _has_records(left: Path) -> bool:
    index = left / "index.bin"
    return index.is_file() and index.stat().st_size > 0


def _job_of(left: Path) -> str:
    with suppress(OSError):
        return (left / "job").read_text()
    return ""


def _left_behind(parent: Path, pattern: str) -> Iterable[Path]:
    import psutil

    for partial in parent.glob(pattern):
        *here, pid, _ = partial.name.rpartition(".partial-")[2].split("-")
        if pid == "0" or (here == [machine_mark()] and not psutil.pid_exists(int(pid))) or _is_still(partial):
            yield partial


def machine_mark() -> str:
    """This machine or container: of another one, which may share the cache, the processes cannot be seen."""
    return fingerprint(platform.node())[:6]


def _random() -> str:
    return uuid.uuid4().hex[:6]


def _is_still(partial: Path) -> bool:
    """Whether nothing has been written there for so long that whoever began it must be dead."""
    with suppress(OSError):
        return all(_days_old(path) * 86400 > _STILL_S for path in [partial, *partial.iterdir()])
    return False


def _days_old(path: Path) -> float:
    return (time.time() - path.stat().st_mtime) / 86400


# ---------------------------------------------------------------- wording


def _as(packing: Packing, kind: Format) -> Packing:
    return Packing(format=kind, px=packing.px, keep=packing.keep)


def _has_room(images: Images, packing: Packing, wanted: float, free: float, near: Path, advice: str) -> None:
    if wanted > free:
        raise StorageError(
            f"Cannot write the pack of {len(images):,} images at {packing.px} px to '{near}': "
            f"{os.strerror(errno.ENOSPC)}: it needs {wanted / 1e9:.2f} GB, {free / 1e9:.2f} GB are free. {advice}"
        )


def _gb(size: float) -> str:
    return f"{size / 1e9:,.0f} GB" if size >= 10e9 else f"{size / 1e9:.2g} GB"


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{seconds / 60:.0f} min" if seconds > 90 else "a minute"
