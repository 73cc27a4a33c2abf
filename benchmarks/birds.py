"""How much of VGG16's accuracy does the ultra-light network keep, for what part of its energy and its size?

Both from random weights, on the same 1,000 training images of ten classes, 100 each, drawn by the seed, at 64 pixels;
cropped and mirrored at random, Adam, one cycle, as many epochs for both, each at its own learning rate. The best epoch
on val is kept, and the whole test split is looked at once a run.

    python benchmarks/birds.py FOLDER [--quick] [--image-size 64] [--epochs 30] [--seeds 3] [--out FOLDER]

FOLDER: images in class folders; imagenette-224 for the figures that are kept, which stands in for the birds of the
study. Rows are kept in --out as they come: started again, it goes on with those that are missing. `--quick`: two epochs
of 10 images a class, one seed.

Summary keys: `ultralight_vs_vgg16_accuracy`, `_energy` and `_size` (ultralight over vgg16: test accuracy and the energy
of training, means over the seeds that both have, and megabytes of the file), `n`, and by model `test_accuracy_mean`,
`test_accuracy_sd`, `train_wh`, `train_seconds` and `mb`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from record import record

import scrimp
from scrimp.cost import warm_up_sensor
from scrimp.store import write_whole
from scrimp.sweeping import run_plan

LEARNING_RATES = {"ultralight": 3e-3, "vgg16": 1e-4}


def one_run(model: str, seed: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Trained and measured."""
    images = scrimp.ImageSource(source=str(asked.folder))
    each = 10 if asked.quick else 100
    plan = scrimp.Plan(
        images=images,
        selection=scrimp.Selection(keep=each * len(scrimp.find_images(images).classes), seed=seed),
        preparation=scrimp.Preparation(image_px=asked.image_size),
        recipe=scrimp.Recipe(
            model=model,
            pretrained=False,
            epochs=2 if asked.quick else asked.epochs,
            batch_size=32,
            optimiser="adam",
            lr=LEARNING_RATES[model],
            schedule="one-cycle",
            augment="crop,mirror",
            seed=seed,
        ),
    )
    run = run_plan(plan, Path(asked.out) / plan.name)
    assert run.status == "finished", run.reason
    assert run.val is not None
    assert run.test is not None
    assert run.size is not None
    return {
        "data": asked.folder.name,
        "model": model,
        "seed": seed,
        "val_top1": run.val.top1,
        "test_top1": run.test.top1,
        "train_wh": run.costs["train"].wh,
        "train_s": run.costs["train"].seconds,
        "train_cpu_s": run.costs["train"].cpu_seconds,
        "peak_memory_mb": run.peak_memory_mb,
        "mb": run.size.mb,
        "notes": list(run.notes),
    }


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Each model over the seeds that both have, and one over the other."""
    by = {(row["model"], row["seed"]): row for row in rows}
    seeds = [seed for model, seed in by if model == "vgg16" and ("ultralight", seed) in by]
    summary: dict[str, Any] = {"n": len(seeds)}
    if not seeds:
        return summary
    for model in LEARNING_RATES:
        own = [by[model, seed] for seed in seeds]
        accuracies = [row["test_top1"] for row in own]
        known = all(row["train_wh"] is not None for row in own)
        summary[model] = {
            "test_accuracy_mean": mean(accuracies),
            "test_accuracy_sd": stdev(accuracies) if len(own) > 1 else None,
            "train_wh": mean(row["train_wh"] for row in own) if known else None,
            "train_seconds": mean(row["train_s"] for row in own),
            "mb": own[0]["mb"],
        }
    light, heavy = summary["ultralight"], summary["vgg16"]
    for key, figure in (("accuracy", "test_accuracy_mean"), ("energy", "train_wh"), ("size", "mb")):
        both = light[figure] is not None and heavy[figure] is not None
        summary[f"ultralight_vs_vgg16_{key}"] = light[figure] / heavy[figure] if both else None
    return summary


def main() -> None:
    """One run after the other, recorded after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/birds"), help="rows that lie here are kept")
    parser.add_argument("--quick", action="store_true", help="two epochs of 10 images a class, one seed")
    asked = parser.parse_args()
    asked.out = asked.out / "quick" if asked.quick else asked.out
    warm_up_sensor()
    for seed in range(1 if asked.quick else asked.seeds):
        for model in LEARNING_RATES:
            kept = asked.out / "rows" / f"{model}-{seed}.json"
            if not kept.is_file():
                write_whole(kept, json.dumps(one_run(model, seed, asked)).encode())
            rows = [json.loads(path.read_bytes()) for path in sorted((asked.out / "rows").glob("*.json"))]
            record("birds", rows, summarise(rows), quick=asked.quick)


if __name__ == "__main__":
    main()
