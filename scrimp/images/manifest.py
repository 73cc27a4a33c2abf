"""A CSV or Parquet table of paths, labels and, if wanted, splits."""

from __future__ import annotations

import csv
import io
import os
import posixpath
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

from scrimp import store
from scrimp.errors import ImageError
from scrimp.images.boxes import Box
from scrimp.images.found import SPLIT_WORDS, Found
from scrimp.images.kinds import LeftOut, Split, Task
from scrimp.images.labels import COLUMNS, SEPARATOR, canonical, hints, is_finite
from scrimp.progress import bar

MANIFEST_SUFFIXES = (".csv", ".parquet")
BOX_COLUMNS = ("x0", "y0", "x1", "y1")


class Row(NamedTuple):
    """A line of a manifest: its number as an editor shows it (rows of Parquet count from 1)."""

    line: int
    path: str
    label: str
    split: str | None
    box: Box | None


def is_manifest_name(path: str) -> bool:
    """Whether a name ends like that of a manifest."""
    return path.lower().endswith(MANIFEST_SUFFIXES)


def read_manifest(path: str, task: Task = "classify", *, several_labels: bool = False) -> Found:
    """The images that a manifest lists; columns path, label (see `COLUMNS` for other tasks) and optionally split.

    Columns x0,y0,x1,y1 hold a box, empty where the image counts as a whole; a path with several boxes stands on
    as many lines. several_labels: these may differ in their label.

    Paths are relative to the manifest's folder, absolute, or URIs. A listed file that does not exist is left
    out. Raises `ImageError` naming the line for a missing column, an empty cell, a target that is no number, an
    unknown split, or an image with two labels or splits. Cost: one stat per line; one listing where the manifest is
    at a URI.
    """
    rows = list(_read_parquet(path, task) if path.lower().endswith(".parquet") else _read_csv(path, task))
    if not rows:
        raise ImageError(f"'{path}' lists no images: it has a header and no lines.")
    found, folder = Found(), _folder_of(path)
    with_split = any(row.split for row in rows)
    listed = _listed(rows, folder)
    first: dict[str, tuple[Row, Split | Literal[""]]] = {}
    seen: dict[tuple[str, Box | None], Row] = {}
    for row in rows:
        key, full = _locate(row.path, folder)
        given = _split_of(row, path) if with_split else ""
        twin = seen.get((key, row.box))
        if key in first:
            earlier, given_earlier = first[key]
            _check_same(path, earlier, row, "splits", given_earlier, given)
            _check_same(path, earlier, row, "kinds", _kind(earlier), _kind(row))
            if twin or not several_labels:
                _check_same(path, twin or earlier, row, "labels", (twin or earlier).label, row.label)
        if twin:
            found.left_out.append(LeftOut(key, "listed more than once"))
            continue
        first.setdefault(key, (row, given))
        seen[key, row.box] = row
        file = listed[full] if full in listed else store.describe(full)
        if file is None:
            found.left_out.append(LeftOut(key, "no such file"))
        else:
            found.add(full, key, row.label, given, f"{file.size} {file.stamp}", row.box)
    if not found.items:
        raise ImageError(
            f"None of the {len(first):,} files that '{path}' lists exists; the first would be "
            f"'{_locate(rows[0].path, folder)[1]}'. Paths are relative to '{folder}'."
        )
    found.notes += hints(found.labels, task)
    return found


def _listed(rows: list[Row], folder: str) -> dict[str, store.File | None]:
    """What lies at the URIs that a manifest names: by one listing of its folder, and many questions at once."""
    listed: dict[str, store.File | None] = {}
    if store.is_uri(folder) and not store.is_web(folder):
        listed |= {file.path: file for file in store.list_files(folder)}
    elsewhere = {full for row in rows if store.is_uri(full := _locate(row.path, folder)[1])} - listed.keys()
    if elsewhere:
        with bar("asking for the images", len(elsewhere)) as advance:
            paths = sorted(elsewhere)
            for path, file in zip(paths, store.in_order(store.describe, paths, store.THREADS), strict=True):
                listed[path] = file
                advance(1, "")
    return listed


# ---------------------------------------------------------------- the table


def _read_csv(path: str, task: Task) -> Iterator[Row]:
    try:
        text = store.read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImageError(f"'{path}' is not UTF-8 (byte {error.start:,}): save it as CSV UTF-8.") from None
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(lines, [])
        columns = _columns(path, header, task)
        for cells in lines:
            if any(cell.strip() for cell in cells[len(header) :]):
                raise ImageError(
                    f"Line {lines.line_num} of '{path}' has {len(cells)} cells and its header {len(header)}: put a "
                    'cell that holds a comma in quotes, "like, this".'
                )
            if any(cell.strip() for cell in cells):
                yield _row(path, lines.line_num, {n: cells[i] for n, i in columns.items() if i < len(cells)}, task)
    except csv.Error as error:
        raise ImageError(f"Line {lines.line_num} of '{path}' is not CSV: {error}.") from None


def _read_parquet(path: str, task: Task) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        with store.open_bytes(path) as file:
            table = pyarrow.parquet.ParquetFile(file).read()
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, ImageError | FileNotFoundError):
            raise
        raise ImageError(f"'{path}' is not a Parquet table: {error}.") from None
    columns = _columns(path, table.column_names, task)
    lists = {name: table.column(index).to_pylist() for name, index in columns.items()}
    for line in range(table.num_rows):
        yield _row(path, line + 1, {name: values[line] for name, values in lists.items()}, task)


def _columns(path: str, header: list[str], task: Task) -> dict[str, int]:
    """Where the columns that matter are; others are not read."""
    names = [name.strip().lower() for name in header]
    label = next((name for name in COLUMNS[task] if name in names), COLUMNS[task][0])
    for needed in ("path", label):
        if needed not in names:
            have = ", ".join(f"'{name}'" for name in header) or "nothing"
            raise ImageError(
                f"'{path}' has no column '{needed}': line 1 has {have}.{_meant(needed, names)} "
                f"Needed: path,{label} and, if wanted, split."
            )
    there = [name for name in BOX_COLUMNS if name in names]
    if 0 < len(there) < len(BOX_COLUMNS):
        missing = ", ".join(name for name in BOX_COLUMNS if name not in names)
        raise ImageError(f"'{path}' has columns {', '.join(there)} but no {missing}: a box is x0,y0,x1,y1 in pixels.")
    found = {"path": "path", "label": label, "split": "split"} | dict(zip(there, there, strict=True))
    return {what: names.index(name) for what, name in found.items() if name in names}


def _meant(needed: str, names: list[str]) -> str:
    """What may have been meant where a column is missing: the labels of another task, or another spelling."""
    for task, (first, *_) in COLUMNS.items():
        if needed != "path" and first in names:
            return f" '{first}' is a column of another task: give --task {task}, or task=\"{task}\" in Python."
    nearest = get_close_matches(needed, names, n=1, cutoff=0.5)
    return f" Is '{nearest[0]}' meant?" if nearest else ""


def _row(path: str, line: int, cells: dict[str, Any], task: Task) -> Row:
    texts = {name: _text(value) for name, value in cells.items()}
    can_be_empty = task == "multilabel" and "label" in texts  # an image without any label, not a line cut short
    for needed, name in (("path", "path"), ("label", "target" if task == "regress" else "label")):
        if not texts.get(needed) and not (needed == "label" and can_be_empty):
            raise ImageError(f"Line {line} of '{path}' has no {name}.")
    try:
        label = canonical(texts["label"], task)
    except ImageError as error:
        raise ImageError(f"Line {line} of '{path}' {error}.") from None
    return Row(line, texts["path"], label, texts.get("split"), _box_of(path, line, texts))


def _text(value: Any) -> str:
    """A cell as text; a list, which Parquet may hold, as a CSV would have it."""
    if isinstance(value, list):
        return SEPARATOR.join(map(str, value))
    return "" if value is None or value != value else str(value).strip()  # NaN, which pandas writes for "none"


# ---------------------------------------------------------------- its lines


def _split_of(row: Row, path: str) -> Split:
    word = (row.split or "").lower()
    if word in SPLIT_WORDS:
        return SPLIT_WORDS[word]
    what = f"calls its split '{row.split}'" if word else "has no split, though other lines have one"
    raise ImageError(f"Line {row.line} of '{path}' {what}: it must be train, val or test.")


def _check_same(path: str, row: Row, again: Row, what: str, one: str, two: str) -> None:
    if one != two:
        each = " With --box-pick each, or box_pick='each', each of its boxes has its own." if again.box else ""
        raise ImageError(
            f"Lines {row.line} and {again.line} of '{path}' give '{row.path}' two {what}, "
            f"'{one}' and '{two}': an image has one.{each if what == 'labels' else ''}"
        )


def _kind(row: Row) -> str:
    return "a whole image" if row.box is None else "an image with a box"


def _box_of(path: str, line: int, texts: dict[str, str]) -> Box | None:
    cells = {name: texts.get(name, "") for name in BOX_COLUMNS}
    if not any(cells.values()):
        return None
    for name, text in cells.items():
        if not is_finite(text):
            raise ImageError(
                f"Line {line} of '{path}' has '{text}' in {name}: a box is four numbers of pixels, x0,y0,x1,y1, or "
                "four empty cells for the whole image."
            )
    x0, y0, x1, y1 = map(float, cells.values())
    return Box(x0, y0, x1, y1)


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0] if store.is_uri(path) else os.path.dirname(path) or "."  # noqa: PTH120


def _locate(written: str, folder: str) -> tuple[str, str]:
    """The key and the whole path of an entry; the key is relative to the manifest wherever it can be."""
    if store.is_uri(written):
        return written.removeprefix(f"{folder}/"), written
    if store.is_uri(folder):
        key = posixpath.normpath(written)
        scheme, _, inside = folder.partition("://")
        return key, f"{scheme}://{posixpath.normpath(posixpath.join(inside, written))}"
    full = os.path.normpath(os.path.join(folder, written))  # noqa: PTH118
    inside = os.path.relpath(full, folder)
    outside = os.path.isabs(written) and inside.startswith("..")  # noqa: PTH117
    return (full if outside else inside).replace(os.sep, "/"), full
