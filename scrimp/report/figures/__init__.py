"""The charts, as plain plotly dictionaries.

Colours are written as CSS variables ("var(--c0)"), which the page fills in for light, dark and print.
Every text that comes from data is escaped, because plotly reads a little HTML in its texts.
"""

from __future__ import annotations

from scrimp.report.figures.against_cost import front
from scrimp.report.figures.answers import WORST, confusion, matrix_classes, predictions, residuals
from scrimp.report.figures.drawing import COLOURS, Figure, colour
from scrimp.report.figures.explanation import explained_classes, explanation_charts
from scrimp.report.figures.learning import curves, schedule, spending
from scrimp.report.figures.lr_finding import lr_curve
from scrimp.scores import RegressScores, Scores
from scrimp.tradeoff import AXES, Chosen, learning_seconds

__all__ = [
    "COLOURS",
    "WORST",
    "Figure",
    "charts",
    "colour",
    "confusion",
    "curves",
    "explained_classes",
    "explanation_charts",
    "front",
    "known_axes",
    "lr_curve",
    "matrix_classes",
    "predictions",
    "residuals",
    "schedule",
    "spending",
]


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
