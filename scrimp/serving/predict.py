"""A trained model and images in, class probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from scrimp.batches import square
from scrimp.errors import ImageError, NotFound
from scrimp.images.decode import open_rgb
from scrimp.meter import Run
from scrimp.models.saved import load_model


class Prediction(NamedTuple):
    """What a model sees in one image: its most likely class and all probabilities, or why it saw nothing."""

    image: str
    label: str | None
    probabilities: dict[str, float]
    error: str | None


class Predictor:
    """A model of a run folder, loaded once, on the CPU. Raises what `load_model` raises."""

    def __init__(self, run: Run | str | Path) -> None:
        folder = (run.folder or "") if isinstance(run, Run) else run
        self.model, self.classes, self.image_px = load_model(folder)

    @torch.inference_mode()
    def probabilities(self, image: Image.Image) -> dict[str, float]:
        """Class name -> probability of one RGB image of any size, most likely first."""
        pixels = torch.from_numpy(np.array(square(image, self.image_px))).permute(2, 0, 1)[None]
        chances = self.model(pixels).softmax(1)[0]
        order = chances.argsort(descending=True).tolist()
        return {self.classes[i]: float(chances[i]) for i in order}


def predict(run: Run | str | Path, images: Sequence[str]) -> list[Prediction]:
    """One prediction per image file, in their order; a file that cannot be read is told, not fatal.

    Cost: one decode and one forward pass per image.
    """
    predictor = Predictor(run)
    answers = []
    for item in images:
        try:
            chances = predictor.probabilities(open_rgb(item)[0])
        except (ImageError, NotFound) as error:
            answers.append(Prediction(item, None, {}, str(error)))
            continue
        answers.append(Prediction(item, next(iter(chances)), chances, None))
    return answers
