"""The recorded benchmarks, and how a figure of theirs is told."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

ROOT = Path(__file__).parents[2]

FIT_NAMES = {
    "cifar10": "5,000 of CIFAR-10",
    "imagenette-224": "ten easy classes of ImageNet",
    "stanford-dogs-10": "ten breeds of Stanford Dogs, boxes",
}


def results(name: str) -> dict[str, Any]:
    """The recorded benchmark of that name."""
    content: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    return content


def recorded(name: str) -> bool:
    """Whether the benchmark of that name has been run."""
    return (ROOT / "benchmarks" / "results" / f"{name}.json").is_file()


def first_rows(name: str) -> dict[str, dict[str, Any]]:
    """The first row of each kind."""
    return {row["what"]: row for row in reversed(results(name)["rows"])}


def where(found: dict[str, Any]) -> str:
    """Machine, versions and date of a benchmark, as one phrase."""
    machine, versions = found["machine"], found["versions"]
    return f"{cores(found)} ({machine['processor']}), torch {versions['torch']}, {found['date'][:10]}"


def cores(found: dict[str, Any]) -> str:
    """How many a benchmark could use."""
    count = found["machine"]["cores"]
    return "1 core" if count == "1" else f"{count} cores"


def told_spread(spread: dict[str, Any]) -> str:
    """A mean accuracy with its spread and number."""
    sd = "" if spread["sd"] is None else f" ± {100 * spread['sd']:.1f}"
    return f"{100 * spread['mean']:.1f}{sd} % (n = {spread['n']})"


def spread_of(accuracies: Sequence[float]) -> dict[str, Any]:
    """What `told_spread` tells."""
    return {"mean": mean(accuracies), "sd": stdev(accuracies) if len(accuracies) > 1 else None, "n": len(accuracies)}


def said(*sentences: str, source: str) -> str:
    """Sentences as a paragraph, and the file that they come from."""
    text = f"{' '.join(sentences)} [{source}.json](../benchmarks/results/{source}.json)"
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def as_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
