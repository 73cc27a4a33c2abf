"""A small convolutional autoencoder: makes images anew, and tells which it cannot make."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

STEPS = 300
"""Steps of training, of `BATCH` images each: thirty epochs of a thousand images."""

BATCH = 32

_STRIDE = 8
_LR = 3e-3
_AT_ONCE = 256  # images that are scored at a time: 3 MB of pixels, 25 of activations


class Autoencoder(nn.Module):
    """Squeezes each 8 x 8 pixels, 192 levels, into 16 numbers, and makes the pixels of them again; any size will do.

    About 200,000 parameters and 10 million multiplications for an image of 64 x 64 pixels.
    """

    def __init__(self, width: int = 32, code: int = 16) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=4),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, code, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(code, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width, 3, 8, stride=4, padding=2),  # patches that overlap by half show no borders
        )
        # What principal components can do is learnt soonest by what is as straight as they are.
        self.straight_in = nn.Conv2d(3, code, _STRIDE, stride=_STRIDE)
        self.straight_out = nn.ConvTranspose2d(code, 3, 2 * _STRIDE, stride=_STRIDE, padding=_STRIDE // 2)

    def encode(self, pixels: Tensor) -> Tensor:
        """The code (n, 16, h / 8, w / 8), rounded up, of pixels uint8 (n, 3, h, w)."""
        height, width = pixels.shape[2:]
        margins = (0, -width % _STRIDE, 0, -height % _STRIDE)
        levels = nn.functional.pad(pixels / 127.5 - 1, margins, mode="replicate")
        code: Tensor = self.encoder(levels) + self.straight_in(levels)
        return code

    def decode(self, code: Tensor, height: int, width: int) -> Tensor:
        """Levels of that size from a code, float (n, 3, h, w), -1 for black to 1 for white and a little beyond."""
        made: Tensor = self.decoder(code) + self.straight_out(code)
        return made[:, :, :height, :width]

    def pixels(self, code: Tensor, height: int, width: int) -> Tensor:
        """The same as uint8 (n, 3, h, w), channels last in memory."""
        levels = ((self.decode(code, height, width) + 1) * 127.5).round_().clamp_(0, 255)
        return levels.to(torch.uint8, memory_format=torch.channels_last)


def fit_autoencoder(
    batches: Iterator[Tensor], *, device: torch.device, seed: int = 0, steps: int = STEPS, at_most_s: float = math.inf
) -> tuple[Autoencoder, int]:
    """An autoencoder that has learnt from batches of pixels uint8 (n, 3, h, w), and in how many steps.

    It minimises the mean squared error by Adam, at a rate that falls to zero along half a cosine; after `at_most_s`
    seconds it stops where it is. The same batches and seed give the same one on the same machine.
    Cost: 300 steps of 32 images take about 20 s of one core at 64 x 64 pixels, 5 s at 32 x 32.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Autoencoder().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(model.parameters(), _LR)
    started = time.perf_counter()
    done = 0
    for done, pixels in enumerate(batches, 1):
        part = max(done / steps, (time.perf_counter() - started) / at_most_s)
        for group in optimiser.param_groups:
            group["lr"] = _LR * (1 + math.cos(math.pi * min(1.0, part))) / 2
        there = pixels.to(device)
        made = model.decode(model.encode(there), *there.shape[2:])
        optimiser.zero_grad()
        nn.functional.mse_loss(made, there / 127.5 - 1).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if part >= 1:
            break
    return model.eval().requires_grad_(False), done


def strangeness(pixels: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """The error with which an autoencoder of the images `rows` makes each image anew: pixels (n, h, w, 3) to (n,).

    Two of them learn a half of `rows` each, drawn at random, and an image is scored by one that has not seen it: what
    is odd has the largest loss, and so would be learnt by heart before all else. The error is the mean square of what
    differs, of levels from 0 to 1. Cost: for images of 32 x 32 pixels 5 s for the training, and 2 s for 5,000 images.
    """
    everything = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    shuffled = np.random.default_rng(0).permutation(rows)
    one, other = np.array_split(shuffled, 2) if len(rows) > 1 else (rows, rows)
    errors = _errors(everything, one)
    errors[one] = _errors(everything, other)[one]
    return errors


def _errors(pixels: Tensor, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """The error of each image by an autoencoder that learnt those of some rows."""
    seen = pixels[torch.from_numpy(rows)]
    model, _ = fit_autoencoder(draws(seen), device=torch.device("cpu"), steps=STEPS // 2)
    errors = []
    for start in range(0, len(pixels), _AT_ONCE):
        some = pixels[start : start + _AT_ONCE]
        made = model.pixels(model.encode(some), *some.shape[2:])
        errors.append(((made.float() - some) / 255).square().mean((1, 2, 3)))
    found: npt.NDArray[np.float32] = torch.cat(errors).numpy()
    return found


def draws(pixels: Tensor) -> Iterator[Tensor]:
    """Batches of `BATCH` of the images without end, always the same ones."""
    generator = torch.Generator().manual_seed(0)
    while True:
        order = torch.randperm(len(pixels), generator=generator)
        for start in range(0, len(pixels), BATCH):
            yield pixels[order[start : start + BATCH]]
