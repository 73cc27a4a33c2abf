"""Figures of the studies, and of another framework."""

from __future__ import annotations

import tomllib
from collections.abc import Callable

from figures.recorded import ROOT, as_table, results, where

STUDY_LEFT_OUT = ("money", "model", "test against the first")


def study(name: str) -> Callable[[], str]:
    """What became of the claims of a study, and its figures, once they are recorded."""

    def told() -> str:
        path = ROOT / "benchmarks" / "results" / f"study_{name.replace('-', '_')}.json"
        if not path.is_file():
            content = tomllib.loads((ROOT / "studies" / f"{name.replace('-', '_')}.toml").read_text(encoding="utf-8"))
            rows = [(claim["says"], claim["theirs"], "not tested here", "not run yet") for claim in content["claims"]]
            return as_table(("claim", "theirs", "here", "ours"), rows)
        found = results(path.stem)
        summary = found["summary"]
        rows = [(claim["says"], claim["theirs"], claim["verdict"], claim["ours"]) for claim in summary["claims"]]
        lines = [as_table(("claim", "theirs", "here", "ours"), rows), ""]
        if summary["quick"]:
            quick = "Figures of a `--quick` run, made beside other work: it shows that all runs, and judges no claim."
            lines += [quick, ""]
        if summary["without"]:
            lines += [f"Without {', '.join(summary['without'])}: their published weights could not be had there.", ""]
        for table in summary["tables"].values():
            kept = [column for column in table["columns"] if column not in STUDY_LEFT_OUT]
            cells = [[row[table["columns"].index(column)] for column in kept] for row in table["rows"]]
            lines += [f"**{table['title']}**", "", as_table(kept, cells), ""]
        data = ", ".join(summary["data"])
        lines += [f"Images: {data}; {summary['seconds'] / 60:.0f} min in all. {where(found)}. Raw figures:"]
        return "\n".join([*lines, f"[{path.name}](../../benchmarks/results/{path.name})."])

    return told


def frameworks() -> str:
    """PyTorch beside Keras, once that is recorded."""
    if not (ROOT / "benchmarks" / "results" / "frameworks.json").is_file():
        return "Not recorded yet: `python benchmarks/frameworks.py --keras PYTHON` does so."
    found = results("frameworks")
    rows = []
    for key, told in found["summary"].items():
        name, _, framework = key.partition(".")
        if isinstance(told, dict):
            accuracies = ", ".join(f"{100 * one:.1f} %" for one in told["test_accuracy"])
            seconds = f"{told['epoch_s']:.1f} s", f"{told['first_epoch_s']:.1f} s"
            rows.append((name, framework, *seconds, f"{told['peak_mb']:,.0f} MB", accuracies))
    differ = max(max(told) for told in found["summary"].values() if isinstance(told, list))
    first = found["rows"][0]
    return "\n".join(
        [
            as_table(("network", "framework", "one epoch", "the first epoch", "peak memory", "test, by seed"), rows),
            "",
            f"{first['images']:,} images of 32 pixels, {len(first['seconds'])} epochs, {first['threads']} threads; the",
            f"losses of the first step differ by {differ:.0e} at most. {where(found)}. Raw figures:",
            "[frameworks.json](../../benchmarks/results/frameworks.json).",
        ]
    )
