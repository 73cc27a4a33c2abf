"""Where the work of a fit is done: models are timed, heads solved, candidates trained, all within one budget."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from scrimp.batches import Files, Luggage, Prepared, pack_up, prepare, unpack
from scrimp.cluster import Cluster, Place
from scrimp.cores import cores
from scrimp.cost import FREE, Cost
from scrimp.errors import BudgetError, ImageError, ScrimpError, WeightsError
from scrimp.fitting.budget import Purse
from scrimp.fitting.candidates import Candidate, recipe_for
from scrimp.fitting.deciding import Entrant, Tried, Weighed
from scrimp.images import Images
from scrimp.images.decode import open_row
from scrimp.images.fingerprint import fingerprint
from scrimp.meter import latency_ms
from scrimp.models import MODELS, build, size_mb, weights_at_hand
from scrimp.scores import MEASURES, Measure, score, unscorable
from scrimp.subset import select
from scrimp.subset.selection import some_at_random
from scrimp.training import Epoch, Recipe, Trained, train
from scrimp.training.checkpoint import Weights
from scrimp.training.stage import build_model
from scrimp.training.weigh import weigh

FINISH_S = 3.0
"""Writing result and report, and ending the process."""

_TIMING_S = 0.6  # timing one candidate's forward pass
_PACKING_SHARE = 0.3  # of the budget may go into decoding
_FEWEST_TARGETS = 10  # count as many classes, where images have a number instead of one
_HEAD_IMAGES = 4000  # training images that a head is ranked by


@dataclass(kw_only=True)
class Worked:
    """What has become of a candidate: its training so far, and its best weights."""

    trained: Trained
    best: Weights


@dataclass(kw_only=True)
class Workbench:
    """See `Bench`. scoring_s: what turning outputs on val into scores takes. cluster: where heads are solved and
    candidates trained, if not here; all else is done here, timing too.
    """

    images: Images
    purse: Purse
    out: Path
    seed: int
    scoring_s: float = 0.0
    cluster: Cluster | None = None
    elsewhere: Cost = FREE  # what its nodes have spent besides wall-clock time
    worked: dict[Candidate, Worked] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)  # hubs that did not answer
    packs: dict[int, Prepared] = field(default_factory=dict)
    packing_s: float = 0.0  # what the first of them took
    solved: dict[Candidate, Worked] = field(default_factory=dict)  # as their heads alone left them

    @property
    def measure(self) -> Measure:
        """That of the task."""
        return MEASURES[self.images.task]

    @property
    def slots(self) -> int:
        """Those of the cluster."""
        return self.cluster.slots if self.cluster else 1

    def side_by_side(self, tasks: Sequence[Callable[[], None]]) -> None:
        """A thread here for each task there."""
        if self.cluster is None:
            for task in tasks:
                task()
            return
        with ThreadPoolExecutor(self.slots) as threads:
            waiting = [threads.submit(task) for task in tasks]
            try:
                for one in waiting:
                    one.result()
            except BaseException:
                self.cluster.stop()
                threads.shutdown(cancel_futures=True)
                raise

    def left(self) -> float:
        """See `Purse.left`."""
        return self.purse.left()

    def spent(self) -> float:
        """See `Purse.spent`."""
        return self.purse.spent()

    def seconds_for(self, entrant: Entrant, split: str) -> float:
        """By what was timed, for all images of the split."""
        rate = entrant.weighed.train_s if split == "train" else entrant.weighed.eval_s
        return rate * int((self.images.splits == split).sum())

    def to_solve(self, entrant: Entrant) -> float:
        """Once at some of the training images, twice at val: for the features, and as the model then is."""
        train, val = (len(self.images.rows(split)) for split in ("train", "val"))
        return entrant.weighed.eval_s * (min(train, _HEAD_IMAGES) + 2 * val)

    def to_finish(self, entrants: Sequence[Entrant]) -> float:
        """Each is scored on val, the winner once more, to be recalibrated, and on test."""
        looks = sum(_TIMING_S + self.scoring_s + self.seconds_for(entrant, "val") for entrant in entrants)
        last = max((self.seconds_for(e, "val") + self.seconds_for(e, "test") for e in entrants), default=0.0)
        larger = len(self.images.rows("test")) / max(1, len(self.images.rows("val")))
        return FINISH_S + looks + last + larger * self.scoring_s

    def ready(self, px: int) -> Prepared:
        """The images at a size, packed when they are first asked for."""
        if px not in self.packs:
            before = self.spent()
            self.packs[px] = prepare(self.images, image_px=px)
            self.images = replace(self.packs[px].images, cost=self.images.cost)
            self.packing_s = self.packing_s or self.spent() - before
        return self.packs[px]

    def to_pack(self, px: int) -> float:
        """As long as the first size took: decoding outweighs resizing."""
        return 0.0 if px in self.packs else self.packing_s

    def weigh(self, candidate: Candidate) -> Weighed:
        """Raises `WeightsError` at once for weights of a hub that has not answered before."""
        ready, images = self.ready(candidate.px), self.images
        away = candidate.pretrained and not weights_at_hand(candidate.model)
        hub = MODELS[candidate.model].source if away and candidate.model in MODELS else ""
        if hub in self.silent:
            raise WeightsError(f"its weights are not here, and {hub}'s hub cannot be reached.")
        try:
            model = build(
                candidate.model,
                classes=images.outputs,
                image_px=candidate.px,
                pretrained=candidate.pretrained,
                seed=self.seed,
            )
        except WeightsError:
            self.silent |= {hub} if hub else set()
            raise
        # Tens of seconds hold a second for each; a small budget holds less.
        weight = weigh(model, ready, self._recipe(candidate), at_most_s=min(1.0, self.left() / 100))
        return Weighed(weight.train_s, weight.eval_s, size_mb(model), latency_ms(model, ready))

    def solve(self, candidate: Candidate) -> Tried:
        """On some of the training images where there are many."""
        head_alone = {"epochs": 0, "head_first": "logistic", "freeze": "backbone", "average": "none", "px_start": 1.0}
        recipe = self._recipe(candidate).but(**head_alone)
        if self.cluster:
            trained = self._train_there(candidate, recipe, None, _HEAD_IMAGES)
        else:
            ready = some_of(self.ready(candidate.px), _HEAD_IMAGES, self.seed)
            trained = replace(train(ready, recipe, out=self._folder(candidate)), ready=self.ready(candidate.px))
        self.worked[candidate] = self.solved[candidate] = Worked(trained=trained, best=_weights(trained))
        return self._tried(candidate)

    def train(self, candidate: Candidate, seconds: float) -> Tried:
        """Goes on from its best weights; of another learning rate, from the head that was solved."""
        before = self.worked.get(candidate) or self.solved.get(replace(candidate, lr_times=1.0))
        recipe = self._recipe(candidate).but(max_seconds=max(seconds, 1e-3))
        if self.cluster:
            trained = self._train_there(candidate, recipe, before.best if before else None)
        else:
            model = None
            if before is not None:
                model = before.trained.model if candidate in self.worked else deepcopy(before.trained.model)
                model.load_state_dict(before.best)
            trained = train(self.ready(candidate.px), recipe, out=self._folder(candidate), model=model)
        gained = before is None or _top(trained) >= _top(before.trained)
        best = before.best if before and not gained else _weights(trained)
        trained.model.load_state_dict(best)
        joined = trained if before is None else _joined(before.trained, trained, gained)
        self.worked[candidate] = Worked(trained=joined, best=best)
        return self._tried(candidate)._replace(stopped=trained.status == "interrupted")

    def _train_there(
        self, candidate: Candidate, recipe: Recipe, start: Weights | None, most: int | None = None
    ) -> Trained:
        """On some node, from these weights, on `most` training images; ends in time even if it is started twice."""
        assert self.cluster is not None
        with self.cluster.lock:
            ready = self.ready(candidate.px)
            some = some_of(ready, most, self.seed) if most else ready
            luggage, files = pack_up(some)
            sent = self.cluster.send((luggage.pack, most), luggage), self.cluster.send(luggage.pack, files)
        until = self.spent() + (recipe.max_seconds or math.inf)
        made: dict[str, Any] = self.cluster.run(
            _train_on_node,
            (*sent, recipe, start),
            self._folder(candidate),
            stop=lambda _: "its time is up" if self.spent() > until else "",
        )
        with self.cluster.lock:
            self.elsewhere += replace(made["cost"], seconds=0.0, usd=0.0)
        return Trained(**made, ready=ready, folder=self._folder(candidate))

    def _recipe(self, candidate: Candidate) -> Recipe:
        return recipe_for(candidate, len(self.images.rows("train")), seed=self.seed, task=self.images.task)

    def _tried(self, candidate: Candidate) -> Tried:
        trained = self.worked[candidate].trained
        best = next(epoch for epoch in trained.history if epoch.epoch == trained.best_epoch)
        val, count = best.val_score, len(self.images.rows("val"))
        # Of a share of right answers; for other measures it is a scale to go by.
        noise = math.sqrt(max(val * (1 - val), 0.25 / count) / count)
        return Tried(val, noise, best.val_certainty or 0.0)

    def _folder(self, candidate: Candidate) -> Path:
        times = "" if candidate.lr_times == 1 else f"-lr{candidate.lr_times:g}"
        return self.out / f"{candidate.model.replace(':', '-')}-{candidate.px}px{times}"


def _train_on_node(
    luggage: Luggage,
    files: Files,
    recipe: Recipe,
    start: Weights | None,
    *,
    folder: Path,
    stop: Callable[[Sequence[Epoch]], str],
    place: Place,
) -> dict[str, Any]:
    """All of `Trained` but what means nothing elsewhere."""
    ready = unpack(luggage, files)
    model = None
    if start is not None:
        model = build_model(ready, recipe.but(pretrained=False, norm_stats="learn"))
        model.load_state_dict(start)
    trained = train(ready, recipe, out=folder, model=model, stop=stop)
    trained.model.cpu()
    told = replace(trained, notes=(*trained.notes, place.told))
    return {part.name: getattr(told, part.name) for part in fields(told) if part.name not in ("ready", "folder")}


def _weights(trained: Trained) -> Weights:
    return {name: value.clone() for name, value in trained.model.state_dict().items()}


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


# ---------------------------------------------------------------- how many images, of what size


def some_of(ready: Prepared, count: int, seed: int) -> Prepared:
    """The same with no more than so many training images, as many a class; the others are in no split."""
    images = ready.images
    if len(images.rows("train")) <= count:
        return ready
    kept = set(select(images, keep=count, balance="fill", seed=seed).keys)
    spare = [split == "train" and key not in kept for split, key in zip(images.splits, images.keys, strict=True)]
    splits = np.where(spare, "", images.splits)
    name = fingerprint(images.fingerprint, f"some {count} {seed}")
    return replace(ready, images=replace(images, splits=splits, fingerprint=name))


def native_px(images: Images) -> float:
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


def seconds_to_score(images: Images) -> float:
    """Tried on random outputs for val."""
    rows, task = images.rows("val"), images.task
    if unscorable(task, images.labels[rows]):
        return 0.0
    start = time.perf_counter()
    outputs = np.random.default_rng(0).standard_normal((len(rows), images.outputs))
    score(task, images.labels[rows], outputs, len(images.classes))
    return time.perf_counter() - start


def what_can_be_decoded(images: Images, px: int, purse: Purse, seed: int) -> Images:
    """All images, or as many training images per class as can be packed in a fair part of what is left."""
    some = range(0, len(images), max(1, len(images) // 24))[:24]
    start = time.perf_counter()
    for row in some:
        with contextlib.suppress(ScrimpError):
            open_row(images, row, draft_px=px)
    per_image = (time.perf_counter() - start) / len(some) / cores()
    left = purse.left()
    affordable = math.inf if math.isinf(left) else int(left * _PACKING_SHARE / max(per_image, 1e-9))
    others = len(images) - len(images.rows("train"))
    if len(images) <= affordable:
        return images
    fewest = 2 * (len(images.classes) or _FEWEST_TARGETS)
    if affordable - others < fewest:
        least = (others + fewest) * per_image / _PACKING_SHARE
        raise BudgetError(
            f"The budget is too small: decoding {len(images):,} images takes about {len(images) * per_image:.1f} s, "
            f"{purse.spent():.1f} s are spent and {left:.1f} s are left. The smallest that would do is about "
            f"{math.ceil(purse.spent() + least + FINISH_S)} s."
        )
    return select(images, keep=int(affordable) - others, balance="fill", seed=seed)


def within_labels(images: Images, most: int, seed: int) -> Images:
    """No more labels than that in train and val together, each giving up the same share, class by class.

    Raises `BudgetError` where a class would have none left to learn from or none to choose by.
    """
    counts = {split: len(images.rows(split)) for split in ("train", "val")}
    if sum(counts.values()) <= most:
        return images
    val = max(1, round(most * counts["val"] / sum(counts.values())))
    least = len(images.classes) or 1
    if most - val < least:
        raise BudgetError(
            f"max_labels={most} leaves {most - val} images to learn from, fewer than one for each of {least} classes."
        )
    kept_val = some_at_random(images, images.rows("val"), val, seed)
    rows = np.sort(np.concatenate([images.rows("train"), kept_val, images.rows("test")]))
    return select(images.only(rows), keep=most - val, balance="fill", seed=seed)
