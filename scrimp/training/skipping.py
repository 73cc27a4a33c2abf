"""Leaving out images that are learnt already, without changing what is learnt on average."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

_LAST = 0.125  # part of the run in which every image is seen again


def keep(
    losses: npt.NDArray[np.float32], part_done: float, chance: float, generator: torch.Generator
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """Which images to see in the next epoch, and how much the loss of each counts: InfoBatch.

    An image of less than average loss is left out with this chance; one of these that stays counts 1 / (1 - chance),
    so that the expected gradient stays what it was. Nothing is left out in the last eighth of the run, in which what
    chance did could no longer even out. Source: Qin et al., arXiv 2303.04947.

    losses: (n,), of each image when it was last seen; NaN, for never, is always kept. part_done: 0 to 1. chance: at
    least 0, below 1. generator: on the CPU. Returns a mask (n,) and weights (n,), at least 1.
    """
    drawn = torch.rand(len(losses), generator=generator).numpy()
    known = losses[np.isfinite(losses)]
    easy = np.zeros(len(losses), dtype=np.bool_)
    if len(known) and part_done < 1 - _LAST:
        easy = losses < known.mean(dtype=np.float64)  # in which equal losses are equal to their mean
    return ~easy | (drawn >= chance), np.where(easy, 1 / (1 - chance), 1.0).astype(np.float32)
