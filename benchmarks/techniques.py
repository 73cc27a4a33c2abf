"""What does each technique of a recipe buy in accuracy, and what does it take in seconds, memory and energy?

The studies `studies/techniques.toml` (a small network from scratch) and `studies/techniques_pretrained.toml`
(mobilenet_v2 from published weights, which lie where TORCH_HOME says), both on a part of CIFAR-10: the base alone, with
each technique, with all of them, and with all but one, over three seeds, each run in a process of its own. The same as
`scrimp sweep --plan`; runs that lie in the folder already are not made again, and it records after each study.

    python benchmarks/techniques.py [--quick] [--study NAME] [--data-dir FOLDER] [--out FOLDER]

`--quick`: the first study with two seeds, two epochs and two techniques.

Summary keys: `STUDY.TECHNIQUE.ADDED_TO` (ADDED_TO: "the base", or "all others"), each with `val`, `test`, `seconds`,
`wh`, `memory`, `gpu_memory` and `ms`, and of these `without` (mean of the runs without it), `mean` and `sd` of the
differences between runs of the same seed, `n` pairs of `seeds`, and `verdict`. Rows: every run, its val and test as it
ended and the bill of its training.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from record import record

from scrimp.cost import warm_up_sensor
from scrimp.meter import Run
from scrimp.settings import read_toml
from scrimp.sweeping import sweep
from scrimp.techniques import FIGURES, Effect, Trial, by_technique, effects, one_at_a_time, plans_of

STUDIES = Path(__file__).parents[1] / "studies"
NAMES = ["techniques", "techniques_pretrained"]
QUICK = ("one_cycle", "muon")
TOLD = ("without", "mean", "sd", "n", "seeds", "verdict")


def trials_of(name: str, data_dir: str | None, *, quick: bool) -> list[Trial]:
    """The trials of a study, or of the part of it that fits into a minute."""
    tables = read_toml(STUDIES / f"{name}.toml")
    axes, techniques, alternatives = (tables.pop(part, {}) for part in ("vary", "techniques", "alternatives"))
    if data_dir:
        tables["images"]["data_dir"] = data_dir
    if quick:
        tables["recipe"]["epochs"] = 2
        axes, techniques, alternatives = {"recipe.seed": [0, 1]}, {name: techniques[name] for name in QUICK}, {}
    return one_at_a_time(tables, techniques, axes, alternatives)


def rows_of(study: str, trials: Sequence[Trial], runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The raw figures of each run."""
    made = {run.plan.name: run for run in runs}
    return [
        {
            "study": study,
            "what": trial.name,
            "seed": trial.plan.recipe.seed,
            "status": run.status,
            "reason": run.reason,
            "cpu_seconds": run.costs["train"].cpu_seconds,
            **{name: figure.read(run) for name, figure in FIGURES.items()},
        }
        for trial in trials
        if (run := made.get(trial.plan.name))
    ]


def summary_of(found: Sequence[Effect]) -> dict[str, Any]:
    """By technique and what it was added to: its effect on each figure that is known."""
    told: dict[str, Any] = {}
    for (technique, added_to), figures in by_technique(found).items():
        told.setdefault(technique, {})[added_to] = {
            name: {key: getattr(effect, key) for key in TOLD} for name, effect in figures.items()
        }
    return told


def main() -> None:
    """Runs the studies one after the other, and records them after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="about a minute")
    parser.add_argument("--study", action="append", choices=NAMES, help="this one alone; may be repeated")
    parser.add_argument("--data-dir", help="folder that holds CIFAR-10")
    parser.add_argument("--out", default="runs", help="runs that lie here are not made again")
    asked = parser.parse_args()
    names = NAMES[:1] if asked.quick else asked.study or NAMES
    warm_up_sensor()
    rows: list[dict[str, Any]] = []
    summary: dict[str, Any] = {}
    for name in names:
        trials = trials_of(name, asked.data_dir, quick=asked.quick)
        runs = sweep(plans_of(trials), Path(asked.out) / name, apart=True)
        rows += rows_of(name, trials, runs)
        summary[name] = summary_of(effects(trials, runs))
        record("techniques", rows, summary, quick=asked.quick)
        if runs[-1].status == "interrupted":
            break


if __name__ == "__main__":
    main()
