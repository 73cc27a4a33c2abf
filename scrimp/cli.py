"""The command line: parse, call, print. It decides nothing and computes nothing."""

from __future__ import annotations

import functools
import inspect
import json
import os
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrimp.errors import ScrimpError, SettingError

if TYPE_CHECKING:
    from rich.console import Console

    from scrimp.explaining import Explanation
    from scrimp.explaining.kinds import Calibration
    from scrimp.images import Inspection
    from scrimp.meter import Run
    from scrimp.plan import Plan
    from scrimp.scores import Measure
    from scrimp.serving import Exported, Prediction
    from scrimp.serving.predicting import Runtime
    from scrimp.techniques import Effect
    from scrimp.tradeoff import Chosen
    from scrimp.training import LrFound

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
    typer.Argument(metavar="SRC", help="Folder, CSV or Parquet manifest, pack, or data set name such as digits."),
]
OptionalSource = Annotated[
    str | None,
    typer.Argument(metavar="[SRC]", help="Folder, manifest or data set name; may stand in the plan instead."),
]
Model = Annotated[str | None, typer.Option(help="A model of 'scrimp models', or timm:NAME.")]
Models = Annotated[list[str] | None, typer.Option("--model", help="A model to try; may be repeated.")]
ImageSize = Annotated[int | None, typer.Option(help="Side of the images in pixels.")]
ImageSizes = Annotated[list[int] | None, typer.Option("--image-size", help="A side to try; may be repeated.")]
Epochs = Annotated[int | None, typer.Option(help="Times that every training image is seen.")]
BatchSize = Annotated[int | None, typer.Option(help="Images per step.")]
LearningRate = Annotated[str | None, typer.Option("--lr", help="Highest learning rate; auto finds one first.")]
Augment = Annotated[str | None, typer.Option(help="none, basic, or names joined by commas.")]
Freeze = Annotated[str | None, typer.Option(help="none, or backbone to train the head alone.")]
Pretrained = Annotated[
    bool | None,
    typer.Option("--pretrained/--from-scratch", help="Start from published weights, or from none."),
]
Weights = Annotated[str | None, typer.Option(help="A file of weights to start from.")]
Preset = Annotated[
    str | None, typer.Option("--recipe", help="A preset: plain, quick, frugal, thorough, …; options override it.")
]
Seed = Annotated[int | None, typer.Option(help="Decides weights, order and augmentation.")]
Instance = Annotated[str | None, typer.Option(help="Price by machine type, such as ml.c5.9xlarge.")]
UsdPerHour = Annotated[float | None, typer.Option(help="Price of this machine per hour.")]
On = Annotated[str, typer.Option(help="Where: here, ray, or a Ray cluster's address, ray://HOST:10001.")]
Folds = Annotated[int | None, typer.Option(min=2, help="Cross-validate: train and val cut into so many parts.")]
Out = Annotated[Path | None, typer.Option(help="Folder for the results; runs/NAME by default.")]
PlanFile = Annotated[Path | None, typer.Option("--plan", help="TOML file of settings; options override it.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="TABLE.NAME=VALUE", help="Any other setting of a plan.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else, to stdout.")]

EndpointUrl = Annotated[str | None, typer.Option(help="Address of an S3 server that is not Amazon's.")]

IMAGE_OPTIONS: dict[str, Any] = {
    "task": Annotated[str | None, typer.Option(help="classify, multilabel or regress.")],
    "classes": Annotated[int | None, typer.Option(help="Keep this many classes, the largest ones.")],
    "min_per_class": Annotated[int | None, typer.Option(help="Leave out classes with fewer images.")],
    "per_class": Annotated[int | None, typer.Option(help="Keep at most this many images a class.")],
    "subset": Annotated[str | None, typer.Option(help="Train on what a kept list of 'scrimp select' names alone.")],
    "boxes": Annotated[str | None, typer.Option(help="voc: crop to the boxes of Pascal-VOC XML files.")],
    "box_pick": Annotated[str | None, typer.Option(help="Of several boxes: first, largest or each.")],
    "box_margin": Annotated[float | None, typer.Option(help="Room around a box, percent of its sides.")],
    "remote": Annotated[str | None, typer.Option(help="Read a URI by copy, stream or cache.")],
    "cache_size": Annotated[str | None, typer.Option(help="Disk that --remote cache may fill, such as 20GB.")],
    "endpoint_url": EndpointUrl,
    "data_dir": Annotated[str | None, typer.Option(help="Folder of data sets given by name.")],
}
"""Which images, and how they are read: the same for every command that reads some."""


def _use_endpoint(url: str | None) -> None:
    """It is of the machine, as keys are, and not of the plan."""
    if url:
        os.environ["AWS_ENDPOINT_URL"] = url
        os.environ.pop("AWS_ENDPOINT_URL_S3", None)  # which would be heeded first


def with_image_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options above, after its own; it finds those that were given in its `images`."""

    @functools.wraps(command)
    def called(**options: Any) -> None:
        given = {name: options.pop(name) for name in IMAGE_OPTIONS}
        _use_endpoint(given.pop("endpoint_url"))
        command(images={name: value for name, value in given.items() if value is not None}, **options)

    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "images"]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in IMAGE_OPTIONS.items()
    ]
    every = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + shared
    called.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    called.__annotations__ = {p.name: p.annotation for p in every}
    return called


# ---------------------------------------------------------------- commands


@app.command()
@with_image_options
def fit(
    images: dict[str, Any],
    src: Source,
    budget: Annotated[list[str], typer.Option(help="What may be spent: 90s, 10min, '$0.50', 20Wh; may be repeated.")],
    max_mb: Annotated[float | None, typer.Option(help="Megabytes that the winner may weigh.")] = None,
    max_ms: Annotated[float | None, typer.Option(help="Milliseconds it may take for an image here.")] = None,
    max_labels: Annotated[int | None, typer.Option(help="Labels that may be used.")] = None,
    prefer: Annotated[str | None, typer.Option(help="Among equals: accuracy, speed or size.")] = None,
    model: Models = None,
    image_size: ImageSizes = None,
    pretrained: Pretrained = True,
    seed: Seed = 0,
    instance: Instance = None,
    usd_per_hour: UsdPerHour = None,
    out: Out = None,
    json_: Json = False,
) -> None:
    """Spend a budget on the best model it can buy, and report what it cost."""
    started = _process_start()
    from scrimp.cost import hourly_rate, warm_up_sensor
    from scrimp.images import ImageSource, find_images

    rate = hourly_rate(instance, usd_per_hour)
    found = find_images(ImageSource(source=src, **images))
    warm_up_sensor()
    import scrimp

    folder = out or _default_out(src)
    chosen = scrimp.fit(
        found,
        scrimp.Budget.parse(*budget, max_mb=max_mb, max_ms=max_ms, max_labels=max_labels, prefer=prefer),
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
@with_image_options
def sweep(
    images: dict[str, Any],
    src: OptionalSource = None,
    model: Models = None,
    image_size: ImageSizes = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Repeat each with this many seeds.")] = None,
    folds: Folds = None,
    augment: Annotated[list[str] | None, typer.Option(help="An augmentation to try; may be repeated.")] = None,
    recipe: Preset = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    freeze: Freeze = None,
    pretrained: Pretrained = None,
    weights: Weights = None,
    plan: PlanFile = None,
    set_: Set = None,
    instance: Instance = None,
    usd_per_hour: UsdPerHour = None,
    on: On = "here",
    out: Out = None,
    json_: Json = False,
) -> None:
    """Train every combination of models, sizes and seeds, compare them and write a report.

    Run the same command again after an interruption: finished runs are kept.
    """
    from scrimp.cost import hourly_rate, warm_up_sensor

    rate = hourly_rate(instance, usd_per_hour)
    tables, axes = _tables(plan, set_, recipe)
    _lay_over(tables, "images", source=src, folds=folds, **images)
    _lay_over(tables, "recipe", epochs=epochs, batch_size=batch_size, lr=lr and _value(lr), freeze=freeze)
    _lay_over(tables, "recipe", pretrained=pretrained, weights=weights)
    asked = {
        "recipe.model": model,
        "preparation.image_px": image_size,
        "recipe.augment": augment,
        "images.fold": list(range(folds)) if folds else None,
        "recipe.seed": list(range(seeds)) if seeds else None,
    }
    axes |= {name: values for name, values in asked.items() if values}
    _source_is_given(tables)
    from scrimp.sweeping import sweep, vary
    from scrimp.techniques import effects, names_of, one_at_a_time, plans_of

    techniques, alternatives = tables.pop("techniques", {}), tables.pop("alternatives", {})
    trials = one_at_a_time(tables, techniques, axes, alternatives) if techniques or alternatives else []
    plans = plans_of(trials) or vary(tables, axes)
    folder = out or _default_out(plans[0].images.source)
    warm_up_sensor()
    runs = sweep(plans, folder, usd_per_hour=rate, apart=bool(trials), on=on)
    from scrimp.tradeoff import compare

    chosen = compare(runs, names=names_of(trials))
    _conclude(chosen, folder, json_, effects(trials, runs))
    if runs[-1].status == "interrupted" or len(runs) < len(plans):
        _say(f"Stopped after {len(runs)} of {len(plans)} runs: the same command goes on from here.")
        raise typer.Exit(130)


@app.command()
@with_image_options
def tune(
    images: dict[str, Any],
    src: OptionalSource = None,
    model: Model = None,
    image_size: ImageSize = None,
    trials: Annotated[int, typer.Option(min=1, help="Settings to try, those of earlier starts counted.")] = 50,
    folds: Folds = None,
    search: Annotated[
        list[str] | None, typer.Option(help="A setting to search, such as lr; may be repeated; all by default.")
    ] = None,
    recipe: Preset = None,
    epochs: Epochs = None,
    pretrained: Pretrained = None,
    weights: Weights = None,
    seed: Seed = None,
    plan: PlanFile = None,
    set_: Set = None,
    instance: Instance = None,
    usd_per_hour: UsdPerHour = None,
    on: On = "here",
    out: Out = None,
    json_: Json = False,
) -> None:
    """Search the settings of a recipe that are best on val, and write a report.

    Run the same command again after an interruption: it goes on. Run it several times at once: the work is shared.
    """
    from scrimp.cost import hourly_rate, warm_up_sensor

    rate = hourly_rate(instance, usd_per_hour)
    given = {"model": model, "epochs": epochs, "pretrained": pretrained, "weights": weights, "seed": seed}
    whole = _one_plan(plan, set_, recipe, images={"source": src, **images}, image_px=image_size, settings=given)
    warm_up_sensor()
    import scrimp

    found = scrimp.find_images(whole.images)
    folder = out or _default_out(whole.images.source) / "tune"
    chosen = scrimp.tune(
        scrimp.select(found, **whole.selection.model_dump()) if whole.selection else found,
        whole.recipe,
        preparation=whole.preparation,
        trials=trials,
        folds=folds,
        search=search or (),
        out=folder,
        usd_per_hour=rate,
        on=on,
    )
    _conclude(chosen, folder, json_)


@app.command()
@with_image_options
def train(
    images: dict[str, Any],
    src: OptionalSource = None,
    model: Model = None,
    image_size: ImageSize = None,
    recipe: Preset = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    augment: Augment = None,
    freeze: Freeze = None,
    pretrained: Pretrained = None,
    weights: Weights = None,
    seed: Seed = None,
    devices: Annotated[int, typer.Option(min=1, help="Processes that train together, a GPU each.")] = 1,
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
    given = {"model": model, "epochs": epochs, "batch_size": batch_size, "lr": lr and _value(lr), "augment": augment}
    given |= {"freeze": freeze, "pretrained": pretrained, "weights": weights, "seed": seed}
    whole = _one_plan(plan, set_, recipe, images={"source": src, **images}, image_px=image_size, settings=given)
    warm_up_sensor()
    from scrimp.sweeping import run_plan_together

    folder = out or _default_out(whole.images.source) / whole.name
    run = run_plan_together(whole, folder, usd_per_hour=rate, devices=devices)
    if run is None:  # torchrun has started several, and another one reports
        return
    if json_:
        print(run.model_dump_json())
    else:
        _print_run(run)
    if run.status == "interrupted":
        raise typer.Exit(130)


@app.command("lr-find")
@with_image_options
def lr_find(
    images: dict[str, Any],
    src: OptionalSource = None,
    model: Model = None,
    image_size: ImageSize = None,
    recipe: Preset = None,
    batch_size: BatchSize = None,
    augment: Augment = None,
    freeze: Freeze = None,
    pretrained: Pretrained = None,
    weights: Weights = None,
    seed: Seed = None,
    plan: PlanFile = None,
    set_: Set = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the curve; runs/NAME/lr-find by default.")
    ] = None,
    json_: Json = False,
) -> None:
    """Find a learning rate in under 100 steps, and draw the curve it comes from.

    The exit code is 1 where the curve has no clear descent.
    """
    given = {"model": model, "batch_size": batch_size, "augment": augment, "freeze": freeze}
    given |= {"pretrained": pretrained, "weights": weights, "seed": seed}
    whole = _one_plan(plan, set_, recipe, images={"source": src, **images}, image_px=image_size, settings=given)
    from scrimp.cost import warm_up_sensor

    warm_up_sensor()
    from scrimp.report import write_lr_curve
    from scrimp.sweeping import ready_for
    from scrimp.training import find_lr

    folder = out or _default_out(whole.images.source) / "lr-find"
    found = find_lr(ready_for(whole), whole.recipe, out=folder)
    page = write_lr_curve(found, folder / "lr_find.html", title=f"Learning rate of {whole.recipe.model}")
    if json_:
        from dataclasses import asdict

        print(json.dumps({**asdict(found), "folder": str(folder), "page": str(page)}, ensure_ascii=False))
    else:
        _print_lr(found, page)
    if found.lr is None:
        raise typer.Exit(1)


@app.command("inspect")
@with_image_options
def look(
    images: dict[str, Any],
    src: Source,
    out: Annotated[Path | None, typer.Option(help="HTML page to write; runs/NAME/inspection.html by default.")] = None,
    json_: Json = False,
) -> None:
    """Look at the images before training: what is there, what is wrong, what the cheapest model gets."""
    from scrimp.cost import warm_up_sensor

    warm_up_sensor()
    from scrimp.images import ImageSource, find_images, inspect_images
    from scrimp.report import write_inspection

    found = inspect_images(find_images(ImageSource(source=src, **images)))
    page = write_inspection(found, out or _default_out(src) / "inspection.html")
    if json_:
        print(json.dumps({**found.to_json(), "page": str(page)}, ensure_ascii=False))
    else:
        _print_inspection(found, page)


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
def explain(
    run: Annotated[Path, typer.Argument(help="Run folder, for example runs/photos/best.")],
    images: Annotated[list[str] | None, typer.Argument(help="Image files to look at, beside those of the run.")] = None,
    out: Annotated[Path | None, typer.Option(help="HTML page to write; explanation.html in RUN by default.")] = None,
    endpoint_url: EndpointUrl = None,
    json_: Json = False,
) -> None:
    """Show why a trained model is right or wrong: heat maps, mistakes, calibration, worse images.

    The exit code is 1 where an image could not be read.
    """
    _use_endpoint(endpoint_url)
    from scrimp.cost import warm_up_sensor

    warm_up_sensor()
    from scrimp.explaining import explain
    from scrimp.report import EXPLANATION, write_explanation

    found = explain(run, images)
    page = write_explanation(found, out or run / EXPLANATION)
    if json_:
        print(json.dumps({**found.to_json(), "page": str(page)}, ensure_ascii=False))
    else:
        _print_explanation(found, page)
    if found.unreadable:
        raise typer.Exit(1)


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="Folder to send, with all that is in it.")],
    uri: Annotated[str, typer.Argument(metavar="URI", help="Where to, such as s3://bucket/prefix.")],
    endpoint_url: EndpointUrl = None,
    json_: Json = False,
) -> None:
    """Send a folder to a bucket; what is there already is not sent again.

    Run the same command again after an interruption: it goes on.
    """
    _use_endpoint(endpoint_url)
    from scrimp.store import push

    try:
        pushed = push(folder, uri)
    except KeyboardInterrupt:
        _say(f"Stopped: what arrived in '{uri}' is whole, and the same command goes on from there.")
        raise typer.Exit(130) from None
    if json_:
        from dataclasses import asdict

        print(json.dumps(asdict(pushed), ensure_ascii=False))
    else:
        seconds = pushed.cost.seconds
        _print(f"{pushed.uploaded:,} of {pushed.files:,} files sent: {pushed.bytes / 1e6:,.1f} MB in {seconds:,.1f} s.")
        _print(f"{pushed.unchanged:,} were there already, unchanged.")
        for key, reason in pushed.unreadable:
            _print(f"- not sent, {key}: {reason}")
    if pushed.unreadable:
        raise typer.Exit(1)


@app.command()
@with_image_options
def select(
    images: dict[str, Any],
    src: Source,
    keep: Annotated[int, typer.Option(help="Training images to keep; val and test stay whole.")],
    method: Annotated[str, typer.Option(help="How to choose: diversity, k-center, …; docs/select.md.")] = "random",
    features: Annotated[
        str, typer.Option(help="What they are compared by: pixels, trained, a pretrained model, or a .npy file.")
    ] = "pixels",
    image_size: Annotated[int | None, typer.Option(help="Side in pixels at which they are looked at.")] = None,
    balance: Annotated[
        str, typer.Option(help="equal: as many of each class; fill: as far as they go; none: any.")
    ] = "equal",
    seed: Annotated[int, typer.Option(help="Which of the possible choices.")] = 0,
    out: Annotated[Path | None, typer.Option(help="File of the kept list; runs/NAME/kept.json by default.")] = None,
    export: Annotated[Path | None, typer.Option(help="Also write the images kept as a folder of classes.")] = None,
    json_: Json = False,
) -> None:
    """Choose the training images that are worth it; --subset then takes the list everywhere."""
    from scrimp.cost import warm_up_sensor

    warm_up_sensor()
    from typing import cast

    from scrimp.images import ImageSource, find_images
    from scrimp.subset import select

    found = find_images(ImageSource(source=src, **images))
    how = {"method": method, "features": features, "image_px": image_size, "seed": seed}
    chosen = select(found, keep=keep, balance=cast("Any", balance), **cast("Any", how))
    path = out or _default_out(src) / "kept.json"
    kept = chosen.save(path)
    if export:
        chosen.export(export)
    counts = chosen.counts()["train"]
    if json_:
        facts = {**kept.model_dump(mode="json"), "path": str(path), "export": str(export) if export else None}
        print(json.dumps({**facts, "counts": counts, "notes": chosen.notes}, ensure_ascii=False))
        return
    _print(f"{len(kept.keys):,} of {kept.chosen_from:,} training images are kept, of {len(counts):,} classes.")
    if kept.objective is not None:
        _print(f"Measure of the method, mean over the classes: {kept.objective:,.6g}")
    _print(f"Choosing took {kept.cost.seconds:,.1f} s, features included.")
    for note in chosen.notes:
        _print(f"- {note}")
    _print(f"List: {path}")
    if export:
        _print(f"Images: {export}")


@app.command()
@with_image_options
def pack(
    images: dict[str, Any],
    src: Source,
    out: Annotated[Path, typer.Argument(help="Folder to write, which then serves as SRC everywhere.")],
    image_size: Annotated[int, typer.Option(min=8, max=1024, help="Short side of what is stored, in pixels.")] = 256,
    format_: Annotated[str, typer.Option("--format", help="raw, jpeg, beton, or auto: raw or jpeg, by room.")] = "auto",
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that decode; one a core by default.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Then read it all and compare the checksums.")] = False,
    json_: Json = False,
) -> None:
    """Decode all images once, into a folder that feeds training faster than the files do.

    Run the same command again after an interruption: it goes on. With a pack that is there already, it writes nothing.
    """
    from scrimp.cost import warm_up_sensor

    warm_up_sensor()
    from typing import cast, get_args

    from scrimp.batches import write_pack
    from scrimp.errors import UnknownName
    from scrimp.images import ImageSource, find_images
    from scrimp.images.packed import Format

    if format_ not in ("auto", *get_args(Format)):
        raise UnknownName("pack format", format_, ("auto", *get_args(Format)))
    found = find_images(ImageSource(source=src, **images))
    kind = cast("Any", format_)
    made = write_pack(found, out, image_px=image_size, format=kind, threads=workers, tell=_say)
    if verify:
        made.verify()
    if json_:
        print(json.dumps({"folder": str(out), "verified": verify, **made.facts}, ensure_ascii=False))
        return
    facts = made.facts
    _print(f"{len(made):,} images at {facts['px']} px, {facts['format']}: {facts['bytes'] / 1e6:,.1f} MB in '{out}'.")
    _print(f"Decoding took {facts['cost']['seconds']:,.1f} s; Pillow had to read {facts['by_pillow']:,} of them.")
    for key, reason in facts["left_out"]:
        _print(f"- left out, {key}: {reason}")
    if verify:
        _print("Every byte is as it was written.")


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
def export(
    run: Annotated[Path, typer.Argument(help="Run folder, for example runs/photos/best.")],
    format_: Annotated[str, typer.Option("--format", help="onnx, onnx-int8, torchscript or safetensors.")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="Folder for the file; the run folder by default.")] = None,
    most_lost: Annotated[float, typer.Option(help="Points of accuracy, mAP or R² that may be lost on test.")] = 1.0,
    json_: Json = False,
) -> None:
    """Write a trained model as a file for other programs, and try that file on the test images.

    A file that cannot be run by itself, or is worse than said, is an error, and nothing is left of it.
    """
    from typing import cast

    from scrimp.serving import export

    made = export(run, format=cast("Any", format_), out=out, most_lost=most_lost)
    if json_:
        tried = {"model": made.model._asdict(), "exported": made.exported._asdict()}
        print(json.dumps({**made._asdict(), **tried, "path": str(made.path), "lost": made.lost}, ensure_ascii=False))
    else:
        _print_export(made)


Onnx = Annotated[bool, typer.Option("--onnx", help="Run model.onnx, which 'scrimp export' writes, not PyTorch.")]
Int8 = Annotated[bool, typer.Option("--int8", help="Run model.int8.onnx, which 'scrimp export' writes.")]


@app.command()
def serve(
    run: Annotated[Path, typer.Argument(help="Run folder, for example runs/photos/best.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 7860,
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines in.")] = "127.0.0.1",
    onnx: Onnx = False,
    int8: Int8 = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with a copy of the model.")] = 1,
    queue: Annotated[int | None, typer.Option(help="Images that may wait in a process; 256 by default.")] = None,
    upload_mb: Annotated[float | None, typer.Option(help="Largest request in MB; 20 by default.")] = None,
    megapixels: Annotated[float | None, typer.Option(help="Largest image; 50 by default.")] = None,
    json_: Json = False,
) -> None:
    """Serve a trained model: a page where images can be dropped, and a JSON API beside it.

    Ctrl-C, or SIGTERM, answers what was taken and ends.
    """
    from scrimp.serving import serve

    def tell(url: str) -> None:
        print(json.dumps({"url": url, "run": str(run)}), flush=True)

    given = {"queue": queue, "upload_mb": upload_mb, "megapixels": megapixels}
    serve(
        run,
        host=host,
        port=port,
        runtime=_runtime(onnx, int8),
        workers=workers,
        limits={name: value for name, value in given.items() if value is not None},
        tell=tell if json_ else None,
    )


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Run folder, for example runs/photos/best.")],
    images: Annotated[list[str], typer.Argument(help="Image files, or folders of them, here or at a URI.")],
    csv: Annotated[Path | None, typer.Option("--csv", help="Write a table to this file, one line an image.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes, each with a copy of the model.")] = 1,
    onnx: Onnx = False,
    int8: Int8 = False,
    endpoint_url: EndpointUrl = None,
    json_: Json = False,
) -> None:
    """Say what a trained model sees in some images; the exit code is 1 where one could not be read."""
    _use_endpoint(endpoint_url)
    from scrimp.serving import predict

    answers = predict(run, images, processes=processes, runtime=_runtime(onnx, int8), tell=_say)
    unread = sum(answer.error is not None for answer in answers)
    if csv:
        from scrimp.serving.predicting import to_csv
        from scrimp.store import write_whole

        write_whole(csv, to_csv(answers).encode())
    if json_:
        print(json.dumps([answer._asdict() for answer in answers], ensure_ascii=False))
    elif csv:
        _print(f"{len(answers):,} images, of which {unread:,} could not be read: {csv}")
    else:
        from rich.table import Table

        table = Table("image", "seen", "probability")
        for answer in answers:
            table.add_row(answer.image, *_seen(answer))
        _print(table)
    if unread:
        raise typer.Exit(1)


# ---------------------------------------------------------------- from options to settings


def _tables(
    plan: Path | None, settings: Sequence[str] | None, preset: str | None = None
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The tables of a plan file, over those of a preset and under --set, and the axes of its [vary] table."""
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
    if preset:
        from scrimp.training.recipes import settings_of

        tables["recipe"] = {**settings_of(preset), **tables.get("recipe", {})}
    return tables, axes


def _one_plan(
    plan: Path | None,
    set_: Sequence[str] | None,
    preset: str | None,
    *,
    images: dict[str, Any],
    image_px: int | None,
    settings: dict[str, Any],
) -> Plan:
    """The plan of a single run, from a file, a preset and the options that were given."""
    tables, axes = _tables(plan, set_, preset)
    if axes:
        raise SettingError(f"'{plan}' varies {', '.join(axes)}: that is for 'scrimp sweep'.")
    _lay_over(tables, "images", **images)
    _lay_over(tables, "preparation", image_px=image_px)
    _lay_over(tables, "recipe", **settings)
    _source_is_given(tables)
    from scrimp.plan import Plan

    return Plan(**tables)


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


def _runtime(onnx: bool, int8: bool) -> Runtime:
    return "onnx-int8" if int8 else "onnx" if onnx else "torch"


def _default_out(source: str) -> Path:
    return Path("runs") / (Path(source.rstrip("/\\")).stem or "images")


def _process_start() -> float:
    """When this process began, on the clock of `time.perf_counter`: imports are spending, too."""
    import psutil

    born: float = psutil.Process().create_time()
    return time.perf_counter() - (time.time() - born)


# ---------------------------------------------------------------- what people see

_UNKNOWN = "–"
_CLASSES = 20  # lines of a table of classes: the page has the rest
_WIDE = 104  # columns that the whole table of a comparison needs


def _conclude(chosen: Chosen, folder: Path, json_: bool, found: Sequence[Effect] = ()) -> None:
    from scrimp.report import write_report
    from scrimp.store import write_whole
    from scrimp.sweeping import keep_best

    keep_best(folder, chosen.best)
    if found:
        from scrimp.techniques import to_csv

        write_whole(folder / "techniques.csv", to_csv(found).encode())
    _print_chosen(chosen, write_report(chosen, folder / "report.html", effects=found), json_, found)


def _seen(answer: Prediction) -> tuple[str, str]:
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


def _print_effects(found: Sequence[Effect]) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    from scrimp.techniques import FIGURES, by_technique

    lines = by_technique(found)
    wide = _console().width >= _WIDE
    shown = [figure for figure in next(iter(lines.values()), {}) if wide or figure in ("val", "seconds")]
    table = Table("technique", "added to", *(FIGURES[figure].title for figure in shown), "pairs", box=SIMPLE)
    for (technique, added_to), figures in lines.items():
        table.add_row(technique, added_to, *(figures[f].verdict for f in shown), figures["val"].pairs)
    _print(table)


def _print_chosen(chosen: Chosen, report: Path | None, json_: bool, found: Sequence[Effect] = ()) -> None:
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
        _print(line)
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
    _print(table)
    if wide:
        _print(f"s, Wh and $ are of one run, ms of one image; {_UNKNOWN}: not measured.")
    if found:
        _print_effects(found)
    _print(chosen.verdict)
    _print(f"Model: {facts['best']}")
    if report:
        _print(f"Report: {report}")


def _print_run(run: Run) -> None:
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
    _print(table)
    _print(f"Folder: {run.folder}")
    for note in [*run.notes, *(f"left out {key}: {reason}" for key, reason in run.left_out[:5])]:
        _print(f"- {note}")
    if len(run.left_out) > 5:
        _print(f"- {len(run.left_out):,} files were left out in all; result.json lists them.")


def _print_inspection(found: Inspection, page: Path) -> None:
    from rich.table import Table

    table = Table("split", "images", "MB")
    for split, amount in found.splits.items():
        table.add_row(split, f"{amount.images:,}", _figure(amount.mb))
    _print(table)
    if found.classes:
        table = Table("class", *found.splits, "unreadable")
        for one in found.classes[:_CLASSES]:
            table.add_row(one.name, *(f"{part.images:,}" for part in one.splits.values()), f"{one.unreadable:,}")
        _print(table)
    if len(found.classes) > _CLASSES:
        _print(f"The first {_CLASSES} of {len(found.classes):,} classes; the page has them all.")
    if found.baseline:
        table = Table("the cheapest models", "chosen on val", "val", "test", "s")
        for score in found.baseline.scores:
            table.add_row(score.name, score.setting, _share(score.val), _share(score.test), _figure(score.seconds))
        _print(table)
    for number, finding in enumerate(found.findings, 1):
        _print(f"{number}. {finding.text} {finding.advice}")
    if not found.findings:
        _print("Nothing wrong was found.")
    for note in found.notes:
        _print(f"- {note}")
    _print(f"Page: {page}")


def _print_explanation(found: Explanation, page: Path) -> None:
    from rich.table import Table

    from scrimp.scores import MEASURES

    measure = MEASURES[found.task]
    if found.given:
        table = Table("image", "said", "probability", "Grad-CAM and occlusion agree")
        for one in found.given:
            agreement = _UNKNOWN if one.agreement is None else f"{one.agreement:.2f}"
            table.add_row(one.key, one.said, _share(one.probability), agreement)
        _print(table)
    for key, reason in found.unreadable:
        _print(f"- not read, {key}: {reason}")
    if found.scores:
        _print(f"{found.split}: {found.scores.said}, {found.scores.n:,} images")
    if found.qualities:
        table = Table("class" if found.task == "classify" else "label", "images", "precision", "recall")
        for quality in found.qualities[:_CLASSES]:
            table.add_row(quality.name, f"{quality.images:,}", _share(quality.precision), _share(quality.recall))
        _print(table)
    if len(found.qualities) > _CLASSES:
        _print(f"The first {_CLASSES} of {len(found.qualities):,}; the page has them all.")
    if found.calibration:
        told = found.calibration
        _print(f"Calibration error (ECE): {told.ece:.1%}" + _scaled(told))
    if found.robustness:
        table = Table("images made worse", "1", "2", "3")
        for kind in dict.fromkeys(one.kind for one in found.robustness.corrupted):
            merits = [measure.text(one.merit) for one in found.robustness.corrupted if one.kind == kind]
            table.add_row(kind, *merits)
        _print(table)
        _print(
            f"{measure.title} on the same {found.robustness.n:,} images as they are: "
            f"{measure.text(found.robustness.clean)}"
        )
    for note in (*found.notes, *(f"not shown: {line}" for line in found.left_out)):
        _print(f"- {note}")
    _print(f"Page: {page}")


def _scaled(told: Calibration) -> str:
    if told.temperature is None or told.ece_scaled is None:
        return ""
    return f"; {told.ece_scaled:.1%} with the temperature {told.temperature:.2f}"


def _print_export(made: Exported) -> None:
    from rich.table import Table

    from scrimp.scores import MEASURES

    measure = MEASURES[made.task]
    table = Table("file", "MB", "ms/image", "images/s", f"test {measure.word}", "agreement")
    for tried in (made.model, made.exported):
        speed = f"{tried.ms_per_image:.2f}", f"{tried.images_per_second:,.0f}"
        table.add_row(tried.file, f"{tried.mb:.2f}", *speed, measure.text(tried.merit), f"{tried.agreement:.1%}")
    _print(table)
    _print(f"Each by its own runtime in a process of its own, on {made.test_images:,} test images; speeds on this CPU.")
    for note in made.notes:
        _print(f"- {note}")
    _print(f"File: {made.path}")


def _print_lr(found: LrFound, page: Path) -> None:
    _print(found.note)
    cost = found.cost
    energy = f"{cost.wh:.3g} Wh by {cost.wh_source}" if cost.wh is not None else "energy not measured"
    _print(f"{len(found.losses)} steps in {cost.seconds:,.1f} s, {energy}.")
    _print(f"Page: {page}")


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
    except SystemExit as stop:
        if stop.code == 130:  # after Ctrl-C no thread is waited for: a server may never answer it
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(130)
        raise
