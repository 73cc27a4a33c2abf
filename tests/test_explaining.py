"""Explanations: each part against a second route, and the whole on a run whose one mistake is known."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from make_photos import COLOURS, save_photo
from make_shapes import make_discs, make_shapes
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_fscore_support

import scrimp
from scrimp import cli, sweeping
from scrimp.errors import ImageError, NotFound
from scrimp.explaining import Explanation, calibration, explain
from scrimp.explaining.calibration import calibrate, error_by_chance, expected_error, probabilities, reliability
from scrimp.explaining.classes import MANY, qualities_of_classes, qualities_of_labels, side_by_side
from scrimp.explaining.corruption import CORRUPTIONS, blur, brightness, jpeg, noise
from scrimp.explaining.kinds import Calibration
from scrimp.explaining.looking import Pick, least_sure, most_wrong
from scrimp.models.saved import BOXED
from scrimp.scores import LIMIT, fit_temperature
from scrimp.sweeping import run_plan

WRONG = "test/blue/mislabelled.jpg"


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# ---------------------------------------------------------------- calibration


def test_reliability_is_counted_bin_by_bin():
    said = np.array([0.0, 0.05, 1 / 15, 0.07, 0.99, 1.0])
    right = np.array([0, 1, 0, 1, 1, 0])
    bins = reliability(said, right)
    assert [one.n for one in bins] == [3, 1, *[0] * 12, 2]
    assert (bins[0].said, bins[0].right) == (pytest.approx((0 + 0.05 + 1 / 15) / 3), pytest.approx(1 / 3))
    assert (bins[2].said, bins[2].right) == (None, None)
    by_hand = 3 * abs((0.05 + 1 / 15) / 3 - 1 / 3) + abs(0.07 - 1) + 2 * abs(0.995 - 0.5)
    assert expected_error(bins) == pytest.approx(by_hand / 6)


def test_the_temperature_is_that_of_a_logistic_regression():
    dice = np.random.default_rng(0)
    outputs = dice.normal(0, 3, (2000, 1))
    truth = (dice.random((2000, 1)) < expit(outputs / 2.5)).astype(np.uint8)
    slope = LogisticRegression(C=np.inf, fit_intercept=False).fit(outputs, truth.ravel()).coef_.item()
    temperature, at_limit = fit_temperature("multilabel", truth, outputs)
    assert temperature == pytest.approx(1 / slope, rel=1e-3)
    assert not at_limit


def test_a_model_that_exaggerates_is_cooled_down_by_as_much():
    dice = np.random.default_rng(0)
    honest = dice.normal(0, 2, (6000, 4))
    truth = np.array([dice.choice(4, p=chances) for chances in softmax(honest, axis=1)])
    half = slice(0, 3000), slice(3000, 6000)
    found = calibrate("classify", "test", truth[half[0]], 3 * honest[half[0]], (truth[half[1]], 3 * honest[half[1]]))
    assert found.temperature == pytest.approx(3, rel=0.07)
    assert found.ece > 0.15
    assert found.ece_scaled < 0.03
    assert found.excess == pytest.approx(found.ece, abs=0.01), "it is surer than right throughout"
    assert found.answers == 3000
    assert calibrate("classify", "val", truth, honest).temperature is None


def test_chance_is_told_from_a_fault():
    """Twenty honest models: about one of them is above what 95 % stay within. One that exaggerates always is."""
    for n in (50, 300):
        above = 0
        for seed in range(20):
            dice = np.random.default_rng(seed)
            outputs = dice.normal(0, 2, (n, 4))
            truth = np.array([dice.choice(4, p=chances) for chances in softmax(outputs, axis=1)])
            above += not calibrate("classify", "test", truth, outputs).honest
            assert not calibrate("classify", "test", truth, 4 * outputs).honest
        assert above <= 4
    sure = np.full(10_000, 0.7)  # one bin, of normal spread: the mean of |x| has its 95 % at 1.96 standard errors
    assert error_by_chance(sure) == pytest.approx(1.96 * (0.7 * 0.3 / 10_000) ** 0.5, rel=0.1)


def test_a_temperature_helps_only_where_that_can_be_told():
    few = {"split": "test", "answers": 50, "bins": (), "ece_by_chance": 0.1, "ece_scaled_by_chance": 0.1}
    for ece, scaled, helps in ((0.08, 0.05, None), (0.08, 0.2, False), (0.2, 0.08, True), (0.2, 0.3, False)):
        assert Calibration(**few, ece=ece, ece_scaled=scaled).helps is helps
    assert Calibration(split="test", answers=50, bins=(), ece=0.2, ece_by_chance=0.1).helps is None


@pytest.mark.parametrize("task", ["classify", "multilabel"])
def test_probabilities_take_no_more_room_than_outputs(task):
    outputs = np.random.default_rng(0).normal(0, 3, (50, 4)).astype(np.float32)
    found = probabilities(task, outputs)
    assert found.dtype == np.float32
    exact = outputs.astype(np.float64)
    assert found == pytest.approx(expit(exact) if task == "multilabel" else softmax(exact, axis=1), abs=1e-6)


def test_outputs_that_are_never_wrong_have_no_temperature_of_their_own():
    truth = np.arange(30) % 3
    temperature, at_limit = fit_temperature("classify", truth, np.eye(3)[truth])
    assert at_limit
    assert temperature == pytest.approx(1 / LIMIT, rel=1e-2)


# ---------------------------------------------------------------- classes


def test_precision_and_recall_are_those_of_scikit_learn():
    dice = np.random.default_rng(0)
    truth, said = dice.integers(0, 5, 80), dice.integers(0, 5, 80)
    counts = np.zeros((5, 5), int)
    np.add.at(counts, (truth, said), 1)
    precision, recall, _, images = precision_recall_fscore_support(truth, said)
    found = qualities_of_classes("abcde", counts.tolist())
    assert [one.precision for one in found] == pytest.approx(precision.tolist())
    assert [one.recall for one in found] == pytest.approx(recall.tolist())
    assert [one.images for one in found] == images.tolist()
    truth, outputs = dice.integers(0, 2, (80, 3)), dice.normal(0, 1, (80, 3))
    precision, recall, _, images = precision_recall_fscore_support(truth, outputs > 0)
    found = qualities_of_labels("abc", truth, outputs)
    assert [one.precision for one in found] == pytest.approx(precision.tolist())
    assert [one.recall for one in found] == pytest.approx(recall.tolist())
    assert [one.images for one in found] == images.tolist()


def test_what_cannot_be_known_is_none():
    never_there, never_said = qualities_of_classes("ab", [[0, 0], [3, 0]])
    assert (never_there.recall, never_there.precision, never_there.said) == (None, 0.0, 3)
    assert (never_said.recall, never_said.precision, never_said.images) == (0.0, None, 3)


def test_classes_taken_for_one_another_stand_side_by_side():
    dice = np.random.default_rng(0)
    group = np.arange(16) % 4  # 0, 4, 8 and 12 are taken for one another, and so on
    alike = group[:, None] == group[None]
    counts = np.where(alike, dice.integers(5, 9, (16, 16)), 0) + 20 * np.eye(16, dtype=int)
    order = side_by_side(counts.tolist())
    assert sorted(order) == list(range(16))
    groups = group[list(order)]
    assert (groups[1:] != groups[:-1]).sum() == 3, "each group is in one piece"
    assert side_by_side(counts[:MANY, :MANY].tolist()) == tuple(range(MANY)), "few stay as they are"
    assert sorted(side_by_side(np.zeros((20, 20), int).tolist())) == list(range(20))


# ---------------------------------------------------------------- worse images


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_worse_images_are_worse_each_time_and_the_same_each_time(kind):
    what = CORRUPTIONS[kind]
    smooth = cv2.resize(np.random.default_rng(0).integers(40, 200, (8, 8, 3), dtype=np.uint8), (64, 64))
    image = np.clip(smooth + np.random.default_rng(1).normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)
    before = image.copy()
    worse = [what.work(image, strength, 7) for strength in what.strengths]
    assert all(one.dtype == np.uint8 and one.shape == image.shape for one in worse)
    off = [np.abs(one.astype(int) - image).mean() for one in worse]
    assert 0 < off[0] < off[1] < off[2]
    assert all(
        np.array_equal(one, what.work(image, strength, 7)) for one, strength in zip(worse, what.strengths, strict=True)
    )
    assert np.array_equal(image, before)


def test_corruptions_do_what_their_settings_say():
    grey = np.full((200, 200, 3), 128, np.uint8)
    drawn = noise(grey, 0.08, 1).astype(float)
    assert drawn.std() == pytest.approx(0.08 * 255, rel=0.02)
    assert drawn.mean() == pytest.approx(128, abs=0.3)
    assert not np.array_equal(drawn, noise(grey, 0.08, 2)), "every image has its own"
    olive = np.full((2, 2, 3), (100, 80, 20), np.uint8)
    assert brightness(olive, 0.1, 0)[0, 0].tolist() == pytest.approx([125.5, 125.5 * 0.8, 125.5 * 0.2], abs=1)
    assert brightness(olive, 0.7, 0)[0, 0].tolist() == pytest.approx([255, 204, 51], abs=1), "white is the limit"
    dot = np.zeros((112, 112, 3), np.uint8)
    dot[56, :, :] = 255  # a line: across it, the blur is a bell of 3 px, half of what it is at 224
    across = blur(dot, 6, 0)[:, 56, 0].astype(float)
    spread = np.sqrt((across * (np.arange(112) - 56) ** 2).sum() / across.sum())
    assert spread == pytest.approx(3, rel=0.1)
    photo = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.abs(jpeg(photo, 95, 0).astype(int) - photo).mean() < np.abs(jpeg(photo, 7, 0).astype(int) - photo).mean()
    red = jpeg(np.full((16, 16, 3), (220, 30, 30), np.uint8), 25, 0)
    assert red[8, 8].tolist() == pytest.approx([220, 30, 30], abs=12), "colours stay in their places"


# ---------------------------------------------------------------- which images are looked at


def test_the_surest_mistakes_come_first():
    truth = np.array([0, 1, 2, 0])
    outputs = np.log([[0.6, 0.3, 0.1], [0.55, 0.4, 0.05], [0.05, 0.9, 0.05], [0.2, 0.7, 0.1]])
    assert most_wrong("classify", truth, outputs, 9) == [Pick(2, 1), Pick(3, 1), Pick(1, 0)]
    assert most_wrong("classify", truth, outputs, 1) == [Pick(2, 1)]
    assert least_sure("classify", outputs, 2) == [Pick(1, 0), Pick(0, 0)]


def test_of_labels_the_one_that_is_most_wrong_is_explained():
    truth = np.array([[1, 0], [0, 1], [1, 1]])
    chances = np.array([[0.3, 0.9], [0.2, 0.6], [0.99, 0.02]])
    outputs = np.log(chances / (1 - chances))
    assert most_wrong("multilabel", truth, outputs, 9) == [Pick(2, 1), Pick(0, 1)]
    assert least_sure("multilabel", outputs, 2) == [Pick(1, 1), Pick(0, 0)]


def test_of_targets_the_furthest_off_come_first():
    assert most_wrong("regress", np.array([1.0, 5.0, 2.0]), np.array([[2.0], [1.0], [2.5]]), 2) == [
        Pick(1, 0),
        Pick(0, 0),
    ]
    assert least_sure("regress", np.zeros((3, 1)), 2) == []


# ---------------------------------------------------------------- the whole


def photos_with_one_mistake(root: Path) -> Path:
    """Three colours, told apart at once; one red photo of test is said to be blue."""
    for split, count in (("train", 16), ("val", 5), ("test", 6)):
        for number, (name, colour) in enumerate(COLOURS.items()):
            for index in range(count):
                save_photo(root / split / name / f"{index}.jpg", colour, seed=1000 * count + 100 * number + index)
    save_photo(root / WRONG, COLOURS["red"], seed=9)
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The photos, and the folder of a run that has learnt them."""
    root = tmp_path_factory.mktemp("explained")
    patch = pytest.MonkeyPatch()
    patch.setenv("SCRIMP_CACHE", str(root / "cache"))
    images = photos_with_one_mistake(root / "photos")
    run_plan(plan_for(images, epochs=8), root / "run")
    patch.undo()
    return images, root / "run"


def plan_for(source, task="classify", epochs=4, px=16):
    recipe = {"model": "simple_cnn", "pretrained": False, "epochs": epochs, "lr": 3e-3, "batch_size": 16}
    images = {"source": str(source), "task": task}
    return scrimp.Plan(images=images, preparation={"image_px": px}, recipe=recipe)


@pytest.fixture(scope="module")
def found(made, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCRIMP_CACHE", str(tmp_path_factory.mktemp("cache")))
        return explain(made[1], [str(made[0] / "test" / "red" / "0.jpg"), "nowhere.jpg"], pictured=3)


def test_the_one_mistake_is_found(found, made):
    run = scrimp.load_run(made[1])
    assert found.split == "test"
    assert found.scores == run.test, "it is judged as it was measured"
    assert found.scores.top1 == pytest.approx(18 / 19)
    [mistake] = found.mistakes
    assert (mistake.key, mistake.truth, mistake.said, mistake.about) == (WRONG, "blue", "red", "red")
    assert mistake.probability > 0.5
    assert mistake.pictures.grad_cam_truth is not None
    blue, _, red = found.qualities
    assert (blue.recall, red.precision) == (pytest.approx(6 / 7), pytest.approx(6 / 7))
    assert found.order == (0, 1, 2)
    assert (found.notes, found.left_out) == ((), ())
    assert (found.layer, found.grid) == ("layers", 4)


def test_images_of_ones_own_are_looked_at(found):
    [given] = found.given
    assert (given.said, given.about, given.truth) == ("red", "red", None)
    assert given.pictures.grad_cam_truth is None
    assert all(
        uri.startswith("data:image/jpeg;base64,/9j/") for uri in (given.pictures.image, given.pictures.occlusion)
    )
    [(file, reason)] = found.unreadable
    assert file == "nowhere.jpg"
    assert "nowhere.jpg" in reason


def test_images_of_ones_own_are_to_be_cut_like_those_it_learnt_from(made, tmp_path):
    run = shutil.copytree(made[1], tmp_path / "run")
    facts = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps(facts | {"boxed": True}))
    file = str(made[0] / "test" / "red" / "0.jpg")
    assert explain(run, [file], pictured=0, corrupted=3).notes == (BOXED,)
    assert explain(run, pictured=0, corrupted=3).notes == (), "those of the run are cut"


def test_the_least_sure_are_the_least_sure(found):
    assert len(found.unsure) == 3
    chances = [one.probability for one in found.unsure]
    assert chances == sorted(chances)


def test_worse_images_are_judged_on_the_same_images(found):
    told = found.robustness
    assert (told.n, told.of, told.split) == (19, 19, "test")
    assert told.clean == found.scores.top1
    assert [(one.kind, one.strength) for one in told.corrupted] == [(k, s) for k in CORRUPTIONS for s in (1, 2, 3)]
    assert {one.setting for one in told.corrupted if one.kind == "JPEG"} == {"quality 25", "quality 15", "quality 7"}
    assert len(told.example) == 12
    by_kind = {one.kind: one.merit for one in told.corrupted if one.strength == 3}
    assert by_kind["blur"] == pytest.approx(18 / 19), "colours survive a blur"


def test_the_temperature_is_fitted_on_val_alone(made, found, monkeypatch):
    folder = made[1]
    fitted = []
    real = calibration.fit_temperature
    monkeypatch.setattr(calibration, "fit_temperature", lambda *given: fitted.append(given) or real(*given))
    again = explain(folder, pictured=1)
    [(task, truth, outputs)] = fitted
    assert (task, truth.tolist(), outputs.shape) == ("classify", [0] * 5 + [1] * 5 + [2] * 5, (15, 3))
    assert again.calibration == found.calibration, "the same run, the same explanation"
    assert again.robustness == found.robustness
    assert again.mistakes == found.mistakes


def test_its_json_has_everything_but_the_pictures(found):
    text = json.dumps(found.to_json())
    assert "data:image" not in text
    assert json.loads(text)["mistakes"][0]["key"] == WRONG
    whole = found.model_dump()
    assert Explanation(**whole) == found


def test_images_that_changed_since_are_told(made, tmp_path):
    images, folder = made
    moved = shutil.copytree(folder, tmp_path / "run")
    text = (moved / "result.json").read_text().replace(str(images), str(tmp_path / "photos"))
    (moved / "result.json").write_text(text)
    file = str(images / "test" / "red" / "0.jpg")
    with pytest.raises(NotFound, match="photos"):
        explain(moved)
    alone = explain(moved, [file])
    assert (alone.split, alone.scores, alone.mistakes, alone.calibration) == (None, None, (), None)
    assert len(alone.given) == 1
    [why] = alone.left_out
    assert "All that needs the run's own images" in why
    photos = shutil.copytree(images, tmp_path / "photos")
    save_photo(photos / "test" / "red" / "new.jpg", COLOURS["red"], seed=77)
    more = explain(moved, pictured=1)
    assert more.scores.n == 20
    assert "not exactly the images of the run" in more.notes[0]
    save_photo(photos / "train" / "pink" / "0.jpg", (255, 150, 150), seed=78)
    with pytest.raises(ImageError, match="4 classes, but the model knows 3 others"):
        explain(moved)


@pytest.mark.parametrize(
    "chosen", [{"selection": {"keep": 12, "method": "herding"}}, {"distillation": {"per_class": 1}}]
)
def test_what_is_learnt_from_is_not_chosen_again(chosen, made, tmp_path, monkeypatch):
    photos = shutil.copytree(made[0], tmp_path / "photos")
    run = run_plan(scrimp.Plan(**{**plan_for(photos, epochs=1).model_dump(), **chosen}), tmp_path / "run")
    methods = []
    real = sweeping.select
    monkeypatch.setattr(
        sweeping, "select", lambda *images, **asked: methods.append(asked["method"]) or real(*images, **asked)
    )
    monkeypatch.delattr(sweeping, "distill")
    found = explain(run, pictured=1, corrupted=3)
    assert methods == ["random"]
    assert found.scores == run.test
    [note] = found.notes
    assert "not done again here" in note
    save_photo(photos / "test" / "red" / "new.jpg", COLOURS["red"], seed=77)
    [note] = explain(run, pictured=1, corrupted=3).notes
    assert "not exactly the images of the run" in note


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    return {"multilabel": make_shapes(root / "shapes", n=120), "regress": make_discs(root / "discs", n=120)}


@pytest.mark.parametrize("task", ["multilabel", "regress"])
def test_other_tasks_are_explained_as_far_as_it_means_something(task, pictures, tmp_path):
    run = run_plan(plan_for(pictures[task], task, px=32), tmp_path / "run")
    found = explain(run, pictured=2, corrupted=10)
    assert found.scores == run.test
    assert found.order == ()
    assert len(found.mistakes) == 2
    assert (found.robustness.n, found.robustness.of) == (10, run.image_counts["test"])
    if task == "multilabel":
        assert found.calibration.answers == 3 * run.image_counts["test"]
        assert [one.name for one in found.qualities] == list(run.classes)
        assert len(found.unsure) == 2
        assert found.mistakes[0].about in run.classes
        assert "confusion matrix" in found.left_out[0]
    else:
        assert (found.calibration, found.qualities, found.unsure) == (None, (), ())
        assert found.mistakes[0].probability is None
        off = [abs(float(one.said.replace(",", "")) - float(one.truth.replace(",", ""))) for one in found.mistakes]
        assert off[0] >= off[1] > 0
        assert found.left_out[0].startswith("Calibration")


def test_without_a_test_split_to_score_val_is_shown_and_no_temperature(pictures, tmp_path):
    table = pictures["multilabel"]
    lines = table.read_text().splitlines()
    parts = ["train"] * 80 + ["val"] * 30 + ["test"] * 10
    rows = [
        f"{line.split(',')[0]},{'' if part == 'test' else line.split(',')[1]},{part}"
        for line, part in zip(lines[1:], parts, strict=True)
    ]
    manifest = table.with_name("no_test.csv")
    manifest.write_text("\n".join(["path,labels,split", *rows]) + "\n")
    run = run_plan(plan_for(manifest, "multilabel", epochs=1, px=32), tmp_path / "run")
    found = explain(run, pictured=1, corrupted=10)
    assert found.split == "val"
    assert found.calibration.temperature is None
    assert any("temperature" in line for line in found.left_out)


# ---------------------------------------------------------------- the command


@pytest.fixture
def command(monkeypatch, capsys):
    """`scrimp` with arguments, inside this process: exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["scrimp", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return call


def test_the_command_writes_its_page_beside_the_run(command, made, tmp_path):
    folder = shutil.copytree(made[1], tmp_path / "run")
    code, out, _ = command("explain", folder)
    assert code == 0
    assert (folder / "explanation.html").is_file()
    for told in ("test: 94.7% top-1, 19 images", "Calibration error (ECE)", "with the temperature", "blur", "85.7%"):
        assert told in out
    photo = made[0] / "test" / "red" / "0.jpg"
    code, out, _ = command("explain", folder, photo, "none.jpg", "--out", tmp_path / "why.html", "--json")
    told = json.loads(out)
    assert code == 1, "one could not be read"
    assert told["page"] == str(tmp_path / "why.html")
    assert [one["said"] for one in told["given"]] == ["red"]
    assert (tmp_path / "why.html").is_file()
    code, out, err = command("explain", tmp_path)
    assert (code, out) == (2, "")
    assert "No run in" in err
