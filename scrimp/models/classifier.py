"""A classifier: raw pixels in, one score per class (or a number) out, whichever library its body comes from."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from scrimp.models.table import USUAL_SHAPE

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Classifier(nn.Module):
    """A body with its normalisation in front, so that training, serving and export all feed raw pixels.

    Attributes:
        name: the model's name, as `build` takes it.
        body: the network itself; takes normalised floats.
        head_path: where the final layer is inside the body, such as "classifier.3".
        start: where the initial weights came from, in a few words.
        load_notes: what of a weights file did not fit, a sentence each.
        shape: its width, depth and whether it has batch norm, where these can be chosen.
        flips: in eval mode it answers with the mean over an image and its mirror image, at twice the time.
    """

    mean: Tensor
    std: Tensor
    target_mean: Tensor | None
    target_sd: Tensor | None

    def __init__(
        self,
        body: nn.Module,
        *,
        name: str,
        head: str,
        mean: Iterable[float] = IMAGENET_MEAN,
        std: Iterable[float] = IMAGENET_STD,
        start: str = "from scratch",
        load_notes: tuple[str, ...] = (),
    ) -> None:
        """`head` is the path of the last layer inside `body`; `mean` and `std` are per colour, on 0 to 1."""
        super().__init__()
        self.body = body
        self.name = name
        self.start = start
        self.load_notes = load_notes
        self.shape = USUAL_SHAPE
        self.flips = False
        self.head_path = head
        # On the scale of the pixels, and saved with the weights, which are worth nothing without them.
        self.register_buffer("mean", torch.tensor(tuple(mean)).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(tuple(std)).view(1, 3, 1, 1) * 255)
        # Of a model that gives a number, see `set_units`; what is None is not saved.
        self.register_buffer("target_mean", None)
        self.register_buffer("target_sd", None)

    @property
    def head(self) -> nn.Module:
        """The final layer: a `Linear`, or a 1x1 `Conv2d` in the squeezenets."""
        return self.body.get_submodule(self.head_path)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (n, classes) of pixels (n, 3, h, w), uint8 or floats from 0 to 255; with units, targets (n, 1)."""
        normalised = (pixels.to(self.mean.dtype) - self.mean) / self.std
        logits: Tensor = self.body(normalised)
        if self.flips and not self.training:
            logits = (logits + self.body(normalised.flip(3))) / 2
        if self.target_mean is None or self.target_sd is None:
            return logits
        return logits.float() * self.target_sd + self.target_mean

    def set_units(self, mean: float, sd: float) -> None:
        """From now on the one output is a target in its own unit, of this mean and standard deviation, above 0.

        The body goes on learning numbers around 0 and 1. Both are saved with the weights, so that a loaded model gives
        the same targets.
        """
        self.target_mean = self.mean.new_tensor([mean])
        self.target_sd = self.mean.new_tensor([sd])

    def features(self, pixels: Tensor) -> Tensor:
        """What the head sees, (n, d), averaged over positions where the head is a convolution.

        Takes the same pixels, time and memory as `forward`; one thread at a time. Put the model in `eval()`
        first, or dropout is in it.
        """
        seen: list[Tensor] = []
        handle = self.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            self(pixels)
        finally:
            handle.remove()
        return seen[0].flatten(2).mean(2) if seen[0].ndim == 4 else seen[0]

    def head_parameters(self) -> list[nn.Parameter]:
        """The parameters of the final layer."""
        return list(self.head.parameters())

    def backbone_parameters(self) -> list[nn.Parameter]:
        """All other parameters, first layer first."""
        of_head = {id(parameter) for parameter in self.head_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in of_head]

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As in PyTorch, but a state without layout versions (safetensors has none) counts as today's layout.

        Without that, MNASNet refuses its own weights.
        """
        if not hasattr(state_dict, "_metadata"):
            versions = self.state_dict()._metadata  # type: ignore[attr-defined]
            state_dict = OrderedDict(state_dict)
            state_dict._metadata = versions  # type: ignore[attr-defined]
        return super().load_state_dict(state_dict, strict=strict, assign=assign)
