"""What others claimed, held against our runs: one function for each kind of claim, which `check` of a claim names.

Each says what we found, and whether the claim held: None where the runs that would tell are not there. Differences are
tested by Welch's t-test where both sides were repeated with several seeds; a mean difference that the test cannot tell
from none (p of 0.05 and above) leaves the claim untold, not refuted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any, Literal, NamedTuple

from scrimp.meter import Run
from scrimp.plan import Plan
from scrimp.scores import number
from scrimp.studying.measures import MEASURED
from scrimp.studying.plans import Claim, Study
from scrimp.tradeoff import Spread

Verdict = Literal["held", "not held", "not tested here"]
HELD: Verdict = "held"
NOT_HELD: Verdict = "not held"
NOT_TESTED: Verdict = "not tested here"

SURE = 0.05
"""A difference counts as told where chance alone would make one as large less often than this."""


class Found(NamedTuple):
    """What a check found: whether the claim held (None: cannot be told), and our figure in words."""

    held: bool | None
    ours: str


class Checked(NamedTuple):
    """A claim and what became of it; `ours` says why where it was not tested."""

    says: str
    theirs: str
    verdict: Verdict
    ours: str


Check = Callable[[Claim, Sequence[Run], Study], Found]


def check(claim: Claim, runs: Sequence[Run], study: Study, lacking: Sequence[Plan] = ()) -> Checked:
    """runs: those of the claim's part that came to an end. lacking: plans of it of which there is no such run; where
    they would have a say, nothing is decided. Results of --quick are shown, but decide nothing.
    """
    found = CHECKS[claim.check](claim, runs, study)
    if found.held is None:
        return Checked(claim.says, claim.theirs, NOT_TESTED, found.ours)
    if missing := sum(_has_a_say(plan, claim) for plan in lacking):
        of = "1 run that belongs to it is" if missing == 1 else f"{missing} runs that belong to it are"
        return Checked(claim.says, claim.theirs, NOT_TESTED, f"{of} missing: {found.ours}")
    if study.is_quick and not claim.bill:
        return Checked(claim.says, claim.theirs, NOT_TESTED, f"too short a run to tell: {found.ours}")
    return Checked(claim.says, claim.theirs, HELD if found.held else NOT_HELD, found.ours)


def welch(ours: Sequence[float], others: Sequence[float]) -> float | None:
    """How likely chance alone makes means differ as much or more, 0 to 1, by Welch's two-sided t-test (Welch 1947).

    None where a side has fewer than two values, or no value differs from another of its side.
    """
    if min(len(ours), len(others)) < 2 or (len(set(ours)) == 1 and len(set(others)) == 1):
        return None
    from scipy.stats import ttest_ind

    return float(ttest_ind(ours, others, equal_var=False).pvalue)


def matching(runs: Sequence[Run], wanted: Mapping[str, Any]) -> list[Run]:
    """The runs whose plans have these settings, by dotted names; a list of values takes any, "" none."""
    return [run for run in runs if _fits(run.plan, wanted)]


def said(values: Sequence[float], measure: str) -> str:
    """Mean, spread and number of values of a measure, in words: "91.2 % ± 0.3 (n = 3)"."""
    mean, sd, n = Spread.of(values)
    unit = MEASURED[measure].unit
    if unit == "share":
        return f"{100 * mean:.1f} %" + ("" if sd is None else f" ± {100 * sd:.1f}") + f" (n = {n})"
    amount = f"{number(mean)} {unit}".strip() if unit != "$" else f"${number(mean)}"
    return amount + ("" if sd is None else f" ± {number(sd)}") + f" (n = {n})"


# ---------------------------------------------------------------- the checks


def untested(claim: Claim, runs: Sequence[Run], study: Study) -> Found:
    """What nothing here can tell."""
    return Found(None, "nothing here tells")


def highest(claim: Claim, runs: Sequence[Run], study: Study) -> Found:
    """`of` has the highest mean of the measure among the models of the part, and can be told from the next."""
    groups = _by_model(runs, claim.measure)
    names = {run.plan.recipe.model for run in matching(runs, claim.of)} & groups.keys()
    if len(names) != 1 or len(groups) < 2:
        return _missing(claim)
    [name] = names
    best_other = max((other for other in groups if other != name), key=lambda other: fmean(groups[other]))
    text = f"{name} {said(groups[name], claim.measure)}, {best_other} {said(groups[best_other], claim.measure)}"
    return _told(groups[name], groups[best_other], 0.0, text)


def above(claim: Claim, runs: Sequence[Run], study: Study) -> Found:
    """The mean of `of` is above that of `against`, by `figure` or more."""
    ours, others = _values(claim.of, claim, runs), _values(claim.against, claim, runs)
    if not ours or not others:
        return _missing(claim)
    text = f"{said(ours, claim.measure)} against {said(others, claim.measure)}"
    return _told(ours, others, claim.figure, text)


def changes(claim: Claim, runs: Sequence[Run], study: Study) -> Found:
    """The mean of `of` differs from that of `against` by the share `figure`, give or take `within`."""
    ours, others = _values(claim.of, claim, runs), _values(claim.against, claim, runs)
    if not ours or not others or not fmean(others):
        return _missing(claim)
    change = fmean(ours) / fmean(others) - 1
    text = f"{change:+.0%}: {said(ours, claim.measure)} against {said(others, claim.measure)}"
    return Found(abs(change - claim.figure) <= claim.within, text)


def reaches(claim: Claim, runs: Sequence[Run], study: Study) -> Found:
    """The best of `of` has a mean of `figure` or more, chosen on val."""
    groups: dict[str, list[Run]] = {}
    for run in matching(runs, claim.of):
        groups.setdefault(run.plan.variant, []).append(run)
    if not groups:
        return _missing(claim)
    best = max(groups.values(), key=lambda group: fmean(run.val.merit for run in group if run.val))
    values = _read(best, claim.measure)
    if not values:
        return _missing(claim)
    return Found(fmean(values) >= claim.figure, f"{best[0].plan.recipe.model} {said(values, claim.measure)}")


def near_chance(claim: Claim, runs: Sequence[Run], study: Study) -> Found:
    """The mean test accuracy of `of` is within `within` of that of guessing one of the classes."""
    ours = _values(claim.of, claim, runs)
    if not ours:
        return _missing(claim)
    chance = 1 / len(runs[0].classes)
    text = f"{said(ours, claim.measure)}, and one of {len(runs[0].classes)} guessed {100 * chance:.1f} %"
    return Found(fmean(ours) <= chance + claim.within, text)


def still_rising(claim: Claim, runs: Sequence[Run], study: Study) -> Found:
    """The last epoch is the best on val, in most of the runs of `of`."""
    histories = [run.history for run in matching(runs, claim.of) if len(run.history) > 1]
    if not histories:
        return _missing(claim)
    rising = sum(max(e.val_score for e in history[:-1]) < history[-1].val_score for history in histories)
    return Found(rising > len(histories) / 2, f"the last epoch was the best in {rising} of {len(histories)} runs")


def billed(claim: Claim, runs: Sequence[Run], study: Study) -> Found:
    """The energy of a bill comes to `figure` kWh; a sum, which needs no runs."""
    kwh = study.bills[claim.bill].kwh
    if kwh is None:
        return Found(None, "the bill has no watts")
    return Found(abs(kwh - claim.figure) < 0.5, f"{kwh:,.0f} kWh")


CHECKS: Mapping[str, Check] = {
    "untested": untested,
    "highest": highest,
    "above": above,
    "changes": changes,
    "reaches": reaches,
    "near_chance": near_chance,
    "still_rising": still_rising,
    "billed": billed,
}
"""Every check by the name that a claim gives it."""


# ---------------------------------------------------------------- what they share


def _told(ours: Sequence[float], others: Sequence[float], least: float, text: str) -> Found:
    """Whether ours is above the others by `least`, with the test of just that where there is one."""
    p = welch([value - least for value in ours], others)
    held = fmean(ours) - fmean(others) > least if not least else fmean(ours) - fmean(others) >= least
    if p is None:
        return Found(held, f"{text}; untested, for want of seeds")
    text = f"{text}; Welch p = {p:.2g}"
    unsure = f"which cannot be told from a difference of {least:g}" if least else "which cannot be told apart"
    return Found(None if p >= SURE else held, f"{text}, {unsure}" if p >= SURE else text)


def _missing(claim: Claim) -> Found:
    return Found(None, f"no run of part '{claim.part}' tells" if claim.part else "no run tells")


def _values(wanted: Mapping[str, Any], claim: Claim, runs: Sequence[Run]) -> list[float]:
    return _read(matching(runs, wanted), claim.measure)


def _read(runs: Sequence[Run], measure: str) -> list[float]:
    return [value for run in runs if (value := MEASURED[measure].read(run)) is not None]


def _by_model(runs: Sequence[Run], measure: str) -> dict[str, list[float]]:
    groups: dict[str, list[float]] = {}
    for run in runs:
        value = MEASURED[measure].read(run)
        if value is not None:
            groups.setdefault(run.plan.recipe.model, []).append(value)
    return groups


def setting(plan: Plan, dotted: str) -> Any:
    """A setting of a plan by its dotted name; None where its table is not there."""
    table, _, name = dotted.partition(".")
    return getattr(getattr(plan, table), name, None)


def _fits(plan: Plan, wanted: Mapping[str, Any]) -> bool:
    return all(_has(plan, dotted, value) for dotted, value in wanted.items())


def _has(plan: Plan, dotted: str, wanted: Any) -> bool:
    value = setting(plan, dotted)
    if wanted == "":
        return value is None
    return value in wanted if isinstance(wanted, list) else bool(value == wanted)


def _has_a_say(plan: Plan, claim: Claim) -> bool:
    """Whether a run of this plan would be looked at; for the highest, all of its part are."""
    sides = [claim.of, claim.against] if claim.against else [claim.of]
    return claim.check == "highest" or any(_fits(plan, wanted) for wanted in sides)
