"""The training loop, to be read from top to bottom: `train` sets the stage, `_epochs` plays."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn, optim

from scrimp.augment import Augmentation, augmentations
from scrimp.batches import Prepared, batches
from scrimp.cost import FREE, Cost, Stopwatch, shared_sensor
from scrimp.errors import ImageError, SettingError, TrainingError
from scrimp.models import Classifier, build
from scrimp.models.saved import save_model
from scrimp.progress import bar
from scrimp.scores import MEASURES, unscorable
from scrimp.settings import to_toml
from scrimp.store import write_whole
from scrimp.training import checkpoint, hardware
from scrimp.training.checkpoint import Checkpoint, Weights
from scrimp.training.evaluate import give_units, loss_and_merit, loss_of, predict, seconds_to_predict
from scrimp.training.history import Epoch, to_csv
from scrimp.training.optimiser import lr_at, optimiser_for, set_lr
from scrimp.training.recipe import Recipe

Status = Literal["finished", "stopped early", "out of time", "interrupted", "failed"]
_LOOK_EVERY = 20  # steps between looks at the loss, each of which waits for a GPU to catch up


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model with the weights of the epoch that was best on val by the task's measure, and how it got there.

    status and reason: how training ended. notes: fallbacks and choices worth telling. cost: of training alone.
    folder: where weights and history lie. Peaks in MB (1e6 bytes); None where the system does not tell.
    """

    model: Classifier
    recipe: Recipe
    ready: Prepared
    history: tuple[Epoch, ...]
    best_epoch: int
    status: Status
    reason: str
    notes: tuple[str, ...]
    cost: Cost
    folder: Path
    peak_memory_mb: float | None
    peak_gpu_memory_mb: float | None


def train(
    ready: Prepared, recipe: Recipe, *, out: str | Path | None = None, model: Classifier | None = None
) -> Trained:
    """Trains a model by a recipe and keeps the weights of the epoch that was best on val.

    out: folder for model.safetensors, model.json, history.csv and, until the end, checkpoint.pt; by default one
    below `runs/`. A run that was killed goes on from its last whole epoch when called again in the same way, unless
    it has `max_seconds`. model: go on from this model, which is changed, instead of building the recipe's.

    Ctrl-C, a loss that is not a number and the end of `max_seconds` end the run, not the program: the result says
    why, and holds the best model so far. Raises `TrainingError` when there is no such model yet, `SettingError` for
    a recipe that does not suit the task, `ImageError` for targets or labels that leave nothing to learn or to score.
    Cost: about three forward passes per image and epoch, and one per validation image.
    """
    _check(ready, recipe)
    asked = f"{to_toml(recipe)}\n{ready.images.fingerprint}\n{ready.image_px}"
    folder = Path(out) if out else _default_folder(recipe, ready.image_px, asked)
    device = hardware.best_device()
    hardware.reset_peak_memory(device)
    notes = [hardware.keep_freed_memory()]
    with Stopwatch(shared_sensor()) as watch, torch.random.fork_rng():
        model = model or _build(recipe, ready)
        notes += model.load_notes
        play = _set_stage(ready, recipe, model, device, watch, notes)
        resumable = recipe.max_seconds is None
        done = (checkpoint.load(folder, asked) if resumable else None) or _nothing_done(asked)
        if done.history:
            notes.append(f"Went on after epoch {len(done.history)}, where an earlier start had been cut off.")
            play.model.load_state_dict(done.model)
            play.optimiser.load_state_dict(done.optimiser)
        try:
            status, reason = _epochs(play, done, lambda: _keep(play, done, folder, resumable))
        except TrainingError as error:
            status, reason = "failed", str(error)
        except KeyboardInterrupt:
            status, reason = "interrupted", "stopped by Ctrl-C"
            if not done.history and play.images:
                _validate(play, done, epoch=1)
    if not done.best_epoch:
        raise TrainingError(f"{recipe.model}: {reason}, before there was a first model to keep.")
    model.load_state_dict(done.best)
    _write(model, ready, done, folder)
    resident, gpu = hardware.peak_memory_mb(device)
    return Trained(
        model=model,
        recipe=recipe,
        ready=ready,
        history=tuple(done.history),
        best_epoch=done.best_epoch,
        status=status,
        reason=reason,
        notes=tuple(notes),
        cost=done.cost + watch.cost,  # of earlier starts up to their last checkpoint, and of this one
        folder=folder,
        peak_memory_mb=resident,
        peak_gpu_memory_mb=gpu,
    )


@dataclass(kw_only=True)
class _Play:
    """Everything on stage while a model learns, and the sums since the last validation."""

    ready: Prepared
    recipe: Recipe
    model: Classifier
    device: torch.device
    precision: torch.dtype
    optimiser: optim.Optimizer
    scaler: torch.amp.GradScaler
    changes: list[Augmentation]
    watch: Stopwatch
    val_seconds: float  # what one validation takes; only needed, and measured, when seconds are limited
    loss_sum: Tensor
    right: Tensor
    images: int = 0
    validated_at: float = 0.0
    lr: float = 0.0


def _epochs(play: _Play, done: Checkpoint, keep: Callable[[], None]) -> tuple[Status, str]:
    """THE loop. Adds to `done` after every validation and calls `keep`; returns how it ended, and why.

    Raises `TrainingError` when the loss is no number any more.
    """
    recipe, model, rows = play.recipe, play.model, play.ready.images.rows("train")
    steps = -(-len(rows) // recipe.batch_size)
    step_seconds = 0.0
    with bar(f"training {recipe.model}", recipe.epochs * steps) as advance:
        advance(len(done.history) * steps, "")
        for epoch in range(len(done.history) + 1, recipe.epochs + 1):
            # Each epoch seeds its own random numbers, so that a resumed run sees what the unbroken one saw.
            torch.manual_seed(recipe.seed * 1_000_003 + epoch)
            order = torch.Generator().manual_seed(recipe.seed * 1_000_003 + epoch)
            _learning_mode(model, recipe)
            time_is_up = False
            fed = batches(play.ready, rows, recipe.batch_size, order=order, changes=play.changes, device=play.device)
            for step, (pixels, labels, _) in enumerate(fed):
                started = time.perf_counter()
                time_is_up = play.images > 0 and _time_left(play) < step_seconds
                if time_is_up:
                    break
                play.lr = lr_at(_part_done(play, (epoch - 1) * steps + step, recipe.epochs * steps), recipe)
                set_lr(play.optimiser, play.lr)
                _learn(play, pixels.to(play.device), labels.to(play.device))
                if step % _LOOK_EVERY == 0 or step == steps - 1:
                    mean_loss = play.loss_sum.item() / play.images
                    advance(min(_LOOK_EVERY, steps - step), f"loss {mean_loss:.3f}")
                    if not math.isfinite(mean_loss):
                        raise TrainingError(f"the loss became {mean_loss} in epoch {epoch} at lr={recipe.lr}")
                step_seconds = time.perf_counter() - started
            if not time_is_up and _time_left(play) < play.val_seconds:
                continue  # validate at the very end instead of now and then again
            _validate(play, done, epoch)
            keep()
            if time_is_up or _time_left(play) <= 0:
                return "out of time", f"its {recipe.max_seconds:.0f} s were spent"
            if recipe.patience and _epochs_without_gain(done.history) >= recipe.patience:
                return "stopped early", f"validation loss did not fall for {recipe.patience} epochs"
    if play.images:
        _validate(play, done, recipe.epochs)
        keep()
    return "finished", ""


def _learn(play: _Play, pixels: Tensor, labels: Tensor) -> None:
    """One step: forward, backward, update; adds to the sums of loss and right answers."""
    task = play.ready.images.task
    with torch.autocast(play.device.type, play.precision, enabled=play.precision != torch.float32):
        outputs = play.model(pixels)
        smoothing = play.recipe.label_smoothing
        loss = loss_of(outputs, labels, task, label_smoothing=smoothing, sd=play.model.target_sd)
    play.optimiser.zero_grad(set_to_none=True)
    play.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    play.scaler.step(play.optimiser)
    play.scaler.update()
    play.loss_sum += loss.detach() * len(labels)
    if task == "classify":
        play.right += (outputs.detach().argmax(1) == labels).sum()
    play.images += len(labels)


def _validate(play: _Play, done: Checkpoint, epoch: int) -> None:
    """Adds an epoch to the history and remembers the weights if no epoch before was as good on val."""
    images = play.ready.images
    rows = images.rows("val")
    outputs = predict(play.model, play.ready, rows)
    if not outputs.isfinite().all():
        raise TrainingError(f"the outputs on val are no longer numbers after epoch {epoch} at lr={play.recipe.lr}")
    labels = torch.from_numpy(images.labels[rows])
    val_loss, val_score = loss_and_merit(outputs, labels, images.task, sd=play.model.target_sd)
    record = Epoch(
        epoch=epoch,
        train_loss=play.loss_sum.item() / max(1, play.images),
        train_score=_train_score(play),
        val_loss=val_loss,
        val_score=val_score,
        seconds=play.watch.seconds - play.validated_at,
        lr=play.lr,
    )
    best = max(done.history, key=_merit, default=None)
    done.history.append(record)
    done.model = _copy(play.model)
    done.optimiser = play.optimiser.state_dict()
    if best is None or _merit(record) > _merit(best):
        done.best, done.best_epoch = done.model, epoch
    play.loss_sum.zero_()
    play.right.zero_()
    play.images = 0
    play.validated_at = play.watch.seconds


def _train_score(play: _Play) -> float | None:
    """From the sums alone: right answers, or the variance explained; a mean average precision would rank all images."""
    images = max(1, play.images)
    task = play.ready.images.task
    if task == "classify":
        return play.right.item() / images
    return 1 - play.loss_sum.item() / images if task == "regress" else None


def _merit(epoch: Epoch) -> tuple[float, float]:
    """The task's measure first, and among equals the lower loss."""
    return epoch.val_score, -epoch.val_loss


def _part_done(play: _Play, step: int, steps: int) -> float:
    """How much of the run is behind, 0 to 1: by steps, or by seconds where those run out first."""
    by_steps = step / steps
    if play.recipe.max_seconds is None:
        return by_steps
    return min(1.0, max(by_steps, play.watch.seconds / max(1e-9, play.recipe.max_seconds - play.val_seconds)))


def _time_left(play: _Play) -> float:
    """Seconds until the last validation must begin; infinite without `max_seconds`."""
    if play.recipe.max_seconds is None:
        return math.inf
    return play.recipe.max_seconds - play.val_seconds - play.watch.seconds


def _epochs_without_gain(history: list[Epoch]) -> int:
    lowest = min(range(len(history)), key=lambda i: history[i].val_loss)
    return len(history) - 1 - lowest


# ---------------------------------------------------------------- before the loop


def _check(ready: Prepared, recipe: Recipe) -> None:
    """Refuses what could only fail, or mean nothing, after hours."""
    images, task = ready.images, ready.images.task
    if task != "classify" and recipe.label_smoothing:
        raise SettingError(
            f"label_smoothing={recipe.label_smoothing} spreads a class over all others, but with task='{task}' an "
            "image has no one class: leave it at 0."
        )
    for split in ("train", "val"):
        rows = images.rows(split)
        if task != "classify" and (why := unscorable(task, images.labels[rows])):
            raise ImageError(
                f"There is no {MEASURES[task].title} of the {split} split of '{images.source.source}' "
                f"({len(rows):,} images): {why}. Add images, or divide them otherwise (split_seed, val_fraction)."
            )


def _build(recipe: Recipe, ready: Prepared) -> Classifier:
    return build(
        recipe.model,
        classes=ready.images.outputs,
        image_px=ready.image_px,
        pretrained=recipe.pretrained,
        weights=recipe.weights,
        seed=recipe.seed,
    )


def _set_stage(
    ready: Prepared,
    recipe: Recipe,
    model: Classifier,
    device: torch.device,
    watch: Stopwatch,
    notes: list[str],
) -> _Play:
    precision, why = hardware.precision_for(recipe.precision, device)
    notes.append(f"Precision: {why}.")
    give_units(model, ready)
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    frozen = recipe.freeze == "backbone"
    for parameter in model.backbone_parameters():
        parameter.requires_grad_(not frozen)
    limited = recipe.max_seconds is not None
    return _Play(
        ready=ready,
        recipe=recipe,
        model=model,
        device=device,
        precision=precision,
        optimiser=optimiser_for(model, recipe),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == torch.float16),
        changes=augmentations(recipe.augment, mirror_ok=ready.images.mirror_ok),
        watch=watch,
        val_seconds=seconds_to_predict(model, ready, ready.images.rows("val")) if limited else 0.0,
        loss_sum=torch.zeros((), device=device),
        right=torch.zeros((), device=device, dtype=torch.int64),
    )


def _learning_mode(model: Classifier, recipe: Recipe) -> None:
    """Everything learns, or the head alone: then batch norm keeps its statistics too."""
    model.train(recipe.freeze == "none")
    model.head.train()


# ---------------------------------------------------------------- what is kept


def _default_folder(recipe: Recipe, image_px: int, asked: str) -> Path:
    model = recipe.model.replace(":", "-").replace("/", "-")
    digest = hashlib.sha256(asked.encode()).hexdigest()[:6]
    return Path("runs") / f"{model}-{image_px}px-seed{recipe.seed}-{digest}"


def _nothing_done(asked: str) -> Checkpoint:
    return Checkpoint(asked=asked, history=[], model={}, best={}, best_epoch=0, optimiser={}, cost=FREE)


def _copy(model: nn.Module) -> Weights:
    return {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}


def _keep(play: _Play, done: Checkpoint, folder: Path, resumable: bool) -> None:
    """After a validation: the history for people, and the checkpoint for a second start."""
    write_whole(folder / "history.csv", to_csv(done.history, play.ready.images.task).encode())
    if resumable:
        checkpoint.save(replace(done, cost=done.cost + play.watch.cost), folder)


def _write(model: Classifier, ready: Prepared, done: Checkpoint, folder: Path) -> None:
    images = ready.images
    write_whole(folder / "history.csv", to_csv(done.history, images.task).encode())
    save_model(model, folder, classes=images.classes, image_px=ready.image_px, task=images.task)
    (folder / "checkpoint.pt").unlink(missing_ok=True)
