"""How well a model's answers agree with the truth: for each task one measure that leads, and all that is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from scrimp.images.kinds import Task

Array = npt.NDArray[Any]

SAMPLED = 500
"""Images whose target and prediction are kept one by one, to be drawn."""

LIMIT = 20.0
"""A temperature is looked for from 1/20 to 20: outputs that are never wrong would have it go to 0."""

_TO_FIT = 5000  # images, drawn by chance, that a temperature is fitted on
_GROUPS = 20  # of images, each left out once for a standard error: known to about a sixth of itself


class Measure(NamedTuple):
    """The figure that the models of a task are compared by: higher is better, 1 is perfect.

    key: the field of the scores that holds it, and its name in JSON and in tables on disk. column: its name in
    history.csv. title: what it is called; word: the same within a sentence. others: further figures, field to title.
    """

    key: str
    column: str
    title: str
    word: str
    others: Mapping[str, str]

    def text(self, value: float, field: str = "") -> str:
        """This figure, or the one of `others`, as it is read: a share as "91.8%", another score as "0.918"."""
        if self.key == "r2" and field in self.others:
            return number(value)  # in the unit of the targets
        return f"{value:.1%}" if self.key == "top1" else f"{value:.3f}"

    def phrase(self, value: float, sd: float | None = None) -> str:
        """The figure within a sentence, with a standard deviation if there is one: "mAP 0.918 ± 0.004"."""
        name = "" if self.key == "top1" else f"{self.title} "
        return f"{name}{self.text(value)}" + ("" if sd is None else f" ± {self.text(sd)}")


MEASURES: dict[Task, Measure] = {
    "classify": Measure("top1", "accuracy", "Accuracy", "accuracy", {"macro_f1": "macro-F1"}),
    "multilabel": Measure("map", "map", "mAP", "mAP", {"micro_f1": "micro-F1", "macro_f1": "macro-F1"}),
    "regress": Measure("r2", "r2", "R²", "R²", {"mae": "MAE", "rmse": "RMSE"}),
}
"""Top-1 accuracy; mean average precision; the share of the targets' variance that is explained."""


def number(value: float) -> str:
    """Three significant digits without exponents: 0.0123, 4.56, 789, 12,345."""
    if value and abs(value) < 1e-6:
        return "< 0.000001" if value > 0 else "> -0.000001"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return text if "e" not in text else f"{value:.8f}".rstrip("0")


# ---------------------------------------------------------------- what is kept


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Scores(_Record):
    """How well a classifier does on one split of n images.

    top1, macro_f1: 0 to 1. per_class: recall of each class, None for a class without images in this split.
    confusion: rows are true classes, columns predicted ones, in the order of `Run.classes`. certainty: see
    `certainty`; None in runs that were scored before it was known.
    """

    n: int
    top1: float
    macro_f1: float
    per_class: tuple[float | None, ...]
    confusion: tuple[tuple[int, ...], ...]
    certainty: float | None = None

    @property
    def merit(self) -> float:
        """What models are compared by: top-1 accuracy."""
        return self.top1

    @property
    def standard_error(self) -> float | None:
        """Of top-1 accuracy p, as a share of n images: sqrt(p (1 - p) / n), p (1 - p) being no less than 1 / 4n.

        Else all right, or all wrong, would be beyond doubt.
        """
        return math.sqrt(max(self.top1 * (1 - self.top1), 0.25 / self.n) / self.n)

    @property
    def said(self) -> str:
        """The scores in a few words: "91.8% top-1"."""
        return f"{self.top1:.1%} top-1"


class MultilabelScores(_Record):
    """How well a model that gives each label a probability does on one split of n images.

    map: mean over the classes of average precision (the area under precision and recall, as a step), 0 to 1.
    micro_f1, macro_f1: of labels at probability 0.5 and above, all decisions together and averaged over the classes.
    per_class: average precision of each class. All averages leave out classes that no image here has; those are None.
    positives: images that have each label. standard_error: of map (see `standard_error`).
    """

    n: int
    map: float
    standard_error: float | None
    micro_f1: float
    macro_f1: float
    per_class: tuple[float | None, ...]
    positives: tuple[int, ...]

    @property
    def merit(self) -> float:
        """What models are compared by: mean average precision."""
        return self.map

    @property
    def said(self) -> str:
        """The scores in a few words: "mAP 0.712, macro-F1 0.650"."""
        return f"mAP {self.map:.3f}, macro-F1 {self.macro_f1:.3f}"


class RegressScores(_Record):
    """How well a model that gives a number does on one split of n images.

    r2: 1 - squared error / squared error of always saying the mean; below 0 it is worse than that. mae, rmse: mean
    absolute error, and root of the mean squared one, in the unit of the targets. standard_error: of r2 (see
    `standard_error`). truth, predicted: of up to `SAMPLED` images, drawn by chance, in six digits.
    """

    n: int
    r2: float
    standard_error: float | None
    mae: float
    rmse: float
    truth: tuple[float, ...]
    predicted: tuple[float, ...]

    @property
    def merit(self) -> float:
        """What models are compared by: R²."""
        return self.r2

    @property
    def said(self) -> str:
        """The scores in a few words: "R² 0.830, MAE 3.2"."""
        return f"R² {self.r2:.3f}, MAE {number(self.mae)}"


AnyScores = Scores | MultilabelScores | RegressScores


# ---------------------------------------------------------------- how it is computed


def unscorable(task: Task, truth: Array) -> str:
    """Why these labels (as `Images` holds them) allow no score, as the end of a sentence; "" where they do."""
    if not len(truth):
        return "there are no images"
    if task == "multilabel" and not truth.any():
        return "none of the images has a label"
    if task == "regress" and len(np.unique(truth)) < 2:
        return f"all images have the target {truth[0]:g}"
    return ""


def merit(task: Task, truth: Array, outputs: Array) -> float:
    """What models are compared by, of labels (as `Images` holds them) and a model's outputs (n, outputs).

    Cost: n log n for each class of a multilabel task, else n.
    """
    if task == "classify":
        return float((outputs.argmax(axis=1) == truth).mean())
    if task == "multilabel":
        return float(np.mean([ap for ap in _average_precisions(truth, outputs) if ap is not None]))
    from sklearn.metrics import r2_score

    return float(r2_score(truth.astype(np.float64), outputs[:, 0].astype(np.float64)))


def certainty(truth: Array, outputs: Array) -> float:
    """Mean probability that a classifier's logits (n, classes) give to the true class, 0 to 1, after the temperature
    that makes the truth likeliest here.

    Where as many answers are right, it is higher for the model that errs by less and is right by more. A share of right
    answers counts each image as all or nothing; this tells models apart on fewer images.
    """
    from scipy.special import softmax

    temperature, _ = fit_temperature("classify", truth, outputs)
    return float(softmax(outputs / np.float32(temperature), axis=1)[np.arange(len(truth)), truth].mean())


def fit_temperature(task: Task, truth: Array, outputs: Array) -> tuple[float, bool]:
    """What outputs are to be divided by so that the truth is least surprising, and whether that is at `LIMIT`.

    Mean cross-entropy, of which the inverse of the temperature is a convex function, on 5,000 images at most, fewer
    of more than 200 classes, drawn by chance, the same on every machine. Source: Guo et al., arXiv 1706.04599.
    """
    from scipy.optimize import minimize_scalar

    most = min(_TO_FIT, _TO_FIT * 200 // outputs.shape[1])
    drawn = np.random.default_rng(0).permutation(len(truth))[:most]
    logits, truth, edge = outputs[drawn].astype(np.float64), truth[drawn], math.log(LIMIT)

    def surprise(logarithm: float) -> float:
        return _surprise(task, truth, logits / math.exp(logarithm))

    found = minimize_scalar(surprise, bounds=(-edge, edge), method="bounded")
    if surprise(-edge) <= found.fun + 1e-12:  # without a mistake nothing is sure enough, and rounding makes it flat
        return 1 / LIMIT, True
    return math.exp(found.x), bool(edge - abs(found.x) < 1e-3)


def _surprise(task: Task, truth: Array, logits: Array) -> float:
    """Mean negative logarithm of what was said of the truth."""
    if task == "multilabel":
        return float(np.logaddexp(0, np.where(truth == 1, -logits, logits)).mean())
    from scipy.special import log_softmax

    return float(-log_softmax(logits, axis=1)[np.arange(len(truth)), truth].mean())


def standard_error(task: Task, truth: Array, outputs: Array) -> float | None:
    """How far `merit` would scatter if other images of the same kind had been looked at; None if too few to tell.

    The delete-a-group jackknife (Kott, Journal of Official Statistics 17, 2001): the images are dealt into 20 groups
    by chance, the same on every machine, and the spread of the merit without each of them is scaled up.
    Cost: 20 times that of `merit`.
    """
    groups = min(_GROUPS, len(truth))
    group = np.random.default_rng(0).permutation(len(truth)) % max(1, groups)
    kept = [group != left_out for left_out in range(groups)]
    without = [merit(task, truth[rows], outputs[rows]) for rows in kept if not unscorable(task, truth[rows])]
    if len(without) < 2:
        return None
    return float(np.sqrt((len(without) - 1) * np.var(without)))


def score(task: Task, truth: Array, outputs: Array, classes: int) -> AnyScores:
    """All scores of one split, of labels (as `Images` holds them) and a model's outputs (n, outputs)."""
    if task == "classify":
        return _of_classes(truth, outputs, classes)
    error = standard_error(task, truth, outputs)
    return _of_labels(truth, outputs, error) if task == "multilabel" else _of_targets(truth, outputs, error)


def _of_classes(truth: Array, outputs: Array, classes: int) -> Scores:
    from sklearn.metrics import confusion_matrix, f1_score

    guess = outputs.argmax(axis=1)
    every = np.arange(classes)
    confusion = confusion_matrix(truth, guess, labels=every)
    present = np.unique(truth)
    totals = confusion.sum(axis=1)
    recalls = [float(confusion[i, i] / totals[i]) if totals[i] else None for i in every]
    return Scores(
        n=len(truth),
        top1=merit("classify", truth, outputs),
        macro_f1=float(f1_score(truth, guess, labels=present, average="macro", zero_division=0)),
        per_class=tuple(recalls),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        certainty=certainty(truth, outputs),
    )


def _of_labels(truth: Array, outputs: Array, error: float | None) -> MultilabelScores:
    from sklearn.metrics import f1_score

    said = (outputs >= 0).astype(np.uint8)  # a logit of 0 is a probability of 0.5
    present = np.flatnonzero(truth.any(axis=0))
    f1s = [f1_score(truth[:, i], said[:, i], zero_division=0) for i in present]
    return MultilabelScores(
        n=len(truth),
        map=merit("multilabel", truth, outputs),
        standard_error=error,
        micro_f1=float(f1_score(truth.ravel(), said.ravel(), zero_division=0)),
        macro_f1=float(np.mean(f1s)),
        per_class=tuple(_average_precisions(truth, outputs)),
        positives=tuple(truth.sum(axis=0, dtype=np.int64).tolist()),
    )


def _of_targets(truth: Array, outputs: Array, error: float | None) -> RegressScores:
    from sklearn.metrics import mean_absolute_error, mean_squared_error

    true, predicted = truth.astype(np.float64), outputs[:, 0].astype(np.float64)
    drawn = np.random.default_rng(0).permutation(len(true))[:SAMPLED]
    return RegressScores(
        n=len(true),
        r2=merit("regress", truth, outputs),
        standard_error=error,
        mae=float(mean_absolute_error(true, predicted)),
        rmse=math.sqrt(mean_squared_error(true, predicted)),
        truth=tuple(float(f"{value:.6g}") for value in true[drawn]),
        predicted=tuple(float(f"{value:.6g}") for value in predicted[drawn]),
    )


def _average_precisions(truth: Array, outputs: Array) -> list[float | None]:
    from sklearn.metrics import average_precision_score

    return [
        float(average_precision_score(truth[:, i], outputs[:, i])) if truth[:, i].any() else None
        for i in range(truth.shape[1])
    ]
