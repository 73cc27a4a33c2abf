"""The charts, as plain plotly dictionaries.

Colours are written as CSS variables ("var(--c0)"), which the page fills in for light, dark and print.
Every text that comes from data is escaped, because plotly reads a little HTML in its texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from scrimp.explaining import Explanation
from scrimp.explaining.kinds import Bin, Robustness
from scrimp.images.kinds import Task
from scrimp.meter import Run
from scrimp.report import words
from scrimp.scores import MEASURES, Measure, RegressScores, Scores
from scrimp.tradeoff import AXES, Axis, Candidate, Chosen, Spread, learning_seconds
from scrimp.training.schedules import lr_at

if TYPE_CHECKING:
    from scrimp.training import LrFound

Figure = dict[str, Any]

COLOURS = 8
"""Candidates with a colour of their own; the rest are grey."""

NUMBERED = 20
"""Up to so many candidates, each point of the front chart carries its number; beyond, only the front does."""

SMALL_MATRIX = 12
"""Up to so many classes, the cells of a confusion matrix show their counts."""

NAMED_MATRIX = 45
"""Up to so many classes, a confusion matrix names its rows and columns."""

LARGEST_MATRIX = 150
"""Beyond so many classes a matrix cannot be read: the worst `WORST` classes are drawn instead."""

WORST = 60

_POINTS = 100  # of a curve that is computed


def charts(chosen: Chosen) -> dict[str, Figure]:
    """Every chart of the page by name.

    `front-<axis>`, `curves-epochs`, `curves-seconds`, `schedule`, `spending` of a budget; then `confusion` for classes,
    `predictions` and `residuals` for targets.
    """
    figures = {f"front-{axis}": front(chosen, axis) for axis in known_axes(chosen)}
    if any(run.history for candidate in chosen.candidates for run in candidate.runs):
        figures["curves-epochs"] = curves(chosen, "epoch", lambda run: [e.epoch for e in run.history])
        figures["curves-seconds"] = curves(chosen, "seconds of training", learning_seconds)
        figures["schedule"] = schedule(chosen)
    if chosen.best.decisions:
        figures["spending"] = spending(chosen)
    _, scores = chosen.reported
    if isinstance(scores, Scores):
        figures["confusion"] = confusion(chosen)
    if isinstance(scores, RegressScores):
        figures["predictions"] = predictions(chosen)
        figures["residuals"] = residuals(chosen)
    return figures


def known_axes(chosen: Chosen) -> list[str]:
    """The costs that are known for at least one candidate."""
    return [axis for axis in AXES if any(c.costs[axis] is not None for c in chosen.candidates)]


def colour(rank: int) -> str:
    """The colour of the candidate with this place, counted from 0."""
    return f"var(--c{rank})" if rank < COLOURS else "var(--rest)"


# ---------------------------------------------------------------- score against cost


def front(chosen: Chosen, axis: str) -> Figure:
    """The score against one cost: the front as a step line, val as full and test as hollow markers."""
    points = _Points(chosen, axis)
    many = len(chosen.candidates) > NUMBERED
    data = [_front_line(chosen, axis), points.test(hidden=many), points.val(many), points.winner()]
    figure = _figure(data, AXES[axis].title, chosen.measure.word)
    figure["layout"]["xaxis"].update(_cost_ticks(points.x, AXES[axis]))
    figure["layout"]["yaxis"].update(_score_axis(chosen.measure, points.scores))
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
        f"<b>{rank + 1}. {_text(words.clipped(candidate.name, 70))}</b> ({n})",
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


# ---------------------------------------------------------------- the score as it was learnt


def curves(chosen: Chosen, title: str, read: Callable[[Run], Sequence[float]]) -> Figure:
    """The score as it was learnt: a line (val) and, if known, a dotted one (train) per run, coloured by candidate."""
    data = []
    for rank, candidate in reversed(list(enumerate(chosen.candidates))):  # the best are drawn last, on top
        runs = [run for run in candidate.runs if run.history]
        for place, run in enumerate(runs):
            style = {"legendgroup": str(rank), "legendrank": rank + 1, "x": list(read(run))}
            if run.history[-1].train_score is not None:
                data.append({**style, **_train_line(rank, run)})
            name = f"{rank + 1}. {_text(words.clipped(candidate.name, 40))}"
            shown = place == 0 and rank < COLOURS
            data.append({**style, **_val_line(rank, run, chosen.measure), "name": name, "showlegend": shown})
    figure = _figure(data, title, chosen.measure.word)
    figure["layout"]["yaxis"].update(_score_axis(chosen.measure, (y for trace in data for y in trace["y"])))
    figure["layout"]["xaxis"]["rangemode"] = "tozero"
    if max(max(trace["x"]) for trace in data) <= 12:
        figure["layout"]["xaxis"]["dtick"] = 1  # there is no half epoch
    return figure


def schedule(chosen: Chosen) -> Figure:
    """How the learning rate moved, of each candidate's best run, over the part of the run that was behind."""
    data = []
    for rank, candidate in enumerate(chosen.candidates[:COLOURS]):
        recipe, history = candidate.best_run.plan.recipe, candidate.best_run.history
        if not history or not history[-1].epoch:
            continue  # nothing but the head was solved for
        parts = [n / _POINTS for n in range(_POINTS + 1)]
        peak, found = (1.0, " (auto: parts of the highest)") if recipe.lr == "auto" else (recipe.lr, "")
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": f"{rank + 1}. {_text(words.clipped(candidate.name, 40))}{found}",
                "x": parts,
                "y": [lr_at(part, recipe, peak) for part in parts],
                "line": {"color": colour(rank), "width": 1.8},
                "hovertemplate": "%{fullData.name}<br>%{x:.0%} of the run: %{y:.2~g}<extra></extra>",
            }
        )
    figure = _figure(data, "part of the run", "learning rate")
    figure["layout"]["xaxis"]["tickformat"] = ".0%"
    figure["layout"]["yaxis"]["rangemode"] = "tozero"
    return figure


def spending(chosen: Chosen) -> Figure:
    """How good each candidate was on val after how many seconds of a budget; a cross is where it was given up."""
    places = {candidate.name: rank for rank, candidate in enumerate(chosen.candidates)}
    decisions = chosen.best.decisions
    data = []
    for name in dict.fromkeys(one.candidate for one in decisions if "val" in one.evidence):
        own = [one for one in decisions if one.candidate == name and one.verdict in ("in", "trained", "out")]
        own = [one for one in own if "val" in one.evidence]
        line_colour = colour(places.get(name, COLOURS))
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": _text(words.clipped(name, 40)),
                "x": [one.at_s for one in own],
                "y": [one.evidence["val"] for one in own],
                "text": [_text(one.why) for one in own],
                "line": {"color": line_colour, "width": 1.8},
                "marker": {
                    "color": line_colour,
                    "size": [11 if one.verdict == "out" else 7 for one in own],
                    "symbol": ["x" if one.verdict == "out" else "circle" for one in own],
                },
                "hovertemplate": "%{text}<br>after %{x:.0f} s<extra></extra>",
            }
        )
    figure = _figure(data, "seconds of the budget that were spent", f"{chosen.measure.word} on val")
    figure["layout"]["xaxis"]["rangemode"] = "tozero"
    seen = [float(one.evidence["val"]) for one in decisions if "val" in one.evidence]
    figure["layout"]["yaxis"].update(_score_axis(chosen.measure, seen))
    return figure


def _train_line(rank: int, run: Run) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines" if len(run.history) > 1 else "markers",  # a line needs two points
        "marker": {"symbol": "circle-open", "color": colour(rank), "size": 8},
        "y": [epoch.train_score for epoch in run.history],
        "line": {"color": colour(rank), "width": 1.2, "dash": "dot"},
        "opacity": 0.8 if rank < COLOURS else 0.25,
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _val_line(rank: int, run: Run, measure: Measure) -> Figure:
    """With a marker at the epoch whose weights were kept."""
    hover = f"seed {run.plan.recipe.seed}, epoch %{{customdata}}: val %{{y:{_digits(measure)}}}"
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "y": [epoch.val_score for epoch in run.history],
        "customdata": [epoch.epoch for epoch in run.history],
        "line": {"color": colour(rank), "width": 1.8 if rank < COLOURS else 1},
        "marker": {
            "color": colour(rank),
            "opacity": 1,
            "size": [8 if epoch.epoch == run.best_epoch else 0 for epoch in run.history],
        },
        "opacity": 1 if rank < COLOURS else 0.4,
        "hovertemplate": f"%{{fullData.name}}<br>{hover}<extra></extra>",
    }


# ---------------------------------------------------------------- which classes are taken for which


def confusion(chosen: Chosen) -> Figure:
    """The confusion matrix of the best run: counts, coloured by their share of the true class."""
    drawn, _ = matrix_classes([score.score for score in chosen.class_scores])
    _, scores = chosen.reported
    assert isinstance(scores, Scores)
    shares = chosen.class_scores
    counts = [[scores.confusion[true][predicted] for predicted in drawn] for true in drawn]
    parts = [[shares[true].shares[predicted] for predicted in drawn] for true in drawn]
    return matrix([shares[i].name for i in drawn], counts, parts, shown=counts)


def matrix(
    names: Sequence[str],
    counts: Sequence[Sequence[int]],
    shares: Sequence[Sequence[float]],
    *,
    shown: Sequence[Sequence[int | str]],
    by_count: bool = False,
) -> Figure:
    """A confusion matrix with true classes as rows; `shown` stands in the cells, where there is room for it.

    Coloured by the share of the true class, or by counts.
    """
    escaped = [_text(name) for name in names]
    heat: Figure = {
        "type": "heatmap",
        "x": escaped,
        "y": escaped,
        "z": counts if by_count else [[round(share, 4) for share in row] for row in shares],
        "customdata": shares if by_count else counts,
        "zmin": 0,
        "zmax": max(max(row) for row in counts) if by_count else 1,
        "colorscale": [[0, "var(--heat0)"], [0.03, "var(--heat1)"], [0.4, "var(--heat2)"], [1, "var(--heat3)"]],
        "showscale": False,
        "xgap": 1 if len(names) <= NAMED_MATRIX else 0,
        "ygap": 1 if len(names) <= NAMED_MATRIX else 0,
        "hovertemplate": "true: %{y}<br>predicted: %{x}<br>"
        + ("%{z} images, %{customdata:.1%}" if by_count else "%{customdata} images, %{z:.1%}")
        + " of the class<extra></extra>",
    }
    if len(names) <= SMALL_MATRIX:
        heat |= {"text": [[cell or "" for cell in row] for row in shown], "texttemplate": "%{text}"}
    figure = _figure([heat], "predicted class", "true class")
    _name_classes(figure["layout"], escaped, names)
    return figure


def matrix_classes(recalls: Sequence[float | None]) -> tuple[list[int], bool]:
    """The classes a matrix shows, by number, and whether these are all; else those with the lowest recall."""
    everything = list(range(len(recalls)))
    if len(recalls) <= LARGEST_MATRIX:
        return everything, True
    worst = sorted(everything, key=lambda i: 2.0 if (recall := recalls[i]) is None else recall)
    return sorted(worst[:WORST]), False


def _name_classes(layout: Figure, names: Sequence[str], plain: Sequence[str]) -> None:
    """Names along both sides as far as there is room; the hover text has them whole."""
    named = len(names) <= NAMED_MATRIX
    labels = [_text(words.clipped(name, 16)) for name in plain]
    axis = {
        "type": "category",
        "showgrid": False,
        "ticks": "",
        "showticklabels": named,
        "tickvals": list(names) if named else [],
        "ticktext": labels if named else [],
        "tickfont": {"size": 12 if len(names) <= 20 else 9},
    }
    layout["xaxis"].update(axis, constrain="domain")
    if len(names) > 4:
        layout["xaxis"]["tickangle"] = -90
    layout["yaxis"].update(axis, autorange="reversed", scaleanchor="x", constrain="domain", constraintoward="top")


# ---------------------------------------------------------------- what was said about targets


def predictions(chosen: Chosen) -> Figure:
    """What the best run said against what was true, one point an image, with the line on which both are the same."""
    split, scores = chosen.reported
    assert isinstance(scores, RegressScores)
    ends = [min(*scores.truth, *scores.predicted), max(*scores.truth, *scores.predicted)]
    line = {
        "type": "scatter",
        "mode": "lines",
        "name": "predicted = true",
        "x": ends,
        "y": ends,
        "line": {"color": "var(--front)", "width": 2},
        "hoverinfo": "skip",
    }
    points = {
        "type": "scatter",
        "mode": "markers",
        "name": f"{split} images",
        "x": list(scores.truth),
        "y": list(scores.predicted),
        "marker": {"color": colour(0), "size": 7, "opacity": 0.55},
        "hovertemplate": "true %{x:.4~g}, predicted %{y:.4~g}<extra></extra>",
    }
    return _figure([line, points], "true target", "predicted target")


def residuals(chosen: Chosen) -> Figure:
    """How far the best run's predictions are off, as a histogram around 0."""
    bars = {
        "type": "histogram",
        "x": list(chosen.residuals),
        "nbinsx": 30,
        "marker": {"color": colour(0), "line": {"width": 1, "color": "var(--card)"}},
        "hovertemplate": "%{x}: %{y} images<extra></extra>",
    }
    figure = _figure([bars], "predicted − true", "images")
    figure["layout"]["xaxis"] |= {"zeroline": True, "zerolinecolor": "var(--muted)", "zerolinewidth": 2}
    return figure


# ---------------------------------------------------------------- why a model is right or wrong


def explanation_charts(found: Explanation) -> dict[str, Figure]:
    """`confusion-shares` and `confusion-counts` for classes, `reliability-said` and `-scaled`, `robustness`."""
    charts: dict[str, Figure] = {}
    if isinstance(found.scores, Scores):
        drawn = explained_classes(found)
        names = [found.classes[i] for i in drawn]
        counts = [[found.scores.confusion[true][said] for said in drawn] for true in drawn]
        totals = [found.qualities[true].images or 1 for true in drawn]
        shares = [[count / total for count in row] for row, total in zip(counts, totals, strict=True)]
        percents = [[f"{share:.0%}" if share else "" for share in row] for row in shares]
        charts["confusion-shares"] = matrix(names, counts, shares, shown=percents)
        charts["confusion-counts"] = matrix(names, counts, shares, shown=counts, by_count=True)
    if found.calibration:
        charts["reliability-said"] = reliability(found.calibration.bins, found.task)
    if found.calibration and found.calibration.scaled:
        charts["reliability-scaled"] = reliability(found.calibration.scaled, found.task)
    if found.robustness:
        charts["robustness"] = robustness(found.robustness, MEASURES[found.task])
    return charts


def explained_classes(found: Explanation) -> list[int]:
    """The classes that the matrices of an explanation show, by number, in its order."""
    drawn, _ = matrix_classes([quality.recall for quality in found.qualities])
    return [i for i in found.order if i in set(drawn)]


def reliability(bins: Sequence[Bin], task: Task) -> Figure:
    """What was right against what was said: a bar per bin, with the number of its answers, and where it should end."""
    known = [one for one in bins if one.n]
    right = "right" if task == "classify" else "have the label"
    bars = {
        "type": "bar",
        "name": f"answers that are {right}" if task == "classify" else f"images that {right}",
        "x": [(one.low + one.high) / 2 for one in known],
        "y": [one.right for one in known],
        "width": [one.high - one.low for one in known],
        "marker": {"color": colour(0), "opacity": 0.75, "line": {"width": 1, "color": "var(--card)"}},
        "text": [f"{one.n:,}" for one in known],
        "textposition": "outside",
        "textangle": 0,
        "textfont": {"color": "var(--muted)", "size": 10},
        "cliponaxis": False,
        "customdata": [one.said for one in known],
        "hovertemplate": f"said %{{customdata:.1%}} on average, %{{y:.1%}} {right}, %{{text}} answers<extra></extra>",
    }
    perfect = {
        "type": "scatter",
        "mode": "lines",
        "name": "as it says",
        "x": [0, 1],
        "y": [0, 1],
        "line": {"color": "var(--front)", "width": 2, "dash": "dash"},
        "hoverinfo": "skip",
    }
    figure = _figure([bars, perfect], "probability that was said", right)
    for axis in ("xaxis", "yaxis"):
        figure["layout"][axis] |= {"range": [0, 1 if axis == "xaxis" else 1.08], "dtick": 0.2, "tickformat": ".0%"}
    return figure


def robustness(found: Robustness, measure: Measure) -> Figure:
    """The measure of the task by the strength of what was done to the images, a line per kind."""
    data = []
    for rank, kind in enumerate(dict.fromkeys(one.kind for one in found.corrupted)):
        line = [one for one in found.corrupted if one.kind == kind]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": kind,
                "x": [0, *(one.strength for one in line)],
                "y": [found.clean, *(one.merit for one in line)],
                "line": {"color": colour(rank), "width": 2},
                "marker": {"color": colour(rank), "size": 8},
                "customdata": ["as they are", *(one.setting for one in line)],
                "hovertemplate": f"%{{fullData.name}}, %{{customdata}}: %{{y:{_digits(measure)}}}<extra></extra>",
            }
        )
    figure = _figure(data, "strength", measure.word)
    figure["layout"]["yaxis"].update(_score_axis(measure, [found.clean, *(one.merit for one in found.corrupted)]))
    figure["layout"]["xaxis"] |= {"tickvals": [0, 1, 2, 3], "ticktext": ["as they are", "1", "2", "3"]}
    return figure


# ---------------------------------------------------------------- the search for a learning rate


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
    figure = _figure(data, "learning rate (logarithmic)", "training loss")
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


# ---------------------------------------------------------------- what all charts share

_HIGHEST = 1.02
_LOWEST_R2 = -0.5  # what is worse lies outside the chart, so that the rest can be read; dragging shows it
_LEAST_SPAN = 0.1  # so that scores that are nearly the same look so


def _score_axis(measure: Measure, values: Iterable[float | None]) -> Figure:
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


def _digits(measure: Measure) -> str:
    """How plotly is to write a score."""
    return ".1%" if measure.key == "top1" else ".3f"


def _text(text: str) -> str:
    """Text from data, so that plotly shows it as it is; quotes it would show escaped."""
    return escape(text, quote=False)


def _figure(data: list[Figure], x: str, y: str) -> Figure:
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
