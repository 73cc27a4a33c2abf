"""Does the search for max-sum diversity reach the best values known, and what are 10,000 random draws beside it?

Instances of the maximum diversity problem in the text format of MDPLIB, the library of the Optsicom project: `n m`,
then a line `i j distance` for each pair, counted from 0 or 1. Best values known are read from `best_found.tsv` beside a
file, if it is there (name, tab, value). Then CIFAR-10, where it is at hand: 100 training images a class by their
pixels' principal components, once by the best of 10,000 random draws and once by the search, class by class.

    python benchmarks/diversity.py [FILE ...] [--seconds 10] [--seed 0] [--json] [--data-dir FOLDER] [--quick]

Without files, those of SCRIMP_DATA/maximum-diversity. `--seconds`: for each file; by default a 25th of n, 2 to 60.
`--json`: rows and summary as one document on stdout. `--quick`: at most 2 seconds a file, and two classes of CIFAR-10.

Summary keys: `max_gap` (the largest of (best known - value) / best known; 0 is as good, below 0 better),
`vs_10000_draws_objective` (sum of distances found by the search over that of the best draws),
`vs_10000_draws_time` (seconds until the search was better than the best of the draws, over those of the draws); None
where nothing was measured. Features are on neither bill.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from record import record

from scrimp.errors import NotFound, ScrimpError
from scrimp.images import find_images
from scrimp.subset.chance import best_draw
from scrimp.subset.dispersion import Cosine, Table, max_sum
from scrimp.subset.features import PIXELS, see
from scrimp.subset.pool import Pool, unit

KEEP = 100  # images a class of CIFAR-10
MOVES = 2_000


def read_instance(path: Path) -> tuple[npt.NDArray[np.float64], int]:
    """The table of distances (n, n) of a file, and how many things are to be chosen."""
    numbers = path.read_text().split()
    try:
        n, m = int(numbers[0]), int(numbers[1])
        lines = np.array(numbers[2:], dtype=np.float64).reshape(-1, 3)
    except (ValueError, IndexError) as error:
        raise ScrimpError(f"'{path}' is no instance: 'n m', then lines 'i j distance' are wanted; {error}.") from None
    ends = lines[:, :2].astype(np.int64)
    ends -= int(ends.max(initial=0) == n and ends.min(initial=n) == 1)  # some count from 1
    if not 1 <= m <= n or len(lines) < n * (n - 1) // 2 or ends.min(initial=0) < 0 or ends.max(initial=0) >= n:
        raise ScrimpError(f"'{path}' is no instance of {m:,} out of {n:,}: it has {len(lines):,} distances.")
    table = np.zeros((n, n))
    table[ends[:, 0], ends[:, 1]] = table[ends[:, 1], ends[:, 0]] = lines[:, 2]
    return table, m


def best_known(path: Path) -> float | None:
    """From the table beside a file."""
    table = path.parent / "best_found.tsv"
    if not table.is_file():
        return None
    known = dict(line.split("\t")[:2] for line in table.read_text().splitlines() if "\t" in line)
    return float(known[path.name]) if path.name in known else None


def solved(path: Path, seconds: float | None, seed: int) -> dict[str, Any]:
    """One instance."""
    table, m = read_instance(path)
    n, best = len(table), best_known(path)
    found = max_sum(Table(table), m, seconds=seconds or min(max(n / 25, 2), 60), seed=seed)
    gap = None if best is None else round((best - found.value) / best, 9)
    row = {"what": "instance", "name": path.name, "n": n, "m": m, "seed": seed, "value": found.value}
    row |= {"best_known": best, "gap": gap, "seconds_to_value": found.trace[-1][0], "moves": found.moves}
    told = "unknown" if best is None else f"{best:,.5f}, gap {gap:.2e}"
    seconds_to_value = found.trace[-1][0]
    print(f"{path.name}: {found.value:,.5f} after {seconds_to_value:.2f} s; best known: {told}", file=sys.stderr)
    return row


def against_draws(data_dir: str | None, seed: int, *, quick: bool) -> list[dict[str, Any]]:
    """A row for each class of CIFAR-10; none where it is not at hand."""
    try:
        images = find_images("cifar10", data_dir=data_dir)
    except NotFound as error:
        print(error, file=sys.stderr)
        return []
    seen = see(images, PIXELS, None)
    features, labels = unit(seen.values), images.labels[seen.rows]
    rows = []
    for label, name in enumerate(images.classes[: 2 if quick else None]):
        some = np.ascontiguousarray(features[labels == label])
        keys = tuple(map(str, range(len(some))))
        pool = Pool(keys=keys, features=some, scores=np.empty(0, dtype=np.float32))
        started = time.perf_counter()
        drawn = best_draw(pool, KEEP, seed).objective
        seconds = time.perf_counter() - started
        found = max_sum(Cosine(some), KEEP, moves=MOVES, seed=seed)
        assert drawn is not None
        better = next((at for at, value in found.trace if value > drawn), None)
        row = {"what": "draws", "name": name, "n": len(some), "m": KEEP, "d": some.shape[1], "seed": seed}
        row |= {"draws_value": drawn, "draws_seconds": seconds, "value": found.value, "seconds_to_better": better}
        rows.append(row | {"seconds_to_value": found.trace[-1][0], "moves": found.moves})
        print(f"{name}: {found.value:,.1f}, best draw {drawn:,.1f} in {seconds:.2f} s", file=sys.stderr)
    return rows


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The largest gap, and the search over the draws."""
    gaps = [row["gap"] for row in rows if row["what"] == "instance" and row["gap"] is not None]
    drawn = [row for row in rows if row["what"] == "draws"]
    never = any(row["seconds_to_better"] is None for row in drawn)

    def total(figure: str) -> float:
        return float(sum(row[figure] for row in drawn))

    return {
        "max_gap": max(gaps) + 0.0 if gaps else None,  # never -0.0
        "vs_10000_draws_objective": total("value") / total("draws_value") if drawn else None,
        "vs_10000_draws_time": total("seconds_to_better") / total("draws_seconds") if drawn and not never else None,
    }


def main() -> None:
    """Solves, compares, records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data-dir", help="folder that holds CIFAR-10; SCRIMP_DATA by default")
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    files = asked.files or sorted((Path(os.environ.get("SCRIMP_DATA", ".")) / "maximum-diversity").glob("*.txt"))
    seconds = min(asked.seconds or 2, 2) if asked.quick else asked.seconds
    try:
        rows = [solved(path, seconds, asked.seed) for path in files]
    except (ScrimpError, OSError) as error:
        sys.exit(f"diversity.py: {error}")
    rows += against_draws(asked.data_dir, asked.seed, quick=asked.quick)
    summary = summarise(rows)
    with redirect_stdout(sys.stderr if asked.json else sys.stdout):
        record("diversity", rows, summary, quick=asked.quick)
    if asked.json:
        print(json.dumps({"rows": rows, "summary": summary}))


if __name__ == "__main__":
    main()
