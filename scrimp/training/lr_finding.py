"""A learning rate to begin with, from one short run in which it rises until the loss does."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from scrimp.augment import augmentations
from scrimp.batches import Batch, Prepared, batches
from scrimp.cost import Cost, Stopwatch, shared_sensor
from scrimp.models import Classifier
from scrimp.progress import bar
from scrimp.store import write_whole
from scrimp.training import hardware
from scrimp.training.evaluate import give_units, loss_of
from scrimp.training.freezing import freeze, learn_mode
from scrimp.training.optimiser import optimiser_for, parts_of, set_mode, set_rates
from scrimp.training.recipe import Recipe

_STEPS = 60  # ten a decade: 97 cost more and suggest the same
_LEAST_STEPS = 20  # the curve of fewer says nothing
_MEMORY = 0.15  # of the steps, that the smoothed loss remembers
_DIVERGED = 4.0  # times the lowest smoothed loss
_CLEAR = 4.0  # times its standard error, that a descent must go down: noise does so in 1 of 150 curves
_CLEAR_PART = 0.003  # of the first losses, that it must go down as well

_SGD_RANGE = (1e-5, 10.0)
_RANGE = (1e-6, 1.0)  # of Adam and its kin, whose step is as long as the learning rate, whatever the gradient


@dataclass(frozen=True, kw_only=True)
class LrFound:
    """What a range test found.

    lr: the highest learning rate for a run, or None where the curve has no clear descent. steepest: where the smoothed
    loss falls fastest; valley: at two thirds of its longest descent; both None with `lr`. lrs, losses, smoothed: the
    curve, one entry a step: learning rate, loss, its exponential average. note: a sentence on how it was chosen, or why
    not.
    """

    lr: float | None
    steepest: float | None
    valley: float | None
    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    note: str
    cost: Cost


def find_lr(
    ready: Prepared,
    recipe: Recipe,
    *,
    model: Classifier | None = None,
    out: str | Path | None = None,
    at_most_s: float = math.inf,
) -> LrFound:
    """Finds a learning rate by a range test: steps with an ever higher one, until the loss diverges.

    The recipe's own `lr` and `schedule` play no part; `mix`, `sam`, `teacher`, `skip_easy`, `average` and the
    sizes of progressive resizing are left out of the test. Training images alone are read, again in a new order where
    they are few. A backbone that is to thaw learns from the start.

    Args:
        ready: the images.
        recipe: what is trained, and how.
        model: to start from, instead of the recipe's; a copy learns, so that it stays as it is to the bit.
        out: folder for the curve, `lr_find.json`.
        at_most_s: seconds it may take, above 0, beyond two steps; where these are few, so are the steps.

    Returns:
        The learning rate and the curve behind it. PyTorch's random numbers go on as if nothing had been.

    Raises:
        StorageError: `out` cannot be written.

    Cost: 62 training steps at most, and the memory of a second model while it runs.

    Source: Smith, Cyclical Learning Rates for Training Neural Networks (WACV 2017, arXiv 1506.01186).

    Example:
        >>> import scrimp
        >>> ready = scrimp.prepare(scrimp.find_images("digits"), image_px=16)
        >>> scrimp.find_lr(ready, scrimp.Recipe(model="ultralight")).lr > 1e-4
        True
    """
    with Stopwatch(shared_sensor()) as watch, torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        learn = _learner(ready, recipe, model)
        low, high = _SGD_RANGE if recipe.optimiser == "sgd" else _RANGE
        steps = _steps_that_fit(learn, low, lambda: at_most_s - watch.seconds)
        lrs = np.geomspace(low, high, steps).tolist() if steps >= _LEAST_STEPS else []
        with bar(f"learning rate of {recipe.model}", len(lrs)) as advance:

            def shown(lr: float) -> float:
                loss = learn(lr)
                advance(1, f"loss {loss:.3f} at {lr:.1e}")
                return loss

            losses = range_test(shown, lrs, time_is_up=lambda: watch.seconds > at_most_s)
    lrs, smoothed = lrs[: len(losses)], smooth(losses, steps)
    told = suggest(lrs, losses, smoothed)
    if steps < _LEAST_STEPS:
        told = told._replace(
            note=f"No learning rate was looked for: {at_most_s:.3g} s are fewer than {_LEAST_STEPS} steps."
        )
    found = LrFound(**told._asdict(), lrs=tuple(lrs), losses=tuple(losses), smoothed=tuple(smoothed), cost=watch.cost)
    if out is not None:
        write_whole(Path(out) / "lr_find.json", json.dumps(asdict(found), indent=1, allow_nan=False).encode())
    return found


def range_test(
    learn: Callable[[float], float], lrs: Sequence[float], *, time_is_up: Callable[[], bool] = lambda: False
) -> list[float]:
    """The loss of one step at each learning rate in turn, until it diverges or the time is up.

    learn: takes a step and returns the loss before it. It diverges where the smoothed loss is above four times its
    lowest, or a loss is no number; that one is left out.
    """
    losses: list[float] = []
    for lr in lrs:
        loss = learn(lr)
        if not math.isfinite(loss):
            break
        losses.append(loss)
        curve = smooth(losses, len(lrs))
        if curve[-1] > _DIVERGED * min(curve) or time_is_up():
            break
    return losses


def smooth(losses: Sequence[float], steps: int) -> list[float]:
    """The exponential average of the losses so far, with the weight of the missing past divided out.

    steps: of the whole test, `_MEMORY` of which the average remembers.
    """
    keep = 1 - 1 / max(1.0, _MEMORY * steps)
    average, curve = 0.0, []
    for seen, loss in enumerate(losses, 1):
        average = keep * average + (1 - keep) * loss
        curve.append(average / (1 - keep**seen))
    return curve


class Suggestion(NamedTuple):
    """What a curve suggests, as in `LrFound`."""

    lr: float | None
    steepest: float | None
    valley: float | None
    note: str


def suggest(lrs: Sequence[float], losses: Sequence[float], smoothed: Sequence[float]) -> Suggestion:
    """Learning rates from a curve of finite losses, or the reason why there are none.

    The steepest descent alone is too much for pretrained weights, the valley alone too little for random ones: what is
    taken is their geometric mean.
    """
    if why := _why_none(losses, smoothed):
        return Suggestion(None, None, None, f"No clear descent: {why}.")
    descent = longest_descent(smoothed)
    first, last = descent[0], descent[-1]
    valley = lrs[descent[2 * len(descent) // 3]]
    span = max(2, round(_MEMORY * len(losses)))  # slopes of single steps are all noise, and so are the first averages
    begin = max(0, min(max(span, first), last - span))
    falls = {place: smoothed[place] - smoothed[place + span] for place in range(begin, max(begin, last - span) + 1)}
    steepest = lrs[max(falls, key=falls.__getitem__) + span // 2]
    lr = float(f"{math.sqrt(steepest * valley):.2g}")
    note = (
        f"Learning rate {lr:.2g}: the smoothed loss fell from {smoothed[first]:.3g} to {smoothed[last]:.3g}, fastest "
        f"at {steepest:.2g}, with two thirds of its descent behind it at {valley:.2g}."
    )
    return Suggestion(lr, steepest, valley, note)


def longest_descent(curve: Sequence[float]) -> list[int]:
    """The places of the longest strictly decreasing subsequence of a curve; the first of several. O(n^2)."""
    ending_at: list[list[int]] = []
    for place, value in enumerate(curve):
        before = (ending_at[earlier] for earlier in range(place) if curve[earlier] > value)
        ending_at.append([*max(before, key=len, default=[]), place])
    return max(ending_at, key=len, default=[])


def _why_none(losses: Sequence[float], smoothed: Sequence[float]) -> str:
    """Why a curve has no clear descent; "" where it has one."""
    quarter = max(3, len(losses) // 4)
    if len(losses) <= quarter:
        return f"the loss diverged, or was no number, after {len(losses)} steps at the lowest learning rates"
    first = float(np.mean(losses[:quarter]))
    lowest = quarter + int(np.argmin(smoothed[quarter:]))
    # Neighbours differ by their noise, wherever the curve goes; 0.954 is the median |a - b| of two standard normals.
    noise = float(np.median(np.abs(np.diff(losses[: max(lowest + 1, len(losses) // 2)])))) / 0.954
    if first - smoothed[lowest] > max(_CLEAR * noise / math.sqrt(_MEMORY * len(losses)), _CLEAR_PART * first):
        return ""
    return (
        f"the smoothed loss went from {first:.3g} to {smoothed[lowest]:.3g} at the lowest, while that of one step "
        f"varies by {noise:.2g} around it"
    )


# ---------------------------------------------------------------- the steps


def _learner(ready: Prepared, recipe: Recipe, model: Classifier | None) -> Callable[[float], float]:
    """A function that takes one step at a learning rate, on a copy of the model, and returns the loss before it."""
    from scrimp.training.stage import build_model  # which imports this module

    device = hardware.best_device()
    precision, _ = hardware.precision_for(recipe.precision, device)
    form = torch.channels_last if recipe.channels_last else torch.contiguous_format
    copy = build_model(ready, recipe) if model is None else deepcopy(model)
    give_units(copy, ready)
    copy = copy.to(device, memory_format=form)  # type: ignore[call-overload]
    frozen = recipe.freeze == "backbone" and recipe.thaw_at is None
    freeze(copy, frozen)
    learn_mode(copy, recipe, frozen=frozen)
    optimiser = optimiser_for(copy, recipe, _RANGE[0], precision=precision)
    set_mode(optimiser, learning=True)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)
    fed = _again_and_again(ready, recipe, device)

    def learn(lr: float) -> float:
        batch, loss_sum = next(fed), 0.0
        set_rates(optimiser, lr, recipe.momentum)
        optimiser.zero_grad(set_to_none=True)
        count = parts_of(len(batch.labels), recipe.accumulate)
        for pixels, labels in zip(batch.pixels.tensor_split(count), batch.labels.tensor_split(count), strict=True):
            pixels, labels = pixels.to(device), labels.to(device)
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                smoothing = recipe.label_smoothing
                loss = loss_of(copy(pixels), labels, ready.images.task, label_smoothing=smoothing, sd=copy.target_sd)
            part = len(labels) / len(batch.labels)
            scaler.scale(loss * part).backward()  # type: ignore[no-untyped-call]
            loss_sum += loss.item() * part
        scaler.step(optimiser)
        scaler.update()
        return loss_sum

    return learn


def _again_and_again(ready: Prepared, recipe: Recipe, device: torch.device) -> Iterator[Batch]:
    """Batches of training images without end, in a new order whenever all have come."""
    rows: npt.NDArray[np.int64] = ready.images.rows("train")
    changes = augmentations(recipe.augment, mirror_ok=ready.images.mirror_ok)
    order = torch.Generator().manual_seed(recipe.seed)
    while True:
        yield from batches(ready, rows, recipe.batch_size, order=order, changes=changes, device=device)


def _steps_that_fit(learn: Callable[[float], float], low: float, time_left: Callable[[], float]) -> int:
    """How many steps there is time for: two at the lowest learning rate tell, of which the first warms up."""
    learn(low)
    started = time.perf_counter()
    learn(low)
    seconds = time.perf_counter() - started
    return int(min(_STEPS, max(0.0, time_left()) / max(seconds, 1e-9)))
