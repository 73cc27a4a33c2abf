"""Writes the measured figures into the pages that quote them, between two marks, from benchmarks/results/*.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- figures: make docs-results -->\n", "<!-- end of figures -->\n"
LEAK = ("test", "train")


def results(name: str) -> dict[str, Any]:
    """The recorded benchmark of that name."""
    content: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    return content


def where(found: dict[str, Any]) -> str:
    """Machine, versions and date of a benchmark, as one phrase."""
    machine, versions = found["machine"], found["versions"]
    return f"{machine['cores']} cores ({machine['processor']}), torch {versions['torch']}, {found['date'][:10]}"


def fit_against_plain() -> str:
    """How fit did against each single model of its list."""
    found = results("fit_against_plain")
    summary = found["summary"]
    fits = [row for row in found["rows"] if row["what"] == "fit"]
    accuracies = " and ".join(f"{100 * row['test_accuracy']:.1f} %" for row in fits)
    count = f"{len(fits)} fits" if len(fits) > 1 else "one fit"
    lines = [
        "**Five minutes on 5,000 images of CIFAR-10**, nothing pretrained (4,250 images to learn from, 750 to choose",
        f"by, 10,000 to report on): {count} reached {accuracies} on test and took at most",
        f"{100 * summary['budget_used']:.1f} % of their 300 s, measured from outside. Each model of the list alone, by",
        "the plain recipe (Adam, learning rate 1e-4, batch 32, no augmentation), its best epoch on val kept:",
        "",
        "| model | 10 epochs: test | seconds | five minutes: test | epochs |",
        "|---|---|---|---|---|",
    ]
    plain = {(row["model"], row["epochs_asked"] == 10): row for row in found["rows"] if row["what"] == "plain"}
    for model in dict.fromkeys(model for model, _ in plain):
        short, long = plain.get((model, True)), plain.get((model, False))
        first = f"{100 * short['test_accuracy']:.1f} % | {short['seconds']:.0f}" if short else "not measured | "
        second = f"{100 * long['test_accuracy']:.1f} % | {long['epochs']}" if long else "not measured | "
        lines.append(f"| {model} | {first} | {second} |")
    gain = f"So fit gained {summary['gain_over_best_plain']:.1f} points over the best of them. One seed each; on"
    source = "[fit_against_plain.json](benchmarks/results/fit_against_plain.json)."
    return "\n".join([*lines, "", gain, f"{where(found)}. Raw figures:", source])


def inspecting() -> str:
    """How long an inspection takes, and what it found in well-known data."""
    found = results("inspecting")
    rows = {row["what"]: row for row in found["rows"]}
    lines = [
        "| the whole command on | images | seconds | peak memory | test images in train | groups of near duplicates |",
        "|---|---|---|---|---|---|",
    ]
    for name, words in (("cifar10", "CIFAR-10 as PNGs"), ("photos", "photos of 224 x 224 pixels")):
        row = rows[name]
        leaked = sum(leak["exact"] + leak["near"] for leak in row["leaks"] if (leak["split"], leak["other"]) == LEAK)
        seconds, memory = f"{row['seconds']:.0f}", f"{row['peak_memory_mb']:,.0f} MB"
        lines.append(f"| {words} | {row['images']:,} | {seconds} | {memory} | {leaked:,} | {row['near_groups']:,} |")
    cifar, changes = rows["cifar10"], rows["changes"]["found"]
    lines += [
        "",
        "Of the 286 pairs of CIFAR-10 that Barz and Denzler list ([ciFAIR](https://cvjena.github.io/cifair/), 2020),",
        f"{100 * cifar['pairs']:.0f} % fall into one group. The cheapest models reach, on CIFAR-10's test images,",
        " and ".join(f"{100 * score['test']:.1f} % ({score['name']})" for score in cifar["baseline"]["scores"]) + ".",
        "",
        "| copies that are still found | of photos | of CIFAR-10 |",
        "|---|---|---|",
        *(
            f"| {name} | {100 * part['photos']:.1f} % | {100 * part['cifar10']:.1f} % |"
            for name, part in changes.items()
        ),
        "",
        f"{where(found)}. Raw figures:",
        "[inspecting.json](../benchmarks/results/inspecting.json).",
    ]
    return "\n".join(lines)


def remote() -> str:
    """What each way of reading a bucket takes."""
    found = results("remote")
    summary = found["summary"]
    lines = [
        f"{summary['images']:,} photo-like JPEGs ({summary['mb']:.0f} MB) behind a server that answers",
        f"{summary['delay_ms']:.0f} ms late, each epoch reading and decoding all of them in random order; medians of",
        f"{summary['repetitions']}, and the fastest and slowest second epoch:",
        "",
        "| way | first epoch | second epoch | requests, first + second | disk used |",
        "|---|---|---|---|---|",
    ]
    for way, words in REMOTE_WAYS.items():
        row = summary[way]
        second = f"{row['second_epoch_s']:.1f} s ({row['second_epoch_s_min']:.1f} to {row['second_epoch_s_max']:.1f})"
        requests = f"{row['first_requests']:,.0f} + {row['second_requests']:,.0f}"
        lines.append(f"| {words} | {row['first_epoch_s']:.1f} s | {second} | {requests} | {row['disk_mb']:.0f} MB |")
    lines += [
        "",
        f"With room for half, {100 * summary['half_hit_rate']:.1f} % or more came from the disk the second time. The",
        "server, the delay and the decoding share the machine, so that seconds say less than requests do.",
        f"{where(found)}. Raw figures:",
        "[remote.json](../benchmarks/results/remote.json).",
    ]
    return "\n".join(lines)


def loading() -> str:
    """How fast batches are fed, beside other loaders."""
    found = results("loading")
    rows, summary = found["rows"], found["summary"]
    ours = [row for row in rows if row["what"].startswith(("jpeg-", "pack-")) and "peak_mb" in row]

    def told(what: str, figure: str = "images_per_second") -> str:
        values = sorted(row[figure] for row in rows if row["what"] == what and figure in row)
        if not values:
            return "not measured"
        return f"{median(values):,.0f} ({values[0]:,.0f} to {values[-1]:,.0f})"

    lines = [
        "3,000 photo-like JPEGs of about 500 x 375 pixels, batches of 64 at 224 px, random resized crop and mirror,",
        "two threads or workers for everyone, files in the page cache. Images per second, median of the rounds",
        "(slowest to fastest):",
        "",
        "| from JPEG files | uint8 batches | normalised floats |",
        "|---|---|---|",
    ]
    names = {
        "torchvision": "torchvision: ImageFolder, Pillow, transforms v2, DataLoader",
        "dali": "NVIDIA DALI on the CPU",
        "jpeg": "**Scrimp**, no pack",
        "decode": "limit: decoding alone, all of each file",
        "ffcv": "FFCV, raw pixels, longest side 341",
        "pack": "**Scrimp**, raw pack, short side 256",
    }
    for name, words in names.items():
        if name == "ffcv":
            lines += ["", "| from packed pixels | uint8 batches | normalised floats |", "|---|---|---|"]
        both = (told("decode"), "") if name == "decode" else (told(f"{name}-uint8"), told(f"{name}-float"))
        lines.append(f"| {words} | {both[0]} | {both[1]} |")
    lines += [
        "",
        f"Writing that pack takes {told('ours-write', 'seconds')} s, FFCV's {told('ffcv-write', 'seconds')} s. From",
        f"starting to the first batch of the files, less what importing torch takes: {summary['first_batch_s']:.2f} s.",
        f"Peak memory of a process that feeds: {max(row['peak_mb'] for row in ours):,.0f} MB.",
        f"{where(found)}. Raw figures:",
        "[loading.json](../benchmarks/results/loading.json).",
    ]
    return "\n".join(lines)


def resizing() -> str:
    """What the cheaper resize of training crops costs in accuracy."""
    found = results("resizing")
    rows, summary = found["rows"], found["summary"]
    lines = ["| mobilenet_v2, crops and mirror | cheap resize: test | antialiased: test | seeds |", "|---|---|---|---|"]
    for data in dict.fromkeys(row["data"] for row in rows):
        cells = []
        for kind in ("cheap", "antialiased"):
            reached = [100 * row["test_top1"] for row in rows if (row["data"], row["resize"]) == (data, kind)]
            cells.append(f"{mean(reached):.1f} ± {stdev(reached):.1f} %")
        lines.append(f"| {DATA_NAMES[data]} | {' | '.join(cells)} | {len(reached)} |")
    points, error = summary["cheap_minus_antialiased"], summary["spread"] / summary["n"] ** 0.5
    effect = f"{points:+.1f} points, standard error {error:.1f}"
    effect += ": no effect that these runs could show" if abs(points) < 2 * error else ""
    return "\n".join(
        [
            *lines,
            "",
            f"Cheap minus antialiased, over all pairs: {effect}. {where(found)}.",
            "Raw figures: [resizing.json](../benchmarks/results/resizing.json).",
        ]
    )


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


def explain() -> str:
    """Whether heat lies on what decides, and goes away with the knowledge."""
    found = results("explain")
    rows, summary = found["rows"], found["summary"]
    lines = [
        "Planted objects: on a ground of noise, a disc whose colour decides the class, and two of the same size that",
        "say nothing. Is the hottest point of the true class on the disc that decides, or within 7 % of the side",
        f"of it? Part of {rows[0]['images']} test images, where chance would hit {100 * summary['area']:.0f} %;",
        "in brackets without that tolerance. And the same with random weights, whose maps should know nothing:",
        "",
        "| model, learnt from scratch | grid | accuracy | Grad-CAM hits | occlusion hits | random weights hit |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        accuracy, cam, strict, occlusion, random = (
            f"{100 * row[figure]:.0f} %" for figure in ("accuracy", "grad_cam", "strict", "occlusion", "random")
        )
        cells = (f"{row['grid']} x {row['grid']}", accuracy, f"{cam} ({strict})", occlusion, random)
        lines.append(f"| `{row['model']}` | {' | '.join(cells)} |")
    lines += [
        "",
        "Pixel by pixel, the maps of the trained and of the random weights correlate by",
        f"{summary['correlation_random']:.2f} at most, on average over the images. {where(found)}. Raw figures:",
        "[explain.json](../benchmarks/results/explain.json).",
    ]
    return "\n".join(lines)


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

REMOTE_WAYS = {
    "folder": "from the folder, no server",
    "copy": "`copy`",
    "stream": "`stream`",
    "cache": "`cache`, room for all",
    "cache, half": "`cache`, room for half",
}

DATA_NAMES = {"imagenette-224": "ten easy classes of ImageNet", "Images": "ten breeds of Stanford Dogs, whole images"}

PAGES: dict[Path, tuple[Callable[[], str], ...]] = {
    ROOT / "README.md": (fit_against_plain,),
    ROOT / "docs" / "explain.md": (explain,),
    ROOT / "docs" / "inspect.md": (inspecting,),
    ROOT / "docs" / "remote.md": (remote,),
    ROOT / "docs" / "prepare.md": (resizing, loading),
}
"""The pages that quote figures, and what writes them, from top to bottom."""


def with_figures(page: Path) -> str:
    """The page with what stands between the marks written anew."""
    before, *parts = page.read_text(encoding="utf-8").split(BEGIN)
    for part, write in zip(parts, PAGES[page], strict=True):
        before += f"{BEGIN}{write()}\n{END}{part.split(END)[1]}"
    return before


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(with_figures(page), encoding="utf-8")
