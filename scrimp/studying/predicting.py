"""What a study will cost on this machine, from a few timed steps, before it starts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scrimp.batches import Prepared, prepare
from scrimp.cores import cores
from scrimp.cost import dollars
from scrimp.errors import WeightsError
from scrimp.images import Images, ImageSource
from scrimp.models import MODELS, build, size_mb, weights_at_hand
from scrimp.plan import Plan
from scrimp.progress import bar
from scrimp.studying.plans import Part, Study
from scrimp.studying.targets import with_target
from scrimp.sweeping import Shelf, finished_run
from scrimp.techniques import plans_of
from scrimp.training.weigh import Weight, weigh

_RUN_S = 3.0  # of a run for building, saving and timing its model
_PROCESS_S = 8.0  # more for a run in a process of its own
_PAGE_GB = 0.006  # a report, most of it the chart library
_DECODED = 8  # images whose decoding is timed
_PIXELS = 150_000  # in a timed batch, so that a large model at a large size takes seconds and not minutes
_FEWEST = 4  # images in it
_TIMED_S = 0.3
_LR_STEPS = 60  # of a search for a learning rate


class Foreseen(NamedTuple):
    """What a part will take: runs that are left to do, of all; seconds and GB of disk, at most; None: not foreseen."""

    part: str
    left: int
    runs: int
    seconds: float | None
    gb: float


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a study will take. without: models that cannot start, for their weights are not to be had, and why."""

    parts: tuple[Foreseen, ...]
    without: Mapping[str, str]
    usd_per_hour: float | None

    @property
    def left(self) -> int:
        """Runs that are not done yet."""
        return sum(part.left for part in self.parts)

    @property
    def seconds(self) -> float:
        """All that is foreseen, at most: early stops are not counted on."""
        return sum(part.seconds or 0.0 for part in self.parts)

    @property
    def gb(self) -> float:
        """Disk for packs, models and pages."""
        return sum(part.gb for part in self.parts)

    @property
    def usd(self) -> float | None:
        """The seconds at the price of the named machine, as if it were as fast as this one."""
        return None if self.usd_per_hour is None else dollars(self.seconds, self.usd_per_hour)


def foresee(study: Study, out: Path, *, usd_per_hour: float | None = None) -> Forecast:
    """Finds the images, fetches the weights that are wanted and times a few steps of each model at each size.

    What selecting takes is not foreseen, and a distillation counts with its `max_seconds`.

    study: a settled one. out: where its results lie, or will; what is done there is not counted again.
    Raises what finding the images raises. Cost: some seconds for each model and size, and the download of weights.
    """
    desk = _Desk()
    with bar("what it will cost", len(study.parts)) as advance:
        parts = []
        for name, part in study.parts.items():
            parts.append(_foreseen(name, part, out / name, desk))
            advance(1, name)
    return Forecast(parts=tuple(parts), without=desk.without, usd_per_hour=usd_per_hour)


@dataclass
class _Desk:
    """What has been found and timed so far. silent: libraries whose hub did not answer."""

    shelf: Shelf = field(default_factory=Shelf)
    decoding: dict[tuple[ImageSource, int], float] = field(default_factory=dict)
    weights: dict[tuple[ImageSource, str, int], tuple[Weight, float]] = field(default_factory=dict)
    without: dict[str, str] = field(default_factory=dict)
    has_weights: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)

    def decode_s(self, plan: Plan, ready: Prepared) -> float:
        """Seconds to decode an image at the plan's size, on one core."""
        key = plan.images, plan.preparation.image_px
        if key not in self.decoding:
            rows = np.linspace(0, len(ready.images) - 1, _DECODED).astype(int)
            start = time.perf_counter()
            for row in rows:
                ready.pixels[row]
            self.decoding[key] = (time.perf_counter() - start) / len(rows)
        return self.decoding[key]

    def weight(self, plan: Plan, ready: Prepared) -> tuple[Weight, float]:
        """Seconds per image of the plan's model, and its MB."""
        recipe, px = plan.recipe, plan.preparation.image_px
        key = plan.images, f"{recipe.model} {recipe.shape} {recipe.optimiser} {recipe.freeze} {recipe.batch_size}", px
        if key not in self.weights:
            model = build(recipe.model, classes=ready.images.outputs, image_px=px, pretrained=False, shape=recipe.shape)
            some = recipe.but(batch_size=max(_FEWEST, min(recipe.batch_size, _PIXELS // px**2)), accumulate=1)
            self.weights[key] = weigh(model, ready, some, at_most_s=_TIMED_S), size_mb(model)
        return self.weights[key]

    def can_start(self, plan: Plan) -> bool:
        """Whether the weights that the plan starts from are here or can be fetched; else why not is kept."""
        name = plan.recipe.model
        card = MODELS.get(name)
        wanted = plan.recipe.pretrained and plan.recipe.weights is None and (card is None or card.weights is not None)
        if not wanted or name in self.has_weights or weights_at_hand(name):
            return True
        if name not in self.without:
            hub = card.source if card else "timm"
            try:
                if hub in self.silent:
                    raise WeightsError(f"its weights are not here, and {hub}'s hub did not answer.")
                build(name, classes=2)
            except WeightsError as error:
                self.silent.add(hub)
                self.without[name] = str(error)
            else:
                self.has_weights.add(name)
        return name not in self.without


def _foreseen(name: str, part: Part, folder: Path, desk: _Desk) -> Foreseen:
    if part.codes:
        done = (folder / "codes.json").is_file()
        return Foreseen(name, 0 if done else len(part.codes), len(part.codes), 0.0 if done else None, 0.0)
    plans = plans_of(part.runs())
    left = [
        plan for plan in with_target(plans, part, folder) if not _is_done(plan, part, folder / plan.name, desk.shelf)
    ]
    left = [plan for plan in left if desk.can_start(plan)]
    times = part.trials or 1
    seconds, gb, packs = 0.0, _PAGE_GB, dict[tuple[ImageSource, int], tuple[float, float]]()
    for plan in left:
        images = desk.shelf.images(plan)
        ready = prepare(images, image_px=plan.preparation.image_px, pack="none")
        weight, mb = desk.weight(plan, ready)
        seconds += times * (_run_seconds(plan, images, weight) + (_PROCESS_S if part.techniques else 0.0))
        gb += times * mb / 1000
        decode = len(images) * desk.decode_s(plan, ready) / cores()
        if plan.preparation.pack == "none":
            seconds += plan.recipe.epochs * decode
        else:
            whole = 2 if plan.preparation.keep == "whole" else 1  # at most, for a photo
            packs[plan.images, ready.image_px] = decode, whole * len(images) * 3 * ready.image_px**2 / 1e9
    seconds += sum(decode for decode, _ in packs.values())
    seconds += sum(one.max_seconds or 0.0 for one in {plan.distillation for plan in left} if one)
    gb += sum(size for _, size in packs.values())
    return Foreseen(name, times * len(left), times * len(plans), seconds, gb)


def _is_done(plan: Plan, part: Part, folder: Path, shelf: Shelf) -> bool:
    return (folder / "plan.toml").is_file() if part.trials else finished_run(folder, plan, shelf) is not None


def _run_seconds(plan: Plan, images: Images, weight: Weight) -> float:
    """Its epochs with their validation, and the looks at val and test that follow."""
    recipe = plan.recipe
    train, val, test = (len(images.rows(split)) for split in ("train", "val", "test"))
    if plan.selection:
        train = min(train, plan.selection.keep)
    if plan.distillation:
        train = min(train, plan.distillation.per_class * len(images.classes))
    learning = train * weight.train_s * (2 if recipe.sam else 1)
    before = train * weight.eval_s if recipe.head_first != "none" else 0.0
    before += _LR_STEPS * recipe.batch_size * weight.train_s if recipe.lr == "auto" else 0.0
    return _RUN_S + recipe.epochs * (learning + val * weight.eval_s) + before + (val + test) * weight.eval_s
