"""Finds labelled images, whatever holds them, and cuts the test split off before anything can see it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from scrimp import store
from scrimp.cost import Stopwatch, shared_sensor
from scrimp.errors import ImageError, NotFound, SettingError
from scrimp.images.boxes import pick, some
from scrimp.images.fingerprint import fingerprint
from scrimp.images.folder import read_folder
from scrimp.images.folds import in_fold
from scrimp.images.found import Found
from scrimp.images.kept import only_kept
from scrimp.images.kinds import SPLITS, Images, ImageSource, LeftOut, Task, images_per_class
from scrimp.images.labels import COLUMNS, encode, strata
from scrimp.images.manifest import is_manifest_name, read_manifest
from scrimp.images.named import NAMED, read_named
from scrimp.images.overlap import overlap_with_imagenet
from scrimp.images.packed import is_pack, read_pack
from scrimp.images.printable import with_printable_names
from scrimp.images.split import divide, keep_per_class, promote_val
from scrimp.images.tested import tested_on


def find_images(
    source: str | Path | ImageSource,
    *,
    classes: int | None = None,
    min_per_class: int | None = None,
    per_class: int | None = None,
    val_fraction: float = 0.15,
    test_fraction: float = 0.15,
    split_seed: int = 0,
    data_dir: str | Path | None = None,
    task: Task = "classify",
    boxes: Literal["voc"] | None = None,
    box_pick: Literal["first", "largest", "each"] = "largest",
    box_margin: float = 0.0,
    subset: str | Path | None = None,
    test: str | Path | None = None,
) -> Images:
    """The labelled images of a folder, manifest, pack or named data set, divided into train, val and test.

    source: a folder of class folders (or of train, val and test folders of these), a CSV or Parquet manifest
    with columns path, label (task multilabel: labels, regress: target) and optionally split, or a name such as
    "digits" or "cifar10"; folders and manifests may be at a URI. The other arguments are those of `ImageSource`,
    which can be given instead.
    Splits that came with the data are kept; what is missing is cut off by class, the same on every machine. With
    `test`, all that is not val or test is to train on, and val and test come from there.

    Raises `NotFound` where the source leads nowhere, `ImageError` where it is not a set of labelled images,
    `SettingError` for impossible settings. Nothing is decoded. Cost: one stat per file, and one hash of
    each name; reading the pixels for data sets that live in memory. What choosing a `subset` had cost is added.

    >>> images = find_images("digits")
    >>> len(images), len(images.classes)
    (1797, 10)
    """
    wanted = _settings(
        source,
        {
            "classes": classes,
            "min_per_class": min_per_class,
            "per_class": per_class,
            "val_fraction": val_fraction,
            "test_fraction": test_fraction,
            "split_seed": split_seed,
            "data_dir": None if data_dir is None else str(data_dir),
            "task": task,
            "boxes": boxes,
            "box_pick": box_pick,
            "box_margin": box_margin,
            "subset": None if subset is None else str(subset),
            "test": None if test is None else str(test),
        },
    )
    with Stopwatch(shared_sensor()) as watch:
        table = _tabulate(_read(wanted), wanted)
        table = _pick_boxes(table, wanted)
        table = _drop_classes(table, wanted)
        table = _thin(table, wanted)
        images = with_printable_names(_divided(table, wanted))
        if wanted.subset is not None:
            images = only_kept(images, wanted.subset)
        if wanted.test is not None:
            whole = {"subset": None, "classes": None, "min_per_class": None, "per_class": None}
            others = wanted.but(source=wanted.test, test=None, **whole)
            images = with_printable_names(tested_on(images, find_images(others)))
        if wanted.folds is not None:
            images = in_fold(images, wanted.folds, wanted.fold)
    return replace(images, cost=images.cost + watch.cost)


def _settings(source: str | Path | ImageSource, given: dict[str, Any]) -> ImageSource:
    if not isinstance(source, ImageSource):
        return ImageSource(source=str(source), **given)
    defaults = ImageSource.model_fields
    twice = [name for name, value in given.items() if value != defaults[name].default]
    if twice:
        raise SettingError(
            f"{twice[0]}={given[twice[0]]} is given beside an ImageSource, which says "
            f"{twice[0]}={getattr(source, twice[0])}: set it there, with source.but({twice[0]}=…)."
        )
    return source


# ---------------------------------------------------------------- reading


def _read(wanted: ImageSource) -> Found:
    source = wanted.source
    path = source if store.is_uri(source) else str(Path(source).expanduser())
    if not store.is_uri(path) and is_pack(path):
        _has_no_annotations(wanted, "a pack, whose images were cut to their boxes when it was made")
        return read_pack(path, wanted.task)
    if store.is_folder(path):
        _has_one_class_an_image(wanted, "a folder")
        found = read_folder(path, boxes=wanted.boxes)
        if source in NAMED:
            found.notes.append(f"'{source}' is read as the folder of that name, not as the data set.")
        return found
    if store.describe(path) is not None:
        if is_manifest_name(path):
            _has_no_annotations(wanted, "a manifest, which holds its boxes in columns x0,y0,x1,y1")
            return read_manifest(path, wanted.task, several_labels=wanted.box_pick == "each")
        raise ImageError(f"'{source}' is a file, but neither a CSV nor a Parquet manifest (columns path,label).")
    if source in NAMED:
        _has_one_class_an_image(wanted, "a data set by name")
        _has_no_annotations(wanted, "a data set by name")
        return read_named(source, wanted.data_dir)
    raise NotFound(_nothing_called(source))


def _has_one_class_an_image(wanted: ImageSource, kind: str) -> None:
    """Refuses another task than classify for what only knows classes."""
    if wanted.task != "classify":
        column = COLUMNS[wanted.task][0]
        raise SettingError(
            f"task='{wanted.task}' needs a manifest, a CSV or Parquet table with columns path,{column}, but "
            f"'{wanted.source}' is {kind}, whose images have one class each."
        )


def _has_no_annotations(wanted: ImageSource, kind: str) -> None:
    """Refuses annotation files for what cannot have any."""
    if wanted.boxes:
        raise SettingError(f"boxes='{wanted.boxes}' is for folders, but '{wanted.source}' is {kind}.")


def _nothing_called(source: str) -> str:
    if store.is_uri(source):
        return (
            f"Nothing lies at '{source}', or these credentials may not see it. Check the bucket, the path and the "
            "endpoint."
        )
    nearest = get_close_matches(source.lower().replace("_", "-"), NAMED, n=1, cutoff=0.5)
    hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
    return (
        f"No folder, manifest or data set called '{source}'.{hint} Give a folder of class folders, a .csv or "
        f".parquet manifest (path,label), or one of: {', '.join(NAMED)}."
    )


# ---------------------------------------------------------------- from what was found to what is used


@dataclass(frozen=True)
class _Table:
    """Found images, sorted by key: `found` holds the rest, `rows` which of its entries are left.

    numbers: where each box is an image of its own, which one of its image's, from 1; else 0.
    """

    found: Found
    rows: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]
    labels: npt.NDArray[Any]
    given: npt.NDArray[np.str_]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def files(self) -> list[str]:
        """The key of the file of each row; parts of one image share it."""
        return [self.found.keys[row] for row in self.rows]

    @property
    def keys(self) -> list[str]:
        return [f"{key}#{n}" if n else key for key, n in zip(self.files, self.numbers.tolist(), strict=True)]

    def only(self, chosen: npt.NDArray[np.int64]) -> _Table:
        return replace(
            self,
            rows=self.rows[chosen],
            numbers=self.numbers[chosen],
            labels=self.labels[chosen],
            given=self.given[chosen],
        )


def _tabulate(found: Found, wanted: ImageSource) -> _Table:
    labels, classes = encode(found.labels, wanted.task)
    _can_be_told_apart(found, labels, classes, wanted)
    rows = np.array(sorted(range(len(found.keys)), key=found.keys.__getitem__), dtype=np.int64)
    given, note = np.array(found.given, dtype="<U5"), None
    if not found.divided:
        given, note = promote_val(given)
    if "train" not in given and "" not in given:
        have = " and ".join(sorted(set(found.given)))
        raise ImageError(f"'{wanted.source}' has no images to train on: all {len(rows):,} are in {have}.")
    return _Table(
        found=found,
        rows=rows,
        numbers=np.zeros(len(rows), dtype=np.int64),
        labels=labels[rows],
        given=given[rows],
        classes=classes,
        notes=(*found.notes, *([note] if note else [])),
        left_out=tuple(found.left_out),
    )


def _pick_boxes(table: _Table, wanted: ImageSource) -> _Table:
    """Of each image's boxes the one that counts, or every one as an image of its own."""
    boxes = [table.found.boxes[row] for row in table.rows]
    if not any(boxes):
        if wanted.box_pick != "largest" or wanted.box_margin:
            asked = f"box_pick='{wanted.box_pick}' and box_margin={wanted.box_margin:g} are for boxes"
            raise SettingError(f"{asked}, but '{wanted.source}' has none.{_where_boxes_come_from(wanted)}")
        return table
    files = table.files
    starts = [row for row, key in enumerate(files) if not row or key != files[row - 1]]
    kept: list[int] = []
    numbers: list[int] = []
    whole: list[str] = []
    for start, end in pairwise([*starts, len(files)]):
        drawn = [box for box in boxes[start:end] if box is not None]
        picked = pick(drawn, wanted.box_pick) if drawn else [0]
        kept += [start + n for n in picked]
        numbers += [n + 1 if drawn and wanted.box_pick == "each" else 0 for n in picked]
        whole += [] if drawn else [files[start]]
    told = f"{len(kept) - len(whole):,} of {len(files) - len(whole):,} boxes are cut out of "
    told += f"{len(starts) - len(whole):,} images (box_pick={wanted.box_pick}, box_margin={wanted.box_margin:g} %)"
    if whole:
        told += f"; {len(whole):,} of {len(starts):,} images have no box and are kept whole: {some(whole)}"
    return replace(
        table.only(np.array(kept, dtype=np.int64)),
        numbers=np.array(numbers, dtype=np.int64),
        notes=(*table.notes, f"{told}."),
    )


def _where_boxes_come_from(wanted: ImageSource) -> str:
    return "" if wanted.boxes else " Boxes come from boxes='voc' (--boxes voc) or a manifest's columns x0,y0,x1,y1."


def _drop_classes(table: _Table, wanted: ImageSource) -> _Table:
    """Keeps the classes that are large enough, then the largest; a given test split is not counted."""
    if wanted.classes is None and wanted.min_per_class is None:
        return table
    counts = np.bincount(table.labels[table.given != "test"], minlength=len(table.classes))
    least = wanted.min_per_class or 1
    kept = [n for n in range(len(table.classes)) if counts[n] >= least]
    reasons = dict.fromkeys(range(len(table.classes)), f"fewer than {least:,} images")
    limit = wanted.classes or 2
    if len(kept) < limit:
        enough = f" with at least {least:,} images outside test" if wanted.min_per_class else ""
        asked = f"{wanted.classes} were asked for" if wanted.classes else "at least 2 are needed"
        raise ImageError(f"'{wanted.source}' has {len(kept):,} of {len(table.classes):,} classes{enough}, but {asked}.")
    if wanted.classes is not None:
        reasons |= dict.fromkeys(kept, f"not among the {wanted.classes:,} largest classes")
        kept = sorted(sorted(kept, key=lambda n: (-counts[n], table.classes[n]))[: wanted.classes])
    renumber = np.full(len(table.classes), -1)
    renumber[kept] = np.arange(len(kept))
    dropped = [LeftOut(table.classes[n], reasons[n]) for n in np.flatnonzero(renumber < 0).tolist()]
    remaining = table.only(np.flatnonzero(renumber[table.labels] >= 0))
    return replace(
        remaining,
        labels=renumber[remaining.labels],
        classes=tuple(table.classes[n] for n in kept),
        left_out=(*table.left_out, *dropped),
    )


def _thin(table: _Table, wanted: ImageSource) -> _Table:
    if wanted.per_class is None:
        return table
    kept = keep_per_class(table.keys, table.labels, table.given, wanted.per_class, wanted.split_seed)
    if len(kept) == len(table.rows):
        return table
    note = f"per_class={wanted.per_class:,} keeps {len(kept):,} of {len(table.rows):,} images."
    return replace(table.only(kept), notes=(*table.notes, note))


def _divided(table: _Table, wanted: ImageSource) -> Images:
    keys = table.keys
    splits = (
        np.where(table.given == "", "train", table.given)
        if wanted.test is not None or table.found.divided
        else divide(
            table.files,
            strata(table.labels, wanted.task),
            table.given,
            val_fraction=wanted.val_fraction,
            test_fraction=wanted.test_fraction,
            seed=wanted.split_seed,
        )
    )
    items = tuple(table.found.items[row] for row in table.rows)
    stamps = [table.found.stamps[row] for row in table.rows]
    unstamped = [item for item, stamp in zip(items, stamps, strict=True) if not stamp]
    pixels = [fingerprint(item) for item in unstamped if isinstance(item, np.ndarray)]
    boxes, box_sizes = _box_columns(table)
    crops = () if boxes is None or box_sizes is None else (boxes, box_sizes, str(wanted.box_margin))
    overlap = overlap_with_imagenet(wanted.source, table.classes)
    return Images(
        source=wanted,
        items=items,
        keys=tuple(keys),
        labels=table.labels,
        splits=splits,
        classes=table.classes,
        boxes=boxes,
        box_sizes=box_sizes,
        stamps=tuple(stamps) if any(stamps) else (),
        left_out=table.left_out,
        notes=(*table.notes, *_empty_splits(table, splits, wanted), *([overlap] if overlap else [])),
        mirror_ok=table.found.mirror_ok,
        fingerprint=fingerprint(keys, stamps, pixels, table.labels, splits, table.classes, *crops),
    )


def _box_columns(table: _Table) -> tuple[npt.NDArray[np.float64] | None, npt.NDArray[np.int64] | None]:
    """Edges (n, 4) and sizes (n, 2) as `Images` holds them, or None without any box."""
    boxes = [table.found.boxes[row] for row in table.rows]
    if not any(boxes):
        return None, None
    edges = [(np.nan,) * 4 if box is None else box[:4] for box in boxes]
    sizes = [(0, 0) if box is None else box.image_size or (0, 0) for box in boxes]
    return np.array(edges, dtype=np.float64), np.array(sizes, dtype=np.int64)


def _empty_splits(table: _Table, splits: npt.NDArray[np.str_], wanted: ImageSource) -> list[str]:
    notes = []
    for split in SPLITS if wanted.test is None else SPLITS[:1]:
        here = splits == split
        if not table.classes and not here.any():
            notes.append(f"There is no image in {split}.")
        counts = images_per_class(table.labels[here], len(table.classes))
        names = [table.classes[n] for n in np.flatnonzero(counts == 0)]
        if names:
            told = ", ".join(f"'{name}'" for name in names[:5]) + (", …" if len(names) > 5 else "")
            notes.append(f"{len(names):,} of {len(table.classes):,} classes have no image in {split}: {told}.")
    return notes


def _can_be_told_apart(found: Found, labels: npt.NDArray[Any], classes: tuple[str, ...], wanted: ImageSource) -> None:
    """Refuses images that are all the same to this task."""
    n, source = len(labels), wanted.source
    if wanted.task == "classify" and len(classes) < 2:
        raise ImageError(_one_class(found, source))
    if wanted.task == "multilabel" and not classes:
        raise ImageError(f"'{source}' has no label to learn: the cell is empty for each of its {n:,} images.")
    if wanted.task == "multilabel" and (labels == labels[0]).all():
        raise ImageError(f"'{source}' has nothing to learn: its {n:,} images all have the same labels.")
    if wanted.task == "regress" and len(set(found.labels)) > len(np.unique(labels)):
        first = min(found.labels, key=float)
        raise ImageError(
            f"'{source}' has targets that differ by less than numbers of 32 bits can hold, the least being {first}: "
            "subtract an offset, such as the least of them, or give them in another unit."
        )
    if wanted.task == "regress" and len(np.unique(labels)) < 2:
        raise ImageError(f"'{source}' has nothing to learn: its {n:,} images all have the target {labels[0]:g}.")


def _one_class(found: Found, source: str) -> str:
    name, count = Counter(found.labels).most_common(1)[0]
    below = {key.split("/")[1] for key in found.keys if key.count("/") > 1}
    nested = len(below) > 1 and not any(found.given)
    hint = f" Did you mean '{store.join(source, name)}', which holds {len(below):,} folders?" if nested else ""
    return f"'{source}' holds one class, '{name}' ({count:,} images): a classifier needs at least 2.{hint}"
