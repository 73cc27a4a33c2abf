"""The command line as a whole, and the options that several commands share."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

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
Augment = Annotated[str | None, typer.Option(help="none, basic, or names of 'scrimp augment': mirror,noise:0.1.")]
Freeze = Annotated[str | None, typer.Option(help="none, or backbone to train the head alone.")]
Pretrained = Annotated[
    bool | None,
    typer.Option("--pretrained/--from-scratch", help="Start from published weights, or from none."),
]
Weights = Annotated[str | None, typer.Option(help="A file of weights to start from.")]
Preset = Annotated[str | None, typer.Option("--recipe", help="A preset: plain, quick, frugal, …; options override it.")]
Seed = Annotated[int | None, typer.Option(help="Decides weights, order and augmentation.")]
Instance = Annotated[str | None, typer.Option(help="Price by machine type, such as ml.c5.9xlarge.")]
UsdPerHour = Annotated[float | None, typer.Option(help="Price of this machine per hour.")]
Watts = Annotated[float | None, typer.Option(help="What a meter shows while this machine works, for its energy.")]
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
    "test": Annotated[str | None, typer.Option(help="Train on all of SRC; take val and test from here.")],
    "boxes": Annotated[str | None, typer.Option(help="voc: crop to the boxes of Pascal-VOC XML files.")],
    "box_pick": Annotated[str | None, typer.Option(help="Of several boxes: first, largest or each.")],
    "box_margin": Annotated[float | None, typer.Option(help="Room around a box, percent of its sides.")],
    "remote": Annotated[str | None, typer.Option(help="Read a URI by copy, stream or cache.")],
    "cache_size": Annotated[str | None, typer.Option(help="Disk that --remote cache may fill, such as 20GB.")],
    "endpoint_url": EndpointUrl,
    "data_dir": Annotated[str | None, typer.Option(help="Folder of data sets given by name.")],
}
"""Which images, and how they are read: the same for every command that reads some."""


def use_endpoint(url: str | None) -> None:
    """It is of the machine, as keys are, and not of the plan."""
    if url:
        os.environ["AWS_ENDPOINT_URL"] = url
        os.environ.pop("AWS_ENDPOINT_URL_S3", None)  # which would be heeded first


def with_image_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options above, after its own; it finds those that were given in its `images`.

    A command that has an option of such a name itself means its own by it.
    """
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "images"]
    offered = {name: option for name, option in IMAGE_OPTIONS.items() if name not in {p.name for p in own}}

    @functools.wraps(command)
    def called(**options: Any) -> None:
        given = {name: options.pop(name) for name in offered}
        use_endpoint(given.pop("endpoint_url"))
        command(images={name: value for name, value in given.items() if value is not None}, **options)

    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in offered.items()
    ]
    every = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + shared
    called.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    called.__annotations__ = {p.name: p.annotation for p in every}
    return called
