"""The page where an image is dropped: what the model sees in it, where it looks, how long that took, and its card."""

from __future__ import annotations

import io
import threading
import time
from pathlib import Path
from typing import Any

import gradio
import numpy as np
import numpy.typing as npt
from PIL import Image

from scrimp.errors import ImageError, NotFound, SettingError
from scrimp.meter import SHEET_ROWS, Run, load_run
from scrimp.models.saved import BOXED
from scrimp.scores import number
from scrimp.serving.predicting import Prediction, Predictor
from scrimp.serving.service import Refused, Service

Pixels = npt.NDArray[np.uint8]

_KEPT_SECONDS = 3600  # what was uploaded lies on the disk no longer than about this
_TILE = 96  # pixels, of the contact sheet
_SHOWN = 5  # of many classes, the most probable
_LEAST_SIDE = 320  # pixels of a heat map as it is shown: what a model of 32 px saw would be a stamp
_ONE_MAP = threading.Lock()  # hooks hang in the model meanwhile


def build_page(service: Service, examples: Path) -> gradio.Blocks:
    """The page around a service. examples: a folder to write small training images into, to be clicked.

    No event waits in a queue of Gradio's, so that several processes can serve the same page.
    """
    predictor = service.predictor
    card, tiles = card_of(predictor.folder), examples_in(predictor.folder, examples)
    with gradio.Blocks(
        title=predictor.name, analytics_enabled=False, delete_cache=(_KEPT_SECONDS, _KEPT_SECONDS)
    ) as page:
        gradio.Markdown(f"# {predictor.name}\n{_what_it_does(predictor)}")
        with gradio.Row():
            with gradio.Column():
                image = gradio.Image(
                    type="filepath", image_mode=None, sources=["upload", "webcam", "clipboard"], label="Image"
                )
                with_heat = gradio.Checkbox(value=True, label="Show where it looks")
                if tiles:
                    gradio.Examples([[str(tile)] for tile in tiles], [image], label="Training images, small")
            with gradio.Column():
                answer = _answer_box(predictor)
                heat = gradio.Image(
                    label="Where it looks", interactive=False, format="png", buttons=["fullscreen", "download"]
                )
                took = gradio.Markdown()
        with gradio.Accordion("What this model is", open=False):
            gradio.Markdown(card)
        gradio.Markdown("Programs ask `POST /predict`: [how](/docs).")

        def shown(path: str | None, wanted: bool) -> tuple[Any, Pixels | None, str]:
            try:
                return shown_for(service, path, heat=wanted)
            except Refused as refused:
                raise gradio.Error(refused.message, print_exception=False) from None

        inputs, outputs = [image, with_heat], [answer, heat, took]
        image.change(shown, inputs, outputs, queue=False, api_name="predict")
        with_heat.change(shown, inputs, outputs, queue=False, api_visibility="private")
    return page  # type: ignore[no-any-return]


def shown_for(service: Service, path: str | None, *, heat: bool) -> tuple[Any, Pixels | None, str]:
    """What the page shows for a file: the answer, the image under its heat map if that is wanted, what it took.

    Raises `Refused` as the JSON API does.
    """
    predictor = service.predictor
    if path is None:
        return None if predictor.task == "regress" else {}, None, ""
    began = time.perf_counter()
    seen, pixels = service.look("This image", Path(path).read_bytes())
    answered = time.perf_counter()
    took = f"Seen in {1000 * (answered - began):.0f} ms"
    if not heat:
        return answer_for(seen), None, f"{took}."
    try:
        picture = _under_heat(predictor, pixels.transpose(1, 2, 0), seen)
    except SettingError as error:  # not every model has a place to look at
        return answer_for(seen), None, f"{took}. {error}"
    return answer_for(seen), picture, f"{took}, heat map in {1000 * (time.perf_counter() - answered):.0f} ms more."


def answer_for(seen: Prediction) -> Any:
    """Probabilities by name, those of labels that count as present marked; or the number."""
    if seen.target is not None:
        return float(f"{seen.target:.6g}")
    present = seen.labels or ()
    return {f"✓ {name}" if name in present else name: chance for name, chance in seen.probabilities.items()}


def _under_heat(predictor: Predictor, pixels: Pixels, seen: Prediction) -> Pixels:
    """The square (px, px, 3) that the model saw, and over it what spoke for its answer."""
    from scrimp.heat_maps import heat_map, overlay

    index = predictor.classes.index(next(iter(seen.probabilities))) if seen.probabilities else 0
    with _ONE_MAP:
        heat = heat_map(predictor.model, pixels, index)
    times = max(1, _LEAST_SIDE // len(pixels))
    return overlay(pixels, heat).repeat(times, 0).repeat(times, 1)


def _answer_box(predictor: Predictor) -> Any:
    many = len(predictor.classes)
    if predictor.task == "regress":
        return gradio.Number(label="Target", interactive=False)
    return gradio.Label(num_top_classes=many if predictor.task == "multilabel" else min(_SHOWN, many), label="It sees")


def _what_it_does(predictor: Predictor) -> str:
    boxed = f" {BOXED}" if predictor.boxed else ""
    if predictor.task == "regress":
        return f"Reads a number off an image, at {predictor.image_px} px.{boxed}"
    kind = "labels, any of which an image may have" if predictor.task == "multilabel" else "classes"
    return f"Tells {len(predictor.classes):,} {kind}, at {predictor.image_px} px.{boxed}"


# ---------------------------------------------------------------- what a run folder tells


def card_of(folder: Path) -> str:
    """The model's card as Markdown: what it was trained on, how good it is, what it cost; unknown is said to be so."""
    try:
        run = load_run(folder)
    except NotFound:
        return "There is no `result.json` beside this model: what it was trained on, and how good it is, is not known."
    except ImageError:
        return "The `result.json` beside this model is of another version of Scrimp: what it says is not known here."
    lines = [
        ("Model", f"{run.plan.recipe.model}, {run.start}"),
        ("Trained on", f"{run.plan.images.source}: {run.image_counts.get('train', 0):,} images, {run.date[:10]}"),
        ("On val", f"{run.val.said}, {run.val.n:,} images" if run.val else "not measured"),
        ("On test", f"{run.test.said}, {run.test.n:,} images" if run.test else "not measured"),
        ("Size", f"{run.size.parameters:,} parameters, {run.size.mb:.1f} MB" if run.size else "not measured"),
        ("Speed", _speed(run)),
        ("It cost", _bill(run)),
    ]
    first, *rows = (f"| {name} | {value.replace('|', '/')} |" for name, value in lines)
    return "\n".join([first, "|---|---|", *rows, "", *(f"- {note}" for note in run.notes)])


def _speed(run: Run) -> str:
    if not run.speed:
        return "not measured"
    return f"{run.speed.ms_per_image:.1f} ms an image when it was trained, on {run.speed.device}"


def _bill(run: Run) -> str:
    cost = run.cost
    energy = f"{number(cost.wh)} Wh by {cost.wh_source}" if cost.wh is not None else "energy not measured"
    money = f"${number(cost.usd)}" if cost.usd is not None else "no price given"
    return f"{number(cost.seconds)} s, {energy}, {money}"


def examples_in(folder: Path, out: Path) -> list[Path]:
    """The first image of each line of a run's contact sheet, written as files into `out`."""
    try:
        sheet = Image.open(io.BytesIO((folder / "examples.jpg").read_bytes())).convert("RGB")
    except OSError:  # a folder may hold the model alone
        return []
    tiles = []
    for line in range(min(SHEET_ROWS, sheet.height // _TILE)):
        path = out / f"{line:02d}.png"
        sheet.crop((0, line * _TILE, _TILE, (line + 1) * _TILE)).save(path)
        tiles.append(path)
    return tiles
