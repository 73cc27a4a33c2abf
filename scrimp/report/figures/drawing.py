"""What all charts share: colours, axes and the frame."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape
from typing import Any

from scrimp.scores import Measure

Figure = dict[str, Any]

COLOURS = 8
"""Candidates with a colour of their own; the rest are grey."""

_HIGHEST = 1.02
_LOWEST_R2 = -0.5  # what is worse lies outside the chart, so that the rest can be read; dragging shows it
_LEAST_SPAN = 0.1  # so that scores that are nearly the same look so


def colour(rank: int) -> str:
    """The colour of the candidate with this place, counted from 0."""
    return f"var(--c{rank})" if rank < COLOURS else "var(--rest)"


def score_axis(measure: Measure, values: Iterable[float | None]) -> Figure:
    """Ticks as the score is read, no further than it can go, and no closer than says anything."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    low, high = min(known), max(known)
    axis: Figure = {"tickformat": ".2~%" if measure.key == "top1" else ".4~f", "maxallowed": _HIGHEST}
    if measure.key != "r2":
        axis["minallowed"] = -0.02
    elif low < _LOWEST_R2:
        return axis | {"range": [_LOWEST_R2, _HIGHEST]}
    if high - low < _LEAST_SPAN / 2:
        middle = (low + high) / 2
        axis["range"] = [middle - _LEAST_SPAN / 2, min(middle + _LEAST_SPAN / 2, _HIGHEST)]
    return axis


def digits(measure: Measure) -> str:
    """How plotly is to write a score."""
    return ".1%" if measure.key == "top1" else ".3f"


def as_text(text: str) -> str:
    """Text from data, so that plotly shows it as it is; quotes it would show escaped."""
    return escape(text, quote=False)


def figure_of(data: list[Figure], x: str, y: str) -> Figure:
    """A figure with these traces and the titles of both axes, in the colours of the page."""
    axis = {
        "gridcolor": "var(--line)",
        "linecolor": "var(--line)",
        "zeroline": False,
        "automargin": True,
        "color": "var(--muted)",
    }
    layout = {
        "xaxis": {**axis, "title": {"text": x}},
        "yaxis": {**axis, "title": {"text": y}},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "var(--ink)"},
        "margin": {"l": 10, "r": 10, "t": 10, "b": 10},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"color": "var(--muted)"}},
        "hoverlabel": {
            "bgcolor": "var(--card)",
            "bordercolor": "var(--line)",
            "font": {"color": "var(--ink)"},
            "align": "left",
        },
        "hovermode": "closest",
    }
    return {"data": data, "layout": layout}
