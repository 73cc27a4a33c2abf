"""How far do 1,000 images of CIFAR-10 go, and what does choosing them buy?

Four parts, all from random weights, each tested on the 10,000 test images, which choose nothing: the last epoch's
weights are kept, so that val chooses nothing either.

- `ancestor`: networks as in the study this one began with: SGD at 1e-3 for 50 epochs on VGG-8, VGG-16 and ResNet-18,
  with and without augmentation, dropout, weight decay; on the images that `tuned` has for seed 0.
- `tuned`: 1,000 images drawn by chance, the preset `few_images`.
- `choosing`: every method of selection, 100, 500 and 1,000 images, `few_images` on `ultralight` for 100 epochs.
- `chosen`: as `tuned`, with 1,000 images by the method whose networks of `choosing` were best, with 1,000, on 5,000
  training images that they had not learnt from (`unchosen_accuracy`); so test chooses no method.

    python benchmarks/cifar10_mini.py [PART ...] [--seeds 3] [--data-dir FOLDER] [--quick]

Rows are kept in --out as they come: started again, it goes on with those that are missing.

Summary keys: `test_accuracy_1000_mean`, `test_accuracy_1000_sd`, `n` and `train_seconds_mean` of `chosen`, or of
`tuned` while there are fewer of those, `selection_1000` (by which method), and `tuned_minus_random_1000` (points over
`tuned`); `ancestor_vgg8_reproduced` (test accuracy of their VGG-8, unchanged); `best_selection_minus_random_1000`
(points of test accuracy, means over the seeds), `best_selection_1000` (which), `choosing_sd_1000` (points: the spread
over seeds, pooled over the methods), and `choosing` (by METHOD@KEPT: mean, sd, n, seconds of choosing).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import groupby, product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from record import record, spread

import scrimp
from scrimp.models.saved import load_model
from scrimp.store import write_whole
from scrimp.subset.selection import METHODS
from scrimp.training.evaluate import predict
from scrimp.training.recipes import few_images

THEIRS: dict[str, Any] = {
    "pretrained": False,
    "epochs": 50,
    "batch_size": 64,
    "optimiser": "sgd",
    "lr": 1e-3,
    "weight_decay": 0.0,
    "schedule": "constant",
    "augment": "none",
    "keep": "last",
}
ANCESTORS: list[dict[str, Any]] = [
    {"model": "vgg8"},
    {"model": "vgg8", "augment": "basic"},
    {"model": "vgg8", "dropout": 0.5},
    {"model": "vgg8", "weight_decay": 5e-4},
    {"model": "vgg8", "optimiser": "adam"},
    {"model": "vgg8", "optimiser": "adam", "augment": "basic", "dropout": 0.5},
    {"model": "vgg8_two", "optimiser": "adam"},
    {"model": "resnet18"},
    {"model": "resnet18", "optimiser": "adam", "augment": "basic"},
    {"model": "vgg16", "optimiser": "adam", "lr": 1e-4},
]
KEEPS = (100, 500, 1000)


def wanted(part: str, seeds: int, best: str) -> Iterator[dict[str, Any]]:
    """What is to be run in a part: name, selection and recipe. best: the method of `chosen`."""
    match part:
        case "ancestor":
            for changes in ANCESTORS:
                name = "-".join(str(value) for value in changes.values())
                yield {"name": name, "selection": {"method": "random", "keep": 1000}, "recipe": THEIRS | changes}
        case "tuned" | "chosen":
            how = {"method": best, "features": "trained"} if part == "chosen" else {"method": "random"}
            for seed in range(seeds):
                recipe = few_images(seed=seed).model_dump(exclude_unset=True)
                yield {"name": f"{seed}", "selection": how | {"keep": 1000, "seed": seed}, "recipe": recipe}
        case _:
            for keep, seed, method in product(KEEPS, range(seeds), METHODS):
                recipe = few_images("ultralight", seed=seed, epochs=100).model_dump(exclude_unset=True)
                selection = {"method": method, "keep": keep, "features": "trained", "seed": seed}
                yield {"name": f"{method}-{keep}-{seed}", "selection": selection, "recipe": recipe}


def one_run(images: scrimp.Images, asked: dict[str, Any], out: Path) -> dict[str, Any]:
    """Chooses, trains and tests once."""
    kept = scrimp.select(images, **asked["selection"])
    if (out / "result.json").is_file():
        run = scrimp.load_run(out)
    else:
        run = scrimp.measure(scrimp.train(scrimp.prepare(kept, image_px=32), scrimp.Recipe(**asked["recipe"]), out=out))
    assert run.test is not None
    return asked | {
        "test_accuracy": run.test.merit,
        "unchosen_accuracy": unchosen_accuracy(images, kept, out),
        "choosing_seconds": kept.choosing.seconds,
        "objective": kept.objective,
        "train_seconds": run.costs["train"].seconds,
        "train_wh": run.costs["train"].wh,
        "train_loss": run.history[-1].train_loss,
    }


def unchosen_accuracy(images: scrimp.Images, kept: scrimp.Images, out: Path) -> float:
    """Of the network in a run folder, on up to 5,000 training images that are not among those kept."""
    learnt = {kept.keys[row] for row in kept.rows("train")}
    others = np.array([row for row in images.rows("train") if images.keys[row] not in learnt])
    others = others[:: -(-len(others) // 5000)]
    answers = predict(load_model(out).model, scrimp.prepare(images, image_px=32), others).numpy()
    return float((answers.argmax(1) == images.labels[others]).mean())


def best_of(rows: Sequence[dict[str, Any]]) -> str:
    """The method whose 1,000 images gave the best accuracy on what was not chosen; "random" before any is known."""
    found: dict[str, list[float]] = {"random": []}
    for row in rows:
        if row["part"] == "choosing" and row["selection"]["keep"] == 1000:
            found.setdefault(row["selection"]["method"], []).append(row["unchosen_accuracy"])
    return max(found, key=lambda method: mean(found[method] or [0.0]))


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The headline of the rows so far; None where a part is missing."""
    parts = {part: [row for row in rows if row["part"] == part] for part in ("ancestor", "tuned", "choosing", "chosen")}
    by_chance = [row["test_accuracy"] for row in parts["tuned"]]
    headline = parts["chosen"] if len(parts["chosen"]) >= len(by_chance) else parts["tuned"]
    tuned = [row["test_accuracy"] for row in headline]
    table = choosing(parts["choosing"])
    at_1000 = {name.removesuffix("@1000"): one for name, one in table.items() if name.endswith("@1000")}
    best = max(at_1000, key=lambda name: at_1000[name]["mean"], default=None)
    spreads = [one["sd"] ** 2 for one in at_1000.values() if one["sd"] is not None]
    return {
        "test_accuracy_1000_mean": mean(tuned) if tuned else None,
        "test_accuracy_1000_sd": stdev(tuned) if len(tuned) > 1 else None,
        "n": len(tuned),
        "train_seconds_mean": mean(row["train_seconds"] for row in headline) if tuned else None,
        "selection_1000": headline[0]["selection"]["method"] if tuned else None,
        "tuned_minus_random_1000": 100 * (mean(tuned) - mean(by_chance)) if by_chance else None,
        "ancestor_vgg8_reproduced": next((r["test_accuracy"] for r in parts["ancestor"] if r["name"] == "vgg8"), None),
        "best_selection_1000": best,
        "best_selection_minus_random_1000": (
            100 * (at_1000[best]["mean"] - at_1000["random"]["mean"]) if best and "random" in at_1000 else None
        ),
        "choosing_sd_1000": 100 * mean(spreads) ** 0.5 if spreads else None,
        "choosing": table,
    }


def choosing(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean, spread and number of test accuracies, and seconds of choosing, by "METHOD@KEPT"."""

    def place(row: dict[str, Any]) -> tuple[int, int]:
        return KEEPS.index(row["selection"]["keep"]), list(METHODS).index(row["selection"]["method"])

    table = {}
    for _, group in groupby(sorted(rows, key=place), key=place):
        some = list(group)
        accuracies = [row["test_accuracy"] for row in some]
        table[f"{some[0]['selection']['method']}@{some[0]['selection']['keep']}"] = {
            **spread(accuracies),
            "seconds": mean(row["choosing_seconds"] for row in some),
        }
    return table


def main() -> None:
    """One run after the other, recorded after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", default=["tuned", "ancestor", "choosing", "chosen"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data-dir", help="folder that holds CIFAR-10")
    parser.add_argument("--out", type=Path, default=Path("runs/cifar10_mini"), help="rows that lie here are kept")
    parser.add_argument("--quick", action="store_true", help="one epoch of one run a part, on 2,000 images")
    asked = parser.parse_args()
    images = scrimp.find_images(
        "cifar10", data_dir=asked.data_dir, val_fraction=0.002, per_class=200 if asked.quick else None
    )
    out = asked.out / "quick" if asked.quick else asked.out
    for part in asked.parts:
        best = best_of([json.loads(path.read_bytes()) for path in sorted((out / "rows").glob("*.json"))])
        for one in list(wanted(part, asked.seeds, best))[: 1 if asked.quick else None]:
            if asked.quick:
                one["recipe"] |= {"epochs": 1}
                one["selection"] |= {"features": "pixels"}
            kept = out / "rows" / f"{part}-{one['name']}.json"
            if not kept.is_file():
                row = one_run(images, one, out / part / one["name"])
                write_whole(kept, json.dumps({"part": part} | row).encode())
            rows = [json.loads(path.read_bytes()) for path in sorted((out / "rows").glob("*.json"))]
            record("cifar10_mini", rows, summarise(rows), quick=asked.quick)


if __name__ == "__main__":
    main()
