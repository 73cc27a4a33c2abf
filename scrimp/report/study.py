"""The page of a study: our figures beside theirs, what became of each claim, every part with a link to its report."""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from markupsafe import Markup

from scrimp.meter import Run, machine, versions
from scrimp.report import figures, words
from scrimp.report.explanation import EXPLANATION
from scrimp.report.html import Tile, asset, render
from scrimp.report.page import link, write_report
from scrimp.report.tables import energy_sources
from scrimp.scores import MEASURES, Measure
from scrimp.store import write_whole
from scrimp.studying.claims import setting, welch
from scrimp.studying.codes import PICTURE
from scrimp.studying.measures import MEASURED
from scrimp.studying.plans import Bill, Theirs
from scrimp.studying.running import Ran, Studied
from scrimp.tradeoff import Candidate, Chosen

PAGE, RECORD, REPORT = "study.html", "study.json", "report.html"


@dataclass(frozen=True)
class StudyTable:
    """A table of texts, which a notebook shows as it is."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def _repr_html_(self) -> str:
        def line(cells: Sequence[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(line(row, "td") for row in self.rows)
        return f"<table><caption>{html.escape(self.title)}</caption>{line(self.columns, 'th')}{body}</table>"


def study_tables(found: Studied) -> dict[str, StudyTable]:
    """What a study found, as tables: "claims", "theirs" and so on where others gave figures, "bills", and each part.

    Unknown is "not measured".
    """
    tables = {"claims": _claims(found)}
    for number, theirs in enumerate(found.study.theirs, 1):
        tables["theirs" if number == 1 else f"theirs {number}"] = _beside(theirs, found)
    if found.study.bills:
        tables["bills"] = _bills(found.study.bills.values())
    tables |= {name: _part(ran) for name, ran in found.parts.items()}
    return tables


def chart(chosen: Chosen, name: str) -> Any:
    """A chart of a report as a Plotly figure, for a notebook: "front-seconds", "curves-epochs", "confusion", ….

    Raises `KeyError` with the names of those there are.
    """
    from plotly.graph_objects import Figure

    charts = figures.charts(chosen)
    if name not in charts:
        raise KeyError(f"no chart '{name}': there are {', '.join(charts)}")
    colours = dict(re.findall(r"--([\w-]+): (#\w+);", str(asset("page.css")).partition("}")[0]))
    text = re.sub(r"var\(--([\w-]+)\)", lambda found: colours[found[1]], json.dumps(charts[name]))
    return Figure(json.loads(text), skip_invalid=True)


def write_study(found: Studied) -> Path:
    """Writes the study's page, the report of each part and `study.json` into its folder; returns the page.

    The page is one self-contained file; its links lead to the reports beside it. Cost: under a second and 5 MB a part.
    """
    folder = found.folder
    for ran in found.parts.values():
        if ran.chosen:
            title = f"{found.study.title}: {ran.name}"
            write_report(ran.chosen, ran.folder / REPORT, title=title, effects=ran.effects)
    tables = study_tables(found)
    page = render(
        "study.html.j2",
        title=found.study.title,
        found=found,
        study=found.study,
        warnings=_warnings(found),
        tiles=_tiles(found),
        beside=[table for name, table in tables.items() if name.startswith("theirs") or name == "bills"],
        claims=tables["claims"],
        tables=tables,
        links={name: link(ran.folder / REPORT, folder) for name, ran in found.parts.items() if ran.chosen},
        pictures={name: _picture(ran.folder / PICTURE) for name, ran in found.parts.items() if ran.codes},
        explanation=_explanation(found),
        css=asset("page.css"),
    )
    write_whole(folder / RECORD, json.dumps(_record(found, tables), indent=1, ensure_ascii=False).encode())
    write_whole(folder / PAGE, page.encode())
    return folder / PAGE


# ---------------------------------------------------------------- tables


def _claims(found: Studied) -> StudyTable:
    rows = tuple((claim.says, claim.theirs, claim.verdict, claim.ours) for claim in found.claims)
    return StudyTable("What they claimed", ("claim", "theirs", "here", "ours"), rows)


def _beside(theirs: Theirs, found: Studied) -> StudyTable:
    """Their figures and the means of ours, column by column."""
    ran = found.parts.get(theirs.part)
    names = list(dict.fromkeys(name for row in theirs.rows.values() for name in row))
    rows = []
    for key, row in theirs.rows.items():
        cells = [key]
        runs = [run for run in ran.runs if run.val and str(setting(run.plan, theirs.by)) == key] if ran else []
        for name in names:
            values = [value for run in runs if (value := MEASURED[name].read(run)) is not None]
            cells += [_figure(row.get(name), name), _figure(fmean(values) if values else None, name)]
        rows.append(tuple(cells))
    heads = (f"{MEASURED[name].title}, {whose}" for name in names for whose in ("theirs", "ours"))
    title = f"{theirs.title}; theirs on {theirs.machine}" if theirs.machine else theirs.title
    return StudyTable(title, (theirs.by.partition(".")[2], *heads), tuple(rows))


def _figure(value: float | None, name: str) -> str:
    unit = MEASURED[name].unit
    return words.percent(value) if unit == "share" else words.amount(value, unit).strip()


def _bills(bills: Sequence[Bill] | Any) -> StudyTable:
    rows = tuple(
        (
            bill.what,
            words.duration(bill.seconds),
            words.amount(bill.usd, "$"),
            words.amount(bill.kwh, "kWh"),
            bill.basis,
        )
        for bill in bills
    )
    return StudyTable("Reckoned on paper, not run", ("what", "time", "money", "energy", "from"), tuple(rows))


def _part(ran: Ran) -> StudyTable:
    title = f"{ran.name}: {ran.part.about}" if ran.part.about else ran.name
    rows: tuple[tuple[str, ...], ...]
    if ran.codes:
        rows = tuple(
            (c.method, str(c.numbers), f"{c.rmse:.4f}", words.percent(c.test), words.duration(c.seconds))
            for c in ran.codes
        )
        return StudyTable(title, ("method", "numbers", "error of pixels (RMSE)", "linear probe, test", "time"), rows)
    if ran.chosen is None:
        return StudyTable(title, ("run", "ended"), tuple((run.plan.name, run.reason) for run in ran.runs))
    key = MEASURES[ran.chosen.best.task].title.lower()
    columns = ("candidate", "seeds", f"val {key}", f"test {key}", "test against the first", "one epoch", "whole time")
    first = ran.chosen.candidates[0]
    rows = tuple(_candidate(candidate, first, ran.chosen) for candidate in ran.chosen.candidates)
    failed = tuple((run.plan.name, "1", "failed", "", "", "", "", "", "", "", run.reason) for run in ran.chosen.failed)
    return StudyTable(title, (*columns, "energy", "money", "model", "peak memory"), rows + failed)


def _candidate(candidate: Candidate, first: Candidate, chosen: Chosen) -> tuple[str, ...]:
    def cost(axis: str, unit: str) -> str:
        spread = candidate.costs[axis]
        return words.amount(spread and spread.mean, unit)

    epoch = candidate.epoch_seconds
    return (
        candidate.name,
        str(candidate.val.n),
        words.score(chosen.measure, candidate.val),
        words.score(chosen.measure, candidate.test),
        "" if candidate is first else _difference(candidate, first, chosen.measure),
        words.amount(epoch and epoch.mean, "s"),
        cost("seconds", "s"),
        cost("wh", "Wh"),
        cost("usd", "$"),
        cost("mb", "MB"),
        cost("memory", "MB"),
    )


def _difference(candidate: Candidate, first: Candidate, measure: Measure) -> str:
    """By how much test differs, and how likely chance alone would make as much of a difference."""
    ours, others = ([run.test.merit for run in one.runs if run.test is not None] for one in (candidate, first))
    if not ours or not others:
        return words.UNKNOWN
    p = welch(ours, others)
    difference = fmean(ours) - fmean(others)
    told = f"{100 * difference:+.1f} points" if measure.key == "top1" else f"{difference:+.3f}"
    return told if p is None else f"{told}, Welch p = {p:.2g}"


# ---------------------------------------------------------------- the rest of the page


def _warnings(found: Studied) -> list[str]:
    """What makes this less than the study that its name promises."""
    told = []
    if found.study.is_quick:
        told.append(
            "This is a --quick run, made to try things out: its figures are shown, and no claim is judged by them."
        )
    if found.without:
        names = ", ".join(found.without)
        told.append(
            f"Left out, because their published weights are neither here nor to be fetched: {names}. With a network "
            "the same command trains them too; --from-scratch trains them from random numbers, which is another study."
        )
    cut = [ran.name for ran in found.parts.values() if not ran.whole]
    if cut:
        told.append(f"Not finished: {', '.join(cut)}. The same command goes on from here.")
    failed = sum(run.val is None for ran in found.parts.values() for run in ran.runs)
    if failed:
        told.append(f"{words.of(failed, 'run')} failed; the reasons stand in the tables.")
    if any("estimate" in source for source in energy_sources(_runs(found))):
        told.append("Energy is an estimate, not a measurement.")
    return told


def _tiles(found: Studied) -> list[Tile]:
    verdicts = [claim.verdict for claim in found.claims]
    bill = found.bill
    return [
        Tile("claims held", f"{verdicts.count('held')} of {len(verdicts)}", f"{verdicts.count('not held')} not held"),
        Tile("not tested here", f"{verdicts.count('not tested here')} of {len(verdicts)}", "the table says why"),
        Tile("runs", f"{len(_runs(found)):,}", words.of(len(found.parts), "part")),
        Tile("time", words.duration(bill.seconds), f"foreseen at its last start: {words.duration(found.foreseen_s)}"),
        Tile("energy", words.amount(bill.wh, "Wh"), "; ".join(energy_sources(_runs(found)))),
        Tile("money", words.amount(bill.usd, "$"), "" if bill.usd else "needs an hourly rate"),
    ]


def _explanation(found: Studied) -> str:
    best = found.explained
    if best is None or best.folder is None or not (Path(best.folder) / EXPLANATION).is_file():
        return ""
    return link(Path(best.folder) / EXPLANATION, found.folder)


def _picture(path: Path) -> Markup:
    return Markup("data:image/png;base64,{}").format(b64encode(path.read_bytes()).decode())


def _runs(found: Studied) -> list[Run]:
    return [run for ran in found.parts.values() for run in ran.runs]


def _record(found: Studied, tables: dict[str, StudyTable]) -> dict[str, Any]:
    """The figures as `benchmarks/results/` keeps them, so that pages can quote them; no folder of this machine."""
    rows = [
        {
            "part": ran.name,
            "run": run.plan.name,
            "data": words.source_name(run.plan.images.source),
            "model": run.plan.recipe.model,
            "image_px": run.plan.preparation.image_px,
            "seed": run.plan.recipe.seed,
            "status": run.status,
            **{name: measured.read(run) if run.val else None for name, measured in MEASURED.items()},
        }
        for ran in found.parts.values()
        for run in ran.runs
    ]
    return {
        "machine": machine(),
        "versions": versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"scrimp study {found.study.name}{' --quick' if found.study.is_quick else ''}",
        "rows": rows,
        "summary": {
            "quick": found.study.is_quick,
            "data": sorted({row["data"] for row in rows}),
            "without": sorted(found.without),
            "unfinished": [ran.name for ran in found.parts.values() if not ran.whole],
            "seconds": found.bill.seconds,
            "wh": found.bill.wh,
            "claims": [claim._asdict() for claim in found.claims],
            "tables": {
                name: {"title": table.title, "columns": table.columns, "rows": table.rows}
                for name, table in tables.items()
                if name != "claims"
            },
        },
    }
