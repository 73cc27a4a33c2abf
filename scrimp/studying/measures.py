"""The figures of a run that studies compare, each by one name."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import NamedTuple

from scrimp.meter import Run


class Measured(NamedTuple):
    """title: what it is called. unit: "share" for what is read as a percentage."""

    title: str
    unit: str
    read: Callable[[Run], float | None]


MEASURED: dict[str, Measured] = {
    "test": Measured("test", "share", lambda run: run.test.merit if run.test else None),
    "val": Measured("val", "share", lambda run: run.val.merit if run.val else None),
    "train": Measured("train", "share", lambda run: run.history[-1].train_score if run.history else None),
    "epoch_seconds": Measured("one epoch", "s", lambda r: fmean(e.seconds for e in r.history) if r.history else None),
    "seconds": Measured("whole time", "s", lambda run: run.cost.seconds),
    "train_seconds": Measured("training", "s", lambda run: run.costs["train"].seconds if run.val else None),
    "wh": Measured("energy", "Wh", lambda run: run.cost.wh),
    "usd": Measured("money", "$", lambda run: run.cost.usd),
    "mb": Measured("model", "MB", lambda run: run.size.mb if run.size else None),
    "memory": Measured("peak memory", "MB", lambda run: run.peak_memory_mb),
    "ms": Measured("one image", "ms", lambda run: run.speed.ms_per_image if run.speed else None),
    "epochs": Measured("epochs", "", lambda run: run.history[-1].epoch if run.history else None),
}
"""Every figure by name. `test` only reports."""
