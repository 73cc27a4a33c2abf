"""Batches: several threads fill the ones to come while the last is learnt from, in memory that is used again."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from scrimp.augment import Augmentation, crop, mirror
from scrimp.batches.preparing import Prepared
from scrimp.batches.reading import Stored, crop_of, square_of
from scrimp.batches.shaping import Pixels
from scrimp.cores import cores
from scrimp.images.decode import reader_of, threads_to_read
from scrimp.images.fast import NUMBERS

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor

_CHUNK = 8  # images that a thread takes at a time
_AHEAD = 2  # batches that are filled before they are asked for
_BLOCK = 64  # images that lie and are read side by side where a pack is larger than memory
_WINDOW = 64  # such blocks that are mixed with one another
_MAPPED_BYTES = 32_000_000  # of a pack that are read before they are unmapped: what is mapped counts as our memory


class Batch(NamedTuple):
    """Pixels uint8 (b, 3, h, w), channels last in memory; labels as `Images` holds them; which rows of it they are."""

    pixels: Tensor
    labels: Tensor
    rows: npt.NDArray[np.int64]


def batches(
    ready: Prepared,
    rows: npt.NDArray[np.int64],
    batch_size: int,
    *,
    order: Generator | None = None,
    changes: Sequence[Augmentation] = (),
    device: torch.device | None = None,
    threads: int | None = None,
    share: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Yields a `Batch` of at most `batch_size` images at a time, until each row has come once.

    With `order` the rows come shuffled by that generator, which also decides the `changes`; nothing depends on the
    number of threads (by default one a core). "crop", and "mirror" beside it, are done while the whole image is at
    hand. Batches differ in size by one image at most, so that there is never a leftover of a single image, on which
    batch norm fails. share: which of how many equal parts of each batch to yield; the order is that of the whole,
    and each part has chances of its own. On a CUDA device they arrive while earlier ones are learnt from.
    Memory: about four batches; that of a batch is used again once nobody holds it any more.
    """
    import torch

    if order is not None:
        rows = rows[_shuffled(ready, rows, order)]
    parts = np.array_split(rows, max(1, -(-len(rows) // batch_size)))
    fused = order is not None and crop in changes
    chance = np.random.default_rng(int(torch.randint(2**62, (1,), generator=order))) if fused else None
    rank, size = share
    if order is not None and size > 1:
        order = torch.Generator().manual_seed(int(torch.randint(2**62, (1,), generator=order)) + rank)
    later = [change for change in changes if not (fused and change in (crop, mirror))]
    mirrors = fused and mirror in changes
    on_gpu = device is not None and device.type == "cuda"
    memory = _Memory((-(-len(parts[0]) // size), ready.image_px, ready.image_px, 3), pinned=on_gpu)
    with ExitStack() as stack:
        reader = stack.enter_context(reader_of(ready.images)) if ready.pack is None else None
        stored = Stored(ready.images, ready.pack, ready.read_by_pillow, reader)
        count = threads or (cores() if reader is None else threads_to_read(ready.images))
        pool = ThreadPoolExecutor(count, "batches")
        stack.callback(pool.shutdown, cancel_futures=True)
        filling: deque[tuple[npt.NDArray[np.int64], Pixels, list[Future[None]]]] = deque()
        mapped = 0
        for whole in parts:
            if len(filling) > _AHEAD:
                yield _finish(ready, *filling.popleft(), later, order, device, memory)
            mine = slice(len(whole) * rank // size, len(whole) * (rank + 1) // size)
            part = whole[mine]
            out = memory.take()[: len(part)]
            numbers = None if chance is None else chance.random((len(whole), NUMBERS))[mine]
            filling.append((part, out, _start(pool, ready, stored, part, out, numbers, mirrors)))
            del out
            mapped += ready.packed_bytes * len(part) // len(ready.images)
            if mapped > _MAPPED_BYTES:
                ready.let_go()
                mapped = 0
        while filling:
            yield _finish(ready, *filling.popleft(), later, order, device, memory)


def _shuffled(ready: Prepared, rows: npt.NDArray[np.int64], order: Generator) -> npt.NDArray[np.int64]:
    """A random order of the rows; where the pack is larger than the memory, one that reads runs of neighbours."""
    import psutil
    import torch

    if ready.packed_bytes < psutil.virtual_memory().total * 0.8:
        return torch.randperm(len(rows), generator=order).numpy()
    return in_blocks(len(rows), order)


def in_blocks(n: int, order: Generator, block: int = _BLOCK, window: int = _WINDOW) -> npt.NDArray[np.int64]:
    """A random order of n rows that reads runs of `block` neighbours, `window` of which are mixed with one another."""
    import torch

    blocks = np.array_split(np.arange(n), max(1, -(-n // block)))
    shuffled = [blocks[i] for i in torch.randperm(len(blocks), generator=order).tolist()]
    windows = [np.concatenate(shuffled[start : start + window]) for start in range(0, len(shuffled), window)]
    return np.concatenate([part[torch.randperm(len(part), generator=order).numpy()] for part in windows])


# ---------------------------------------------------------------- filling a batch


def _start(
    pool: ThreadPoolExecutor,
    ready: Prepared,
    stored: Stored,
    part: npt.NDArray[np.int64],
    out: Pixels,
    numbers: npt.NDArray[np.float64] | None,
    mirrors: bool,
) -> list[Future[None]]:
    if numbers is None and isinstance(ready.pixels, np.ndarray):
        return [pool.submit(_copy_rows, ready.pixels, part, out)]

    def fill(start: int) -> None:
        for i in range(start, min(start + _CHUNK, len(part))):
            if numbers is None:
                out[i] = square_of(stored, int(part[i]), ready.image_px)
            else:
                crop_of(out[i], stored, int(part[i]), numbers[i], mirrors=mirrors)

    return [pool.submit(fill, start) for start in range(0, len(part), _CHUNK)]


def _copy_rows(pixels: Pixels, part: npt.NDArray[np.int64], out: Pixels) -> None:
    np.take(pixels, part, axis=0, out=out, mode="clip")  # "raise" would copy twice


# ---------------------------------------------------------------- handing it over


def _finish(
    ready: Prepared,
    part: npt.NDArray[np.int64],
    out: Pixels,
    work: list[Future[None]],
    changes: Sequence[Augmentation],
    order: Generator | None,
    device: torch.device | None,
    memory: _Memory,
) -> Batch:
    import torch

    for one in work:
        one.result()
    pixels = torch.from_numpy(out).permute(0, 3, 1, 2)
    labels = torch.from_numpy(ready.images.labels[part])
    if device is not None and device.type == "cuda":
        pixels, labels = memory.send(pixels, device), memory.send(labels.pin_memory(), device)
    for change in changes:
        assert order is not None
        pixels = change(pixels, order)
    return Batch(pixels, labels, part)


class _Memory:
    """The memory of batches: used again once nobody holds it any more, and no copy from it is under way."""

    def __init__(self, shape: tuple[int, ...], *, pinned: bool) -> None:
        self._shape, self._pinned = shape, pinned
        self._kept: list[Pixels] = []
        self._sending: deque[tuple[Any, Tensor]] = deque()

    def take(self) -> Pixels:
        """An array of the shape, with anything in it."""
        import torch

        while self._sending and self._sending[0][0].query():
            self._sending.popleft()
        for index in range(len(self._kept)):
            if sys.getrefcount(self._kept[index]) == 2:  # the list's and the one being asked about
                # Whoever is given a part of it must be given its beginning: PyTorch knows pinned memory by that.
                return self._kept[index]
        fresh = torch.empty(self._shape, dtype=torch.uint8, pin_memory=self._pinned).numpy()
        self._kept.append(fresh)
        return fresh

    def send(self, pinned: Tensor, device: torch.device) -> Tensor:
        """A copy on the GPU, made while the GPU computes; whoever computes with it waits for it."""
        import torch

        stream = _copying_stream(device)
        with torch.cuda.stream(stream):
            there = pinned.to(device, non_blocking=True)
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record(stream)
        torch.cuda.current_stream(device).wait_event(done)
        there.record_stream(torch.cuda.current_stream(device))
        self._sending.append((done, pinned))
        return there


@cache
def _copying_stream(device: torch.device) -> Any:
    """One for all epochs: memory on the GPU is kept for each stream by itself."""
    import torch

    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
