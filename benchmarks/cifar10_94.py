"""How long does it take to learn CIFAR-10 to 94 % from nothing?

All 50,000 training images but the few that are kept to look at (500 for val), the preset `from_scratch_small` as it
stands, one whole process per seed, from the images on; test accuracy on all 10,000 test images, which choose nothing.
Rows are recorded as they come: started again, it goes on with the seeds that are missing.

    python benchmarks/cifar10_94.py [--seeds 3] [--data-dir FOLDER] [--quick]

Summary keys: `test_accuracy_mean`, `test_accuracy_sd` (None for one seed), `seconds_mean` (of the whole process),
`train_seconds_mean` (of training alone), `cpu_seconds_mean`, `n`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from record import record

from scrimp.store import write_whole


def one_run(seed: int, asked: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Trains once as a whole process, and says what came out and what it took."""
    command = [sys.executable, "-m", "scrimp", "train", "cifar10", "--recipe", "from_scratch_small", "--json"]
    command += ["--seed", str(seed), "--image-size", "32", "--set", "images.val_fraction=0.01", "--out", str(out)]
    command += ["--data-dir", asked.data_dir] if asked.data_dir else []
    command += ["--per-class", "100", "--epochs", "1"] if asked.quick else []
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    run = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seed": seed,
        "seconds": seconds,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "train_seconds": run["costs"]["train"]["seconds"],
        "wh": run["costs"]["train"]["wh"],
        "test_accuracy": run["test"]["top1"],
        "val_accuracy": run["val"]["top1"],
        "history": run["history"],
        "recipe": run["plan"]["recipe"],
    }


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The headline of the seeds so far."""
    accuracies = [row["test_accuracy"] for row in rows]
    return {
        "test_accuracy_mean": mean(accuracies),
        "test_accuracy_sd": stdev(accuracies) if len(rows) > 1 else None,
        "seconds_mean": mean(row["seconds"] for row in rows),
        "train_seconds_mean": mean(row["train_seconds"] for row in rows),
        "cpu_seconds_mean": mean(row["cpu_seconds"] for row in rows),
        "n": len(rows),
    }


def main() -> None:
    """One seed after the other, recorded after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data-dir", help="folder that holds CIFAR-10")
    parser.add_argument("--out", type=Path, default=Path("runs/cifar10_94"), help="rows that lie here are kept")
    parser.add_argument("--quick", action="store_true", help="1,000 images, one epoch, one seed")
    asked = parser.parse_args()
    rows = []
    for seed in range(1 if asked.quick else asked.seeds):
        kept = asked.out / f"{'quick-' if asked.quick else ''}{seed}.json"
        if not kept.is_file():
            write_whole(kept, json.dumps(one_run(seed, asked, asked.out / f"seed{seed}")).encode())
        rows.append(json.loads(kept.read_bytes()))
        record("cifar10_94", rows, summarise(rows), quick=asked.quick)


if __name__ == "__main__":
    main()
