"""Writes the measured figures into README.md, between its two marks, from benchmarks/results/*.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BEGIN, END = "<!-- figures: make docs-results -->\n", "<!-- end of figures -->\n"


def results(name: str) -> dict[str, Any]:
    """The recorded benchmark of that name."""
    content: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    return content


def where(found: dict[str, Any]) -> str:
    """Machine, versions and date of a benchmark, as one phrase."""
    machine, versions = found["machine"], found["versions"]
    return f"{machine['cores']} cores of a {machine['processor']}, torch {versions['torch']}, {found['date'][:10]}"


def points(spread: dict[str, Any]) -> str:
    """A mean accuracy with its standard deviation, where it has one."""
    deviation = f" ± {100 * spread['sd']:.1f}" if spread["sd"] is not None else ""
    return f"{100 * spread['mean']:.1f}{deviation} %"


def light_models() -> str:
    """The table of light models on photos."""
    found = results("light_models")
    sources = {row["wh_source"] for row in found["rows"]}
    lines = [
        "**Light models on photos**: ten classes of Imagenette at 224 px (170 training, 30 validation and 50 test",
        "photos a class), three epochs, two seeds (mean ± standard deviation); the seconds hold everything from",
        "decoding to the last test image. The pretrained weights come from ImageNet, of which these photos are a part:",
        "they do better here than on photos of your own.",
        "",
        "| model | val | test | s a run | Wh a run | MB | ms/image |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in found["summary"].items():
        figures = f"{row['seconds']:.0f} | {row['wh']:.2f} | {row['mb']:.2f} | {row['ms']:.1f}"
        lines.append(f"| {name} | {points(row['val'])} | {points(row['test'])} | {figures} |")
    note = f"On {where(found)}; energy by {', '.join(sorted(sources))}: an estimate. Raw figures:"
    return "\n".join([*lines, "", note, "[light_models.json](benchmarks/results/light_models.json)."])


def fit_against_plain() -> str:
    """How fit did against each single model of its list."""
    found = results("fit_against_plain")
    summary = found["summary"]
    fits = [row for row in found["rows"] if row["what"] == "fit"]
    accuracies = " and ".join(f"{100 * row['test_accuracy']:.1f} %" for row in fits)
    lines = [
        "**Five minutes on 5,000 images of CIFAR-10**, nothing pretrained (4,250 images to learn from, 750 to choose",
        f"by, 10,000 to report on): {len(fits)} fits reached {accuracies} on test and took at most",
        f"{100 * summary['budget_used']:.1f} % of their 300 s, measured from outside. Each model of the list alone for",
        "the same five minutes, by the plain recipe (Adam, learning rate 1e-4, batch 32, no augmentation), its best",
        "epoch on val kept:",
        "",
        "| model | test | val | val by epoch 10 | epochs |",
        "|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        if row["what"] == "plain":
            tenth = row["val_accuracy_by_epoch_10"]
            shown = "–" if tenth is None else f"{100 * tenth:.1f} %"
            accuracies = f"{100 * row['test_accuracy']:.1f} % | {100 * row['val_accuracy']:.1f} % | {shown}"
            lines.append(f"| {row['model']} | {accuracies} | {row['epochs']} |")
    note = f"So fit gained {summary['gain_over_best_plain']:.1f} points over the best of them. One seed each; on"
    return "\n".join(
        [
            *lines,
            "",
            note,
            f"{where(found)}. Raw figures:",
            "[fit_against_plain.json](benchmarks/results/fit_against_plain.json).",
        ]
    )


def with_figures(readme: str) -> str:
    """The README with what stands between the marks written anew."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{fit_against_plain()}\n\n{light_models()}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(with_figures(README.read_text()))
