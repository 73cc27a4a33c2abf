"""A trained model on disk: `model.safetensors` (numbers only) and `model.json` (how to use them)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scrimp.errors import NotFound, WeightsError
from scrimp.images.kinds import Task
from scrimp.store import write_whole

if TYPE_CHECKING:
    from scrimp.models.classifier import Classifier

BOXED = "It learnt from images that were cut to boxes: give it images that are cut so as well."
"""What is told where such a model is given images from elsewhere."""

_OUTPUT: dict[Task, str] = {
    "classify": "logits (n, classes); their softmax is the probability of each class",
    "multilabel": "logits (n, classes); their sigmoid is the probability of each label",
    "regress": "targets (n, 1), in their own unit",
}


class Loaded(NamedTuple):
    """A model ready to use: class names in the order of its outputs, the image side it was trained at, its task.

    Outputs are logits: softmax makes them probabilities of classes (classify), a sigmoid those of labels (multilabel).
    For the task regress the one output is the target in its own unit, and there are no classes.
    """

    model: Classifier
    classes: tuple[str, ...]
    image_px: int
    task: Task


def save_model(
    model: Classifier,
    folder: Path,
    *,
    classes: Sequence[str],
    image_px: int,
    task: Task = "classify",
    boxed: bool = False,
) -> None:
    """Writes both files, each whole or not at all; model.json tells by a digest which weights it belongs to.

    boxed: the images that it learnt from were cut to boxes.
    """
    from safetensors.torch import save

    crop = "the short side resized to image_px (bilinear, antialiased), the middle square kept"
    crop = f"the image cut to its box, then {crop}" if boxed else crop
    weights = save({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()})
    facts = {
        "model": model.name,
        "task": task,
        "output": _OUTPUT[task],
        "classes": list(classes),
        "image_px": image_px,
        "shape": model.shape._asdict(),
        "flips": model.flips,
        "input": "RGB pixels 0 to 255, (n, 3, image_px, image_px); the model normalises them itself",
        "boxed": boxed,
        "crop": crop,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    write_whole(folder / "model.safetensors", weights)
    write_whole(folder / "model.json", json.dumps(facts, indent=1, ensure_ascii=False).encode())


def read_facts(folder: str | Path) -> dict[str, Any]:
    """What `model.json` says of the model in a folder; raises as `load_model` does. Reads no weights."""
    try:
        facts: dict[str, Any] = json.loads((Path(folder) / "model.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise _no_model(folder) from None
    except ValueError as error:
        raise _unreadable(folder, error) from None
    return {"task": "classify", **facts}  # which was all there was, once


def load_model(folder: str | Path) -> Loaded:
    """The model of a run folder, in eval mode on the CPU, where channels_last is the fast order for its images.

    Raises `NotFound` when the folder holds no model, `WeightsError` when its files do not belong together.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    from scrimp.models import Shape, build

    path = Path(folder) / "model.safetensors"
    facts = read_facts(folder)
    try:
        weights = path.read_bytes()
        state = load(weights)
    except (FileNotFoundError, NotADirectoryError):
        raise _no_model(folder) from None
    except (SafetensorError, ValueError) as error:
        raise _unreadable(folder, error) from None
    told = facts.get("weights_sha256")  # which was not written, once
    if told and told != hashlib.sha256(weights).hexdigest():
        raise WeightsError(
            f"'{path}' is not what the model.json beside it was written for: its classes may be others. If a run is "
            "being saved there now, try again; else its saving was cut off, or a file was exchanged: train it again."
        )
    task: Task = facts["task"]
    model = build(
        facts["model"],
        classes=len(facts["classes"]) or 1,
        image_px=facts["image_px"],
        pretrained=False,
        shape=Shape(**facts.get("shape", {})),
    )
    model.flips = facts.get("flips", False)
    if task == "regress":
        model.set_units(0.0, 1.0)  # makes room for those that are loaded
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"'{path}' does not fit a {facts['model']}: {error}") from None
    model.eval().to(memory_format=torch.channels_last)
    return Loaded(model, tuple(facts["classes"]), facts["image_px"], task)


def _no_model(folder: str | Path) -> NotFound:
    return NotFound(
        f"No trained model in '{folder}': model.json and model.safetensors are wanted. A sweep or a fit keeps "
        "its winner in the folder 'best'."
    )


def _unreadable(folder: str | Path, error: Exception) -> WeightsError:
    return WeightsError(f"The model in '{folder}' cannot be read: {error}.")
