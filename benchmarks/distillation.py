"""How accurate are networks that learn from 1, 10 or 50 images a class: real ones, and ones that were made?

CIFAR-10 (32 px) and imagenette-224 at 64 px, in one data folder (SCRIMP_DATA). Each method makes its images from the
training split (there is no val: nothing is chosen), with its own defaults or for `--minutes` at most. Then `--networks`
fresh ConvNets learn from them (1,000 steps, siamese augmentation) and are asked about the whole test split, with the
norm by which the method's paper judges: none for FRePo, instance norm for all others. So are two each of the other
ConvNet and of Scrimp's vgg8. What
is learned has its soft labels and its space, on both sides; real images have the same space, labels of their class,
and, as `real-labels`, labels that FRePo learned for them.

Learning goes on where it was cut off. Rows are kept as they come; started again, it goes on with those missing.

    python benchmarks/distillation.py [--quick] [--only cifar10_ipc1/frepo] [--formation 2] [--minutes 30]
        [--steps 20000] [--seed 0] [--networks 5] [--data-dir FOLDER] [--out FOLDER]

Summary keys: `SET_ipcN.METHOD`, such as `cifar10_ipc1.frepo` or `cifar10_ipc1.frepo-f2` (formation 2): `mean` and `sd`
(points of test accuracy, over the networks), `n`, `seconds` (wall time of making the images on this machine),
`cpu_seconds`, `steps`, `bytes`, `judged_by` (the norm of the ConvNets) and `others` (the mean for other architectures).
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from record import record, spread
from torch import Tensor, nn

from scrimp.batches import prepare
from scrimp.images import Images, find_images
from scrimp.models import build
from scrimp.store import write_whole
from scrimp.subset import Distilled, distill
from scrimp.subset.distilling.judging import accuracies
from scrimp.subset.distilling.network import ConvNet
from scrimp.subset.distilling.ways import norm_of
from scrimp.subset.distilling.whitening import Space, fit_space
from scrimp.training.hardware import keep_freed_memory

Row = dict[str, Any]
SETS: dict[str, Row] = {
    "cifar10": {"source": "cifar10", "image_px": 32},
    "imagenette64": {"source": "imagenette-224", "image_px": 64},
}
METHODS = ["mean", "real", "k-center", "real-labels", "dm", "dsa", "frepo"]
STEPS = 1000  # of a network that learns from the images made


def load(name: str, data_dir: str, *, quick: bool) -> Images:
    """All that is not test is train, but for the few of val that a set must have: nothing here is chosen by them."""
    source = SETS[name]["source"]
    where = source if source == "cifar10" else str(Path(data_dir) / source)
    return find_images(where, data_dir=data_dir, per_class=50 if quick else None, val_fraction=0.1 if quick else 0.002)


def asked_of(images: Images, px: int, space: Space, *, quick: bool) -> Callable[[], Iterator[tuple[Tensor, Any]]]:
    """The test split in batches, in the space."""
    ready = prepare(images, image_px=px)
    rows = ready.images.rows("test")
    rows = rows[:: max(1, len(rows) // 500)] if quick else rows

    def batches() -> Iterator[tuple[Tensor, Any]]:
        for start in range(0, len(rows), 500):
            some = rows[start : start + 500]
            pixels = torch.from_numpy(np.ascontiguousarray(ready.pixels[some])).permute(0, 3, 1, 2)
            yield space.of(pixels), ready.images.labels[some]

    return batches


def lesson_of(made: Distilled, images: Images, px: int) -> tuple[Tensor, Tensor, Space]:
    """Images and labels to learn from, and the space of both these and the test images."""
    if made.lesson is not None:
        lesson = made.lesson
        return lesson.tiles(), lesson.labels if lesson.soft else lesson.classes, lesson.space
    ready = prepare(images, image_px=px)
    train = ready.images.rows("train")
    some = np.ascontiguousarray(ready.pixels[train[:: max(1, len(train) // 10_000)]])
    space = fit_space(torch.from_numpy(some).permute(0, 3, 1, 2), whitened=False)
    rows = made.rows("train")
    pixels = torch.from_numpy(np.stack([np.asarray(made.items[row]) for row in rows])).permute(0, 3, 1, 2)
    return space.of(pixels), torch.from_numpy(made.labels[rows]), space


def networks(classes: int, px: int) -> dict[str, Callable[[], nn.Module]]:
    """The architectures that are asked: ConvNet by its norm, and another."""
    return {
        "instance": lambda: ConvNet(classes, px),
        "none": lambda: ConvNet(classes, px, norm="none"),
        "vgg8": partial(_vgg, classes, px),
    }


def _vgg(classes: int, px: int) -> nn.Module:
    """Its body: the images are in their space already."""
    seed = int(torch.randint(2**31, ()))
    return build("vgg8", classes=classes, image_px=px, pretrained=False, seed=seed).body


def measure(asked: argparse.Namespace, name: str, per_class: int, method: str, folder: Path) -> Row:
    """Makes the images of one row, and judges them."""
    px = SETS[name]["image_px"]
    images = load(name, asked.data_dir, quick=asked.quick)
    how: Row = {"per_class": per_class, "image_px": px, "seed": asked.seed}
    if method in ("dm", "dsa", "frepo", "real-labels"):
        how |= {"formation": asked.formation, "steps": 30 if asked.quick else asked.steps}
        how |= {"max_seconds": asked.minutes * 60 if asked.minutes else None}
    made = distill(images, method=method, out=folder, **how)
    if made.status == "interrupted":
        raise KeyboardInterrupt
    tiles, labels, space = lesson_of(made, images, px)
    batches = asked_of(images, px, space, quick=asked.quick)
    found = {
        kind: accuracies(
            tiles,
            labels,
            network,
            batches,
            networks=asked.networks if kind == norm_of(method) else min(2, asked.networks),
            steps=50 if asked.quick else STEPS,
            mirror=images.mirror_ok,
        )
        for kind, network in networks(len(images.classes), px).items()
    }
    return {
        "accuracies": found,
        "seconds": made.making.seconds,
        "cpu_seconds": made.making.cpu_seconds,
        "steps": made.steps,
        "bytes": made.lesson.bytes if made.lesson else 3 * px**2 * per_class * len(images.classes),
    }


def summary_of(rows: list[Row]) -> Row:
    """The headline of each; of several seeds, all their networks together."""
    summary: Row = {}
    for key in dict.fromkeys(row["key"] for row in rows):
        own = [row for row in rows if row["key"] == key]
        headline = norm_of(own[0]["method"])
        points = [100 * accuracy for row in own for accuracy in row["accuracies"][headline]]
        others = {kind: [100 * a for row in own for a in row["accuracies"][kind]] for kind in own[0]["accuracies"]}
        summary[key] = {
            **spread(points),
            "seconds": mean(row["seconds"] for row in own),
            "cpu_seconds": mean(row["cpu_seconds"] for row in own),
            "steps": own[0]["steps"],
            "bytes": own[0]["bytes"],
            "judged_by": headline,
            "others": {kind: mean(of_kind) for kind, of_kind in others.items() if kind != headline},
        }
    return summary


def main() -> None:
    """Goes over what is asked for, and records after each with all rows that are kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="50 images a class, 30 steps, 1 network")
    parser.add_argument("--only", action="append", help="SET_ipcN/METHOD, such as cifar10_ipc1/dm; may be repeated")
    parser.add_argument("--formation", type=int, default=1, help="of methods that learn")
    parser.add_argument("--minutes", type=float, help="of learning, at most; else its steps decide")
    parser.add_argument("--steps", type=int, help="of learning, instead of the method's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--networks", type=int, default=5, help="fresh ones that judge")
    parser.add_argument("--data-dir", default=os.environ.get("SCRIMP_DATA"), help="folder that holds the data sets")
    parser.add_argument("--out", default="runs/distillation", help="rows that lie here are not measured again")
    asked = parser.parse_args()
    if not asked.data_dir:
        parser.error("no data: give --data-dir, or set SCRIMP_DATA")
    if asked.quick:
        asked.networks = 1
    keep_freed_memory()
    every = [f"{name}_ipc{n}/{method}" for name in SETS for n in (1, 10, 50) for method in METHODS]
    wanted = asked.only or (["cifar10_ipc1/real", "cifar10_ipc1/frepo"] if asked.quick else every)
    shelf = Path(asked.out) / ("quick" if asked.quick else "whole")
    for one in wanted:
        group, _, method = one.partition("/")
        name, _, number = group.partition("_ipc")
        if name not in SETS or method not in METHODS or not number.isdecimal():
            parser.error(f"no '{one}': give SET_ipcN/METHOD of {', '.join(SETS)} and {', '.join(METHODS)}")
        learns = method in METHODS[3:]
        ending = f"-f{asked.formation}" if learns and asked.formation > 1 else ""
        file = shelf / f"{group}-{method}{ending}-{asked.seed}.json"
        if not file.is_file():
            row = measure(asked, name, int(number), method, file.with_suffix(""))
            about = {"key": f"{group}.{method}{ending}", "set": name, "per_class": int(number), "method": method}
            about |= {"formation": asked.formation if learns else 1, "seed": asked.seed}
            write_whole(file, json.dumps(about | row).encode())
        rows = [json.loads(path.read_bytes()) for path in sorted(shelf.glob("*.json"))]
        record("distillation", rows, summary_of(rows), quick=asked.quick)


if __name__ == "__main__":
    main()
