"""A number for each image, reckoned from its pixels: what a regression can be tried on with any images at all."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scrimp.batches import Preparation, prepare
from scrimp.batches.shaping import Pixels
from scrimp.errors import SettingError
from scrimp.images import Images, ImageSource, find_images
from scrimp.plan import Plan
from scrimp.store import is_uri, write_whole
from scrimp.studying.plans import Part


def with_target(plans: Sequence[Plan], part: Part, folder: Path) -> list[Plan]:
    """The plans as they are, or, for a part with a target, of the same images and splits with that number as label.

    Writes `targets.csv` into the folder, once. Raises `SettingError` for images that are no files.
    Cost: packing the images at the size of the first plan.
    """
    if part.target is None or not plans:
        return list(plans)
    source = plans[0].images
    table = folder / "targets.csv"
    if not table.is_file():
        write_whole(table, _manifest(find_images(source), plans[0].preparation.image_px).encode())
    targets = ImageSource(source=str(table), task="regress", split_seed=source.split_seed)
    return [plan.but(images=targets) for plan in plans]


def colourfulness(pixels: Pixels) -> float:
    """How colourful an image (h, w, 3) looks: 0 for grey, above 100 for the gaudiest.

    Hasler and Süsstrunk, "Measuring colourfulness in natural images", 2003, their third metric.
    """
    red, green, blue = pixels.astype(np.float64).reshape(-1, 3).T
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    return float(spread + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean()))


def _manifest(images: Images, px: int) -> str:
    """A line for each image that can be read: where it lies, its number, its split."""
    ready = prepare(images, **Preparation(image_px=px).model_dump())
    found = ready.images
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "target", "split"])
    for row, item in enumerate(found.items):
        if not isinstance(item, str):
            raise SettingError(
                f"'{images.source.source}' holds its images in memory, and a target wants files to name: give a folder."
            )
        path = item if is_uri(item) else str(Path(item).absolute())
        writer.writerow([path, f"{colourfulness(ready.pixels[row]):.4f}", found.splits[row]])
    return text.getvalue()
