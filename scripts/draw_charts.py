"""Draws the charts of the docs from benchmarks/results/*.json, each beside the table that holds its figures."""

from __future__ import annotations

import json
from itertools import accumulate, product
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

ROOT = Path(__file__).parents[1]
INK, GRID, OURS, THEIRS = "#334155", "#e2e8f0", "#0f766e", "#94a3b8"


def results(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    return found


def plain(axes: Axes) -> None:
    """No frame, faint lines across."""
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, colors=INK)
    axes.xaxis.label.set_color(INK)
    axes.set_axisbelow(True)


def draw_choosing() -> None:
    """What each method of selection brings over chance: means over the seeds, one panel per number of images kept."""
    table = results("cifar10_mini")["summary"]["choosing"]
    keeps = sorted({int(name.partition("@")[2]) for name in table})
    methods = list(dict.fromkeys(name.partition("@")[0] for name in table))
    figure, panels = plt.subplots(1, len(keeps), figsize=(10, 0.32 * len(methods) + 1), sharey=True, squeeze=False)
    for axes, keep in zip(panels[0], keeps, strict=True):
        rows = [table.get(f"{method}@{keep}") for method in methods]
        for place, (method, row) in enumerate(zip(methods, rows, strict=True)):
            if row is None:
                continue
            colour = THEIRS if method == "random" else OURS
            axes.errorbar(100 * row["mean"], place, xerr=100 * (row["sd"] or 0), fmt="o", color=colour, capsize=3)
        chance = table.get(f"random@{keep}")
        if chance:
            axes.axvline(100 * chance["mean"], color=THEIRS, linewidth=1, linestyle="--")
        axes.set_title(f"{keep:,} images", color=INK, fontsize=11, loc="left")
        axes.set_xlabel("test accuracy, %")
        axes.grid(axis="both", color=GRID)
        plain(axes)
    panels[0][0].set_yticks(range(len(methods)), methods)
    panels[0][0].invert_yaxis()
    save(figure, "choosing")


def draw_time_to_accuracy() -> None:
    """Val accuracy by CPU-seconds: plain fine-tuning epoch by epoch, Scrimp a whole run a point; every seed."""
    rows = results("time_to_accuracy")["rows"]
    data, models = (list(dict.fromkeys(row[of] for row in rows if row["what"] == "plain")) for of in ("data", "model"))
    figure, panels = plt.subplots(len(models), len(data), figsize=(10, 2.6 * len(models)), squeeze=False)
    for axes, (model, name) in zip(panels.flat, product(models, data), strict=True):
        of_pair = [row for row in rows if (row.get("data"), row.get("model")) == (name, model)]
        for row in of_pair:
            if row["what"] == "plain":
                spent = accumulate(
                    (epoch["cpu_seconds"] for epoch in row["epochs"]), initial=row["start"]["cpu_seconds"]
                )
                accuracies = [100 * epoch["val_accuracy"] for epoch in row["epochs"]]
                axes.plot(list(spent)[1:], accuracies, color=THEIRS, marker=".", linewidth=1)
            elif row["what"] == "scrimp":
                axes.plot(row["cpu_seconds"], 100 * row["val_accuracy"], color=OURS, marker="o", markersize=4)
        axes.set_xscale("log")
        axes.set_xlim(10, 10_000)
        axes.set_xticks([10, 100, 1000, 10_000], ["10", "100", "1,000", "10,000"])
        axes.set_title(f"{name}, {model}", color=INK, fontsize=10, loc="left")
        axes.grid(axis="both", color=GRID)
        plain(axes)
    for axes in panels[-1]:
        axes.set_xlabel("CPU-seconds")
    for axes in panels[:, 0]:
        axes.set_ylabel("val accuracy, %", color=INK)
    save(figure, "time_to_accuracy")


def save(figure: Any, name: str) -> None:
    """The same file for the same figures."""
    figure.tight_layout()
    path = ROOT / "docs" / "pictures" / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
    plt.close(figure)


def main() -> None:
    """Every chart whose figures are there."""
    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "scrimp", "font.family": "sans-serif", "font.size": 10}
    for draw, name in ((draw_choosing, "cifar10_mini"), (draw_time_to_accuracy, "time_to_accuracy")):
        if (ROOT / "benchmarks" / "results" / f"{name}.json").is_file():
            draw()


if __name__ == "__main__":
    main()
