"""The page: gathers what is shown, fills the template, writes one file."""

from __future__ import annotations

import json
import os
import shlex
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import quote

from markupsafe import Markup

from scrimp.meter import SHEET_ROWS, Run
from scrimp.report import figures, tables, words
from scrimp.report.explanation import EXPLANATION
from scrimp.report.html import Tile, asset, inline_json, plotly, render
from scrimp.settings import to_toml
from scrimp.store import write_whole
from scrimp.techniques import Effect
from scrimp.tradeoff import AXES, Candidate, Chosen, ClassScore, Mistake, Spread

_LISTED = 1_000  # lines of a fold-out list: beyond, a browser slows down and nobody reads
_MISTAKES = 15


def write_report(chosen: Chosen, path: str | Path, *, title: str | None = None, effects: Sequence[Effect] = ()) -> Path:
    """Writes one self-contained HTML file that shows a comparison, and returns where it is.

    The file needs no network and no other file; it appears whole or not at all. title: its heading; by default the
    name of the data. effects: what techniques bought, where that was asked. Costs under a second and about 5 MB of
    disk, most of it the chart library. Raises `StorageError` when the file cannot be written.
    """
    path = Path(path)
    write_whole(path, _page(chosen, title, effects, path.parent).encode())
    return path


def _page(chosen: Chosen, title: str | None, effects: Sequence[Effect], place: Path) -> str:
    charts = figures.charts(chosen)
    return render(
        "page.html.j2",
        title=title or words.source_name(chosen.best.plan.images.source),
        chosen=chosen,
        measure=chosen.measure,
        tiles=_tiles(chosen),
        facts=_facts(chosen),
        warnings=_warnings(chosen),
        notes=_notes(_runs(chosen)),
        left_out=_left_out(_runs(chosen)),
        left_out_shown=_LISTED,
        machine=_variants([run.machine for run in _runs(chosen)]),
        versions=_variants([run.versions for run in _runs(chosen)]),
        axes={axis: AXES[axis].title for axis in figures.known_axes(chosen)},
        charts=charts,
        figures_json=inline_json(charts),
        tables=tables.tables(chosen),
        techniques=tables.techniques(effects),
        classes=_Classes.of(chosen),
        examples=_examples(chosen),
        example_classes=chosen.best.classes[:SHEET_ROWS],
        toml=to_toml(chosen.best.plan),
        toml_link=Markup("data:application/toml;charset=utf-8,{}").format(quote(to_toml(chosen.best.plan))),
        serve=f"scrimp serve {shlex.quote(chosen.best.folder or 'FOLDER')}",
        explain=f"scrimp explain {shlex.quote(chosen.best.folder or 'FOLDER')}",
        explanation=link(Path(chosen.best.folder) / EXPLANATION, place) if chosen.best.folder else "",
        css=asset("page.css"),
        js=asset("page.js"),
        plotly=plotly(),
    )


# ---------------------------------------------------------------- what the page is told


def _tiles(chosen: Chosen) -> list[Tile]:
    """The winner's figures; what is unknown says so."""
    winner = chosen.winner
    return [
        _score_tile(chosen, "test", winner.test, "only reported"),
        _score_tile(chosen, "val", winner.val, "chosen on this"),
        _cost_tile(winner, "seconds", "time of one run", "reading to measuring"),
        _cost_tile(winner, "wh", "energy", "; ".join(tables.energy_sources(winner.runs))),
        _cost_tile(winner, "usd", "money", "at the hourly rate that was given", "needs an hourly rate"),
        _cost_tile(winner, "mb", "model size", "weights"),
        _cost_tile(winner, "ms", "time per image", f"one at a time, {_device(chosen.best)}"),
    ]


def _score_tile(chosen: Chosen, split: Literal["test", "val"], spread: Spread | None, role: str) -> Tile:
    measure = chosen.measure
    label = f"{split} {measure.word}"
    if spread is None:
        return Tile(label, words.UNKNOWN, "")
    sure = "one seed, spread unknown" if spread.sd is None else f"± {measure.text(spread.sd)} over {spread.n} seeds"
    errors = [
        f"{title} {words.score(measure, chosen.winner.score(split, field), field)}; "
        for field, title in measure.others.items()
        if measure.key == "r2"  # which says nothing of the unit
    ]
    return Tile(label, measure.text(spread.mean), f"{''.join(errors)}{sure}; {role}")


def _cost_tile(winner: Candidate, axis: str, label: str, note: str, hint: str = "") -> Tile:
    """`note` says how it was measured, `hint` what it would have taken."""
    cost = winner.costs[axis]
    return Tile(label, words.amount(cost and cost.mean, AXES[axis].unit), note if cost else hint)


def _device(run: Run) -> str:
    return f"on {run.speed.device}" if run.speed else ""


def _facts(chosen: Chosen) -> list[tuple[str, str]]:
    """What was asked, of what, and when: name and value."""
    runs, best, bill = _runs(chosen), chosen.best, chosen.bill
    dates = sorted({run.date.replace("T", " ") for run in runs})
    return [
        ("data", "; ".join(dict.fromkeys(run.plan.images.source for run in runs))),
        _what_is_told(best),
        ("images", _splits(best)),
        ("tried", _tried(chosen)),
        ("whole bill", _whole_bill(bill.seconds, bill.wh, bill.usd)),
        ("date", " to ".join(dict.fromkeys((dates[0], dates[-1])))),
    ]


def _what_is_told(run: Run) -> tuple[str, str]:
    if run.task == "regress":
        return "target", "one number an image"
    what = "classes" if run.task == "classify" else "labels, any number of them an image"
    return what, f"{len(run.classes):,}: {words.clipped(', '.join(run.classes[:30]), 160)}"


def _splits(run: Run) -> str:
    return ", ".join(f"{split} {count:,}" for split, count in run.image_counts.items())


def _tried(chosen: Chosen) -> str:
    total = len(_runs(chosen))
    failed = f", {words.of(len(chosen.failed), 'failed run')}" if chosen.failed else ""
    return f"{words.of(len(chosen.candidates), 'candidate')} in {words.of(total, 'run')}{failed}"


def _whole_bill(seconds: float, wh: float | None, usd: float | None) -> str:
    return (
        f"{words.duration(seconds)}, energy {words.amount(wh, 'Wh')}, money {words.amount(usd, '$')}: "
        "all runs, failed ones too"
    )


def _warnings(chosen: Chosen) -> list[str]:
    """What makes these figures less comparable than they look."""
    runs = _runs(chosen)
    found = []
    if len({json.dumps(run.machine, sort_keys=True) for run in runs}) > 1:
        found.append("The runs come from different machines: their times, energies and prices do not compare.")
    judged = [run for candidate in chosen.candidates for run in candidate.runs]
    counted = {(run.plan.images.fold, run.image_counts.get("val"), run.image_counts.get("test")) for run in judged}
    if len(counted) > len({run.plan.images.fold for run in judged}):
        found.append("The runs were not judged on the same number of images: their scores may not compare.")
    if any("estimate" in source for source in tables.energy_sources(runs)):
        found.append("Energy is an estimate, not a measurement.")
    return found


def _notes(runs: Sequence[Run]) -> list[str]:
    """Every note once, with the number of runs it is about where these are not all."""
    counted = Counter(note for run in runs for note in dict.fromkeys(run.notes))
    return [
        note if times == len(runs) else f"{note} ({times} of {words.of(len(runs), 'run')})"
        for note, times in counted.items()
    ]


def _left_out(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Files that any run left out, each once."""
    return list(dict.fromkeys((left.key, left.reason) for run in runs for left in run.left_out))


def _variants(facts: Iterable[dict[str, str]]) -> list[tuple[str, list[str]]]:
    """For each name in the dictionaries, the different values it has."""
    found: dict[str, dict[str, None]] = {}
    for names in facts:
        for name, value in names.items():
            found.setdefault(name, {})[value] = None
    return [(name, list(values)) for name, values in found.items()]


class _Classes(NamedTuple):
    """What is shown of the best run's answers: the split, how many classes the matrix holds, the lists."""

    split: str
    images: int
    drawn: int
    complete: bool
    scores: tuple[ClassScore, ...]
    mistakes: tuple[Mistake, ...]

    @classmethod
    def of(cls, chosen: Chosen) -> _Classes:
        split, scores = chosen.reported
        drawn, complete = figures.matrix_classes([score.score for score in chosen.class_scores])
        return cls(split, scores.n, len(drawn), complete, chosen.class_scores, chosen.mistakes[:_MISTAKES])


def link(file: Path, place: Path) -> str:
    """How a page in the folder `place` leads to a file, wherever both are moved together."""
    return quote(Path(os.path.relpath(file.resolve(), place.resolve())).as_posix())


def _examples(chosen: Chosen) -> str | None:
    """The contact sheet as base64: of the best run, or of any that has one."""
    for run in [chosen.best, *_runs(chosen)]:
        if (jpg := run.examples_jpg) is not None:
            return b64encode(jpg).decode()
    return None


def _runs(chosen: Chosen) -> list[Run]:
    return [run for candidate in chosen.candidates for run in candidate.runs] + list(chosen.failed)
