"""Images and labels from which, in a network's features, ridge regression predicts the labels of real images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.linalg import solve


def ridge_prediction(features: Tensor, labels: Tensor, of: Tensor, *, ridge: float = 1e-6) -> Tensor:
    """What kernel ridge regression on features (n, d) with labels (n, classes) says of others (m, d).

    ridge: as part of the mean of the kernel's diagonal.
    """
    kernel = features @ features.T
    kernel = kernel + ridge * kernel.trace() / len(kernel) * torch.eye(len(kernel), device=kernel.device)
    predicted: Tensor = (of @ features.T) @ solve(kernel, labels)
    return predicted


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Rows that sum to 0, as a regression without a constant wants them."""
    return torch.nn.functional.one_hot(labels, classes).float() - 1 / classes
