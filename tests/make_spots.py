"""Images that tests of distillation learn from."""

from __future__ import annotations

import numpy as np

from scrimp.cost import Cost
from scrimp.images import Images, ImageSource
from scrimp.images.fingerprint import fingerprint


def spots(train_per_class: int = 6) -> Images:
    """Two classes: a light spot in the top left corner, or in the bottom right one, on noise."""
    chance = np.random.default_rng(0)
    labels, splits, items = [], [], []
    for split, count in (("train", train_per_class), ("val", 2), ("test", 2)):
        for label in (0, 1):
            for _ in range(count):
                pixels = chance.integers(0, 60, (8, 8, 3))
                pixels[4 * label : 4 * label + 4, 4 * label : 4 * label + 4] += 180
                items.append(pixels.astype(np.uint8))
                labels.append(label)
                splits.append(split)
    return Images(
        source=ImageSource(source="spots"),
        items=tuple(items),
        keys=tuple(f"{number:03d}" for number in range(len(items))),
        labels=np.array(labels, dtype=np.int64),
        splits=np.array(splits, dtype="<U5"),
        classes=("first", "second"),
        fingerprint=fingerprint(*items),
        cost=Cost(seconds=100.0),
    )
