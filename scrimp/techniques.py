"""What each technique of a recipe buys: added to a base alone, and added last to all the others."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from scrimp.errors import SettingError
from scrimp.images.kinds import Task
from scrimp.meter import Run
from scrimp.plan import Plan
from scrimp.scores import AnyScores, Scores, number
from scrimp.sweeping import vary
from scrimp.tradeoff import Spread

Techniques = Mapping[str, Mapping[str, Any]]
"""Names of our own choice, each for the settings it stands for: {"smoothing": {"recipe.label_smoothing": 0.1}}."""

NO_EFFECT = "no effect"
UNKNOWN = "not measured"


class Figure(NamedTuple):
    """What a technique may change; the unit of a score is ""."""

    title: str
    unit: str
    read: Callable[[Run], float | None]


FIGURES: dict[str, Figure] = {
    "val": Figure("val", "", lambda run: run.val.merit if run.val else None),
    "test": Figure("test", "", lambda run: run.test.merit if run.test else None),
    "seconds": Figure("training time", "s", lambda run: run.costs["train"].seconds),
    "wh": Figure("energy of training", "Wh", lambda run: run.costs["train"].wh),
    "memory": Figure("peak memory", "MB", lambda run: run.peak_memory_mb),
    "gpu_memory": Figure("peak GPU memory", "MB", lambda run: run.peak_gpu_memory_mb),
    "ms": Figure("time per image", "ms", lambda run: run.speed.ms_per_image if run.speed else None),
}
"""Everything that is compared: judge by val; test only reports."""


class Trial(NamedTuple):
    """A plan, and what it has over the base.

    technique: what is on besides the base; with `full`, what alone is off. None: the base, or with `full` all of them.
    """

    technique: str | None
    full: bool
    plan: Plan

    @property
    def name(self) -> str:
        """What it is called wherever runs are listed."""
        return _name(self.technique, self.full)


class Effect(NamedTuple):
    """What a technique changed in one figure: with it minus without it, over pairs of runs of the same seed.

    added_to: "the base", or "all others". figure: a key of FIGURES, in `unit`. without: mean of the runs without it.
    mean, sd: of the differences; sd is the sample standard deviation, None for a single pair. n: pairs that were
    measured, of `seeds` that were asked for. verdict: "+1.2 ± 0.3 points", "no effect (…)", or why there is none.
    """

    technique: str
    added_to: str
    figure: str
    unit: str
    without: float | None
    mean: float | None
    sd: float | None
    n: int
    seeds: int
    verdict: str

    @property
    def pairs(self) -> str:
        """How many pairs there were, and of how many where some are missing."""
        return f"{self.n}" if self.n == self.seeds else f"{self.n} of {self.seeds}"


def one_at_a_time(
    base: Mapping[str, Any],
    techniques: Techniques,
    axes: Mapping[str, Sequence[Any]],
    alternatives: Techniques | None = None,
) -> list[Trial]:
    """The base, the base with each technique, the base with all of them, and that without each; for every seed.

    base: the tables of a plan. techniques: what can be on together. axes: as `vary` takes them; but for "recipe.seed"
    each has one value. alternatives: further techniques that contradict others, and are only added to the base.

    All trials of a seed come before those of the next, so that whatever disturbs the machine for a while shows as
    spread between the seeds, and not as an effect. Two techniques make trials with the same plan; see `plans_of`.

    Raises `SettingError` for a technique that changes nothing, that sets what another or an axis sets, or that
    contradicts the rest.
    """
    alternatives = alternatives or {}
    _check(techniques, alternatives, axes)
    changes: dict[tuple[str | None, bool], dict[str, Any]] = {(None, False): {}}
    changes |= {(name, False): dict(settings) for name, settings in {**techniques, **alternatives}.items()}
    if len(techniques) > 1:
        for left_out in (None, *techniques):
            others = [settings for name, settings in techniques.items() if name != left_out]
            changes[left_out, True] = {key: value for settings in others for key, value in settings.items()}
    by_seed = zip(*(_trials(*which, base, change, axes) for which, change in changes.items()), strict=True)
    trials = [trial for of_one_seed in by_seed for trial in of_one_seed]
    for trial in trials:
        if trial.technique and not trial.full and trial.plan == trials[0].plan:
            raise SettingError(f"Technique '{trial.technique}' changes nothing: the base has {_said(trial, changes)}.")
    return trials


def plans_of(trials: Sequence[Trial]) -> list[Plan]:
    """The plans of the trials, in their order, each once."""
    return list({trial.plan.name: trial.plan for trial in trials}.values())


def names_of(trials: Sequence[Trial]) -> dict[str, str]:
    """What the trials are called, by what their repetitions have in common (`Plan.variant`)."""
    return {trial.plan.variant: trial.name for trial in reversed(trials)}  # of equal ones the first has the last word


def effects(trials: Sequence[Trial], runs: Sequence[Run]) -> list[Effect]:
    """What each technique changed, figure by figure, in the order of the trials.

    runs: of the trials' plans, in any order. A run that failed, was broken off or is not there takes its pair with it:
    `n` falls below `seeds`. What either run of a pair does not know is unknown for the pair.

    "No effect" is a mean below two standard errors of the mean, by the spread between seeds or, of a score, by the
    number of images, which more seeds do not raise: the larger of the two. With three seeds that is a weak test: of
    techniques that do nothing, 18 % pass it as far as the seeds can tell.
    """
    whole = {run.plan.name: run for run in runs if run.status not in ("failed", "interrupted")}
    plans: dict[tuple[str | None, bool], list[Plan]] = {}
    for trial in trials:
        plans.setdefault((trial.technique, trial.full), []).append(trial.plan)
    found = []
    for (technique, full), changed in plans.items():
        if technique is None:
            continue
        reference = plans[None, full]
        with_it, without = (reference, changed) if full else (changed, reference)
        pairs = [
            (whole[a.name], whole[b.name])
            for a, b in zip(with_it, without, strict=True)
            if a.name in whole and b.name in whole
        ]
        task = reference[0].images.task
        found += [_effect(technique, full, name, pairs, len(reference), task) for name in FIGURES]
    return found


def to_csv(found: Sequence[Effect]) -> str:
    """One line for each effect; unknown is left empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([Effect._fields, *found])
    return text.getvalue()


def by_technique(found: Sequence[Effect]) -> dict[tuple[str, str], dict[str, Effect]]:
    """The effects by technique and what it was added to, and then by figure; without figures that nobody knows."""
    known = {effect.figure for effect in found if effect.mean is not None}
    grouped: dict[tuple[str, str], dict[str, Effect]] = {}
    for effect in found:
        if effect.figure in known:
            grouped.setdefault((effect.technique, effect.added_to), {})[effect.figure] = effect
    return grouped


# ---------------------------------------------------------------- trials


def _check(techniques: Techniques, alternatives: Techniques, axes: Mapping[str, Sequence[Any]]) -> None:
    owners: dict[str, str] = {}
    for name, settings in (*techniques.items(), *alternatives.items()):
        if not isinstance(settings, Mapping) or not settings:
            raise SettingError(
                f"Technique '{name}' must be a table of settings, such as "
                f'{name} = {{ "recipe.label_smoothing" = 0.1 }}, not {settings!r}.'
            )
        if varied := [key for key in settings if key in axes]:
            raise SettingError(f"'{varied[0]}' is set by technique '{name}' and varied too: drop one of them.")
    if both := techniques.keys() & alternatives.keys():
        raise SettingError(f"'{min(both)}' is a technique and an alternative: give one of them another name.")
    for name, settings in techniques.items():
        for key in settings:
            if key in owners:
                raise SettingError(
                    f"Techniques '{owners[key]}' and '{name}' both set {key}, so they cannot be on together: "
                    "put one of them under [alternatives]."
                )
            owners[key] = name
    for key, values in axes.items():
        if key != "recipe.seed" and len(values) > 1:
            raise SettingError(
                f"'{key}' has {len(values)} values, but beside techniques only recipe.seed is varied: sweep each alone."
            )


def _name(technique: str | None, full: bool) -> str:
    if full:
        return f"all but {technique}" if technique else "all techniques"
    return f"base + {technique}" if technique else "base"


def _trials(
    technique: str | None,
    full: bool,
    base: Mapping[str, Any],
    change: Mapping[str, Any],
    axes: Mapping[str, Sequence[Any]],
) -> list[Trial]:
    try:
        plans = vary(base, {**{key: [value] for key, value in change.items()}, **axes})
    except SettingError as error:
        raise SettingError(f"{_name(technique, full)}: {error}") from None
    return [Trial(technique, full, plan) for plan in plans]


def _said(trial: Trial, changes: Mapping[tuple[str | None, bool], Mapping[str, Any]]) -> str:
    return " and ".join(f"{key} = {value!r}" for key, value in changes[trial.technique, False].items()) + " already"


# ---------------------------------------------------------------- effects


def _effect(
    technique: str, full: bool, figure: str, pairs: Sequence[tuple[Run, Run]], seeds: int, task: Task
) -> Effect:
    _, unit, read = FIGURES[figure]
    both = [(a, b) for one, other in pairs if (a := read(one)) is not None and (b := read(other)) is not None]
    difference = Spread.of([a - b for a, b in both]) if both else None
    without = Spread.of([b for _, b in both]).mean if both else None
    scores = [score for pair in pairs for run in pair if not unit and (score := getattr(run, figure))]
    return Effect(
        technique=technique,
        added_to="all others" if full else "the base",
        figure=figure,
        unit=unit,
        without=without,
        mean=difference and difference.mean,
        sd=difference and difference.sd,
        n=len(both),
        seeds=seeds,
        verdict=_verdict(
            difference, without, _from_images(difference, scores), unit, in_points=not unit and task != "regress"
        ),
    )


def _from_images(difference: Spread | None, scores: Sequence[AnyScores]) -> float:
    """The standard error that a mean difference of scores has for their images alone; 0 of what is no score.

    At least |d| n of n images must differ for a share to differ by d, each with a variance of 1 / n². Of other scores
    their own error is taken: two of them would double the variance, but that they are of the same images halves it
    again, about. Infinite where that is not known.
    """
    if difference is None or not scores:
        return 0.0
    if isinstance(scores[0], Scores):
        return math.sqrt(abs(difference.mean) / scores[0].n)
    return fmean(math.inf if one.standard_error is None else one.standard_error for one in scores)


def _verdict(
    difference: Spread | None, without: float | None, from_images: float, unit: str, *, in_points: bool
) -> str:
    if difference is None:
        return UNKNOWN
    mean, sd, n = difference
    scale, unit = (100, "points") if in_points else (1, unit)
    text = f"{'-' if mean < 0 else '+'}{_rounded(scale * abs(mean), in_points)}"
    text += "" if sd is None else f" ± {_rounded(scale * sd, in_points)}"
    text += f" {unit}" if unit else ""
    if sd is None:
        return f"one seed: cannot tell ({text})"
    if abs(mean) <= 2 * max(sd / math.sqrt(n), from_images):
        return f"{NO_EFFECT} ({text})"
    return text + (f", {mean / without:+.0%}" if unit and not in_points and without else "")


def _rounded(value: float, in_points: bool) -> str:
    return f"{value:.1f}" if in_points else number(value)
