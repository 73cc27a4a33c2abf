"""Figures as people read them: three digits that count, a unit, and "not measured" for what is unknown."""

from __future__ import annotations

from scrimp.scores import Measure
from scrimp.scores import number as number
from scrimp.tradeoff import Spread

UNKNOWN = "not measured"


def amount(value: float | None, unit: str) -> str:
    """A figure with its unit: `4.56 Wh`, `$0.012`, `3 min 20 s`."""
    if value is None:
        return UNKNOWN
    if unit == "$":
        return f"${value:,.2f}" if value >= 1 else f"${number(value)}"
    if unit == "s":
        return duration(value)
    return f"{number(value)} {unit}"


def duration(seconds: float) -> str:
    """Seconds, or minutes and seconds, or hours and minutes: never more precise than anyone would ask for."""
    if seconds < 59.95:
        return f"{number(seconds)} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def percent(value: float | None) -> str:
    """A share from 0 to 1 as `91.3%`."""
    return UNKNOWN if value is None else f"{value:.1%}"


def score(measure: Measure, spread: Spread | None, field: str = "") -> str:
    """A mean score with its standard deviation over the seeds, where there is one: `91.3% ± 0.4%`."""
    if spread is None:
        return UNKNOWN
    return measure.text(spread.mean, field) + ("" if spread.sd is None else f" ± {measure.text(spread.sd, field)}")


def count(value: float | None) -> str:
    """A large count: `1.53 M`, `56 M`, `4.2 G`."""
    if value is None:
        return UNKNOWN
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.0f}"


def of(n: int, thing: str) -> str:
    """A number of things: `1 image`, `1,204 images`, `2 classes`."""
    plural = f"{thing}es" if thing.endswith("s") else f"{thing}s"
    return f"{n:,} {thing if n == 1 else plural}"


def clipped(text: str, length: int) -> str:
    """The text, or as much of it as fits, with an ellipsis."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def source_name(source: str) -> str:
    """The last part of a path or URI, which is what people call the data."""
    return source.rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1] or source
