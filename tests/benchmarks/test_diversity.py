"""The benchmark of max-sum diversity: the format it reads, and the best values known of real instances."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from scrimp.errors import ScrimpError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
INSTANCES = Path(os.environ.get("SCRIMP_DATA", "nowhere")) / "maximum-diversity"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("diversity", BENCHMARKS / "diversity.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("first", [0, 1])
def test_the_format(benchmark, tmp_path, first):
    path = tmp_path / "one.txt"
    pairs = [(0, 1, 2.5), (0, 2, 1), (1, 2, 4)]
    path.write_text("3 2\n" + "".join(f"{i + first} {j + first} {d}\n" for i, j, d in pairs))
    table, m = benchmark.read_instance(path)
    assert m == 2
    assert table.tolist() == [[0, 2.5, 1], [2.5, 0, 4], [1, 4, 0]]


@pytest.mark.parametrize(
    "text", ["", "3\n", "3 4\n0 1 1\n0 2 1\n1 2 1\n", "3 2\n0 1 1\n", "3 2\n0 1\n", "2 1\n0 5 1\n"]
)
def test_what_is_no_instance_is_refused(benchmark, tmp_path, text):
    (tmp_path / "one.txt").write_text(text)
    with pytest.raises(ScrimpError, match="is no instance"):
        benchmark.read_instance(tmp_path / "one.txt")


def test_gap_and_summary(benchmark, tmp_path, monkeypatch, capsys):
    """4 and 4.5 - (0, 2) is the best pair - against 5 known: a gap of a tenth."""
    (tmp_path / "one.txt").write_text("3 2\n0 1 2\n0 2 4.5\n1 2 4\n")
    (tmp_path / "best_found.tsv").write_text("one.txt\t5.0\t1/1\n")
    monkeypatch.setattr(benchmark, "against_draws", lambda *args, **options: [])
    monkeypatch.setattr("record.RESULTS", tmp_path)
    arguments = [str(tmp_path / "one.txt"), "--seconds", "0.05", "--json", "--quick"]
    monkeypatch.setattr(sys, "argv", ["diversity.py", *arguments])
    benchmark.main()
    told = json.loads(capsys.readouterr().out)
    assert told["rows"][0]["value"] == 4.5
    assert told["summary"] == {"max_gap": 0.1, "vs_10000_draws_objective": None, "vs_10000_draws_time": None}
    assert json.loads((tmp_path / "diversity.quick.json").read_text())["summary"] == told["summary"]


def test_draws_are_beaten_by_value_and_time(benchmark):
    drawn = {"what": "draws", "draws_value": 10.0, "draws_seconds": 4.0, "value": 12.0, "seconds_to_better": 0.01}
    rows = [drawn, {**drawn, "value": 13.0, "seconds_to_better": 0.03}]
    summary = benchmark.summarise(rows)
    assert summary["vs_10000_draws_objective"] == pytest.approx(1.25)
    assert summary["vs_10000_draws_time"] == pytest.approx(0.005)
    assert benchmark.summarise([*rows, {**drawn, "seconds_to_better": None}])["vs_10000_draws_time"] is None


@pytest.mark.realdata
@pytest.mark.skipif(not INSTANCES.is_dir(), reason="needs instances of the maximum diversity problem in SCRIMP_DATA")
def test_the_best_values_known_are_reached(benchmark):
    paths = sorted(INSTANCES.glob("*.txt"))
    assert paths
    for path in paths:
        row = benchmark.solved(path, 0.4, seed=0)
        assert row["gap"] <= 1e-8, path.name
        table, m = benchmark.read_instance(path)
        assert np.array_equal(table, table.T)
        assert m == row["m"]
