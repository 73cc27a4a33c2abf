"""Writes the measured figures into the pages that quote them, between two marks, from benchmarks/results/*.json."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Sequence
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
        "The same images, two cores and wall-clock for everybody, measured from outside; test accuracy:",
        "",
        "| images | minutes | `scrimp fit` | random search (Optuna) | best single model, plain recipe |",
        "|---|---|---|---|---|",
    ]
    for (data, minutes), by in cells.items():
        plain = {name: spread for name, spread in by.items() if name.startswith("plain-")}
        best = max(plain, key=lambda name: plain[name]["mean"], default="")
        single = f"{told_spread(plain[best])} ({best.removeprefix('plain-')})" if best else "not measured"
        named = FIT_NAMES[data]
        ours, other = (told_spread(by[name]) if name in by else "not measured" for name in ("fit", "random"))
        lines.append(f"| {named} | {minutes} | {ours} | {other} | {single} |")
    lines += [
        "",
        f"{summary['budget_kept']} of {summary['budget_kept_of']} fits ended within 103 % of their budget or 1.5 s.",
        f"{where(found)}.",
    ]
    return "\n".join(lines)


def told_spread(spread: dict[str, Any]) -> str:
    """A mean accuracy with its spread and number."""
    sd = "" if spread["sd"] is None else f" ± {100 * spread['sd']:.1f}"
    return f"{100 * spread['mean']:.1f}{sd} % (n = {spread['n']})"


def fit_in_readme() -> str:
    """With the link as the README needs it."""
    return f"{fit()} Raw figures: [fit.json](benchmarks/results/fit.json)."


def fit_in_docs() -> str:
    """With the link as a page of the docs needs it."""
    return f"{fit()} Raw figures: [fit.json](../benchmarks/results/fit.json)."


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


def time_to_accuracy() -> str:
    """What the val accuracy of plain fine-tuning costs."""
    found = results("time_to_accuracy")
    rows = [row for row in found["rows"] if row["what"] == "comparison"]
    lines = [
        "| images, model | plain: best val, CPU-s to there | Scrimp: val, CPU-s, epochs | ratio | test, same seconds |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = "never got there" if row["cpu_ratio"] is None else f"{row['cpu_ratio']:.0f}x"
        lines.append(
            f"| {FIT_NAMES[row['data']]}, {row['model']} | {100 * row['plain_val_accuracy']:.1f} %, "
            f"{row['plain_cpu_seconds']:,.0f} (epoch {row['plain_best_epoch']}) | "
            f"{100 * row['scrimp_val_accuracy']:.1f} %, "
            f"{row['scrimp_cpu_seconds']:,.0f}, {row['scrimp_epochs']} | {ratio} | "
            f"{100 * row['same_seconds_test_accuracy']:.1f} % against {100 * row['plain_test_accuracy']:.1f} % |"
        )
    return "\n".join(
        [
            *lines,
            "",
            f"One line a seed. {where(found)}. Raw figures, and how plain was priced:",
            "[time_to_accuracy.json](../benchmarks/results/time_to_accuracy.json).",
        ]
    )


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


def serving() -> str:
    """How the server did beside the model alone, and under too much load."""
    found = results("serving")
    summary = found["summary"]
    rows = {row["what"]: row for row in found["rows"]}
    load, over = rows["load"], rows["overload"]
    busy = f"{summary['overload_503_ms']:.0f} ms" if summary["overload_503_ms"] is not None else "none came"
    lines = [
        "mobilenet_v3_small at 224 px, JPEGs of about 300 x 250 pixels, clients on the same machine:",
        "",
        "| | |",
        "|---|---|",
        f"| images/s, 32 clients | {load['per_second']:,.0f}, {summary['images_per_second_per_core']:,.0f} a core |",
        f"| of the model alone at its best batch size | {summary['throughput_vs_loop']:.0%} |",
        f"| one image through the idle server | {1000 * rows['single']['median_s']:.1f} ms |",
        f"| 99 of 100 answers with 32 clients within | {load['ms']['200']['p99']:.0f} ms |",
        f"| failed requests of {sum(load['answers'].values()):,} in {load['seconds']:,.0f} s | "
        f"{summary['failed_requests']:,} |",
        f"| memory at the end of that, less at its beginning | {summary['rss_growth_mb']:+.1f} MB |",
        f"| 99 of 100 refusals with {over['clients']} clients and room for {over['queue']} within | {busy} |",
    ]
    setting = f"{load['workers']} workers, runtime {load['runtime']}"
    source = "[serving.json](../benchmarks/results/serving.json)."
    return "\n".join([*lines, "", f"{setting}; {where(found)}. Raw figures:", source])


def study(name: str) -> Callable[[], str]:
    """What became of the claims of a study, and its figures, once they are recorded."""

    def told() -> str:
        path = ROOT / "benchmarks" / "results" / f"study_{name.replace('-', '_')}.json"
        if not path.is_file():
            content = tomllib.loads((ROOT / "studies" / f"{name.replace('-', '_')}.toml").read_text(encoding="utf-8"))
            rows = [(claim["says"], claim["theirs"], "not tested here", "not run yet") for claim in content["claims"]]
            return as_table(("claim", "theirs", "here", "ours"), rows)
        found = results(path.stem)
        summary = found["summary"]
        rows = [(claim["says"], claim["theirs"], claim["verdict"], claim["ours"]) for claim in summary["claims"]]
        lines = [as_table(("claim", "theirs", "here", "ours"), rows), ""]
        if summary["quick"]:
            quick = "Figures of a `--quick` run, made beside other work: it shows that all runs, and judges no claim."
            lines += [quick, ""]
        if summary["without"]:
            lines += [f"Without {', '.join(summary['without'])}: their published weights could not be had there.", ""]
        for table in summary["tables"].values():
            kept = [column for column in table["columns"] if column not in STUDY_LEFT_OUT]
            cells = [[row[table["columns"].index(column)] for column in kept] for row in table["rows"]]
            lines += [f"**{table['title']}**", "", as_table(kept, cells), ""]
        data = ", ".join(summary["data"])
        lines += [f"Images: {data}; {summary['seconds'] / 60:.0f} min in all. {where(found)}. Raw figures:"]
        return "\n".join([*lines, f"[{path.name}](../../benchmarks/results/{path.name})."])

    return told


def frameworks() -> str:
    """PyTorch beside Keras, once that is recorded."""
    if not (ROOT / "benchmarks" / "results" / "frameworks.json").is_file():
        return "Not recorded yet: `python benchmarks/frameworks.py --keras PYTHON` does so."
    found = results("frameworks")
    rows = []
    for key, told in found["summary"].items():
        name, _, framework = key.partition(".")
        if isinstance(told, dict):
            accuracies = ", ".join(f"{100 * one:.1f} %" for one in told["test_accuracy"])
            seconds = f"{told['epoch_s']:.1f} s", f"{told['first_epoch_s']:.1f} s"
            rows.append((name, framework, *seconds, f"{told['peak_mb']:,.0f} MB", accuracies))
    differ = max(max(told) for told in found["summary"].values() if isinstance(told, list))
    first = found["rows"][0]
    return "\n".join(
        [
            as_table(("network", "framework", "one epoch", "the first epoch", "peak memory", "test, by seed"), rows),
            "",
            f"{first['images']:,} images of 32 pixels, {len(first['seconds'])} epochs, {first['threads']} threads; the",
            f"losses of the first step differ by {differ:.0e} at most. {where(found)}. Raw figures:",
            "[frameworks.json](../../benchmarks/results/frameworks.json).",
        ]
    )


def as_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


STUDIES = ("birds", "cifar10-mini", "dogs", "imagenet", "speedy")

STUDY_LEFT_OUT = ("money", "model", "test against the first")

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

FIT_NAMES = {
    "cifar10": "5,000 of CIFAR-10",
    "imagenette-224": "ten easy classes of ImageNet",
    "stanford-dogs-10": "ten breeds of Stanford Dogs, boxes",
}

DATA_NAMES = {"imagenette-224": "ten easy classes of ImageNet", "Images": "ten breeds of Stanford Dogs, whole images"}

PAGES: dict[Path, tuple[Callable[[], str], ...]] = {
    ROOT / "README.md": (fit_in_readme,),
    ROOT / "docs" / "fit.md": (fit_in_docs,),
    ROOT / "docs" / "train.md": (step,),
    ROOT / "docs" / "recipes.md": (time_to_accuracy, cifar10_94),
    ROOT / "docs" / "explain.md": (explain,),
    ROOT / "docs" / "inspect.md": (inspecting,),
    ROOT / "docs" / "remote.md": (remote,),
    ROOT / "docs" / "select.md": (selecting, diversity),
    ROOT / "docs" / "prepare.md": (resizing, loading),
    ROOT / "docs" / "scale.md": (serving,),
    ROOT / "docs" / "studies" / "frameworks.md": (frameworks,),
    **{ROOT / "docs" / "studies" / f"{name}.md": (study(name),) for name in STUDIES},
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
