"""Writes a benchmark's raw figures and its headline where the docs quote them from."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scrimp.meter import machine, versions
from scrimp.store import write_whole

RESULTS = Path(__file__).parent / "results"


def record(name: str, rows: list[dict[str, Any]], summary: dict[str, Any], *, quick: bool) -> Path:
    """`results/NAME.json`, or `results/NAME.quick.json`, which is not kept, for a quick run."""
    content = {
        "machine": machine(),
        "versions": versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", *sys.argv]),
        "rows": rows,
        "summary": summary,
    }
    path = RESULTS / f"{name}{'.quick' if quick else ''}.json"
    write_whole(path, json.dumps(content, indent=1).encode())
    print(json.dumps(summary, indent=1))
    return path


def spread(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean, standard deviation (None for one value) and number of values that were measured again and again."""
    return {"mean": mean(values), "sd": stdev(values) if len(values) > 1 else None, "n": len(values)}
