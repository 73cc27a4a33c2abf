"""Why a model is right or wrong."""

from __future__ import annotations

from collections.abc import Sequence

from scrimp.explaining import Explanation
from scrimp.explaining.kinds import Bin, Robustness
from scrimp.images.kinds import Task
from scrimp.report.figures.answers import matrix, matrix_classes
from scrimp.report.figures.drawing import Figure, colour, digits, figure_of, score_axis
from scrimp.scores import MEASURES, Measure, Scores


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
    figure = figure_of([bars, perfect], "probability that was said", right)
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
                "hovertemplate": f"%{{fullData.name}}, %{{customdata}}: %{{y:{digits(measure)}}}<extra></extra>",
            }
        )
    figure = figure_of(data, "strength", measure.word)
    figure["layout"]["yaxis"].update(score_axis(measure, [found.clean, *(one.merit for one in found.corrupted)]))
    figure["layout"]["xaxis"] |= {"tickvals": [0, 1, 2, 3], "ticktext": ["as they are", "1", "2", "3"]}
    return figure
