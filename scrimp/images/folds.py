"""The same images divided for cross-validation: test stays, train and val are cut anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scrimp.errors import ImageError
from scrimp.images.fingerprint import fingerprint
from scrimp.images.folder import is_image_name
from scrimp.images.kinds import Images
from scrimp.images.labels import strata
from scrimp.images.split import deal_folds


def in_fold(images: Images, folds: int, fold: int) -> Images:
    """Train and val cut into `folds` parts, of which the one numbered `fold` is val and the others are train.

    Each class is spread evenly over the parts, the same on every machine; test is left as it is. Raises `ImageError`
    where there are fewer images than folds. Cost: a hash of each name.
    """
    files = [_file(key) for key in images.keys]
    parts = deal_folds(files, strata(images.labels, images.task), images.splits, folds)
    if parts.max(initial=-1) + 1 < folds:
        raise ImageError(
            f"'{images.source.source}' has {(parts >= 0).sum():,} images outside test, too few for {folds} folds: "
            "ask for fewer."
        )
    splits = np.where(parts == -1, "test", np.where(parts == fold, "val", "train"))
    return replace(
        images,
        source=images.source.but(folds=folds, fold=fold),
        splits=splits,
        fingerprint=fingerprint(images.fingerprint, "fold", folds, fold),
    )


def _file(key: str) -> str:
    """The key of the file that an image, or one of the boxes in it, was cut from."""
    file, _, number = key.rpartition("#")
    return file if number.isdigit() and is_image_name(file) else key
