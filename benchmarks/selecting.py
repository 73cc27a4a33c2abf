"""What does each method of selection take, in seconds and memory, to keep 1,000 of 50,000 images?

Made-up features, (50,000, 512) of ten classes of twenty clusters each, so that nothing but the method is on the bill:
balanced, class by class, and not balanced, all at once. Each method in a process of its own, with the threads that the
environment gives (OMP_NUM_THREADS). Rows that are recorded already are not measured again, unless --anew.

    python benchmarks/selecting.py [METHOD ...] [--anew] [--quick]

`--quick`: 5,000 images, which are kept apart.

Summary keys, by method: `equal_s` and `none_s` (seconds), `equal_mb` and `none_mb` (peak memory of the process, with
the features, in MB); None where it has not been measured.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
from record import RESULTS, record

from scrimp.subset.coverage import pure_radius
from scrimp.subset.pool import Pool, unit
from scrimp.subset.selection import METHODS

CLASSES, D = 10, 512


def one(name: str, balance: str, n: int, keep: int) -> dict[str, Any]:
    """A row: one method, balanced or not."""
    chance = np.random.default_rng(0)
    labels = np.arange(n) % CLASSES
    centres = chance.normal(size=(CLASSES * 20, D)).astype(np.float32)
    values = centres[labels * 20 + chance.integers(20, size=n)]
    for start in range(0, n, 5000):
        values[start : start + 5000] += chance.normal(size=values[start : start + 5000].shape).astype(np.float32)
    features, scores = unit(values), chance.random(n).astype(np.float32)
    groups = [np.flatnonzero(labels == label) for label in range(CLASSES)] if balance == "equal" else [np.arange(n)]
    method = METHODS[name]
    started = time.perf_counter()
    radius = pure_radius(features, labels, 0) if method.needs == "radius" else None
    for group in groups:
        keys = tuple(f"{row:06d}" for row in group)
        some = features[group] if len(groups) > 1 else features
        pool = Pool(keys=keys, features=some, scores=scores[group], radius=radius)
        method.choose(pool, keep // len(groups), 0)
    seconds = time.perf_counter() - started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    row = {"method": name, "balance": balance, "n": n, "d": D, "keep": keep, "threads": threads}
    return row | {"seconds": seconds, "peak_mb": peak_mb}


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Seconds and MB by method, in the order of the table."""
    found = {(row["method"], row["balance"]): row for row in rows}
    return {
        name: {
            f"{balance}_{short}": found[name, balance][figure] if (name, balance) in found else None
            for balance in ("equal", "none")
            for short, figure in (("s", "seconds"), ("mb", "peak_mb"))
        }
        for name in METHODS
    }


def main() -> None:
    """Measures what is missing, and records after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", metavar="METHOD")
    parser.add_argument("--anew", action="store_true")
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    n, keep = (5_000, 100) if asked.quick else (50_000, 1_000)
    path = RESULTS / f"selecting{'.quick' if asked.quick else ''}.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"] if path.is_file() else []
    for name in asked.methods or METHODS:
        for balance in ("equal", "none"):
            before = [row for row in rows if (row["method"], row["balance"]) == (name, balance)]
            if before and not asked.anew:
                continue
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                row = process.submit(one, name, balance, n, keep).result()
            print(row, file=sys.stderr)
            rows = [*(old for old in rows if old not in before), row]
            record("selecting", rows, summarise(rows), quick=asked.quick)


if __name__ == "__main__":
    main()
