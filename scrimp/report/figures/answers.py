"""What was said about classes and targets."""

from __future__ import annotations

from collections.abc import Sequence

from scrimp.report import words
from scrimp.report.figures.drawing import Figure, as_text, colour, figure_of
from scrimp.scores import RegressScores, Scores
from scrimp.tradeoff import Chosen

SMALL_MATRIX = 12
"""Up to so many classes, the cells of a confusion matrix show their counts."""

NAMED_MATRIX = 45
"""Up to so many classes, a confusion matrix names its rows and columns."""

LARGEST_MATRIX = 150
"""Beyond so many classes a matrix cannot be read: the worst `WORST` classes are drawn instead."""
WORST = 60


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
    escaped = [as_text(name) for name in names]
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
    figure = figure_of([heat], "predicted class", "true class")
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
    labels = [as_text(words.clipped(name, 16)) for name in plain]
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
    return figure_of([line, points], "true target", "predicted target")


def residuals(chosen: Chosen) -> Figure:
    """How far the best run's predictions are off, as a histogram around 0."""
    bars = {
        "type": "histogram",
        "x": list(chosen.residuals),
        "nbinsx": 30,
        "marker": {"color": colour(0), "line": {"width": 1, "color": "var(--card)"}},
        "hovertemplate": "%{x}: %{y} images<extra></extra>",
    }
    figure = figure_of([bars], "predicted − true", "images")
    figure["layout"]["xaxis"] |= {"zeroline": True, "zerolinecolor": "var(--muted)", "zerolinewidth": 2}
    return figure
