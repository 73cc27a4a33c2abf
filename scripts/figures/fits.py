"""Figures of `scrimp fit`."""

from __future__ import annotations

from statistics import median
from typing import Any

from figures.recorded import FIT_NAMES, cores, results, told_spread, where


def fit() -> str:
    """How fit did against what one would do instead, in the same time."""
    found = results("fit")
    summary = found["summary"]
    cells: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for key, spread in summary.items():
        if key.startswith("accuracy.") and spread:
            _, data, minutes, contender = key.split(".", 3)
            cells.setdefault((data, minutes), {})[contender] = spread
    lines = [
        f"The same images, {cores(found)} and wall-clock for everybody, measured from outside, one contender beside",
        "another; test accuracy:",
        "",
        "| images | minutes | `scrimp fit` | random search (Optuna) | AutoGluon | best single model, plain recipe |",
        "|---|---|---|---|---|---|",
    ]
    for (data, minutes), by in cells.items():
        plain = {name: spread for name, spread in by.items() if name.startswith("plain-")}
        best = max(plain, key=lambda name: plain[name]["mean"], default="")
        single = f"{told_spread(plain[best])} ({best.removeprefix('plain-')})" if best else "not measured"
        named = FIT_NAMES[data]
        contenders = ("fit", "random", "autogluon")
        others = " | ".join(told_spread(by[name]) if name in by else "not measured" for name in contenders)
        lines.append(f"| {named} | {minutes} | {others} | {single} |")
    took: dict[str, list[float]] = {}
    for row in found["rows"]:
        took.setdefault(row["contender"].partition("-")[0], []).append(row["seconds"] / (60 * row["minutes"]))
    shares = ", ".join(f"{who} {median(times):.0%}" for who, times in took.items())
    lines += [
        "",
        f"Medians of what each took of that time, the look at test counted: {shares}. Only models whose",
        "weights lay here took part; the photos are ImageNet's, which flatters all that start from its weights.",
        f"{summary['budget_kept']} of {summary['budget_kept_of']} fits ended within 103 % of their budget or 1.5 s.",
        f"{where(found)}.",
    ]
    return "\n".join(lines)


def fit_in_readme() -> str:
    """With the link as the README needs it."""
    return f"{fit()} Raw figures: [fit.json](benchmarks/results/fit.json)."


def fit_in_docs() -> str:
    """With the link as a page of the docs needs it."""
    return f"{fit()} Raw figures: [fit.json](../benchmarks/results/fit.json)."


def shortest_fits() -> dict[str, dict[str, Any]]:
    """The spread of each contender, on dogs, in the shortest time that was recorded; its minutes as `minutes`."""
    summary = results("fit")["summary"]
    prefix = "accuracy.stanford-dogs-10."
    cells = {
        tuple(key.removeprefix(prefix).rsplit(".", 1)): told for key, told in summary.items() if key.startswith(prefix)
    }
    shortest = min((minutes for minutes, _ in cells), key=float)
    return {"minutes": shortest} | {who: told for (minutes, who), told in cells.items() if minutes == shortest and told}
