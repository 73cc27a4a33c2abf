"""Training images made anew: before a run an autoencoder learns them, and in it, it makes a part of each batch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from scrimp.augment import augmentations, remade_part
from scrimp.batches import Prepared, batches
from scrimp.images.kinds import Task
from scrimp.models.autoencoder import BATCH, STEPS, Autoencoder, fit_autoencoder
from scrimp.training.recipe import Recipe

_PX = 64  # sides of what it learns from, cut out of larger images: it sees no further anyway
_MOST = 0.5  # of the way to another image: beyond, it would be that one
_PART_OF_RUN = 0.1  # of a run's seconds, at most


class Remaker(NamedTuple):
    """An autoencoder that knows the training images, and which part of each batch it makes anew, 0 to 1."""

    autoencoder: Autoencoder
    part: float


def remaker_for(ready: Prepared, recipe: Recipe, device: torch.device, notes: list[str]) -> Remaker | None:
    """What the recipe's `augment` asks for; None where it does not.

    The autoencoder learns from the training images alone, changed as the recipe changes them. Cost: see
    `fit_autoencoder`; at most a tenth of `max_seconds`.
    """
    part = remade_part(recipe.augment)
    if not part:
        return None
    started = time.perf_counter()
    at_most_s = (recipe.max_seconds or math.inf) * _PART_OF_RUN
    autoencoder, steps = fit_autoencoder(_cut_outs(ready, recipe), device=device, seed=recipe.seed, at_most_s=at_most_s)
    notes.append(
        f"Autoencoder: learnt in {steps} of {STEPS} steps, {time.perf_counter() - started:.1f} s; it makes "
        f"{part:.0%} of the images of each batch."
    )
    return Remaker(autoencoder, part)


def remade(pixels: Tensor, labels: Tensor, remaker: Remaker, task: Task, generator: Generator) -> Tensor:
    """A batch with a part of its images, chosen at random, made anew by the autoencoder.

    Each is made from its own code and that of another image of its class in the batch, between none and half of the way
    to it; where there is no other, and for tasks other than classify, from its own code alone. pixels: uint8
    (n, 3, h, w), left as they are. labels: as `Images` holds them. Cost: one pass through the autoencoder.
    """
    chosen = torch.rand(len(pixels), generator=generator) < remaker.part
    ways = torch.rand(len(pixels), 1, 1, 1, generator=generator) * _MOST
    dice = torch.rand(len(pixels), generator=generator, dtype=torch.float64)
    with torch.no_grad():
        code = remaker.autoencoder.encode(pixels)
        if task == "classify":
            partner = _of_the_same_class(labels, dice.to(labels.device))
            code = torch.lerp(code, code[partner], ways.to(code.device))
        made = remaker.autoencoder.pixels(code, *pixels.shape[2:])
    return torch.where(chosen.to(pixels.device)[:, None, None, None], made, pixels)


def _of_the_same_class(labels: Tensor, dice: Tensor) -> Tensor:
    """For each image another of its class, (n,), each of them once; its own number where it is alone."""
    order = (labels + dice).argsort()
    following = order.roll(-1)
    first = torch.searchsorted(labels[order], labels[order])  # where the class of each begins
    partner = torch.empty_like(order)
    partner[order] = torch.where(labels[following] == labels[order], following, order[first])
    return partner


def _cut_outs(ready: Prepared, recipe: Recipe) -> Iterator[Tensor]:
    """Batches without end, cut to squares of at most 64 pixels wherever chance has it."""
    rows = ready.images.rows("train")
    changes = augmentations(recipe.augment, mirror_ok=ready.images.mirror_ok)
    order = torch.Generator().manual_seed(recipe.seed)
    size = min(_PX, ready.image_px)
    while True:
        # As few images as there are: several times in a batch, so that no step is wasted.
        some = np.resize(rows, max(len(rows), BATCH))
        for batch in batches(ready, some, BATCH, order=order, changes=changes):
            top, left = torch.randint(0, ready.image_px - size + 1, (2,), generator=order).tolist()
            yield batch.pixels[:, :, top : top + size, left : left + size]
