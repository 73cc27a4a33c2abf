"""Do images made by an autoencoder help, where there are few of a class?

A network from scratch learns 10, 20 and 100 images a class, drawn at random by the seed, once with `augment="basic"`
and once with `augment="basic,autoencoder"`: the autoencoder learns the same few images first, and makes half of each
batch anew. Everything else is the same, steps too: as many epochs as it takes to see about 8,000 images. Chosen on val,
reported on the whole test split.

    python benchmarks/autoencoder.py FOLDER [--quick] [--model ultralight] [--image-size 64] [--seeds 3] [--out FOLDER]

FOLDER: images in class folders; imagenette-224 for the figures that are kept. `--quick`: 10 images a class, one seed.

Summary keys: `autoencoder_gain_points.PER_CLASS`: test accuracy with it less without it, in points, `mean`, `sd` and
`n` of the pairs of the same seed; `without.PER_CLASS` and `seconds.PER_CLASS`: the mean test accuracy without it, in
percent, and the mean seconds that it adds to training, its own learning included.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from record import record, spread

import scrimp
from scrimp.cost import warm_up_sensor
from scrimp.sweeping import run_plan

PER_CLASS, SEEN, WAYS = (10, 20, 100), 8_000, {"without": "basic", "with": "basic,autoencoder"}


def one_run(folder: Path, per_class: int, way: str, seed: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Trained and measured."""
    classes = len(scrimp.find_images(str(folder)).classes)
    plan = scrimp.Plan(
        images=scrimp.ImageSource(source=str(folder)),
        selection=scrimp.Selection(keep=per_class * classes, seed=seed),
        preparation=scrimp.Preparation(image_px=asked.image_size),
        recipe=scrimp.Recipe(
            model=asked.model,
            pretrained=False,
            epochs=max(1, round(SEEN / (per_class * classes))),
            lr=3e-3,
            augment=WAYS[way],
            seed=seed,
        ),
    )
    run = run_plan(plan, Path(asked.out) / plan.name)
    assert run.status == "finished", run.reason
    assert run.val is not None
    assert run.test is not None
    row = {"data": folder.name, "model": asked.model, "per_class": per_class, "way": way, "seed": seed}
    told = [note for note in run.notes if note.startswith("Autoencoder")]
    row |= {"val_top1": run.val.top1, "test_top1": run.test.top1, "train_s": run.costs["train"].seconds, "notes": told}
    return row


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Differences of pairs that share size and seed."""
    summary: dict[str, Any] = {}
    for per_class in sorted({row["per_class"] for row in rows}):
        by = {(row["way"], row["seed"]): row for row in rows if row["per_class"] == per_class}
        seeds = sorted({seed for _, seed in by})
        gains = [100 * (by["with", seed]["test_top1"] - by["without", seed]["test_top1"]) for seed in seeds]
        summary[f"autoencoder_gain_points.{per_class}"] = spread(gains)
        summary[f"without.{per_class}"] = mean(100 * by["without", seed]["test_top1"] for seed in seeds)
        summary[f"seconds.{per_class}"] = mean(by["with", s]["train_s"] - by["without", s]["train_s"] for s in seeds)
    return summary


def main() -> None:
    """Trains in pairs, and records after all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--model", default="ultralight")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", default="runs/autoencoder")
    parser.add_argument("--quick", action="store_true", help="10 images a class, one seed")
    asked = parser.parse_args()
    warm_up_sensor()
    rows = []
    for per_class in PER_CLASS[:1] if asked.quick else PER_CLASS:
        for seed in range(1 if asked.quick else asked.seeds):
            for way in WAYS:
                rows.append(one_run(asked.folder, per_class, way, seed, asked))
                print(rows[-1], file=sys.stderr)
    record("autoencoder", rows, summarise(rows), quick=asked.quick)


if __name__ == "__main__":
    main()
