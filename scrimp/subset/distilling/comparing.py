"""What was distilled beside real images, as many and more of them: how well networks learn from each, by val."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from scrimp.batches import prepare
from scrimp.images import Images
from scrimp.progress import bar
from scrimp.subset.distillation import Distilled, distill
from scrimp.subset.distilling.judging import accuracies
from scrimp.subset.distilling.network import ConvNet
from scrimp.subset.distilling.ways import norm_of
from scrimp.subset.distilling.whitening import Space, fit_space
from scrimp.training.hardware import keep_freed_memory

STEPS = 1000  # of a network that judges, by default: what the papers take
_MORE = (10, 50)  # times as many real images
_MOST = 2_000  # of the val images


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Some training images and how good they are.

    bytes: of the images as 8-bit PNGs (learned ones, also as exact numbers, `exact_bytes`). making_seconds: of choosing
    or learning them. training_seconds: of one network. accuracies: on val, of each network, from 0 to 1.
    pixels: uint8 (n, px, px, 3), and labels, int64 (n,).
    """

    name: str
    per_class: int
    bytes: int
    exact_bytes: int | None
    making_seconds: float
    training_seconds: float
    accuracies: tuple[float, ...]
    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    @property
    def mean(self) -> float:
        """Of the accuracies."""
        return float(np.mean(self.accuracies))


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What was distilled, the first of the entries, beside what it replaces. asked: the val images that decided."""

    distilled: Distilled
    entries: tuple[Entry, ...]
    asked: int
    networks: int
    steps: int


def judged(distilled: Distilled, images: Images, *, networks: int, steps: int = STEPS) -> Judged:
    """Judges images that were made, and real ones of the same set: as many by chance and by k-center, and more.

    All are learned from in the same way, by the ConvNet of the method in the same space. images: what was distilled;
    its test split is not looked at. Cost: `networks * steps` steps for each of up to five entries, and a look at up to
    2,000 val images.
    """
    keep_freed_memory()
    px, per_class = distilled.distillation.image_px, distilled.distillation.per_class
    ready = prepare(images.only(np.sort(np.concatenate([images.rows("train"), images.rows("val")]))), image_px=px)
    train, val = ready.images.rows("train"), ready.images.rows("val")
    val = val[:: -(-len(val) // _MOST)]

    def squares(rows: npt.NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(ready.pixels[rows])).permute(0, 3, 1, 2)

    some = squares(train[:: -(-len(train) // 10_000)])
    lesson = distilled.lesson
    norm = norm_of(distilled.distillation.method)
    space = lesson.space if lesson else fit_space(some, whitened=False)

    def asked() -> Iterator[tuple[Tensor, npt.NDArray[np.int64]]]:
        for rows in np.array_split(val, -(-len(val) // 500)):
            yield space.of(squares(rows)), ready.images.labels[rows]

    fewest = int(np.bincount(ready.images.labels[train], minlength=len(images.classes)).min())
    real = partial(distill, images, image_px=px, seed=distilled.distillation.seed)
    others = [("a real image by chance", "real", per_class), ("a real image by k-center", "k-center", per_class)]
    others += [("real images by chance", "real", per_class * more) for more in _MORE if per_class * more <= fewest]
    entries = []
    with bar("judging", 1 + len(others)) as advance:
        for name, method, count in [(distilled.distillation.method, "", per_class), *others]:
            made = real(method=method, per_class=count) if method else distilled
            exact = made.lesson
            images_made, labels = (
                (exact.tiles(), exact.labels if exact.soft else exact.classes) if exact else _as_shown(made, space)
            )
            started = time.perf_counter()
            found = accuracies(
                images_made,
                labels,
                lambda: ConvNet(len(images.classes), px, norm=norm),
                asked,
                networks=networks,
                steps=steps,
                mirror=images.mirror_ok,
            )
            rows = made.rows("train")
            entries.append(
                Entry(
                    name=name,
                    per_class=count,
                    bytes=_png_bytes(made),
                    exact_bytes=exact.bytes if exact else None,
                    making_seconds=made.making.seconds,
                    training_seconds=(time.perf_counter() - started) / networks,
                    accuracies=tuple(found),
                    pixels=np.stack([np.asarray(made.items[row]) for row in rows]),
                    labels=made.labels[rows],
                )
            )
            advance(1, "")
    return Judged(distilled=distilled, entries=tuple(entries), asked=len(val), networks=networks, steps=steps)


def _as_shown(made: Distilled, space: Space) -> tuple[Tensor, Tensor]:
    rows = made.rows("train")
    pixels = torch.from_numpy(np.stack([np.asarray(made.items[row]) for row in rows])).permute(0, 3, 1, 2)
    return space.of(pixels), torch.from_numpy(made.labels[rows])


def _png_bytes(made: Distilled) -> int:
    from scrimp.subset.distilling.saving import png

    return sum(len(png(np.asarray(made.items[row]))) for row in made.rows("train"))
