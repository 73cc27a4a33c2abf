"""Small pictures with several labels, or a number, that a small model learns in seconds."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("disc", "square", "triangle")
MM_BEFORE = 1000.0  # so that a model that forgets the unit is far off


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    """A CSV manifest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def make_shapes(folder: Path, n: int = 200, seed: int = 0) -> Path:
    """`labels.csv`: any of three shapes, each its own colour, present or not."""
    dice = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    rows = []
    for number in range(n):
        image = noise(dice)
        draw = ImageDraw.Draw(image)
        labels = [name for name in SHAPES if dice.random() < 0.5]
        for name in labels:
            x, y = dice.integers(1, 20, 2).tolist()
            if name == "disc":
                draw.ellipse((x, y, x + 10, y + 10), fill=(210, 60, 50))
            elif name == "square":
                draw.rectangle((x, y, x + 9, y + 9), fill=(60, 180, 70))
            else:
                draw.polygon([(x, y + 10), (x + 10, y + 10), (x + 5, y)], fill=(70, 80, 210))
        image.save(folder / f"{number:03d}.png")
        rows.append((f"{number:03d}.png", ";".join(labels)))
    return write_table(folder / "labels.csv", ("path", "labels"), rows)


def make_discs(folder: Path, n: int = 200, seed: int = 0) -> Path:
    """`targets.csv`: the diameter of a disc, 100 mm a pixel and `MM_BEFORE` more."""
    dice = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    rows = []
    for number in range(n):
        image = noise(dice)
        radius, x, y = dice.uniform(3, 12), *dice.uniform(12, 20, 2)
        ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=(210, 60, 50))
        image.save(folder / f"{number:03d}.png")
        rows.append((f"{number:03d}.png", round(MM_BEFORE + 200 * radius, 1)))
    return write_table(folder / "targets.csv", ("path", "target"), rows)


def noise(dice: np.random.Generator) -> Image.Image:
    """A grey picture of 32 pixels with something of every colour in it."""
    return Image.fromarray(dice.integers(90, 166, (32, 32, 3), dtype=np.uint8))
