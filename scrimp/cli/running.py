"""Commands that train: one run, many, or as many as a budget buys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from scrimp.cli.options import (
    Augment,
    BatchSize,
    Epochs,
    Folds,
    Freeze,
    ImageSize,
    ImageSizes,
    Instance,
    Json,
    LearningRate,
    Model,
    Models,
    On,
    OptionalSource,
    Out,
    PlanFile,
    Preset,
    Pretrained,
    Seed,
    Set,
    Source,
    UsdPerHour,
    Watts,
    Weights,
    app,
    with_image_options,
)
from scrimp.cli.settings import (
    default_out,
    lay_over,
    model_is_given,
    one_plan,
    process_start,
    source_is_given,
    tables_of,
    value_of,
)
from scrimp.cli.showing import conclude, print_chosen, print_lr, print_run, say
from scrimp.errors import SettingError


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
    on: On = "here",
    watts: Watts = None,
    out: Out = None,
    json_: Json = False,
) -> None:
    """Spend a budget on the best model it can buy, and report what it cost."""
    started = process_start()
    from scrimp.cost import hourly_rate, use_watts, warm_up_sensor
    from scrimp.images import ImageSource, find_images

    rate = hourly_rate(instance, usd_per_hour)
    use_watts(watts)
    found = find_images(ImageSource(source=src, **images))
    warm_up_sensor()
    import scrimp

    folder = out or default_out(src)
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
        on=on,
    )
    conclude(chosen, folder, json_)


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
    watts: Watts = None,
    on: On = "here",
    out: Out = None,
    json_: Json = False,
) -> None:
    """Train every combination of models, sizes and seeds, compare them and write a report.

    Run the same command again after an interruption: finished runs are kept.
    """
    from scrimp.cost import hourly_rate, use_watts, warm_up_sensor

    rate = hourly_rate(instance, usd_per_hour)
    use_watts(watts)
    tables, axes = tables_of(plan, set_, recipe)
    lay_over(tables, "images", axes, source=src, folds=folds, **images)
    lay_over(tables, "recipe", axes, epochs=epochs, batch_size=batch_size, lr=lr and value_of(lr), freeze=freeze)
    lay_over(tables, "recipe", axes, pretrained=pretrained, weights=weights)
    asked = {
        "recipe.model": model,
        "preparation.image_px": image_size,
        "recipe.augment": augment,
        "images.fold": list(range(folds)) if folds else None,
        "recipe.seed": list(range(seeds)) if seeds else None,
    }
    axes |= {name: values for name, values in asked.items() if values}
    source_is_given(tables)
    model_is_given(tables, axes)
    from scrimp.sweeping import sweep, vary
    from scrimp.techniques import effects, names_of, one_at_a_time, plans_of

    techniques, alternatives = tables.pop("techniques", {}), tables.pop("alternatives", {})
    trials = one_at_a_time(tables, techniques, axes, alternatives) if techniques or alternatives else []
    plans = plans_of(trials) or vary(tables, axes)
    folder = out or default_out(plans[0].images.source)
    warm_up_sensor()
    runs = sweep(plans, folder, usd_per_hour=rate, apart=bool(trials), on=on)
    from scrimp.tradeoff import compare

    chosen = compare(runs, names=names_of(trials))
    conclude(chosen, folder, json_, effects(trials, runs))
    if runs[-1].status == "interrupted" or len(runs) < len(plans):
        say(f"Stopped after {len(runs)} of {len(plans)} runs: the same command goes on from here.")
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
    watts: Watts = None,
    on: On = "here",
    out: Out = None,
    json_: Json = False,
) -> None:
    """Search the settings of a recipe that are best on val, and write a report.

    Run the same command again after an interruption: it goes on. Run it several times at once: the work is shared.
    """
    from scrimp.cost import hourly_rate, use_watts, warm_up_sensor

    rate = hourly_rate(instance, usd_per_hour)
    use_watts(watts)
    given = {"model": model, "epochs": epochs, "pretrained": pretrained, "weights": weights, "seed": seed}
    whole = one_plan(plan, set_, recipe, images={"source": src, **images}, image_px=image_size, settings=given)
    if whole.distillation:
        raise SettingError(
            "'scrimp tune' learns from no images that are distilled on the way: leave [distillation] out, or distil "
            "first and tune on that folder."
        )
    warm_up_sensor()
    import scrimp

    found = scrimp.find_images(whole.images)
    folder = out or default_out(whole.images.source) / "tune"
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
    conclude(chosen, folder, json_)
    if chosen.stopped:
        raise typer.Exit(130)


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
    watts: Watts = None,
    out: Out = None,
    json_: Json = False,
) -> None:
    """Train one model by one recipe and measure it.

    Without --recipe and --plan, a model that starts from weights is trained by the recipe frugal.
    """
    from scrimp.cost import hourly_rate, use_watts, warm_up_sensor

    rate = hourly_rate(instance, usd_per_hour)
    use_watts(watts)
    given = {"model": model, "epochs": epochs, "batch_size": batch_size, "lr": lr and value_of(lr), "augment": augment}
    given |= {"freeze": freeze, "pretrained": pretrained, "weights": weights, "seed": seed}
    whole = one_plan(
        plan, set_, recipe, images={"source": src, **images}, image_px=image_size, settings=given, frugal=True
    )
    warm_up_sensor()
    from scrimp.sweeping import run_plan_together

    folder = out or default_out(whole.images.source) / whole.name
    run = run_plan_together(whole, folder, usd_per_hour=rate, devices=devices)
    if run is None:  # torchrun has started several, and another one reports
        return
    if json_:
        print(run.model_dump_json())
    else:
        print_run(run)
    if run.status in ("interrupted", "failed"):
        raise typer.Exit(130 if run.status == "interrupted" else 1)


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
    whole = one_plan(plan, set_, recipe, images={"source": src, **images}, image_px=image_size, settings=given)
    from scrimp.cost import warm_up_sensor

    warm_up_sensor()
    from scrimp.report import write_lr_curve
    from scrimp.sweeping import ready_for
    from scrimp.training import find_lr

    folder = out or default_out(whole.images.source) / "lr-find"
    found = find_lr(ready_for(whole), whole.recipe, out=folder)
    page = write_lr_curve(found, folder / "lr_find.html", title=f"Learning rate of {whole.recipe.model}")
    if json_:
        from dataclasses import asdict

        print(json.dumps({**asdict(found), "folder": str(folder), "page": str(page)}, ensure_ascii=False))
    else:
        print_lr(found, page)
    if found.lr is None:
        raise typer.Exit(1)


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
    print_chosen(chosen, report, json_)
