"""What does each preset make of published weights, and in what time?

mobilenet_v2 by `quick`, `frugal` and `thorough` on stanford-dogs-10 (cut to their boxes), imagenette-224 and 5,000
images of CIFAR-10 (500 a class, and the whole test split), as time_to_accuracy.py has them: each a whole process with
nothing in its cache, published weights where TORCH_HOME says. Rows are kept as they come: started again, it goes on
with those that are missing.

    python benchmarks/presets.py [--data NAME] [--seeds 0 1 2] [--data-dir FOLDER] [--out FOLDER] [--quick]

Summary keys: `DATA.PRESET`, with `mean`, `sd` (None for one) and `n` of test accuracy, and `seconds`, the mean of the
process without looking at the test split.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from statistics import mean
from typing import Any

from record import record, spread
from time_to_accuracy import DATA, run_scrimp, words_of

from scrimp.store import write_whole

PRESETS = ["quick", "frugal", "thorough"]
MODEL = "mobilenet_v2"


def one_run(data: str, preset: str, seed: int, data_dir: str, *, quick: bool) -> dict[str, Any]:
    """A whole process of `scrimp train`."""
    source = data if data == "cifar10" else str(Path(data_dir) / data)
    options = DATA[data] | ({"per_class": 8} if quick else {})
    given = [*words_of(source, options, data_dir), "--model", MODEL, "--seed", str(seed), "--recipe", preset]
    return run_scrimp([*given, "--epochs", "1"] if quick and preset == "thorough" else given, Path())


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The headline of the rows so far."""
    summary = {}
    for data, preset in dict.fromkeys((row["data"], row["preset"]) for row in rows):
        some = [row for row in rows if (row["data"], row["preset"]) == (data, preset)]
        accuracies = [row["test_accuracy"] for row in some]
        summary[f"{data}.{preset}"] = {
            **spread(accuracies),
            "seconds": mean(row["seconds"] - row["bill"]["measure"]["seconds"] for row in some),
        }
    return summary


def main() -> None:
    """Goes over seeds, data and presets, and records after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", choices=list(DATA), help="instead of all; may be repeated")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data-dir", default=os.environ.get("SCRIMP_DATA"), help="folder that holds the data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/presets"), help="rows that lie here are kept")
    parser.add_argument("--quick", action="store_true", help="dogs alone, 8 images a class, one seed")
    asked = parser.parse_args()
    if not asked.data_dir:
        parser.error("no data: give --data-dir, or set SCRIMP_DATA")
    rows = []
    for seed in asked.seeds[:1] if asked.quick else asked.seeds:
        for data in ["stanford-dogs-10"] if asked.quick else asked.data or DATA:
            for preset in PRESETS:
                file = asked.out / f"{'quick-' if asked.quick else ''}{data}-{preset}-{seed}.json"
                if not file.is_file():
                    row = one_run(data, preset, seed, asked.data_dir, quick=asked.quick)
                    write_whole(file, json.dumps(row).encode())
                rows.append({"data": data, "preset": preset, "seed": seed} | json.loads(file.read_bytes()))
                record("presets", rows, summarise(rows), quick=asked.quick)


if __name__ == "__main__":
    main()
