import itertools
import math
from statistics import stdev

import numpy as np
import pytest
from make_runs import make_multilabel_run, make_regress_run, make_run

from scrimp.cost import Cost
from scrimp.errors import SettingError
from scrimp.scores import score
from scrimp.tradeoff import AXES, Spread, compare, summary


def repeated(model, values, **figures):
    return [make_run(model=model, seed=seed, val=value, **figures) for seed, value in enumerate(values)]


def test_seeds_of_one_plan_are_one_candidate_with_their_spread():
    chosen = compare(repeated("resnet18", [0.80, 0.82, 0.90]) + repeated("vgg16", [0.5]))
    first, second = chosen.candidates
    assert (first.name, second.name) == ("resnet18 @ 160 px", "vgg16 @ 160 px")
    assert first.val.mean == pytest.approx(0.84)
    assert first.val.sd == pytest.approx(math.sqrt((0.04**2 + 0.02**2 + 0.06**2) / 2))
    assert (first.val.n, second.val.n, second.val.sd) == (3, 1, None)
    assert chosen.best.val.top1 == 0.90


def test_the_winner_is_chosen_on_val_and_test_cannot_change_it():
    a = make_run(model="resnet18", val=0.9, test=0.1)
    b = make_run(model="vgg16", val=0.6, test=0.99)
    assert compare([a, b]).winner.name.startswith("resnet18")
    assert compare([b, a]).winner.name.startswith("resnet18")


def test_the_front_against_brute_force_on_nine_points():
    accuracies = [0.50, 0.62, 0.58, 0.71, 0.71, 0.80, 0.77, 0.80, 0.55]
    seconds = [10, 20, 25, 30, 40, 50, 60, 45, 5]
    models = [
        "resnet18",
        "resnet34",
        "resnet50",
        "vgg16",
        "vgg8",
        "ultralight",
        "simple_cnn",
        "mnasnet0_5",
        "lcnet_100",
    ]
    runs = [make_run(model=m, val=a, seconds=s) for m, a, s in zip(models, accuracies, seconds, strict=True)]
    points = list(zip(models, accuracies, seconds, strict=True))
    expected = {
        m
        for m, a, s in points
        if not any((oa >= a and os <= s) and (oa > a or os < s) for om, oa, os in points if om != m)
    }
    front = compare(runs).front["seconds"]
    assert {c.runs[0].plan.recipe.model for c in front} == expected
    costs = [c.costs["seconds"].mean for c in front]
    assert costs == sorted(costs)


def test_an_unknown_cost_takes_no_part_in_its_front():
    cheap_unknown = make_run(model="resnet18", val=0.95, wh=None)
    known = make_run(model="vgg16", val=0.6, wh=3.0)
    chosen = compare([cheap_unknown, known])
    assert [c.runs[0].plan.recipe.model for c in chosen.front["wh"]] == ["vgg16"]
    assert chosen.candidates[0].costs["wh"] is None
    assert AXES["wh"].read(cheap_unknown) is None


def test_one_run_of_unknown_cost_makes_the_mean_unknown():
    runs = [make_run(seed=0, usd=1.0), make_run(seed=1, usd=None)]
    assert compare(runs).winner.costs["usd"] is None


def test_ties_are_differences_within_their_standard_error():
    # 200 validation images each: at 0.90 one standard error is 2.1 points, of a difference 3.0.
    near, far = make_run(model="vgg16", val=0.88), make_run(model="vgg8", val=0.86)
    chosen = compare([make_run(model="resnet18", val=0.90), near, far])
    assert [c.runs[0].plan.recipe.model for c in chosen.ties] == ["vgg16"]
    assert "one other ties with it" in chosen.verdict
    assert chosen.winner.noise == pytest.approx(math.sqrt(0.9 * 0.1 / 200))


@pytest.mark.parametrize(("prefer", "wins"), [("accuracy", "resnet18"), ("speed", "vgg16"), ("size", "vgg8")])
def test_among_equals_the_preferred_wins_and_never_a_worse_one(prefer, wins):
    # As above, one standard error of a difference is about 3 points.
    runs = [
        make_run(model="resnet18", val=0.90, ms=9, mb=40),
        make_run(model="vgg16", val=0.89, ms=3, mb=500),
        make_run(model="vgg8", val=0.88, ms=5, mb=2),
        make_run(model="simple_cnn", val=0.70, ms=1, mb=1),
    ]
    chosen = compare(runs, prefer=prefer)
    assert chosen.winner.name.startswith(wins)
    assert len(chosen.ties) == 2
    assert chosen.winner not in chosen.ties
    assert chosen.candidates[0].name.startswith("resnet18"), "the order is that of val whatever is preferred"


def test_among_equals_the_surest_of_the_truth_wins():
    # As above, one standard error of a difference is about 3 points.
    runs = [
        make_run(model="resnet18", val=0.90, certainty=0.80),
        make_run(model="vgg16", val=0.89, certainty=0.85),
        make_run(model="simple_cnn", val=0.70, certainty=0.99),
    ]
    chosen = compare(runs)
    assert chosen.winner.name.startswith("vgg16")
    assert "the surest of the truth" in chosen.verdict
    older = make_run(model="vgg8", val=0.88)  # scored before certainty was known
    chosen = compare([*runs, older])
    assert chosen.winner.name.startswith("resnet18"), "what is unknown is not held against it"
    assert "surest" not in chosen.verdict


def test_what_is_unknown_is_never_preferred():
    chosen = compare(
        [make_run(model="vgg16", val=0.9, ms=None), make_run(model="vgg8", val=0.89, ms=50)], prefer="speed"
    )
    assert chosen.winner.name.startswith("vgg8")


def test_seeds_that_scatter_widely_count_for_more_than_the_number_of_images():
    values = [0.70, 0.90, 0.98]
    chosen = compare(repeated("resnet18", values))
    assert chosen.winner.noise == pytest.approx(stdev(values) / math.sqrt(3))


def test_names_tell_what_differs_and_nothing_more():
    runs = [
        make_run(model="vgg8", image_px=px, recipe={"augment": augment})
        for px, augment in itertools.product((32, 64), ("none", "basic"))
    ]
    assert {c.name for c in compare(runs).candidates} == {
        f"vgg8 @ {px} px, augment {augment}" for px in (32, 64) for augment in ("none", "basic")
    }


def test_failed_runs_are_kept_apart_and_told():
    failed = make_run(model="vgg16", val=None, status="failed", reason="out of memory")
    chosen = compare([make_run(), failed])
    assert chosen.failed == (failed,)
    assert summary(chosen)["failed"][0]["reason"] == "out of memory"
    with pytest.raises(SettingError, match="out of memory"):
        compare([failed])
    with pytest.raises(SettingError, match="there are no runs"):
        compare([])


def test_other_classes_cannot_be_compared():
    with pytest.raises(SettingError, match=r"4 classes.*2 others"):
        compare([make_run(model="resnet18"), make_run(model="vgg16", classes=("a", "b"))])


def test_runs_of_different_tasks_cannot_be_compared():
    with pytest.raises(SettingError, match=r"task='classify'.*task='regress': accuracy and R² cannot be compared"):
        compare([make_run(model="resnet18"), make_regress_run(model="vgg16")])


def test_every_task_is_compared_by_its_own_measure():
    a, b = make_multilabel_run(model="resnet18", val=0.6, test=0.9), make_multilabel_run(model="vgg16", val=0.7)
    chosen = compare([a, b])
    assert chosen.verdict == "vgg16 @ 160 px wins with mAP 0.700 on val and mAP 0.680 on test."
    assert chosen.ties == ()  # 0.1 apart, and sqrt(2) * 0.02 is the standard error of that
    assert (summary(chosen)["task"], summary(chosen)["measure"]) == ("multilabel", "map")
    assert summary(chosen)["candidates"][0]["others"]["val"] == pytest.approx({"micro_f1": 0.65, "macro_f1": 0.6})
    near = compare([make_regress_run(model="resnet18", val=0.8), make_regress_run(model="vgg16", val=0.775, mae=9)])
    assert [c.name for c in near.ties] == ["vgg16 @ 160 px"]  # 0.025 is less than sqrt(2) * 0.02
    assert summary(near)["candidates"][1]["others"]["test"] == pytest.approx({"mae": 9, "rmse": 11.25})


def test_a_spread_that_nobody_knows_ties_everything():
    runs = [make_regress_run(model=name, val=val) for name, val in (("resnet18", 0.9), ("vgg16", 0.1))]
    blind = [run.model_copy(update={"val": run.val.model_copy(update={"standard_error": None})}) for run in runs]
    assert len(compare(blind).ties) == 1
    assert compare(runs).ties == ()


def test_a_worse_than_useless_model_still_has_its_place():
    chosen = compare([make_regress_run(model=name, val=val) for name, val in (("resnet18", -3.0), ("vgg16", -0.2))])
    assert chosen.winner.name == "vgg16 @ 160 px"
    assert chosen.verdict.startswith("vgg16 @ 160 px wins with R² -0.200")


def test_the_whole_bill_counts_what_is_shared_once():
    alone = make_run(model="resnet18", shared=("read", "prepare"), usd=None)
    costs = {name: cost.seconds for name, cost in alone.costs.items()}
    runs = [alone, make_run(model="vgg16", usd=None), make_run(model="vgg16", seed=1, image_px=96, usd=None)]
    own = 3 * (costs["train"] + costs["measure"])
    assert compare(runs).bill.seconds == pytest.approx(own + costs["read"] + 2 * costs["prepare"])
    assert compare(runs).bill.usd is None
    assert compare(runs, bill=Cost(seconds=1.0)).bill.seconds == 1.0


def test_spread_of_one_value_has_no_deviation():
    assert Spread.of([3.0]) == (3.0, None, 1)


def test_a_repetition_that_was_cut_off_is_none():
    whole = repeated("resnet18", [0.80, 0.82])
    cut_off = make_run(model="resnet18", seed=2, val=0.3).model_copy(update={"status": "interrupted"})
    alone = make_run(model="vgg16", val=0.5).model_copy(update={"status": "interrupted"})
    first, second = compare([*whole, cut_off, alone]).candidates
    assert (first.val.mean, first.val.n) == (pytest.approx(0.81), 2)
    assert (second.val.mean, second.val.n) == (0.5, 1), "there is no other"


@pytest.mark.parametrize("n", [10, 200, 1000])
def test_one_image_decides_nothing_even_beside_a_perfect_score(n):
    labels = np.arange(n) % 2
    right = np.eye(2, dtype=np.float32)[labels]
    wrong = right.copy()
    wrong[0] = right[1]
    scores = [score("classify", labels, outputs, 2) for outputs in (right, wrong)]
    assert [round(n * (1 - one.merit)) for one in scores] == [0, 1]
    runs = [
        make_run(model=model).model_copy(update={"val": one})
        for model, one in zip(("resnet18", "vgg16"), scores, strict=True)
    ]
    assert len(compare(runs).ties) == 1
