"""Which run is worth its price: repetitions put together, the front, ties, the winner.

Everything is chosen on val; test figures only ride along to be shown. No other room does arithmetic on results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from statistics import fmean, stdev
from typing import Any, Literal, NamedTuple

from scrimp.cost import FREE, Cost
from scrimp.errors import SettingError
from scrimp.meter import Run
from scrimp.scores import MEASURES, AnyScores, Measure, MultilabelScores, RegressScores, Scores


class Axis(NamedTuple):
    """One thing that a run costs."""

    title: str
    unit: str
    read: Callable[[Run], float | None]


AXES: dict[str, Axis] = {
    "seconds": Axis("time", "s", lambda run: run.cost.seconds),
    "cpu_seconds": Axis("processor time", "CPU-s", lambda run: run.cost.cpu_seconds),
    "wh": Axis("energy", "Wh", lambda run: run.cost.wh),
    "usd": Axis("money", "$", lambda run: run.cost.usd),
    "mb": Axis("model size", "MB", lambda run: run.size.mb if run.size else None),
    "ms": Axis("time per image", "ms", lambda run: run.speed.ms_per_image if run.speed else None),
    "memory": Axis("peak memory", "MB", lambda run: run.peak_memory_mb),
}
"""The costs that a merit can be held against."""

_PREFERRED: dict[str, str | None] = {"accuracy": None, "speed": "ms", "size": "mb"}


class Spread(NamedTuple):
    """A mean over n repetitions; `sd` is the sample standard deviation, None when n is 1."""

    mean: float
    sd: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Mean, sample standard deviation and count of one or more values."""
        return cls(fmean(values), stdev(values) if len(values) > 1 else None, len(values))


class ClassScore(NamedTuple):
    """One class of one split: its images, its score (None without images), the share given to each class.

    The score is the recall, and for labels the average precision, where no shares are known.
    """

    name: str
    images: int
    score: float | None
    shares: tuple[float, ...] = ()


class Mistake(NamedTuple):
    """How many images of the class `true` were taken for `predicted`, and what share of that class they are."""

    true: str
    predicted: str
    images: int
    share: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """The runs that differ in nothing but their seed.

    val, test: the measure of the task (see `scrimp.scores`). noise: the standard error of `val`, from the seeds where
    they were repeated, or from the number of validation images. costs: one per name in AXES, None where unknown.
    """

    name: str
    runs: tuple[Run, ...]
    val: Spread
    test: Spread | None
    noise: float
    costs: dict[str, Spread | None]

    @property
    def best_run(self) -> Run:
        """The repetition that is best on val, of those that looked at test where only some did."""
        return max(self.runs, key=lambda run: (run.test is not None, _val(run).merit))

    @property
    def epochs(self) -> Spread | None:
        """Epochs that were trained, which may be fewer than asked for; None without a history."""
        return self.spread(lambda run: run.history[-1].epoch if run.history else None)

    @property
    def epoch_seconds(self) -> Spread | None:
        """Mean seconds of an epoch, its validation included; the spread is between repetitions."""
        return self.spread(lambda run: fmean(e.seconds for e in run.history) if run.history else None)

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Mean seconds of each stage, in the order in which they ran."""
        stages = dict.fromkeys(stage for run in self.runs for stage in run.costs)
        return {s: fmean(run.costs[s].seconds if s in run.costs else 0.0 for run in self.runs) for s in stages}

    def score(self, split: Literal["val", "test"], field: str) -> Spread | None:
        """One of the further figures of the task's measure on a split, such as "macro_f1"."""
        return self.spread(lambda run: getattr(run.val if split == "val" else run.test, field, None))

    def spread(self, read: Callable[[Run], float | None]) -> Spread | None:
        """What the repetitions say about one figure; None unless every one of them knows it."""
        known = [value for run in self.runs if (value := read(run)) is not None]
        return Spread.of(known) if len(known) == len(self.runs) else None


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What came out of a comparison.

    candidates: best on val first. front: per cost, the candidates that nothing beats on both counts, cheapest first.
    winner: of those that cannot be told from the highest mean of the task's measure on val, the one that is surest of
    the truth there (see `scrimp.scores.certainty`), or the one that is preferred; ties: the others of these.
    failed: runs without a usable model. story: what a budgeted search decided, in order.
    bill: of everything together, what runs share counted once. stopped: whether Ctrl-C ended a search before its end.
    """

    candidates: tuple[Candidate, ...]
    front: dict[str, tuple[Candidate, ...]]
    winner: Candidate
    ties: tuple[Candidate, ...]
    failed: tuple[Run, ...] = ()
    story: tuple[str, ...] = ()
    bill: Cost
    stopped: bool = False

    @property
    def best(self) -> Run:
        """The winner's best run: the one to serve."""
        return self.winner.best_run

    @property
    def measure(self) -> Measure:
        """What the candidates are compared by."""
        return MEASURES[self.best.task]

    @property
    def verdict(self) -> str:
        """One or two sentences: who won, by what figures, and who ties with it."""
        return _verdict(self.winner, self.ties, self.measure)

    @property
    def reported(self) -> tuple[Literal["test", "val"], AnyScores]:
        """The split that the best run is reported on, and its scores there: test where it has one, else val."""
        if self.best.test is not None:
            return "test", self.best.test
        assert self.best.val is not None
        return "val", self.best.val

    @property
    def class_scores(self) -> tuple[ClassScore, ...]:
        """How the best run does on each class of the split it is reported on; none where there are no classes."""
        _, scores = self.reported
        names = self.best.classes
        if isinstance(scores, MultilabelScores):
            return tuple(map(ClassScore, names, scores.positives, scores.per_class))
        if isinstance(scores, RegressScores):
            return ()
        rows = zip(names, scores.per_class, scores.confusion, strict=True)
        return tuple(_class_score(name, recall, row) for name, recall, row in rows)

    @property
    def mistakes(self) -> tuple[Mistake, ...]:
        """Which classes the best run takes for which others, the most frequent mistake first; of one class an image."""
        _, scores = self.reported
        if not isinstance(scores, Scores):
            return ()
        names = self.best.classes
        found = [
            Mistake(names[true], names[predicted], count, count / sum(row))
            for true, row in enumerate(scores.confusion)
            for predicted, count in enumerate(row)
            if count and predicted != true
        ]
        return tuple(sorted(found, key=lambda mistake: (-mistake.images, -mistake.share)))

    @property
    def residuals(self) -> tuple[float, ...]:
        """What the best run said minus what was true, for the images that its scores keep one by one; of targets."""
        _, scores = self.reported
        if not isinstance(scores, RegressScores):
            return ()
        return tuple(said - true for true, said in zip(scores.truth, scores.predicted, strict=True))


def compare(
    runs: Iterable[Run],
    *,
    names: Mapping[str, str] | None = None,
    story: Sequence[str] = (),
    bill: Cost | None = None,
    prefer: Literal["accuracy", "speed", "size"] = "accuracy",
) -> Chosen:
    """Puts repetitions together and finds the front and the winner, by the task's measure on val.

    names: what to call the candidates, by `Plan.variant`; by default model, size and whatever else tells them apart.
    bill: what everything cost, where the runs' own bills do not hold it all; by default those are added up.
    prefer: of the best and those that tie with it the winner is the surest of the truth (where that is unknown, the
    best), the fastest in use or the smallest.
    Raises `SettingError` when no run was scored on val, or when the runs are of different tasks or classes.
    """
    everything = list(runs)
    usable = [run for run in everything if run.val is not None]
    failed = tuple(run for run in everything if run.val is None)
    if not usable:
        reasons = "; ".join(f"{run.plan.name}: {run.reason}" for run in failed) or "there are no runs"
        raise SettingError(f"Nothing to compare: no run was scored on val ({reasons}).")
    _same_classes(usable)
    groups: dict[str, list[Run]] = {}
    for run in usable:
        groups.setdefault(run.plan.variant, []).append(run)
    # A repetition that Ctrl-C ended is none, but where there is no other.
    groups = {key: [run for run in group if run.status != "interrupted"] or group for key, group in groups.items()}
    names = names or dict(zip(groups, _names(groups), strict=True))
    candidates = sorted(
        (_candidate(names[variant], group) for variant, group in groups.items()),
        key=lambda c: (-c.val.mean, c.name),
    )
    tied = [candidate for candidate in candidates if _tie(candidates[0], candidate)]
    axis = _PREFERRED[prefer]
    winner = _surest(tied) if axis is None else min(tied, key=lambda candidate: _price(candidate, axis))
    return Chosen(
        candidates=tuple(candidates),
        front={axis: _front(candidates, axis) for axis in AXES},
        winner=winner,
        ties=tuple(candidate for candidate in tied if candidate is not winner),
        failed=failed,
        story=tuple(story),
        bill=whole_bill(everything) if bill is None else bill,
    )


def whole_bill(runs: Sequence[Run]) -> Cost:
    """Every run's own stages, and each shared stage once for the images and size that it served."""
    own = [cost for run in runs for stage, cost in run.costs.items() if stage not in run.shared]
    shared = {
        (stage, *_served(run, stage)): run.costs[stage]
        for run in runs
        for stage in run.shared
        if stage in run.costs  # a run that failed early may have none
    }
    return sum([*own, *shared.values()], FREE)


def _served(run: Run, stage: str) -> tuple[str, str]:
    """What names the images that a shared stage served, and how it prepared them; all folds are cut from the same."""
    source, chosen = run.plan.images, run.plan.selection or run.plan.distillation
    images = run.fingerprint if source.folds is None or chosen else source.but(fold=0).model_dump_json()
    return images, run.plan.preparation.model_dump_json() if stage == "prepare" else ""


def _class_score(name: str, recall: float | None, row: Sequence[int]) -> ClassScore:
    images = sum(row)
    return ClassScore(name, images, recall, tuple(count / images if images else 0.0 for count in row))


def learning_seconds(run: Run) -> list[float]:
    """Seconds of training that had passed at the end of each epoch."""
    return list(accumulate(epoch.seconds for epoch in run.history))


def summary(chosen: Chosen) -> dict[str, Any]:
    """The comparison as plain data, for `--json` and for tables."""
    on_front = {candidate.name for front in chosen.front.values() for candidate in front}
    rows = [
        {
            "name": candidate.name,
            "wins": candidate is chosen.winner,
            "ties": candidate in chosen.ties,
            "front": candidate.name in on_front,
            "val": candidate.val._asdict(),
            "test": candidate.test._asdict() if candidate.test else None,
            "others": _others(candidate, chosen.measure),
            "costs": {axis: spread.mean if spread else None for axis, spread in candidate.costs.items()},
            "runs": [run.folder for run in candidate.runs],
        }
        for candidate in chosen.candidates
    ]
    return {
        "task": chosen.best.task,
        "measure": chosen.measure.key,
        "verdict": chosen.verdict,
        "best": chosen.best.folder,
        "val": chosen.winner.val._asdict(),
        "test": chosen.winner.test._asdict() if chosen.winner.test else None,
        "candidates": rows,
        "front": {axis: [candidate.name for candidate in front] for axis, front in chosen.front.items()},
        "failed": [{"name": run.plan.name, "reason": run.reason, "folder": run.folder} for run in chosen.failed],
        "story": list(chosen.story),
        "bill": asdict(chosen.bill),
    }


def _others(candidate: Candidate, measure: Measure) -> dict[str, dict[str, float | None]]:
    """Means of the further figures, split by split."""
    splits: tuple[Literal["val", "test"], ...] = ("val", "test")
    found = {s: {field: candidate.score(s, field) for field in measure.others} for s in splits}
    return {s: {field: spread and spread.mean for field, spread in spreads.items()} for s, spreads in found.items()}


def _val(run: Run) -> AnyScores:
    assert run.val is not None
    return run.val


def _same_classes(runs: Sequence[Run]) -> None:
    first = runs[0]
    for run in runs[1:]:
        if run.task != first.task:
            raise SettingError(
                f"'{first.plan.name}' was trained with task='{first.task}' and '{run.plan.name}' with "
                f"task='{run.task}': {MEASURES[first.task].word} and {MEASURES[run.task].word} cannot be compared."
            )
        if run.classes != first.classes:
            raise SettingError(
                f"'{first.plan.name}' knows {len(first.classes)} classes and '{run.plan.name}' knows "
                f"{len(run.classes)} others: their accuracies cannot be compared."
            )


def _names(groups: dict[str, list[Run]]) -> list[str]:
    """Short names that tell the groups apart: model and size, and whatever else differs where these do not do."""
    flat = [_flatten(group[0].plan.model_dump(mode="json")) for group in groups.values()]
    short = [f"{settings['recipe.model']} @ {settings['preparation.image_px']} px" for settings in flat]
    if len(set(short)) == len(short):
        return short
    differing = [
        key
        for key in dict.fromkeys(key for settings in flat for key in settings)
        if len({str(settings.get(key)) for settings in flat}) > 1
        and key not in {"recipe.model", "preparation.image_px", "recipe.seed", "images.fold"}
    ]
    names = []
    for name, settings in zip(short, flat, strict=True):
        names.append(", ".join([name, *(f"{key.split('.')[-1]} {settings.get(key)}" for key in differing)]))
    return names


def _flatten(tree: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _candidate(name: str, runs: Sequence[Run]) -> Candidate:
    val = Spread.of([_val(run).merit for run in runs])
    tests = [run.test.merit for run in runs if run.test is not None]
    costs: dict[str, Spread | None] = {}
    for axis, (_, _, read) in AXES.items():
        values = [read(run) for run in runs]
        known = [value for value in values if value is not None]
        costs[axis] = Spread.of(known) if len(known) == len(values) else None
    return Candidate(
        name=name,
        runs=tuple(runs),
        val=val,
        test=Spread.of(tests) if tests else None,
        noise=_standard_error(val, runs),
        costs=costs,
    )


def _standard_error(val: Spread, runs: Sequence[Run]) -> float:
    """Of the mean: between seeds and between images; the larger of the two, so that neither is forgotten.

    Every seed looks at the same images, so that repeating does not make these more; every fold looks at others.
    Infinite where none can tell.
    """
    known = [error for run in runs if (error := _val(run).standard_error) is not None]
    folds = len({run.plan.images.fold for run in runs})
    from_images = fmean(known) / math.sqrt(folds) if known else math.inf
    from_seeds = 0.0 if val.sd is None else val.sd / math.sqrt(val.n)
    return max(from_images, from_seeds)


def _surest(tied: Sequence[Candidate]) -> Candidate:
    """The one that is surest of the truth; the first where that is not known of all."""
    sure = [candidate.score("val", "certainty") for candidate in tied]
    known = [spread.mean for spread in sure if spread is not None]
    return tied[known.index(max(known))] if len(known) == len(tied) else tied[0]


def _price(candidate: Candidate, axis: str) -> float:
    """For the choice among equals, where the first of those that cost the same is taken; unknown is dearest."""
    cost = candidate.costs[axis]
    return math.inf if cost is None else cost.mean


def _tie(a: Candidate, b: Candidate) -> bool:
    """Whether the difference is within one standard error of the difference."""
    return abs(a.val.mean - b.val.mean) <= math.hypot(a.noise, b.noise)


def _front(candidates: Sequence[Candidate], axis: str) -> tuple[Candidate, ...]:
    """Those that no other beats on merit and cost at once, cheapest first; unknown costs take no part."""
    priced = [(cost.mean, c) for c in candidates if (cost := c.costs[axis]) is not None]
    front: list[Candidate] = []
    for _, candidate in sorted(priced, key=lambda pair: (pair[0], -pair[1].val.mean)):
        if not front or candidate.val.mean > front[-1].val.mean:
            front.append(candidate)
    return tuple(front)


def _verdict(winner: Candidate, ties: Sequence[Candidate], measure: Measure) -> str:
    said = f"{winner.name} wins with {measure.phrase(winner.val.mean, winner.val.sd)} on val"
    if winner.test:
        said += f" and {measure.phrase(winner.test.mean, winner.test.sd)} on test"
    if not ties:
        return said + "."
    if any(tie.val.mean > winner.val.mean for tie in ties) and _surest([winner, *ties]) is winner:
        said += ", the surest of the truth"
    cheapest = min(ties, key=lambda c: c.costs["seconds"].mean if c.costs["seconds"] else math.inf)
    others = f"{len(ties)} others tie" if len(ties) > 1 else "one other ties"
    said += f"; {others} with it, within what the number of images and seeds can tell"
    mine, its = winner.costs["seconds"], cheapest.costs["seconds"]
    if mine and its and its.mean < mine.mean:
        said += f", the cheapest being {cheapest.name} at {its.mean / mine.mean:.0%} of the time"
    return said + "."
