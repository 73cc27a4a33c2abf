"""The score as it was learnt, and what a budget was spent on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scrimp.meter import Run
from scrimp.report import words
from scrimp.report.figures.drawing import COLOURS, Figure, as_text, colour, digits, figure_of, score_axis
from scrimp.scores import Measure
from scrimp.tradeoff import Chosen
from scrimp.training.schedules import lr_at

_POINTS = 100  # of a curve that is computed


def curves(chosen: Chosen, title: str, read: Callable[[Run], Sequence[float]]) -> Figure:
    """The score as it was learnt: a line (val) and, if known, a dotted one (train) per run, coloured by candidate."""
    data = []
    for rank, candidate in reversed(list(enumerate(chosen.candidates))):  # the best are drawn last, on top
        runs = [run for run in candidate.runs if run.history]
        for place, run in enumerate(runs):
            style = {"legendgroup": str(rank), "legendrank": rank + 1, "x": list(read(run))}
            if run.history[-1].train_score is not None:
                data.append({**style, **_train_line(rank, run)})
            name = f"{rank + 1}. {as_text(words.clipped(candidate.name, 40))}"
            shown = place == 0 and rank < COLOURS
            data.append({**style, **_val_line(rank, run, chosen.measure), "name": name, "showlegend": shown})
    figure = figure_of(data, title, chosen.measure.word)
    figure["layout"]["yaxis"].update(score_axis(chosen.measure, (y for trace in data for y in trace["y"])))
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
                "name": f"{rank + 1}. {as_text(words.clipped(candidate.name, 40))}{found}",
                "x": parts,
                "y": [lr_at(part, recipe, peak) for part in parts],
                "line": {"color": colour(rank), "width": 1.8},
                "hovertemplate": "%{fullData.name}<br>%{x:.0%} of the run: %{y:.2~g}<extra></extra>",
            }
        )
    figure = figure_of(data, "part of the run", "learning rate")
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
                "name": as_text(words.clipped(name, 40)),
                "x": [one.at_s for one in own],
                "y": [one.evidence["val"] for one in own],
                "text": [as_text(one.why) for one in own],
                "line": {"color": line_colour, "width": 1.8},
                "marker": {
                    "color": line_colour,
                    "size": [11 if one.verdict == "out" else 7 for one in own],
                    "symbol": ["x" if one.verdict == "out" else "circle" for one in own],
                },
                "hovertemplate": "%{text}<br>after %{x:.0f} s<extra></extra>",
            }
        )
    figure = figure_of(data, "seconds of the budget that were spent", f"{chosen.measure.word} on val")
    figure["layout"]["xaxis"]["rangemode"] = "tozero"
    seen = [float(one.evidence["val"]) for one in decisions if "val" in one.evidence]
    figure["layout"]["yaxis"].update(score_axis(chosen.measure, seen))
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
    hover = f"seed {run.plan.recipe.seed}, epoch %{{customdata}}: val %{{y:{digits(measure)}}}"
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
