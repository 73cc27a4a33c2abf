"""What does it cost in accuracy that training crops are resized more cheaply than evaluation's squares?

The same recipe, the same crops and seeds, once as Scrimp feeds them (decoded at 1/2, 1/4 or 1/8 where that is enough,
linear without antialiasing up to a factor of two) and once as evaluation does (decoded whole, antialiased by Pillow):
mobilenet_v2 from pretrained weights, straight from the JPEG files, `augment="crop,mirror"`. Val and test are resized
alike for both.

    python benchmarks/resizing.py FOLDER [FOLDER ...] --weights mobilenet_v2.pth [--image-size 128] [--quick]

Summary keys, in points of top-1 accuracy on test: `cheap_minus_antialiased` (mean over data and seeds), `spread`
(standard deviation of the single differences), `n`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from record import record

from scrimp import Recipe, find_images, measure, prepare, train
from scrimp.batches import feeding, reading
from scrimp.batches.reading import Stored, open_exactly
from scrimp.images.fast import random_box


def crop_antialiased(
    out: reading.Pixels, stored: Stored, row: int, numbers: npt.NDArray[np.float64], *, mirrors: bool
) -> None:
    """What `crop_of` does, with every pixel of the file decoded and every pixel of the crop counting."""
    image = open_exactly(stored.images, row, max(Image.open(str(stored.images.items[row])).size), stored.reader).image
    top, left, height, width = random_box(image.height, image.width, numbers)
    box = (left, top, left + width, top + height)
    pixels = np.asarray(image.resize((len(out), len(out)), Image.Resampling.BILINEAR, box=box))
    out[:] = pixels[:, ::-1] if mirrors and numbers[-1] < 0.5 else pixels


CROPS = {"cheap": feeding.crop_of, "antialiased": crop_antialiased}


def one_run(folder: Path, kind: str, seed: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Trains and measures once."""
    feeding.crop_of = CROPS[kind]  # type: ignore[attr-defined]
    images = find_images(folder, per_class=10 if asked.quick else None)
    recipe = Recipe(
        model="mobilenet_v2",
        weights=asked.weights,
        epochs=1 if asked.quick else asked.epochs,
        augment="crop,mirror",
        seed=seed,
    )
    out = Path(asked.out) / f"{folder.name}-{kind}-{seed}"
    run = measure(train(prepare(images, image_px=asked.image_size, pack="none"), recipe, out=out))
    assert run.test is not None
    row = {"data": folder.name, "resize": kind, "seed": seed, "train_s": run.costs["train"].seconds}
    return row | {"val_top1": run.val.top1, "test_top1": run.test.top1}


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Differences of pairs that share data and seed."""
    test = {(row["data"], row["seed"], row["resize"]): 100 * row["test_top1"] for row in rows}
    pairs = sorted({(data, seed) for data, seed, _ in test})
    differences = [test[(*pair, "cheap")] - test[(*pair, "antialiased")] for pair in pairs]
    spread = stdev(differences) if len(differences) > 1 else None
    return {"cheap_minus_antialiased": mean(differences), "spread": spread, "n": len(differences)}


def main() -> None:
    """Trains in pairs, and records after all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--weights", required=True, help="pretrained weights of mobilenet_v2")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", default="runs/resizing")
    parser.add_argument("--quick", action="store_true", help="10 images a class, one epoch, one seed")
    asked = parser.parse_args()
    rows = []
    for folder in asked.data:
        for seed in range(1 if asked.quick else asked.seeds):
            for kind in CROPS:
                rows.append(one_run(folder, kind, seed, asked))
                print(rows[-1], file=sys.stderr)
    record("resizing", rows, summarise(rows), quick=asked.quick)


if __name__ == "__main__":
    main()
