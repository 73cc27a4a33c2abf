"""Whether probabilities mean what they say: reliability, its error, and the temperature that mends it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from scrimp.explaining.kinds import Bin, Calibration
from scrimp.images.kinds import Split, Task
from scrimp.scores import fit_temperature

BINS = 15
"""Bins of equal width, as in Guo and others."""

_DRAWN = 500  # times that answers are drawn, to see what chance makes of honest probabilities
_USUAL = 0.95  # part of these that stays within what is put down to chance

Array = npt.NDArray[Any]


def calibrate(
    task: Task, split: Split, truth: Array, outputs: Array, val: tuple[Array, Array] | None = None
) -> Calibration:
    """How far probabilities can be trusted on a split, and what dividing outputs by a temperature does to that.

    truth: labels as `Images` holds them; outputs: logits (n, outputs), n at least 1. val: the same of val, which alone
    the temperature is fitted on; None where the split is val itself. For the tasks classify and multilabel.
    Cost: 1,000 random numbers an answer, a few seconds per million.
    Guo and others, "On Calibration of Modern Neural Networks" (arXiv 1706.04599).
    """
    said, right = answers(task, truth, outputs)
    bins = reliability(said, right)
    found = Calibration(
        split=split, answers=len(said), ece=expected_error(bins), ece_by_chance=error_by_chance(said), bins=bins
    )
    if val is None:
        return found
    temperature, at_limit = fit_temperature(task, *val)
    said, right = answers(task, truth, outputs / temperature)
    scaled = reliability(said, right)
    return found.model_copy(
        update={
            "temperature": temperature,
            "at_limit": at_limit,
            "scaled": scaled,
            "ece_scaled": expected_error(scaled),
            "ece_scaled_by_chance": error_by_chance(said),
        }
    )


def answers(task: Task, truth: Array, outputs: Array) -> tuple[Array, Array]:
    """The probability of each answer, and whether it was right (see `Calibration`)."""
    chances = probabilities(task, outputs)
    if task == "multilabel":
        return chances.ravel(), truth.ravel() == 1
    return chances.max(axis=1), chances.argmax(axis=1) == truth


def probabilities(task: Task, outputs: Array) -> Array:
    """Of each class, or of each label, (n, classes), in the type of the outputs: as float64 they may take gigabytes."""
    from scipy.special import expit, softmax

    chances: Array = expit(outputs) if task == "multilabel" else softmax(outputs, axis=1)
    return chances


def reliability(said: Array, right: Array) -> tuple[Bin, ...]:
    """Answers by their probability, in bins of equal width from 0 to 1; the upper edge belongs to a bin."""
    place = _bin_of(said)
    bins = []
    for number in range(BINS):
        here = place == number
        n = int(here.sum())
        means = (float(said[here].mean()), float(right[here].mean())) if n else (None, None)
        bins.append(Bin(low=number / BINS, high=(number + 1) / BINS, n=n, said=means[0], right=means[1]))
    return tuple(bins)


def _bin_of(said: Array) -> npt.NDArray[np.int8]:
    place: npt.NDArray[np.int8] = np.clip(np.ceil(said * BINS) - 1, 0, BINS - 1).astype(np.int8)
    return place


def error_by_chance(said: Array) -> float:
    """The expected calibration error that 95 % of models stay within whose answers are right as often as they say.

    Whether each answer was right is drawn with its own probability, 500 times, the same on every run.
    """
    dice, place = np.random.default_rng(0), _bin_of(said)
    expected = np.bincount(place, said, BINS)
    errors = []
    for _ in range(_DRAWN):
        right = dice.random(len(said), dtype=np.float32) < said
        errors.append(np.abs(expected - np.bincount(place, right, BINS)).sum() / len(said))
    return float(np.quantile(errors, _USUAL))


def expected_error(bins: tuple[Bin, ...]) -> float:
    """Expected calibration error, 0 to 1."""
    gaps = [one.n * abs(one.said - one.right) for one in bins if one.said is not None and one.right is not None]
    return sum(gaps) / sum(one.n for one in bins)
