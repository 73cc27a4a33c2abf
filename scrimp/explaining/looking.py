"""Which images are worth a closer look, and what is seen in them."""

from __future__ import annotations

import io
from base64 import b64encode
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from scrimp.explaining.calibration import probabilities
from scrimp.explaining.kinds import Looked, Pictures
from scrimp.heat_maps import Heat, Pixels, heat_map, occlusion_map, overlay
from scrimp.images.kinds import Task
from scrimp.models.saved import Loaded
from scrimp.scores import number

Array = npt.NDArray[Any]

_JPEG_QUALITY = 88


class Pick(NamedTuple):
    """An image, by its place among those that were looked at, and the output that is to be explained."""

    place: int
    output: int


def most_wrong(task: Task, truth: Array, outputs: Array, count: int) -> list[Pick]:
    """Mistakes, the surest first: of a class, of the one label of an image that is furthest from true, of a target."""
    if task == "regress":
        return _first(np.abs(outputs[:, 0] - truth), np.zeros(len(truth), dtype=np.int64), count)
    chances = probabilities(task, outputs)
    if task == "multilabel":
        wrong = np.where((chances >= 0.5) != (truth == 1), np.abs(chances - 0.5), -1.0)
        return _first(wrong.max(axis=1), wrong.argmax(axis=1), count)
    said = chances.argmax(axis=1)
    return _first(np.where(said == truth, -1.0, chances.max(axis=1)), said, count)


def least_sure(task: Task, outputs: Array, count: int) -> list[Pick]:
    """The images whose likeliest class is the least likely, or one of whose labels is nearest to a probability of 0.5.

    None for targets, of which a model does not say how sure it is.
    """
    if task == "regress":
        return []
    chances = probabilities(task, outputs)
    if task == "multilabel":
        doubt = 0.5 - np.abs(chances - 0.5)
        return _first(doubt.max(axis=1), doubt.argmax(axis=1), count)
    return _first(1 - chances.max(axis=1), chances.argmax(axis=1), count)


def _first(keen: Array, output: Array, count: int) -> list[Pick]:
    """The highest first, those of the same height in their order; what is below 0 is not wanted."""
    places = [place for place in np.argsort(-keen, kind="stable")[:count].tolist() if keen[place] >= 0]
    return [Pick(place, int(output[place])) for place in places]


def look_closely(loaded: Loaded, key: str, pixels: Pixels, outputs: Array, about: int, truth: Any = None) -> Looked:
    """One image with its heat maps.

    pixels: uint8 (px, px, 3), as the model is fed; outputs: what it said of them (outputs,); about: which of these to
    explain; truth: the label as `Images` holds it, where it is known. Cost: 55 to 60 forward passes.
    """
    model, classes, _, task = loaded
    heat, hidden = heat_map(model, pixels, about), occlusion_map(model, pixels, about)
    mistaken = task == "classify" and truth is not None and truth != about
    return Looked(
        key=key,
        truth=None if truth is None else in_words(task, classes, truth),
        said=in_words(task, classes, _said(task, outputs)),
        about=classes[about] if classes else "",
        probability=None if task == "regress" else float(probabilities(task, outputs[None])[0, about]),
        agreement=_agreement(heat, hidden),
        pictures=Pictures(
            image=jpeg_uri(pixels),
            grad_cam=jpeg_uri(overlay(pixels, heat)),
            occlusion=jpeg_uri(overlay(pixels, hidden)),
            grad_cam_truth=jpeg_uri(overlay(pixels, heat_map(model, pixels, int(truth)))) if mistaken else None,
        ),
    )


def in_words(task: Task, classes: tuple[str, ...], label: Any) -> str:
    """A label as `Images` holds it: the name of the class, those of all labels, or the number."""
    if task == "regress":
        return number(float(label))
    if task == "multilabel":
        return ", ".join(classes[n] for n in np.flatnonzero(label)) or "none of the labels"
    return classes[int(label)]


def _said(task: Task, outputs: Array) -> Any:
    """The label that outputs stand for."""
    if task == "classify":
        return outputs.argmax()
    return outputs[0] if task == "regress" else outputs >= 0


def _agreement(one: Heat, other: Heat) -> float | None:
    if not (one.std() and other.std()):
        return None
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def jpeg_uri(pixels: Pixels) -> str:
    """A small picture for a page."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}"
