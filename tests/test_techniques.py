"""What a technique bought: the plans that tell, differences worked out by hand, and the studies."""

from __future__ import annotations

import csv
import io
import json
import pickle
import random
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from make_runs import make_multilabel_run, make_regress_run, make_run
from markupsafe import Markup
from scipy.stats import t

from scrimp import cli, sweeping
from scrimp.errors import ScrimpError, SettingError, UnknownName
from scrimp.meter import Run
from scrimp.report import page, write_report
from scrimp.settings import read_toml
from scrimp.sweeping import sweep, vary
from scrimp.techniques import (
    FIGURES,
    Effect,
    Trial,
    by_technique,
    effects,
    names_of,
    one_at_a_time,
    plans_of,
    to_csv,
)
from scrimp.tradeoff import compare
from scrimp.training import Recipe
from scrimp.training.recipes import RECIPES

FILES = sorted((Path(__file__).parents[1] / "studies").glob("*.toml"))
STUDIES = [path for path in FILES if "parts" not in read_toml(path)]  # those with parts are in test_studying.py
BASE = {"images": {"source": "photos/birds"}, "recipe": {"model": "simple_cnn", "schedule": "constant"}}
TECHNIQUES = {
    "cycle": {"recipe.schedule": "one-cycle"},
    "smooth": {"recipe.label_smoothing": 0.1},
    "ema": {"recipe.average": "ema", "recipe.ema_decay": 0.9},
}
ALTERNATIVES = {"cosine": {"recipe.schedule": "cosine"}}
SEEDS = {"recipe.seed": [0, 1, 2]}


# ---------------------------------------------------------------- trials


def settings(trial: Trial) -> tuple[str, float, str, float]:
    recipe = trial.plan.recipe
    return recipe.schedule, recipe.label_smoothing, recipe.average, recipe.ema_decay


def test_one_technique_at_a_time_is_on_and_then_off() -> None:
    trials = one_at_a_time(BASE, TECHNIQUES, {"recipe.seed": [4, 5]}, ALTERNATIVES)
    half = len(trials) // 2
    assert [trial.plan.recipe.seed for trial in trials] == [4] * half + [5] * half, "seeds turn slowest"
    for part in (trials[:half], trials[half:]):
        assert {trial.name: settings(trial) for trial in part} == {
            "base": ("constant", 0.0, "none", 0.99),
            "base + cycle": ("one-cycle", 0.0, "none", 0.99),
            "base + smooth": ("constant", 0.1, "none", 0.99),
            "base + ema": ("constant", 0.0, "ema", 0.9),
            "base + cosine": ("cosine", 0.0, "none", 0.99),
            "all techniques": ("one-cycle", 0.1, "ema", 0.9),
            "all but cycle": ("constant", 0.1, "ema", 0.9),
            "all but smooth": ("one-cycle", 0.0, "ema", 0.9),
            "all but ema": ("one-cycle", 0.1, "none", 0.99),
        }


def test_a_single_technique_is_tried_once() -> None:
    names = [trial.name for trial in one_at_a_time(BASE, {"cycle": TECHNIQUES["cycle"]}, {})]
    assert names == ["base", "base + cycle"]
    assert [trial.name for trial in one_at_a_time(BASE, {}, {}, ALTERNATIVES)] == ["base", "base + cosine"]


def test_equal_plans_run_once() -> None:
    """Of two techniques, all but the one is the base with the other."""
    two = {name: TECHNIQUES[name] for name in ("cycle", "smooth")}
    trials = one_at_a_time(BASE, two, SEEDS)
    assert len(trials) == 6 * 3
    plans = plans_of(trials)
    assert len(plans) == 4 * 3
    assert set(names_of(trials).values()) == {"base", "base + cycle", "base + smooth", "all techniques"}
    assert {plan.variant for plan in plans} == set(names_of(trials))


@pytest.mark.parametrize(
    ("techniques", "axes", "alternatives", "said"),
    [
        ({"none": {"recipe.schedule": "constant"}}, {}, {}, r"'none' changes nothing: .* recipe.schedule = 'constant'"),
        ({"a": {"recipe.mix": "mixup"}, "b": {"recipe.mix": "cutmix"}}, {}, {}, r"'a' and 'b' both set recipe.mix"),
        ({"a": {"recipe.seed": 3}}, SEEDS, {}, r"'recipe.seed' is set by technique 'a' and varied too"),
        ({"a": 0.1}, {}, {}, r"'a' must be a table"),
        ({"a": {}}, {}, {}, r"'a' must be a table"),
        (TECHNIQUES, {}, {"ema": {"recipe.average": "swa"}}, r"'ema' is a technique and an alternative"),
        (TECHNIQUES, {"recipe.model": ["vgg8", "simple_cnn"]}, {}, r"'recipe.model' has 2 values"),
        ({"a": {"recipe.lable_smoothing": 0.1}}, {}, {}, r"base \+ a: .*Did you mean 'label_smoothing'"),
        (
            {"free": {"recipe.optimiser": "schedule-free"}, "cycle": TECHNIQUES["cycle"]},
            {},
            {},
            r"all techniques: optimiser='schedule-free' .*'one-cycle'",
        ),
    ],
)
def test_what_cannot_be_told_apart_is_refused(techniques: Any, axes: Any, alternatives: Any, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        one_at_a_time(BASE, techniques, axes, alternatives)


def test_an_axis_of_one_value_lies_over_the_base() -> None:
    trials = one_at_a_time(BASE, TECHNIQUES, {"recipe.model": ["vgg8"]} | SEEDS)
    assert {trial.plan.recipe.model for trial in trials} == {"vgg8"}


# ---------------------------------------------------------------- effects


def made(trials: list[Trial], figures: dict[str, list[dict[str, Any]]], make: Any = make_run) -> list[Run]:
    """A run for each trial's plan with the figures of its name and seed, in an order that tells nothing."""
    runs = [
        make(**figures[trial.name][trial.plan.recipe.seed]).model_copy(update={"plan": trial.plan}) for trial in trials
    ]
    random.Random(0).shuffle(runs)
    return runs


def one(found: list[Effect], technique: str, added_to: str, figure: str) -> Effect:
    (effect,) = [e for e in found if (e.technique, e.added_to, e.figure) == (technique, added_to, figure)]
    return effect


def of_values(values: dict[str, list[float]], **others: Any) -> dict[str, list[dict[str, Any]]]:
    return {name: [{"val": value, "test": value - 0.1, **others} for value in row] for name, row in values.items()}


THREE = {
    "base": [0.50, 0.70, 0.60],
    "base + cycle": [0.51, 0.72, 0.61],  # by 1, 2 and 1 points: mean 4/3, sd sqrt(1/3), standard error 1/3
    "base + smooth": [0.50, 0.72, 0.64],  # by 0, 2 and 4 points: mean 2, sd 2, standard error 2 / sqrt(3) = 1.15
    "base + ema": [0.50, 0.70, 0.60],
    "all techniques": [0.60, 0.80, 0.70],
    "all but cycle": [0.61, 0.82, 0.71],  # with it, it is worse by 1, 2 and 1 points
    "all but smooth": [0.60, 0.80, 0.70],
    "all but ema": [0.56, 0.78, 0.69],  # with it, it is better by 4, 2 and 1 points: sd 1.53, standard error 0.88
}


def test_differences_are_of_the_same_seed() -> None:
    trials = one_at_a_time(BASE, TECHNIQUES, SEEDS)
    found = effects(trials, made(trials, of_values(THREE, images_per_class=2000)))
    cycle = one(found, "cycle", "the base", "val")
    assert (cycle.n, cycle.seeds, cycle.pairs, cycle.unit) == (3, 3, "3", "")
    assert cycle.without == pytest.approx(0.6)
    assert cycle.mean == pytest.approx(0.04 / 3)
    assert cycle.sd == pytest.approx(0.01 / 3**0.5)
    assert cycle.verdict == "+1.3 ± 0.6 points"
    assert one(found, "cycle", "the base", "test").verdict == "+1.3 ± 0.6 points"
    assert one(found, "smooth", "the base", "val").verdict == "no effect (+2.0 ± 2.0 points)"
    assert one(found, "ema", "the base", "val").verdict == "no effect (+0.0 ± 0.0 points)"
    assert one(found, "cycle", "all others", "val").verdict == "-1.3 ± 0.6 points"
    assert one(found, "cycle", "all others", "val").without == pytest.approx((0.61 + 0.82 + 0.71) / 3)
    assert one(found, "ema", "all others", "val").verdict == "+2.3 ± 1.5 points"
    assert len(found) == 3 * 2 * len(FIGURES)


@pytest.mark.parametrize(
    ("images", "said"),
    # Two points on 100 images are two images, on 300 six: of d n images that differ, the variance is d n too.
    [(100, "no effect (+2.0 ± 0.0 points)"), (300, "+2.0 ± 0.0 points")],
)
def test_seeds_that_agree_on_a_few_images_prove_nothing(images: int, said: str) -> None:
    trials = one_at_a_time(BASE, {"cycle": TECHNIQUES["cycle"]}, SEEDS)
    rows = of_values({"base": [0.50, 0.60, 0.70], "base + cycle": [0.52, 0.62, 0.72]})
    runs = [
        run.model_copy(update={"val": run.val and run.val.model_copy(update={"n": images})})
        for run in made(trials, rows)
    ]
    assert one(effects(trials, runs), "cycle", "the base", "val").verdict == said


@pytest.mark.parametrize(("error", "said"), [(0.01, "+5.0"), (0.03, "no effect (+5.0"), (None, "no effect (+5.0")])
def test_other_scores_are_as_uncertain_as_they_say(error: float | None, said: str) -> None:
    base = {**BASE, "images": {"source": "photos/birds", "task": "multilabel"}}
    trials = one_at_a_time(base, {"cycle": TECHNIQUES["cycle"]}, SEEDS)
    rows = {"base": [{"val": 0.5, "test": 0.5}] * 3, "base + cycle": [{"val": 0.55, "test": 0.5}] * 3}
    runs = [
        run.model_copy(update={"val": run.val and run.val.model_copy(update={"standard_error": error})})
        for run in made(trials, rows, make_multilabel_run)
    ]
    assert one(effects(trials, runs), "cycle", "the base", "val").verdict.startswith(said)


def test_costs_are_told_in_their_unit_and_as_a_share() -> None:
    trials = one_at_a_time(BASE, {"cycle": TECHNIQUES["cycle"]}, SEEDS)
    same = {"val": 0.5, "test": 0.5}
    rows = {
        "base": [{**same, "seconds": s, "memory": 200.0, "wh": 1.0} for s in (10.0, 10.0, 10.0)],
        "base + cycle": [{**same, "seconds": s, "memory": 150.0, "wh": None} for s in (14.0, 15.0, 16.0)],
    }
    found = effects(trials, made(trials, rows))
    assert one(found, "cycle", "the base", "seconds").verdict == "+5 ± 1 s, +50%"  # of training alone
    assert one(found, "cycle", "the base", "memory").verdict == "-50 ± 0 MB, -25%"
    energy = one(found, "cycle", "the base", "wh")
    assert (energy.mean, energy.sd, energy.without, energy.n, energy.verdict) == (None, None, None, 0, "not measured")
    shown = by_technique(found)["cycle", "the base"]
    assert "wh" not in shown, "what nobody knows"
    assert "gpu_memory" not in shown


def test_one_seed_cannot_tell() -> None:
    trials = one_at_a_time(BASE, {"cycle": TECHNIQUES["cycle"]}, {})
    rows = of_values({"base": [0.5], "base + cycle": [0.6]})
    effect = one(effects(trials, made(trials, rows)), "cycle", "the base", "val")
    assert (effect.sd, effect.verdict) == (None, "one seed: cannot tell (+10.0 points)")


def test_a_failed_run_takes_its_pair_with_it() -> None:
    trials = one_at_a_time(BASE, {"cycle": TECHNIQUES["cycle"]}, SEEDS)
    rows = of_values({"base": [0.5, 0.5, 0.5], "base + cycle": [0.6, 0.7, 0.1]})
    rows["base + cycle"][2] |= {"status": "failed", "reason": "the loss became nan in epoch 2"}
    runs = made(trials, rows)
    effect = one(effects(trials, runs), "cycle", "the base", "val")
    assert (effect.n, effect.seeds, effect.pairs) == (2, 3, "2 of 3")
    assert effect.mean == pytest.approx(0.15)
    missing = effects(trials, [run for run in runs if run.plan.recipe.label_smoothing or not run.plan.recipe.seed])
    assert one(missing, "cycle", "the base", "val").pairs == "1 of 3"
    assert one(effects(trials, []), "cycle", "the base", "val").verdict == "not measured"


def test_other_tasks_in_their_own_figures() -> None:
    rows = {"base": [{"val": 0.5, "test": 0.5}] * 3, "base + cycle": [{"val": 0.55, "test": 0.5}] * 3}
    for task, make, said in (
        ("multilabel", make_multilabel_run, "+5.0 ± 0.0 points"),
        ("regress", make_regress_run, "+0.05 ± 0"),
    ):
        base = {**BASE, "images": {"source": "photos/birds", "task": task}}
        trials = one_at_a_time(base, {"cycle": TECHNIQUES["cycle"]}, SEEDS)
        assert one(effects(trials, made(trials, rows, make)), "cycle", "the base", "val").verdict[:17] == said


def test_how_weak_the_test_is() -> None:
    """What is said of three seeds: t = mean / standard error passes 2 in 18 % of cases, by Student's distribution."""
    assert 2 * t.sf(2, df=2) == pytest.approx(0.18, abs=0.005)
    assert "18 %" in str(effects.__doc__)


def test_effects_as_a_table_on_disk() -> None:
    trials = one_at_a_time(BASE, TECHNIQUES, SEEDS)
    found = effects(trials, made(trials, of_values(THREE, wh=None, images_per_class=2000)))
    rows = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert len(rows) == len(found)
    assert rows[0]["technique"] == "cycle"
    assert rows[0]["verdict"] == "+1.3 ± 0.6 points"
    assert {row["mean"] for row in rows if row["figure"] == "wh"} == {""}


def test_the_report_shows_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "plotly", lambda: Markup("/* plotly */"))
    trials = one_at_a_time(BASE, TECHNIQUES, SEEDS)
    runs = made(trials, of_values(THREE))
    chosen = compare(runs, names=names_of(trials))
    assert {c.name for c in chosen.candidates} == {trial.name for trial in trials}
    assert all(len(c.runs) == 3 for c in chosen.candidates)
    text = write_report(chosen, tmp_path / "report.html", effects=effects(trials, runs)).read_text(encoding="utf-8")
    section = text.split('<section id="techniques">')[1].split("</section>")[0]
    assert section.count("<tr>") == 1 + 2 * 3
    assert "no effect (+2.0 ± 2.0 points)" in section
    assert "gpu" not in section.lower(), "nobody measured it"
    without = write_report(chosen, tmp_path / "without.html").read_text(encoding="utf-8")
    assert 'id="techniques"' not in without
    assert "#techniques" not in without


# ---------------------------------------------------------------- a process of its own


def test_apart_is_another_process(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = {
        "images": {"source": str(photos)},
        "preparation": {"image_px": 16},
        "recipe": {"model": "simple_cnn", "pretrained": False, "epochs": 1, "precision": "float32"},
    }
    here = sweep(vary(base, {}), tmp_path / "here")[0]
    monkeypatch.delattr(sweeping, "measure")  # which this process alone lacks now
    apart = sweep(vary(base, {}), tmp_path / "apart", apart=True)[0]
    assert apart.status == "finished"
    assert apart.val == here.val
    assert apart.peak_memory_mb is None or apart.peak_memory_mb > 0


def test_what_a_process_refuses_can_be_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Run:
        raise UnknownName("model", "vgg9", ["vgg8"])

    monkeypatch.setattr(sweeping, "run_plan", refuse)
    monkeypatch.setattr(sweeping, "be_silent", lambda: None)
    with pytest.raises(ScrimpError, match="'vgg9'") as error:
        sweeping._run_alone(vary(BASE, {})[0], tmp_path, None)
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


# ---------------------------------------------------------------- the studies


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_can_be_planned(path: Path) -> None:
    tables = read_toml(path)
    axes, techniques, alternatives = (tables.pop(name, {}) for name in ("vary", "techniques", "alternatives"))
    assert axes["recipe.seed"] == [0, 1, 2]
    if not techniques:
        assert len(vary(tables, axes)) == len({plan.name for plan in vary(tables, axes)})
        return
    trials = one_at_a_time(tables, techniques, axes, alternatives)
    assert len(trials) == 3 * (2 + 2 * len(techniques) + len(alternatives))
    assert len(plans_of(trials)) == len(trials)


def fields_tried() -> set[str]:
    tried = set()
    for path in FILES:
        whole = read_toml(path)
        for tables in (whole, *whole.get("parts", {}).values()):
            for changes in {**tables.get("techniques", {}), **tables.get("alternatives", {})}.values():
                tried |= {key.removeprefix("recipe.") for key in changes}
    return tried


def test_the_studies_leave_no_technique_out() -> None:
    not_techniques = {"model", "pretrained", "weights", "epochs", "max_seconds", "seed", "momentum", "width", "depth"}
    of_another = {"min_delta", "ema_decay", "teacher_weight", "batch_norm", "keep"}
    not_tried = {"teacher", "drop_path"}  # one wants a run to learn from, the other a network with residuals
    assert set(Recipe.model_fields) - fields_tried() == not_techniques | of_another | not_tried


def test_the_pages_leave_nothing_out() -> None:
    docs = Path(__file__).parents[1] / "docs"
    explained = (docs / "techniques.md").read_text(encoding="utf-8")
    missing = [f for f in fields_tried() - {"batch_size"} | {"teacher", "drop_path"} if f"`{f} = " not in explained]
    assert not missing
    presets = (docs / "recipes.md").read_text(encoding="utf-8")
    assert not [name for name in RECIPES if f"| `{name}` |" not in presets]


@pytest.mark.usefixtures("here")
def test_a_study_from_the_command_to_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = read_toml(Path(__file__).parents[1] / "studies" / "techniques.toml")
    names = ("label_smoothing", "ema")
    study["images"] = {"source": "digits", "per_class": 30}
    study["preparation"] = {"image_px": 8}
    study["recipe"]["epochs"] = 1
    study["vary"] = {"recipe.seed": [0, 1]}
    study["techniques"] = {name: study["techniques"][name] for name in names}
    del study["alternatives"]
    (tmp_path / "study.toml").write_bytes(tomli_w.dumps(study).encode())

    answer = json.loads(called(["sweep", "--plan", "study.toml", "--out", "tried", "--json"], monkeypatch, capsys))
    assert not answer["failed"]
    assert {row["name"] for row in answer["candidates"]} == {
        "base", "base + label_smoothing", "base + ema", "all techniques",
    }  # fmt: skip
    assert all(len(row["runs"]) == 2 for row in answer["candidates"])
    found = [Effect(**row) for row in answer["effects"]]
    assert {(e.technique, e.added_to, e.n) for e in found if e.figure == "val"} == {
        (name, added_to, 2) for name in names for added_to in ("the base", "all others")
    }
    val = {row["name"]: row["val"]["mean"] for row in answer["candidates"]}
    smoothing = one(found, "label_smoothing", "all others", "val")
    assert smoothing.mean == pytest.approx(val["all techniques"] - val["base + ema"])
    assert to_csv(found).splitlines()[0] == (tmp_path / "tried" / "techniques.csv").read_text().splitlines()[0]
    assert len((tmp_path / "tried" / "techniques.csv").read_text().splitlines()) == 1 + len(found)
    assert "What each technique bought" in (tmp_path / "tried" / "report.html").read_text(encoding="utf-8")

    text = called(["sweep", "--plan", "study.toml", "--out", "tried"], monkeypatch, capsys)
    assert "all others" in text
    assert smoothing.verdict in text


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs share this process, which is what costs the seconds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sweeping, "_run_apart", lambda plan, out, price: sweeping.run_plan(plan, out, usd_per_hour=price)
    )


def called(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["scrimp", *arguments])
    monkeypatch.setenv("COLUMNS", "240")
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = capsys.readouterr()
    assert not ended.value.code, printed.err
    return printed.out
