"""Commands about images and models, before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from scrimp.cli.options import EndpointUrl, Json, OptionalSource, Source, app, use_endpoint, with_image_options
from scrimp.cli.settings import default_out
from scrimp.cli.showing import print_augmentations, print_inspection, say, show
from scrimp.errors import SettingError


@app.command("inspect")
@with_image_options
def look(
    images: dict[str, Any],
    src: Source,
    out: Annotated[Path | None, typer.Option(help="HTML page to write; runs/NAME/inspection.html by default.")] = None,
    outliers: Annotated[
        bool, typer.Option("--outliers", help="Also look for images unlike all others; takes some seconds more.")
    ] = False,
    json_: Json = False,
) -> None:
    """Look at the images before training: what is there, what is wrong, what the cheapest model gets."""
    from scrimp.cost import warm_up_sensor

    warm_up_sensor()
    from scrimp.images import ImageSource, find_images, inspect_images
    from scrimp.report import write_inspection

    if outliers:
        from scrimp.models.autoencoder import strangeness
    seen = find_images(ImageSource(source=src, **images))
    found = inspect_images(seen, outliers=strangeness if outliers else None)
    page = write_inspection(found, out or default_out(src) / "inspection.html")
    if json_:
        print(json.dumps({**found.to_json(), "page": str(page)}, ensure_ascii=False))
    else:
        print_inspection(found, page)


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
    use_endpoint(endpoint_url)
    from scrimp.store import push

    try:
        pushed = push(folder, uri)
    except KeyboardInterrupt:
        say(f"Stopped: what arrived in '{uri}' is whole, and the same command goes on from there.")
        raise typer.Exit(130) from None
    if json_:
        from dataclasses import asdict

        print(json.dumps(asdict(pushed), ensure_ascii=False))
    else:
        seconds = pushed.cost.seconds
        show(f"{pushed.uploaded:,} of {pushed.files:,} files sent: {pushed.bytes / 1e6:,.1f} MB in {seconds:,.1f} s.")
        show(f"{pushed.unchanged:,} were there already, unchanged.")
        for key, reason in pushed.unreadable:
            show(f"- not sent, {key}: {reason}")
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
    from scrimp.subset.exporting import check_export

    found = find_images(ImageSource(source=src, **images))
    if export:
        check_export(found, export)
    how = {"method": method, "features": features, "image_px": image_size, "seed": seed}
    chosen = select(found, keep=keep, balance=cast("Any", balance), **cast("Any", how))
    path = out or default_out(src) / "kept.json"
    kept = chosen.save(path)
    if export:
        chosen.export(export)
    counts = chosen.counts()["train"]
    if json_:
        facts = {**kept.model_dump(mode="json"), "path": str(path), "export": str(export) if export else None}
        print(json.dumps({**facts, "counts": counts, "notes": chosen.notes}, ensure_ascii=False))
        return
    show(f"{len(kept.keys):,} of {kept.chosen_from:,} training images are kept, of {len(counts):,} classes.")
    if kept.objective is not None:
        show(f"Measure of the method, mean over the classes: {kept.objective:,.6g}")
    show(f"Choosing took {kept.cost.seconds:,.1f} s, features included.")
    for note in chosen.notes:
        show(f"- {note}")
    show(f"List: {path}")
    if export:
        show(f"Images: {export}")


@app.command()
@with_image_options
def distill(
    images: dict[str, Any],
    src: Source,
    per_class: Annotated[int, typer.Option(min=1, help="Images to make for each class.")] = 1,
    method: Annotated[str, typer.Option(help="mean, real, k-center, dm, dsa, frepo, …; docs/distill.md.")] = "frepo",
    image_size: Annotated[int, typer.Option(help="Side in pixels; a power of two where images are learned.")] = 32,
    formation: Annotated[int, typer.Option(help="2 learns four images of half the side in the place of one.")] = 1,
    steps: Annotated[int | None, typer.Option(help="Steps of learning; by default as many as are worth it.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Learning ends after these.")] = None,
    judge: Annotated[int, typer.Option(min=0, help="Networks that judge the images on val, for the page.")] = 2,
    seed: Annotated[int, typer.Option(help="Which images are taken or begun from, and every other draw.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of the images made; runs/NAME/distilled by default.")] = None,
    json_: Json = False,
) -> None:
    """Make one training image a class, or a few, that stand for all; 'scrimp train OUT --test SRC' trains on them.

    Run the same command again after an interruption: it goes on.
    """
    from scrimp.cost import warm_up_sensor

    warm_up_sensor()
    from scrimp.images import ImageSource, find_images
    from scrimp.subset import distill

    found = find_images(ImageSource(source=src, **images))
    folder = out or default_out(src) / "distilled"
    distilled = distill(
        found,
        per_class=per_class,
        method=method,
        image_px=image_size,
        formation=formation,
        steps=steps,
        max_seconds=minutes * 60 if minutes else None,
        seed=seed,
        out=folder,
    )
    if distilled.status == "interrupted":
        say(f"Stopped after {distilled.steps:,} steps: the same command goes on from there.")
        raise typer.Exit(130)
    page = None
    if judge:
        from scrimp.report import write_distillation
        from scrimp.subset.distilling.comparing import judged

        page = write_distillation(judged(distilled, found, networks=judge), folder / "report.html")
    if json_:
        facts = json.loads((folder / "distilled.json").read_bytes())
        print(json.dumps({**facts, "folder": str(folder), "page": str(page) if page else None}, ensure_ascii=False))
        return
    show(f"{len(distilled.rows('train')):,} images for {len(distilled.classes):,} classes: '{folder}'.")
    show(f"Making them took {distilled.making.seconds:,.1f} s.")
    for note in distilled.notes:
        show(f"- {note}")
    if page:
        show(f"Page: {page}")


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
    made = write_pack(found, out, image_px=image_size, format=kind, threads=workers, tell=say)
    if verify:
        made.verify()
    if json_:
        print(json.dumps({"folder": str(out), "verified": verify, **made.facts}, ensure_ascii=False))
        return
    facts = made.facts
    show(f"{len(made):,} images at {facts['px']} px, {facts['format']}: {facts['bytes'] / 1e6:,.1f} MB in '{out}'.")
    show(f"Decoding took {facts['cost']['seconds']:,.1f} s; Pillow had to read {facts['by_pillow']:,} of them.")
    for key, reason in facts["left_out"]:
        show(f"- left out, {key}: {reason}")
    if verify:
        show("Every byte is as it was written.")


@app.command()
@with_image_options
def augment(
    images: dict[str, Any],
    src: OptionalSource = None,
    preview: Annotated[bool, typer.Option("--preview", help="Draw what they do to some images of SRC.")] = False,
    augment: Annotated[list[str] | None, typer.Option(help="What to draw; may be repeated; all by default.")] = None,
    image_size: Annotated[int, typer.Option(min=8, max=1024, help="Side in pixels at which it is done.")] = 160,
    out: Annotated[Path | None, typer.Option(help="PNG to write; runs/NAME/augmentations.png by default.")] = None,
    json_: Json = False,
) -> None:
    """List the augmentations, or draw what they do to some images."""
    from scrimp.augment import AUGMENTATIONS

    if preview != (src is not None):
        raise SettingError("To draw what augmentations do, give images and --preview; without both, they are listed.")
    if src is not None:
        from scrimp.images import ImageSource, find_images
        from scrimp.report import write_contact_sheet

        found = find_images(ImageSource(source=src, **images))
        path = out or default_out(src) / "augmentations.png"
        write_contact_sheet(found, path, names=augment or (), image_px=image_size)
        if json_:
            print(json.dumps({"path": str(path)}))
        else:
            show(f"Contact sheet: {path}")
    elif json_:
        cards = {
            name: {k: v for k, v in card._asdict().items() if k != "change"} for name, card in AUGMENTATIONS.items()
        }
        print(json.dumps(cards, ensure_ascii=False))
    else:
        print_augmentations()


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
    show(table)
    show("Any other model of the timm library: timm:NAME. Sizes are with 1,000 classes.")
