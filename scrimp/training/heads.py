"""The best linear head on features, at once: logistic regression, or ridge regression in closed form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.optimize
import torch
from torch import Tensor, nn

from scrimp.batches import Prepared
from scrimp.images.kinds import Task
from scrimp.models import Classifier
from scrimp.scores import fit_temperature
from scrimp.training.evaluate import loss_and_merit, loss_of, predict

Method = Literal["logistic", "ridge"]

_LOGISTIC = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)  # how strong the penalty is, of which val chooses one
_RIDGE = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1)
_USUAL = 2  # the one of these that is taken where there is no val
_SCALES = (16.0, 4.0, 8.0, 32.0, 64.0)  # of logits over the zeros and ones of a ridge regression; the usual one first
_STEPS = 100  # of L-BFGS at most, for each strength
_ENOUGH = 1e-5  # of the objective: a step that gains less is the last


class Head(NamedTuple):
    """A linear map (outputs, d) and its bias (outputs,): to logits, or to a target in the unit that it was given in."""

    weight: Tensor
    bias: Tensor

    def outputs(self, features: Tensor) -> Tensor:
        """Logits or targets (n, outputs) of features (n, d)."""
        return features @ self.weight.T + self.bias

    def score(self, features: Tensor, labels: Tensor, task: Task) -> tuple[float, float]:
        """The mean loss on images, and the measure of the task; labels are as for `solve_head`."""
        return loss_and_merit(self.outputs(features), labels, task, sd=torch.ones(1))


def solve_head(
    features: Tensor,
    labels: Tensor,
    task: Task,
    outputs: int,
    *,
    method: Method,
    val_features: Tensor | None = None,
    val_labels: Tensor | None = None,
) -> Head:
    """The head that fits best with small weights for standardised features; how small, the loss on val decides.

    features: float32 (n, d). labels: as `Images` holds them, but a target in the unit that the head is to speak.
    method: "logistic" minimises the cross-entropy (of the class, or of each label by itself) by L-BFGS; "ridge" the
    squared distance from zeros and ones in closed form, which a factor makes into logits. A target is always found
    by ridge regression. Without val the penalty is one that mostly does.
    Cost: about 4 n d outputs operations for each of some 100 steps of logistic; 2 n d² + 3 d³ for ridge.
    """
    sd, mean = torch.std_mean(features, dim=0, correction=0)
    sd = torch.where(sd > 0, sd, torch.ones_like(sd))  # what is the same in all images gets no weight
    solve, strengths = (_ridge, _RIDGE) if method == "ridge" or task == "regress" else (_logistic, _LOGISTIC)
    standard = (features - mean) / sd
    if val_features is None or val_labels is None:
        best = next(solve(standard, labels, task, outputs, strengths[_USUAL:]))
    else:
        val, truth = (val_features - mean) / sd, val_labels
        heads = solve(standard, labels, task, outputs, strengths)
        best = min(heads, key=lambda head: loss_of(head.outputs(val), truth, task, sd=sd.new_ones(1)).item())
    weight = best.weight / sd
    return Head(weight, best.bias - weight @ mean)


@torch.no_grad()
def calibrate(model: Classifier, ready: Prepared) -> float | None:
    """Divides the head's scores by the one temperature that makes the truth on val likeliest, and returns it.

    What is predicted stays the same, how sure the model says it is becomes believable. None, and nothing is changed,
    where a number is predicted, and where no mistake on val tells how sure is too sure.
    Cost: a forward pass per val image. Source: Guo et al., arXiv 1706.04599.
    """
    rows, task = ready.images.rows("val"), ready.images.task
    if task == "regress":
        return None
    outputs, labels = predict(model, ready, rows), ready.images.labels[rows]
    temperature, at_limit = fit_temperature(task, labels, outputs.numpy())
    if at_limit:
        return None
    layer = model.head
    assert isinstance(layer, nn.Linear | nn.Conv2d)  # behind a ReLU as well, a scale is a scale
    layer.weight.div_(temperature)
    if layer.bias is not None:
        layer.bias.div_(temperature)
    return temperature


def _logistic(features: Tensor, labels: Tensor, task: Task, outputs: int, strengths: Sequence[float]) -> Iterator[Head]:
    """A head for each strength of the penalty, each found from the one before."""

    def unpacked(point: npt.NDArray[np.float64]) -> Head:
        both = torch.from_numpy(point).to(features).view(outputs, -1)
        return Head(both[:, :-1].contiguous(), both[:, -1].contiguous())

    def objective(point: npt.NDArray[np.float64], strength: float) -> tuple[float, npt.NDArray[np.float64]]:
        head = unpacked(point)
        logits = head.outputs(features).requires_grad_()
        if task == "multilabel":
            loss = nn.functional.binary_cross_entropy_with_logits(logits, labels.float(), reduction="sum") / len(labels)
        else:
            loss = nn.functional.cross_entropy(logits, labels)
        (error,) = torch.autograd.grad(loss, logits)
        gradient = torch.cat([error.T @ features + strength * head.weight, error.sum(0)[:, None]], dim=1)
        penalty = strength / 2 * head.weight.square().sum()
        return (loss + penalty).item(), gradient.flatten().double().cpu().numpy()

    point = np.zeros(outputs * (features.shape[1] + 1))
    for strength in strengths:
        options = {"maxiter": _STEPS, "ftol": _ENOUGH}
        found = scipy.optimize.minimize(objective, point, (strength,), "L-BFGS-B", jac=True, options=options)
        point = found.x
        yield unpacked(point)


def _ridge(features: Tensor, labels: Tensor, task: Task, outputs: int, strengths: Sequence[float]) -> Iterator[Head]:
    """A head for each strength of the penalty and, but for targets, each scale of its logits."""
    wanted = nn.functional.one_hot(labels, outputs) if task == "classify" else labels.view(len(labels), outputs)
    middle = wanted.float().mean(0)
    gram = (features.T @ features / len(features)).double()
    towards = (features.T @ (wanted - middle) / len(features)).double()
    for strength in strengths:
        factor = torch.linalg.cholesky(gram + strength * torch.eye(len(gram), dtype=gram.dtype, device=gram.device))
        weight = torch.cholesky_solve(towards, factor).T.float()
        if task == "regress":
            yield Head(weight, middle)
        else:
            yield from (Head(scale * weight, scale * (middle - 0.5)) for scale in _SCALES)
