"""Whole studies: what a file says, what it will cost, who is asked, what is resumed, what holds, the notebooks."""

from __future__ import annotations

import json
import math
import shutil
import tomllib
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import tomli_w
from make_runs import make_regress_run, make_run
from nbclient import NotebookClient
from scipy.stats import t
from typer.testing import CliRunner

import scrimp
from scrimp import sweeping
from scrimp.cli import app
from scrimp.cores import cores
from scrimp.cost import watt_hours
from scrimp.errors import NotFound, SettingError, UnknownName, WeightsError
from scrimp.meter import Run
from scrimp.models import build, size_mb
from scrimp.settings import to_toml
from scrimp.studying import Study, claims, codes, load_study, predicting, read_study, run_study
from scrimp.studying.claims import CHECKS, NOT_TESTED, check, matching, welch
from scrimp.studying.plans import Claim, Part, known_studies
from scrimp.studying.predicting import foresee
from scrimp.studying.targets import colourfulness, with_target
from scrimp.sweeping import run_plan
from scrimp.training.recipes import from_scratch_small
from scrimp.training.weigh import Weight

NOTEBOOKS = Path(__file__).parents[1] / "studies"
NAMES = ["birds", "cifar10-mini", "dogs", "imagenet", "speedy"]


@pytest.fixture
def tables(photos: Path) -> dict[str, Any]:
    """A small study: two networks from two seeds, a number in place of a class, and codes."""
    return {
        "title": "Colours",
        "about": "Which network tells colours?",
        "instance": "ml.c5.9xlarge",
        "explain": "networks",
        "images": {"source": str(photos)},
        "preparation": {"image_px": 16},
        "recipe": {"pretrained": False, "epochs": 2, "batch_size": 16, "lr": 3e-3},
        "quick": {"recipe.epochs": 1, "recipe.seed": 0},
        "parts": {
            "networks": {
                "about": "Two networks.",
                "vary": {"recipe.model": ["simple_cnn", "ultralight"], "recipe.seed": [0, 1]},
            },
            "number": {"target": "colourfulness", "recipe": {"model": "simple_cnn"}},
            "codes": {"codes": [4], "preparation": {"image_px": 8}},
            "more": {"by_default": False, "recipe": {"model": "vgg8"}},
        },
        "theirs": [{"title": "Theirs", "part": "networks", "rows": {"simple_cnn": {"test": 0.5, "usd": 0.1}}}],
        "claims": [
            {"says": "it learns", "theirs": "half", "part": "networks", "check": "reaches", "figure": 0.34},
            {"says": "nobody knows", "theirs": "?"},
        ],
        "wishes": {"more networks": "--part more"},
    }


@pytest.fixture
def file(tables: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "colours.toml"
    path.write_text(tomli_w.dumps(tables), encoding="utf-8")
    return path


def called(*arguments: str, answer: str = "", code: int = 0) -> str:
    """What `scrimp study …` prints to both."""
    done = CliRunner().invoke(app, ["study", *arguments], input=answer)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


# ---------------------------------------------------------------- the files


def test_the_five_studies_come_with_scrimp() -> None:
    assert sorted(known_studies()) == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("quick", [False, True], ids=["full", "quick"])
def test_a_study_leads_nowhere_wrong(name: str, quick: bool) -> None:
    study = read_study(name)
    everything = study.settled(data="photos", quick=quick, parts=[*study.parts])
    plans = {part: [trial.plan for trial in made.runs()] for part, made in everything.parts.items()}
    assert all(plans[part] or study.parts[part].codes for part in plans)
    assert not study.explain or study.explain in plans
    for theirs in study.theirs:
        assert theirs.part in plans
    for claim in study.claims:
        assert not claim.part or claim.part in plans
        for wanted in (claim.of, claim.against) if not quick else ():
            found = matching([run_of(plan) for plan in plans[claim.part]], wanted) if wanted else [None]
            assert found, f"{claim.says}: no run has {wanted}"
    # Resolved once, it is resolved for ever.
    assert Study(**tomllib.loads(to_toml(everything))) == everything


def run_of(plan: scrimp.Plan) -> Run:
    return make_run().model_copy(update={"plan": plan})


def test_what_stands_over_what(tables: dict[str, Any]) -> None:
    parts = tables["parts"]
    parts["own"] = {"images": {"source": "elsewhere", "boxes": ""}, "recipe": {"model": "vgg8"}}
    parts["own"]["quick"] = {"recipe.model": ["vgg8", "simple_cnn"], "recipe.epochs": 3}
    parts["ready"] = {"preset": "from_scratch_small", "in_quick": False}
    study = Study(name="x", **tables | {"images": tables["images"] | {"boxes": "voc"}})

    full = study.settled(data="mine", changes={"preparation.image_px": 24})
    assert list(full.parts) == ["networks", "number", "codes", "own", "ready"]
    assert full.parts["networks"].images == {"source": "mine", "boxes": "voc"}
    assert full.parts["own"].images == {"source": "elsewhere"}, "its own, and the boxes are taken away"
    assert {part.preparation["image_px"] for part in full.parts.values()} == {24}
    assert full.parts["ready"].recipe["optimiser"] == "muon", "a preset"
    assert full.parts["ready"].recipe["epochs"] == from_scratch_small().epochs, "in place of the shared recipe"
    assert [(p.plan.recipe.model, p.plan.recipe.seed) for p in full.parts["networks"].runs()] == [
        ("simple_cnn", 0), ("simple_cnn", 1), ("ultralight", 0), ("ultralight", 1),
    ]  # fmt: skip

    quick = study.settled(quick=True)
    assert list(quick.parts) == ["networks", "number", "codes", "own"]
    assert [(p.plan.recipe.epochs, p.plan.recipe.seed) for p in quick.parts["networks"].runs()] == [(1, 0)] * 2
    assert [(p.plan.recipe.model, p.plan.recipe.epochs) for p in quick.parts["own"].runs()] == [
        ("vgg8", 3), ("simple_cnn", 3),
    ]  # fmt: skip
    assert list(study.settled(parts=["more"], quick=True).parts) == ["more"]
    again = study.settled(parts=["networks"], changes={"recipe.model": "vgg8", "recipe.seed": [5]})
    assert [(p.plan.recipe.model, p.plan.recipe.seed) for p in again.parts["networks"].runs()] == [("vgg8", 5)]


def test_what_cannot_be_is_refused(tables: dict[str, Any], tmp_path: Path) -> None:
    study = Study(name="x", **tables)
    with pytest.raises(UnknownName, match="Did you mean 'networks'"):
        study.settled(parts=["network"])
    with pytest.raises(SettingError, match=r"write TABLE\.NAME"):
        study.settled(changes={"epochs": 1})
    with pytest.raises(UnknownName, match="Did you mean 'epochs'"):
        study.settled(changes={"recipe.epoch": 1})
    with pytest.raises(SettingError, match="names no images"):
        Study(name="x", **tables | {"images": {}}).settled()
    with pytest.raises(UnknownName, match="Did you mean 'vary'"):
        Study(name="x", **tables | {"parts": {"a": {"varry": {}}}})
    with pytest.raises(UnknownName, match="No check called 'highst'"):
        Study(name="x", **tables | {"claims": [{"says": "", "theirs": "", "check": "highst"}]})
    with pytest.raises(SettingError, match="make two parts"):
        Part(codes=(3,), trials=2)
    with pytest.raises(UnknownName, match="Did you mean 'dogs'"):
        read_study("dog")
    with pytest.raises(NotFound, match="come with Scrimp"):
        read_study("gone.toml")
    (tmp_path / "plan.toml").write_text("[recipe]\nepochs = 1\n")
    with pytest.raises(SettingError, match="scrimp sweep --plan"):
        read_study(tmp_path / "plan.toml")


# ---------------------------------------------------------------- from the command to the page


def test_from_the_command_to_the_page_and_not_again(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    asked = called(str(file), "--out", str(out), answer="n\n", code=1)
    assert "networks: 4 of 4 runs left" in asked
    assert "on ml.c5.9xlarge if it were as fast" in asked
    assert "Start?" in asked
    assert not (out / "study.toml").exists(), "nothing starts before the answer"

    told = called(str(file), "--out", str(out), "--yes")
    page = (out / "study.html").read_text(encoding="utf-8")
    assert "Which network tells colours?" in page
    assert 'href="networks/report.html"' in page
    assert (out / "networks" / "report.html").is_file()
    assert "it learns" in told
    found = load_study(out)
    assert {name: len(ran.runs) for name, ran in found.parts.items()} == {"networks": 4, "number": 1, "codes": 0}
    assert found.parts["number"].runs[0].task == "regress"
    assert [code.method for code in found.parts["codes"].codes] == ["eigenfaces", "autoencoder"]
    best = found.explained
    assert best is not None
    assert (Path(str(best.folder)) / "explanation.html").is_file()
    assert "heat maps" in page
    held = [claim.verdict for claim in found.claims]
    mean = np.mean([run.test.merit for run in found.parts["networks"].chosen.winner.runs])
    assert held == ["held" if mean >= 0.34 else "not held", NOT_TESTED]
    record = json.loads((out / "study.json").read_text())
    assert set(record) == {"machine", "versions", "date", "command", "rows", "summary"}
    assert str(tmp_path) not in json.dumps(record), "no folder of this machine"
    beside = scrimp.study_tables(found)["theirs"]
    assert beside.columns == ("model", "test, theirs", "test, ours", "money, theirs", "money, ours")
    assert beside.rows[0][1] == "50.0%"
    assert beside.rows[0][4] == "not measured", "money is unknown without a rate for this machine"

    monkeypatch.setattr(sweeping, "train", lambda *a, **k: pytest.fail("trained again"))
    facts = json.loads(CliRunner().invoke(app, ["study", str(file), "--out", str(out), "--json"]).stdout)
    assert facts["claims"][0]["says"] == "it learns"
    assert facts["unfinished"] == []


def test_a_quick_run_decides_nothing(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    called(str(file), "--quick", "--yes", "--part", "networks", "--out", str(out))
    found = load_study(out)
    assert [run.plan.recipe.epochs for run in found.parts["networks"].runs] == [1, 1]
    assert found.claims[0].verdict == NOT_TESTED
    assert "too short a run to tell" in found.claims[0].ours
    assert "no claim is judged by them" in (out / "study.html").read_text(encoding="utf-8")
    with pytest.raises(SettingError, match="holds a --quick run of"):
        run_study(read_study(file).settled(parts=["networks"]), out)


def test_it_goes_on_where_it_was_cut_off(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    trained: list[str] = []
    real = sweeping.train

    def cut_off(ready: Any, recipe: Any, **options: Any) -> Any:
        if len(trained) == 1:
            raise KeyboardInterrupt
        trained.append(recipe.model)
        return real(ready, recipe, **options)

    monkeypatch.setattr(sweeping, "train", cut_off)
    assert "goes on from here" in called(str(file), "--yes", "--part", "networks", "--out", str(out), code=130)
    assert "Not finished: networks" in (out / "study.html").read_text(encoding="utf-8")
    monkeypatch.setattr(sweeping, "train", lambda ready, r, **k: trained.append(r.model) or real(ready, r, **k))
    told = called(str(file), "--yes", "--part", "networks", "--out", str(out))
    assert "networks: 3 of 4 runs left" in told
    assert trained == ["simple_cnn", "simple_cnn", "ultralight", "ultralight"]
    called(str(file), "--yes", "--part", "codes", "--out", str(out))
    assert list(load_study(out).parts) == ["networks", "codes"], "what was there stays on the page"


def test_models_without_weights_are_left_out_and_told(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = predicting.build
    asked = []

    def without_network(name: str, **options: Any) -> Any:
        if options.get("pretrained", True):
            asked.append(name)
            raise WeightsError(f"no weights of {name}")
        return real(name, **options)

    monkeypatch.setattr(predicting, "build", without_network)
    monkeypatch.setattr(predicting, "weights_at_hand", lambda name: False)
    settings = ["--set", "recipe.pretrained=true", "--set", "recipe.seed=0", "--part", "networks", "--yes"]
    models = "recipe.model=['simple_cnn', 'resnet18', 'resnet34', 'tiny_vit_5m']"
    out = tmp_path / "out"
    told = called(str(file), *settings, "--set", models, "--out", str(out))
    assert asked == ["resnet18", "tiny_vit_5m"], "a hub that did not answer is not asked again"
    assert "without resnet18: no weights of resnet18" in told
    found = load_study(out)
    assert [run.plan.recipe.model for run in found.parts["networks"].runs] == ["simple_cnn"], "which has none to want"
    assert set(found.without) == {"resnet18", "resnet34", "tiny_vit_5m"}
    assert "Left out, because their published weights" in (out / "study.html").read_text(encoding="utf-8")
    study = read_study(file).settled(parts=["networks"], changes={"recipe.model": "resnet18"})
    assert not foresee(study, tmp_path / "other").without, "from scratch nothing is missing"


def test_a_study_is_printed_to_be_copied() -> None:
    assert called("dogs", "--print") == (NOTEBOOKS / "dogs.toml").read_text(encoding="utf-8")


# ---------------------------------------------------------------- what it will cost


def test_the_forecast_is_the_sum_of_its_steps(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predicting, "weigh", lambda *a, **k: Weight(0.1, 0.01))
    monkeypatch.setattr(predicting._Desk, "decode_s", lambda *a: 0.5 * cores())
    study = read_study(file).settled(parts=["networks", "codes"])
    found = foresee(study, tmp_path, usd_per_hour=3.6)
    # 60 images: 42 to learn from, 9 of val, 9 of test; two epochs, and both looked at once more. One pack for all.
    run = 3 + 2 * (42 * 0.1 + 9 * 0.01) + 18 * 0.01
    assert found.parts[0].seconds == pytest.approx(4 * run + 60 * 0.5)
    assert found.parts[0][1:3] == (4, 4)
    assert found.parts[1].seconds is None, "not foreseen, and not 0"
    searched = study.settled(parts=["networks"], changes={"recipe.lr": "auto", "recipe.sam": 0.05})
    more = 60 * 16 * 0.1 + 2 * 42 * 0.1  # sixty batches of 16 to find it, and every step twice
    assert foresee(searched, tmp_path).seconds == pytest.approx(4 * (run + more) + 60 * 0.5)
    assert found.usd == pytest.approx(0.001 * (4 * run + 30))
    models = [size_mb(build(name, classes=3, image_px=16)) for name in ("simple_cnn", "ultralight")]
    assert found.parts[0].gb == pytest.approx(0.006 + 60 * 3 * 16**2 / 1e9 + 2 * sum(models) / 1000)


# ---------------------------------------------------------------- claims


def runs_of(model: str, *tests: float, **settings: Any) -> list[Run]:
    return [make_run(model=model, seed=n, test=test, **settings) for n, test in enumerate(tests)]


def checked(runs: list[Run], *, quick: bool = False, lacking: Any = (), **claim: Any) -> tuple[str, str]:
    parts = {"a": {"recipe": {"model": "vgg8"}}}
    study = Study(name="x", title="x", parts=parts, is_quick=quick, images={"source": "x"})
    found = check(Claim(says="", theirs="", part="a", **claim), runs, study, lacking)
    return found.verdict, found.ours


def test_welch_by_its_formula() -> None:
    a, b = [0.9, 0.91, 0.93], [0.8, 0.86, 0.87, 0.81]
    va, vb = np.var(a, ddof=1) / 3, np.var(b, ddof=1) / 4
    df = (va + vb) ** 2 / (va**2 / 2 + vb**2 / 3)
    expected = 2 * t.sf(abs(np.mean(a) - np.mean(b)) / math.sqrt(va + vb), df)
    assert welch(a, b) == pytest.approx(expected)
    assert welch([0.5], b) is None
    assert welch([0.5, 0.5], [0.6, 0.6]) is None


def test_the_highest_is_told_from_the_next() -> None:
    first, close = runs_of("resnet18", 0.90, 0.91, 0.92), runs_of("vgg8", 0.89, 0.92, 0.91)
    far = runs_of("simple_cnn", 0.5, 0.51, 0.52)
    of = {"of": {"recipe.model": "resnet18"}, "check": "highest"}
    assert checked(first + far, **of)[0] == "held"
    assert checked(first + far + close, **of)[0] == NOT_TESTED
    assert "cannot be told apart" in checked(first + far + close, **of)[1]
    assert checked(far + first, check="highest", of={"recipe.model": "simple_cnn"})[0] == "not held"
    assert checked(first + far, check="highest", of={"recipe.model": "vgg8"})[0] == NOT_TESTED, "no run of it"
    one = checked(first[:1] + far[:1], **of)
    assert one[0] == "held"
    assert "for want of seeds" in one[1]
    assert checked(first + far, quick=True, **of)[0] == NOT_TESTED


def test_above_by_a_figure() -> None:
    runs = runs_of("resnet18", 0.80, 0.81, 0.82) + runs_of("vgg8", 0.70, 0.71, 0.72)
    pair = {"check": "above", "of": {"recipe.model": "resnet18"}, "against": {"recipe.model": ["vgg8", "vgg16"]}}
    assert checked(runs, figure=0.05, **pair)[0] == "held"
    assert checked(runs, figure=0.15, **pair)[0] == "not held", "it is 0.1 above"
    assert checked(runs, figure=0.09, **pair)[0] == NOT_TESTED, "which 0.1, give or take 0.008, may well be"
    assert "cannot be told from a difference of 0.09" in checked(runs, figure=0.09, **pair)[1]
    assert checked(runs[:3], **pair)[0] == NOT_TESTED


def test_nothing_is_decided_while_a_run_is_missing_that_has_a_say() -> None:
    runs = runs_of("resnet18", 0.90, 0.91, 0.92) + runs_of("vgg8", 0.5, 0.51, 0.52)
    (other,) = (run.plan for run in runs_of("simple_cnn", 0.6))
    first = {"check": "highest", "of": {"recipe.model": "resnet18"}}
    assert checked(runs, **first)[0] == "held"
    verdict, ours = checked(runs, lacking=[other], **first)
    assert verdict == NOT_TESTED
    assert ours.startswith("1 run that belongs to it is missing: resnet18")
    pair = {"check": "above", "of": {"recipe.model": "resnet18"}, "against": {"recipe.model": "vgg8"}, "figure": 0.1}
    assert checked(runs, lacking=[other], **pair)[0] == "held", "it is not among them"
    assert checked(runs, lacking=[runs[-1].plan], **pair)[0] == NOT_TESTED


def test_changes_by_a_share() -> None:
    runs = runs_of("vgg8", 0.9, seconds=90.0, recipe={"precision": "bfloat16"})
    runs += runs_of("vgg8", 0.9, seconds=100.0, recipe={"precision": "float32"})
    pair = {"check": "changes", "measure": "train_seconds", "within": 0.05}
    pair |= {"of": {"recipe.precision": "bfloat16"}, "against": {"recipe.precision": "float32"}}
    verdict, ours = checked(runs, figure=-0.1, **pair)
    assert verdict == "held"
    assert ours.startswith("-10%")
    assert checked(runs, figure=-0.2, **pair)[0] == "not held"


def test_reaching_chance_and_rising() -> None:
    runs = runs_of("vgg8", 0.5, 0.6) + runs_of("simple_cnn", 0.28)  # of four classes
    assert checked(runs, check="reaches", figure=0.5)[0] == "held"
    assert checked(runs, check="reaches", figure=0.56)[0] == "not held"
    small = {"of": {"recipe.model": "simple_cnn"}, "check": "near_chance"}
    assert checked(runs, within=0.05, **small)[0] == "held"
    assert checked(runs, within=0.02, **small)[0] == "not held"
    fallen = runs[0].model_copy(update={"history": runs[0].history[::-1]})
    assert checked(runs, check="still_rising")[0] == "held"
    assert checked([fallen], check="still_rising")[0] == "not held"
    level = [epoch.model_copy(update={"val_score": 1.0}) for epoch in runs[0].history]
    flat = runs[0].model_copy(update={"history": tuple(level)})
    assert checked([flat], check="still_rising")[0] == "not held"
    assert all(checked([], check=name)[0] == NOT_TESTED for name in CHECKS if name != "billed")


def test_the_birds_cluster_is_reckoned_as_they_did() -> None:
    assert watt_hours(9 * 24 * 3600, 250, devices=512) == 27_648_000
    study = read_study("birds")
    [claim] = [claim for claim in study.claims if claim.check == "billed"]
    found = check(claim, [], study.settled(data="photos", quick=True))
    assert (found.verdict, found.ours) == ("held", "27,648 kWh"), "a sum needs no runs, and a quick run has it right"
    wrong = study.but(bills={"cluster": study.bills["cluster"].but(watts=300)})
    assert check(claim, [], wrong).verdict == "not held"


def test_bills_on_paper() -> None:
    bills = read_study("imagenet").bills
    assert bills["t4"].seconds == pytest.approx(16 * 1_281_167 / 300)
    assert bills["t4"].usd == pytest.approx(16 * 1_281_167 / 300 / 3600 * 2.176)
    assert bills["h200s"].seconds == pytest.approx(bills["h200"].seconds / 8)
    assert bills["h200s"].kwh == pytest.approx(bills["h200"].kwh)


def test_every_check_is_explained() -> None:
    assert all(function.__doc__ for function in CHECKS.values())
    assert claims.SURE == 0.05


# ---------------------------------------------------------------- numbers of images


def test_colourfulness_of_flat_colours() -> None:
    flat = np.zeros((4, 4, 3), np.uint8)
    assert colourfulness(flat + 128) == 0
    red = flat + np.array([255, 0, 0], np.uint8)
    assert colourfulness(red) == pytest.approx(0.3 * math.hypot(255, 127.5))
    half = np.concatenate([red, flat + 0])  # red and black: two clouds, half as far on average
    spread = math.hypot(127.5, 63.75)
    assert colourfulness(half) == pytest.approx(spread + 0.3 * spread)


def test_images_in_memory_have_no_target(tmp_path: Path) -> None:
    part = Part(images={"source": "digits"}, recipe={"model": "simple_cnn"}, target="colourfulness")
    with pytest.raises(SettingError, match="in memory"):
        with_target([trial.plan for trial in part.runs()], part, tmp_path)


def test_eigenfaces_by_another_route(photos: Path, tmp_path: Path) -> None:
    ready = scrimp.prepare(scrimp.find_images(photos), image_px=8)
    found = codes.compare_codes(ready, [1, 6], tmp_path, epochs=30)
    assert codes.load_codes(tmp_path) == found
    seen, unseen = (
        np.stack([ready.pixels[row] for row in ready.images.rows(split)]).transpose(0, 3, 1, 2).reshape(-1, 192) / 255.0
        for split in ("train", "test")
    )
    mean = seen.mean(axis=0)
    axes = np.linalg.svd(seen - mean, full_matrices=False)[2]
    for code, count in zip(found[:2], (1, 6), strict=True):
        decoded = np.clip(mean + (unseen - mean) @ axes[:count].T @ axes[:count], 0, 1)
        assert code.rmse == pytest.approx(np.sqrt(np.mean((decoded - unseen) ** 2)), abs=1e-4)
        assert code.numbers == count
    assert found[2].method == "autoencoder"
    assert found[3].rmse < np.sqrt(np.mean((unseen - mean) ** 2)), "better than always saying the mean image"


# ---------------------------------------------------------------- distilled plans


def test_a_plan_can_distil(photos: Path, tmp_path: Path) -> None:
    tables = {"images": {"source": str(photos)}, "preparation": {"image_px": 16}}
    recipe = {"model": "simple_cnn", "epochs": 1}
    plan = scrimp.Plan(**tables, distillation={"per_class": 2, "image_px": 16}, recipe=recipe)
    run = run_plan(plan, tmp_path / "run")
    assert run.plan == plan
    assert run.image_counts["train"] == 6
    assert sweeping.finished_run(tmp_path / "run", plan, sweeping.Shelf()) is not None
    assert sweeping.finished_run(tmp_path / "run", plan.but(distillation=None), sweeping.Shelf()) is None
    with pytest.raises(SettingError, match="drop one"):
        plan.but(selection={"keep": 6})


# ---------------------------------------------------------------- notebooks


def fabricate(name: str, folder: Path) -> None:
    """A study's folder as a run leaves it, with made-up figures."""
    study = read_study(name).settled(data="photos", quick=True)
    folder.mkdir(parents=True)
    (folder / "study.toml").write_text(to_toml(study), encoding="utf-8")
    (folder / "forecast.json").write_text(json.dumps({"seconds": 60.0, "without": {}, "parts": []}))
    for part_name, part in study.parts.items():
        place = folder / part_name
        place.mkdir()
        if part.codes:
            made = [
                codes.Code(method, n, 0.1, 0.5, 1.0) for method in ("eigenfaces", "autoencoder") for n in part.codes
            ]
            (place / "codes.json").write_text(json.dumps([code._asdict() for code in made]))
        if part.target:
            (place / "targets.csv").write_text("path,target,split\n")
        for number, plan in enumerate(with_target([trial.plan for trial in part.runs()], part, place)):
            make = make_regress_run if part.target else make_run
            run = make(model="vgg8", seed=number, val=0.6 + number / 50, test=0.5 + number / 50)
            run.model_copy(update={"plan": plan}).save(place / plan.name)


def test_the_notebooks_run_on_made_up_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them in one kernel, which takes seconds to start."""
    every = []
    for name in NAMES:
        fabricate(name, tmp_path / "runs" / f"study-{name}")
        book = nbformat.read(NOTEBOOKS / f"{name.replace('-', '_')}.ipynb", as_version=4)
        nbformat.validate(book)
        assert not any(cell.get("outputs") for cell in book.cells), "kept without outputs"
        every += [cell for cell in book.cells if cell.cell_type == "code"]
    monkeypatch.setenv("PYTHONPATH", str(Path(scrimp.__file__).parents[1]))
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")  # the kernel's own
    whole = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.source) for cell in every])
    NotebookClient(whole, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in whole.cells for output in cell.outputs]
    assert sum("text/html" in output.get("data", {}) for output in shown) >= 2 * len(NAMES)
    assert not [output for output in shown if output.output_type == "error"]


def test_a_part_that_cannot_tell_its_images_is_not_reused_for_others(file: Path, tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "out"
    called(str(file), "--yes", "--part", "codes", "--out", str(out))
    others = shutil.copytree(photos, tmp_path / "others")
    with pytest.raises(SettingError, match="was made from other images: name another folder"):
        called(str(file), "--yes", "--part", "codes", "--data", str(others), "--out", str(out))
