"""Figures of reading, inspecting and augmenting images."""

from __future__ import annotations

from statistics import mean, median, stdev

from figures.recorded import recorded, results, where

LEAK = ("test", "train")

REMOTE_WAYS = {
    "folder": "from the folder, no server",
    "copy": "`copy`",
    "stream": "`stream`",
    "cache": "`cache`, room for all",
    "cache, half": "`cache`, room for half",
}

DATA_NAMES = {"imagenette-224": "ten easy classes of ImageNet", "Images": "ten breeds of Stanford Dogs, whole images"}


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
