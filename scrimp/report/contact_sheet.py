"""A picture of what augmentations do to some images: one row each, several draws of chance side by side."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from scrimp.augment import AUGMENTATIONS, augmentations, remade_part
from scrimp.batches.reading import Stored, square_of
from scrimp.errors import ImageError, NotFound
from scrimp.images import Images
from scrimp.images.decode import reader_of
from scrimp.store import write_whole

if TYPE_CHECKING:
    from torch import Generator, Tensor

IMAGES = 4
SEEDS = 2
LEARNT_FROM = 400
"""Training images, at most, that an autoencoder learns from for the sheet."""

_MIXED = ("mixup", "cutmix")
_CELL, _GAP, _LABEL, _HEAD = 112, 4, 190, 34
_INK, _PALE, _PAPER = (25, 25, 25), (110, 110, 110), (255, 255, 255)


def write_contact_sheet(images: Images, path: str | Path, *, names: Sequence[str] = (), image_px: int = 160) -> Path:
    """Writes a PNG of `IMAGES` training images under each augmentation, with the seeds 0 to `SEEDS` - 1.

    names: one row each, as a recipe's `augment` takes them ("noise:0.2", "crop,mirror"), or "mixup" and "cutmix"; by
    default the whole table but the autoencoder, which has to learn first, and "mirror" where a mirrored image changes
    its label. image_px: side that the images are looked at with, 8 to 1024. Returns the path. Raises as `augmentations`
    does, `ImageError` where no training image can be read.
    Cost: a second or two; with an autoencoder some ten more.
    """
    names = names or _suited(images)
    rows = _spread_over_classes(images)
    pixels, labels = _squares(images, rows, image_px, IMAGES)
    sheet = _Sheet(len(pixels) * SEEDS, len(names) + 1)
    sheet.row("as it is", "", [image for image in _cells(pixels) for _ in range(SEEDS)])
    for name in names:
        change = _change(name, images, rows, labels, image_px)
        made = [_cells(change(pixels, seed)) for seed in range(SEEDS)]
        sheet.row(name, _told(name), [image for draws in zip(*made, strict=True) for image in draws])
    write_whole(Path(path), sheet.png())
    return Path(path)


def _suited(images: Images) -> list[str]:
    """What is shown unless something else is asked for."""
    table = [name for name, card in AUGMENTATIONS.items() if card.change]
    return [*(name for name in table if images.mirror_ok or name != "mirror"), *_MIXED]


def _change(
    name: str, images: Images, rows: npt.NDArray[np.int64], labels: Tensor, image_px: int
) -> Callable[[Tensor, int], Tensor]:
    """What a row shows, as a function of the pixels and a seed."""
    import torch

    from scrimp.training.mixing import mixed
    from scrimp.training.remaking import Remaker, remade

    if name in _MIXED:
        outputs, task = images.outputs, images.task
        return lambda pixels, seed: mixed(pixels, labels, outputs, name, task, _seeded(seed))[0]  # type: ignore[arg-type]
    changes, part = augmentations(name, mirror_ok=images.mirror_ok), remade_part(name)
    remaker = None
    if part:
        from scrimp.models.autoencoder import draws, fit_autoencoder

        learnt, _ = _squares(images, rows, image_px, LEARNT_FROM)
        remaker = Remaker(fit_autoencoder(draws(learnt), device=torch.device("cpu"))[0], 1.0)

    def changed(pixels: Tensor, seed: int) -> Tensor:
        chance = _seeded(seed)
        for change in changes:
            pixels = change(pixels, chance)
        return pixels if remaker is None else remade(pixels, labels, remaker, images.task, chance)

    return changed


def _seeded(seed: int) -> Generator:
    import torch

    return torch.Generator().manual_seed(seed)


def _told(name: str) -> str:
    """The usual strength of an augmentation that is named without one."""
    card = AUGMENTATIONS.get(name)
    return f"{card.usual:g}, {card.unit}" if card and card.unit else ""


def _spread_over_classes(images: Images) -> npt.NDArray[np.int64]:
    """The training rows, one of each class after the other."""
    rows = images.rows("train")
    if images.task != "classify":
        return rows
    labels = images.labels[rows]
    order = np.argsort(labels, kind="stable")
    first = np.searchsorted(labels[order], labels[order])
    within = np.arange(len(order)) - first  # the how manieth of its class
    return rows[order[np.argsort(within, kind="stable")]]


def _squares(images: Images, rows: npt.NDArray[np.int64], px: int, count: int) -> tuple[Tensor, Tensor]:
    """The first so many readable ones, uint8 (count, 3, px, px), channels last in memory, and their labels."""
    import torch

    found: list[npt.NDArray[np.uint8]] = []
    of: list[int] = []
    with reader_of(images) as reader:
        stored = Stored(images, None, set(), reader)
        for row in rows.tolist():
            if len(found) == count:
                break
            try:
                found.append(square_of(stored, row, px).copy())
                of.append(row)
            except (ImageError, NotFound):
                continue
    if not found:
        raise ImageError(f"None of the {len(rows):,} training images of '{images.source.source}' can be read.")
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2), torch.from_numpy(images.labels[of])


def _cells(pixels: Tensor) -> list[Image.Image]:
    arrays = pixels.permute(0, 2, 3, 1).contiguous().numpy()
    smooth = Image.Resampling.LANCZOS if pixels.shape[3] >= _CELL else Image.Resampling.NEAREST
    return [Image.fromarray(array).resize((_CELL, _CELL), smooth) for array in arrays]


class _Sheet:
    """Rows of cells below one another, each with its name."""

    def __init__(self, columns: int, rows: int) -> None:
        width, height = _LABEL + columns * (_CELL + _GAP) + _GAP, _HEAD + rows * (_CELL + _GAP) + _GAP
        self._canvas = Image.new("RGB", (width, height), _PAPER)
        self._draw = ImageDraw.Draw(self._canvas)
        self._top = _HEAD
        for column in range(columns):
            left = _LABEL + column * (_CELL + _GAP)
            self._draw.text((left, 12), f"seed {column % SEEDS}", _PALE, ImageFont.load_default(12))

    def row(self, title: str, note: str, cells: Sequence[Image.Image]) -> None:
        """Adds a row; title and note are broken into lines where they are long."""
        y = self._top + 30
        for text, size, ink in ((title, 17, _INK), (note, 12, _PALE)):
            font = ImageFont.load_default(size)
            for line in _lines(text, lambda line, font=font: self._draw.textlength(line, font)):  # type: ignore[misc]
                self._draw.text((12, y), line, ink, font)
                y += size + 4
        for column, cell in enumerate(cells):
            self._canvas.paste(cell, (_LABEL + column * (_CELL + _GAP), self._top))
        self._top += _CELL + _GAP

    def png(self) -> bytes:
        """The whole of it."""
        file = io.BytesIO()
        self._canvas.save(file, "PNG", optimize=True)
        return file.getvalue()


def _lines(text: str, length: Callable[[str], float]) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and length(f"{lines[-1]} {word}") <= _LABEL - 24:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
