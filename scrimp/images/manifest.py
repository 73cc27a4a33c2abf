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
from scrimp.images.found import SPLIT_WORDS, Found
from scrimp.images.kinds import LeftOut, Split

MANIFEST_SUFFIXES = (".csv", ".parquet")


class Row(NamedTuple):
    """A line of a manifest: its number as an editor shows it (rows of Parquet count from 1)."""

    line: int
    path: str
    label: str
    split: str | None


def is_manifest_name(path: str) -> bool:
    """Whether a name ends like that of a manifest."""
    return path.lower().endswith(MANIFEST_SUFFIXES)


def read_manifest(path: str) -> Found:
    """The images that a manifest lists; columns path, label and optionally split.

    Paths are relative to the manifest's folder, absolute, or URIs. A listed file that does not exist is left
    out. Raises `ImageError` naming the line for a missing column, an empty cell, an unknown split, or an
    image with two labels or splits. Cost: one stat per line; one listing where the manifest is at a URI.
    """
    rows = list(_read_parquet(path) if path.lower().endswith(".parquet") else _read_csv(path))
    if not rows:
        raise ImageError(f"'{path}' lists no images: it has a header and no lines.")
    found, folder = Found(), _folder_of(path)
    with_split = any(row.split for row in rows)
    listed = {file.path: file for file in store.list_files(folder)} if store.is_uri(folder) else {}
    first: dict[str, tuple[Row, Split | Literal[""]]] = {}
    for row in rows:
        key, full = _locate(row.path, folder)
        given = _split_of(row, path) if with_split else ""
        if key in first:
            _check_same(path, *first[key], row, given)
            found.left_out.append(LeftOut(key, "listed more than once"))
            continue
        first[key] = row, given
        file = listed.get(full) or store.describe(full)
        if file is None:
            found.left_out.append(LeftOut(key, "no such file"))
        else:
            found.add(full, key, row.label, given, f"{file.size} {file.stamp}")
    if not found.items:
        raise ImageError(
            f"None of the {len(first):,} files that '{path}' lists exists; the first would be "
            f"'{_locate(rows[0].path, folder)[1]}'. Paths are relative to '{folder}'."
        )
    return found


# ---------------------------------------------------------------- the table


def _read_csv(path: str) -> Iterator[Row]:
    try:
        text = store.read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImageError(f"'{path}' is not UTF-8 (byte {error.start:,}): save it as CSV UTF-8.") from None
    lines = csv.reader(io.StringIO(text, newline=""))
    try:
        columns = _columns(path, next(lines, []))
        for cells in lines:
            if any(cell.strip() for cell in cells):
                yield _row(path, lines.line_num, {n: cells[i] for n, i in columns.items() if i < len(cells)})
    except csv.Error as error:
        raise ImageError(f"Line {lines.line_num} of '{path}' is not CSV: {error}.") from None


def _read_parquet(path: str) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        with store.open_bytes(path) as file:
            table = pyarrow.parquet.ParquetFile(file).read()
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, ImageError | FileNotFoundError):
            raise
        raise ImageError(f"'{path}' is not a Parquet table: {error}.") from None
    columns = _columns(path, table.column_names)
    lists = {name: table.column(index).to_pylist() for name, index in columns.items()}
    for line in range(table.num_rows):
        yield _row(path, line + 1, {name: values[line] for name, values in lists.items()})


def _columns(path: str, header: list[str]) -> dict[str, int]:
    """Where the columns that matter are; others are not read."""
    names = [name.strip().lower() for name in header]
    for needed in ("path", "label"):
        if needed not in names:
            nearest = get_close_matches(needed, names, n=1, cutoff=0.5)
            hint = f" Is '{nearest[0]}' meant?" if nearest else ""
            have = ", ".join(f"'{name}'" for name in header) or "nothing"
            raise ImageError(
                f"'{path}' has no column '{needed}': line 1 has {have}.{hint} Needed: path,label and, if wanted, split."
            )
    return {name: names.index(name) for name in ("path", "label", "split") if name in names}


def _row(path: str, line: int, cells: dict[str, Any]) -> Row:
    texts = {name: "" if value is None else str(value).strip() for name, value in cells.items()}
    for needed in ("path", "label"):
        if not texts.get(needed):
            raise ImageError(f"Line {line} of '{path}' has no {needed}.")
    return Row(line, texts["path"], texts["label"], texts.get("split"))


# ---------------------------------------------------------------- its lines


def _split_of(row: Row, path: str) -> Split:
    word = (row.split or "").lower()
    if word in SPLIT_WORDS:
        return SPLIT_WORDS[word]
    what = f"calls its split '{row.split}'" if word else "has no split, though other lines have one"
    raise ImageError(f"Line {row.line} of '{path}' {what}: it must be train, val or test.")


def _check_same(path: str, row: Row, given: str, again: Row, given_again: str) -> None:
    for what, one, two in (("labels", row.label, again.label), ("splits", given, given_again)):
        if one != two:
            raise ImageError(
                f"Lines {row.line} and {again.line} of '{path}' give '{row.path}' two {what}, "
                f"'{one}' and '{two}': an image has one."
            )


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0] if store.is_uri(path) else os.path.dirname(path) or "."  # noqa: PTH120


def _locate(written: str, folder: str) -> tuple[str, str]:
    """The key and the whole path of an entry; the key is relative to the manifest wherever it can be."""
    if store.is_uri(written):
        return written.removeprefix(f"{folder}/"), written
    if store.is_uri(folder):
        key = posixpath.normpath(written)
        return key, f"{folder}/{key}"
    full = os.path.normpath(os.path.join(folder, written))  # noqa: PTH118
    inside = os.path.relpath(full, folder)
    outside = os.path.isabs(written) and inside.startswith("..")  # noqa: PTH117
    return (full if outside else inside).replace(os.sep, "/"), full
