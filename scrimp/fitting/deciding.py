"""Who is tried, who goes on, for how long: every decision of a fit, and the evidence for it.

Weigh: a few timed steps say what each model takes here; what breaks a ceiling or cannot see every image is out.
Rank: heads solved on frozen features; what could not catch up is out. (Nothing is frozen where nothing is pretrained.)
Promote: those that are left train for equal time, going on from what they have, and the better half stays, by what a
longer training may be expected to make of each; the last ones, as many as can be worked on at a time, get what is left
of the budget.

All that takes time or looks at images is done on a `Bench`, so that this can be read, and played, without any.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple, Protocol

from scrimp.errors import BudgetError, ScrimpError, TrainingError
from scrimp.fitting.budget import Budget
from scrimp.fitting.candidates import Candidate
from scrimp.fitting.curves import expected
from scrimp.meter import Decision
from scrimp.scores import Measure

SHOWN = 6
"""Candidates that are measured in the end, the best on val."""

_WEIGHING_SHARE = 0.1  # of what is left may go into timing models
_RANKING_SHARE = 0.5  # of what is left may go into solving heads
_FINAL_SHARE = 0.6  # of the time for training goes to the last candidate alone
_MOST = 4  # heads that are trained on
_HALF = 0.5  # of what a head gets wrong may be put right by training all layers: a candidate that needs more is out
_FEWEST_LOOKS = 5  # at every image, from random weights
_GAINS_LITTLE = 3.0  # looks at every image, by a model that knows photos already
_OTHER_LR = 3.0  # times the usual learning rate, tried with the leader


class Weighed(NamedTuple):
    """What a model takes on this machine: seconds an image to learn and to look, size, latency at batch 1."""

    train_s: float
    eval_s: float
    mb: float
    ms: float


class Tried(NamedTuple):
    """What a stretch of work made of a candidate: the best it has been on val, the standard error of that.

    certainty: how sure it then was of the truth, see `scrimp.scores.certainty`; 0 where that has no meaning.
    stopped: whether Ctrl-C ended it.
    """

    val: float
    noise: float
    certainty: float = 0.0
    stopped: bool = False


class Bench(Protocol):
    """Where the work is done."""

    @property
    def measure(self) -> Measure:
        """What candidates are compared by."""
        ...

    @property
    def slots(self) -> int:
        """Candidates that can be worked on at a time."""
        ...

    def side_by_side(self, tasks: Sequence[Callable[[], None]]) -> None:
        """Does them all, as many at a time as there are slots."""
        ...

    def left(self) -> float:
        """Seconds until the budget is spent."""
        ...

    def spent(self) -> float:
        """Seconds that have been spent."""
        ...

    def to_finish(self, entrants: Sequence[Entrant]) -> float:
        """Seconds that scoring these, one look at test and writing will take."""
        ...

    def seconds_for(self, entrant: Entrant, split: str) -> float:
        """To look once at every image of a split, learning from it if it is "train"."""
        ...

    def to_solve(self, entrant: Entrant) -> float:
        """Seconds to look at the images that a head is solved and judged by."""
        ...

    def to_pack(self, px: int) -> float:
        """Seconds that decoding the images to a size will take; 0 where that is done."""
        ...

    def weigh(self, candidate: Candidate) -> Weighed:
        """A few timed steps."""
        ...

    def solve(self, candidate: Candidate) -> Tried:
        """The best head for its backbone as it is."""
        ...

    def train(self, candidate: Candidate, seconds: float) -> Tried:
        """Goes on from its best weights."""
        ...


@dataclass(kw_only=True)
class Entrant:
    """A candidate, what it weighs, and how good it was after how many seconds of training."""

    candidate: Candidate
    weighed: Weighed
    points: list[tuple[float, float]] = field(default_factory=list)
    noise: float = 0.0
    certainty: float = 0.0

    @property
    def name(self) -> str:
        """As the story tells it."""
        return self.candidate.name

    @property
    def val(self) -> float:
        """The best it has been on val; nothing is worse than not to have been tried."""
        return max((merit for _, merit in self.points), default=-math.inf)

    def learnt(self, seconds: float, tried: Tried) -> None:
        """One more point of its curve."""
        before = self.points[-1][0] if self.points else 0.0
        self.points.append((before + seconds, max(tried.val, self.val)))
        self.noise, self.certainty = tried.noise, tried.certainty


@dataclass(kw_only=True)
class Game:
    """The state of one fit: who is still in it, who is out, and what has been decided and why.

    solving: seconds that the last head took over those that looking at its images was thought to take.
    """

    bench: Bench
    budget: Budget
    solving: float = 1.0
    entrants: list[Entrant] = field(default_factory=list)
    dropped: list[Entrant] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    def decide(self, stage: str, verdict: str, why: str, entrant: Entrant | str = "", **evidence: float | str) -> None:
        """Writes down what was decided, by what."""
        name = entrant if isinstance(entrant, str) else entrant.name
        at = self.bench.spent()
        self.decisions.append(
            Decision(stage=stage, candidate=name, verdict=verdict, why=why, evidence=evidence, at_s=at)
        )

    def drop(self, entrant: Entrant, stage: str, why: str, **evidence: float | str) -> None:
        """It goes no further; what it has become may still win."""
        self.entrants.remove(entrant)
        self.dropped.append(entrant)
        self.decide(stage, "out", f"{entrant.name} is out: {why}", entrant, **evidence)

    def tried(self) -> list[Entrant]:
        """All that have a model to show, best first."""
        return best_first(entrant for entrant in self.entrants + self.dropped if entrant.points)

    def left_to_train(self) -> float:
        """Seconds until the finish must begin, in which the slowest of those are measured that may have to be."""
        some = self.entrants + [entrant for entrant in self.dropped if entrant.points]
        slowest = sorted(some, key=lambda entrant: -entrant.weighed.eval_s)
        return self.bench.left() - self.bench.to_finish(slowest[:SHOWN])

    def least_s(self, entrant: Entrant) -> float:
        """Seconds below which it has not even seen every image once."""
        return self.bench.seconds_for(entrant, "train") + 2 * self.bench.seconds_for(entrant, "val")

    def worth_s(self, entrant: Entrant) -> float:
        """Seconds below which it is not worth training: from random weights, one look at every image tells nothing."""
        more = 0 if entrant.candidate.pretrained else _FEWEST_LOOKS - 1
        return self.least_s(entrant) + more * self.bench.seconds_for(entrant, "train")


def best_first(entrants: Iterable[Entrant]) -> list[Entrant]:
    """In the order of val; what its images cannot tell apart, by how sure it is of the truth there.

    Each time those within one standard error of the best that is left are put in the order of certainty: few images
    tell how sure a model is much more exactly than how often it is right. The faster one of equals comes first; those
    of which nothing is known stay last, in the order they came.
    """
    left = sorted(entrants, key=lambda entrant: (-entrant.val, entrant.weighed.train_s if entrant.points else 0.0))
    ordered: list[Entrant] = []
    while left:
        best = left[0]
        alike = [e for e in left if e is best or best.val - e.val <= math.hypot(best.noise, e.noise)]
        ordered += sorted(alike, key=lambda entrant: -entrant.certainty)
        left = [entrant for entrant in left if all(entrant is not other for other in alike)]
    return ordered


def play(game: Game, candidates: Sequence[Candidate], sizes: Sequence[int]) -> None:
    """The whole game. candidates: each model once, at the first of `sizes`, those likeliest to be at hand first.

    Raises `BudgetError` when none could see every image once, what the last one raised when none could be started.
    """
    _weigh(game, candidates, sizes)
    pretrained = [entrant for entrant in game.entrants if entrant.candidate.pretrained]
    _enter_at(game, [entrant for entrant in game.entrants if not entrant.candidate.pretrained], sizes[1:])
    if pretrained:
        _rank(game, pretrained, sizes)
    _drop_the_slow(game)
    _promote(game)


# ---------------------------------------------------------------- weigh


def _weigh(game: Game, candidates: Sequence[Candidate], sizes: Sequence[int]) -> None:
    """Times each model once; what breaks a ceiling is out, but for its smaller sizes, which may be fast enough."""
    refusal: Exception = BudgetError("There is no candidate to try.")
    stop_at = -math.inf  # the first is weighed whatever it takes: it pays for importing the libraries
    for candidate in candidates:
        if game.entrants and game.bench.left() < stop_at:
            game.decide("weigh", "out", f"{candidate.name} is out: no time is left to weigh it.", candidate.name)
            continue
        try:
            weighed = game.bench.weigh(candidate)
        except (ScrimpError, RuntimeError, MemoryError) as error:
            refusal = error
            game.decide("weigh", "out", f"{candidate.name} is out: {error}", candidate.name)
            continue
        if not game.entrants:
            stop_at = game.bench.left() * (1 - _WEIGHING_SHARE)
        entrant = Entrant(candidate=candidate, weighed=weighed)
        game.entrants.append(entrant)
        game.decide(
            "weigh",
            "in",
            f"{entrant.name} learns from {1 / weighed.train_s:,.0f} images/s and weighs {weighed.mb:.3g} MB.",
            entrant,
            **weighed._asdict(),
        )
        _check_ceilings(game, entrant)
        if entrant not in game.entrants:
            _enter_at(game, [entrant], [px for px in sizes if px < candidate.px])
    if not game.entrants:
        if game.dropped:
            lightest = min(entrant.weighed.mb for entrant in game.dropped)
            fastest = min(entrant.weighed.ms for entrant in game.dropped)
            raise BudgetError(
                f"None of {len(game.dropped)} models is within {_ceilings(game.budget)}: the lightest weighs "
                f"{lightest:.3g} MB, the fastest takes {fastest:.3g} ms an image. Raise it, or try other models."
            )
        raise refusal


def _check_ceilings(game: Game, entrant: Entrant) -> None:
    weighed, budget = entrant.weighed, game.budget
    for value, allowed, unit in ((weighed.mb, budget.max_mb, "MB"), (weighed.ms, budget.max_ms, "ms an image")):
        if allowed is not None and value > allowed:
            game.drop(entrant, "weigh", f"{value:.3g} {unit} is above the ceiling of {allowed:g}.", value=value)
            return


def _ceilings(budget: Budget) -> str:
    parts = [f"{budget.max_mb:g} MB"] if budget.max_mb else []
    parts += [f"{budget.max_ms:g} ms an image"] if budget.max_ms else []
    return " and ".join(parts)


def _enter_at(game: Game, entrants: Iterable[Entrant], sizes: Sequence[int]) -> list[Entrant]:
    """The same models at other sizes, where they are not in yet; convolutions cost by the pixel."""
    more, known = [], {entrant.candidate for entrant in game.entrants + game.dropped}
    for entrant in list(entrants):
        for px in sizes:
            if entrant.candidate.at(px) in known:
                continue
            factor = (px / entrant.candidate.px) ** 2
            old = entrant.weighed
            grown = Weighed(old.train_s * factor, old.eval_s * factor, old.mb, old.ms * factor)
            more.append(Entrant(candidate=entrant.candidate.at(px), weighed=grown))
    game.entrants += more
    for entrant in more:
        _check_ceilings(game, entrant)
    return [entrant for entrant in more if entrant in game.entrants]


# ---------------------------------------------------------------- rank


def _rank(game: Game, pretrained: Sequence[Entrant], sizes: Sequence[int]) -> None:
    """Solves the heads, the cheapest first, then those of the better half at other sizes; drops the hopeless."""
    until = game.bench.spent() + game.left_to_train() * _RANKING_SHARE
    pretrained = [entrant for entrant in pretrained if entrant in game.entrants]
    # Those that differ by less than a factor of 2 stay in the order in which they were named.
    _solve_all(game, sorted(pretrained, key=lambda entrant: round(math.log2(entrant.weighed.eval_s))), until)
    ranked = best_first(entrant for entrant in pretrained if entrant in game.entrants)
    if ranked and len(sizes) > 1:
        _solve_all(game, _enter_at(game, ranked[: math.ceil(len(ranked) / 2)], sizes[1:]), until)
    if not game.entrants:
        raise TrainingError("No head could be solved. " + " ".join(one.why for one in game.decisions))
    if ranked:
        _drop_the_hopeless(game)


def _solve_all(game: Game, entrants: Sequence[Entrant], until: float) -> None:
    game.bench.side_by_side([partial(_solve, game, entrant, until) for entrant in entrants])


def _solve(game: Game, entrant: Entrant, until: float) -> None:
    looks = game.bench.to_solve(entrant)
    packing = game.bench.to_pack(entrant.candidate.px)
    would_take = looks * game.solving + packing
    if game.tried() and game.bench.spent() + would_take > until and not _nothing_better_to_do(game, would_take):
        why = f"no time is left to solve its head ({would_take:.1f} s)."
        game.drop(entrant, "rank", why, would_take_s=would_take)
        return
    before = game.bench.spent()
    try:
        tried = game.bench.solve(entrant.candidate)
    except (ScrimpError, RuntimeError, MemoryError) as error:
        game.drop(entrant, "rank", str(error))
        return
    took = game.bench.spent() - before
    game.solving = max(took - packing, 1e-3) / looks
    entrant.learnt(max(took, 1e-3), tried)
    said = game.bench.measure.phrase(tried.val)
    why = f"{entrant.name}, its head alone: {said} on val, after {took:.1f} s."
    evidence = {"val": tried.val, "noise": tried.noise, "certainty": tried.certainty, "took_s": took}
    game.decide("rank", "in", why, entrant, **evidence)


def _nothing_better_to_do(game: Game, seconds: float) -> bool:
    """Whether there is time for a head, and so little that training the best so far would hardly gain as much."""
    left = game.left_to_train()
    return seconds <= left < _GAINS_LITTLE * game.bench.seconds_for(game.tried()[0], "train")


def _drop_the_hopeless(game: Game) -> None:
    """Those that stay behind the best head even where training puts half of their errors right, and all but a few."""
    solved = [entrant for entrant in game.entrants if entrant.points]
    ranked = best_first(solved)
    best = max(solved, key=lambda entrant: entrant.val)
    for place, entrant in enumerate(ranked):
        hoped = 1 - _HALF * (1 - entrant.val) + math.hypot(entrant.noise, best.noise)
        said = game.bench.measure.phrase(entrant.val)
        if hoped < best.val:
            why = f"even half of its errors less than {said} would not catch up with {best.name}."
            game.drop(entrant, "rank", why, val=entrant.val, hoped=hoped, best=best.val)
        elif place >= _MOST:
            why = f"{said} is not among the first {_MOST}."
            game.drop(entrant, "rank", why, val=entrant.val, certainty=entrant.certainty, place=place + 1)


# ---------------------------------------------------------------- promote


def _drop_the_slow(game: Game) -> None:
    """Keeps as many as can learn something within their share of the first round.

    The worst go first; of those that have no head to show, the ones that were named last.
    """
    left = game.left_to_train()
    fastest = min(game.entrants, key=game.least_s)
    if game.least_s(fastest) > left and not any(entrant.points for entrant in game.entrants):
        enough = math.ceil(game.bench.spent() + game.bench.left() + game.least_s(fastest) - left)
        raise BudgetError(
            f"The budget is too small: the fastest candidate, {fastest.name}, takes {game.least_s(fastest):.1f} s to "
            "see every image once, beside reading, weighing and measuring. The smallest that would do is about "
            f"{enough} s; or give fewer images (--per-class) or smaller ones (--image-size)."
        )
    can = [entrant for entrant in game.entrants if game.worth_s(entrant) <= left] or [fastest]
    for entrant in [entrant for entrant in game.entrants if entrant not in can]:
        worth = game.worth_s(entrant)
        why = f"{worth:.0f} s, {_what_for(entrant)}, are more than the {left:.0f} s that are left."
        game.drop(entrant, "promote", why, worth_s=worth, left_s=left)
    game.entrants = best_first(game.entrants)
    while len(game.entrants) > 1:
        slowest, share = max(game.entrants, key=game.worth_s), _first_share(game)
        worth = game.worth_s(slowest)
        if worth <= share:
            break
        why = (
            f"{worth:.0f} s, {_what_for(slowest)}, are more than a share of {share:.0f} s, which is what each of "
            f"{len(game.entrants)} would get."
        )
        game.drop(game.entrants[-1], "promote", why, worth_s=worth, share_s=share)


def _what_for(entrant: Entrant) -> str:
    times = "once" if entrant.candidate.pretrained else f"{_FEWEST_LOOKS} times"
    return f"in which {entrant.name} sees every image {times}"


def _rounds(game: Game) -> int:
    """Before the last, for which no more are left than can train at a time."""
    return max(0, math.ceil(math.log2(len(game.entrants) / game.bench.slots)))


def _turns(game: Game) -> int:
    """One after the other, until each has trained once."""
    return math.ceil(len(game.entrants) / game.bench.slots)


def _first_share(game: Game) -> float:
    rounds = _rounds(game)
    whole = game.left_to_train()
    return whole * (1 - _FINAL_SHARE) / rounds / _turns(game) if rounds else whole


def _promote(game: Game) -> None:
    """Halves the field until those that are left can train at a time, then gives them all the time there is."""
    _try_another_rate(game)
    rounds = _rounds(game)
    for number in range(1, rounds + 1):
        if len(game.entrants) <= game.bench.slots:
            break
        # What is left is shared anew each round, so that earlier overruns never add up.
        rounds_left = rounds - number + 1
        final = game.left_to_train() * _FINAL_SHARE / (_FINAL_SHARE + (1 - _FINAL_SHARE) * rounds_left / rounds)
        share = (game.left_to_train() - final) / rounds_left / _turns(game)
        game.bench.side_by_side([partial(_go_on, game, entrant, share) for entrant in game.entrants])
        _halve(game, number, share)
    seconds = game.left_to_train()
    going: list[Entrant] = []
    for last in game.entrants:
        if seconds < game.least_s(last) and last.points:
            why = f"{seconds:.1f} s are too few to go on with {last.name}."
            game.decide("promote", "stays", why, last, left_s=seconds)
        else:
            game.decide(
                "promote", "last", f"{last.name} gets the {seconds:.0f} s that are left.", last, seconds=seconds
            )
            going.append(last)
    game.bench.side_by_side([partial(_go_on, game, last, seconds) for last in going])


def _try_another_rate(game: Game) -> None:
    """The leader enters with another learning rate too, where everybody's share still shows every image twice."""
    leader = best_first(game.entrants)[0]
    twin = Entrant(
        candidate=replace(leader.candidate, lr_times=_OTHER_LR),
        weighed=leader.weighed,
        points=list(leader.points),
        noise=leader.noise,
        certainty=leader.certainty,
    )
    game.entrants.append(twin)
    share = _first_share(game)
    if share < 2 * max(map(game.least_s, game.entrants)):
        game.entrants.remove(twin)
        return
    why = f"{leader.name} is tried with {_OTHER_LR:g} times the learning rate as well."
    game.decide("promote", "in", why, twin, share_s=share)


def _go_on(game: Game, entrant: Entrant, seconds: float) -> None:
    before = game.bench.spent()
    try:
        tried = game.bench.train(entrant.candidate, seconds)
    except (ScrimpError, RuntimeError, MemoryError) as error:
        if not entrant.points:
            game.drop(entrant, "promote", f"it failed: {error}")
        else:
            game.decide("promote", "failed", f"{entrant.name} failed, and stays as it was: {error}", entrant)
        return
    took = game.bench.spent() - before
    entrant.learnt(max(took, 1e-3), tried)
    why = f"{entrant.name} trained for {took:.1f} s: {game.bench.measure.phrase(entrant.val)} on val."
    evidence = {"val": entrant.val, "noise": tried.noise, "certainty": tried.certainty, "took_s": took}
    game.decide("promote", "trained", why, entrant, **evidence)
    if tried.stopped:
        raise KeyboardInterrupt


def _halve(game: Game, number: int, share: float) -> None:
    """By what each may be expected to be at the end of the budget."""
    left = game.left_to_train()
    ahead = {id(e): expected(e.points, e.points[-1][0] + left) for e in game.entrants}
    ranked = sorted(game.entrants, key=lambda entrant: (-ahead[id(entrant)], entrant.weighed.train_s))
    keep = math.ceil(len(ranked) / 2)
    said = game.bench.measure.phrase
    figures = ", ".join(f"{entrant.name} {said(ahead[id(entrant)])}" for entrant in ranked)
    stay = f"{keep} of {len(ranked)} go on"
    why = f"Round {number}, {share:.0f} s each; expected at the end of the budget: {figures}. {stay}."
    game.decide("promote", "round", why, seconds=share)
    for place, entrant in enumerate(ranked[keep:], start=keep + 1):
        evidence = {"val": entrant.val, "expected": ahead[id(entrant)], "seconds": entrant.points[-1][0]}
        game.drop(entrant, "promote", f"place {place} of {len(ranked)} in round {number}.", **evidence)
