"""What a model weighs and how much arithmetic it does, counted rather than timed."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def macs(classifier: nn.Module, image_px: int) -> int:
    """Multiply-adds of one image with sides of `image_px` pixels; convolutions and matrix products count.

    Costs one forward pass of one image. The model's training mode is left as it was.
    """
    device = next(classifier.parameters()).device
    pixels = torch.zeros(1, 3, image_px, image_px, dtype=torch.uint8, device=device)
    modes = [(module, module.training) for module in classifier.modules()]
    classifier.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            classifier(pixels)
    finally:
        for module, training in modes:
            module.training = training
    flops: int = counter.get_total_flops()
    return flops // 2


def size_mb(classifier: nn.Module) -> float:
    """Millions of bytes of the model's state: parameters, BatchNorm statistics and the normalisation."""
    total: int = sum(tensor.nbytes for tensor in classifier.state_dict().values())
    return total / 1e6
