"""The score against each cost."""

from __future__ import annotations

from collections.abc import Sequence

from scrimp.report import words
from scrimp.report.figures.drawing import Figure, as_text, colour, figure_of, score_axis
from scrimp.scores import Measure
from scrimp.tradeoff import AXES, Axis, Candidate, Chosen, Spread

NUMBERED = 20
"""Up to so many candidates, each point of the front chart carries its number; beyond, only the front does."""


def front(chosen: Chosen, axis: str) -> Figure:
    """The score against one cost: the front as a step line, val as full and test as hollow markers."""
    points = _Points(chosen, axis)
    many = len(chosen.candidates) > NUMBERED
    data = [_front_line(chosen, axis), points.test(hidden=many), points.val(many), points.winner()]
    figure = figure_of(data, AXES[axis].title, chosen.measure.word)
    figure["layout"]["xaxis"].update(_cost_ticks(points.x, AXES[axis]))
    figure["layout"]["yaxis"].update(score_axis(chosen.measure, points.scores))
    return figure


class _Points:
    """The candidates whose cost on this axis is known, with all that their markers need."""

    def __init__(self, chosen: Chosen, axis: str) -> None:
        placed = [(rank, c, cost.mean) for rank, c in enumerate(chosen.candidates) if (cost := c.costs[axis])]
        self.chosen = chosen
        self.ranks = [rank for rank, _, _ in placed]
        self.candidates = [candidate for _, candidate, _ in placed]
        self.x = [x for _, _, x in placed]
        self.scores = [spread.mean for _, c, _ in placed for spread in (c.val, c.test) if spread]
        self.on_front = [candidate in chosen.front[axis] for candidate in self.candidates]
        self.colours = [colour(rank) for rank in self.ranks]
        ranked = zip(self.ranks, self.candidates, strict=True)
        self.hover = [_hover(rank, candidate, chosen.measure) for rank, candidate in ranked]

    def val(self, many: bool) -> Figure:
        """Full markers with the candidate's number in them; small ones without it where there are too many."""
        shown = [on or not many for on in self.on_front]
        marker = {
            "size": [20 if s else 8 for s in shown],
            "color": self.colours,
            "line": {"width": 1, "color": "var(--card)"},
            "opacity": 1,
        }
        text = [str(rank + 1) if s else "" for rank, s in zip(self.ranks, shown, strict=True)]
        trace = self._markers("val (chosen on this)", [c.val for c in self.candidates], marker)
        return {**trace, "mode": "markers+text", "text": text, "textfont": {"color": "var(--on-colour)", "size": 11}}

    def test(self, *, hidden: bool) -> Figure:
        """Hollow markers, for those that were tested."""
        marker = {"symbol": "circle-open", "size": 11, "color": self.colours, "line": {"width": 2}}
        trace = self._markers("test (only reported)", [c.test for c in self.candidates], marker)
        return {**trace, "mode": "markers", "visible": "legendonly" if hidden else True}

    def winner(self) -> Figure:
        """A ring around the winner."""
        place = [i for i, c in enumerate(self.candidates) if c is self.chosen.winner]
        return {
            "type": "scatter",
            "mode": "markers",
            "name": "winner",
            "x": [self.x[i] for i in place],
            "y": [self.candidates[i].val.mean for i in place],
            "marker": {
                "symbol": "circle-open",
                "size": 30,
                "color": "var(--ink)",
                "line": {"width": 2.5, "color": "var(--ink)"},
            },
            "hoverinfo": "skip",
            "showlegend": bool(place),
        }

    def _markers(self, name: str, spreads: Sequence[Spread | None], marker: Figure) -> Figure:
        return {
            "type": "scatter",
            "name": name,
            "x": self.x,
            "y": [spread and spread.mean for spread in spreads],
            "error_y": {
                "type": "data",
                "array": [spread and spread.sd for spread in spreads],
                "color": "var(--muted)",
                "thickness": 1.2,
                "width": 4,
            },
            "marker": marker,
            "customdata": self.hover,
            "hovertemplate": "%{customdata}<extra></extra>",
        }


def _front_line(chosen: Chosen, axis: str) -> Figure:
    line = [(cost.mean, c.val.mean) for c in chosen.front[axis] if (cost := c.costs[axis])]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "front",
        "x": [x for x, _ in line],
        "y": [y for _, y in line],
        "line": {"shape": "hv", "width": 2, "color": "var(--front)"},
        "hoverinfo": "skip",
    }


def _hover(rank: int, candidate: Candidate, measure: Measure) -> str:
    n = words.of(candidate.val.n, "seed")
    lines = [
        f"<b>{rank + 1}. {as_text(words.clipped(candidate.name, 70))}</b> ({n})",
        f"val {words.score(measure, candidate.val)}, test {words.score(measure, candidate.test)}",
    ]
    for name, axis in AXES.items():
        cost = candidate.costs[name]
        lines.append(f"{axis.title}: {words.amount(cost.mean if cost else None, axis.unit)}")
    return "<br>".join(lines)


def _cost_ticks(values: Sequence[float], axis: Axis) -> Figure:
    """Logarithmic where the largest cost is over eight times the smallest; labelled with units people use."""
    low, high = min(values), max(values)
    if low <= 0 or high / low <= 8:
        unit = axis.unit
        return {"title": {"text": f"{axis.title} ({unit})"}, "rangemode": "tozero", "hoverformat": ",.3~g"}
    steps = (1, 2, 5) if high / low < 3_000 else (1,)
    ticks = [float(f"{step}e{power}") for power in range(-9, 13) for step in steps]
    shown = [tick for tick in ticks if low / 3 <= tick <= high * 3]
    return {
        "type": "log",
        "title": {"text": f"{axis.title} ({axis.unit}, logarithmic)"},
        "tickvals": shown,
        "ticktext": [words.number(tick) for tick in shown],
    }
