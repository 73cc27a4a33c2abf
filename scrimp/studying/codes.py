"""Images as a few numbers and back: eigenfaces, which are linear, against an autoencoder, which is not."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from scrimp.batches import Prepared
from scrimp.progress import bar
from scrimp.store import write_whole

FILE, PICTURE = "codes.json", "codes.png"

_SAMPLE = 5_000  # training images: more would take minutes and gain little
_EXACTLY = 1_000  # images whose components are computed to the last digit: of more, that takes minutes
_SHOWN = 8  # test images in the picture
_BATCH, _LR = 64, 1e-3

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


class Code(NamedTuple):
    """How well images are told from so many numbers each.

    method: "eigenfaces" or "autoencoder". rmse: of pixels 0 to 1 of test images that were coded and decoded.
    test: accuracy on test of a logistic regression on the codes, 0 to 1, as a linear probe. seconds: all of it.
    """

    method: str
    numbers: int
    rmse: float
    test: float
    seconds: float


def compare_codes(ready: Prepared, lengths: Sequence[int], folder: Path, *, epochs: int, seed: int = 0) -> list[Code]:
    """Codes of each length by both methods, learnt on train and judged on test; nothing is chosen by them.

    Writes `codes.json`, and `codes.png`: test images, and what each method makes of them at the greatest length.
    Cost: about a second for each epoch, thousand images and length at 32 px; memory for 5,000 images as floats.
    Turk and Pentland, "Eigenfaces for recognition", 1991; Hinton and Salakhutdinov, Science 313, 2006.
    """
    images = ready.images
    dice = np.random.default_rng(seed)
    train = np.sort(dice.permutation(images.rows("train"))[:_SAMPLE])
    test = images.rows("test")
    seen, unseen = _floats(ready, train), _floats(ready, test)
    found: list[Code] = []
    drawn = [unseen[:_SHOWN]]
    with bar("codes", 2 * len(lengths)) as advance:
        for method, learn in _METHODS.items():
            for length in lengths:
                start = time.perf_counter()
                encode, decode = learn(seen, length, epochs, seed)
                codes = encode(unseen)
                decoded = np.clip(decode(codes), 0, 1)
                rmse = float(np.sqrt(np.mean((decoded - unseen) ** 2)))
                right = _probe(encode(seen), images.labels[train], codes, images.labels[test])
                found.append(Code(method, codes.shape[1], rmse, right, time.perf_counter() - start))
                advance(1, f"{method}, {length}")
            drawn.append(decoded[:_SHOWN])
    write_whole(folder / PICTURE, _picture(drawn))
    write_whole(folder / FILE, json.dumps([code._asdict() for code in found], indent=1).encode())
    return found


def load_codes(folder: Path) -> list[Code]:
    """What `compare_codes` had written; nothing where it has not yet."""
    path = folder / FILE
    return [Code(**code) for code in json.loads(path.read_text())] if path.is_file() else []


# ---------------------------------------------------------------- the two

Coder = tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]]
"""From images (n, 3, px, px), 0 to 1, to codes (n, numbers), and back."""


def _eigenfaces(seen: Floats, length: int, epochs: int, seed: int) -> Coder:
    from sklearn.decomposition import PCA

    shape = seen.shape[1:]
    count = min(length, len(seen) - 1)
    solver = "randomized" if len(seen) > _EXACTLY else "full"
    pca = PCA(count, svd_solver=solver, random_state=seed).fit(seen.reshape(len(seen), -1))
    return (
        lambda images: pca.transform(images.reshape(len(images), -1)).astype(np.float32),
        lambda codes: pca.inverse_transform(codes).reshape(-1, *shape).astype(np.float32),
    )


def _autoencoder(seen: Floats, length: int, epochs: int, seed: int) -> Coder:
    """Two strided convolutions down to the code and the same way up again, Adam on the squared error."""
    import torch
    from torch import nn

    px = seen.shape[-1]
    side = -(-px // 4)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * side * side, length),
        )
        decoder = nn.Sequential(
            nn.Linear(length, 64 * side * side),
            nn.ReLU(),
            nn.Unflatten(1, (64, side, side)),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(64, 32, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(size=px),
            nn.Conv2d(32, 3, 3, padding=1),
        )
        both = nn.Sequential(encoder, decoder)
        optimiser = torch.optim.Adam(both.parameters(), lr=_LR)
        pixels = torch.from_numpy(seen)
        for _ in range(epochs):
            for rows in torch.randperm(len(pixels)).split(_BATCH):  # type: ignore[no-untyped-call]
                loss = nn.functional.mse_loss(both(pixels[rows]), pixels[rows])
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()

    def apply(layers: nn.Module, values: Floats) -> Floats:
        with torch.inference_mode():
            every = torch.from_numpy(values).split(_BATCH)  # type: ignore[no-untyped-call]
            parts = [layers(part) for part in every]
        made: Floats = torch.cat(parts).numpy()
        return made

    return lambda images: apply(encoder, images), lambda codes: apply(decoder, codes)


_METHODS: dict[str, Callable[[Floats, int, int, int], Coder]] = {
    "eigenfaces": _eigenfaces,
    "autoencoder": _autoencoder,
}


# ---------------------------------------------------------------- what they share


def _floats(ready: Prepared, rows: npt.NDArray[np.int64]) -> Floats:
    pixels = np.stack([ready.pixels[row] for row in rows])
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)


def _probe(seen: Floats, labels: npt.NDArray[np.int64], unseen: Floats, truth: npt.NDArray[np.int64]) -> float:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # where it has not settled by then, accuracy has
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)).fit(seen, labels)
    return float((probe.predict(unseen) == truth).mean())


def _picture(lines: Sequence[Floats], tile: int = 64) -> bytes:
    """One line of images for each of `lines`, as a PNG."""
    sheet = Image.new("RGB", (len(lines[0]) * tile, len(lines) * tile))
    for y, line in enumerate(lines):
        for x, image in enumerate(line):
            pixels: Pixels = np.rint(image.transpose(1, 2, 0) * 255).astype(np.uint8)
            sheet.paste(Image.fromarray(pixels).resize((tile, tile)), (x * tile, y * tile))
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()
