"""Writes images as a folder of class folders."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scrimp import store
from scrimp.errors import SettingError
from scrimp.images import Images
from scrimp.images.decode import open_row, reader_of, threads_to_read
from scrimp.images.found import IMAGE_SUFFIXES


def export_images(images: Images, rows: npt.NDArray[np.int64], folder: str | Path) -> None:
    """Writes some of the images as `folder/class/00012-name.jpg`, numbered in their order.

    Files are copied as they are; what lies in memory, or was cut to a box, becomes a PNG. Raises `SettingError` for a
    folder that is not empty, and for images that have no one class. Cost: reading and writing each.
    """
    if images.task != "classify":
        raise SettingError(f"A folder of class folders cannot hold task='{images.task}': the kept list can.")
    if store.is_folder(folder) and (store.list_files(folder) or store.list_folders(folder)):
        raise SettingError(f"'{folder}' is not empty: give a folder that is, or that is not there yet.")
    with reader_of(images.only(rows)) as reader:

        def write(numbered: tuple[int, int]) -> None:
            number, row = numbered
            suffix, content = _content(images, row, reader)
            label = images.classes[images.labels[row]].replace("/", "_").replace("\\", "_")
            stem = Path(_name(images, row)).stem
            store.write_whole(store.join(str(folder), f"{label}/{number:05d}-{stem}.{suffix}"), content)

        for _ in store.in_order(write, enumerate(rows.tolist()), threads_to_read(images)):
            pass


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
