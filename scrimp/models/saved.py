"""A trained model on disk: `model.safetensors` (numbers only) and `model.json` (how to use them)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scrimp.errors import NotFound, WeightsError
from scrimp.store import write_whole

if TYPE_CHECKING:
    from scrimp.models.classifier import Classifier


class Loaded(NamedTuple):
    """A model ready to use: class names in the order of its logits, and the image side it was trained at."""

    model: Classifier
    classes: tuple[str, ...]
    image_px: int


def save_model(model: Classifier, folder: Path, *, classes: Sequence[str], image_px: int) -> None:
    """Writes both files, each whole or not at all."""
    from safetensors.torch import save

    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    facts = {
        "model": model.name,
        "classes": list(classes),
        "image_px": image_px,
        "input": "RGB pixels 0 to 255, (n, 3, image_px, image_px); the model normalises them itself",
        "crop": "the short side resized to image_px (bilinear, antialiased), the middle square kept",
    }
    write_whole(folder / "model.safetensors", save(state))
    write_whole(folder / "model.json", json.dumps(facts, indent=1, ensure_ascii=False).encode())


def load_model(folder: str | Path) -> Loaded:
    """The model of a run folder, in eval mode on the CPU.

    Raises `NotFound` when the folder holds no model, `WeightsError` when its files do not belong together.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    from scrimp.models import build

    path = Path(folder) / "model.json"
    try:
        facts = json.loads(path.read_bytes())
        state = load((Path(folder) / "model.safetensors").read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(
            f"No trained model in '{folder}': model.json and model.safetensors are wanted. A sweep or a fit keeps "
            "its winner in the folder 'best'."
        ) from None
    except (SafetensorError, ValueError) as error:
        raise WeightsError(f"The model in '{folder}' cannot be read: {error}.") from None
    model = build(facts["model"], classes=len(facts["classes"]), image_px=facts["image_px"], pretrained=False)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"'{path.parent}/model.safetensors' does not fit a {facts['model']}: {error}") from None
    return Loaded(model.eval(), tuple(facts["classes"]), facts["image_px"])
