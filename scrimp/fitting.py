"""Spends a budget on the candidates that earn it, and hands back the best model it bought.

Weigh: a few timed steps per model; what cannot see every image once within the budget is out.
Rounds: all that are left train for equal time, going on from their weights, and the better half on val stays.
Finish: the last one trains until the budget is spent but for one look at the test images.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from scrimp.batches import Prepared, prepare
from scrimp.cost import Stopwatch, shared_sensor
from scrimp.errors import BudgetError, ImageError, ScrimpError, SettingError, TrainingError, WeightsError
from scrimp.images import Images
from scrimp.images.decode import open_row
from scrimp.images.kinds import Task
from scrimp.meter import Run, measure
from scrimp.models import MODELS, build, weights_at_hand
from scrimp.scores import MEASURES, score, unscorable
from scrimp.settings import Settings
from scrimp.store import write_whole
from scrimp.subset import select
from scrimp.sweeping import to_csv
from scrimp.tradeoff import Chosen, compare
from scrimp.training import Epoch, Recipe, Trained, train
from scrimp.training.checkpoint import Weights
from scrimp.training.weigh import Weight, weigh

SMALL_PX = 64
"""Images whose short side is at most this are learnt from scratch: weights trained on photos start too coarse."""
FROM_SCRATCH = ("ultralight", "vgg8", "resnet18", "simple_cnn")
PRETRAINED = (
    "mobilenet_v3_small",
    "mobilenet_v2",
    "shufflenet_v2_x1_0",
    "mobilenetv4_conv_small",
    "squeezenet1_0",
    "resnet18",
    "efficientnet_b0",
    "tiny_vit_5m",
)
PHOTO_SIZES = (96, 160, 224)

_FINAL_SHARE = 0.5  # of the time for training goes to the last candidate alone
_FINISH_S = 4.0  # timing the winner, writing result and report
_TIMING_S = 0.6  # timing one candidate's forward pass
_PACKING_SHARE = 0.3  # of the budget may go into decoding
_WEIGHING_SHARE = 0.15  # of what is left may go into timing candidates
_ENDLESS = 100_000  # epochs: the clock ends the training
_FEWEST_TARGETS = 10  # count as many classes, where images have a number instead of one


class Budget(Settings):
    """What may be spent, everything counted. Where several are given, the first to run out ends the fit."""

    seconds: float | None = Field(default=None, gt=0)
    """Wall-clock seconds."""
    minutes: float | None = Field(default=None, gt=0)
    """Wall-clock minutes."""
    usd: float | None = Field(default=None, gt=0)
    """Dollars, at the machine's hourly rate."""

    @model_validator(mode="after")
    def _something_is_given(self) -> Self:
        if self.seconds is None and self.minutes is None and self.usd is None:
            raise SettingError("A budget needs seconds, minutes or usd.")
        return self

    @classmethod
    def parse(cls, text: str) -> Budget:
        """A budget as people write it: "90s", "10min", "1.5h" or "$0.50"."""
        money = re.fullmatch(r"\$\s*([0-9.]+)", text.strip())
        span = re.fullmatch(r"([0-9.]+)\s*(s|sec|min|m|h)", text.strip())
        try:
            if money:
                return cls(usd=float(money[1]))
            if span:
                unit = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}[span[2]]
                return cls(seconds=float(span[1]) * unit)
        except ValueError as error:
            if isinstance(error, SettingError):
                raise
        raise SettingError(f"Budget '{text}' is not understood: write 90s, 10min, 1.5h or '$0.50'.")

    def in_seconds(self, usd_per_hour: float | None = None) -> float:
        """The seconds that all parts of the budget allow. Raises `SettingError` for dollars without a rate."""
        limits = [self.seconds or math.inf, (self.minutes or math.inf) * 60]
        if self.usd is not None:
            if not usd_per_hour:
                raise SettingError(f"A budget of ${self.usd:g} needs a price: give --instance or --usd-per-hour.")
            limits.append(self.usd / usd_per_hour * 3600)
        return min(limits)


def fit(
    images: Images,
    budget: Budget,
    *,
    models: Sequence[str] = (),
    image_sizes: Sequence[int] = (),
    pretrained: bool = True,
    out: str | Path = "runs/fit",
    seed: int = 0,
    usd_per_hour: float | None = None,
    started: float | None = None,
) -> Chosen:
    """The best model that the budget buys, by the task's measure, chosen on val, with one look at test at the end.

    models, image_sizes: what may be tried; by default a list that suits the size of the images.
    started: `time.perf_counter()` when spending began; by default now, less what finding the images took.
    Everything counts: decoding, weighing, losing candidates, measuring. Ctrl-C hands back the best so far.
    Raises `BudgetError`, naming the smallest that would do, when no candidate could see every image once.
    """
    began = time.perf_counter() - images.cost.seconds if started is None else started
    budget_s = budget.in_seconds(usd_per_hour)
    for name in models:
        Recipe(model=name)  # refuses a name that is not known before anything is spent on it
    game = _Game(images=images, out=Path(out), budget_s=budget_s, deadline=began + budget_s, seed=seed)
    with Stopwatch(shared_sensor()) as watch:
        _enter(game, list(models), list(image_sizes), pretrained)
        try:
            _play_rounds(game)
        except KeyboardInterrupt:
            game.tell("Stopped by Ctrl-C: the best so far is kept.")
        runs = _measure_all(game, usd_per_hour)
        write_whole(game.out / "runs.csv", to_csv(runs).encode())
    bill = (images.cost + watch.cost).priced(usd_per_hour)
    game.tell(f"Spent {time.perf_counter() - began:.0f} s of {budget_s:.0f} s.")
    return compare(runs, story=game.story, bill=bill)


@dataclass(kw_only=True)
class _Entrant:
    """A candidate: what it is, what it costs, and the best weights it has had so far."""

    recipe: Recipe
    ready: Prepared
    weight: Weight
    trained: Trained | None = None
    best: Weights = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.recipe.model} @ {self.ready.image_px} px"

    @property
    def val(self) -> float:
        """The best it has been on val; nothing is worse than not to have been trained."""
        return _top(self.trained) if self.trained else -math.inf

    def seconds_for(self, split: str) -> float:
        """To look once at every image of a split, learning from it if it is "train"."""
        rate = self.weight.train_s if split == "train" else self.weight.eval_s
        return rate * int((self.ready.images.splits == split).sum())

    @property
    def least_s(self) -> float:
        """Seconds below which it has not even seen every image once."""
        return self.seconds_for("train") + 2 * self.seconds_for("val")


@dataclass(kw_only=True)
class _Game:
    """The state of one fit: who is still in it, how long it may last, and what has been decided.

    scoring_s: what turning outputs on val into scores takes.
    """

    images: Images
    out: Path
    budget_s: float
    deadline: float
    seed: int
    scoring_s: float = 0.0
    entrants: list[_Entrant] = field(default_factory=list)
    dropped: list[_Entrant] = field(default_factory=list)
    story: list[str] = field(default_factory=list)

    def left(self) -> float:
        """Seconds until the budget is spent."""
        return self.deadline - time.perf_counter()

    def tell(self, line: str) -> None:
        self.story.append(line)

    def left_to_train(self) -> float:
        """Seconds until the finish must begin: scoring every candidate on val, the winner on test, and writing."""
        everybody = self.entrants + self.dropped
        scoring = sum(_TIMING_S + self.scoring_s + entrant.seconds_for("val") for entrant in everybody)
        testing = max((entrant.seconds_for("test") for entrant in self.entrants), default=0.0)
        larger = len(self.images.rows("test")) / max(1, len(self.images.rows("val")))
        return self.left() - _FINISH_S - scoring - testing - larger * self.scoring_s


# ---------------------------------------------------------------- weigh


def _enter(game: _Game, models: list[str], image_sizes: list[int], pretrained: bool) -> None:
    """Fills the game with the candidates that can see every image at least once; tells why others cannot."""
    small = _native_px(game.images) <= SMALL_PX
    pretrained = pretrained and not (small and not models)
    sizes = sorted(image_sizes) or ([32] if small else list(PHOTO_SIZES))
    names = models or list(FROM_SCRATCH if not pretrained else PRETRAINED)
    game.images = _what_can_be_decoded(game, sizes[0])
    ready = prepare(game.images, image_px=sizes[0])
    game.scoring_s = _seconds_to_score(ready.images)
    try:
        weighed = _weigh_all(game, ready, names, pretrained)
    except WeightsError:
        if models:
            raise
        game.tell("No pretrained weights can be had here: every candidate starts from scratch.")
        weighed = _weigh_all(game, ready, list(FROM_SCRATCH), pretrained=False)
    packs = {px: pack for px in sizes if (pack := ready if px == sizes[0] else _affordable_pack(game, ready, px))}
    for recipe, weight in weighed:
        for px, pack in packs.items():
            factor = (px / sizes[0]) ** 2  # convolutions cost by the pixel
            grown = Weight(weight.train_s * factor, weight.eval_s * factor)
            game.entrants.append(_Entrant(recipe=recipe, ready=pack, weight=grown))
    _drop_the_slow(game)


def _seconds_to_score(images: Images) -> float:
    """Tried on random outputs for val; nothing for classes, where it is counting."""
    rows, task = images.rows("val"), images.task
    if task == "classify" or unscorable(task, images.labels[rows]):
        return 0.0
    start = time.perf_counter()
    outputs = np.random.default_rng(0).standard_normal((len(rows), images.outputs))
    score(task, images.labels[rows], outputs, len(images.classes))
    return time.perf_counter() - start


def _native_px(images: Images) -> float:
    """Median short side of a few images."""
    sides = []
    for row in np.linspace(0, len(images) - 1, 9).astype(int):
        try:
            sides.append(min(open_row(images, row)[0].size))
        except ScrimpError:
            continue  # it will be left out, and told, when the images are packed
    if not sides:
        raise ImageError(f"None of 9 images from '{images.source.source}' can be decoded.")
    return median(sides)


def _what_can_be_decoded(game: _Game, px: int) -> Images:
    """All images, or as many training images per class as can be packed in a fair part of the budget."""
    images = game.images
    some = range(0, len(images), max(1, len(images) // 24))[:24]
    start = time.perf_counter()
    for row in some:
        with contextlib.suppress(ScrimpError):
            open_row(images, row, draft_px=px)
    per_image = (time.perf_counter() - start) / len(some) / (os.cpu_count() or 1)
    affordable = int(game.left() * _PACKING_SHARE / max(per_image, 1e-9))
    train = len(images.rows("train"))
    others = len(images) - train
    if len(images) <= affordable:
        return images
    fewest = 2 * (len(images.classes) or _FEWEST_TARGETS)
    if affordable - others < fewest:
        least = (others + fewest) * per_image / _PACKING_SHARE
        enough = math.ceil(game.budget_s - game.left() + least + _FINISH_S)
        raise BudgetError(
            f"The budget of {game.budget_s:.0f} s is too small: decoding {len(images):,} images takes about "
            f"{len(images) * per_image:.1f} s, and {game.budget_s - game.left():.1f} s are spent already. The smallest "
            f"that would do is about {enough} s."
        )
    game.tell(f"Decoding all {train:,} training images would not fit: a random {affordable - others:,} are used.")
    return select(images, keep=affordable - others, balance="fill", seed=game.seed)


def _weigh_all(game: _Game, ready: Prepared, names: Sequence[str], pretrained: bool) -> list[tuple[Recipe, Weight]]:
    """Times each model; weights that lie here go first, and a hub that did not answer once is not asked again.

    Raises what the last one raised when none could be started.
    """
    weighed: list[tuple[Recipe, Weight]] = []
    refusal: Exception = BudgetError("There is no candidate to try.")
    silent: set[str] = set()
    stop_at = -math.inf  # the first is weighed whatever it takes: it pays for importing the libraries
    away = {name for name in names if pretrained and not weights_at_hand(name)}
    for name in sorted(names, key=lambda name: name in away):
        if weighed and game.left() < stop_at:
            game.tell(f"{name} is out: no time is left to weigh it.")
            continue
        hub = MODELS[name].source if name in away and name in MODELS else ""
        if hub in silent:
            game.tell(f"{name} is out: its weights are not here, and {hub}'s hub cannot be reached.")
            continue
        images = ready.images
        recipe = recipe_for(name, len(images.rows("train")), pretrained=pretrained, seed=game.seed, task=images.task)
        try:
            model = build(
                name,
                classes=images.outputs,
                image_px=ready.image_px,
                pretrained=pretrained,
                seed=game.seed,
            )
            weight = weigh(model, ready, recipe, at_most_s=min(1.0, game.left() / 100))
        except (ScrimpError, RuntimeError, MemoryError) as error:
            refusal = error
            game.tell(f"{name} is out: {error}")
            silent |= {hub} if hub and isinstance(error, WeightsError) else set()
            continue
        game.tell(f"{name} learns from {1 / weight.train_s:,.0f} images/s at {ready.image_px} px.")
        if not weighed:
            stop_at = game.left() * (1 - _WEIGHING_SHARE)
        weighed.append((recipe, weight))
    if not weighed:
        raise refusal
    return weighed


def recipe_for(model: str, train_images: int, *, pretrained: bool, seed: int, task: Task = "classify") -> Recipe:
    """What fit trains a model with: gentle for weights that know photos already, bold for those that know nothing."""
    return Recipe(
        model=model,
        pretrained=pretrained,
        epochs=_ENDLESS,
        batch_size=32 if pretrained or train_images < 2000 else 64,
        lr=5e-4 if pretrained else 3e-3,
        weight_decay=0.05,
        label_smoothing=0.1 if task == "classify" else 0.0,
        seed=seed,
    )


def _affordable_pack(game: _Game, ready: Prepared, px: int) -> Prepared | None:
    """The same images at another size, unless packing them would eat too much of the budget."""
    factor = (px / ready.image_px) ** 2
    expected = ready.cost.seconds * factor
    if expected > _PACKING_SHARE / 2 * game.left():
        game.tell(f"{px} px is out: packing alone would take about {expected:.0f} s.")
        return None
    return prepare(game.images, image_px=px)


def _drop_the_slow(game: _Game) -> None:
    """Keeps the candidates that can see every image within their share of the first round, slowest out first."""
    game.entrants.sort(key=lambda entrant: entrant.least_s)
    fastest = game.entrants[0]
    available = game.left_to_train()
    while len(game.entrants) > 1 and game.entrants[-1].least_s > _first_share(game):
        slow = game.entrants.pop()
        game.tell(f"{slow.name} is out: {slow.least_s:.0f} s to see every image once is more than its share.")
    if fastest.least_s > game.left_to_train():
        enough = math.ceil(game.budget_s + fastest.least_s - available)
        raise BudgetError(
            f"The budget of {game.budget_s:.0f} s is too small: the fastest candidate, {fastest.name}, takes "
            f"{fastest.least_s:.1f} s to see every image once, beside reading, weighing and measuring. The smallest "
            f"that would do is about {enough} s; or give fewer images (--per-class) or smaller ones (--image-size)."
        )


# ---------------------------------------------------------------- rounds


def _first_share(game: _Game) -> float:
    rounds = _rounds_before_the_last(len(game.entrants))
    whole = game.left_to_train()
    return whole * (1 - _FINAL_SHARE) / rounds / len(game.entrants) if rounds else whole


def _rounds_before_the_last(field_size: int) -> int:
    return math.ceil(math.log2(field_size)) if field_size > 1 else 0


def _play_rounds(game: _Game) -> None:
    """Halves the field until one is left, then gives it all the time there is."""
    rounds = _rounds_before_the_last(len(game.entrants))
    for number in range(1, rounds + 1):
        # What is left is shared anew each round, so that earlier overruns never add up.
        rounds_left = rounds - number + 1
        final = game.left_to_train() * _FINAL_SHARE / (_FINAL_SHARE + (1 - _FINAL_SHARE) * rounds_left / rounds)
        share = (game.left_to_train() - final) / rounds_left / len(game.entrants)
        for entrant in game.entrants:
            if not _continue(game, entrant, share):
                return
        _halve(game, number, share)
    _continue(game, game.entrants[0], game.left_to_train())


def _halve(game: _Game, number: int, share: float) -> None:
    ranked = sorted(game.entrants, key=lambda entrant: (-entrant.val, entrant.weight.train_s))
    keep = math.ceil(len(ranked) / 2)
    said = MEASURES[game.images.task].phrase
    figures = ", ".join(f"{e.name} {said(e.val) if e.trained else 'failed'}" for e in ranked)
    game.tell(f"Round {number}, {share:.0f} s each, on val: {figures}. The first {keep} stay.")
    game.entrants, game.dropped = ranked[:keep], game.dropped + ranked[keep:]


def _continue(game: _Game, entrant: _Entrant, seconds: float) -> bool:
    """Trains an entrant for some more seconds, going on from its best weights; False if it was interrupted."""
    before = entrant.trained
    if before:
        before.model.load_state_dict(entrant.best)
    folder = game.out / f"{entrant.recipe.model.replace(':', '-')}-{entrant.ready.image_px}px"
    recipe = entrant.recipe.but(max_seconds=max(seconds, 1e-3))
    try:
        trained = train(entrant.ready, recipe, out=folder, model=before.model if before else None)
    except (TrainingError, RuntimeError, MemoryError) as error:
        game.tell(f"{entrant.name} failed: {error}")
        return True
    gained = before is None or _top(trained) >= entrant.val
    if gained:
        entrant.best = {name: value.clone() for name, value in trained.model.state_dict().items()}
    else:
        trained.model.load_state_dict(entrant.best)
    entrant.trained = _joined(before, trained, gained) if before else trained
    return trained.status != "interrupted"


def _top(trained: Trained) -> float:
    return max(epoch.val_score for epoch in trained.history)


def _joined(before: Trained, after: Trained, gained: bool) -> Trained:
    """Two stretches of training as one: their epochs numbered through, their bills added."""
    last = before.history[-1].epoch
    later = tuple(Epoch(**{**epoch.model_dump(), "epoch": last + epoch.epoch}) for epoch in after.history)
    seconds = (before.recipe.max_seconds or 0.0) + (after.recipe.max_seconds or 0.0)
    return replace(
        after,
        recipe=after.recipe.but(max_seconds=seconds),
        history=before.history + later,
        best_epoch=last + after.best_epoch if gained else before.best_epoch,
        notes=before.notes,
        cost=before.cost + after.cost,
    )


# ---------------------------------------------------------------- finish


def _measure_all(game: _Game, usd_per_hour: float | None) -> list[Run]:
    """Scores every candidate on val; only the one that is best there looks at test."""
    tried = [entrant for entrant in game.entrants + game.dropped if entrant.trained]
    if not tried:
        raise TrainingError("No candidate could be trained. " + " ".join(game.story))
    winner = max(tried, key=lambda entrant: entrant.val)
    runs = []
    for entrant in tried:
        assert entrant.trained is not None
        entrant.trained.model.load_state_dict(entrant.best)
        runs.append(measure(entrant.trained, usd_per_hour=usd_per_hour, test=entrant is winner))
    return runs
