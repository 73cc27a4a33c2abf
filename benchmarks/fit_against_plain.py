"""Does `scrimp fit` keep its budget, and beat every single model of its list given the same time?

On 5,000 images of CIFAR-10 (500 a class; 4,250 to train on, 750 to choose by, the whole test split to report on), two
fits of five minutes, measured from outside as whole processes; against each model of the list trained alone by the
plain recipe: Adam, learning rate 1e-4, batch 32, no augmentation, the best epoch on val kept; once for its 10 epochs,
cut off at five minutes, and once for as many epochs as five minutes hold. Rows are recorded as they come: started
again, it goes on with those that are missing.

    python benchmarks/fit_against_plain.py [--quick] [--data-dir FOLDER]

Summary keys: `fit_test_accuracy` (mean of the fits), `best_plain_test_accuracy`, `best_plain_model`,
`gain_over_best_plain` (points), `budget_used` (largest part of the budget that a fit took, as a fraction).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from record import record

from scrimp.fitting.candidates import FROM_SCRATCH
from scrimp.store import write_whole

PLAIN = ["--from-scratch", "--lr", "1e-4", "--batch-size", "32", "--augment", "none"]
PLAIN += ["--set", "recipe.optimiser=adam", "--set", "recipe.schedule=constant", "--set", "recipe.weight_decay=0"]
ENDLESS = 100_000  # epochs: the clock ends the training


def scrimp(*arguments: str) -> tuple[dict[str, Any], float]:
    """What a command prints as JSON, and its wall-clock seconds from start to end."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "scrimp", *arguments, "--json"], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout), time.perf_counter() - start


def fit_row(images: list[str], budget_s: int, seed: int, out: Path) -> dict[str, Any]:
    """One fit as a whole process."""
    found, seconds = scrimp(
        "fit", *images, "--budget", f"{budget_s}s", "--seed", str(seed), "--out", str(out / f"fit{seed}")
    )
    winner = next(row for row in found["candidates"] if row["wins"])
    return {
        "what": "fit",
        "seed": seed,
        "winner": winner["name"],
        "seconds": seconds,
        "val_accuracy": found["val"]["mean"],
        "test_accuracy": found["test"]["mean"],
        "story": found["story"],
    }


def plain_row(images: list[str], budget_s: int, model: str, epochs: int, out: Path) -> dict[str, Any]:
    """One model by the plain recipe, cut off when the budget is spent."""
    limit = f"recipe.max_seconds={budget_s}"
    options = ["--model", model, "--image-size", "32", "--epochs", str(epochs), "--set", limit, *PLAIN]
    options += ["--out", str(out / f"{model}-{epochs}")]
    run, seconds = scrimp("train", *images, *options)
    return {
        "what": "plain",
        "model": model,
        "seconds": seconds,
        "epochs_asked": epochs,
        "epochs": len(run["history"]),
        "val_accuracy": run["val"]["top1"],
        "test_accuracy": run["test"]["top1"],
    }


def main() -> None:
    """Runs fits and plain trainings one after the other, and records them after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="40 s instead of five minutes, 1,000 images")
    parser.add_argument("--data-dir", help="folder that holds CIFAR-10")
    parser.add_argument("--out", default="runs/fit_against_plain", help="rows that lie here are not measured again")
    asked = parser.parse_args()
    budget_s, per_class, fits = (40, 100, 1) if asked.quick else (300, 500, 2)
    images = ["cifar10", "--per-class", str(per_class)] + (["--data-dir", asked.data_dir] if asked.data_dir else [])
    out = Path(asked.out)
    todo: list[tuple[str, Callable[[], dict[str, Any]]]] = [("fit0", partial(fit_row, images, budget_s, 0, out))]
    for epochs in (10, ENDLESS):
        for model in FROM_SCRATCH:
            todo.append((f"plain-{model}-{epochs}", partial(plain_row, images, budget_s, model, epochs, out)))
    todo += [(f"fit{seed}", partial(fit_row, images, budget_s, seed, out)) for seed in range(1, fits)]
    rows = []
    for name, measure in todo:
        kept = out / f"{name}.json"
        if not kept.is_file():
            write_whole(kept, json.dumps(measure()).encode())
        rows.append(json.loads(kept.read_bytes()))
        if any(row["what"] == "plain" for row in rows):
            record("fit_against_plain", rows, summary_of(rows, budget_s), quick=asked.quick)


def summary_of(rows: list[dict[str, Any]], budget_s: int) -> dict[str, Any]:
    """The headline of the rows so far."""
    best = max((row for row in rows if row["what"] == "plain"), key=lambda row: row["test_accuracy"])
    ours = [row for row in rows if row["what"] == "fit"]
    accuracy = sum(row["test_accuracy"] for row in ours) / len(ours)
    return {
        "fit_test_accuracy": accuracy,
        "best_plain_test_accuracy": best["test_accuracy"],
        "best_plain_model": best["model"],
        "gain_over_best_plain": 100 * (accuracy - best["test_accuracy"]),
        "budget_used": max(row["seconds"] for row in ours) / budget_s,
    }


if __name__ == "__main__":
    main()
