"""The tasks beside classify from end to end: found, trained, compared, shown, served; and what they refuse."""

from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pytest
import torch
from make_shapes import MM_BEFORE, SHAPES, make_discs, make_shapes, write_table
from PIL import Image

from scrimp import cli
from scrimp.batches import prepare
from scrimp.errors import ImageError, SettingError
from scrimp.fitting import Budget, fit
from scrimp.images import find_images
from scrimp.meter import load_run, load_runs, measure
from scrimp.models import build
from scrimp.models.saved import load_model
from scrimp.report import write_report
from scrimp.serving import predict
from scrimp.serving.page import answer_for
from scrimp.serving.predicting import Predictor
from scrimp.subset import select
from scrimp.sweeping import sweep, vary
from scrimp.tradeoff import compare, summary
from scrimp.training import Recipe, loop, train
from scrimp.training.evaluate import loss_of
from scrimp.training.evaluate import predict as outputs_of
from scrimp.training.weigh import weigh

TABLES = {"multilabel": "labels.csv", "regress": "targets.csv"}
KEYS = {"multilabel": "map", "regress": "r2"}
RECIPE = {"pretrained": False, "epochs": 6, "lr": 3e-3, "batch_size": 16}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    return {"multilabel": make_shapes(root / "shapes"), "regress": make_discs(root / "discs")}


@pytest.fixture(params=["multilabel", "regress"])
def task(request):
    return request.param


@pytest.fixture
def source(task, pictures):
    return pictures[task]


@pytest.fixture
def ready(task, source):
    return prepare(find_images(source, task=task), image_px=32)


@pytest.fixture
def run(monkeypatch, capsys):
    """`scrimp` with arguments, inside this process; its one JSON document."""

    def call(*arguments, code=0):
        monkeypatch.setattr(sys, "argv", ["scrimp", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        assert (ended.value.code or 0) == code, shown.err
        return json.loads(shown.out) if "--json" in arguments else shown.out

    return call


# ---------------------------------------------------------------- from end to end


def test_a_sweep_is_learnt_compared_and_shown(task, source, tmp_path):
    base = {
        "images": {"source": str(source), "task": task},
        "preparation": {"image_px": 32},
        "recipe": RECIPE | {"epochs": 8},
    }
    runs = sweep(vary(base, {"recipe.model": ["ultralight"], "recipe.seed": [0, 1]}), tmp_path)
    assert [run.status for run in runs] == ["finished"] * 2
    assert all(run.test.merit > 0.8 for run in runs), "it is learnt"
    assert [run.task for run in load_runs(tmp_path)] == [task] * 2
    assert all(load_run(run.folder) == run for run in runs), "what is saved is what is loaded"
    key = KEYS[task]
    with (tmp_path / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row[f"test_{key}"]) for row in rows] == [run.test.merit for run in runs]
    assert {"multilabel": "test_macro_f1", "regress": "test_rmse"}[task] in rows[0]
    with (tmp_path / runs[0].plan.name / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert [float(row[f"val_{key}"]) for row in history] == [epoch.val_score for epoch in runs[0].history]
    with Image.open(f"{runs[0].folder}/examples.jpg") as sheet:
        assert sheet.size == (6 * 96, (3 if task == "multilabel" else 4) * 96)
        if task == "regress":  # from small to large: more of the last picture is red
            first, last = (np.asarray(sheet.crop((x, y, x + 96, y + 96))) for x, y in ((0, 0), (480, 288)))
            assert (last[..., 0] > 180).mean() > 3 * (first[..., 0] > 180).mean() > 0
    chosen = compare(runs)
    facts = json.loads(json.dumps(summary(chosen)))
    assert (facts["task"], facts["measure"]) == (task, key)
    assert facts["candidates"][0]["val"]["n"] == 2
    assert {"multilabel": "wins with mAP 0.", "regress": "wins with R² 0."}[task] in chosen.verdict.replace("1.0", "0.")
    page = write_report(chosen, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "accuracy" not in page.split("<script", 1)[0].lower()


def test_the_command_line(task, source, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny = ("--model", "simple_cnn", "--image-size", "32", "--from-scratch", "--task", task)
    swept = run("sweep", source, *tiny, "--epochs", "2", "--out", "out", "--json")
    assert (swept["task"], swept["measure"]) == (task, KEYS[task])
    others = {"multilabel": {"micro_f1", "macro_f1"}, "regress": {"mae", "rmse"}}
    assert swept["candidates"][0]["others"]["test"].keys() == others[task]
    trained = run("train", source, *tiny, "--epochs", "1", "--json")
    assert KEYS[task] in trained["test"]
    title = {"multilabel": "mAP", "regress": "R²"}[task]
    assert title in run("train", source, *tiny, "--epochs", "1", "--out", "again")
    assert f"test {title}" in run("compare", "out")
    first, second = sorted(source.parent.glob("*.png"))[:2]
    answers = run("predict", "out/best", first, second, "none.png", "--json", code=1)
    assert [set(answer) for answer in answers] == [{"image", "probabilities", "label", "labels", "target", "error"}] * 3
    assert answers[2]["error"] is not None
    assert answers[0]["label"] is None
    if task == "multilabel":
        for answer in answers[:2]:
            assert set(answer["probabilities"]) == set(SHAPES)
            assert answer["labels"] == [name for name, chance in answer["probabilities"].items() if chance >= 0.5]
    else:
        assert all(isinstance(answer["target"], float) and not answer["probabilities"] for answer in answers[:2])
    shown = run("predict", "out/best", first, "none.png", code=1)
    assert "not read" in shown
    if task == "multilabel":
        assert all(name in shown for name in SHAPES)


def test_a_fit_spends_its_budget_on_either(task, source, tmp_path):
    images = find_images(source, task=task)
    chosen = fit(images, Budget(seconds=10), models=["simple_cnn", "ultralight"], image_sizes=[32], out=tmp_path)
    assert chosen.best.task == task
    assert chosen.best.test.merit > 0.5
    assert [run.test is None for c in chosen.candidates for run in c.runs].count(False) == 1
    round_one = next(line for line in chosen.story if line.startswith("Round 1"))
    assert {"multilabel": "px mAP ", "regress": "px R² "}[task] in round_one
    assert "%" not in round_one


# ---------------------------------------------------------------- training


def test_a_run_cut_off_ends_as_the_unbroken_one(ready, tmp_path, monkeypatch):
    recipe = Recipe(model="simple_cnn", **RECIPE | {"epochs": 3})
    unbroken = train(ready, recipe, out=tmp_path / "unbroken")

    class Killed(BaseException):
        """Like a kill: nothing in the package may catch it."""

    real = loop._keep

    def killed_after_two(play, done, folder, resumable):
        real(play, done, folder, resumable)
        if len(done.history) == 2:
            raise Killed

    monkeypatch.setattr(loop, "_keep", killed_after_two)
    with pytest.raises(Killed):
        train(ready, recipe, out=tmp_path / "cut")
    monkeypatch.setattr(loop, "_keep", real)
    resumed = train(ready, recipe, out=tmp_path / "cut")
    ours, theirs = resumed.model.state_dict(), unbroken.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [e.val_score for e in resumed.history] == [e.val_score for e in unbroken.history]
    assert any("Went on after epoch 2" in note for note in resumed.notes)


def test_the_best_epoch_by_the_tasks_measure_is_kept(task, ready, tmp_path):
    trained = train(ready, Recipe(model="simple_cnn", **RECIPE | {"lr": 0.02}), out=tmp_path)
    best = max(trained.history, key=lambda epoch: (epoch.val_score, -epoch.val_loss))
    assert trained.best_epoch == best.epoch
    run = measure(trained)
    assert run.val.merit == pytest.approx(best.val_score)
    losses = [epoch.train_loss for epoch in trained.history]
    scores = [epoch.train_score for epoch in trained.history]
    # the training loss is in variances, and R² is what is left of one
    assert scores == ([None] * 6 if task == "multilabel" else pytest.approx([1 - loss for loss in losses]))


def test_losses_by_hand():
    logits, labels = torch.tensor([[0.0, 2.0]]), torch.tensor([[1, 0]], dtype=torch.uint8)
    by_hand = (np.log(2) + np.log(1 + np.exp(2))) / 2
    assert loss_of(logits, labels, "multilabel").item() == pytest.approx(by_hand)
    outputs, targets = torch.tensor([[10.0], [20.0]]), torch.tensor([14.0, 14.0])
    assert loss_of(outputs, targets, "regress", sd=torch.tensor([2.0])).item() == pytest.approx((4 + 9) / 2)


def test_targets_are_given_in_their_own_unit_from_the_start_and_after_loading(pictures, tmp_path):
    ready = prepare(find_images(pictures["regress"], task="regress"), image_px=32)
    targets = ready.images.labels[ready.images.rows("train")].astype(float)
    trained = train(ready, Recipe(model="simple_cnn", **RECIPE), out=tmp_path)
    assert trained.model.target_mean.item() == pytest.approx(targets.mean(), rel=1e-6)
    assert trained.model.target_sd.item() == pytest.approx(np.sqrt(np.mean((targets - targets.mean()) ** 2)), rel=1e-5)
    loaded = load_model(tmp_path)
    assert (loaded.task, loaded.classes) == ("regress", ())
    rows = ready.images.rows("test")
    before, after = (outputs_of(model, ready, rows)[:, 0] for model in (trained.model, loaded.model))
    assert torch.equal(before, after)
    assert before.min() > MM_BEFORE
    files = [ready.images.items[row] for row in rows]
    assert [answer.target for answer in predict(tmp_path, files)] == pytest.approx(before.tolist(), rel=1e-3)


def test_a_model_that_has_learnt_nothing_says_about_the_mean():
    pixels = torch.randint(0, 256, (4, 3, 32, 32)).byte()
    plain, with_units = (build("simple_cnn", classes=1, image_px=32, pretrained=False, seed=3).eval() for _ in "ab")
    with_units.set_units(1000.0, 20.0)
    assert torch.allclose(with_units(pixels), plain(pixels) * 20 + 1000)
    assert {"target_mean", "target_sd"} == set(with_units.state_dict()) - set(plain.state_dict())


def test_the_same_targets_in_another_unit_are_learnt_the_same(pictures, tmp_path):
    """Kilometres instead of millimetres: the same division, the same R², and a millionth of the error."""
    with pictures["regress"].open() as file:
        rows = [(path, float(mm) / 1e6) for path, mm in list(csv.reader(file))[1:]]
    other = write_table(pictures["regress"].with_name("kilometres.csv"), ("path", "target"), rows)
    mm, km = (
        measure(train(prepare(find_images(path, task="regress"), image_px=32), recipe, out=tmp_path / path.stem))
        for recipe in [Recipe(model="simple_cnn", **RECIPE)]
        for path in (pictures["regress"], other)
    )
    assert km.val.r2 == pytest.approx(mm.val.r2, abs=0.02)
    assert km.val.mae == pytest.approx(mm.val.mae / 1e6, rel=0.1)
    assert mm.val.r2 > 0.5


def test_going_on_with_a_model_keeps_its_unit(pictures, tmp_path):
    ready = prepare(find_images(pictures["regress"], task="regress"), image_px=32)
    first = train(ready, Recipe(model="simple_cnn", **RECIPE | {"epochs": 1}), out=tmp_path / "a")
    unit = first.model.target_sd.clone()
    half = prepare(select(ready.images, keep=40), image_px=32)
    later = train(half, Recipe(model="simple_cnn", **RECIPE), out=tmp_path / "b", model=first.model)
    assert torch.equal(later.model.target_sd, unit)


def test_weighing_puts_the_weights_back(task, ready):
    model = build("simple_cnn", classes=ready.images.outputs, image_px=32, pretrained=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seconds = weigh(model, ready, Recipe(model="simple_cnn", **RECIPE), at_most_s=0.05)
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert 0 < seconds.eval_s < seconds.train_s * 3


def test_bfloat16_gives_targets_in_full(ready, task, tmp_path):
    trained = train(ready, Recipe(model="simple_cnn", precision="bfloat16", **RECIPE | {"epochs": 1}), out=tmp_path)
    assert np.isfinite(trained.history[0].val_score)


def test_outputs_that_are_no_numbers_end_the_run_with_the_best_so_far(ready, tmp_path, monkeypatch):
    real, looks = loop.predict, []

    def broken_at_the_second(model, *args, **kwargs):
        looks.append(1)
        return real(model, *args, **kwargs) * (float("nan") if len(looks) == 2 else 1)

    monkeypatch.setattr(loop, "predict", broken_at_the_second)
    trained = train(ready, Recipe(model="simple_cnn", **RECIPE), out=tmp_path)
    assert (trained.status, trained.best_epoch) == ("failed", 1)
    assert "no longer numbers after epoch 2" in trained.reason


# ---------------------------------------------------------------- serving


def test_what_the_page_answers(task, ready, tmp_path):
    train(ready, Recipe(model="ultralight", **RECIPE), out=tmp_path)
    predictor = Predictor(tmp_path)
    with Image.open(ready.images.items[0]) as file:
        image = file.convert("RGB")
    seen = predictor.look(image)
    shown = answer_for(seen)
    if task == "regress":
        assert shown == pytest.approx(seen.target, rel=1e-5)
        return
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]  # 32 pixels as they are
    logits = predictor.model(pixels)[0].tolist()
    by_hand = {name: 1 / (1 + np.exp(-logit)) for name, logit in zip(predictor.classes, logits, strict=True)}
    assert seen.probabilities == pytest.approx(by_hand, rel=1e-4)
    assert [name.removeprefix("✓ ") for name in shown] == list(seen.probabilities)
    assert {name.removeprefix("✓ ") for name in shown if name.startswith("✓ ")} == set(seen.labels)
    truth = {name for name, has in zip(SHAPES, ready.images.labels[0], strict=True) if has}
    assert set(seen.labels) == truth, "six epochs are enough for a picture it has most likely seen"


def test_a_model_saved_before_there_were_tasks_is_a_classifier(photos, tmp_path):
    ready = prepare(find_images(photos), image_px=16)
    train(ready, Recipe(model="simple_cnn", epochs=1), out=tmp_path)
    facts = json.loads((tmp_path / "model.json").read_text())
    assert facts.pop("task") == "classify"
    (tmp_path / "model.json").write_text(json.dumps(facts))
    assert load_model(tmp_path).task == "classify"


# ---------------------------------------------------------------- refused


def test_label_smoothing_is_for_classes(ready, task, tmp_path):
    with pytest.raises(SettingError, match=rf"label_smoothing=0.1 .*task='{task}'"):
        train(ready, Recipe(model="simple_cnn", label_smoothing=0.1, **RECIPE), out=tmp_path)


def test_a_split_that_allows_no_score_is_refused_before_training(tmp_path):
    rows = []
    for number in range(12):
        Image.new("RGB", (32, 32), (number * 20, 0, 0)).save(tmp_path / f"{number}.png")
        rows.append((f"{number}.png", *((7, "", "val") if number < 4 else (number, "a", "train"))))
    Image.new("RGB", (32, 32)).save(tmp_path / "last.png")
    rows.append(("last.png", 3, "a", "test"))  # or val would become the test split
    table = write_table(tmp_path / "t.csv", ("path", "target", "labels", "split"), rows)
    for task, why in (("regress", "all images have the target 7"), ("multilabel", "none of the images has a label")):
        ready = prepare(find_images(table, task=task), image_px=16)
        with pytest.raises(ImageError, match=rf"of the val split of '.*t.csv' \(4 images\): {why}"):
            train(ready, Recipe(model="simple_cnn", **RECIPE), out=tmp_path / "out")


def test_a_test_split_that_allows_no_score_is_noted(tmp_path):
    rows = []
    for number in range(12):
        Image.new("RGB", (32, 32), (number * 20, 0, 0)).save(tmp_path / f"{number}.png")
        rows.append((f"{number}.png", number, "val" if number < 4 else "train"))
    Image.new("RGB", (32, 32)).save(tmp_path / "last.png")
    table = write_table(tmp_path / "t.csv", ("path", "target", "split"), [*rows, ("last.png", 3, "test")])
    ready = prepare(find_images(table, task="regress"), image_px=16)
    run = measure(train(ready, Recipe(model="simple_cnn", **RECIPE | {"epochs": 1}), out=tmp_path / "out"))
    assert run.test is None
    assert "The 1 test images allow no score: all images have the target 3." in run.notes
    write_report(compare([run]), tmp_path / "report.html")


def test_plans_of_several_tasks_are_not_swept(tmp_path):
    plans = vary(
        {"images": {"source": "t.csv"}, "recipe": {"model": "simple_cnn"}}, {"images.task": ["regress", "multilabel"]}
    )
    with pytest.raises(SettingError, match="2 tasks, regress, multilabel: sweep each by itself"):
        sweep(plans, tmp_path)
