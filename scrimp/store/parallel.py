"""Many things at once, their results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(work: Callable[[T], R], things: Iterable[T], threads: int, *, ahead: int | None = None) -> Iterator[R]:
    """`work(thing)` of each thing, in their order, by several threads.

    At most `ahead` results (by default two a thread) wait to be taken, which bounds memory. When the caller stops,
    or one raises, what has begun is finished and nothing more is begun; Ctrl-C waits for nothing.
    """
    waiting: deque[Future[R]] = deque()
    wait = True
    pool = ThreadPoolExecutor(threads)
    try:
        for thing in things:
            if len(waiting) >= (ahead or 2 * threads):
                yield waiting.popleft().result()
            waiting.append(pool.submit(work, thing))
        while waiting:
            yield waiting.popleft().result()
    except KeyboardInterrupt:
        wait = False  # a server may never answer
        raise
    finally:
        pool.shutdown(wait=wait, cancel_futures=True)
