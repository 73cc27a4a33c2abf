"""Made-up photographs: all different, sharp, well lit, and about as smooth as real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (200, 50, 40)}


def photo(seed: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """A photograph of nothing, `size` pixels wide and high: its amplitudes fall as 1 / frequency, as in real ones."""
    dice = np.random.default_rng(seed)
    width, height = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf
    layers = [
        np.fft.irfft2(np.fft.rfft2(dice.normal(size=(height, width))) / frequency, (height, width)) for _ in "rgb"
    ]
    shared, *own = (layer / layer.std() for layer in layers)
    colours = np.stack([shared, 0.9 * shared + 0.4 * own[0], 0.8 * shared + 0.5 * own[1]], axis=2)
    return Image.fromarray(np.clip(128 + 48 * colours, 0, 255).astype(np.uint8))


def save(image: Image.Image, path: Path, **options: object) -> Path:
    """Writes an image, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def save_photo(path: Path, colour: tuple[int, int, int], seed: int, size: tuple[int, int] = (48, 40)) -> None:
    """A noisy JPEG of one colour, `size` pixels wide and high."""
    noise = np.random.default_rng(seed).integers(-40, 41, (size[1], size[0], 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(path)
