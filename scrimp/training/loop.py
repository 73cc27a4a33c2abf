"""The training loop, to be read from top to bottom: `train` begins and ends a run, `_epochs` is the loop."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor, nn

from scrimp.batches import Batch, Prepared, batches
from scrimp.cost import FREE, Cost, Stopwatch, shared_sensor
from scrimp.errors import TrainingError
from scrimp.images.kinds import Task
from scrimp.models import Classifier
from scrimp.models.saved import save_model
from scrimp.progress import bar
from scrimp.scores import certainty
from scrimp.settings import to_toml
from scrimp.store import write_whole
from scrimp.training import checkpoint, hardware, together
from scrimp.training.averaging import reestimate_batch_norm
from scrimp.training.checkpoint import Checkpoint, Weights
from scrimp.training.dynamics import Dynamics
from scrimp.training.evaluate import loss_and_merit, losses_of, predict
from scrimp.training.history import Epoch, to_csv
from scrimp.training.mixing import mixed
from scrimp.training.optimiser import parts_of, set_mode, set_rates
from scrimp.training.recipe import Recipe
from scrimp.training.remaking import remade
from scrimp.training.resizing import px_at, resized
from scrimp.training.schedules import lr_at, momentum_at
from scrimp.training.sharpness import climbed, same_statistics
from scrimp.training.skipping import keep
from scrimp.training.stage import TO_REESTIMATE, Stage, build_model, check, learning_mode, set_stage, suited, thaw
from scrimp.training.stopping import why_stop
from scrimp.training.teaching import teacher_loss

Status = Literal["finished", "stopped early", "out of time", "interrupted", "failed"]
_LOOK_EVERY = 20  # steps between looks at the loss, each of which waits for a GPU to catch up
_CHECKPOINT_PAUSE = 10  # times as long as writing a checkpoint took, until the next: a tenth of the time at most
_AVERAGE_FROM = 0.75  # of a run: where the plain mean of the weights begins


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model with the weights of the epoch that the recipe keeps, and how it got there.

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
    ready: Prepared,
    recipe: Recipe,
    *,
    out: str | Path | None = None,
    model: Classifier | None = None,
    dynamics: Dynamics | None = None,
    stop: Callable[[Sequence[Epoch]], str] | None = None,
) -> Trained:
    """Trains a model by a recipe and keeps the weights of the epoch that was best on val, or last if it says so.

    out: folder for model.safetensors, model.json, history.csv and, until the end, checkpoint.pt; by default one
    below `runs/`. A run that was killed goes on from its last checkpoint when called again in the same way, unless it
    has `max_seconds`; they are written after whole epochs, and take a tenth of the time at most. model: go on from this
    model, which is changed, instead of building the recipe's.
    dynamics: filled with what was answered about each image, from here on.
    stop: given the history after each validation, says why the run should end there, or "".

    Under torchrun, each process calls this in the same way and learns from its share of every batch, and the first
    one writes; see `scrimp.training.together`.

    Ctrl-C, a loss that is not a number and the end of `max_seconds` end the run, not the program: the result says
    why, and holds the best model so far. Raises `TrainingError` when there is no such model yet, or, after Ctrl-C,
    `KeyboardInterrupt`; `SettingError` for a recipe that does not suit the task, `ImageError` for targets or labels
    that leave nothing to learn or to score. After Ctrl-C the checkpoint stays, so that the same call goes on.
    Cost: about three forward passes per image and epoch, and one per validation image.
    """
    team = together.team()
    check(ready, recipe)
    asked = f"{to_toml(recipe)}\n{ready.images.fingerprint}\n{ready.image_px}"
    folder = Path(out) if out else _default_folder(recipe, ready.image_px, asked)
    device = hardware.best_device()
    hardware.reset_peak_memory(device)
    notes = [hardware.keep_freed_memory(recipe.max_seconds)] if recipe.keep_memory else []
    if team.size > 1:
        notes.append(f"Trained by {team.size} processes, each on its share of a batch; batch norm sees the shares.")
    with Stopwatch(shared_sensor()) as watch, torch.random.fork_rng():
        asked_for = recipe
        if model is None:
            model = build_model(ready, recipe)
            recipe = suited(recipe, model, notes)
        notes += model.load_notes
        resumable = recipe.max_seconds is None
        done = together.from_first((checkpoint.load(folder, asked) if resumable else None) or _nothing_done(asked))
        if done.history:
            notes.append(f"Went on after epoch {done.history[-1].epoch}, where an earlier start had been cut off.")
        stage = set_stage(ready, recipe, model, done, watch, notes)
        stage.dynamics = dynamics
        try:
            status, reason = _epochs(stage, done, lambda: _keep(stage, done, folder, resumable), stop)
        except TrainingError as error:
            status, reason = "failed", str(error)
        except KeyboardInterrupt:
            status, reason = "interrupted", "stopped by Ctrl-C"
            if not done.history and stage.images and team.size == 1:
                _validate(stage, done, epoch=1)
    if not done.best:
        if status == "interrupted":
            raise KeyboardInterrupt
        raise TrainingError(f"{recipe.model}: {reason}, before there was a first model to keep.")
    model.load_state_dict(done.best)
    if team.leads:
        _write(model, ready, done, folder)
        if status != "interrupted":  # else the same call goes on from there
            (folder / "checkpoint.pt").unlink(missing_ok=True)
    resident, gpu = hardware.peak_memory_mb(device)
    return Trained(
        model=model,
        recipe=asked_for,
        ready=ready,
        history=tuple(done.history),
        best_epoch=done.best_epoch,
        status=status,
        reason=reason,
        notes=tuple(notes),
        # Of earlier starts up to their last checkpoint, and of this one.
        cost=done.cost + (watch.cost if status == "interrupted" else together.whole_cost(watch.cost)),
        folder=folder,
        peak_memory_mb=resident,
        peak_gpu_memory_mb=gpu,
    )


def _epochs(
    stage: Stage, done: Checkpoint, keep_it: Callable[[], None], stop: Callable[[Sequence[Epoch]], str] | None
) -> tuple[Status, str]:
    """THE loop. Adds to `done` after every validation and calls `keep_it`; returns how it ended, and why.

    Raises `TrainingError` when the loss is no number any more.
    """
    recipe, rows, team = stage.recipe, stage.ready.images.rows("train"), together.team()
    most_steps = -(-len(rows) // recipe.batch_size)
    step_seconds = epoch_seconds = 0.0
    stage.began = stage.watch.seconds
    with bar(f"training {recipe.model}", recipe.epochs * most_steps) as advance:
        if recipe.head_first != "none" and not done.history:
            _validate(stage, done, epoch=0)
        behind = done.history[-1].epoch if done.history else 0
        advance(behind * most_steps, "")
        for epoch in range(behind + 1, recipe.epochs + 1):
            # Each epoch seeds its own random numbers, so that a resumed run sees what the unbroken one saw.
            torch.manual_seed(recipe.seed * 1_000_003 + epoch + (team.rank << 32))
            order = torch.Generator().manual_seed(recipe.seed * 1_000_003 + epoch)
            learning_mode(stage)
            began = stage.watch.seconds
            chosen = _choose(stage, rows, _part_done(stage, epoch / recipe.epochs, ahead_s=epoch_seconds), order)
            steps = -(-len(chosen) // recipe.batch_size)
            advance(most_steps - steps, "")
            time_is_up = False
            fed = batches(
                stage.ready,
                chosen,
                recipe.batch_size,
                order=order,
                changes=stage.changes,
                device=stage.device,
                share=team,
            )
            for step, batch in enumerate(fed):
                started = time.perf_counter()
                time_is_up = stage.images > 0 and _time_left(stage) < step_seconds
                if time_is_up:
                    break
                part = _part_done(stage, (epoch - 1 + step / steps) / recipe.epochs)
                if stage.frozen and recipe.thaw_at is not None and part >= recipe.thaw_at:
                    thaw(stage)
                stage.lr = lr_at(part, recipe, stage.peak)
                set_rates(stage.optimiser, stage.lr, momentum_at(part, recipe))
                _learn(stage, batch, px_at(part, recipe, stage.ready.image_px), order)
                if stage.average and (recipe.average == "ema" or part >= _AVERAGE_FROM):
                    stage.average.update(stage.model)
                if step % _LOOK_EVERY == 0 or step == steps - 1:
                    loss_sum, seen = together.totals(stage.loss_sum, stage.images)
                    mean_loss = loss_sum / seen
                    advance(min(_LOOK_EVERY, steps - step), f"loss {mean_loss:.3f}")
                    if not math.isfinite(mean_loss):
                        raise TrainingError(f"the loss became {mean_loss} in epoch {epoch} at lr={stage.peak:.3g}")
                step_seconds = time.perf_counter() - started
            epoch_seconds = stage.watch.seconds - began
            if not time_is_up and _time_left(stage) < stage.val_seconds:
                continue  # validate at the very end instead of now and then again
            _validate(stage, done, epoch)
            keep_it()
            if time_is_up or _time_left(stage) <= 0:
                return "out of time", f"its {recipe.max_seconds:.0f} s were spent"
            if reason := why_stop(done.history, recipe) or (stop(done.history) if stop else ""):
                return "stopped early", reason
    if stage.images:
        _validate(stage, done, recipe.epochs)
        keep_it()
    return "finished", ""


def _choose(stage: Stage, rows: npt.NDArray[np.int64], part: float, order: Generator) -> npt.NDArray[np.int64]:
    """The rows to learn from in an epoch that ends at a part of the run: all, or those that `skip_easy` leaves, which
    then weigh more.
    """
    if not stage.recipe.skip_easy:
        return rows
    kept, weights = keep(stage.losses.cpu().numpy()[rows], part, stage.recipe.skip_easy, order)
    stage.importance[torch.from_numpy(rows).to(stage.device)] = torch.from_numpy(weights).to(stage.device)
    return rows[kept]


def _learn(stage: Stage, batch: Batch, px: int, order: Generator) -> None:
    """One step: forward, backward, update; adds to the sums of loss and right answers."""
    recipe, images = stage.recipe, stage.ready.images
    labels, pixels = batch.labels.to(stage.device), batch.pixels
    if stage.remaker is not None:
        pixels = remade(pixels.to(stage.device), labels, stage.remaker, images.task, order)
    pixels = resized(pixels, px).to(stage.device)
    pixels = pixels if recipe.channels_last else pixels.contiguous()
    rows = torch.from_numpy(batch.rows).to(stage.device)
    targets = labels
    if recipe.mix != "none":
        pixels, targets = mixed(pixels, labels, images.outputs, recipe.mix, images.task, order)
    stage.optimiser.zero_grad(set_to_none=True)
    outputs, losses = _backward(stage, pixels, targets, stage.importance[rows])
    if recipe.sam:
        with climbed(stage.model.parameters(), recipe.sam), same_statistics(stage.model):
            stage.optimiser.zero_grad(set_to_none=True)
            _backward(stage, pixels, targets, stage.importance[rows])
    stage.scaler.step(stage.optimiser)
    stage.scaler.update()
    stage.losses[rows] = losses
    stage.loss_sum += losses.sum()
    if images.task == "classify":
        stage.right += (outputs.argmax(1) == labels).sum()
    if stage.dynamics is not None:
        for share in together.from_all((batch.rows, outputs.cpu(), labels.cpu())):
            stage.dynamics.add(*share)
    stage.images += len(labels)


def _backward(stage: Stage, pixels: Tensor, targets: Tensor, importance: Tensor) -> tuple[Tensor, Tensor]:
    """Adds the gradient of the mean loss, part by part; returns outputs (n, outputs) and losses (n,)."""
    recipe, task, sd = stage.recipe, stage.ready.images.task, stage.model.target_sd
    outputs, losses = [], []
    count = parts_of(len(pixels), recipe.accumulate)
    parts = (whole.tensor_split(count) for whole in (pixels, targets, importance))
    for some_pixels, some_targets, some_importance in zip(*parts, strict=True):
        with torch.autocast(stage.device.type, stage.precision, enabled=stage.precision != torch.float32):
            answers = stage.forward(some_pixels)
            loss = losses_of(answers, some_targets, task, label_smoothing=recipe.label_smoothing, sd=sd)
            if stage.teacher is not None:
                with torch.no_grad():
                    taught = stage.teacher(some_pixels)
                loss = torch.lerp(loss, teacher_loss(answers, taught, task, sd), recipe.teacher_weight)
        stage.scaler.scale((loss * some_importance).sum() / len(pixels)).backward()
        outputs.append(answers.detach())
        losses.append(loss.detach().float())
    together.average_gradients(stage.model, len(pixels))
    return torch.cat(outputs), torch.cat(losses)


def _validate(stage: Stage, done: Checkpoint, epoch: int) -> None:
    """Adds an epoch to the history and remembers the weights if they are those to keep so far."""
    images, model = stage.ready.images, stage.model
    rows = images.rows("val")
    set_mode(stage.optimiser, learning=False)
    together.average_batch_norm(model)
    done.model = _copy(model)
    done.optimiser, done.scaler, done.losses = (
        stage.optimiser.state_dict(),
        stage.scaler.state_dict(),
        stage.losses.cpu(),
    )
    done.average = stage.average.state_dict() if stage.average else {}
    kept_differ = _take_what_is_kept(stage)
    outputs = together.in_shares(lambda some: predict(model, stage.ready, some), rows)
    if not outputs.isfinite().all():
        raise TrainingError(f"the outputs on val are no longer numbers after epoch {epoch} at lr={stage.peak:.3g}")
    labels = torch.from_numpy(images.labels[rows])
    val_loss, val_score = loss_and_merit(outputs, labels, images.task, sd=model.target_sd)
    loss_sum, right, seen = together.totals(stage.loss_sum, stage.right, stage.images)
    record = Epoch(
        epoch=epoch,
        train_loss=loss_sum / seen if seen else None,
        train_score=_train_score(images.task, loss_sum, right, seen),
        val_loss=val_loss,
        val_score=val_score,
        seconds=stage.watch.seconds - stage.validated_at,
        lr=stage.lr,
        val_certainty=certainty(labels.numpy(), outputs.numpy()) if images.task == "classify" else None,
    )
    best = max(done.history, key=_merit, default=None)
    done.history.append(record)
    if best is None or stage.recipe.keep == "last" or _merit(record) > _merit(best):
        done.best, done.best_epoch = _copy(model) if kept_differ else done.model, epoch
    if kept_differ:
        model.load_state_dict(done.model)
    stage.loss_sum.zero_()
    stage.right.zero_()
    stage.images = 0
    stage.validated_at = stage.watch.seconds


def _take_what_is_kept(stage: Stage) -> bool:
    """Gives the model the weights that are to be judged, and says whether they differ from those that learn."""
    recipe, ready = stage.recipe, stage.ready
    averaged = stage.average is not None and stage.average.updates > 0
    if stage.average and averaged:
        stage.model.load_state_dict(stage.average.weights())
        together.average_batch_norm(stage.model)
    if recipe.bn_reestimate:
        rows = np.random.default_rng(recipe.seed).permutation(ready.images.rows("train"))[:TO_REESTIMATE]
        looks = (batch.pixels for batch in batches(ready, rows, recipe.batch_size, device=stage.device))
        reestimate_batch_norm(stage.model, looks)
    return averaged or recipe.bn_reestimate


def _train_score(task: Task, loss_sum: float, right: float, seen: float) -> float | None:
    """From the sums alone: right answers, or the variance explained; a mean average precision would rank all images."""
    if not seen or task == "multilabel":
        return None
    return right / seen if task == "classify" else 1 - loss_sum / seen


def _merit(epoch: Epoch) -> tuple[float, float]:
    """The task's measure first, and among equals the lower loss."""
    return epoch.val_score, -epoch.val_loss


def _part_done(stage: Stage, by_steps: float, *, ahead_s: float = 0.0) -> float:
    """How much of the run will be behind in so many seconds, 0 to 1: by steps, or by time where that runs out first.

    Time counts from the first step on, so that a schedule is whole however long building the model took.
    """
    if stage.recipe.max_seconds is None:
        return by_steps
    whole = stage.recipe.max_seconds - stage.val_seconds - stage.began
    return min(1.0, max(by_steps, (stage.watch.seconds + ahead_s - stage.began) / max(1e-9, whole)))


def _time_left(stage: Stage) -> float:
    """Seconds until the last validation must begin; infinite without `max_seconds`."""
    if stage.recipe.max_seconds is None:
        return math.inf
    return stage.recipe.max_seconds - stage.val_seconds - stage.watch.seconds


# ---------------------------------------------------------------- what is kept


def _default_folder(recipe: Recipe, image_px: int, asked: str) -> Path:
    model = recipe.model.replace(":", "-").replace("/", "-")
    digest = hashlib.sha256(asked.encode()).hexdigest()[:6]
    return Path("runs") / f"{model}-{image_px}px-seed{recipe.seed}-{digest}"


def _nothing_done(asked: str) -> Checkpoint:
    return Checkpoint(
        asked=asked,
        history=[],
        model={},
        best={},
        best_epoch=0,
        optimiser={},
        scaler={},
        average={},
        losses=None,
        peak=0.0,
        cost=FREE,
    )


def _copy(model: nn.Module) -> Weights:
    return {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}


def _keep(stage: Stage, done: Checkpoint, folder: Path, resumable: bool) -> None:
    """After a validation: the history for people, and the checkpoint for a second start."""
    cost = done.cost + together.whole_cost(stage.watch.cost)
    if not together.team().leads:
        return
    write_whole(folder / "history.csv", to_csv(done.history, stage.ready.images.task).encode())
    if resumable and stage.watch.seconds >= stage.checkpoint_due:
        began = stage.watch.seconds
        checkpoint.save(replace(done, cost=cost), folder)
        ended = stage.watch.seconds
        stage.checkpoint_due = ended + _CHECKPOINT_PAUSE * (ended - began)


def _write(model: Classifier, ready: Prepared, done: Checkpoint, folder: Path) -> None:
    images = ready.images
    write_whole(folder / "history.csv", to_csv(done.history, images.task).encode())
    boxed = images.boxes is not None
    save_model(model, folder, classes=images.classes, image_px=ready.image_px, task=images.task, boxed=boxed)
