"""ImageNet as Kaggle hands it out: val in one folder without classes, and LOC_val_solution.csv, which knows them."""

from __future__ import annotations

import csv
import io
import os

from scrimp import store
from scrimp.errors import ImageError

TREE = "ILSVRC/Data/CLS-LOC"
"""Where train, val and test lie in what Kaggle packs."""

SOLUTION = "LOC_val_solution.csv"
"""One line an image: `ImageId,PredictionString`, as in `ILSVRC2012_val_00048981,n03995372 85 1 499 272`."""

_FOLDERS_ABOVE = 3  # of TREE


def tree_of(source: str) -> str:
    """The folder of train and val in what Kaggle packs; else the source itself."""
    inner = store.join(source, TREE)
    return inner if not store.is_uri(source) and store.is_folder(inner) else source


def classes_of_val(root: str) -> dict[str, str]:
    """The class of each image of val by its id, from the solution in the folder or above it; empty without one.

    Raises `ImageError` naming the line that is of another form.
    """
    folders = [root]
    for _ in range(_FOLDERS_ABOVE):
        inner = folders[-1].rstrip("/")
        above = inner.rpartition("/")[0] if store.is_uri(inner) else os.path.dirname(os.path.abspath(inner))  # noqa: PTH100, PTH120
        if store.is_uri(inner) and not store.is_uri(above):
            break
        folders.append(above)
    paths = [store.join(folder, SOLUTION) for folder in folders]
    path = next((path for path in paths if store.describe(path) is not None), None)
    return {} if path is None else _read(path)


def _read(path: str) -> dict[str, str]:
    lines = csv.reader(io.StringIO(store.read_bytes(path).decode("utf-8-sig"), newline=""))
    next(lines, None)  # ImageId,PredictionString
    found = {}
    for cells in lines:
        if not cells:
            continue
        if len(cells) != 2 or not cells[1].split():
            raise ImageError(
                f"Line {lines.line_num} of '{path}' is not of the form ImageId,PredictionString, as in "
                "ILSVRC2012_val_00048981,n03995372 85 1 499 272."
            )
        found[cells[0].strip()] = cells[1].split()[0]  # of several boxes, all are of one class
    return found
