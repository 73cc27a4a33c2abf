"""What a step costs on this machine, from a few timed steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from scrimp.batches import Prepared, batches
from scrimp.models import Classifier
from scrimp.training.evaluate import give_units, loss_of
from scrimp.training.hardware import best_device, keep_freed_memory, precision_for, work_out_of_place
from scrimp.training.optimiser import optimiser_for, set_mode
from scrimp.training.recipe import Recipe


class Weight(NamedTuple):
    """Seconds per image, when learning from it and when only looking at it."""

    train_s: float
    eval_s: float


def weigh(model: Classifier, ready: Prepared, recipe: Recipe, *, at_most_s: float = 1.0) -> Weight:
    """Times training steps and forward passes, each as a run does them, after one of each as a warm-up.

    The weights are put back afterwards.

    Cost: `at_most_s` seconds, or three steps of each kind where those take longer.
    """
    device = best_device()
    precision, _ = precision_for(recipe.precision, device)
    keep_freed_memory()
    give_units(model, ready)
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rows = np.resize(ready.images.rows("train"), recipe.batch_size)
    pixels, labels, _ = next(batches(ready, rows, recipe.batch_size))
    pixels, labels = pixels.to(device), labels.to(device)
    work_out_of_place(model, device, precision)
    optimiser = optimiser_for(model, recipe, peak=1e-3)  # any will do: the weights are put back
    set_mode(optimiser, learning=True)

    def learn() -> None:
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            loss = loss_of(model(pixels), labels, ready.images.task, sd=model.target_sd)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        loss.item()  # waits for a GPU to be done

    def look() -> None:
        with torch.inference_mode():
            model(pixels).sum().item()

    model.train()
    train_s = _fastest(learn, at_most_s) / len(pixels)
    model.eval()
    eval_s = _fastest(look, at_most_s / 3) / len(pixels)
    model.load_state_dict(before)
    return Weight(train_s, eval_s)


def _fastest(work: Callable[[], None], at_most_s: float) -> float:
    """The least of what fits into the time after a warm-up, two at the least: noise only ever makes a step slower."""
    work()
    taken: list[float] = []
    while len(taken) < 2 or sum(taken) + taken[-1] < at_most_s:
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)
