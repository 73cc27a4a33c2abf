"""Looking for flat minima."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def climbed(parameters: Iterable[nn.Parameter], rho: float) -> Iterator[None]:
    """Inside, the weights stand where the loss is about highest within the distance `rho`; after it, where they were.

    That is a step of length rho along the gradient of all parameters together, rho * g / ||g||; the gradient taken
    inside is the one to descend by. Expects gradients to be there; parameters without one, and all where it is zero,
    do not move. They are put back to the bit. Source: SAM, Foret et al., arXiv 2010.01412, equation 2. Cost: a second
    forward and backward pass inside, and the weights once more in memory.
    """
    climbing = [parameter for parameter in parameters if parameter.grad is not None]
    before = [parameter.detach().clone() for parameter in climbing]
    _climb(climbing, rho)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(climbing, before, strict=True):
                parameter.copy_(value)


@contextmanager
def same_statistics(model: nn.Module) -> Iterator[None]:
    """Inside, batch norms normalise by each batch as ever, but do not add it to their running statistics.

    So that a batch which is looked at twice, the second time by weights that are not the model's, counts once.
    """
    norms = [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.training]
    tracking = [layer.track_running_stats for layer in norms]
    for layer in norms:  # a momentum of 0 would not do: 0 times what is no number, after an overflow, is none either
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer, tracks in zip(norms, tracking, strict=True):
            layer.track_running_stats = tracks


@torch.no_grad()
def _climb(parameters: list[nn.Parameter], rho: float) -> None:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    step = rho / torch.nn.utils.get_total_norm(gradients).clamp(min=1e-12)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.add_(gradient * step)
