"""What must stand before the first step: the model, its optimiser, what they are told, and what could only fail."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn, optim

from scrimp.augment import Augmentation, augmentations
from scrimp.batches import Prepared, batches
from scrimp.cost import Stopwatch
from scrimp.errors import ImageError, SettingError, TrainingError
from scrimp.models import MODELS, Classifier, build, takes_one_size
from scrimp.models.fast_cnn import Whitening
from scrimp.models.own import smallest_px
from scrimp.scores import MEASURES, unscorable
from scrimp.training import hardware, together
from scrimp.training.averaging import Average
from scrimp.training.checkpoint import Checkpoint
from scrimp.training.dynamics import Dynamics
from scrimp.training.evaluate import give_units, seconds_to_predict
from scrimp.training.features import head_first
from scrimp.training.freezing import freeze, learn_mode
from scrimp.training.lr_finding import find_lr
from scrimp.training.optimiser import optimiser_for, set_mode
from scrimp.training.recipe import Recipe
from scrimp.training.remaking import Remaker, remaker_for
from scrimp.training.resizing import px_at
from scrimp.training.teaching import load_teacher
from scrimp.training.weigh import weigh

TO_REESTIMATE = 1024
"""Training images by which batch norm's statistics are estimated anew."""

_TO_WHITEN = 1024  # images whose patches say how a first layer is made
_PART_TO_FIND_LR = 0.1  # of a run's seconds, at most
_COMPILING = {"cuda": (0.2, 60.0)}  # part of a step that it saves, seconds it takes; on a CPU 100 s for nothing


@dataclass(kw_only=True)
class Stage:
    """Everything on stage while a model learns, and the sums since the last validation."""

    ready: Prepared
    recipe: Recipe
    model: Classifier
    forward: nn.Module  # the model, or the same compiled
    device: torch.device
    precision: torch.dtype
    peak: float  # the highest learning rate
    optimiser: optim.Optimizer
    scaler: torch.amp.GradScaler
    changes: list[Augmentation]
    remaker: Remaker | None
    teacher: Classifier | None
    average: Average | None
    losses: Tensor  # of every image of the set when it was last learnt from; NaN before
    importance: Tensor  # of every image of the set in this epoch: how much its loss weighs
    watch: Stopwatch
    val_seconds: float  # what one validation takes; only needed, and measured, when seconds are limited
    loss_sum: Tensor
    right: Tensor
    images: int = 0
    validated_at: float = 0.0
    began: float = 0.0  # second of the watch at which the first step was taken
    checkpoint_due: float = 0.0  # second of the watch before which none is written
    lr: float = 0.0
    frozen: bool = False
    dynamics: Dynamics | None = None


def check(ready: Prepared, recipe: Recipe) -> None:
    """Refuses what could only fail, or mean nothing, after hours."""
    images, task = ready.images, ready.images.task
    if task != "classify" and recipe.label_smoothing:
        raise SettingError(
            f"label_smoothing={recipe.label_smoothing} spreads a class over all others, but with task='{task}' an "
            "image has no one class: leave it at 0."
        )
    if recipe.flip_test and not images.mirror_ok:
        raise SettingError(
            "flip_test=true asks of mirror images too, but a mirrored image of this set changes its label."
        )
    augmentations(recipe.augment, mirror_ok=images.mirror_ok)
    card, least = MODELS.get(recipe.model), px_at(0.0, recipe, ready.image_px)
    if card and least < (works_from := smallest_px(card, ready.image_px)):
        raise SettingError(
            f"px_start={recipe.px_start} begins with images of {least} px, and {recipe.model} works from {works_from} "
            f"when it is built for {ready.image_px}: raise px_start."
        )
    for split in ("train", "val"):
        rows = images.rows(split)
        if task != "classify" and (why := unscorable(task, images.labels[rows])):
            raise ImageError(
                f"There is no {MEASURES[task].title} of the {split} split of '{images.source.source}' "
                f"({len(rows):,} images): {why}. Add images, or divide them otherwise (split_seed, val_fraction)."
            )
    together.check_shares(recipe, len(images.rows("train")))


def build_model(ready: Prepared, recipe: Recipe) -> Classifier:
    """The recipe's model with its initial weights, on the CPU."""
    model = build(
        recipe.model,
        classes=ready.images.outputs,
        image_px=ready.image_px,
        pretrained=recipe.pretrained,
        weights=recipe.weights,
        seed=recipe.seed,
        dropout=recipe.dropout,
        drop_path=recipe.drop_path,
        shape=recipe.shape,
    )
    if recipe.weights is None:
        _fit_whitening(model, ready)
    return model


@torch.no_grad()
def _fit_whitening(model: Classifier, ready: Prepared) -> None:
    """A first layer that is made from the training images, in models that have one."""
    for module in model.modules():
        if isinstance(module, Whitening):
            rows = ready.images.rows("train")
            some = rows[np.linspace(0, len(rows) - 1, min(len(rows), _TO_WHITEN)).astype(np.int64)]
            pixels = next(batches(ready, some, _TO_WHITEN)).pixels
            module.fit((pixels - model.mean) / model.std)


def suited(recipe: Recipe, model: Classifier, notes: list[str]) -> Recipe:
    """The recipe without what this model, just built, cannot follow; what is left out is told in `notes`."""
    if recipe.norm_stats == "keep" and model.start.startswith("from scratch"):
        notes.append(f"norm_stats='keep' was left out: {model.name} has no published weights, so none to keep them of.")
        recipe = recipe.but(norm_stats="learn")
    if (recipe.px_start, recipe.px_end) != (1.0, 1.0) and takes_one_size(model.name):
        notes.append(f"px_start and px_end were left out: {model.name} takes images of one size.")
        recipe = recipe.but(px_start=1.0, px_end=1.0)
    return recipe


def _val_seconds(model: Classifier, ready: Prepared, recipe: Recipe) -> float:
    """What one validation takes, with the look at training images that `bn_reestimate` adds."""
    rows, more = ready.images.rows("val"), ready.images.rows("train")[:TO_REESTIMATE]
    return seconds_to_predict(model, ready, np.concatenate([rows, more]) if recipe.bn_reestimate else rows)


def set_stage(
    ready: Prepared, recipe: Recipe, model: Classifier, done: Checkpoint, watch: Stopwatch, notes: list[str]
) -> Stage:
    """Puts the model on the device and makes all that its training needs, as it stood at the checkpoint.

    What was decided on the way is told in `notes`. Cost: with `head_first` a forward pass per image, with lr="auto"
    under 100 steps; neither is done again after a checkpoint.
    """
    device = hardware.best_device()
    precision, why = hardware.precision_for(recipe.precision, device)
    notes.append(f"Precision: {why}.")
    give_units(model, ready)
    form = torch.channels_last if recipe.channels_last else torch.contiguous_format
    model = model.to(device, memory_format=form)  # type: ignore[call-overload]
    model.flips = recipe.flip_test
    hardware.work_out_of_place(model, device, precision)
    freeze(model, recipe.freeze == "backbone")
    begins = not done.history
    if begins and recipe.head_first != "none":
        earlier, note = head_first(model, ready, recipe)
        done.cost += earlier  # of features that an earlier run has computed
        notes.append(note)
    if begins:
        done.peak = _peak(model, ready, recipe, notes)
    together.start_alike(model)
    done.peak = together.from_first(done.peak)
    optimiser = optimiser_for(model, recipe, done.peak, precision=precision)
    stage = Stage(
        ready=ready,
        recipe=recipe,
        model=model,
        forward=_compiled(model, ready, recipe, device, notes),
        device=device,
        precision=precision,
        peak=done.peak,
        optimiser=optimiser,
        scaler=torch.amp.GradScaler(device.type, enabled=precision == torch.float16),
        changes=augmentations(recipe.augment, mirror_ok=ready.images.mirror_ok),
        remaker=remaker_for(ready, recipe, device, notes),
        teacher=None if recipe.teacher is None else load_teacher(recipe.teacher, ready).to(device),
        average=None if recipe.average == "none" else Average(model, recipe.average, recipe.ema_decay),
        losses=torch.full((len(ready.images),), math.nan, device=device),
        importance=torch.ones(len(ready.images), device=device),
        watch=watch,
        val_seconds=_val_seconds(model, ready, recipe) if recipe.max_seconds else 0.0,
        loss_sum=torch.zeros((), device=device),
        right=torch.zeros((), device=device, dtype=torch.int64),
        frozen=recipe.freeze == "backbone",
    )
    _take_up(stage, done)
    return stage


def thaw(stage: Stage) -> None:
    """From now on the backbone learns too."""
    stage.frozen = False
    freeze(stage.model, False)
    learning_mode(stage)


def learning_mode(stage: Stage) -> None:
    """Everything learns, or the head alone."""
    learn_mode(stage.model, stage.recipe, frozen=stage.frozen)
    set_mode(stage.optimiser, learning=True)


def _peak(model: Classifier, ready: Prepared, recipe: Recipe, notes: list[str]) -> float:
    """The highest learning rate: the recipe's, or one that is found on this model and these images."""
    if recipe.lr != "auto":
        return recipe.lr
    found = find_lr(ready, recipe, model=model, at_most_s=(recipe.max_seconds or math.inf) * _PART_TO_FIND_LR)
    notes.append(found.note)
    if found.lr is None:
        raise TrainingError(f"{recipe.model}: lr='auto' found none. {found.note} Give one, such as lr=0.001.")
    return found.lr


def _compiled(model: Classifier, ready: Prepared, recipe: Recipe, device: torch.device, notes: list[str]) -> nn.Module:
    """The model, compiled where that is asked for or wins back what it takes."""
    if recipe.compile == "never":
        return model
    if recipe.compile == "auto":
        gain, takes = _COMPILING.get(device.type, (0.0, math.inf))
        run_s = weigh(model, ready, recipe).train_s * len(ready.images.rows("train")) * recipe.epochs
        run_s = min(run_s, recipe.max_seconds or math.inf)
        if run_s * gain < takes:
            notes.append(
                f"Not compiled: on this {device.type.upper()} it would not win back its warm-up in {run_s:.0f} s."
            )
            return model
    notes.append("Compiled by torch.compile; its warm-up is on the bill.")
    compiled: nn.Module = torch.compile(model)  # type: ignore[assignment]
    return compiled


def _take_up(stage: Stage, done: Checkpoint) -> None:
    """As it stood at the checkpoint, to the bit."""
    if not done.history:
        return
    stage.model.load_state_dict(done.model)
    stage.optimiser.load_state_dict(done.optimiser)
    stage.scaler.load_state_dict(done.scaler)
    if done.losses is not None:
        stage.losses = done.losses.to(stage.device)
    if stage.average and done.average:
        stage.average.load_state_dict(done.average)
