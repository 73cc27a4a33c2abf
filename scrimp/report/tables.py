"""The tables: what `tradeoff.py` computed, in words, with the bare figure beside each for sorting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from scrimp.meter import Run
from scrimp.report import words
from scrimp.report.figures import colour
from scrimp.scores import MEASURES, Measure
from scrimp.techniques import FIGURES, Effect, by_technique
from scrimp.tradeoff import Candidate, Chosen, Spread


class Cell(NamedTuple):
    """What is read, and what it is sorted by: a number, a text, or None for what is unknown."""

    text: str
    key: float | str | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One candidate: its number from 1, the colour it has in every chart, its figures."""

    number: int
    colour: str
    name: str
    is_winner: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of candidates. failed: names and reasons of runs that left no model."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    failed: tuple[tuple[str, str], ...] = field(default=())


Column = tuple[str, Callable[[Candidate], Cell]]


def tables(chosen: Chosen) -> list[Table]:
    """Scores, costs and models, each with one row per candidate."""
    return [scores(chosen), costs(chosen), models(chosen)]


def scores(chosen: Chosen) -> Table:
    """How well each candidate does, and what can and cannot be told apart; failed runs at the end."""
    measure = chosen.measure
    return _table(
        chosen,
        measure.title,
        "Mean ± standard deviation over the seeds. The choice is made on val; test only reports. “Ties” means that "
        f"the difference from the winner is within one standard error of that difference. {_EXPLAINED[measure.key]}",
        [
            ("val", lambda c: _score(measure, c.val)),
            ("test", lambda c: _score(measure, c.test)),
            *(_other(measure, field, split) for field in measure.others for split in _SPLITS),
            *([_CERTAINTY] if any(c.score("val", "certainty") for c in chosen.candidates) else []),
            ("seeds", lambda c: Cell(str(c.val.n), c.val.n)),
            ("place", lambda c: _text(_place(chosen, c))),
            ("on the front for", lambda c: _text(_fronts(chosen, c))),
            *([("ended", lambda c: _text(_ended(c)))] if not all(_finished(c) for c in chosen.candidates) else []),
        ],
        failed=tuple((run.plan.name, _failure(run)) for run in chosen.failed),
    )


_SPLITS: tuple[Literal["val", "test"], ...] = ("val", "test")

_EXPLAINED = {
    "top1": "Macro-F1 gives every class the same weight. Certainty is the mean probability that is given to the true "
    "class, after the temperature that suits val best: of those that tie, the surest wins.",
    "map": "mAP is the mean over the classes of average precision. Micro-F1 takes all decisions at probability 0.5 "
    "together, macro-F1 gives every class the same weight.",
    "r2": "R² is the part of the targets' variance that is explained: 1 is perfect, 0 no better than always saying the "
    "mean. MAE and RMSE are the mean absolute error and the root of the mean squared one, in the unit of the targets.",
}


def costs(chosen: Chosen) -> Table:
    """What one run of each candidate costs, and where the time goes."""
    stages = list(dict.fromkeys(stage for c in chosen.candidates for stage in c.stage_seconds))
    return _table(
        chosen,
        "Cost",
        f"Mean of one run, all stages included. {_sharing(chosen)}{energy_note(chosen)}",
        [
            ("epochs", lambda c: _bare(c.epochs)),
            ("one epoch", lambda c: _mean(c.epoch_seconds, "s")),
            ("whole time", lambda c: _mean(c.costs["seconds"], "s")),
            ("processor time", lambda c: _mean(c.costs["cpu_seconds"], "CPU-s")),
            ("energy", lambda c: _mean(c.costs["wh"], "Wh")),
            ("money", lambda c: _mean(c.costs["usd"], "$")),
            ("peak memory", lambda c: _mean(c.costs["memory"], "MB")),
            *([("peak GPU memory", _gpu_memory)] if any(_gpu_memory(c).key for c in chosen.candidates) else []),
            *((f"{stage} stage", _stage(stage)) for stage in stages),
        ],
    )


def models(chosen: Chosen) -> Table:
    """How large and how fast each candidate's model is."""
    devices = sorted({run.speed.device for c in chosen.candidates for run in c.runs if run.speed})
    where = f" Speed was measured on: {', '.join(devices)}." if devices else ""
    return _table(
        chosen,
        "Model",
        "Size of the weights; multiply-adds (MACs) for one image; median time of one image on its own, and images "
        f"per second in batches of 32.{where}",
        [
            ("input", lambda c: _px(c.best_run)),
            ("parameters", lambda c: _count(size.parameters if (size := c.best_run.size) else None)),
            ("size", lambda c: _mean(c.costs["mb"], "MB")),
            ("MACs", lambda c: _count(size.macs if (size := c.best_run.size) else None)),
            ("one image", lambda c: _mean(c.costs["ms"], "ms")),
            ("images per second", lambda c: _bare(c.spread(_images_per_second))),
            ("starts from", lambda c: _text(c.best_run.start)),
        ],
    )


class Techniques(NamedTuple):
    """What techniques bought, a row for each and what it was added to; no rows where that was not asked."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str


def techniques(effects: Sequence[Effect]) -> Techniques:
    """The effects as they are read, sorted by their means."""
    lines = by_technique(effects)
    shown = list(next(iter(lines.values()), {}))
    rows = tuple(
        (
            _text(name),
            _text(added_to),
            *(Cell(figures[f].verdict, figures[f].mean) for f in shown),
            Cell(figures["val"].pairs, figures["val"].n),
        )
        for (name, added_to), figures in lines.items()
    )
    note = (
        "With the technique minus without it: mean and standard deviation of the differences between runs of the same "
        "seed. “No effect” is a mean below two standard errors, by the spread between seeds or by the number of "
        "images. With three seeds that is a weak test: of techniques that do nothing, 18 % pass it as far as the seeds "
        "can tell. Judge by val; test only reports."
    )
    columns = ("technique", "added to", *(FIGURES[figure].title for figure in shown), "pairs")
    return Techniques(columns, rows, note)


def energy_note(chosen: Chosen) -> str:
    """Who measured the energy, and whether that is an estimate."""
    sources = energy_sources([run for candidate in chosen.candidates for run in candidate.runs])
    if not sources:
        return "Energy was not measured."
    estimate = " An estimate is no measurement: compare it within one machine only."
    said = f"Energy by {'; '.join(sources)}."
    return said + (estimate if any("estimate" in source for source in sources) else "")


def energy_sources(runs: Sequence[Run]) -> list[str]:
    """The different sensors or estimates that the runs' energy comes from."""
    return list(dict.fromkeys(s for run in runs if run.cost.wh is not None and (s := run.cost.wh_source)))


def _table(
    chosen: Chosen, title: str, note: str, columns: Sequence[Column], failed: tuple[tuple[str, str], ...] = ()
) -> Table:
    """One row per candidate, in the order of the comparison."""
    rows = tuple(
        Row(
            number=rank + 1,
            colour=colour(rank),
            name=candidate.name,
            is_winner=candidate is chosen.winner,
            cells=tuple(read(candidate) for _, read in columns),
        )
        for rank, candidate in enumerate(chosen.candidates)
    )
    return Table(title=title, note=note, columns=tuple(name for name, _ in columns), rows=rows, failed=failed)


# ---------------------------------------------------------------- cells


def _text(text: str) -> Cell:
    return Cell(text, text)


def _score(measure: Measure, spread: Spread | None, field: str = "") -> Cell:
    return Cell(words.score(measure, spread, field), spread and spread.mean)


def _other(measure: Measure, field: str, split: Literal["val", "test"]) -> Column:
    return f"{measure.others[field]}, {split}", lambda c: _score(measure, c.score(split, field), field)


_CERTAINTY: Column = "certainty, val", lambda c: _score(MEASURES["classify"], c.score("val", "certainty"))


def _mean(spread: Spread | None, unit: str) -> Cell:
    return Cell(words.amount(spread and spread.mean, unit), spread and spread.mean)


def _bare(spread: Spread | None) -> Cell:
    return Cell(words.number(spread.mean) if spread else words.UNKNOWN, spread and spread.mean)


def _count(value: int | None) -> Cell:
    return Cell(words.count(value), value)


def _images_per_second(run: Run) -> float | None:
    return run.speed.images_per_second if run.speed else None


def _px(run: Run) -> Cell:
    side = run.plan.preparation.image_px
    return Cell(f"{side} px", side)


def _gpu_memory(candidate: Candidate) -> Cell:
    return _mean(candidate.spread(lambda run: run.peak_gpu_memory_mb), "MB")


def _stage(stage: str) -> Callable[[Candidate], Cell]:
    def read(candidate: Candidate) -> Cell:
        seconds = candidate.stage_seconds.get(stage)
        return Cell("none" if seconds is None else words.duration(seconds), seconds)

    return read


def _place(chosen: Chosen, candidate: Candidate) -> str:
    if candidate is chosen.winner:
        return "winner"
    return "ties" if candidate in chosen.ties else ""


def _fronts(chosen: Chosen, candidate: Candidate) -> str:
    """The costs for which nothing is both cheaper and better, in short words."""
    axes = [axis for axis, front in chosen.front.items() if candidate in front]
    if len(axes) > 1 and len(axes) == sum(1 for front in chosen.front.values() if front):
        return "every cost"
    return ", ".join(_AXIS_WORDS.get(axis, axis) for axis in axes)


_AXIS_WORDS = {"seconds": "time", "cpu_seconds": "CPU", "wh": "energy", "usd": "money", "mb": "size", "ms": "speed"}


def _finished(candidate: Candidate) -> bool:
    return all(run.status == "finished" and not run.reason for run in candidate.runs)


def _ended(candidate: Candidate) -> str:
    reasons = [f"{run.status}: {run.reason}" if run.reason else run.status for run in candidate.runs]
    return ", ".join(dict.fromkeys(reasons))


def _failure(run: Run) -> str:
    return f"{run.status} after {words.duration(run.cost.seconds)}: {run.reason or 'no reason was given'}"


def _sharing(chosen: Chosen) -> str:
    shared = dict.fromkeys(stage for c in chosen.candidates for run in c.runs for stage in run.shared)
    if not shared:
        return ""
    return f"Shared between runs, and counted in full for each here: {', '.join(shared)}. "
