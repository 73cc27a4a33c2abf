"""Spends a budget on the candidates that earn it, and hands back the best model it bought."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from scrimp.cluster import Cluster, connected
from scrimp.cost import Stopwatch, shared_sensor
from scrimp.errors import SettingError, TrainingError, WeightsError
from scrimp.fitting.budget import Budget, Purse
from scrimp.fitting.candidates import FROM_SCRATCH, PHOTO_SIZES, PRETRAINED, SMALL_PX, Candidate, has_weights
from scrimp.fitting.curves import expected
from scrimp.fitting.deciding import SHOWN, Entrant, Game, play
from scrimp.fitting.working import Workbench, native_px, seconds_to_score, what_can_be_decoded, within_labels
from scrimp.images import Images
from scrimp.meter import Run, look_at_test, measure
from scrimp.models import weights_at_hand
from scrimp.models.saved import save_model
from scrimp.store import write_whole
from scrimp.sweeping import to_csv
from scrimp.tradeoff import Chosen, compare
from scrimp.training import Recipe, Trained
from scrimp.training.hardware import keep_freed_memory
from scrimp.training.heads import calibrate

_JITTER = 1.1  # times a ceiling of milliseconds: measured twice, a model never takes the same time


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
    on: str = "here",
) -> Chosen:
    """The best model that the budget buys, by the task's measure, chosen on val, with one look at test at the end.

    models, image_sizes: what may be tried; by default a list that suits the size of the images.
    started: `time.perf_counter()` when spending began; by default now, less what finding the images took.
    on: "ray" or "ray://HOST:10001" has heads solved and candidates trained on a Ray cluster, as many at a time as it
    takes, and all of its nodes, each at `usd_per_hour`, paid for from beginning to end; see `scrimp.cluster`. Not for
    a budget of watt-hours.
    Everything counts: decoding, weighing, losing candidates, measuring. Ctrl-C hands back the best so far.
    Raises `BudgetError`, naming the smallest that would do, when no candidate could see every image once, or when none
    is within the ceilings.
    """
    began = time.perf_counter() - images.cost.seconds if started is None else started
    if budget.wh is not None and on != "here":
        raise SettingError(
            f"Budget: wh={budget.wh:g} is read off this machine's sensor, which does not see what the nodes of "
            f"on='{on}' use: give time or dollars, or fit here."
        )
    for name in models:
        Recipe(model=name)  # refuses a name that is not known before anything is spent on it
    sensor = shared_sensor()
    with Stopwatch(sensor) as watch, ExitStack() as stack:
        cluster = None if on == "here" else stack.enter_context(connected(on, runs=1))  # each has a node to itself
        rate = usd_per_hour and usd_per_hour * (cluster.nodes if cluster else 1)
        purse = Purse(budget, began, rate, sensor.read_wh)
        game, bench = _set_up(images, purse, Path(out), seed, list(image_sizes), cluster)
        try:
            _play(game, bench, list(models), list(image_sizes), pretrained)
        except KeyboardInterrupt:
            game.decide("finish", "stopped", "Stopped by Ctrl-C: the best so far is kept.")
        try:
            named, winner = _measure(game, bench, usd_per_hour)
        except KeyboardInterrupt:
            game.decide("finish", "stopped", "Stopped by Ctrl-C: only the best on val is measured.")
            named, winner = _measure(game, bench, usd_per_hour, shown=1)
    bill = (images.cost + watch.cost).priced(rate)
    if cluster:
        bill += bench.elsewhere
        game.decide("finish", "spread", f"On {cluster.nodes} nodes, {cluster.slots} candidates at a time.")
    game.decide("finish", "spent", f"Spent {purse.spent():.0f} s{_of_what(purse)}.")
    named = {name: _with_decisions(run, game) if run is winner else run for name, run in named.items()}
    write_whole(Path(out) / "runs.csv", to_csv(list(named.values())).encode())
    return _compare(named, budget, story=[one.why for one in game.decisions], bill=bill)


def _set_up(
    images: Images, purse: Purse, out: Path, seed: int, image_sizes: list[int], cluster: Cluster | None
) -> tuple[Game, Workbench]:
    """The images that labels and time allow, and an empty field."""
    keep_freed_memory(purse.left())
    most = purse.budget.max_labels
    labelled = images if most is None else within_labels(images, most, seed)
    used = what_can_be_decoded(labelled, _sizes(labelled, image_sizes)[0], purse, seed)
    bench = Workbench(images=used, purse=purse, out=out, seed=seed, scoring_s=seconds_to_score(used), cluster=cluster)
    game = Game(budget=purse.budget, bench=bench)
    told = "More labels are not allowed", "Decoding all would not fit"
    for before, after, why in ((images, labelled, told[0]), (labelled, used, told[1])):
        had, has = len(before.rows("train")), len(after.rows("train"))
        if had != has:
            game.decide("weigh", "fewer", f"{why}: {has:,} of {had:,} training images are used.", images=has)
    return game, bench


def _sizes(images: Images, asked: list[int]) -> list[int]:
    return asked or ([32] if native_px(images) <= SMALL_PX else list(PHOTO_SIZES))


def _play(game: Game, bench: Workbench, models: list[str], image_sizes: list[int], pretrained: bool) -> None:
    """With pretrained weights where they suit and can be had, else from scratch."""
    sizes = _sizes(bench.images, image_sizes)
    small = native_px(bench.images) <= SMALL_PX
    if pretrained and (models or not small):
        # Weights that lie here go first, so that a hub that does not answer costs nothing but its own models.
        names = sorted(models or PRETRAINED, key=lambda name: not weights_at_hand(name))
        try:
            play(game, [Candidate(model=name, px=sizes[0], pretrained=has_weights(name)) for name in names], sizes)
            return
        except WeightsError:
            if models:
                raise
            told = "No pretrained weights can be had here: every candidate starts from scratch."
            game.decide("weigh", "from scratch", told)
    play(game, [Candidate(model=name, px=sizes[0], pretrained=False) for name in models or FROM_SCRATCH], sizes)


def _measure(
    game: Game, bench: Workbench, usd_per_hour: float | None, *, shown: int = SHOWN
) -> tuple[dict[str, Run], Run]:
    """Scores those that matter on val; the one that is best there, within the ceilings, is recalibrated on it and looks
    at test. Returns the runs by the names of their candidates, and the winner's.
    """
    tried = [entrant for entrant in game.tried() if entrant.candidate in bench.worked]  # a twin may never have begun
    if not tried:
        raise TrainingError("No candidate could be trained. " + " ".join(one.why for one in game.decisions))
    runs: dict[str, tuple[Entrant, Run]] = {}
    for entrant in tried[:shown]:
        trained = bench.worked[entrant.candidate].trained
        trained.model.load_state_dict(bench.worked[entrant.candidate].best)
        _save(trained)  # its last stretch, which lies there, may have been a worse one
        run = measure(trained, usd_per_hour=usd_per_hour, test=False)
        if not _breaks_a_ceiling(game, entrant, run):
            runs[entrant.name] = entrant, run
    if not runs:
        raise SettingError("Measured in the end, no candidate is within the ceilings; raise them.")
    chosen = _compare({name: run for name, (_, run) in runs.items()}, game.budget)
    entrant = next(entrant for entrant, run in runs.values() if run is chosen.best)
    trained = bench.worked[entrant.candidate].trained
    temperature = calibrate(trained.model, trained.ready)
    _save(trained)
    # One temperature for all changes no answer: what was found on val holds.
    winner = look_at_test(chosen.best, trained.ready, usd_per_hour=usd_per_hour)
    why = f"{entrant.name} wins, chosen on val" + ("." if temperature is None else f"; temperature {temperature:.2f}.")
    game.decide(
        "finish", "wins", why, entrant, val=entrant.val, **({"temperature": temperature} if temperature else {})
    )
    _tell_of_more(game, bench, entrant)
    return {name: winner if run is chosen.best else run for name, (_, run) in runs.items()}, winner


def _compare(named: dict[str, Run], budget: Budget, **told: Any) -> Chosen:
    """By the names of the candidates, by which equals are put in order, here as in the end."""
    names = {run.plan.variant: name for name, run in named.items()}
    return compare(named.values(), names=names, prefer=budget.prefer, **told)


def _save(trained: Trained) -> None:
    images, px = trained.ready.images, trained.ready.image_px
    boxed = images.boxes is not None
    save_model(trained.model, trained.folder, classes=images.classes, image_px=px, task=images.task, boxed=boxed)


def _breaks_a_ceiling(game: Game, entrant: Entrant, run: Run) -> bool:
    """Measured anew, now that it is trained; a size only estimated from another is known now."""
    allowed, found = game.budget.max_ms, run.speed.ms_per_image if run.speed else None
    if allowed is None or found is None or found <= allowed * _JITTER:
        return False
    game.decide(
        "finish", "out", f"{entrant.name} is out: measured in the end, it takes {found:.3g} ms.", entrant, ms=found
    )
    return True


def _tell_of_more(game: Game, bench: Workbench, winner: Entrant) -> None:
    """Where the next dollar would go."""
    seconds = bench.purse.seconds if math.isfinite(bench.purse.seconds) else bench.spent()
    gain = expected(winner.points, winner.points[-1][0] + seconds) - winner.val
    if gain < winner.noise:
        told = f"no more than val can tell ({gain:+.3f}, with a standard error of {winner.noise:.3f})"
    else:
        told = f"{gain:+.3f} of {bench.measure.word}"
    why = f"Twice the budget would likely buy {told}, by the curve of {winner.name}."
    game.decide("finish", "next", why, winner, expected_gain=gain, noise=winner.noise)


def _with_decisions(run: Run, game: Game) -> Run:
    assert run.folder is not None
    return run.model_copy(update={"decisions": tuple(game.decisions)}).save(Path(run.folder))


def _of_what(purse: Purse) -> str:
    return f" of {purse.seconds:.0f} s" if math.isfinite(purse.seconds) else f" for {purse.budget.wh:g} Wh at the most"
