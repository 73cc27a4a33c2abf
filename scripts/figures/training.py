"""Figures of recipes, steps and techniques."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from figures.recorded import FIT_NAMES, as_table, recorded, results, told_spread, where

TECHNIQUE_FIGURES = {
    "val": "val",
    "test": "test",
    "seconds": "training time",
    "wh": "energy",
    "memory": "peak memory",
    "gpu_memory": "GPU memory",
    "ms": "time per image",
}

STUDY_NAMES = {
    "techniques": "From scratch: a small network, 2,000 images of CIFAR-10",
    "techniques_pretrained": "From published weights: mobilenet_v2, 1,000 images of CIFAR-10 at 64 px",
}


def step() -> str:
    """What a training step gains on a CPU."""
    found = results("step")
    summary = found["summary"]
    rounds = 1 + max(row["round"] for row in found["rows"])
    names = {f"{trick}_alone": f"`{trick}` alone" for trick in ("channels_last", "keep_memory", "fused")}
    names |= {"vs_stock": "all of these"}
    lines = [
        "| mobilenet_v2, 224 px, batches of 32, float32 | times the images per second of stock PyTorch |",
        "|---|---|",
    ]
    lines += [f"| {words} | {summary[f'mobilenet_v2_224_{name}']:.2f} |" for name, words in names.items()]
    theirs, ours = (
        [row["images_per_second"] for row in found["rows"] if row["way"] == way] for way in ("stock", "scrimp")
    )
    differ = [summary[f"largest_relative_loss_difference{by}"] for by in ("", "_by_threads")]
    return "\n".join(
        [
            *lines,
            "",
            f"Medians of {rounds} rounds; stock PyTorch (NCHW, its allocator as it comes) makes {median(theirs):.1f}",
            f"images/s here, Scrimp {median(ours):.1f}. The first ten losses differ by {differ[0]:.0e} at most, where",
            f"one thread instead of two makes {differ[1]:.0e}: rounding, which Adam carries on from step to step.",
            f"{where(found)}. Raw figures: [step.json](../benchmarks/results/step.json).",
        ]
    )


def cifar10_94() -> str:
    """What learning CIFAR-10 from nothing takes."""
    found = results("cifar10_94")
    summary, rows = found["summary"], found["rows"]
    each = ", ".join(f"{100 * row['test_accuracy']:.2f} % in {row['seconds'] / 60:.1f} min" for row in rows)
    return (
        f"`from_scratch_small` learns CIFAR-10 from 49,500 images on two cores: {each} "
        f"({summary['n']} seed{'s' if summary['n'] > 1 else ''}; the whole process, test images counted).\n"
        f"{where(found)}. Raw figures: [cifar10_94.json](../benchmarks/results/cifar10_94.json)."
    )


def span(values: Sequence[float], form: str) -> str:
    """The lowest and the highest, or the one that all are."""
    ends = dict.fromkeys(format(end, form) for end in (min(values), max(values)))
    return " to ".join(ends)


def time_to_accuracy() -> str:
    """What the val accuracy of plain fine-tuning costs."""
    found = results("time_to_accuracy")
    rows = [row for row in found["rows"] if row["what"] == "comparison"]
    lines = [
        "| images, model | plain: best val, CPU-s to there | Scrimp: px, epochs, val, CPU-s | ratio "
        "| test, same seconds | seeds |",
        "|---|---|---|---|---|---|",
    ]
    for data, model in dict.fromkeys((row["data"], row["model"]) for row in rows):
        of_pair = [row for row in rows if (row["data"], row["model"]) == (data, model)]
        ratio = found["summary"][f"cpu_ratio.{data}.{model}"]
        epochs = "/".join(f"{row['scrimp_epochs']}" for row in of_pair)
        plain_val, val, plain_test, test = (
            span([100 * row[figure] for row in of_pair], ".1f")
            for figure in (
                "plain_val_accuracy",
                "scrimp_val_accuracy",
                "plain_test_accuracy",
                "same_seconds_test_accuracy",
            )
        )
        plain_spent, spent = (
            span([row[f"{who}_cpu_seconds"] for row in of_pair], ",.0f") for who in ("plain", "scrimp")
        )
        px = span([row["scrimp_image_px"] for row in of_pair], "d")
        ours = f"{px} px, {epochs}, {val} %, {spent}"
        told = "never got there" if ratio is None else f"{ratio:.0f}x"
        lines.append(
            f"| {FIT_NAMES[data]}, {model} | {plain_val} %, {plain_spent} | {ours} | {told} | "
            f"{test} % against {plain_test} % | {len(of_pair)} |"
        )
    return "\n".join(
        [
            *lines,
            "",
            f"The ratio is the median over the seeds. {where(found)}. Raw figures, and how plain was priced:",
            "[time_to_accuracy.json](../benchmarks/results/time_to_accuracy.json).",
        ]
    )


def presets() -> str:
    """What each preset made of published weights, and in what time."""
    if not recorded("presets"):
        return "Not measured yet: `python benchmarks/presets.py` does so."
    found = results("presets")
    rows = []
    for key, spread in found["summary"].items():
        data, _, preset = key.rpartition(".")
        rows.append((FIT_NAMES[data], f"`{preset}`", told_spread(spread), f"{spread['seconds']:.0f} s"))
    source = "[presets.json](../benchmarks/results/presets.json)."
    columns = ("images, mobilenet_v2", "preset", "test", "whole process, without test")
    return "\n".join([as_table(columns, rows), "", f"{where(found)}. Raw figures: {source}"])


def techniques() -> str:
    """What each technique bought, added to a plain base and to all others."""
    found = results("techniques")
    lines: list[str] = []
    for study, told in found["summary"].items():
        first = next(iter(next(iter(told.values())).values()))
        shown = {figure: words for figure, words in TECHNIQUE_FIGURES.items() if figure in first}
        lines += [f"**{STUDY_NAMES[study]}** (`studies/{study}.toml`)", ""]
        lines.append(f"| technique | added to | {' | '.join(shown.values())} | pairs |")
        lines.append("|---|---|" + "---|" * (len(shown) + 1))
        for technique, ways in told.items():
            for added_to, figures in ways.items():
                cells = " | ".join(figures[figure]["verdict"] for figure in shown)
                pairs = f"{figures['val']['n']} of {figures['val']['seeds']}"
                lines.append(f"| `{technique}` | {added_to} | {cells} | {pairs} |")
        lines.append("")
    return "\n".join(
        [*lines, f"{where(found)}. Raw figures:", "[techniques.json](../benchmarks/results/techniques.json)."]
    )
