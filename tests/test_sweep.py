import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from make_photos import save_photo

from scrimp import sweeping as room
from scrimp.errors import ImageError, SettingError, StorageError, UnknownName
from scrimp.images import find_images
from scrimp.meter import load_run, load_runs
from scrimp.subset import select
from scrimp.sweeping import Shelf, finished_run, keep_best, run_plan, sweep, vary

AXES = {"recipe.seed": [0, 1], "recipe.model": ["simple_cnn", "ultralight"]}


@pytest.fixture
def base(photos):
    return {
        "images": {"source": str(photos)},
        "preparation": {"image_px": 16},
        "recipe": {"epochs": 1, "batch_size": 16, "lr": 3e-3},
    }


def test_every_combination_once_and_seeds_turn_fastest(base):
    plans = vary(base, AXES | {"preparation.image_px": [16, 24]})
    assert [(p.recipe.model, p.preparation.image_px, p.recipe.seed) for p in plans] == [
        (model, px, seed) for model in ("simple_cnn", "ultralight") for px in (16, 24) for seed in (0, 1)
    ]
    assert vary(base | {"recipe": {"model": "vgg8"}}, {})[0].recipe.model == "vgg8"


def test_bad_axes_are_refused(base):
    with pytest.raises(SettingError, match=r"recipe\.lr"):
        vary(base, {"recipe.model": ["vgg8"], "recipe.lr": []})
    with pytest.raises(UnknownName, match="Did you mean 'epochs'"):
        vary(base, {"recipe.model": ["vgg8"], "recipe.epoch": [1]})


def test_a_sweep_leaves_a_folder_a_run_and_a_table(base, tmp_path):
    runs = sweep(vary(base, AXES), tmp_path, usd_per_hour=3.6)
    assert [run.status for run in runs] == ["finished"] * 4
    for run in runs:
        files = {path.name for path in (tmp_path / run.plan.name).iterdir()}
        assert files == {
            "result.json", "plan.toml", "history.csv", "model.safetensors", "model.json", "examples.jpg",
        }  # fmt: skip
        assert run.cost.usd == pytest.approx(run.cost.seconds * 0.001)
        assert run.test.n == 9
    assert load_runs(tmp_path) == sorted(runs, key=lambda run: run.folder)
    with (tmp_path / "runs.csv").open() as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["0", "1", "0", "1"]


def test_finished_runs_are_not_repeated_and_missing_ones_are_made(base, tmp_path, monkeypatch):
    plans = vary(base, AXES)
    first = sweep(plans[:2], tmp_path)
    trained = []
    real = room.train
    monkeypatch.setattr(room, "train", lambda ready, recipe, **k: trained.append(recipe) or real(ready, recipe, **k))
    runs = sweep(plans, tmp_path)
    assert trained == [plan.recipe for plan in plans[2:]]
    assert runs[:2] == first


@pytest.mark.parametrize("changed", ["kept list", "photos", "features"])
def test_a_run_of_what_has_changed_since_is_made_again(base, photos, tmp_path, changed):
    copied, kept, features = shutil.copytree(photos, tmp_path / "copy"), tmp_path / "kept.json", tmp_path / "seen.npy"
    images = find_images(copied)
    numbers = np.random.default_rng(0).normal(size=(42, 5))
    tables = base | {"images": {"source": str(copied)}, "recipe": base["recipe"] | {"model": "simple_cnn"}}
    if changed == "kept list":
        select(images, keep=12).save(kept)
        tables["images"]["subset"] = str(kept)
    if changed == "features":
        np.save(features, numbers)
        tables["selection"] = {"keep": 12, "method": "herding", "features": str(features)}
    [plan] = vary(tables, {})
    [first] = sweep([plan], tmp_path / "out")
    assert sweep([plan], tmp_path / "out") == [first]
    if changed == "kept list":
        select(images, keep=12, seed=1).save(kept)
    elif changed == "features":
        np.save(features, -(numbers[::-1] ** 3))
    else:
        save_photo(copied / "red" / "new.jpg", (9, 9, 9), seed=0)
    [again] = sweep([plan], tmp_path / "out")
    assert again.plan == first.plan
    assert again.fingerprint != first.fingerprint
    assert load_run(again.folder) == again


def test_what_cannot_be_made_again_is_taken_as_it_is(base, photos, tmp_path, monkeypatch):
    """Neither is anything selected, distilled or packed again, nor asked of a run whose images nobody wrote down."""
    copied = shutil.copytree(photos, tmp_path / "copy")
    (copied / "red" / "003.jpg").write_text("not an image")
    tables = base | {"images": {"source": str(copied)}, "recipe": base["recipe"] | {"model": "simple_cnn"}}
    chosen = {"selection": {"keep": 12, "method": "herding"}}
    plans = [
        *vary(tables, {"images.folds": [3], "images.fold": [0, 1]}),
        *vary(tables | chosen, {}),
        *vary(tables | {"distillation": {"per_class": 2, "image_px": 16}}, {}),
    ]
    runs = sweep(plans, tmp_path / "out")
    assert [run.status for run in runs] == ["finished"] * 4
    with monkeypatch.context() as patched:
        for name in ("prepare", "select", "distill", "redivided"):
            patched.setattr(room, name, None)
        assert sweep(plans, tmp_path / "out") == runs
    alone = run_plan(plans[2], tmp_path / "alone")
    shutil.rmtree(copied)
    assert finished_run(tmp_path / "alone", plans[2], Shelf()) == alone


def test_one_that_fails_is_a_row_with_its_reason_and_is_tried_again(base, tmp_path, monkeypatch):
    plans = vary(base, AXES)
    real = room.train

    def fails_once(ready, recipe, **kwargs):
        if recipe == plans[1].recipe:
            raise RuntimeError("out of memory: tried to allocate 8 GB")
        return real(ready, recipe, **kwargs)

    monkeypatch.setattr(room, "train", fails_once)
    runs = sweep(plans, tmp_path)
    assert [run.status for run in runs] == ["finished", "failed", "finished", "finished"]
    assert "out of memory" in load_run(tmp_path / plans[1].name).reason
    assert runs[1].val is None
    monkeypatch.setattr(room, "train", real)
    assert [run.status for run in sweep(plans, tmp_path)] == ["finished"] * 4


def test_bad_images_end_the_sweep_at_once(base, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError):
        sweep(vary(base | {"images": {"source": str(tmp_path / "empty")}}, AXES), tmp_path / "out")


def test_ctrl_c_returns_what_has_been_done(base, tmp_path, monkeypatch):
    real = room.measure
    monkeypatch.setattr(
        room, "measure", lambda trained, **k: real(trained, **k).model_copy(update={"status": "interrupted"})
    )
    assert len(sweep(vary(base, AXES), tmp_path)) == 1


def test_best_leads_to_the_run_and_can_be_moved_with_its_folder(base, tmp_path):
    runs = sweep(vary(base, AXES), tmp_path / "out")
    for run in runs[:2]:
        best = keep_best(tmp_path / "out", run)
        assert load_run(best).plan == run.plan
    assert len(load_runs(tmp_path / "out")) == 4, "best is not a fifth run"
    (tmp_path / "out").rename(tmp_path / "moved")
    assert load_run(tmp_path / "moved" / "best").plan == runs[1].plan


def test_images_are_found_and_packed_once_per_size(base, tmp_path, monkeypatch):
    prepared = []
    real = room.prepare
    monkeypatch.setattr(room, "prepare", lambda images, **k: prepared.append(k["image_px"]) or real(images, **k))
    sweep(vary(base, AXES | {"preparation.image_px": [16, 24]}), tmp_path)
    assert sorted(prepared) == [16, 24]


def test_best_takes_nobodys_place(base, tmp_path):
    [run, *_] = sweep(vary(base, AXES), tmp_path / "out")
    (tmp_path / "out" / "best").mkdir()
    (tmp_path / "out" / "best" / "precious.txt").touch()
    with pytest.raises(StorageError, match="is in the way"):
        keep_best(tmp_path / "out", run)
    assert (tmp_path / "out" / "best" / "precious.txt").exists()
    shutil.rmtree(tmp_path / "out" / "best")
    moved = shutil.move(run.folder, tmp_path / "out" / "best")
    assert keep_best(tmp_path / "out", load_run(moved)) == tmp_path / "out" / "best"
    assert (tmp_path / "out" / "best" / "result.json").is_file(), "it is the best run itself"


def test_a_best_that_is_a_copy_is_taken_by_the_next(base, tmp_path, monkeypatch):
    runs = sweep(vary(base, AXES), tmp_path / "out")
    monkeypatch.setattr(Path, "symlink_to", lambda *a, **k: (_ for _ in ()).throw(OSError("no links here")))
    for run in runs[:2]:
        assert load_run(keep_best(tmp_path / "out", run)).plan == run.plan


def test_what_cannot_be_selected_is_a_row(base, tmp_path):
    axes = {"recipe.model": ["simple_cnn"], "selection.keep": [10**6, 12]}
    runs = sweep(vary(base | {"selection": {"method": "random"}}, axes), tmp_path)
    assert [run.status for run in runs] == ["failed", "finished"]
    assert "1,000,000" in runs[0].reason
