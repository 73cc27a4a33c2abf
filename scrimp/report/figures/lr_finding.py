"""The search for a learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrimp.report.figures.drawing import Figure, colour, figure_of

if TYPE_CHECKING:
    from scrimp.training import LrFound


def lr_curve(found: LrFound) -> Figure:
    """The loss of each step of a range test and its average, with the learning rates that they suggest."""
    lowest = min(found.smoothed, default=0.0)
    data: list[Figure] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "loss of one step",
            "x": list(found.lrs),
            "y": list(found.losses),
            "marker": {"color": "var(--rest)", "size": 5},
            "hovertemplate": "%{x:.2~g}: loss %{y:.3f}<extra></extra>",
        },
        {
            "type": "scatter",
            "mode": "lines",
            "name": "smoothed",
            "x": list(found.lrs),
            "y": list(found.smoothed),
            "line": {"color": colour(0), "width": 2.5},
            "hovertemplate": "%{x:.2~g}: smoothed loss %{y:.3f}<extra></extra>",
        },
    ]
    for rank, (name, lr) in enumerate((("steepest", found.steepest), ("valley", found.valley)), 1):
        if lr is not None:
            data.append(_suggestion(f"{name}: {lr:.2g}", lr, found, colour(rank)))
    figure = figure_of(data, "learning rate (logarithmic)", "training loss")
    figure["layout"]["xaxis"] |= {"type": "log", "exponentformat": "power", "dtick": 1}
    if found.lr is not None:  # where it diverges, the loss leaves the chart
        above = (found.smoothed[0] - lowest) / 2
        figure["layout"]["yaxis"]["range"] = [lowest - above / 5, found.smoothed[0] + above]
    return figure


def _suggestion(name: str, lr: float, found: LrFound, ink: str) -> Figure:
    """A marker on the smoothed curve."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [lr],
        "y": [found.smoothed[found.lrs.index(lr)]],
        "marker": {"color": ink, "size": 14, "line": {"width": 1.5, "color": "var(--card)"}},
        "hovertemplate": "%{fullData.name}<extra></extra>",
    }
