"""Scores by a second route: by definition in plain Python, by hand, or by drawing images again and again."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from scrimp.scores import (
    LIMIT,
    MEASURES,
    SAMPLED,
    AnyScores,
    MultilabelScores,
    RegressScores,
    Scores,
    certainty,
    fit_temperature,
    merit,
    number,
    score,
    standard_error,
    unscorable,
)


def average_precision_by_definition(present, scores):
    """Over the distinct thresholds from high to low: precision times what recall gained."""
    area, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        said = [p for p, s in zip(present, scores, strict=True) if s >= threshold]
        recall = sum(said) / sum(present)
        area += sum(said) / len(said) * (recall - recall_before)
        recall_before = recall
    return area


def f1_by_counting(present, said):
    hits = sum(p and s for p, s in zip(present, said, strict=True))
    wrong = sum(p != s for p, s in zip(present, said, strict=True))
    return 2 * hits / (2 * hits + wrong) if hits else 0.0


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 30))
def test_labels_are_scored_as_by_definition(seed, classes, n):
    dice = np.random.default_rng(seed)
    truth = (dice.random((n, classes)) < 0.4).astype(np.uint8)
    logits = dice.integers(-3, 4, (n, classes)) / 2  # few values, so that some tie
    if unscorable("multilabel", truth):
        assert not truth.sum()
        return
    found = score("multilabel", truth, logits, classes)
    present = [c for c in range(classes) if truth[:, c].sum()]
    precisions = {c: average_precision_by_definition(truth[:, c].tolist(), logits[:, c].tolist()) for c in present}
    said = (logits >= 0).astype(int)  # a probability of 0.5 and above
    assert found.map == pytest.approx(sum(precisions.values()) / len(present))
    assert found.per_class == tuple(pytest.approx(precisions[c]) if c in precisions else None for c in range(classes))
    assert found.micro_f1 == pytest.approx(f1_by_counting(truth.ravel().tolist(), said.ravel().tolist()))
    by_class = [f1_by_counting(truth[:, c].tolist(), said[:, c].tolist()) for c in present]
    assert found.macro_f1 == pytest.approx(sum(by_class) / len(present))
    assert found.positives == tuple(truth[:, c].sum() for c in range(classes))
    assert (found.n, found.merit) == (n, found.map)


def test_one_ranking_by_hand():
    # ranked: yes, no, yes: precisions 1 and 2/3 at the two that count
    found = score("multilabel", np.array([[1], [0], [1]], dtype=np.uint8), np.array([[3.0], [2.0], [-1.0]]), 1)
    assert found.map == pytest.approx((1 + 2 / 3) / 2)
    assert (found.micro_f1, found.macro_f1) == (pytest.approx(0.5), pytest.approx(0.5))  # 1 hit, 1 false, 1 missed
    assert found.said == "mAP 0.833, macro-F1 0.500"


def test_targets_by_hand():
    truth, outputs = np.array([1.0, 2.0, 3.0, 6.0], dtype=np.float32), np.array([[1.0], [4.0], [3.0], [5.0]])
    found = score("regress", truth, outputs, 0)
    # off by 0, 2, 0, -1; around their mean 3 the targets are off by -2, -1, 0, 3
    assert found.mae == pytest.approx(3 / 4)
    assert found.rmse == pytest.approx(math.sqrt(5 / 4))
    assert found.r2 == pytest.approx(1 - 5 / 14)
    assert found.said == "R² 0.643, MAE 0.75"
    assert sorted(zip(found.truth, found.predicted, strict=True)) == [(1, 1), (2, 4), (3, 3), (6, 5)]


def test_only_some_points_are_kept_and_in_six_digits():
    truth = np.linspace(0, 1e6 / 3, 2_000, dtype=np.float32)
    found = score("regress", truth, truth[:, None] + 1, 0)
    assert len(found.truth) == len(found.predicted) == SAMPLED == 500
    assert all(len(f"{value:.15g}".replace(".", "").lstrip("0")) <= 6 for value in found.truth)
    assert found.r2 > 0.999


def test_classes_are_scored_as_ever():
    found = score("classify", np.array([0, 0, 1, 1]), np.eye(3)[[0, 1, 1, 1]], 3)
    assert (found.top1, found.per_class) == (0.75, (0.5, 1.0, None))
    assert found.confusion == ((1, 1, 0), (0, 2, 0), (0, 0, 0))
    assert found.macro_f1 == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found.standard_error == pytest.approx(math.sqrt(0.75 * 0.25 / 4))
    assert found.said == "75.0% top-1"


def test_certainty_by_hand():
    # Three of four are right, all by the same margin: said with probability 0.75, they surprise least.
    truth, outputs = np.array([0, 0, 1, 1]), np.array([[3, 0], [3, 0], [0, 3], [3, 0]], dtype=np.float32)
    by_hand = 0.75 * 0.75 + 0.25 * 0.25
    assert certainty(truth, outputs) == pytest.approx(by_hand, abs=1e-4)
    assert certainty(truth, 7 * outputs) == pytest.approx(by_hand, abs=1e-4), "how loudly it is said does not count"
    assert score("classify", truth, outputs, 2).certainty == pytest.approx(by_hand, abs=1e-4)


def test_who_errs_by_less_is_surer_at_the_same_accuracy():
    truth = np.array([0, 0, 1, 1])
    far, near = (np.array([[3, 0], [3, 0], [0, 3], [wrong, 0]]) for wrong in (3.0, 0.1))
    assert certainty(truth, near) > certainty(truth, far) + 0.1


@pytest.mark.parametrize("margin", [1, 3, 10, 50])
def test_without_a_mistake_no_temperature_is_low_enough(margin):
    truth = np.arange(60) % 3
    assert fit_temperature("classify", truth, margin * np.eye(3)[truth]) == (pytest.approx(1 / LIMIT, rel=1e-2), True)


def test_a_temperature_is_fitted_on_so_many_images_at_most():
    dice = np.random.default_rng(1)
    truth = dice.integers(0, 3, 20_000)
    outputs = 4 * (np.eye(3)[truth] + dice.normal(size=(20_000, 3)))
    whole, some = fit_temperature("classify", truth, outputs), fit_temperature("classify", truth[:5000], outputs[:5000])
    assert whole[0] == pytest.approx(some[0], rel=0.1)
    assert whole == fit_temperature("classify", truth, outputs), "the same ones each time"


@pytest.mark.parametrize("task", ["multilabel", "regress"])
def test_the_standard_error_is_what_new_images_would_scatter_by(task):
    """Fresh images are drawn again and again; the jackknife must know their spread from one draw."""

    def draw(dice, n=300):
        if task == "regress":
            truth = dice.normal(50, 10, n)
            return truth, (truth + dice.normal(0, 6, n))[:, None]
        truth = (dice.random((n, 3)) < 0.3).astype(np.uint8)
        return truth, truth + dice.normal(0, 1.0, (n, 3))

    many = [merit(task, *draw(np.random.default_rng(seed))) for seed in range(200)]
    told = [standard_error(task, *draw(np.random.default_rng(1000 + seed))) for seed in range(12)]
    assert np.mean(told) == pytest.approx(np.std(many), rel=0.25)


def test_the_standard_error_of_too_few_is_unknown():
    assert standard_error("regress", np.array([1.0, 2.0]), np.array([[1.0], [2.0]])) is None  # one left is no variance
    assert standard_error("multilabel", np.array([[1]], dtype=np.uint8), np.array([[1.0]])) is None


@pytest.mark.parametrize(
    ("task", "truth", "why"),
    [
        ("classify", np.zeros(0, dtype=np.int64), "no images"),
        ("multilabel", np.zeros((3, 2), dtype=np.uint8), "none of the images has a label"),
        ("regress", np.array([2.5, 2.5], dtype=np.float32), "all images have the target 2.5"),
        ("regress", np.array([2.5, 2.0], dtype=np.float32), ""),
        ("multilabel", np.array([[0, 1]], dtype=np.uint8), ""),
        ("classify", np.array([0]), ""),
    ],
)
def test_what_allows_no_score_says_why(task, truth, why):
    told = unscorable(task, truth)
    assert why in told if why else told == ""


def test_every_kind_of_scores_is_told_from_the_others_in_json():
    kinds = TypeAdapter(AnyScores)
    every = [
        Scores(n=1, top1=1.0, macro_f1=1.0, per_class=(1.0, None), confusion=((1, 0), (0, 0))),
        MultilabelScores(
            n=1, map=1.0, standard_error=None, micro_f1=1.0, macro_f1=1.0, per_class=(1.0,), positives=(1,)
        ),
        RegressScores(n=2, r2=0.5, standard_error=0.1, mae=1.0, rmse=1.0, truth=(1.0, 2.0), predicted=(2.0, 2.0)),
    ]
    for scores in every:
        assert kinds.validate_json(scores.model_dump_json()) == scores


def test_every_measure_reads_its_own_scores():
    names = {"classify": Scores, "multilabel": MultilabelScores, "regress": RegressScores}
    for task, kind in names.items():
        assert {MEASURES[task].key, *MEASURES[task].others} <= set(kind.model_fields)


def test_figures_are_read_as_their_kind_is():
    assert MEASURES["classify"].phrase(0.918, 0.004) == "91.8% ± 0.4%"
    assert MEASURES["multilabel"].phrase(0.7123) == "mAP 0.712"
    assert MEASURES["regress"].phrase(0.83, 0.01) == "R² 0.830 ± 0.010"
    assert MEASURES["regress"].text(3.2149, "mae") == "3.21"
    assert MEASURES["multilabel"].text(0.5, "micro_f1") == "0.500"
    assert [number(value) for value in (0.0, -12345.6, 0.0123, 3.2, 1e-9)] == [
        "0", "-12,346", "0.0123", "3.2", "< 0.000001",
    ]  # fmt: skip
