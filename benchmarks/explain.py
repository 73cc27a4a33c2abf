"""Does the heat lie on what decides, and does it go away with the knowledge?

Images of 96 pixels on noise, each with three discs of the same size: one in a colour that decides the class (red,
green, blue, yellow), two in colours that say nothing. A fifth class has nothing but the latter, or else one of the
colours could be told by the absence of the others, with nothing to point at. Models learn them from scratch; then, for
the true class of every test image with a colour, is the hottest point within the disc that decides? (The pointing
game: Zhang and others, "Top-down Neural Attention by Excitation Backprop", arXiv 1608.00507, with the usual tolerance
of 15 pixels of 224.) The same with weights drawn at random (the sanity check of Adebayo and others, arXiv 1810.03292):
the discs that decide nothing are as conspicuous, so that a map which follows edges instead of the model would go on
being right for about every third image.

    python benchmarks/explain.py [--model NAME ...] [--quick]

Summary keys, of the worst model of Scrimp's table that was tried: `pointing_game` and `pointing_game_occlusion` (part
of the test images), `pointing_game_strict` (without tolerance), `accuracy`. `pointing_game_vit`: of a tiny vision
transformer with a class token, from outside the table; None if it was not tried. Of all: `pointing_game_random` and
`correlation_random` (random weights: the best pointing game, and the highest mean correlation with the maps of the
trained model); `area` (part of an image that the disc and the tolerance cover: what chance would hit).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from record import record

from scrimp import Recipe, build, find_images, prepare, train
from scrimp.heat_maps import Heat, find_layer, heat_map, occlusion_map
from scrimp.models import Classifier
from scrimp.training.evaluate import predict

PX = 96
DISC = 30
TOLERANCE = PX * 15 / 224
CLASSES = {"blue": (40, 70, 220), "green": (40, 170, 60), "red": (220, 50, 40), "yellow": (225, 205, 50)}
SILENT = ((235, 235, 235), (25, 25, 25))
NOTHING = "nothing"
VIT = "timm:test_vit"
EPOCHS = {"ultralight": 8, VIT: 16}
"""The models, by default, and how long each of them takes to learn it."""


def plant(folder: Path, per_class: dict[str, int], seed: int = 0, px: int = PX, disc: int = DISC) -> dict[str, Any]:
    """Folders of splits and classes; returns the corner (x, y) of the disc that decides, by the images' keys."""
    dice = np.random.default_rng(seed)
    corners = {}
    for split, count in per_class.items():
        for name in (*CLASSES, NOTHING):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                image = Image.fromarray(dice.integers(60, 190, (px, px, 3), dtype=np.uint8))
                places = apart(dice, px, disc)
                deciding = CLASSES.get(name, SILENT[number % 2])
                for (x, y), ink in zip(places, (deciding, *SILENT), strict=True):
                    ImageDraw.Draw(image).ellipse((x, y, x + disc - 1, y + disc - 1), fill=ink)
                image.save(folder / split / name / f"{number:03d}.png")
                corners[f"{split}/{name}/{number:03d}.png"] = places[0]
    return corners


def apart(dice: np.random.Generator, px: int, disc: int) -> list[tuple[int, int]]:
    """Corners of three discs of which none touches another."""
    while True:
        corners = dice.integers(0, px - disc + 1, (3, 2))
        gaps = [np.hypot(*(corners[i] - corners[j])) for i, j in ((0, 1), (0, 2), (1, 2))]
        if min(gaps) > disc:
            return [(int(x), int(y)) for x, y in corners]


def hits(heat: Heat, corner: tuple[int, int], disc: int = DISC, tolerance: float = TOLERANCE) -> bool:
    """Whether the hottest point lies on the disc, or hardly beside it; a map without heat points nowhere."""
    y, x = np.unravel_index(int(heat.argmax()), heat.shape)
    middle = (disc - 1) / 2
    return bool(heat.max() > 0 and np.hypot(x - corner[0] - middle, y - corner[1] - middle) <= disc / 2 + tolerance)


def randomised(model: Classifier, seed: int) -> Classifier:
    """The same model with weights drawn at random."""
    return build(model.name, classes=len(CLASSES) + 1, image_px=PX, pretrained=False, seed=seed).eval()


def correlation(one: Heat, other: Heat) -> float:
    """Of two maps, pixel by pixel; 0 where one of them is the same everywhere."""
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1]) if one.std() and other.std() else 0.0


def judge(name: str, folder: Path, corners: dict[str, Any], epochs: int) -> dict[str, Any]:
    """Trains one model and plays the game with it."""
    images = find_images(folder)
    ready = prepare(images, image_px=PX)
    recipe = Recipe(model=name, pretrained=False, epochs=epochs, batch_size=16, lr=3e-3)
    trained = train(ready, recipe, out=folder.parent / "run" / name.replace(":", "-"))
    model = trained.model.eval()
    start = time.perf_counter()
    rows = ready.images.rows("test")
    truth = ready.images.labels[rows]
    ignorant = randomised(model, seed=1)
    games: dict[str, list[float]] = {"grad_cam": [], "strict": [], "occlusion": [], "random": [], "correlation": []}
    for row, label in zip(rows.tolist(), truth.tolist(), strict=True):
        if images.classes[label] == NOTHING:
            continue
        pixels: npt.NDArray[np.uint8] = np.array(ready.pixels[row])
        corner = corners[ready.images.keys[row]]
        heat, blind = heat_map(model, pixels, label), heat_map(ignorant, pixels, label)
        games["grad_cam"].append(hits(heat, corner))
        games["strict"].append(hits(heat, corner, tolerance=0))
        games["occlusion"].append(hits(occlusion_map(model, pixels, label), corner))
        games["random"].append(hits(blind, corner))
        games["correlation"].append(correlation(heat, blind))
    layer = find_layer(model, pixels)
    return {
        "model": name,
        "layer": layer.path,
        "grid": layer.side,
        "epochs": len(trained.history),
        "images": len(games["grad_cam"]),
        "train_s": trained.cost.seconds,
        "maps_s": time.perf_counter() - start,
        "accuracy": float((predict(model, ready, rows).numpy().argmax(axis=1) == truth).mean()),
        **{game: float(np.mean(values)) for game, values in games.items()},
    }


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The worst model of the table decides."""
    of_table = [row for row in rows if row["model"] != VIT]
    return {
        "pointing_game": min(row["grad_cam"] for row in of_table),
        "pointing_game_strict": min(row["strict"] for row in of_table),
        "pointing_game_occlusion": min(row["occlusion"] for row in of_table),
        "accuracy": min(row["accuracy"] for row in of_table),
        "pointing_game_vit": next((row["grad_cam"] for row in rows if row["model"] == VIT), None),
        "pointing_game_random": max(row["random"] for row in rows),
        "correlation_random": max(row["correlation"] for row in rows),
        "area": np.pi * (DISC / 2 + TOLERANCE) ** 2 / PX**2,
    }


def main() -> None:
    """Plants, learns, points, records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help=f"may be repeated; by default {', '.join(EPOCHS)}")
    parser.add_argument("--epochs", type=int, help="by default what each of these needs, and 20 for others")
    parser.add_argument("--quick", action="store_true", help="the first model alone, on fewer test images")
    asked = parser.parse_args()
    models = asked.model or list(EPOCHS)[: 1 if asked.quick else None]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "planted"
        corners = plant(folder, {"train": 60, "val": 6, "test": 6 if asked.quick else 15})
        rows = []
        for name in models:
            rows.append(judge(name, folder, corners, asked.epochs or EPOCHS.get(name, 20)))
            print(rows[-1], file=sys.stderr)
    record("explain", rows, summarise(rows), quick=asked.quick)


if __name__ == "__main__":
    main()
