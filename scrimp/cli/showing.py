"""What people see."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from scrimp.explaining import Explanation
    from scrimp.explaining.kinds import Calibration
    from scrimp.images import Inspection
    from scrimp.meter import Run
    from scrimp.scores import Measure
    from scrimp.serving import Exported, Prediction
    from scrimp.techniques import Effect
    from scrimp.tradeoff import Chosen
    from scrimp.training import LrFound

_UNKNOWN = "–"
_CLASSES = 20  # lines of a table of classes: the page has the rest
_WIDE = 104  # columns that the whole table of a comparison needs


def conclude(chosen: Chosen, folder: Path, json_: bool, found: Sequence[Effect] = ()) -> None:
    """Links the winner, writes the report and says how it went."""
    from scrimp.report import write_report
    from scrimp.store import write_whole
    from scrimp.sweeping import keep_best

    keep_best(folder, chosen.best)
    if found:
        from scrimp.techniques import to_csv

        write_whole(folder / "techniques.csv", to_csv(found).encode())
    print_chosen(chosen, write_report(chosen, folder / "report.html", effects=found), json_, found)


def seen(answer: Prediction) -> tuple[str, str]:
    """The class, every label with those that count as present marked, or the number; and how probable."""
    if answer.error is not None:
        return f"not read: {answer.error}", ""
    if answer.target is not None:
        from scrimp.scores import number

        return number(answer.target), ""
    if answer.labels is None:
        return str(answer.label), f"{answer.probabilities[str(answer.label)]:.1%}"
    names = [f"✓ {name}" if name in answer.labels else f"  {name}" for name in answer.probabilities]
    return "\n".join(names), "\n".join(f"{chance:.1%}" for chance in answer.probabilities.values())


def print_effects(found: Sequence[Effect]) -> None:
    """What techniques bought, as a table."""
    from rich.box import SIMPLE
    from rich.table import Table

    from scrimp.techniques import FIGURES, by_technique

    lines = by_technique(found)
    wide = _console().width >= _WIDE
    shown = [figure for figure in next(iter(lines.values()), {}) if wide or figure in ("val", "seconds")]
    table = Table("technique", "added to", *(FIGURES[figure].title for figure in shown), "pairs", box=SIMPLE)
    for (technique, added_to), figures in lines.items():
        table.add_row(technique, added_to, *(figures[f].verdict for f in shown), figures["val"].pairs)
    show(table)


def print_chosen(chosen: Chosen, report: Path | None, json_: bool, found: Sequence[Effect] = ()) -> None:
    """A comparison: JSON, or a table and the verdict."""
    from scrimp.tradeoff import summary

    facts = summary(chosen) | {"report": str(report) if report else None}
    if found:
        facts["effects"] = [effect._asdict() for effect in found]
    if json_:
        print(json.dumps(facts, ensure_ascii=False))
        return
    from rich.box import SIMPLE
    from rich.table import Column, Table

    for line in chosen.story:
        show(line)
    wide = _console().width >= _WIDE
    measure = chosen.measure
    other = next(iter(measure.others))
    heads = ["val", "test"]
    if facts["task"] != "classify":
        heads = [f"val {measure.title}", f"test {measure.title}", f"test {measure.others[other]}"]
    more = ("Wh", "$", "MB", "ms") if wide else ()
    table = Table(*(Column(title, no_wrap=True) for title in ("", "candidate", *heads, "s", *more)), box=SIMPLE)
    for row in facts["candidates"]:
        mark = "best" if row["wins"] else "tie" if row["ties"] else "front" if row["front"] else ""
        axes = ("seconds", "wh", "usd", "mb", "ms") if wide else ("seconds",)
        costs = [_figure(row["costs"][axis]) for axis in axes]
        scores = [_merit(measure, row["val"]), _merit(measure, row["test"])]
        if facts["task"] != "classify":
            value = row["others"]["test"][other]
            scores.append(_UNKNOWN if value is None else measure.text(value, other))
        table.add_row(mark, row["name"], *scores, *costs)
    for row in facts["failed"]:
        table.add_row("failed", row["name"], row["reason"])
    show(table)
    if wide:
        show(f"s, Wh and $ are of one run, ms of one image; {_UNKNOWN}: not measured.")
    if found:
        print_effects(found)
    show(chosen.verdict)
    show(f"Model: {facts['best']}")
    if report:
        show(f"Report: {report}")


def print_run(run: Run) -> None:
    """One run's figures."""
    from rich.table import Table

    table = Table(show_header=False)
    table.add_row("ended", f"{run.status} {run.reason}".strip())
    table.add_row("val", f"{run.val.said}, {run.val.n:,} images" if run.val else "not measured")
    table.add_row("test", f"{run.test.said}, {run.test.n:,} images" if run.test else "not measured")
    table.add_row("seconds", f"{run.cost.seconds:,.1f}")
    energy = f"{run.cost.wh:.3g} by {run.cost.wh_source}" if run.cost.wh is not None else "not measured"
    table.add_row("Wh", energy)
    table.add_row("$", _figure(run.cost.usd))
    if run.size and run.speed:
        table.add_row("MB", f"{run.size.mb:.2f}")
        table.add_row("ms per image", f"{run.speed.ms_per_image:.2f} on {run.speed.device}")
    show(table)
    show(f"Folder: {run.folder}")
    for note in [*run.notes, *(f"left out {key}: {reason}" for key, reason in run.left_out[:5])]:
        show(f"- {note}")
    if len(run.left_out) > 5:
        show(f"- {len(run.left_out):,} files were left out in all; result.json lists them.")


def print_inspection(found: Inspection, page: Path) -> None:
    """What was found in images."""
    from rich.table import Table

    table = Table("split", "images", "MB")
    for split, amount in found.splits.items():
        table.add_row(split, f"{amount.images:,}", _figure(amount.mb))
    show(table)
    if found.classes:
        table = Table("class", *found.splits, "unreadable")
        for one in found.classes[:_CLASSES]:
            table.add_row(one.name, *(f"{part.images:,}" for part in one.splits.values()), f"{one.unreadable:,}")
        show(table)
    if len(found.classes) > _CLASSES:
        show(f"The first {_CLASSES} of {len(found.classes):,} classes; the page has them all.")
    if found.baseline:
        table = Table("the cheapest models", "chosen on val", "val", "test", "s")
        for score in found.baseline.scores:
            table.add_row(score.name, score.setting, _share(score.val), _share(score.test), _figure(score.seconds))
        show(table)
    for number, finding in enumerate(found.findings, 1):
        show(f"{number}. {finding.text} {finding.advice}")
    if not found.findings:
        show("Nothing wrong was found.")
    for note in found.notes:
        show(f"- {note}")
    show(f"Page: {page}")


def print_augmentations() -> None:
    """Every augmentation, its strength and what that means."""
    from rich.table import Table

    from scrimp.augment import AUGMENTATIONS

    table = Table("augmentation", "what it does to an image", "strength", "from", "to", "which is the")
    for name, card in AUGMENTATIONS.items():
        figures = (card.usual, card.least, card.most) if card.unit else ()
        table.add_row(name, card.says, *(f"{figure:g}" for figure in figures), *([card.unit] if card.unit else []))
    show(table)
    show("--augment mirror,noise:0.05 names some, a strength after a colon; mixup and cutmix: --set recipe.mix=mixup.")


def print_explanation(found: Explanation, page: Path) -> None:
    """Why a model is right or wrong, in short."""
    from rich.table import Table

    from scrimp.scores import MEASURES

    measure = MEASURES[found.task]
    if found.given:
        table = Table("image", "said", "probability", "Grad-CAM and occlusion agree")
        for one in found.given:
            agreement = _UNKNOWN if one.agreement is None else f"{one.agreement:.2f}"
            table.add_row(one.key, one.said, _share(one.probability), agreement)
        show(table)
    for key, reason in found.unreadable:
        show(f"- not read, {key}: {reason}")
    if found.scores:
        show(f"{found.split}: {found.scores.said}, {found.scores.n:,} images")
    if found.qualities:
        table = Table("class" if found.task == "classify" else "label", "images", "precision", "recall")
        for quality in found.qualities[:_CLASSES]:
            table.add_row(quality.name, f"{quality.images:,}", _share(quality.precision), _share(quality.recall))
        show(table)
    if len(found.qualities) > _CLASSES:
        show(f"The first {_CLASSES} of {len(found.qualities):,}; the page has them all.")
    if found.calibration:
        told = found.calibration
        show(
            f"Calibration error (ECE): {told.ece:.1%}, of which chance may make {told.ece_by_chance:.1%}{_scaled(told)}"
        )
    if found.robustness:
        table = Table("images made worse", "1", "2", "3")
        for kind in dict.fromkeys(one.kind for one in found.robustness.corrupted):
            merits = [measure.text(one.merit) for one in found.robustness.corrupted if one.kind == kind]
            table.add_row(kind, *merits)
        show(table)
        show(
            f"{measure.title} on the same {found.robustness.n:,} images as they are: "
            f"{measure.text(found.robustness.clean)}"
        )
    for note in (*found.notes, *(f"not shown: {line}" for line in found.left_out)):
        show(f"- {note}")
    show(f"Page: {page}")


def _scaled(told: Calibration) -> str:
    if told.temperature is None or told.ece_scaled is None:
        return ""
    return f"; {told.ece_scaled:.1%} with the temperature {told.temperature:.2f}"


def print_export(made: Exported) -> None:
    """A file beside the model it was made from."""
    from rich.table import Table

    from scrimp.scores import MEASURES

    measure = MEASURES[made.task]
    table = Table("file", "MB", "ms/image", "images/s", f"test {measure.word}", "agreement")
    for tried in (made.model, made.exported):
        speed = f"{tried.ms_per_image:.2f}", f"{tried.images_per_second:,.0f}"
        table.add_row(tried.file, f"{tried.mb:.2f}", *speed, measure.text(tried.merit), f"{tried.agreement:.1%}")
    show(table)
    show(f"Each by its own runtime in a process of its own, on {made.test_images:,} test images; speeds on this CPU.")
    for note in made.notes:
        show(f"- {note}")
    show(f"File: {made.path}")


def print_lr(found: LrFound, page: Path) -> None:
    """The learning rate that was found."""
    show(found.note)
    cost = found.cost
    energy = f"{cost.wh:.3g} Wh by {cost.wh_source}" if cost.wh is not None else "energy not measured"
    show(f"{len(found.losses)} steps in {cost.seconds:,.1f} s, {energy}.")
    show(f"Page: {page}")


def _share(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.1%}"


def _figure(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def _merit(measure: Measure, spread: dict[str, Any] | None) -> str:
    if spread is None:
        return _UNKNOWN
    return measure.text(spread["mean"]) + (f" ± {measure.text(spread['sd'])}" if spread["sd"] is not None else "")


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 2 * _WIDE)  # a file or a pipe has no edge
    return console


def show(what: Any) -> None:
    """A text or table on stdout."""
    _console().print(what, markup=False, soft_wrap=isinstance(what, str))


def say(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr)
