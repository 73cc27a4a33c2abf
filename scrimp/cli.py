"""The command line: parse, call, print. It decides nothing and computes nothing."""

from __future__ import annotations

import json
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrimp.errors import ScrimpError, SettingError

if TYPE_CHECKING:
    from rich.console import Console

    from scrimp.meter import Run
    from scrimp.tradeoff import Chosen

app = typer.Typer(
    help="Train the most accurate image classifier that a budget can buy, and see what it cost.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help appears twice as fast
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# ---------------------------------------------------------------- options that several commands share

Source = Annotated[
    str,
    typer.Argument(metavar="SRC", help="Folder, CSV or Parquet manifest, or data set name such as digits."),
]
OptionalSource = Annotated[
    str | None,
    typer.Argument(metavar="[SRC]", help="Folder, manifest or data set name; may stand in the plan instead."),
]
Classes = Annotated[int | None, typer.Option(help="Keep this many classes, the largest ones.")]
MinPerClass = Annotated[int | None, typer.Option(help="Leave out classes with fewer images.")]
PerClass = Annotated[int | None, typer.Option(help="Keep at most this many images a class.")]
DataDir = Annotated[str | None, typer.Option(help="Folder of data sets given by name.")]
Model = Annotated[str | None, typer.Option(help="A model of 'scrimp models', or timm:NAME.")]
Models = Annotated[list[str] | None, typer.Option("--model", help="A model to try; may be repeated.")]
ImageSize = Annotated[int | None, typer.Option(help="Side of the images in pixels.")]
ImageSizes = Annotated[list[int] | None, typer.Option("--image-size", help="A side to try; may be repeated.")]
Epochs = Annotated[int | None, typer.Option(help="Times that every training image is seen.")]
BatchSize = Annotated[int | None, typer.Option(help="Images per step.")]
LearningRate = Annotated[float | None, typer.Option("--lr", help="Highest learning rate.")]
Augment = Annotated[str | None, typer.Option(help="none, basic, or names joined by commas.")]
Freeze = Annotated[str | None, typer.Option(help="none, or backbone to train the head alone.")]
Pretrained = Annotated[
    bool | None,
    typer.Option("--pretrained/--from-scratch", help="Start from published weights, or from none."),
]
Weights = Annotated[str | None, typer.Option(help="A file of weights to start from.")]
Seed = Annotated[int | None, typer.Option(help="Decides weights, order and augmentation.")]
Instance = Annotated[str | None, typer.Option(help="Price by machine type, such as ml.c5.9xlarge.")]
UsdPerHour = Annotated[float | None, typer.Option(help="Price of this machine per hour.")]
Out = Annotated[Path | None, typer.Option(help="Folder for the results; runs/NAME by default.")]
PlanFile = Annotated[Path | None, typer.Option("--plan", help="TOML file of settings; options override it.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="TABLE.NAME=VALUE", help="Any other setting of a plan.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else, to stdout.")]


# ---------------------------------------------------------------- commands


@app.command()
def fit(
    src: Source,
    budget: Annotated[str, typer.Option(help="What may be spent: 90s, 10min, 1.5h or '$0.50'.")],
    model: Models = None,
    image_size: ImageSizes = None,
    pretrained: Pretrained = True,
    classes: Classes = None,
    min_per_class: MinPerClass = None,
    per_class: PerClass = None,
    data_dir: DataDir = None,
    seed: Seed = 0,
    instance: Instance = None,
    usd_per_hour: UsdPerHour = None,
    out: Out = None,
    json_: Json = False,
) -> None:
    """Spend a budget on the best model it can buy, and report what it cost."""
    started = _process_start()
    from scrimp.cost import hourly_rate, warm_up_sensor
    from scrimp.images import find_images

    rate = hourly_rate(instance, usd_per_hour)
    images = find_images(src, classes=classes, min_per_class=min_per_class, per_class=per_class, data_dir=data_dir)
    warm_up_sensor()
    import scrimp

    folder = out or _default_out(src)
    chosen = scrimp.fit(
        images,
        scrimp.Budget.parse(budget),
        models=model or (),
        image_sizes=image_size or (),
        pretrained=pretrained is not False,
        out=folder,
        seed=seed or 0,
        usd_per_hour=rate,
        started=started,
    )
    _conclude(chosen, folder, json_)


@app.command()
def sweep(
    src: OptionalSource = None,
    model: Models = None,
    image_size: ImageSizes = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Repeat each with this many seeds.")] = None,
    augment: Annotated[list[str] | None, typer.Option(help="An augmentation to try; may be repeated.")] = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    freeze: Freeze = None,
    pretrained: Pretrained = None,
    weights: Weights = None,
    classes: Classes = None,
    min_per_class: MinPerClass = None,
    per_class: PerClass = None,
    data_dir: DataDir = None,
    plan: PlanFile = None,
    set_: Set = None,
    instance: Instance = None,
    usd_per_hour: UsdPerHour = None,
    out: Out = None,
    json_: Json = False,
) -> None:
    """Train every combination of models, sizes and seeds, compare them and write a report.

    Run the same command again after an interruption: finished runs are kept.
    """
    from scrimp.cost import hourly_rate, warm_up_sensor

    rate = hourly_rate(instance, usd_per_hour)
    tables, axes = _tables(plan, set_)
    _lay_over(tables, "images", source=src, classes=classes, min_per_class=min_per_class)
    _lay_over(tables, "images", per_class=per_class, data_dir=data_dir)
    _lay_over(tables, "recipe", epochs=epochs, batch_size=batch_size, lr=lr, freeze=freeze)
    _lay_over(tables, "recipe", pretrained=pretrained, weights=weights)
    asked = {
        "recipe.model": model,
        "preparation.image_px": image_size,
        "recipe.augment": augment,
        "recipe.seed": list(range(seeds)) if seeds else None,
    }
    axes |= {name: values for name, values in asked.items() if values}
    _source_is_given(tables)
    from scrimp.sweeping import sweep, vary

    plans = vary(tables, axes)
    folder = out or _default_out(plans[0].images.source)
    warm_up_sensor()
    runs = sweep(plans, folder, usd_per_hour=rate)
    from scrimp.tradeoff import compare

    chosen = compare(runs)
    _conclude(chosen, folder, json_)
    if runs[-1].status == "interrupted":
        _say(f"Stopped after {len(runs)} of {len(plans)} runs: the same command goes on from here.")
        raise typer.Exit(130)


@app.command()
def train(
    src: OptionalSource = None,
    model: Model = None,
    image_size: ImageSize = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    augment: Augment = None,
    freeze: Freeze = None,
    pretrained: Pretrained = None,
    weights: Weights = None,
    seed: Seed = None,
    classes: Classes = None,
    min_per_class: MinPerClass = None,
    per_class: PerClass = None,
    data_dir: DataDir = None,
    plan: PlanFile = None,
    set_: Set = None,
    instance: Instance = None,
    usd_per_hour: UsdPerHour = None,
    out: Out = None,
    json_: Json = False,
) -> None:
    """Train one model by one recipe and measure it."""
    from scrimp.cost import hourly_rate, warm_up_sensor

    rate = hourly_rate(instance, usd_per_hour)
    tables, axes = _tables(plan, set_)
    if axes:
        raise SettingError(f"'{plan}' varies {', '.join(axes)}: that is for 'scrimp sweep'.")
    _lay_over(tables, "images", source=src, classes=classes, min_per_class=min_per_class)
    _lay_over(tables, "images", per_class=per_class, data_dir=data_dir)
    _lay_over(tables, "preparation", image_px=image_size)
    _lay_over(tables, "recipe", model=model, epochs=epochs, batch_size=batch_size, lr=lr, augment=augment)
    _lay_over(tables, "recipe", freeze=freeze, pretrained=pretrained, weights=weights, seed=seed)
    _source_is_given(tables)
    from scrimp.plan import Plan

    whole = Plan(**tables)
    warm_up_sensor()
    from scrimp.sweeping import run_plan

    run = run_plan(whole, out or _default_out(whole.images.source) / whole.name, usd_per_hour=rate)
    if json_:
        print(run.model_dump_json())
    else:
        _print_run(run)
    if run.status == "interrupted":
        raise typer.Exit(130)


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(help="Run folders, or folders that hold some.")],
    report: Annotated[Path | None, typer.Option(help="Also write the report to this HTML file.")] = None,
    json_: Json = False,
) -> None:
    """Show the front and the winner of runs that are done."""
    from scrimp.meter import load_runs
    from scrimp.tradeoff import compare

    for folder in folders:
        if not folder.is_dir():
            raise SettingError(f"'{folder}' is not a folder of runs.")
    chosen = compare(load_runs(*folders))
    if report:
        from scrimp.report import write_report

        write_report(chosen, report)
    _print_chosen(chosen, report, json_)


@app.command()
def models(json_: Json = False) -> None:
    """List the models that can be trained."""
    from scrimp.models import MODELS

    if json_:
        from dataclasses import asdict

        print(json.dumps([asdict(card) for card in MODELS.values()]))
        return
    from rich.table import Table

    table = Table("model", "parameters", "MB", "pretrained", "good for")
    for card in MODELS.values():
        table.add_row(
            card.name,
            f"{card.parameters:,}",
            f"{card.size_mb:.1f}",
            f"{card.weights_px} px" if card.weights_px else "no",
            card.note,
        )
    _print(table)
    _print("Any other model of the timm library: timm:NAME. Sizes are with 1,000 classes.")


@app.command()
def serve(
    run: Annotated[Path, typer.Argument(help="Run folder, for example runs/photos/best.")],
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7860,
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines in.")] = "127.0.0.1",
    json_: Json = False,
) -> None:
    """Put a trained model on a web page where images can be dropped."""
    from scrimp.serving import serve

    if json_:
        print(json.dumps({"url": f"http://{host}:{port}", "run": str(run)}), flush=True)
    serve(run, host=host, port=port)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Run folder, for example runs/photos/best.")],
    images: Annotated[list[str], typer.Argument(help="Image files.")],
    json_: Json = False,
) -> None:
    """Say what a trained model sees in some images."""
    from scrimp.serving import predict

    answers = predict(run, images)
    if json_:
        print(json.dumps([answer._asdict() for answer in answers], ensure_ascii=False))
        return
    from rich.table import Table

    table = Table("image", "class", "probability")
    for answer in answers:
        best = answer.probabilities.get(answer.label or "", 0.0)
        table.add_row(answer.image, answer.label or f"not read: {answer.error}", f"{best:.1%}" if answer.label else "")
    _print(table)


# ---------------------------------------------------------------- from options to settings


def _tables(plan: Path | None, settings: Sequence[str] | None) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The tables of a plan file with --set laid over them, and the axes of its [vary] table."""
    from scrimp.settings import read_toml

    tables = read_toml(plan) if plan else {}
    for table, content in tables.items():
        if not isinstance(content, dict):
            raise SettingError(f"'{table}' in '{plan}' must be a table: write it as [{table}].")
    axes = tables.pop("vary", {})
    for setting in settings or ():
        name, equals, value = setting.partition("=")
        table, dot, field = name.partition(".")
        if not (equals and dot and field):
            raise SettingError(f"--set {setting}: write it as TABLE.NAME=VALUE, for example recipe.epochs=5.")
        tables.setdefault(table, {})[field] = _value(value)
    return tables, axes


def _value(text: str) -> Any:
    """A TOML value; what is none is taken as a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _lay_over(tables: dict[str, Any], table: str, **options: Any) -> None:
    given = {name: value for name, value in options.items() if value is not None}
    if given:
        tables[table] = {**tables.get(table, {}), **given}


def _source_is_given(tables: dict[str, Any]) -> None:
    if "source" not in tables.get("images", {}):
        raise SettingError("No images are named: give a folder, a manifest or a data set, or a plan with [images].")


def _default_out(source: str) -> Path:
    return Path("runs") / (Path(source.rstrip("/\\")).stem or "images")


def _process_start() -> float:
    """When this process began, on the clock of `time.perf_counter`: imports are spending, too."""
    import psutil

    born: float = psutil.Process().create_time()
    return time.perf_counter() - (time.time() - born)


# ---------------------------------------------------------------- what people see

_UNKNOWN = "–"
_WIDE = 104  # columns that the whole table of a comparison needs


def _conclude(chosen: Chosen, folder: Path, json_: bool) -> None:
    from scrimp.report import write_report
    from scrimp.sweeping import keep_best

    keep_best(folder, chosen.best)
    _print_chosen(chosen, write_report(chosen, folder / "report.html"), json_)


def _print_chosen(chosen: Chosen, report: Path | None, json_: bool) -> None:
    from scrimp.tradeoff import summary

    facts = summary(chosen) | {"report": str(report) if report else None}
    if json_:
        print(json.dumps(facts, ensure_ascii=False))
        return
    from rich.box import SIMPLE
    from rich.table import Column, Table

    for line in chosen.story:
        _print(line)
    wide = _console().width >= _WIDE
    more = ("Wh", "$", "MB", "ms") if wide else ()
    table = Table(*(Column(title, no_wrap=True) for title in ("", "candidate", "val", "test", "s", *more)), box=SIMPLE)
    for row in facts["candidates"]:
        mark = "best" if row["wins"] else "tie" if row["ties"] else "front" if row["front"] else ""
        axes = ("seconds", "wh", "usd", "mb", "ms") if wide else ("seconds",)
        costs = [_figure(row["costs"][axis]) for axis in axes]
        table.add_row(mark, row["name"], _percent(row["val"]), _percent(row["test"]), *costs)
    for row in facts["failed"]:
        table.add_row("failed", row["name"], row["reason"])
    _print(table)
    if wide:
        _print(f"s, Wh and $ are of one run, ms of one image; {_UNKNOWN}: not measured.")
    _print(chosen.verdict)
    _print(f"Model: {facts['best']}")
    if report:
        _print(f"Report: {report}")


def _print_run(run: Run) -> None:
    from rich.table import Table

    table = Table(show_header=False)
    table.add_row("ended", f"{run.status} {run.reason}".strip())
    table.add_row("val", f"{run.val.top1:.1%} of {run.val.n:,}" if run.val else "not measured")
    table.add_row("test", f"{run.test.top1:.1%} of {run.test.n:,}" if run.test else "not measured")
    table.add_row("seconds", f"{run.cost.seconds:,.1f}")
    energy = f"{run.cost.wh:.3g} by {run.cost.wh_source}" if run.cost.wh is not None else "not measured"
    table.add_row("Wh", energy)
    table.add_row("$", _figure(run.cost.usd))
    if run.size and run.speed:
        table.add_row("MB", f"{run.size.mb:.2f}")
        table.add_row("ms per image", f"{run.speed.ms_per_image:.2f} on {run.speed.device}")
    _print(table)
    _print(f"Folder: {run.folder}")
    for note in [*run.notes, *(f"left out {key}: {reason}" for key, reason in run.left_out[:5])]:
        _print(f"- {note}")
    if len(run.left_out) > 5:
        _print(f"- {len(run.left_out):,} files were left out in all; result.json lists them.")


def _figure(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def _percent(spread: dict[str, Any] | None) -> str:
    if spread is None:
        return _UNKNOWN
    return f"{spread['mean']:.1%}" + (f" ± {spread['sd']:.1%}" if spread["sd"] is not None else "")


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 2 * _WIDE)  # a file or a pipe has no edge
    return console


def _print(what: Any) -> None:
    _console().print(what, markup=False, soft_wrap=isinstance(what, str))


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def main() -> None:
    """Entry point: what Scrimp refuses is one line on stderr and exit code 2; anything else is our bug."""
    try:
        app()
    except ScrimpError as error:
        _say(f"scrimp: {error}")
        sys.exit(2)
