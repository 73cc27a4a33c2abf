"""Heat lies on what decides and goes away with the knowledge: the benchmark's game, played once with a small model."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("explain", BENCHMARKS / "explain.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_hottest_point_lies_on_what_decides(benchmark, tmp_path):
    corners = benchmark.plant(tmp_path / "planted", {"train": 60, "val": 6, "test": 5})
    row = benchmark.judge("ultralight", tmp_path / "planted", corners, epochs=8)
    assert row["images"] == 20
    assert row["accuracy"] > 0.9
    assert row["grad_cam"] >= 0.8
    assert row["occlusion"] >= 0.8
    assert row["random"] <= 0.5, "a third of the discs decides"


def test_a_hit_is_on_the_disc(benchmark):
    heat = np.zeros((96, 96), np.float32)
    assert not benchmark.hits(heat, (0, 0)), "no heat points nowhere"
    heat[10 + 15, 60 + 15] = 1  # row, column
    assert benchmark.hits(heat, (60, 10))
    assert not benchmark.hits(heat, (10, 60)), "the corner is x, y"
    heat[10 + 15, 60 - 6] = 2
    assert benchmark.hits(heat, (60, 10)), "5.5 px beside it: within the tolerance of 6.4"
    assert not benchmark.hits(heat, (60, 10), tolerance=5)
    heat[10, 60] = 3
    assert benchmark.hits(heat, (60, 10)), "the corner of the box, as near"
    heat[8, 60] = 4
    assert not benchmark.hits(heat, (60, 10))


def test_discs_do_not_touch(benchmark):
    dice = np.random.default_rng(0)
    for _ in range(20):
        corners = np.array(benchmark.apart(dice, 96, 30))
        gaps = [np.hypot(*(corners[i] - corners[j])) for i, j in ((0, 1), (0, 2), (1, 2))]
        assert min(gaps) > 30
        assert corners.min() >= 0
        assert corners.max() <= 66


def test_the_worst_model_of_the_table_decides(benchmark):
    rows = [
        {
            "model": "a",
            "grad_cam": 0.9,
            "strict": 0.7,
            "occlusion": 1.0,
            "random": 0.1,
            "correlation": 0.0,
            "accuracy": 1.0,
        },
        {
            "model": "b",
            "grad_cam": 1.0,
            "strict": 0.6,
            "occlusion": 0.8,
            "random": 0.3,
            "correlation": 0.2,
            "accuracy": 0.95,
        },
        {
            "model": benchmark.VIT,
            "grad_cam": 0.5,
            "strict": 0.4,
            "occlusion": 0.5,
            "random": 0.4,
            "correlation": 0.1,
            "accuracy": 0.9,
        },
    ]
    assert benchmark.summarise(rows) == {
        "pointing_game": 0.9,
        "pointing_game_strict": 0.6,
        "pointing_game_occlusion": 0.8,
        "accuracy": 0.95,
        "pointing_game_vit": 0.5,
        "pointing_game_random": 0.4,
        "correlation_random": 0.2,
        "area": pytest.approx(0.1564, abs=1e-3),
    }
    assert benchmark.summarise(rows[:2])["pointing_game_vit"] is None
