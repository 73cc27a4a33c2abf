"""The command line: what it refuses and how, what it prints, and that an interrupted sweep goes on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError

import pytest
import torch
from PIL import Image

import scrimp.cost
from scrimp import cli
from scrimp.models import MODELS

TINY = ("--from-scratch", "--image-size", "16", "--epochs", "1")


class Answer(NamedTuple):
    """What a command ended with."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout; anything beside it fails here."""
        return json.loads(self.out)


Command = Callable[..., Answer]


class CountingSensor:
    """A watt-hour whenever somebody looks."""

    source = "a counter"

    def __init__(self) -> None:
        self.looks = 0

    def read_wh(self) -> float | None:
        self.looks += 1
        return float(self.looks)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The real sensor takes seconds to start; on a busy machine, threads of tiny models wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    scrimp.cost._starting_sensor.cache_clear()
    monkeypatch.setattr(scrimp.cost, "CodeCarbonSensor", CountingSensor)
    yield
    scrimp.cost._starting_sensor.cache_clear()
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every command runs in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`scrimp` with arguments, inside this process."""

    def call(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["scrimp", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        return Answer(int(ended.value.code or 0), shown.out, shown.err)

    return call


def command_line(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "scrimp", *map(str, arguments)]


# ---------------------------------------------------------------- what is refused


def assert_refused(answer: Answer, *wanted: str) -> None:
    """One line on stderr with all that is wanted, nothing on stdout, exit code 2."""
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("scrimp: ")
    assert answer.err.count("\n") == 1, "one line"
    for part in wanted:
        assert part in answer.err


def test_no_such_path(run: Command) -> None:
    assert_refused(run("train", "nowhere/photos", "--model", "ultralight"), "'nowhere/photos'", "Give a folder")


def test_a_misspelt_data_set_is_offered(run: Command) -> None:
    assert_refused(run("train", "digit", "--model", "ultralight"), "'digit'", "Did you mean 'digits'?")


def test_a_folder_without_images(run: Command, here: Path) -> None:
    (here / "empty" / "cats").mkdir(parents=True)
    (here / "empty" / "cats" / "notes.txt").write_text("no image")
    assert_refused(run("train", "empty", "--model", "ultralight"), "empty")


def test_one_class_alone(run: Command, here: Path, photos: Path) -> None:
    (here / "one").mkdir()
    (here / "one" / "red").symlink_to(photos / "red", target_is_directory=True)
    assert_refused(run("fit", "one", "--budget", "5s"), "one", "class", "red")


def test_an_unknown_model_is_offered_the_nearest(run: Command) -> None:
    answer = run("train", "digits", "--model", "mobilnet_v3_small")
    assert_refused(
        answer,
        "No model called 'mobilnet_v3_small'.",
        "Did you mean 'mobilenet_v3_small'?",
        f"'scrimp models' lists all {len(MODELS)}.",
    )


def test_an_unknown_model_is_refused_by_every_command_that_takes_one(run: Command) -> None:
    assert_refused(run("sweep", "digits", "--model", "vgg9"), "'vgg9'", "Did you mean 'vgg8'?")
    assert_refused(run("fit", "digits", "--budget", "60s", "--model", "vgg9"), "'vgg9'", "Did you mean 'vgg8'?")


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("recipe.epoch=5", ["'epoch'", "Did you mean 'epochs'?"]),
        ("recipy.epochs=5", ["'recipy'", "Did you mean 'recipe'?"]),
        ("recipe.epochs=many", ["epochs", "'many'"]),
        ("recipe.epochs=0", ["epochs", "0"]),
        ("recipe.optimiser=sdg", ["optimiser", "'sdg'"]),
        ("epochs=5", ["--set epochs=5", "TABLE.NAME=VALUE"]),
        ("recipe.epochs", ["--set recipe.epochs", "TABLE.NAME=VALUE"]),
    ],
)
def test_a_wrong_setting_is_named(run: Command, setting: str, wanted: list[str]) -> None:
    assert_refused(run("train", "digits", "--model", "ultralight", "--set", setting), *wanted)


def test_a_setting_that_is_no_table_is_refused(run: Command, here: Path) -> None:
    (here / "plan.toml").write_text('recipe = "ultralight"\n')
    assert_refused(run("train", "digits", "--plan", "plan.toml", "--set", "recipe.epochs=1"), "recipe")


def test_a_bad_strength_is_refused_with_its_unit_and_range(run: Command) -> None:
    answer = run("train", "digits", "--model", "ultralight", "--augment", "shift,noise:5")
    assert_refused(answer, "standard deviation, part of white", "from 0 to 1", "'5'")


def test_augmentations_are_listed_or_drawn(run: Command, here: Path, photos: Path) -> None:
    assert_refused(run("augment", photos), "--preview")
    assert_refused(run("augment", "--preview"), "--preview")
    listed = run("augment", "--json").json
    assert listed["noise"]["unit"] == "standard deviation, part of white"
    assert all(f" {name} " in run("augment").out for name in listed)
    drawn = run("augment", photos, "--preview", "--augment", "crop", "--augment", "mixup", "--json")
    with Image.open(here / drawn.json["path"]) as sheet:
        assert sheet.size == (1122, 34 + 3 * 116 + 4)
    assert_refused(run("augment", photos, "--preview", "--augment", "crpo"), "'crop'")


@pytest.mark.parametrize("budget", ["soon", "10", "10 dollars", "-5s", "1.2.3s", "0s", ""])
def test_a_budget_that_makes_no_sense(run: Command, budget: str) -> None:
    answer = run("fit", "digits", f"--budget={budget}")
    assert_refused(answer, "udget")


def test_a_budget_of_dollars_needs_a_price(run: Command) -> None:
    assert_refused(run("fit", "digits", "--budget", "$0.50"), "$0.5", "--usd-per-hour")


def test_a_budget_too_small_names_one_that_would_do(run: Command) -> None:
    answer = run("fit", "digits", "--budget", "0.1s", "--model", "ultralight", "--from-scratch")
    assert_refused(answer)
    named = re.search(r"The smallest that would do is about (\d+) s", answer.err)
    assert named, answer.err
    assert int(named[1] or named[2]) > 4, "the finish alone takes four seconds"


def test_weights_that_cannot_be_fetched(
    run: Command, here: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no network in tests")

    monkeypatch.setenv("TORCH_HOME", str(here / "torch"))
    monkeypatch.setattr("scrimp.models.weights.urlopen", unreachable)
    answer = run("train", photos, "--model", "mobilenet_v3_small", "--image-size", "32", "--epochs", "1")
    assert_refused(
        answer, "mobilenet_v3_small", str(here / "torch"), "no network in tests", "--weights FILE", "--from-scratch"
    )


def test_a_weights_file_that_is_not_there(run: Command, photos: Path) -> None:
    answer = run("train", photos, "--model", "ultralight", "--image-size", "16", "--weights", "none.pth")
    assert_refused(answer, "none.pth")


def test_a_cache_that_cannot_be_written(
    run: Command, here: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "file").write_text("in the way")
    monkeypatch.setenv("SCRIMP_CACHE", str(here / "file" / "cache"))
    assert_refused(run("train", photos, "--model", "ultralight", *TINY), str(here / "file"), "SCRIMP_CACHE")


def test_an_output_folder_that_cannot_be_written(run: Command, here: Path, photos: Path) -> None:
    (here / "file").write_text("in the way")
    answer = run("train", photos, "--model", "ultralight", *TINY, "--out", here / "file" / "out")
    assert_refused(answer, str(here / "file"), "cannot be written")


def test_no_images_named(run: Command) -> None:
    assert_refused(run("train", "--model", "ultralight"), "No images are named")
    assert_refused(run("sweep", "--model", "ultralight"), "No images are named")


@pytest.mark.parametrize("command", ["train", "sweep", "tune", "lr-find"])
def test_without_a_model_it_is_said_how_to_name_one(run: Command, photos: Path, command: str) -> None:
    assert_refused(
        run(command, photos, "--epochs" if command != "lr-find" else "--batch-size", "2"), "--model mobilenet_v2"
    )
    assert_refused(run(command, photos, "--set", "recipe.modell=vgg8"), "'modell'", "'model'")


def test_compare_wants_folders_with_runs(run: Command, here: Path) -> None:
    assert_refused(run("compare", "nowhere"), "'nowhere'")
    (here / "bare").mkdir()
    assert_refused(run("compare", "bare"), "run")


def test_predict_and_serve_want_a_model(run: Command, here: Path) -> None:
    (here / "bare").mkdir()
    assert_refused(run("predict", "bare", "a.jpg"), "No trained model in 'bare'")
    assert_refused(run("serve", "bare"), "No trained model in 'bare'")


def test_two_prices_contradict(run: Command) -> None:
    answer = run("fit", "digits", "--budget", "60s", "--instance", "c5.large", "--usd-per-hour", "1")
    assert_refused(answer, "c5.large", "usd_per_hour=1")
    assert_refused(run("fit", "digits", "--budget", "60s", "--instance", "c5.lage"), "Did you mean 'c5.large'?")


def test_a_plan_that_varies_is_for_sweeps(run: Command, here: Path) -> None:
    (here / "plan.toml").write_text('[images]\nsource = "digits"\n[vary]\n"recipe.model" = ["vgg8", "ultralight"]\n')
    assert_refused(run("train", "--plan", "plan.toml"), "plan.toml", "recipe.model", "scrimp sweep")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["tran", "digits"], "tran"),
        (["train", "digits", "--epoch", "3"], "--epoch"),
        (["train", "digits", "--epochs", "three"], "--epochs"),
        (["fit", "digits"], "--budget"),
    ],
)
def test_a_misspelt_command_line_is_explained(run: Command, arguments: list[str], wanted: str) -> None:
    answer = run(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert wanted in answer.err


def test_what_is_our_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("scrimp.images.find_images", broken)
    monkeypatch.setattr(sys, "argv", ["scrimp", "fit", "digits", "--budget", "60s"])
    with pytest.raises(ZeroDivisionError, match="ours"):
        cli.main()


# ---------------------------------------------------------------- what is printed


def test_models(run: Command) -> None:
    cards = run("models", "--json").json
    assert [card["name"] for card in cards] == list(MODELS)
    shown = run("models")
    assert shown.code == 0
    assert "ultralight" in shown.out


def test_train(run: Command, here: Path, photos: Path) -> None:
    answer = run("train", photos, "--model", "ultralight", *TINY, "--seed", "3", "--usd-per-hour", "3600", "--json")
    assert answer.code == 0
    facts = answer.json
    assert facts["status"] == "finished"
    assert facts["plan"]["recipe"]["seed"] == 3
    assert len(facts["history"]) == 1
    assert facts["image_counts"] == {"train": 42, "val": 9, "test": 9}
    for cost in facts["costs"].values():
        assert cost["usd"] == pytest.approx(cost["seconds"]), "a dollar a second"
    folder = Path(facts["folder"])
    kept = {path.name for path in folder.iterdir()}
    assert kept >= {"result.json", "plan.toml", "history.csv", "model.safetensors", "model.json"}
    assert "checkpoint.pt" not in kept
    assert folder.parent == Path("runs/photos") or folder.parent == here / "runs" / "photos"


def test_train_from_a_plan_and_without_json(run: Command, here: Path, photos: Path) -> None:
    (here / "plan.toml").write_text(
        f"[images]\nsource = '{photos}'\n[preparation]\nimage_px = 16\n[recipe]\nmodel = 'vgg8'\npretrained = false\n"
    )
    over = ("--model", "ultralight", "--set", "recipe.epochs=1", "--set", 'recipe.augment="none"')
    answer = run("train", "--plan", "plan.toml", *over, "--out", "here")
    assert answer.code == 0
    for word in ("finished", "val", "test", "Wh", "a counter", "ms per image", "Folder"):
        assert word in answer.out
    saved = (here / "here" / "plan.toml").read_text()
    assert 'model = "ultralight"' in saved
    assert 'augment = "none"' in saved


def test_a_saved_plan_repeats_the_run(run: Command, photos: Path) -> None:
    first = run("train", photos, "--model", "ultralight", *TINY, "--out", "first", "--json").json
    again = run("train", "--plan", "first/plan.toml", "--out", "again", "--json").json
    assert again["plan"] == first["plan"]
    assert again["history"][0]["val_loss"] == first["history"][0]["val_loss"]
    assert again["test"] == first["test"]


def test_a_preset_is_under_what_is_given(run: Command, photos: Path) -> None:
    tiny = ("--model", "simple_cnn", "--from-scratch", "--image-size", "16")
    recipe = run("train", photos, *tiny, "--recipe", "plain", "--epochs", "1", "--lr", "0.01", "--json").json["plan"][
        "recipe"
    ]
    assert (recipe["optimiser"], recipe["augment"], recipe["schedule"]) == ("adam", "none", "constant")
    assert (recipe["epochs"], recipe["lr"], recipe["pretrained"]) == (1, 0.01, False)
    assert_refused(run("train", photos, *tiny, "--recipe", "frugle"), "No recipe called 'frugle'", "'frugal'")


def test_a_learning_rate_is_a_number_or_auto(run: Command, photos: Path) -> None:
    asked = ("train", photos, "--model", "simple_cnn", *TINY, "--batch-size", "8")
    assert run(*asked, "--lr", "auto", "--json").json["plan"]["recipe"]["lr"] == "auto"
    assert_refused(run(*asked, "--lr", "fast"), "'auto'", "'fast'")


def test_lr_find(run: Command, here: Path, photos: Path) -> None:
    asked = ("lr-find", photos, "--model", "ultralight", "--from-scratch", "--image-size", "16", "--batch-size", "8")
    answer = run(*asked, "--json")
    facts = answer.json
    assert answer.code == 0
    assert 1e-5 < facts["lr"] < 1
    assert {facts["steepest"], facts["valley"]} <= set(facts["lrs"])
    assert facts["cost"]["wh"] > 0
    assert facts["folder"] == "runs/photos/lr-find"
    kept = json.loads((here / "runs/photos/lr-find/lr_find.json").read_text())
    assert kept == {name: value for name, value in facts.items() if name not in ("folder", "page")}
    assert "plotly.js v" in (here / facts["page"]).read_text()

    shown = run(*asked, "-o", "there")
    assert shown.code == 0
    assert facts["note"] in shown.out, "the same seed finds the same"
    assert "by a counter" in shown.out
    assert {path.name for path in (here / "there").iterdir()} == {"lr_find.json", "lr_find.html"}


def test_lr_find_says_where_there_is_none(run: Command, here: Path) -> None:
    for name in ("this", "that"):
        (here / "grey" / name).mkdir(parents=True)
        for number in range(30):
            Image.new("RGB", (16, 16), (120, 120, 120)).save(here / "grey" / name / f"{number}.png")
    answer = run("lr-find", "grey", "--model", "simple_cnn", "--image-size", "16", "--json")
    assert answer.code == 1
    assert answer.json["lr"] is None
    assert answer.json["note"].startswith("No clear descent")
    assert (here / "runs/grey/lr-find/lr_find.html").is_file()


def test_lr_find_wants_one_plan(run: Command, here: Path) -> None:
    (here / "plan.toml").write_text('[images]\nsource = "digits"\n[vary]\n"recipe.model" = ["vgg8", "ultralight"]\n')
    assert_refused(run("lr-find", "--plan", "plan.toml"), "plan.toml", "recipe.model", "scrimp sweep")
    assert_refused(run("lr-find", "--model", "ultralight"), "No images are named")
    assert_refused(run("lr-find", "digits"), "recipe")


@pytest.fixture
def swept(run: Command, photos: Path) -> Answer:
    """A sweep of two models."""
    return run("sweep", photos, "--model", "ultralight", "--model", "simple_cnn", *TINY, "--out", "swept", "--json")


def test_sweep_compare_predict(run: Command, here: Path, photos: Path, swept: Answer) -> None:
    facts = swept.json
    assert swept.code == 0
    assert {row["name"].split()[0] for row in facts["candidates"]} == {"ultralight", "simple_cnn"}
    assert facts["failed"] == []
    assert (here / "swept" / "best" / "model.safetensors").is_file()
    assert Path(facts["report"]).read_text().lstrip().lower().startswith("<!doctype html")
    rows = (here / "swept" / "runs.csv").read_text().splitlines()
    assert len(rows) == 3

    compared = run("compare", "swept", "--report", "again.html", "--json")
    assert compared.code == 0
    assert [row["name"] for row in compared.json["candidates"]] == [row["name"] for row in facts["candidates"]]
    assert compared.json["report"] == "again.html"
    assert (here / "again.html").is_file()
    table = run("compare", "swept")
    assert table.code == 0
    assert "Model:" in table.out

    (here / "broken.jpg").write_bytes(b"no image")
    files = [photos / "red" / "000.jpg", "broken.jpg", "missing.jpg"]
    predicted = run("predict", "swept/best", *files, "--json")
    assert predicted.code == 1, "one of them is missing"
    good, broken, missing = predicted.json
    assert good["label"] in ("blue", "green", "red")
    assert sum(good["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert (good["error"], broken["label"], missing["label"]) == (None, None, None)
    assert "broken.jpg" in broken["error"]
    assert "missing.jpg" in missing["error"]
    assert "not read" in run("predict", "swept/best", *files).out


def test_a_sweep_run_twice_trains_nothing_again(run: Command, here: Path, photos: Path, swept: Answer) -> None:
    def stamps() -> dict[str, int]:
        found = (here / "swept").glob("*-seed*/*")
        return {str(path): path.stat().st_mtime_ns for path in found}

    before = stamps()
    assert len([name for name in before if name.endswith("result.json")]) == 2
    same = ("sweep", photos, "--model", "ultralight", "--model", "simple_cnn", *TINY, "--out", "swept", "--json")
    again = run(*same)
    assert stamps() == before
    assert again.json["candidates"] == swept.json["candidates"]


def test_a_model_that_fails_is_a_row_and_the_sweep_goes_on(
    run: Command, here: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = run(
        *("sweep", photos, "--model", "ultralight", "--image-size", "16", "--epochs", "1", "--from-scratch"),
        *("--model", "timm:no_such_model", "--json", "--out", "swept"),
    )
    assert answer.code == 0
    failed = answer.json["failed"]
    assert len(failed) == 1
    assert "no_such_model" in failed[0]["reason"]
    assert len(answer.json["candidates"]) == 1


def test_a_sweep_of_nothing_but_failures_says_why(run: Command, photos: Path) -> None:
    answer = run("sweep", photos, "--model", "timm:no_such_model", *TINY, "--out", "swept", "--json")
    assert_refused(answer, "no_such_model")


def test_seeds_are_put_together(run: Command, photos: Path) -> None:
    rows = run("sweep", photos, "--model", "ultralight", *TINY, "--seeds", "2", "--json").json["candidates"]
    assert len(rows) == 1
    assert rows[0]["val"]["n"] == 2


def test_fit(run: Command, here: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.running, "process_start", time.perf_counter)  # this process is older than the budget
    started = time.perf_counter()
    tiny = ("--model", "ultralight", "--from-scratch", "--image-size", "16")
    answer = run("fit", photos, "--budget", "15s", *tiny, "--usd-per-hour", "1", "--out", "out", "--json")
    assert answer.code == 0
    facts = answer.json
    assert facts["candidates"][0]["wins"]
    assert facts["candidates"][0]["test"] is not None
    assert Path(facts["report"]).is_file()
    assert (here / "out" / "best" / "model.json").is_file()
    assert time.perf_counter() - started < 20, "15 s were to be spent"


# ---------------------------------------------------------------- real processes


def test_a_killed_sweep_goes_on_where_it_was(run: Command, here: Path, photos: Path) -> None:
    sweep = ("sweep", photos, "--model", "ultralight", "--from-scratch", "--image-size", "16")
    sweep += ("--epochs", "40", "--seeds", "2", "--out", "swept", "--json")
    with (here / "log").open("w") as log:
        process = subprocess.Popen(command_line(*sweep), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            second_has_begun(process, here)
        finally:
            process.kill()
            process.wait()
    assert not (here / "swept" / "runs.csv").exists(), "it was killed before its end"
    (result,) = (here / "swept").glob("*-seed0-*/result.json")
    finished = (result.stat().st_mtime_ns, result.read_bytes())

    answer = run(*sweep)
    assert answer.code == 0
    assert answer.json["candidates"][0]["val"]["n"] == 2
    assert (result.stat().st_mtime_ns, result.read_bytes()) == finished, "a finished run is not trained again"
    (second,) = (here / "swept").glob("*-seed1-*/result.json")
    resumed = json.loads(second.read_text())
    assert [epoch["epoch"] for epoch in resumed["history"]] == list(range(1, 41))
    assert any(note.startswith("Went on after epoch") for note in resumed["notes"])
    assert not list((here / "swept").glob("*/*.tmp")), "nothing half-written is left"


def second_has_begun(process: subprocess.Popen[bytes], here: Path, seconds: float = 120) -> None:
    """Waits until the second run of the sweep has kept an epoch."""
    deadline = time.monotonic() + seconds
    while not list((here / "swept").glob("*-seed1-*/checkpoint.pt")):
        assert process.poll() is None, f"it ended by itself: {(here / 'log').read_text()}"
        assert time.monotonic() < deadline, f"nothing happened: {(here / 'log').read_text()}"
        time.sleep(0.01)


def test_stdout_of_a_real_process_is_one_document(here: Path, photos: Path) -> None:
    """With the real energy sensor and everything else that might print."""
    done = subprocess.run(
        command_line("train", photos, "--model", "ultralight", *TINY, "--json"),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "finished"
    assert "Traceback" not in done.stderr


def test_models_that_start_from_weights_are_trained_frugally_unless_told_otherwise():
    from scrimp.cli.settings import one_plan

    def recipe(preset=None, **settings):
        asked = {"images": {"source": "digits"}, "image_px": None, "settings": settings}
        return one_plan(None, None, preset, **asked, frugal=True).recipe

    assert recipe(model="mobilenet_v2").head_first == "logistic"
    assert recipe(model="mobilenet_v2", epochs=7).epochs == 7
    assert recipe(model="timm:resnet10t").norm_stats == "keep"
    assert recipe(model="ultralight").head_first == "none", "it has no weights"
    assert recipe(model="mobilenet_v2", pretrained=False).norm_stats == "learn"
    assert recipe("plain", model="mobilenet_v2").head_first == "none"


# ---------------------------------------------------------------- distilling


def test_distilling_and_training_on_it(run: Command, photos: Path) -> None:
    facts = run(
        "distill", photos, "--method", "real", "--image-size", "16", "--judge", "0", "--out", "made", "--json"
    ).json
    assert (facts["images"], facts["folder"], facts["page"]) == (len(facts["classes"]), "made", None)
    assert len(list(Path("made/train").glob("*/0000.png"))) == len(facts["classes"])
    trained = run("train", "made", "--test", photos, "--model", "ultralight", *TINY, "--json").json
    assert trained["image_counts"]["train"] == len(facts["classes"])
    assert trained["image_counts"]["test"] > len(facts["classes"])
