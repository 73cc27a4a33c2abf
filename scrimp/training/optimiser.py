"""Optimisers, and at which rate each layer learns."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn, optim

from scrimp.models import Classifier
from scrimp.training.recipe import Recipe

_BLOCK = re.compile(r".*?\d+(\.blocks)?(\.\d+)*")  # what torchvision and timm number: features.3, layer1.0, …


def optimiser_for(
    model: Classifier, recipe: Recipe, peak: float, *, precision: torch.dtype = torch.float32
) -> optim.Optimizer:
    """The recipe's optimiser over all parameters, those included that do not learn yet.

    peak: the highest learning rate, above 0. Biases and norms (one dimension) do not decay. Each group holds its
    `lr_scale`, by which `set_rates` multiplies: `layer_decay` to the power of how many blocks (see `blocks_below`) lie
    above, the head counting as one; 1 for the head. A parameter without a gradient is neither moved nor decayed.

    sgd: with Nesterov's momentum. adam: Kingma & Ba, arXiv 1412.6980. adamw: Loshchilov & Hutter, arXiv 1711.05101.
    schedule-free: AdamW of Defazio et al., arXiv 2405.15682, which wants `set_mode`. muon: Jordan et al.,
    kellerjordan.github.io/posts/muon, scaled as by Liu et al., arXiv 2502.16982, so that AdamW's learning rates suit
    it; convolutions are flattened to (out, in * h * w). The head, biases, norms, depthwise convolutions and other
    matrices that are narrower than 4 or 128 times longer than wide go to NAdamW with the same learning rate.

    Memory: 1 number a parameter for sgd and muon, else 2.
    """
    groups = _groups(model, recipe, peak)
    betas = (recipe.momentum, 0.999)
    # PyTorch's fused SGD begins its momentum with whatever lay in memory when loss scaling skips the first step.
    # None leaves the choice between loops and multi-tensor kernels to PyTorch.
    fused = (recipe.fused and precision != torch.float16) or None
    if recipe.optimiser == "sgd":
        return optim.SGD(groups, peak, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=fused)
    if recipe.optimiser == "adam":
        return optim.Adam(groups, peak, betas, fused=fused)
    if recipe.optimiser == "adamw":
        return optim.AdamW(groups, peak, betas, fused=fused)
    if recipe.optimiser == "muon":
        from timm.optim.muon import Muon

        muon: optim.Optimizer = Muon(groups, peak, momentum=recipe.momentum, nesterov=True, betas=betas)
        return muon
    from schedulefree import AdamWScheduleFree

    free: optim.Optimizer = AdamWScheduleFree(groups, peak, betas)
    return free


def parts_of(images: int, accumulate: int) -> int:
    """Parts that a batch is cut into: as many as asked, but none of a single image, on which batch norm fails."""
    return max(1, min(accumulate, images // 2))


def set_rates(optimiser: optim.Optimizer, lr: float, momentum: float) -> None:
    """Sets the learning rate, times each group's `lr_scale`, and the momentum, which Adam and its kin call beta1."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group["lr_scale"]
        if "momentum" in group:
            group["momentum"] = momentum
        if "betas" in group:
            group["betas"] = (momentum, group["betas"][1])


def set_mode(optimiser: optim.Optimizer, *, learning: bool) -> None:
    """Schedule-free learns with other weights than it is judged by: puts those into the model that are wanted now.

    To be called before learning, and before the weights are used or saved; other optimisers have one set of weights.
    """
    if "train_mode" in optimiser.param_groups[0]:
        (optimiser.train if learning else optimiser.eval)()  # type: ignore[attr-defined]


def blocks_below(model: Classifier) -> dict[str, int]:
    """How many blocks lie below each parameter, by its name; the head is a block of its own, above all others.

    A block is what the model itself numbers, such as `features.3`, `layer1.0` or `stages.0.blocks.1`, or else a
    top-level layer, in the order in which they were made; what holds nothing but norms belongs to the block before.
    """
    of_head = _ids(model.head_parameters())
    backbone = [(name, parameter) for name, parameter in model.named_parameters() if id(parameter) not in of_head]
    with_weights = {_block(name) for name, parameter in backbone if parameter.ndim > 1}
    numbers: dict[str, int] = {}
    highest = -1
    for name, _ in backbone:
        if _block(name) not in numbers:
            highest += _block(name) in with_weights
            numbers[_block(name)] = max(0, highest)
    below = {name: numbers[_block(name)] for name, _ in backbone}
    return {name: below.get(name, highest + 1) for name, _ in model.named_parameters()}


def _block(name: str) -> str:
    path = name.removeprefix("body.")
    numbered = _BLOCK.match(path)
    return numbered.group() if numbered else path.partition(".")[0]


def _groups(model: Classifier, recipe: Recipe, peak: float) -> list[dict[str, Any]]:
    """Parameters that are treated alike: by how deep they lie, whether they decay, and the head always apart.

    Muon is not for the head, and fused SGD cannot begin with a part of a group later, as when the backbone is thawed.
    """
    of_head, below = _ids(model.head_parameters()), blocks_below(model)
    highest = max(below.values())
    alike: dict[tuple[int, bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        depth = 0 if recipe.layer_decay == 1 else highest - below[name]
        alike.setdefault((depth, id(parameter) in of_head, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": peak * recipe.layer_decay**depth,
            "lr_scale": recipe.layer_decay**depth,
            "weight_decay": recipe.weight_decay if decays else 0.0,
            "use_fallback": head,  # Muon's word; others do not look at it
        }
        for (depth, head, decays), parameters in alike.items()
    ]


def _ids(parameters: list[nn.Parameter]) -> set[int]:
    return {id(parameter) for parameter in parameters}
