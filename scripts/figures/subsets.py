"""Figures of choosing images and of distilling them."""

from __future__ import annotations

import textwrap
from statistics import mean
from typing import Any

from figures.recorded import results, spread_of, told_spread, where

OTHER_JUDGES = ("instance", "none", "vgg8")

DISTILLED_NAMES = {"cifar10": "CIFAR-10", "imagenette64": "Imagenette at 64 px"}


def selecting() -> str:
    """What each method of selection takes."""
    found = results("selecting")
    row = found["rows"][0]
    lines = [
        f"To keep {row['keep']:,} of {row['n']:,} made-up images of ten classes by {row['d']} features that are",
        "there already; the memory is that of the whole process, the features in it. Some were measured beside other",
        "work, on one thread, and take less on an idle machine:",
        "",
        "| method | class by class | not balanced | memory | threads |",
        "|---|---|---|---|---|",
    ]
    threads = {row["method"]: row["threads"] for row in found["rows"]}
    for name, figures in found["summary"].items():
        seconds = [figures[f"{balance}_s"] for balance in ("equal", "none")]
        told = " | ".join("not measured" if one is None else f"{one:.1f} s" for one in seconds)
        mb = max(figures[f"{balance}_mb"] or 0 for balance in ("equal", "none"))
        lines.append(f"| `{name}` | {told} | {f'{mb:,.0f} MB' if mb else ''} | {threads.get(name, '')} |")
    return "\n".join(
        [*lines, "", f"{where(found)}. Raw figures:", "[selecting.json](../benchmarks/results/selecting.json)."]
    )


def diversity() -> str:
    """How near the search for diversity comes to the best values known, and random draws to it."""
    found = results("diversity")
    summary = found["summary"]
    instances = [row for row in found["rows"] if row["what"] == "instance"]
    drawn = [row for row in found["rows"] if row["what"] == "draws"]
    sizes = [row["n"] for row in instances]
    longest = max(row["seconds_to_value"] for row in instances)
    gap, over = 100 * max(0, summary["max_gap"]), 100 * (summary["vs_10000_draws_objective"] - 1)
    reached = f"ends at most {gap:.4f} % below the best value known" if gap > 1e-7 else "reaches the best value known"
    kept, n, d = (drawn[0][figure] for figure in ("m", "n", "d"))
    drawing, each = (mean(row[figure] for row in drawn) for figure in ("draws_seconds", "seconds_to_better"))
    lines = [
        f"On {len(instances)} instances of the maximum diversity problem (GKD-b of MDPLIB; {min(sizes)} to",
        f"{max(sizes)} things) the search {reached}, within {longest:.3f} s.",
        "",
        f"On CIFAR-10, {kept} of {n:,} training images in each of {len(drawn)} classes, by {d} components of their",
        f"pixels: the best of 10,000 random draws took {drawing:.2f} s a class. The search was better after",
        f"{1000 * each:.1f} ms, {100 * summary['vs_10000_draws_time']:.2f} % of that, and ended {over:.1f} % higher.",
        f"{where(found)}. Raw figures:",
        "[diversity.json](../benchmarks/results/diversity.json).",
    ]
    return "\n".join(lines)


def mini() -> str:
    """What 1,000 images of CIFAR-10 gave, by the ancestors' ways and by ours, and what choosing them bought."""
    found = results("cifar10_mini")
    summary, rows = found["summary"], found["rows"]
    lines = ["| trained on 1,000 images of CIFAR-10 | test accuracy | seconds of training |", "|---|---|---|"]
    for part in ("chosen", "tuned"):
        some = [row for row in rows if row["part"] == part]
        if some:
            method = some[0]["selection"]["method"]
            told = told_spread(spread_of([row["test_accuracy"] for row in some]))
            lines.append(
                f"| preset `few_images`, {'drawn by chance' if method == 'random' else f'chosen by `{method}`'} "
                f"| {told} | {mean(row['train_seconds'] for row in some):,.0f} |"
            )
    for row in rows:
        if row["part"] == "ancestor":
            changes = {key: row["recipe"][key] for key in ("optimiser", "augment", "dropout") if key in row["recipe"]}
            changes |= {"weight_decay": row["recipe"]["weight_decay"]} if row["recipe"]["weight_decay"] else {}
            told = ", ".join(f"{key} {value}" for key, value in changes.items() if value not in ("none", "sgd"))
            name = f"`{row['recipe']['model']}` as they did" + (f"; {told}" if told else "")
            lines.append(f"| {name} | {100 * row['test_accuracy']:.1f} % | {row['train_seconds']:,.0f} |")
    table = summary["choosing"]
    if table:
        keeps = sorted({int(name.partition("@")[2]) for name in table})
        lines += ["", "| chosen by | " + " | ".join(f"{keep:,} images" for keep in keeps) + " | choosing |"]
        lines.append("|---|" + "---|" * (len(keeps) + 1))
        for method in dict.fromkeys(name.partition("@")[0] for name in table):
            some = [table.get(f"{method}@{keep}") for keep in keeps]
            seconds = max(one["seconds"] for one in some if one)
            cells = [told_spread(one) if one else "not measured" for one in some]
            lines.append(f"| `{method}` | {' | '.join(cells)} | {seconds:,.0f} s |")
        lines += ["", what_choosing_bought(summary), "", "![Test accuracy by method](pictures/choosing.svg)"]
    source = "[cifar10_mini.json](../benchmarks/results/cifar10_mini.json)."
    return "\n".join([*lines, "", f"{where(found)}. Raw figures:", source])


def what_choosing_bought(summary: dict[str, Any]) -> str:
    """The best and the worst way of choosing 1,000 images against chance, beside the spread of seeds."""
    table = {name.removesuffix("@1000"): one for name, one in summary["choosing"].items() if name.endswith("@1000")}
    best, gain, spread = (
        summary[key] for key in ("best_selection_1000", "best_selection_minus_random_1000", "choosing_sd_1000")
    )
    worst = min(table, key=lambda method: table[method]["mean"])
    lost = 100 * (table[worst]["mean"] - table["random"]["mean"])
    says = "" if gain > spread else ", which is no more than seeds make"
    text = (
        f"With 1,000 images, `{best}` is {gain:+.1f} points against chance{says}, and `{worst}` "
        f"{lost:+.1f}; the standard deviation of one way over its seeds is {spread:.1f} points. The features, "
        "and what `el2n` and `forgetting` go by, are of a network that was trained on all 50,000 labels: its seconds "
        "are in the last column."
    )
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def distillation() -> str:
    """How accurate networks are that learn from a few images: real, averaged, learned."""
    found = results("distillation")
    cells: dict[str, dict[str, dict[str, Any]]] = {}
    for key, figures in found["summary"].items():
        group, method = key.split(".")
        cells.setdefault(method, {})[group] = figures
    groups = sorted({group for by in cells.values() for group in by}, key=lambda g: (g.split("_ipc")[0], _per_class(g)))
    titles = [f"{DISTILLED_NAMES[group.split('_ipc')[0]]}, {_per_class(group)} a class" for group in groups]
    order = sorted(cells, key=lambda method: min(figures["mean"] for figures in cells[method].values()))
    lines = [
        "Test accuracy in points, mean and standard deviation over fresh networks (ConvNet with instance norm; for",
        "`frepo` and `real-labels` without norm, as FRePo's authors judge), and the time that making the images took:",
        "",
        f"| method | {' | '.join(titles)} |",
        "|---|" + "---|" * len(groups),
    ]
    for method in order:
        told = []
        for group in groups:
            figures = cells[method].get(group)
            spread = f" ± {figures['sd']:.1f}" if figures and figures["sd"] is not None else ""
            told.append(f"{figures['mean']:.1f}{spread} ({figures['seconds'] / 60:.1f} min)" if figures else "")
        lines.append(f"| `{method}` | {' | '.join(told)} |")
    lines += ["", "The same images, learned from by others (means):", ""]
    lines += ["| images | ConvNet, instance norm | ConvNet, no norm | `vgg8` |"]
    lines.append("|---|---|---|---|")
    for key, figures in found["summary"].items():
        told = [f"{figures['others'][kind]:.1f}" if kind in figures["others"] else "" for kind in OTHER_JUDGES]
        lines.append(f"| `{key}` | {' | '.join(told)} |")
    lines += ["", f"{where(found)}. Raw figures:", "[distillation.json](../benchmarks/results/distillation.json)."]
    return "\n".join(lines)


def _per_class(group: str) -> int:
    return int(group.split("_ipc")[1])
