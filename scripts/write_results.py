"""Writes the measured figures into the pages that quote them, between two marks, from benchmarks/results/*.json."""

from __future__ import annotations

import json
import textwrap
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


def recorded(name: str) -> bool:
    """Whether the benchmark of that name has been run."""
    return (ROOT / "benchmarks" / "results" / f"{name}.json").is_file()


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


def spread_of(accuracies: Sequence[float]) -> dict[str, Any]:
    """What `told_spread` tells."""
    return {"mean": mean(accuracies), "sd": stdev(accuracies) if len(accuracies) > 1 else None, "n": len(accuracies)}


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


def exporting() -> str:
    """What each format brought, model by model: medians over the rounds."""
    found = results("export")
    lines = [
        "| model | file | MB | ms/image | times PyTorch | images/s | test accuracy | points lost | agreement |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    kinds = dict.fromkeys((row["model"], row["format"]) for row in found["rows"])
    for model, format in kinds:
        rows = [row for row in found["rows"] if (row["model"], row["format"]) == (model, format)]
        tried = [row["exported"] for row in rows]
        ms, speed = (median(one[key] for one in tried) for key in ("ms_per_image", "images_per_second"))
        faster = median(row["pytorch"]["ms_per_image"] / row["exported"]["ms_per_image"] for row in rows)
        lost = median(row["lost_points"] for row in rows)
        lines.append(
            f"| {model} | {format} | {tried[0]['mb']:.1f} | {ms:.2f} | {faster:.1f} | {speed:,.0f} | "
            f"{tried[0]['merit']:.1%} | {lost:.2f} | {tried[0]['agreement']:.1%} |"
        )
    source = "[export.json](../benchmarks/results/export.json)."
    return "\n".join([*lines, "", f"{where(found)}. Raw figures:", source])


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


# ---------------------------------------------------------------- one sentence a question: docs/choose.md


def said(*sentences: str, source: str) -> str:
    """Sentences as a paragraph, and the file that they come from."""
    text = f"{' '.join(sentences)} [{source}.json](../benchmarks/results/{source}.json)"
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def in_seconds() -> str:
    """What a solved head takes, from the JPEGs on."""
    row = first_rows("time_to_accuracy")["scrimp"]
    name = FIT_NAMES[row["data"]]
    return said(
        f"Measured on {name}, {row['images']['train']} images to learn from: {row['model']} at",
        f"{row['image_px']} px had {100 * row['test_accuracy']:.1f} % on test after {row['seconds']:.0f} s, the whole",
        "process counted, from the JPEGs to the last test image.",
        source="time_to_accuracy",
    )


def without_gpu() -> str:
    """What a step makes of two cores."""
    times = results("step")["summary"]["mobilenet_v2_224_vs_stock"]
    return said(
        f"A training step of mobilenet_v2 at 224 px makes {times:.2f} times the images per second of stock PyTorch",
        "on two cores.",
        source="step",
    )


def without_weights() -> str:
    """What CIFAR-10 takes from nothing."""
    summary = results("cifar10_94")["summary"]
    return said(
        f"{100 * summary['test_accuracy_mean']:.2f} % of CIFAR-10's test images in {summary['seconds_mean'] / 60:.1f}",
        f"minutes on two cores (n = {summary['n']}).",
        source="cifar10_94",
    )


def shortest_fits() -> dict[str, dict[str, Any]]:
    """The spread of each contender, on dogs, in the shortest time that was recorded; its minutes as `minutes`."""
    summary = results("fit")["summary"]
    prefix = "accuracy.stanford-dogs-10."
    cells = {
        tuple(key.removeprefix(prefix).rsplit(".", 1)): told for key, told in summary.items() if key.startswith(prefix)
    }
    shortest = min((minutes for minutes, _ in cells), key=float)
    return {"minutes": shortest} | {who: told for (minutes, who), told in cells.items() if minutes == shortest and told}


def few_labels() -> str:
    """What 600 labels gave."""
    fits = shortest_fits()
    return said(
        f"200 were not measured. With 600 (ten breeds of dogs) and {fits['minutes']} min, `fit` had",
        f"{told_spread(fits['fit'])} on test, where random search had {told_spread(fits['random'])}.",
        source="fit",
    )


def few_megabytes() -> str:
    """What two models below the ceiling gave by the plain recipe."""
    fits = shortest_fits()
    larger, smaller = fits["plain-mobilenet_v2"], fits["plain-squeezenet1_0"]
    return said(
        f"Each alone, by the plain recipe in {fits['minutes']} min: mobilenet_v2 {told_spread(larger)} on test,",
        f"squeezenet1_0 {told_spread(smaller)}; `fit`, which took the better one, {told_spread(fits['fit'])}.",
        source="fit",
    )


def many_images() -> str:
    """What feeding from a pack is worth."""
    fed = {
        what: median(row["images_per_second"] for row in results("loading")["rows"] if row["what"] == f"{what}-uint8")
        for what in ("pack", "jpeg", "torchvision")
    }
    return said(
        f"Batches at 224 px: {fed['pack']:,.0f} images/s from a pack, {fed['jpeg']:,.0f} from the JPEGs,",
        f"{fed['torchvision']:,.0f} by torchvision's loader.",
        source="loading",
    )


def far_images() -> str:
    """What the second epoch of a bucket takes."""
    summary = results("remote")["summary"]
    kept = summary["cache"]
    return said(
        f"From a server {summary['delay_ms']:.0f} ms away, the first reading of {summary['images']:,.0f} photos took",
        f"{kept['first_epoch_s']:.1f} s, the second {kept['second_epoch_s']:.1f} s and no request.",
        source="remote",
    )


def by_estimate() -> str:
    """What the estimate of energy said of the longest run."""
    row = results("cifar10_94")["rows"][0]
    return said(
        f"By the estimate, {row['seconds'] / 60:.1f} minutes of CIFAR-10 took {row['wh']:.2f} Wh, which is",
        f"{row['wh'] / row['seconds'] * 3600:.0f} W on average.",
        source="cifar10_94",
    )


def untrusted_data() -> str:
    """What an inspection takes and finds."""
    summary = results("inspecting")["summary"]
    return said(
        f"The 60,000 images of CIFAR-10 took {summary['cifar10_seconds']:.0f} s;",
        f"{summary['cifar10_test_in_train']} of its test images turned out to be in train as well.",
        source="inspecting",
    )


def users_waiting() -> str:
    """What one server bears."""
    rows = {row["what"]: row for row in results("serving")["rows"]}
    load, single = rows["load"], rows["single"]
    return said(
        f"mobilenet_v3_small at 224 px: {load['per_second']:,.0f} images a second on two cores,",
        f"{1000 * single['median_s']:.1f} ms for a lone one.",
        source="serving",
    )


# ---------------------------------------------------------------- what did not work: docs/failures.md


def no_gain_by_epochs() -> str:
    """Val accuracy of a solved head, and after each epoch of fine-tuning from there."""
    rows = first_rows("time_to_accuracy")
    row = rows["same seconds"]
    head, *epochs = (f"{100 * one:.1f}" for one in row["val_accuracies"])
    wh = {what: sum(cost["wh"] for cost in rows[what]["bill"].values()) for what in ("scrimp", "same seconds")}
    return said(
        f"On {FIT_NAMES[row['data']]}, {row['model']}: the head alone {head} % on val; after each epoch of fine-tuning",
        f"{', '.join(epochs)} %. The head took {wh['scrimp']:.3f} Wh, all of it {wh['same seconds']:.3f}",
        "(estimates).",
        source="time_to_accuracy",
    )


def first_rows(name: str) -> dict[str, dict[str, Any]]:
    """The first row of each kind."""
    return {row["what"]: row for row in reversed(results(name)["rows"])}


def below_94() -> str:
    """How far from the aim CIFAR-10 from nothing ended."""
    row = results("cifar10_94")["rows"][0]
    return said(
        f"{100 * row['test_accuracy']:.2f} % on test after {row['recipe']['epochs']} epochs and",
        f"{row['seconds'] / 60:.1f} min, where val (500 images) said {100 * row['val_accuracy']:.1f} %.",
        source="cifar10_94",
    )


def fused_slower() -> str:
    """What a fused optimiser and bfloat16 did to a step."""
    summary = results("step")["summary"]
    alone, brief, full = (
        summary[f"mobilenet_v2_224_{name}"] for name in ("fused_alone", "vs_stock_auto_precision", "vs_stock")
    )
    return said(
        f"Alone, the fused optimiser makes {alone:.2f} times the images per second of stock PyTorch. All settings",
        f"together make {full:.2f} times in float32, and {brief:.2f} times with bfloat16.",
        source="step",
    )


def resize_alike() -> str:
    """What antialiasing of crops did to accuracy."""
    summary = results("resizing")["summary"]
    return said(
        f"Cheap minus antialiased: {summary['cheap_minus_antialiased']:+.1f} points, standard error",
        f"{summary['spread'] / summary['n'] ** 0.5:.1f}, by {summary['n']} pairs of runs.",
        source="resizing",
    )


def search_takes() -> str:
    """What part of a short fit goes into anything but training."""
    rows = [row for row in results("fit")["rows"] if row["contender"] == "fit"]
    row = min(rows, key=lambda one: one["minutes"])
    return said(
        f"Of {row['seconds']:.0f} s, {row['trained_s']:.0f} s were training; the others went into starting, weighing,",
        "heads and measuring.",
        source="fit",
    )


def copies_missed() -> str:
    """What the search for near duplicates does not find."""
    rows = first_rows("inspecting")
    cut = rows["changes"]["found"]["5 % cut off each side"]
    return said(
        f"With 5 % cut off each side, {100 * cut['photos']:.0f} % of photos are still found, and",
        f"{100 * cut['cifar10']:.0f} % of CIFAR-10's images; of the pairs that people found in CIFAR-10,",
        f"{100 * rows['cifar10']['pairs']:.0f} %.",
        source="inspecting",
    )


def diversity_bounded() -> str:
    """How little is left between random draws and the most diverse choice, and what networks learn from it."""
    summary, table = results("diversity")["summary"], results("cifar10_mini")["summary"]["choosing"]
    found = said(
        f"The search beats the best of 10,000 random draws by {100 * (summary['vs_10000_draws_objective'] - 1):.1f} %",
        "of the sum of distances.",
        source="diversity",
    )
    by_chance, diverse, easier = (told_spread(table[f"{name}@1000"]) for name in ("random", "diversity", "el2n"))
    taught = said(
        f"1,000 images of CIFAR-10 drawn by chance taught a network {by_chance}, the most diverse {diverse}, those",
        f"without the hardest {easier}.",
        source="cifar10_mini",
    )
    return f"{found}\n\n{taught}"


def token_maps() -> str:
    """Where Grad-CAM points in a transformer with a class token."""
    row = next(row for row in results("explain")["rows"] if row["model"].startswith("timm:"))
    return said(
        f"With a class token Grad-CAM hit the object that decides in {100 * row['grad_cam']:.0f} % of the images,",
        f"occlusion in {100 * row['occlusion']:.0f} %.",
        source="explain",
    )


def half_a_cache() -> str:
    """What a cache with room for half the images serves."""
    summary = results("remote")["summary"]
    return said(
        f"Keeping what came first, with room for half, served {100 * summary['half_hit_rate']:.1f} % of the second",
        "epoch.",
        source="remote",
    )


def augmenting() -> str:
    """The table of augmentations, with what each costs an image."""
    from scrimp.augment import AUGMENTATIONS

    found = results("augmenting") if recorded("augmenting") else {"summary": {}}
    summary = found["summary"]
    lines = ["| name | what becomes of an image | strength | 64 px | 224 px |", "|---|---|---|---|---|"]
    for name, card in AUGMENTATIONS.items():
        strength = f"{card.usual:g} ({card.least:g} to {card.most:g}): {card.unit}" if card.unit else "none"
        cost = " | ".join(microseconds(summary.get(f"us_per_image.{name}.{px}")) for px in (64, 224))
        lines.append(f"| `{name}` | {card.says} | {strength} | {cost} |")
    for name, says in (("mixup", "two images blended"), ("cutmix", "a rectangle of another image pasted in")):
        cost = " | ".join(microseconds(summary.get(f"us_per_image.{name}.{px}")) for px in (64, 224))
        lines.append(f"| (`{name}`) | {says}; a setting of its own, `mix` | none | {cost} |")
    if not summary:
        return "\n".join([*lines, "", "Microseconds an image: `python benchmarks/augmenting.py` measures them."])
    lines += [
        "",
        "Microseconds an image of a batch of 32, at 64 and 224 pixels; torchvision's own TrivialAugment takes",
        f"{microseconds(summary['us_per_image.torchvision-trivial.64'])} and "
        f"{microseconds(summary['us_per_image.torchvision-trivial.224'])}, its RandAugment "
        f"{microseconds(summary['us_per_image.torchvision-rand.64'])} and "
        f"{microseconds(summary['us_per_image.torchvision-rand.224'])}. Medians of",
        f"{1 + max(row['round'] for row in found['rows'])} rounds. The autoencoder's own learning comes on top.",
        f"{where(found)}. Raw figures: [augmenting.json](../benchmarks/results/augmenting.json).",
    ]
    return "\n".join(lines)


def microseconds(figure: float | None) -> str:
    """To two digits that count."""
    return "not measured" if figure is None else f"{float(f'{figure:.2g}'):,.0f}"


def autoencoder() -> str:
    """What images made by an autoencoder bought."""
    if not recorded("autoencoder"):
        return "Not measured yet: `python benchmarks/autoencoder.py` does so."
    found = results("autoencoder")
    summary, rows = found["summary"], found["rows"]
    lines = ["| images a class | test accuracy without | with it | seconds more |", "|---|---|---|---|"]
    for per_class in sorted({row["per_class"] for row in rows}):
        gain = summary[f"autoencoder_gain_points.{per_class}"]
        sd = "" if gain["sd"] is None else f" ± {gain['sd']:.1f}"
        told = f"{gain['mean']:+.1f}{sd} points (n = {gain['n']})"
        without, seconds = summary[f"without.{per_class}"], summary[f"seconds.{per_class}"]
        lines.append(f"| {per_class} | {without:.1f} % | {told} | {seconds:.0f} |")
    lines += [
        "",
        f"`{rows[0]['model']}` from scratch, ten easy classes of ImageNet at 64 px, the same number of steps with and",
        f"without; mean and standard deviation over pairs of the same seed. {where(found)}. Raw figures:",
        "[autoencoder.json](../benchmarks/results/autoencoder.json).",
    ]
    return "\n".join(lines)


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

OTHER_JUDGES = ("instance", "none", "vgg8")
DISTILLED_NAMES = {"cifar10": "CIFAR-10", "imagenette64": "Imagenette at 64 px"}

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
    ROOT / "docs" / "choose.md": (
        in_seconds,
        without_gpu,
        without_weights,
        few_labels,
        few_megabytes,
        many_images,
        far_images,
        by_estimate,
        untrusted_data,
        users_waiting,
    ),
    ROOT / "docs" / "failures.md": (
        no_gain_by_epochs,
        below_94,
        fused_slower,
        resize_alike,
        search_takes,
        half_a_cache,
        copies_missed,
        diversity_bounded,
        token_maps,
    ),
    ROOT / "docs" / "costs.md": (by_estimate,),
    ROOT / "docs" / "fit.md": (fit_in_docs,),
    ROOT / "docs" / "augment.md": (augmenting, autoencoder),
    ROOT / "docs" / "distill.md": (distillation,),
    ROOT / "docs" / "train.md": (step,),
    ROOT / "docs" / "recipes.md": (time_to_accuracy, cifar10_94),
    ROOT / "docs" / "explain.md": (explain,),
    ROOT / "docs" / "inspect.md": (inspecting,),
    ROOT / "docs" / "remote.md": (remote,),
    ROOT / "docs" / "select.md": (selecting, diversity, mini),
    ROOT / "docs" / "prepare.md": (resizing, loading),
    ROOT / "docs" / "export.md": (exporting,),
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
