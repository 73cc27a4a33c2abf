"""From images to what is learned of them: reading, the space, the loop, and the way back to pixels."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from scrimp.batches import prepare
from scrimp.cost import Stopwatch
from scrimp.errors import ImageError
from scrimp.images import Images
from scrimp.settings import to_toml
from scrimp.store import write_whole
from scrimp.subset.distilling.formation import unfold
from scrimp.subset.distilling.learning import learn
from scrimp.subset.distilling.network import machine
from scrimp.subset.distilling.task import Task
from scrimp.subset.distilling.ways import WAYS
from scrimp.subset.distilling.whitening import Space, fit_space
from scrimp.training.hardware import keep_freed_memory

if TYPE_CHECKING:
    from scrimp.subset.distillation import Distillation

_TO_FIT_SPACE = 10_000  # images


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What was learned, exactly.

    images: float32 (n, 3, px, px), folded, in the space. labels: float32 (n * formation ** 2, classes), which sum to
    0; soft where the method learns them. classes: int64, the class of each label. formation: tiles along a side.
    """

    images: Tensor
    labels: Tensor
    classes: Tensor
    soft: bool
    formation: int
    space: Space

    def tiles(self) -> Tensor:
        """What networks are shown: float32 (n * formation ** 2, 3, px, px), in the space."""
        return unfold(self.images, self.formation)

    def pixels(self) -> npt.NDArray[np.uint8]:
        """Of every tile at the size it is kept at, as uint8 (n * formation ** 2, px / formation, px / formation, 3)."""
        return _to_pixels(self.images, self.formation, self.space)

    @property
    def bytes(self) -> int:
        """That images and, where they are soft, labels take at 32 bits a number."""
        return 4 * (self.images.numel() + (self.labels.numel() if self.soft else 0))


def make(images: Images, distillation: Distillation, folder: Path | None, watch: Stopwatch) -> dict[str, Any]:
    """Learns images as `distillation` asks; gives the fields of what `distill` calls made."""
    way = WAYS[distillation.method]
    keep_freed_memory()
    px = distillation.image_px
    ready = prepare(images.only(np.sort(np.concatenate([images.rows("train"), images.rows("val")]))), image_px=px)
    train = ready.images.rows("train")
    of_class = [train[ready.images.labels[train] == label] for label in range(len(images.classes))]
    empty = [images.classes[label] for label, rows in enumerate(of_class) if not len(rows)]
    if empty:
        raise ImageError(
            f"{len(empty):,} of {len(images.classes):,} classes have no training image to learn from; the first is "
            f"'{empty[0]}'. Add some, or leave these classes out."
        )

    def read(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        return np.ascontiguousarray(ready.pixels[rows])

    some = train[:: max(1, len(train) // _TO_FIT_SPACE)]
    space = fit_space(torch.from_numpy(read(some)).permute(0, 3, 1, 2), whitened=way.whitened)
    device, precision = machine()
    task = Task(
        read=read,
        rows=of_class,
        space=space.on(device),
        image_px=px,
        per_class=distillation.per_class,
        formation=distillation.formation,
        mirror_ok=images.mirror_ok,
        precision=precision,
    )

    def look(learned: Tensor) -> None:
        if folder:
            pixels = _to_pixels(learned.cpu(), distillation.formation, space)
            write_grid(pixels, task.first_labels().tolist(), folder / "grid.png")

    learned = learn(
        task,
        way,
        seed=distillation.seed,
        steps=distillation.steps or way.steps,
        max_seconds=distillation.max_seconds,
        asked=f"{to_toml(distillation)}\n{images.fingerprint}",
        folder=folder,
        look=look,
        watch=watch,
    )
    lesson = Lesson(
        images=learned.images,
        labels=learned.labels,
        classes=task.first_labels().cpu(),
        soft=way.label_rate > 0,
        formation=distillation.formation,
        space=space,
    )
    steps = distillation.steps or way.steps
    notes = []
    if learned.interrupted:
        notes.append(f"Stopped by Ctrl-C after {learned.steps:,} of {steps:,} steps.")
    elif learned.steps < steps:
        notes.append(f"Its {distillation.max_seconds:,.0f} s were spent after {learned.steps:,} of {steps:,} steps.")
    return {
        "items": list(lesson.pixels()),
        "labels": lesson.classes.tolist(),
        "notes": notes,
        "left_out": ready.images.left_out[len(images.left_out) :],
        "lesson": lesson,
        "steps": learned.steps,
        "earlier": learned.earlier,
        "interrupted": learned.interrupted,
    }


def write_grid(pixels: npt.NDArray[np.uint8], labels: list[int], path: Path, *, side: int = 96) -> None:
    """A PNG of all images, enlarged to about `side` pixels: a class a row, up to 50 of each."""
    rows = [
        [image for image, own in zip(pixels, labels, strict=True) if own == label][:50] for label in sorted(set(labels))
    ]
    px = max(side // pixels.shape[1], 1) * pixels.shape[1]
    sheet = Image.new("RGB", (max(map(len, rows)) * (px + 4) + 4, len(rows) * (px + 4) + 4), "white")
    for down, row in enumerate(rows):
        for across, image in enumerate(row):
            large = Image.fromarray(image).resize((px, px), Image.Resampling.NEAREST)
            sheet.paste(large, (4 + across * (px + 4), 4 + down * (px + 4)))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    write_whole(path, buffer.getvalue())


def _to_pixels(images: Tensor, formation: int, space: Space) -> npt.NDArray[np.uint8]:
    """Tiles are enlarged in the space, so that they are brought back at that size and shrunk then."""
    natural = space.pixels(unfold(images, formation))
    if formation > 1:
        natural = interpolate(natural, scale_factor=1 / formation, mode="area")
    return (natural.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
