"""What does each augmentation cost an image?

Batches of 32 photo-like images, made by this script, at 64 and 224 px, channels last in memory, on the CPU, on as many
threads as PyTorch takes. Each augmentation takes its turn with a batch in each round, at its usual strength, until
0.15 s are over; figures are medians over the rounds; the rows hold every one. mixup and cutmix are measured as `train`
calls them, torchvision's TrivialAugment and RandAugment image by image, the autoencoder as it makes every image of a
batch anew (its learning beforehand is not in the figure).

    python benchmarks/augmenting.py [--quick] [--rounds 5]

Summary keys: `us_per_image.NAME.PX`, microseconds an image.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import cv2
import numpy as np
import simplejpeg
import torch
from loading import photo
from record import record
from torch import Tensor
from torchvision.transforms import v2

from scrimp.augment import AUGMENTATIONS, augmentations
from scrimp.models.autoencoder import Autoencoder
from scrimp.training.mixing import mixed
from scrimp.training.remaking import Remaker, remade

BATCH, SIDES, TURN_S = 32, (64, 224), 0.15


def batch(px: int) -> Tensor:
    """Pixels as `batches` yields them."""
    photos = [simplejpeg.decode_jpeg(photo(seed), "RGB") for seed in range(BATCH)]
    squares = [cv2.resize(image[:340, :340], (px, px), interpolation=cv2.INTER_AREA) for image in photos]
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)


def changes(generator: torch.Generator) -> dict[str, Callable[[Tensor], Any]]:
    """Everything that changes a batch, by name."""
    labels = torch.arange(BATCH) % 10
    remaker = Remaker(Autoencoder().eval(), 1.0)
    found: dict[str, Callable[[Tensor], Any]] = {
        "autoencoder": lambda pixels: remade(pixels, labels, remaker, "classify", generator)
    }
    for how in ("mixup", "cutmix"):
        found[how] = lambda pixels, how=how: mixed(pixels, labels, 10, how, "classify", generator)  # type: ignore[misc]
    for name, card in AUGMENTATIONS.items():
        if card.change:
            (change,) = augmentations(name)
            found[name] = lambda pixels, change=change: change(pixels, generator)  # type: ignore[misc]
    for name, theirs in (("trivial", v2.TrivialAugmentWide()), ("rand", v2.RandAugment())):
        found[f"torchvision-{name}"] = lambda pixels, theirs=theirs: [theirs(image) for image in pixels]  # type: ignore[misc]
    return found


def turn(change: Callable[[Tensor], Any], pixels: Tensor) -> float:
    """Microseconds an image."""
    times, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < TURN_S:
        change(pixels)
        times += 1
    return 1e6 * seconds / (times * BATCH)


def main() -> None:
    """Measures in rounds, and records after all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two rounds")
    asked = parser.parse_args()
    found, rows = changes(torch.Generator().manual_seed(0)), []
    batches = {px: batch(px) for px in SIDES}
    for change, pixels in itertools.product(found.values(), batches.values()):
        change(pixels)  # which loads what it needs
    for number in range(2 if asked.quick else asked.rounds):
        for (name, change), (px, pixels) in itertools.product(found.items(), batches.items()):
            rows.append({"round": number, "what": name, "px": px, "us_per_image": turn(change, pixels)})
    summary = {
        f"us_per_image.{name}.{px}": median(
            row["us_per_image"] for row in rows if (row["what"], row["px"]) == (name, px)
        )
        for name, px in itertools.product(found, SIDES)
    }
    record("augmenting", rows, summary, quick=asked.quick)


if __name__ == "__main__":
    main()
