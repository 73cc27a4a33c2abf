"""Does a Ray cluster get more runs done, and does it lose any when a node dies?

`speedup`: a sweep of equal runs, first here, one after the other on all cores, then on a cluster of two nodes with half
of the cores each. Both are timed from the call of `sweep` to its end; the cluster stands already, and Python too, but
the processes that do the runs are started within. `killed`: the same sweep on a head and three nodes, one of which is
killed, its processes and all, as soon as a checkpoint of one of its runs has come home.

    python benchmarks/cluster.py --out FOLDER [--source digits] [--runs 8] [--epochs 40] [--quick]

The name is not that of the library, which would hide it. `--quick`: four short runs each.

Summary keys: `ray_speedup` (runs per hour on the cluster over those here), `killed_node_lost_runs` (runs that did not
end well, of `killed_runs`), `killed_taken_up` (runs that went on on another node).
"""

from __future__ import annotations

import argparse
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import torch
from record import record

from scrimp.cost import shared_sensor
from scrimp.meter import Run
from scrimp.plan import Plan
from scrimp.sweeping import Shelf, sweep, vary

Row = dict[str, Any]


def plans_of(asked: argparse.Namespace) -> list[Plan]:
    """Equal runs that differ in their seed."""
    base = {
        "images": {"source": asked.source},
        "preparation": {"image_px": 32},
        "recipe": {"model": "ultralight", "epochs": asked.epochs, "batch_size": 64, "lr": 5e-3},
    }
    return vary(base, {"recipe.seed": list(range(asked.runs))})


def timed(plans: list[Plan], out: Path, on: str) -> Row:
    """A sweep into an empty folder."""
    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    runs = sweep(plans, out, on=on)
    seconds = time.perf_counter() - start
    ended = [run.status for run in runs]
    return {
        "on": on,
        "runs": len(runs),
        "seconds": seconds,
        "runs_per_hour": len(runs) / seconds * 3600,
        "ended": ended,
    }


def on_cluster(cpus: list[int], work: Any) -> Any:
    """work(cluster, nodes) on a cluster of this machine with an empty head and nodes of so many cores."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - its name; 15 is for machines on which somebody works
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=count) for count in cpus]
    cluster.connect()
    try:
        return work(cluster, nodes)
    finally:
        ray.shutdown()
        cluster.shutdown()


def killed(plans: list[Plan], out: Path, cluster: Any, nodes: list[Any]) -> Row:
    """A sweep, one node of which is killed once all nodes are at work and something has come home from each."""
    shutil.rmtree(out, ignore_errors=True)
    runs: list[Run] = []
    sweeping = threading.Thread(target=lambda: runs.extend(sweep(plans, out, on="ray")))
    sweeping.start()
    while sweeping.is_alive() and len(list(out.glob("*/checkpoint.pt"))) < min(len(plans), len(nodes)):
        time.sleep(0.01)
    cluster.remove_node(nodes[0], allow_graceful=False)
    sweeping.join()
    well = [run for run in runs if run.status == "finished" and run.history[-1].epoch == run.plan.recipe.epochs]
    taken_up = sum("had died" in note for run in runs for note in run.notes)
    return {"on": "killed", "asked": len(plans), "ended": len(well), "taken_up": taken_up}


def main() -> None:
    """All of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--source", default="digits")
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    if asked.quick:
        asked.runs, asked.epochs = 4, 10  # so that none of the three nodes stands idle when it is killed
    plans, cores = plans_of(asked), os.cpu_count() or 1
    shared_sensor()
    Shelf().ready(plans[0])  # packed before any clock runs
    torch.set_num_threads(cores)
    here = timed(plans, asked.out / "here", "here")
    half = max(1, cores // 2)
    there = on_cluster([half, half], lambda *_: timed(plans, asked.out / "ray", "ray"))
    plans = [plan.but(recipe=plan.recipe.but(epochs=2 * asked.epochs)) for plan in plans]
    dead = on_cluster([1, 1, 1], lambda *of: killed(plans, asked.out / "killed", *of))
    rows = [here, there, dead]
    summary = {
        "ray_speedup": there["runs_per_hour"] / here["runs_per_hour"],
        "killed_node_lost_runs": dead["asked"] - dead["ended"],
        "killed_runs": dead["asked"],
        "killed_taken_up": dead["taken_up"],
    }
    record("cluster", rows, summary, quick=asked.quick)


if __name__ == "__main__":
    main()
