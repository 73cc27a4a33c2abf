"""What do a few light models cost and reach on real photos?

Three models at two image sizes, two seeds each, three epochs, from published weights where there are any:
`scrimp sweep` as a user would call it, its runs recorded as they are.

    python benchmarks/light_models.py PHOTOS [--quick] [--out FOLDER]

PHOTOS is any class folder; the recorded figures are of the ten classes of Imagenette at 224 px, 170 training, 30
validation and 50 test photos each. They are part of ImageNet, on which the weights were trained, so that the
accuracies flatter the pretrained models. Summary keys: per candidate its mean and deviation on val and test, its
seconds and watt-hours per run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from record import record

from scrimp.meter import load_run

MODELS = ("mobilenet_v2", "squeezenet1_0", "ultralight")


def main() -> None:
    """Sweeps, reads the runs back and records them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", help="a class folder")
    parser.add_argument("--quick", action="store_true", help="one seed, one size, one epoch")
    parser.add_argument("--out", default="runs/light_models", help="where the runs and the report go")
    asked = parser.parse_args()
    sizes, seeds, epochs = (["96"], "1", "1") if asked.quick else (["96", "160"], "2", "3")
    command = [sys.executable, "-m", "scrimp", "sweep", asked.photos, "--seeds", seeds, "--epochs", epochs]
    command += ["--lr", "5e-4", "--instance", "c5.large", "--out", asked.out, "--json"]
    command += [word for model in MODELS for word in ("--model", model)]
    command += [word for size in sizes for word in ("--image-size", size)]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    rows, summary = [], {}
    for candidate in found["candidates"]:
        costs = {axis: candidate["costs"][axis] for axis in ("seconds", "wh", "usd", "mb", "ms")}
        summary[candidate["name"]] = {"val": candidate["val"], "test": candidate["test"], **costs}
        for folder in candidate["runs"]:
            run = load_run(Path(folder))
            rows.append(
                {
                    "model": run.plan.recipe.model,
                    "image_px": run.plan.preparation.image_px,
                    "seed": run.plan.recipe.seed,
                    "val_accuracy": run.val and run.val.top1,
                    "test_accuracy": run.test and run.test.top1,
                    "seconds": {stage: cost.seconds for stage, cost in run.costs.items()},
                    "cpu_seconds": run.cost.cpu_seconds,
                    "wh": run.cost.wh,
                    "wh_source": run.cost.wh_source,
                    "epoch_seconds": [epoch.seconds for epoch in run.history],
                    "peak_memory_mb": run.peak_memory_mb,
                }
            )
    record("light_models", rows, summary, quick=asked.quick)


if __name__ == "__main__":
    main()
