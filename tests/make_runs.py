"""Fabricated runs, realistic enough to be shown, so that the rooms after the meter are tested without training."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from scrimp.batches import Preparation
from scrimp.cost import Cost
from scrimp.images import ImageSource, LeftOut
from scrimp.images.kinds import Task
from scrimp.meter import Run, Size, Speed, Status
from scrimp.plan import Plan
from scrimp.scores import AnyScores, MultilabelScores, RegressScores, Scores
from scrimp.training import Epoch, Recipe

CLASSES = ("blackbird", "robin", "sparrow", "wren")
MACHINE = {"cpu": "AMD EPYC 7763, 2 cores", "memory": "8 GB", "gpu": "none", "system": "Linux 6.1"}
VERSIONS = {"scrimp": "0.1.0", "python": "3.11.9", "torch": "2.6.0", "timm": "1.0.15"}
SENSOR = "CodeCarbon (estimate: TDP x load)"


def make_run(
    *,
    model: str = "mobilenet_v3_small",
    image_px: int = 160,
    seed: int = 0,
    val: float | None = 0.9,
    test: float | None = 0.88,
    seconds: float = 60.0,
    wh: float | None = 0.5,
    usd: float | None = 0.01,
    mb: float | None = 6.1,
    ms: float | None = 8.0,
    memory: float | None = 900.0,
    epochs: int = 6,
    classes: Sequence[str] = CLASSES,
    images_per_class: int = 50,
    status: Status = "finished",
    reason: str = "",
    left_out: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
    shared: Sequence[str] = ("read", "prepare"),
    source: str = "photos/birds",
    machine: Mapping[str, str] = MACHINE,
    folder: str | None = None,
    certainty: float | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> Run:
    """A run with these figures; the rest is made up to fit them. `val=None` makes one that has no model.

    `seconds`, `wh` and `usd` are the bill of training alone; reading, preparing and measuring cost extra.
    """
    dice = random.Random(f"{model} {image_px} {seed}")
    trained = val is not None
    return Run(
        plan=make_plan(model=model, image_px=image_px, seed=seed, epochs=epochs, source=source, **recipe or {}),
        status=status,
        reason=reason,
        start="published weights" if trained else "",
        classes=tuple(classes),
        image_counts={split: images_per_class * len(classes) * part for split, part in PARTS.items()},
        fingerprint="4f1c0ffee",
        left_out=tuple(LeftOut(key, why) for key, why in left_out),
        notes=tuple(notes),
        history=make_history(val, epochs, seconds, dice) if val is not None else (),
        best_epoch=epochs if trained else None,
        val=make_scores(val, classes, images_per_class, dice, certainty),
        test=make_scores(test if trained else None, classes, images_per_class, dice),
        size=Size(parameters=round(mb * 250_000), mb=mb, macs=56_000_000) if mb and trained else None,
        speed=Speed(ms_per_image=ms, images_per_second=1600 / ms, device="cpu") if ms and trained else None,
        peak_memory_mb=memory,
        costs=make_costs(seconds, wh, usd),
        shared=tuple(shared),
        machine=dict(machine),
        versions=dict(VERSIONS),
        date="2025-03-01T12:00:00",
        folder=folder,
    )


def make_multilabel_run(
    *, val: float = 0.7, test: float = 0.68, classes: Sequence[str] = CLASSES, **figures: Any
) -> Run:
    """The same for labels: `val` and `test` are mean average precisions; the last label is not in test."""

    def scores(merit: float, absent: int) -> MultilabelScores:
        known = [min(1.0, merit + 0.01 * (i - (len(classes) - absent - 1) / 2)) for i in range(len(classes) - absent)]
        return MultilabelScores(
            n=200,
            map=merit,
            standard_error=0.02,
            micro_f1=merit - 0.05,
            macro_f1=merit - 0.1,
            per_class=(*known, *[None] * absent),
            positives=(*range(40, 40 + len(known)), *[0] * absent),
        )

    return _as_task("multilabel", make_run(classes=classes, **figures), scores(val, 0), scores(test, 1))


def make_regress_run(*, val: float = 0.8, test: float = 0.78, mae: float = 3.2, **figures: Any) -> Run:
    """The same for targets: `val` and `test` are R²; the mean absolute error is the same on both."""
    points = {"truth": (10.0, 20.0, 30.0, 40.0), "predicted": (12.0, 19.0, 30.0, 37.0)}

    def scores(merit: float) -> RegressScores:
        return RegressScores(n=200, r2=merit, standard_error=0.02, mae=mae, rmse=1.25 * mae, **points)

    return _as_task("regress", make_run(**figures), scores(val), scores(test)).model_copy(update={"classes": ()})


def _as_task(task: Task, run: Run, val: AnyScores, test: AnyScores) -> Run:
    plan = run.plan.but(images=run.plan.images.but(task=task))
    history = [epoch.model_copy(update={"train_score": None} if task == "multilabel" else {}) for epoch in run.history]
    last = history[-1].model_copy(update={"val_score": val.merit})
    return run.model_copy(update={"plan": plan, "val": val, "test": test, "history": (*history[:-1], last)})


PARTS = {"train": 4, "val": 1, "test": 1}
"""How often `images_per_class` goes into each split."""


def make_plan(*, model: str, image_px: int, seed: int, epochs: int, source: str, **recipe: Any) -> Plan:
    """A plan that differs from the default in what a sweep usually varies."""
    return Plan(
        images=ImageSource(source=source),
        preparation=Preparation(image_px=image_px),
        recipe=Recipe(model=model, epochs=epochs, seed=seed, **recipe),
    )


def make_costs(seconds: float, wh: float | None, usd: float | None) -> dict[str, Cost]:
    """A bill per stage: the same small ones for reading and preparing, the given one for training."""
    source = None if wh is None else SENSOR
    return {
        "read": Cost(seconds=0.5, cpu_seconds=0.5, wh=wh and 0.004, wh_source=source, usd=usd and 0.0001),
        "prepare": Cost(seconds=4.0, cpu_seconds=7.5, wh=wh and 0.03, wh_source=source, usd=usd and 0.0008),
        "train": Cost(seconds=seconds, cpu_seconds=1.9 * seconds, wh=wh, wh_source=source, usd=usd),
        "measure": Cost(seconds=2.0, cpu_seconds=3.0, wh=wh and 0.01, wh_source=source, usd=usd and 0.0004),
    }


def make_history(val: float, epochs: int, seconds: float, dice: random.Random) -> tuple[Epoch, ...]:
    """Accuracies that rise to `val`, quickly at first, while training accuracy overtakes it at the end."""
    history = []
    slow, memory = dice.uniform(0.4, 0.75), dice.uniform(0.9, 1.08)
    for number in range(1, epochs + 1):
        progress = (1 - slow ** (8 * number / epochs)) / (1 - slow**8)
        accuracy = val * (0.15 + 0.85 * progress) - (number < epochs) * dice.uniform(0, 0.02)
        learnt = min(1.0, val * memory * (0.1 + 0.9 * progress))
        history.append(
            Epoch(
                epoch=number,
                train_loss=2 * (1 - learnt) + 0.05,
                train_score=learnt,
                val_loss=2 * (1 - accuracy) + 0.1,
                val_score=accuracy,
                seconds=seconds / epochs,
                lr=1e-3 * (1 - number / epochs),
            )
        )
    return tuple(history)


def make_scores(
    top1: float | None,
    classes: Sequence[str],
    images_per_class: int,
    dice: random.Random,
    certainty: float | None = None,
) -> Scores | None:
    """Scores of this accuracy whose mistakes fall mostly on a neighbouring class."""
    if top1 is None:
        return None
    confusion = []
    for true in range(len(classes)):
        row = [0] * len(classes)
        wrong = min(images_per_class, round((1 - top1) * images_per_class * dice.uniform(0.5, 1.5)))
        row[true] = images_per_class - wrong
        for _ in range(wrong):
            row[(true + 1) % len(classes) if dice.random() < 0.6 else dice.randrange(len(classes))] += 1
        confusion.append(row)
    recalls = tuple(row[true] / images_per_class for true, row in enumerate(confusion))
    return Scores(
        n=images_per_class * len(classes),
        top1=top1,
        macro_f1=max(0.0, top1 - 0.01),
        per_class=recalls,
        confusion=tuple(tuple(row) for row in confusion),
        certainty=certainty,
    )
