"""Writes images as a folder of class folders."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scrimp import store
from scrimp.errors import SettingError, StorageError
from scrimp.images import Images
from scrimp.images.decode import open_row, reader_of, threads_to_read
from scrimp.images.found import IMAGE_SUFFIXES

_LONGEST = 255  # bytes of a file's name, on the usual disks


def check_export(images: Images, folder: str | Path) -> None:
    """Refuses what `export_images` could not write, before there is anything to write.

    Raises `SettingError` for a folder that is not empty, images that have no one class, and classes whose folders would
    be hidden or the same.
    """
    if images.task != "classify":
        raise SettingError(f"A folder of class folders cannot hold task='{images.task}': the kept list can.")
    if store.is_folder(folder) and (store.list_files(folder) or store.list_folders(folder)):
        raise SettingError(f"'{folder}' is not empty: give a folder that is, or that is not there yet.")
    _class_folders(images.classes)


def export_images(images: Images, rows: npt.NDArray[np.int64], folder: str | Path) -> None:
    """Writes some of the images as `folder/class/00012-name.jpg`, numbered in their order; here all of them or none.

    Files are copied as they are; what lies in memory, or was cut to a box, becomes a PNG. Raises as `check_export`, and
    `StorageError` where it cannot be written. Cost: reading and writing each.
    """
    from scrimp.batches.packing import partial_of

    check_export(images, folder)
    if store.is_uri(folder):
        _write(images, rows, str(folder))
        return
    whole = Path(folder).resolve()
    partial = partial_of(whole)
    try:
        _write(images, rows, str(partial))
        partial.rename(whole)
    except OSError as error:
        raise StorageError(f"'{folder}' cannot be written: {error.strerror}.") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(images: Images, rows: npt.NDArray[np.int64], folder: str) -> None:
    class_folders = _class_folders(images.classes)
    with reader_of(images.only(rows)) as reader:

        def write(numbered: tuple[int, int]) -> None:
            number, row = numbered
            suffix, content = _content(images, row, reader)
            name = _shortened(f"{number:05d}-{Path(_name(images, row)).stem}", f".{suffix}")
            store.write_whole(store.join(folder, f"{class_folders[images.labels[row]]}/{name}"), content)

        for _ in store.in_order(write, enumerate(rows.tolist()), threads_to_read(images)):
            pass


def _class_folders(classes: Sequence[str]) -> list[str]:
    """A folder name for each class."""
    owners: dict[str, str] = {}
    for label in classes:
        folder = re.sub(r"[/\\]", "_", label)
        if folder.startswith("."):
            raise SettingError(
                f"The class '{label}' cannot be written as a folder, for what begins with a dot is hidden: rename it, "
                "or train on the kept list, which needs no folder."
            )
        if folder in owners:
            raise SettingError(
                f"The classes '{owners[folder]}' and '{label}' would both be written as the folder '{folder}': rename "
                "one of them, or train on the kept list, which needs no folder."
            )
        owners[folder] = label
    return list(owners)


def _shortened(stem: str, suffix: str) -> str:
    """A file's name, its end cut off where it is too long."""
    room = _LONGEST - len(suffix.encode())
    encoded = stem.encode("utf-8", "surrogateescape")
    return (stem if len(encoded) <= room else encoded[:room].decode("utf-8", "ignore")) + suffix


def _content(images: Images, row: int, reader: store.Reader) -> tuple[str, bytes]:
    """The suffix and the bytes of a file that holds this image."""
    item = images.items[row]
    boxed = images.boxes is not None and not np.isnan(images.boxes[row]).any()
    suffix = Path(_name(images, row)).suffix[1:]
    if isinstance(item, str) and not boxed and suffix.lower() in IMAGE_SUFFIXES:
        stamp = images.stamps[row] if images.stamps else ""
        return suffix, reader.read(item, stamp) if store.is_uri(item) else store.read_bytes(item)
    if isinstance(item, np.ndarray) and item.ndim == 1:
        return "jpg", item.tobytes()
    image, _ = open_row(images, row, reader=reader)
    file = io.BytesIO()
    image.save(file, "PNG")
    return "png", file.getvalue()


def _name(images: Images, row: int) -> str:
    item = images.items[row]
    return item if isinstance(item, str) else images.keys[row]
