"""Averages of the weights over the steps, and batch norm's statistics for weights that never saw an image."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from scrimp.errors import ImageError
from scrimp.models import Classifier


class Average:
    """A running average of a model's weights and buffers; whole numbers, such as counts of batches, are copied.

    ema: exponential; at each update the part `decay` of it stays, but no more than (1 + updates) / (10 + updates), so
    that the random start is soon forgotten (Polyak & Juditsky 1992; the ramp is TensorFlow's). swa: the plain mean of
    the weights at all updates (Izmailov et al., arXiv 1803.05407). Before the first update it is the model it was made
    with. Memory: the weights once more. Cost of an update: a pass over the weights.

    Attributes:
        updates: how many there were.
    """

    def __init__(self, model: Classifier, how: Literal["ema", "swa"], decay: float) -> None:
        self.updates = 0
        self._how = how
        self._decay = decay
        self._mean = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: Classifier) -> None:
        """Takes in the model's weights as they are now."""
        now = model.state_dict()
        floats = [name for name, value in now.items() if value.is_floating_point()]
        torch._foreach_lerp_([self._mean[name] for name in floats], [now[name] for name in floats], self._share())
        for name in now.keys() - set(floats):
            self._mean[name].copy_(now[name])
        self.updates += 1

    def _share(self) -> float:
        """The part of the next average that is new."""
        if self._how == "swa":
            return 1 / (self.updates + 1)
        return 1 - min(self._decay, (1 + self.updates) / (10 + self.updates))

    def weights(self) -> dict[str, Tensor]:
        """The average as a model's state, not copied: load it, do not change it."""
        return dict(self._mean)

    def state_dict(self) -> dict[str, Any]:
        """All that a later start needs to go on to the bit, not copied."""
        return {"updates": self.updates, "mean": dict(self._mean)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict`, on whatever device the model is that this was made with."""
        self.updates = state["updates"]
        for name, value in self._mean.items():
            value.copy_(state["mean"][name])


@torch.no_grad()
def reestimate_batch_norm(model: Classifier, batches_of_pixels: Iterable[Tensor]) -> None:
    """Sets the statistics of all batch norms to the plain mean over these batches of training images.

    Everything else works as in use, without dropout; modes and momenta are put back. A model without batch norm is
    left as it is, and no batch is drawn. pixels: uint8 (n, 3, h, w). Raises `ImageError` when there is no batch.
    Cost: a forward pass. Source: Izmailov et al., arXiv 1803.05407, section 3.2.
    """
    norms = [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    if not norms:
        return
    drawn = iter(batches_of_pixels)
    first = next(drawn, None)
    if first is None:
        raise ImageError("Batch norm's statistics were to be estimated again, but from no images at all: give some.")
    modes = {layer: layer.training for layer in model.modules()}
    momenta = {layer: layer.momentum for layer in norms}
    model.eval()
    for layer in norms:
        layer.reset_running_stats()
        layer.train()
        layer.momentum = None  # how PyTorch spells a plain mean
    try:
        for pixels in chain([first], drawn):
            model(pixels.to(model.mean.device))
    finally:
        for layer, momentum in momenta.items():
            layer.momentum = momentum
        for module, training in modes.items():
            module.training = training
