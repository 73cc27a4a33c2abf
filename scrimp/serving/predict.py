"""A trained model and images in; a class, labels or a number out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scrimp.batches import square
from scrimp.errors import ImageError, NotFound
from scrimp.images.decode import open_rgb
from scrimp.meter import Run
from scrimp.models.saved import load_model

THRESHOLD = 0.5
"""A label counts as present from this probability on."""


class Prediction(NamedTuple):
    """What a model sees in one image, or why it saw nothing; what is not of the model's task is None.

    probabilities: of every class or label, highest first. label: the most likely class (classify). labels: those at
    `THRESHOLD` and above, most likely first (multilabel). target: the number, in the unit of the targets (regress).
    """

    image: str
    probabilities: dict[str, float]
    label: str | None = None
    labels: tuple[str, ...] | None = None
    target: float | None = None
    error: str | None = None


class Predictor:
    """A model of a run folder, loaded once, on the CPU. Raises what `load_model` raises."""

    def __init__(self, run: Run | str | Path) -> None:
        folder = (run.folder or "") if isinstance(run, Run) else run
        self.model, self.classes, self.image_px, self.task = load_model(folder)

    def look(self, image: Image.Image, name: str = "") -> Prediction:
        """What the model says about one RGB image of any size."""
        outputs = self._outputs(image)
        if self.task == "regress":
            return Prediction(name, {}, target=float(outputs[0]))
        chances = outputs.sigmoid() if self.task == "multilabel" else outputs.softmax(0)
        order = chances.argsort(descending=True).tolist()
        known = {self.classes[i]: float(chances[i]) for i in order}
        if self.task == "multilabel":
            present = tuple(label for label, chance in known.items() if chance >= THRESHOLD)
            return Prediction(name, known, labels=present)
        return Prediction(name, known, label=next(iter(known)))

    @torch.inference_mode()
    def _outputs(self, image: Image.Image) -> Tensor:
        pixels = torch.from_numpy(np.array(square(image, self.image_px))).permute(2, 0, 1)[None]
        outputs: Tensor = self.model(pixels)[0]
        return outputs


def predict(run: Run | str | Path, images: Sequence[str]) -> list[Prediction]:
    """One prediction per image file, in their order; a file that cannot be read is told, not fatal.

    Cost: one decode and one forward pass per image.
    """
    predictor = Predictor(run)
    answers = []
    for item in images:
        try:
            answers.append(predictor.look(open_rgb(item)[0], item))
        except (ImageError, NotFound) as error:
            answers.append(Prediction(item, {}, error=str(error)))
    return answers
