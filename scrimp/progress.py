"""Progress bars with time left, on stderr, for whatever takes over two seconds; silent when nobody watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

_shared: Progress | None = None
_silent = False


def be_silent() -> None:
    """Shows no bars in this process from now on: the one that started it shows its own."""
    global _silent
    _silent = True


@contextmanager
def bar(label: str, total: float) -> Iterator[Callable[[float, str], None]]:
    """A bar for the length of the block: call what it yields with how much more is done, and a note.

    Bars may be nested: the inner ones come and go below the outer. rich is imported at the first one.
    """
    global _shared
    outermost = _shared is None
    if _shared is None:
        _shared = _new_progress()
        _shared.start()
    progress = _shared
    task = progress.add_task(label, total=total, note="")

    def advance(more: float, note: str) -> None:
        progress.update(task, advance=more, note=note)

    try:
        yield advance
    finally:
        progress.remove_task(task)
        if outermost:
            progress.stop()
            _shared = None


def _new_progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    return Progress(*columns, console=console, transient=True, disable=_silent or not console.is_terminal)
