"""What images are learned from: real squares, the space they are put in, and draws of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor

from scrimp.subset.distilling.formation import fold
from scrimp.subset.distilling.whitening import Space


@dataclass(frozen=True, kw_only=True)
class Task:
    """Real images of `classes` classes, read when they are drawn, and how many shall stand for them.

    read: gives uint8 (n, px, px, 3) of rows. rows: of each class, int64. formation: tiles along a side of an image.
    mirror_ok: whether a mirrored image keeps its label.
    """

    read: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.uint8]]
    rows: list[npt.NDArray[np.int64]]
    space: Space
    image_px: int
    per_class: int
    formation: int
    mirror_ok: bool
    precision: torch.dtype
    every: npt.NDArray[np.int64] = field(init=False)
    label_of: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "every", np.concatenate(self.rows))
        label_of = np.repeat(np.arange(self.classes), [len(rows) for rows in self.rows])
        object.__setattr__(self, "label_of", label_of)

    @property
    def device(self) -> torch.device:
        """Where the networks are, and all that they are given: that of the space."""
        return self.space.mean.device

    @property
    def classes(self) -> int:
        """How many."""
        return len(self.rows)

    def images(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """Real images in the space, float32 (n, 3, px, px)."""
        order = np.argsort(rows, kind="stable")  # a pack is read fastest from front to back
        pixels = torch.from_numpy(self.read(rows[order])).permute(0, 3, 1, 2)
        found = torch.empty(len(rows), 3, self.image_px, self.image_px, device=self.device)
        found[torch.from_numpy(order).to(self.device)] = self.space.of(pixels)
        return found

    def draw(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Images of all classes as often as they come, and their labels, int64 (count,)."""
        places = torch.randint(len(self.every), (count,), generator=generator).numpy()
        return self.images(self.every[places]), torch.from_numpy(self.label_of[places]).to(self.device)

    def draw_of(self, label: int, count: int, generator: Generator) -> Tensor:
        """Images of one class, at most `count`, none twice."""
        rows = self.rows[label]
        return self.images(rows[torch.randperm(len(rows), generator=generator)[:count].numpy()])

    def first_images(self, generator: Generator) -> Tensor:
        """Where learning begins: real images of each class in turn, folded: (classes * per_class, 3, px, px)."""
        tiles = self.per_class * self.formation**2
        drawn = [rows[torch.randint(len(rows), (tiles,), generator=generator).numpy()] for rows in self.rows]
        for rows, some in zip(self.rows, drawn, strict=True):
            if len(rows) >= tiles:
                some[:] = rows[torch.randperm(len(rows), generator=generator)[:tiles].numpy()]
        return fold(self.images(np.concatenate(drawn)), self.formation)

    def first_labels(self) -> Tensor:
        """The class of every tile, int64 (classes * per_class * formation ** 2,)."""
        return torch.arange(self.classes, device=self.device).repeat_interleave(self.per_class * self.formation**2)

    def autocast(self) -> torch.autocast:
        """The number format of the networks, as a context."""
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)
