"""What a model is asked to make small, and what it says about images."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import sklearn.metrics  # noqa: F401 - which scoring wants: so that its import is not on the first validation's clock
import torch
from torch import Tensor, nn

from scrimp.batches import Prepared, batches
from scrimp.images.kinds import Task
from scrimp.models import Classifier
from scrimp.scores import merit

_BATCH = 64


def loss_of(
    outputs: Tensor, labels: Tensor, task: Task, *, label_smoothing: float = 0.0, sd: Tensor | None = None
) -> Tensor:
    """The mean of `losses_of`."""
    return losses_of(outputs, labels, task, label_smoothing=label_smoothing, sd=sd).mean()


def losses_of(
    outputs: Tensor, labels: Tensor, task: Task, *, label_smoothing: float = 0.0, sd: Tensor | None = None
) -> Tensor:
    """The loss (n,) of outputs (n, outputs) for labels as `Images` holds them, or blends of them as `mixed` makes.

    Cross-entropy for a class; binary cross-entropy of every label's own yes or no; for a target the squared error in
    units of `sd`, that of the training targets: what R² and the root mean squared error reward, and about 1 at the
    start whatever the unit, so that the same learning rates do.
    """
    if task == "multilabel":
        return nn.functional.binary_cross_entropy_with_logits(outputs.float(), labels.float(), reduction="none").mean(1)
    if task == "regress":
        assert sd is not None
        squared: Tensor = ((outputs[:, 0] - labels) / sd) ** 2
        return squared
    return nn.functional.cross_entropy(outputs, labels, label_smoothing=label_smoothing, reduction="none")


def give_units(model: Classifier, ready: Prepared) -> None:
    """Has a model that is to give a number do so in the unit of the training targets, unless it has units already."""
    if ready.images.task == "regress" and model.target_sd is None:
        targets = ready.images.labels[ready.images.rows("train")].astype(np.float64)
        model.set_units(float(targets.mean()), float(targets.std()))


@torch.inference_mode()
def predict(model: nn.Module, ready: Prepared, rows: npt.NDArray[np.int64], *, batch_size: int = _BATCH) -> Tensor:
    """Outputs float32 (len(rows), outputs) on the CPU, in the order of the rows; the model is left in eval mode.

    Logits of classes or labels, or the target in its own unit.
    """
    device = next(model.parameters()).device
    model.eval()
    if not len(rows):
        return torch.empty(0, ready.images.outputs)
    outputs = [model(pixels.to(device)).float().cpu() for pixels, *_ in batches(ready, rows, batch_size)]
    return torch.cat(outputs)


def loss_and_merit(outputs: Tensor, labels: Tensor, task: Task, *, sd: Tensor | None = None) -> tuple[float, float]:
    """Mean loss without smoothing, and the measure of the task, of outputs on the CPU."""
    loss = loss_of(outputs, labels, task, sd=None if sd is None else sd.cpu()).item()
    return loss, merit(task, labels.numpy(), outputs.numpy())


def seconds_to_predict(model: nn.Module, ready: Prepared, rows: npt.NDArray[np.int64]) -> float:
    """How long `predict` on these rows will take, from one batch after a warm-up batch."""
    some = rows[:_BATCH]
    predict(model, ready, some)
    start = time.perf_counter()
    predict(model, ready, some)
    return (time.perf_counter() - start) * len(rows) / max(1, len(some))
