"""How the answers about each image change while a model learns: which were hard to learn, and which were forgotten."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class Dynamics:
    """Of each of n images with one class each, what was answered whenever it was learnt from."""

    def __init__(self, n: int) -> None:
        self._times = torch.zeros(n)
        self._error = torch.zeros(n)
        self._right = torch.zeros(n, dtype=torch.bool)
        self._ever_right = torch.zeros(n, dtype=torch.bool)
        self._forgotten = torch.zeros(n)

    @torch.no_grad()
    def add(self, rows: npt.NDArray[np.int64], outputs: Tensor, labels: Tensor) -> None:
        """One batch: which images, the logits (b, classes) before the step, and their classes."""
        at, chances, truth = torch.from_numpy(rows), outputs.float().softmax(1).cpu(), labels.cpu()
        right = chances.argmax(1) == truth
        chances[torch.arange(len(at)), truth] -= 1
        self._times[at] += 1
        self._error[at] += chances.norm(dim=1)
        self._forgotten[at] += (self._right[at] & ~right).float()
        self._right[at] = right
        self._ever_right[at] |= right

    def el2n(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """The mean distance of the probabilities from the truth (Paul et al., arXiv 2107.07075), 0 to 1.42."""
        return self._error[rows] / self._times[rows].clamp(min=1)

    def forgetting(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """How often a right answer was followed by a wrong one (Toneva et al., arXiv 1812.05159).

        What was never answered right counts as one more than it could have been forgotten.
        """
        return torch.where(self._ever_right, self._forgotten, self._times)[rows]
