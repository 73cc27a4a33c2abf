"""Tuning: what is proposed, what is pruned, what survives a kill, and that test is looked at once."""

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest

from scrimp import sweeping, tuning
from scrimp.batches import Preparation
from scrimp.cli import app
from scrimp.errors import ImageError, SettingError, StorageError, UnknownName, WeightsError
from scrimp.images import find_images
from scrimp.meter import load_run, load_runs
from scrimp.plan import read_plan
from scrimp.subset import distill
from scrimp.sweeping import run_plan
from scrimp.training import Epoch, Recipe, loop
from scrimp.tuning import SPACE, tune

pytest.importorskip("optuna", reason="needs the tune extra: optuna")

BASE = Recipe(model="ultralight", pretrained=False, epochs=2, batch_size=16, lr=3e-3)
SMALL = Preparation(image_px=16)


@pytest.fixture
def images(photos):
    return find_images(photos)


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


# ---------------------------------------------------------------- a whole search


@pytest.fixture
def looks(monkeypatch):
    """Which splits were scored, in which order."""
    from scrimp import meter

    seen = []
    real = meter._scores
    monkeypatch.setattr(meter, "_scores", lambda model, ready, split: seen.append(split) or real(model, ready, split))
    return seen


def test_a_search_leaves_a_sweep_folder_and_looks_at_test_once(images, looks, tmp_path):
    chosen = tune(images, BASE, preparation=SMALL, trials=5, out=tmp_path, usd_per_hour=3.6)
    rows = table(tmp_path / "trials.csv")
    assert [row["trial"] for row in rows] == list("01234")
    assert {row["state"] for row in rows} <= {"complete", "pruned"}
    first = {name: rows[0][name] for name in SPACE}
    own = {"lr": "0.003", "batch_size": "16", "augment": "basic", "weight_decay": "0.01", "dropout": ""}
    assert first == own | {"width": "1.0", "depth": "1", "batch_norm": "True"}, "the recipe itself comes first"
    assert len({tuple(row[name] for name in SPACE) for row in rows}) == 5
    assert looks.count("test") == 1
    runs = load_runs(tmp_path)
    assert len(runs) == 5
    assert [run.plan for run in runs if run.test] == [chosen.best.plan]
    ended = [row for row in rows if row["state"] == "complete"]
    assert float(max(ended, key=lambda row: float(row["val_top1"]))["val_top1"]) == chosen.winner.val.mean
    assert len(table(tmp_path / "runs.csv")) == len(chosen.candidates) == len(ended)
    own_seconds = sum(run.costs[stage].seconds for run in runs for stage in ("train", "measure"))
    assert chosen.bill.seconds > own_seconds, "the pruned are on the bill, and the packing"
    assert chosen.bill.usd == pytest.approx(chosen.bill.seconds / 1000)
    again = run_plan(read_plan(tmp_path / "plan.toml"), tmp_path / "again")
    assert again.val == chosen.best.val


def test_a_search_that_was_cut_off_goes_on_as_if_it_had_not_been(images, tmp_path):
    def settings(out):
        return [{k: v for k, v in row.items() if k in SPACE} for row in table(out / "trials.csv")]

    tune(images, BASE.but(epochs=1), preparation=SMALL, trials=4, out=tmp_path / "whole")
    for trials in (2, 4, 4):
        tune(images, BASE.but(epochs=1), preparation=SMALL, trials=trials, out=tmp_path / "parts")
    assert settings(tmp_path / "parts") == settings(tmp_path / "whole")
    with pytest.raises(SettingError, match="another recipe"):
        tune(images, BASE.but(epochs=3), preparation=SMALL, trials=4, out=tmp_path / "parts")


def test_what_is_searched_suits_the_model(images, tmp_path):
    assert tuning._searched(BASE, ()) == list(SPACE)
    assert tuning._searched(Recipe(model="resnet18", lr="auto"), ()) == [
        "batch_size", "augment", "weight_decay", "dropout",
    ]  # fmt: skip
    plain = Recipe(model="resnet18", weight_decay=0)
    assert tuning._searched(plain, ()) == ["lr", "batch_size", "augment", "dropout"]
    with pytest.raises(SettingError, match=r"'weight_decay' cannot be searched: .* has weight_decay=0\. Leave it out"):
        tuning._searched(plain, ["weight_decay"])
    with pytest.raises(SettingError, match="'width' cannot be searched: the shape of resnet18 is fixed"):
        tuning._searched(Recipe(model="resnet18"), ["width"])
    with pytest.raises(UnknownName, match="Did you mean 'dropout'"):
        tuning._searched(BASE, ["dropuot"])
    tune(images, BASE.but(epochs=1), preparation=SMALL, trials=3, search=["depth"], out=tmp_path)
    assert {run.plan.recipe.but(depth=1) for run in load_runs(tmp_path)} == {BASE.but(epochs=1)}


@pytest.mark.parametrize("decay", [2e-6, 0.0123456, 3.0])
def test_the_first_trial_is_the_recipe_itself(images, tmp_path, decay):
    recipe = BASE.but(epochs=1, lr=0.00123456, weight_decay=decay)
    tune(images, recipe, preparation=SMALL, trials=1, search=["lr", "weight_decay"], out=tmp_path)
    assert [run.plan.recipe for run in load_runs(tmp_path)] == [recipe]


def test_what_the_recipe_refuses_is_never_tried(images, tmp_path):
    """Several views of each image need an augmentation, and "none" is one of those that are searched."""
    recipe = BASE.but(epochs=0, head_first="logistic", head_views=2, seed=2)
    tune(images, recipe, preparation=SMALL, trials=3, search=["augment"], out=tmp_path)
    rows = table(tmp_path / "trials.csv")
    assert Counter(row["state"] for row in rows) == {"complete": 3}
    assert "none" not in {row["augment"] for row in rows}
    assert int(rows[-1]["trial"]) > 2, "a refused proposal is no trial"


def test_a_search_that_proposes_nothing_possible_says_so(images, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "_PROPOSALS", 3)
    monkeypatch.setitem(SPACE, "augment", lambda trial, recipe, images: "none")
    recipe = BASE.but(head_first="logistic", head_views=2)
    with pytest.raises(SettingError, match=r"^3 proposals in a row .* head_views=2 with augment='none': .* name what"):
        tune(images, recipe, preparation=SMALL, trials=2, search=["augment"], out=tmp_path)


def test_no_learning_rate_is_above_what_a_recipe_takes():
    asked = {}

    class Asking:
        def suggest_float(self, name, low, high, *, log):
            asked[name] = (low, high)
            return high

    assert SPACE["lr"](Asking(), BASE.but(lr=50.0), None) == 100
    assert asked == {"lr": (5, 100)}
    with pytest.raises(SettingError):
        BASE.but(lr=100.1)


def test_images_that_are_distilled_on_the_way_are_refused_at_once(images, tmp_path):
    with pytest.raises(SettingError, match="no images that are distilled on the way: save them"):
        tune(distill(images, image_px=8), BASE, preparation=SMALL, trials=1, search=["lr"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_hold_the_record_is_named(images, tmp_path, monkeypatch):
    from optuna import Trial

    def search(out):
        tune(images, BASE.but(epochs=1), preparation=SMALL, trials=1, search=["lr"], out=out)

    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file/out' cannot be written: a file is in the way\. Name another folder"):
        search(tmp_path / "file" / "out")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "study.db").write_bytes(b"no database" * 100)
    with pytest.raises(
        StorageError, match=r"damaged/study\.db', cannot be .*: file is not a database\. See to the disk"
    ):
        search(tmp_path / "damaged")
    (tmp_path / "locked" / "study.lock").mkdir(parents=True)
    with pytest.raises(StorageError, match="unable to open database file"):
        search(tmp_path / "locked")

    def full(*given):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Trial, "report", full)
    with pytest.raises(StorageError, match="disk is full"):
        search(tmp_path / "full")


def test_folds_judge_by_the_mean_and_test_is_still_looked_at_once(images, looks, tmp_path):
    recipe = BASE.but(epochs=1)
    chosen = tune(images, recipe, preparation=SMALL, trials=2, folds=3, search=["lr"], out=tmp_path)
    assert looks.count("test") == 1
    best = chosen.winner
    assert sorted(run.plan.images.fold for run in best.runs) == [0, 1, 2]
    ended = [float(row["val_top1"]) for row in table(tmp_path / "trials.csv") if row["state"] == "complete"]
    assert max(ended) == pytest.approx(best.val.mean) == pytest.approx(np.mean([run.val.top1 for run in best.runs]))
    counts = Counter()
    for run in best.runs:
        counts[run.image_counts["val"]] += 1
        assert run.image_counts["test"] == len(images.rows("test"))
    assert sum(n * times for n, times in counts.items()) == len(images) - len(images.rows("test"))
    assert read_plan(tmp_path / "plan.toml").images.folds is None


# ---------------------------------------------------------------- pruning


class FakeTrial:
    """Writes down what is reported."""

    def __init__(self, prune_at=()):
        self.reported = {}
        self._prune_at = prune_at

    def report(self, value, step):
        assert step not in self.reported
        self.reported[step] = value

    def should_prune(self):
        return max(self.reported) in self._prune_at


def history(*scores):
    return [
        Epoch(epoch=n, train_loss=1, train_score=None, val_loss=1, val_score=score, seconds=1, lr=0.1)
        for n, score in enumerate(scores, 1)
    ]


def test_what_is_reported_is_the_best_so_far_and_the_mean_over_folds():
    trial = FakeTrial()
    judge = tuning._judge(trial, 1, 3, 4, [0.9])
    assert judge(history(0.5)) == ""
    assert judge(history(0.5, 0.3)) == ""
    assert judge(history(0.5, 0.3, 0.7)) == ""
    assert trial.reported == {4: pytest.approx(0.7), 5: pytest.approx(0.7), 6: pytest.approx(0.8)}


def test_negative_scores_and_the_last_step():
    """R² can be below zero; and what has come to its end is not stopped any more."""
    trial = FakeTrial(prune_at=(1, 2))
    judge = tuning._judge(trial, 0, 2, 1, [])
    assert judge(history(-3.0)).startswith("pruned")
    assert judge(history(-3.0, -4.0)) == ""
    assert trial.reported == {1: -3.0, 2: -3.0}


def test_what_lags_behind_is_stopped_at_the_first_rung(images, tmp_path, monkeypatch):
    """Nine trials of one epoch's rung: after the first, one goes on if it is in the best third of those so far."""
    scores = iter([0.5, 0.4, 0.9, 0.6, 0.3, 0.95])
    real = sweeping.train

    def fake(ready, recipe, *, out, stop):
        trained = real(ready, recipe.but(epochs=1), out=out)
        top, told = next(scores), ""
        for n in range(1, 4):
            told = told or stop(history(*[top] * n))
        ended = "stopped early" if told else "finished"
        return type(trained)(**vars(trained) | {"recipe": recipe, "status": ended, "reason": told})

    monkeypatch.setattr(sweeping, "train", fake)
    tune(images, BASE.but(epochs=3), preparation=SMALL, trials=6, search=["lr"], out=tmp_path)
    assert [(row["state"], row["steps"]) for row in table(tmp_path / "trials.csv")] == [
        ("complete", "3"),  # alone
        ("pruned", "1"),  # 0.4 of 0.5, 0.4
        ("complete", "3"),  # 0.9, the best of three
        ("pruned", "1"),  # 0.6: second of four, and a third of four is one
        ("pruned", "1"),
        ("complete", "3"),
    ]


def test_a_trial_that_fails_is_told_and_the_search_goes_on(images, tmp_path, monkeypatch):
    real = sweeping.train

    def fails_when_deep(ready, recipe, **how):
        if recipe.depth > 1:
            raise RuntimeError("out of memory")
        return real(ready, recipe, **how)

    monkeypatch.setattr(sweeping, "train", fails_when_deep)
    tune(images, BASE.but(epochs=1), preparation=SMALL, trials=5, search=["depth"], out=tmp_path)
    rows = table(tmp_path / "trials.csv")
    assert {row["state"] for row in rows if row["depth"] != "1"} == {"pruned"}
    assert "complete" in {row["state"] for row in rows}
    reasons = {load_run(tmp_path / row["folders"]).reason for row in rows if row["depth"] != "1"}
    assert reasons <= {"out of memory"}


def test_failures_in_a_row_end_the_search_and_the_next_start_tries_them_again(images, tmp_path, monkeypatch):
    def offline(ready, recipe, **how):
        raise WeightsError("the hub did not answer.")

    def search(trials):
        return tune(images, BASE.but(epochs=1), preparation=SMALL, trials=trials, search=["lr"], out=tmp_path)

    monkeypatch.setattr(sweeping, "train", offline)
    with pytest.raises(
        SettingError, match=r"^5 trials in a row failed .*: the hub did not answer\. Put that right and"
    ):
        search(7)
    assert len(load_runs(tmp_path)) == 5
    monkeypatch.undo()
    chosen = search(7)
    assert chosen.story[0] == "7 trials: 7 came to their end."
    states = [row["state"] for row in table(tmp_path / "trials.csv")]
    assert states == ["pruned"] * 5 + ["complete"] * 7
    assert len(load_runs(tmp_path)) == 7


def test_what_fails_at_each_start_is_given_up(images, tmp_path, monkeypatch):
    tried = []

    def fails(ready, recipe, **how):
        tried.append(recipe.lr)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(sweeping, "train", fails)
    for _ in range(5):
        with pytest.raises(SettingError, match=r"^No trial came to its end: out of memory\. Put that right"):
            tune(images, BASE, preparation=SMALL, trials=2, search=["lr"], out=tmp_path)
    assert Counter(tried) == dict.fromkeys(tried, 3)
    assert len(set(tried)) == 2


def test_a_trial_that_fails_and_is_cut_off_goes_on_counting_its_starts():
    import optuna

    study = optuna.create_study()
    study.enqueue_trial({}, user_attrs={"starts": 2})
    trial = study.ask()
    for name in ("settings", "failed"):
        trial.set_user_attr(name, "so")
    tuning._again(study, trial.number)  # killed just before it could be told
    tuning._try_failed_again(study)
    assert [trial.user_attrs["starts"] for trial in study.trials] == [2, 2]


# ---------------------------------------------------------------- several processes, and dead ones


@pytest.fixture
def sudden(monkeypatch):
    """A SystemExit ends a search as a kill does: nothing is put back in the queue."""
    real = tuning._again

    def only_of_the_dead(study, number, *, died=False):
        if died:
            real(study, number, died=True)

    monkeypatch.setattr(tuning, "_again", only_of_the_dead)


def test_a_process_is_alive_until_it_is_killed(tmp_path):
    """By a lock, and neither by its number nor by the name of its machine, which differ from container to container."""
    hold = f"from pathlib import Path\nfrom scrimp.tuning import _alive\nwith _alive(Path({str(tmp_path)!r})) as me:\n"
    command = [sys.executable, "-c", f"{hold}    print(me, flush=True)\n    input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        name = other.stdout.readline().strip()
        assert tuning._is_alive(tmp_path, name)
        other.kill()
        other.wait()
        assert (tmp_path / name).is_file()
        assert not tuning._is_alive(tmp_path, name)
    with tuning._alive(tmp_path) as me:
        assert tuning._is_alive(tmp_path, me), "seen from its own threads too"
    assert not tuning._is_alive(tmp_path, me)
    assert not list(tmp_path.iterdir())


def test_a_trial_whose_process_died_goes_on_from_its_last_epoch(images, tmp_path, monkeypatch, sudden):
    """A real kill is tried below, where there is more time."""
    real = sweeping.train

    def dies(ready, recipe, *, out, stop):
        def after_two(history):
            if stop(history) == "" and len(history) == 2:
                raise SystemExit("killed")
            return ""

        return real(ready, recipe, out=out, stop=after_two)

    monkeypatch.setattr(sweeping, "train", dies)
    monkeypatch.setattr(loop, "_CHECKPOINT_PAUSE", 0)
    recipe = BASE.but(epochs=4)
    with pytest.raises(SystemExit):
        tune(images, recipe, preparation=SMALL, trials=2, search=["lr"], out=tmp_path)
    monkeypatch.undo()
    tune(images, recipe, preparation=SMALL, trials=2, search=["lr"], out=tmp_path)
    cut_off, after, *others = table(tmp_path / "trials.csv")
    assert (cut_off["state"], after["state"], len(others)) == ("fail", "complete", 1)
    assert cut_off["folders"] == after["folders"]
    run = load_run(tmp_path / after["folders"])
    assert "Went on after epoch 2" in " ".join(run.notes)
    assert run.status == "finished"


def test_a_trial_that_kills_its_process_each_time_is_given_up(images, tmp_path, monkeypatch, sudden):
    def dies(ready, recipe, *, out, stop):
        if recipe == BASE:
            raise SystemExit("killed")
        return real(ready, recipe, out=out, stop=stop)

    real = sweeping.train
    monkeypatch.setattr(sweeping, "train", dies)
    for _ in range(3):
        with pytest.raises(SystemExit):
            tune(images, BASE, preparation=SMALL, trials=2, search=["lr"], out=tmp_path)
    tune(images, BASE, preparation=SMALL, trials=2, search=["lr"], out=tmp_path)
    assert [row["state"] for row in table(tmp_path / "trials.csv")] == ["fail", "fail", "pruned", "complete"]


def test_a_trial_that_comes_further_each_time_is_not_given_up(images, tmp_path, monkeypatch, sudden):
    real = sweeping.train

    def dies_after_an_epoch(ready, recipe, *, out, stop):
        def one_more(history):
            if stop(history) == "" and len(history) < recipe.epochs:
                raise SystemExit("killed")
            return ""

        return real(ready, recipe, out=out, stop=one_more)

    monkeypatch.setattr(sweeping, "train", dies_after_an_epoch)
    monkeypatch.setattr(loop, "_CHECKPOINT_PAUSE", 0)
    for _ in range(4):
        with pytest.raises(SystemExit):
            tune(images, BASE.but(epochs=5), preparation=SMALL, trials=1, search=["lr"], out=tmp_path)
    tune(images, BASE.but(epochs=5), preparation=SMALL, trials=1, search=["lr"], out=tmp_path)
    assert [row["state"] for row in table(tmp_path / "trials.csv")] == ["fail"] * 4 + ["complete"]


def test_any_error_puts_its_trial_back_and_is_no_death(images, tmp_path, monkeypatch):
    """In the same process, as in a notebook."""

    def broken(ready, recipe, **how):
        raise ValueError("a bug")

    monkeypatch.setattr(sweeping, "train", broken)
    for _ in range(4):
        with pytest.raises(ValueError, match="a bug"):
            tune(images, BASE.but(epochs=1), preparation=SMALL, trials=1, search=["lr"], out=tmp_path)
    monkeypatch.undo()
    tune(images, BASE.but(epochs=1), preparation=SMALL, trials=1, search=["lr"], out=tmp_path)
    assert [row["state"] for row in table(tmp_path / "trials.csv")] == ["fail"] * 4 + ["complete"]


COMMAND = ("--model", "ultralight", "--from-scratch", "--image-size", "16", "--epochs", "9", "--json")


def start(photos, out):
    command = [sys.executable, "-m", "scrimp", "tune", str(photos), *COMMAND, "--trials", "4"]
    with out.with_suffix(".log").open("a") as log:
        return subprocess.Popen([*command, "--out", str(out)], stdout=log, stderr=log, stdin=subprocess.DEVNULL)


@pytest.mark.slow
def test_a_killed_process_loses_no_trial_and_two_share_the_rest(photos, tmp_path):
    out = tmp_path / "tuned"
    process = start(photos, out)
    deadline = time.monotonic() + 120
    while not list(out.glob("*/checkpoint.pt")):
        assert process.poll() is None, out.with_suffix(".log").read_text()
        assert time.monotonic() < deadline
        os.sched_yield()
    process.send_signal(signal.SIGKILL)
    process.wait()
    both = [start(photos, out) for _ in range(2)]
    assert [process.wait(200) for process in both] == [0, 0], out.with_suffix(".log").read_text()
    rows = table(out / "trials.csv")
    assert Counter(row["state"] == "fail" for row in rows) == {True: 1, False: 4}
    (cut_off,) = [row for row in rows if row["state"] == "fail"]
    (after,) = [row for row in rows if row["folders"] == cut_off["folders"] and row is not cut_off]
    assert any(note.startswith("Went on after epoch") for note in load_run(out / after["folders"]).notes)
    assert len({row["lr"] for row in rows}) == 4, "they never try the same"
    assert sum(run.test is not None for run in load_runs(out)) == 1
    texts = out.with_suffix(".log").read_text().splitlines()
    assert all(json.loads(text)["best"] for text in texts)


def test_the_command_writes_a_report(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny = ["--model", "ultralight", "--image-size", "16", "--epochs", "1", "--trials", "2", "--search", "lr"]
    app(["tune", str(photos), *tiny, "--out", "o", "--json"], standalone_mode=False)
    facts = json.loads(capsys.readouterr().out)
    assert facts["candidates"][0]["wins"]
    assert (tmp_path / "o" / "report.html").is_file()
    assert load_run(tmp_path / "o" / "best").test is not None


# ---------------------------------------------------------------- folds


def test_folds_are_fair_whole_and_the_same_everywhere(photos):
    images = find_images(photos)
    parts = []
    for fold in range(4):
        folded = find_images(images.source.but(folds=4, fold=fold))
        assert set(folded.splits) == {"train", "val", "test"}
        assert (np.flatnonzero(folded.splits == "test") == images.rows("test")).all()
        per_class = np.bincount(folded.labels[folded.rows("val")], minlength=3)
        assert per_class.max() - per_class.min() <= 1
        parts.append(folded.rows("val"))
        assert folded.fingerprint != images.fingerprint
    outside = np.flatnonzero(images.splits != "test")
    assert sorted(np.concatenate(parts)) == outside.tolist()
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    with pytest.raises(SettingError, match="fold=4, but folds=4"):
        images.source.but(folds=4, fold=4)
    with pytest.raises(SettingError, match="no folds are asked for"):
        images.source.but(fold=1)
    with pytest.raises(ImageError, match="too few for 400 folds"):
        find_images(images.source.but(folds=400))


def test_rows_of_one_image_stay_in_one_fold():
    from scrimp.images.split import deal_folds

    keys = [key for number in range(20) for key in [f"{number}.jpg"] * 3]
    labels = np.arange(60) % 2
    parts = deal_folds(keys, labels, np.array(["train"] * 57 + ["test"] * 3), 5)
    assert (parts.reshape(20, 3) == parts[::3, None]).all()
    assert parts[57:].tolist() == [-1, -1, -1]
    assert set(parts[:57]) == set(range(5))


def test_a_sweep_over_folds_packs_once_and_is_one_candidate(photos, tmp_path, monkeypatch):
    from scrimp.tradeoff import compare

    (photos_copy := tmp_path / "photos").mkdir()
    for path in photos.rglob("*.jpg"):
        (photos_copy / path.parent.name).mkdir(exist_ok=True)
        (photos_copy / path.parent.name / path.name).write_bytes(path.read_bytes())
    (photos_copy / "red" / "broken.jpg").write_bytes(b"no image")
    packed = []
    real = sweeping.prepare
    monkeypatch.setattr(sweeping, "prepare", lambda images, **how: packed.append(how) or real(images, **how))
    base = {"images": {"source": str(photos_copy), "folds": 3}, "preparation": {"image_px": 16}}
    base["recipe"] = {"model": "simple_cnn", "epochs": 1, "lr": 3e-3}
    runs = sweeping.sweep(sweeping.vary(base, {"images.fold": [0, 1, 2]}), tmp_path / "out", usd_per_hour=1.0)
    assert len(packed) == 1
    alone = run_plan(runs[1].plan, tmp_path / "alone")
    assert alone.fingerprint == runs[1].fingerprint, "as it would have been found and packed by itself"
    assert (alone.val, alone.left_out, alone.notes) == (runs[1].val, runs[1].left_out, runs[1].notes)
    (candidate,) = compare(runs).candidates
    assert candidate.val.n == 3
    errors = [run.val.standard_error for run in runs]
    spread = np.std([run.val.top1 for run in runs], ddof=1) / np.sqrt(3)
    assert candidate.noise == pytest.approx(max(spread, np.mean(errors) / np.sqrt(3)))
    stages = sum(cost.seconds for run in runs for stage, cost in run.costs.items() if stage not in run.shared)
    once = sum(runs[0].costs[stage].seconds for stage in runs[0].shared)
    assert compare(runs).bill.seconds == pytest.approx(stages + once)
