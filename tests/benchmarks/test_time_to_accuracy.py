"""Figures that a benchmark claims are worked out here by hand."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scrimp.images import find_images

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("time_to_accuracy", BENCHMARKS / "time_to_accuracy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plain_row(*accuracies):
    """10 CPU-seconds and 6 seconds to begin with, 100 and 60 an epoch."""
    epochs = [{"val_accuracy": accuracy, "seconds": 60.0, "cpu_seconds": 100.0} for accuracy in accuracies]
    start = {"seconds": 6.0, "cpu_seconds": 10.0}
    return {"start": start, "epochs": epochs, "test": {"accuracy": 0.80, "seconds": 9.0, "cpu_seconds": 9.0}}


def scrimp_row(epochs, val, test, cpu_seconds):
    row = {
        "recipe": {"epochs": epochs},
        "image_px": 160,
        "val_accuracy": val,
        "test_accuracy": test,
        "cpu_seconds": cpu_seconds,
    }
    return row | {"seconds": 20.0}


def test_plain_is_charged_up_to_the_first_of_its_best_epochs(benchmark):
    plain = plain_row(0.5, 0.9, 0.8, 0.9)
    found = benchmark.comparison(plain, scrimp_row(2, 0.9, 0.7, 21.0), scrimp_row(30, 0.95, 0.83, 300.0))
    assert found["plain_best_epoch"] == 2
    assert found["cpu_ratio"] == pytest.approx((10 + 200) / 21)
    assert found["cpu_ratio_all_epochs"] == pytest.approx((10 + 400) / 21)
    assert found["plain_seconds_all_epochs"] == 6 + 240
    assert found["test_gain_same_seconds"] == pytest.approx(3.0)


def test_what_is_not_reached_has_no_ratio(benchmark):
    plain = plain_row(0.5, 0.9)
    found = benchmark.comparison(plain, scrimp_row(16, 0.89, 0.9, 21.0), scrimp_row(30, 0.89, 0.7, 9.0))
    assert (found["cpu_ratio"], found["cpu_ratio_all_epochs"]) == (None, None)
    assert found["test_gain_same_seconds"] == pytest.approx(-10.0)


def test_a_seed_that_never_got_there_is_the_lowest_in_the_median(benchmark):
    assert benchmark.middle([30.0, 10.0, 20.0]) == 20.0
    assert benchmark.middle([30.0, None, 20.0]) == 20.0
    assert benchmark.middle([30.0, None, None]) is None
    assert benchmark.middle([30.0, 10.0]) == 10.0


def test_the_summary_keeps_data_and_models_apart(benchmark):
    ratios = {"cpu_ratio": 2.0, "cpu_ratio_all_epochs": 4.0}
    about = {"data": "cifar10", "model": "mobilenet_v2"}
    rows = [about | ratios | {"test_gain_same_seconds": gain} for gain in (1.0, 2.0, 6.0)]
    rows.append(rows[0] | {"model": "squeezenet1_0", "cpu_ratio": None})
    assert benchmark.summary_of(rows) == {
        "cpu_ratio.cifar10.mobilenet_v2": 2.0,
        "cpu_ratio_all_epochs.cifar10.mobilenet_v2": 4.0,
        "test_gain_same_seconds.cifar10.mobilenet_v2": 3.0,
        "cpu_ratio.cifar10.squeezenet1_0": None,
        "cpu_ratio_all_epochs.cifar10.squeezenet1_0": 4.0,
        "test_gain_same_seconds.cifar10.squeezenet1_0": 1.0,
    }


def test_settings_are_given_to_the_data_they_name(benchmark):
    given = ["recipe.sam=0.1", "cifar10:recipe.model='timm:x'", "imagenette-224/mobilenet_v2:recipe.lr=0.1"]
    asked = type("Asked", (), {"recipe": "frugal", "set": given})
    shared = ["--recipe", "frugal", "--set", "recipe.sam=0.1"]
    assert benchmark.settings(asked, "imagenette-224", "squeezenet1_0") == shared
    assert benchmark.settings(asked, "imagenette-224", "mobilenet_v2") == [*shared, "--set", "recipe.lr=0.1"]
    assert benchmark.settings(asked, "cifar10", "mobilenet_v2")[-2:] == ["--set", "recipe.model='timm:x'"]


def test_what_is_asked_for_alone_is_a_pair_or_a_seed_of_it(benchmark):
    asked = type("Asked", (), {"quick": False, "seeds": [0, 1], "only": None})
    assert len(benchmark.jobs_of(asked)) == 2 * 3 * 2
    asked.only = ["cifar10/squeezenet1_0", "imagenette-224/mobilenet_v2/1"]
    pair = ("cifar10", "squeezenet1_0")
    assert benchmark.jobs_of(asked) == [(*pair, 0), ("imagenette-224", "mobilenet_v2", 1), (*pair, 1)]


def test_both_sides_see_the_same_images(benchmark, photos, tmp_path):
    images = find_images(photos)
    benchmark.write_folders(images, tmp_path / "made")
    for split in ("train", "val", "test"):
        files = sorted(path for path in (tmp_path / "made" / split).rglob("*") if path.is_file())
        theirs = {(path.parent.name, os.path.realpath(path)) for path in files}
        ours = {(images.classes[images.labels[row]], str(images.items[row])) for row in images.rows(split)}
        assert theirs == ours


def test_boxes_are_cut_out(benchmark, tmp_path):
    lines = ["path,label,x0,y0,x1,y1"]
    for number in range(20):
        pixels = np.zeros((40, 60, 3), dtype=np.uint8)
        pixels[10:30, 20:50] = 255  # white inside the box, black around it
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{'ab'[number % 2]},20,10,50,30")
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    benchmark.write_folders(find_images(tmp_path / "boxes.csv"), tmp_path / "made")
    made = list((tmp_path / "made").rglob("*.jpg"))
    assert len(made) == 20
    for path in made:
        with Image.open(path) as image:
            assert image.size == (30, 20)
            assert np.asarray(image).min() > 250
