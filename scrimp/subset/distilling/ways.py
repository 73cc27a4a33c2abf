"""The shelf of learned methods: how a step judges the images, and with what rates they follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from scrimp.subset.distilling.kernel import one_hot, ridge_prediction
from scrimp.subset.distilling.matching import features_apart, gradients_apart, teach_classes
from scrimp.subset.distilling.network import ConvNet, in_blocks
from scrimp.subset.distilling.pool import Pool
from scrimp.subset.distilling.task import Task

Step = Callable[[Task, Pool | None, Tensor, Tensor, Generator], Tensor]


@dataclass(frozen=True, kw_only=True)
class Way:
    """A method that learns.

    step: given the task, the pool, tiles (n, 3, px, px), labels (n, classes) and a generator, it leaves gradients on
    images and labels, teaches the pool and gives the loss. whitened: whether images are learned in whitened space, else
    in standardised colours.
    image_rate, label_rate: the highest learning rates, of SGD with momentum 0.5 or of Adam; a label_rate of 0 leaves
    labels as they are, and then what is trained on them learns by cross-entropy. steps: as many as are worth it. norm:
    of the networks that images are learned by, and judged by, as in the paper.
    """

    step: Step
    pool: Callable[[Task, str], Pool] | None = None
    norm: str = "instance"
    whitened: bool
    adam: bool
    image_rate: float
    label_rate: float = 0.0
    steps: int


def _send_back(loss: Tensor, *made: Tensor) -> None:
    """Adds the gradient of the loss to what is learned, and computes none for the weights of the network."""
    learned = [tensor for tensor in made if tensor.requires_grad]
    for tensor, gradient in zip(learned, torch.autograd.grad(loss, learned), strict=True):
        tensor.backward(gradient)  # type: ignore[no-untyped-call]


def _match_features(task: Task, _: Pool | None, tiles: Tensor, labels: Tensor, generator: Generator) -> Tensor:
    loss = features_apart(task, tiles, generator, real_per_class=64)
    _send_back(loss, tiles)
    return loss.detach()


def _match_gradients(task: Task, pool: Pool | None, tiles: Tensor, labels: Tensor, generator: Generator) -> Tensor:
    assert pool is not None
    loss = gradients_apart(task, tiles, generator, 64, pool.pupils[0].network)
    _send_back(loss, tiles)
    teach_classes(pool, task, tiles.detach(), generator)
    return loss.detach()


def _regress(task: Task, pool: Pool | None, tiles: Tensor, labels: Tensor, generator: Generator) -> Tensor:
    """Half the squared error of what ridge regression on the tiles says of real images, in a pupil's features.

    FRePo of Zhou, Nezhadarya and Ba (NeurIPS 2022, arXiv 2206.00719). Cost: a forward pass of the real images drawn,
    and two there and back of the tiles.
    """
    assert pool is not None
    number = int(torch.randint(len(pool.pupils), (), generator=generator))
    network = pool.pupils[number].network.eval()
    real, classes = task.draw(256, generator)
    with task.autocast():
        with torch.no_grad():
            seen = in_blocks(network.features, real).float()
        features = network.features(tiles).float()
    error = ridge_prediction(features, labels, seen) - one_hot(classes, task.classes)
    first, second = labels.topk(2, dim=1).values.unbind(1)
    undecided = (first - second).clamp_max(1 / task.classes).mean()  # a label stays that of its class
    given, wanted = tiles.detach(), labels.detach()

    def lesson(pupil: torch.nn.Module) -> Tensor:
        with task.autocast():
            answers = pupil(given)
        error: Tensor = (answers.float() - wanted).square().sum(1).mean() / 2
        return error

    loss = error.square().sum(1).mean() / 2 - undecided
    _send_back(loss, tiles, labels)
    pool.teach(number, lesson)
    return loss.detach()


def _pupils(task: Task, norm: str) -> Pool:
    """Ten, each taught for 100 steps."""
    return Pool(10, 100, lambda: ConvNet(task.classes, task.image_px, norm=norm).to(task.device), 3e-4)


def _one_pupil(task: Task, norm: str) -> Pool:
    """As the papers have it: a fresh one each step for an image a class, else one that learns meanwhile."""
    steps = 1 if task.per_class * task.formation**2 == 1 else 50
    return Pool(1, steps, lambda: ConvNet(task.classes, task.image_px, norm=norm).to(task.device), 1e-3)


WAYS: Mapping[str, Way] = {
    "real-labels": Way(
        step=_regress, pool=_pupils, norm="none", whitened=True, adam=True, image_rate=0.0, label_rate=1e-3, steps=2_000
    ),
    "dm": Way(step=_match_features, whitened=False, adam=False, image_rate=1.0, steps=2_000),
    "dsa": Way(step=_match_gradients, pool=_one_pupil, whitened=False, adam=False, image_rate=0.1, steps=1_000),
    "frepo": Way(
        step=_regress,
        pool=_pupils,
        norm="none",
        whitened=True,
        adam=True,
        image_rate=0.03,
        label_rate=1e-3,
        steps=10_000,
    ),
}
"""Every method that learns, by name."""


def norm_of(method: str) -> str:
    """Of the networks that judge a method; those that learn nothing are judged as most papers judge."""
    return WAYS[method].norm if method in WAYS else "instance"
