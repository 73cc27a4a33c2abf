"""The command that runs whole studies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scrimp.cli.options import Instance, Json, Set, UsdPerHour, Watts, app
from scrimp.cli.settings import value_of
from scrimp.cli.showing import say, show
from scrimp.errors import SettingError

if TYPE_CHECKING:
    from scrimp.studying import Studied
    from scrimp.studying.predicting import Forecast


@app.command()
def study(
    name: Annotated[str, typer.Argument(help="dogs, birds, imagenet, speedy, cifar10-mini, or a TOML file of yours.")],
    data: Annotated[str | None, typer.Option(help="Folder, URI or name in place of the study's own images.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A try of minutes, by which no claim is judged.")] = False,
    part: Annotated[list[str] | None, typer.Option(help="Only this part; may be repeated.")] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Start every model from random numbers.")
    ] = False,
    set_: Set = None,
    instance: Instance = None,
    usd_per_hour: UsdPerHour = None,
    watts: Watts = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before it starts.")] = False,
    print_: Annotated[
        bool, typer.Option("--print", help="Print the study's file, to make your own of it, and stop.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; runs/study-NAME by default.")] = None,
    json_: Json = False,
) -> None:
    """Run a whole study from one file, and put its figures beside those of the original.

    It says what it will cost and asks before it starts. Run the same command again after an interruption: it goes on.
    """
    if print_:
        from scrimp.studying.plans import file_of

        print(file_of(name).read_text(encoding="utf-8"), end="")
        return
    from scrimp.cost import hourly_rate, use_watts, warm_up_sensor

    use_watts(watts)
    warm_up_sensor()
    from scrimp.studying import read_study, run_study
    from scrimp.studying.plans import FROM_SCRATCH
    from scrimp.studying.predicting import foresee

    whole = read_study(name)
    changes = {**(FROM_SCRATCH if from_scratch else {}), **_changes(set_)}
    settled = whole.settled(data=data, quick=quick, parts=part or (), changes=changes)
    rate = hourly_rate(instance, usd_per_hour)
    theirs = whole.instance if rate is None else instance
    folder = out or Path("runs") / f"study-{whole.name}{'-quick' if quick else ''}"
    forecast = foresee(settled, folder, usd_per_hour=rate if rate is not None else hourly_rate(theirs))
    _tell(forecast, theirs or "this machine")
    if forecast.left and not yes:
        typer.confirm("Start?", abort=True, err=True)
    found = run_study(settled, folder, forecast=forecast, usd_per_hour=rate)
    page = _pages(found)
    if json_:
        record = json.loads((folder / "study.json").read_text(encoding="utf-8"))
        print(json.dumps({**record["summary"], "folder": str(folder), "page": str(page)}, ensure_ascii=False))
    else:
        _print(found, page)
    if not all(found.parts[name].whole for name in settled.parts):
        say("Not all of it was done: the same command goes on from here.")
        raise typer.Exit(130)


def _pages(found: Studied) -> Path:
    """Writes them all, the explanation that the study asks for too, unless it is there."""
    from scrimp.explaining import explain
    from scrimp.report import EXPLANATION, write_explanation, write_study

    best = found.explained
    if best is not None and best.folder and not (Path(best.folder) / EXPLANATION).is_file():
        told = explain(best, pictured=3, corrupted=40) if found.study.is_quick else explain(best)
        write_explanation(told, Path(best.folder) / EXPLANATION)
    return write_study(found)


def _changes(settings: list[str] | None) -> dict[str, object]:
    found = {}
    for setting in settings or ():
        dotted, equals, value = setting.partition("=")
        if not equals:
            raise SettingError(f"--set {setting}: write it as TABLE.NAME=VALUE, for example recipe.epochs=5.")
        found[dotted] = value_of(value)
    return found


def _tell(forecast: Forecast, priced_as: str) -> None:
    """What it will cost, on stderr, since stdout is for results."""
    from scrimp.report import words

    for part in forecast.parts:
        time = "not foreseen" if part.seconds is None else words.duration(part.seconds)
        say(f"  {part.part}: {part.left:,} of {part.runs:,} runs left, {time}, {words.number(part.gb)} GB")
    for model, why in forecast.without.items():
        say(f"  without {model}: {why}")
    money = "" if forecast.usd is None else f", ${words.number(forecast.usd)} on {priced_as} if it were as fast"
    time, disk = words.duration(forecast.seconds), f"{words.number(forecast.gb)} GB of disk"
    say(f"At most {time} on this machine, by a few timed steps; {disk}{money}.")


def _print(found: Studied, page: Path) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    from scrimp.report import study_tables

    for name, told in study_tables(found).items():
        if name == "claims" or name.startswith("theirs"):
            table = Table(*told.columns, title=told.title, box=SIMPLE)
            for row in told.rows:
                table.add_row(*row)
            show(table)
    for ran in found.parts.values():
        if ran.chosen:
            show(f"{ran.name}: {ran.chosen.verdict}")
    for model in found.without:
        show(f"- without {model}: its weights are neither here nor to be fetched.")
    show(f"Page: {page}")
