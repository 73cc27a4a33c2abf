"""Packs in FFCV's own format, written by FFCV: they feed its loader, and are read here like any other pack."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from scrimp.batches.packing import Packing, build, partial_of
from scrimp.cores import cores
from scrimp.errors import MissingExtra, StorageError
from scrimp.images import Images
from scrimp.images.packed import BETON, INDEX, Pack, crc_of, open_pack

_PAGE = 1 << 23  # bytes, FFCV's own default; an image must fit into one


def write_beton(images: Images, packing: Packing, out: Path, *, threads: int | None, advice: str) -> None:
    """Writes raw pixels by FFCV's writer into `out`/images.beton, with fields "image" and "label".

    A raw pack is made beside it first, which takes the same room again until the end.
    Raises `MissingExtra` without FFCV, `StorageError` where it cannot be written.
    """
    _need_ffcv()
    pixels = out.with_name(f"{out.name}.pixels")
    partial = partial_of(out)
    build(images, Packing(format="raw", px=packing.px, keep=packing.keep), pixels, threads=threads, advice=advice)
    pack = open_pack(pixels)
    try:
        partial.mkdir()
        _write_file(images, pack, partial / BETON, threads or cores())
        facts = _write_index(images, pack, packing, partial)
        shutil.copy(pixels / "images.json", partial)
        (partial / "pack.json").write_text(json.dumps(facts))
        partial.rename(out)
    except OSError as error:
        raise StorageError(f"Cannot write the beton '{out}': {error.strerror}. {advice}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(pixels)


class _Samples:
    """What FFCV asks for, one after the other: an image and its label."""

    def __init__(self, pack: Pack, labels: Any) -> None:
        self._pack, self._labels = pack, labels

    def __len__(self) -> int:
        return len(self._pack)

    def __getitem__(self, n: int) -> tuple[Any, Any]:
        return self._pack.item(n), self._labels[n]


def _write_file(images: Images, pack: Pack, path: Path, workers: int) -> None:
    from ffcv.fields import FloatField, IntField, NDArrayField, RGBImageField
    from ffcv.writer import DatasetWriter

    labels = images.labels[pack.rows]
    if images.task == "multilabel":
        label: Any = NDArrayField(labels.dtype, labels.shape[1:])
    else:
        label = IntField() if images.task == "classify" else FloatField()
    largest = int(pack.index["size"].max(initial=0))
    fields = {"image": RGBImageField(write_mode="raw"), "label": label}
    page = max(_PAGE, 1 << (2 * largest).bit_length())
    DatasetWriter(str(path), fields, page_size=page, num_workers=workers).from_indexed_dataset(_Samples(pack, labels))


def _write_index(images: Images, pack: Pack, packing: Packing, partial: Path) -> dict[str, Any]:
    """Where FFCV says that it put each image, in the words of our packs."""
    from ffcv.reader import Reader

    entries = Reader(str(partial / BETON)).metadata["f0"]
    index = np.zeros(len(images), dtype=INDEX)
    content = np.memmap(partial / BETON, dtype=np.uint8, mode="r")
    for n, row in enumerate(pack.rows.tolist()):
        offset, height, width = int(entries["data_ptr"][n]), int(entries["height"][n]), int(entries["width"][n])
        size = height * width * 3
        index[row] = (offset, size, height, width, crc_of(content[offset : offset + size]))
    (partial / "index.bin").write_bytes(index.tobytes())
    digest = hashlib.blake2b(index.tobytes(), digest_size=16).hexdigest()
    changed = {"format": "beton", "job": packing.name(images), "bytes": len(content), "index": digest}
    return {**pack.facts, **changed}


def _need_ffcv() -> None:
    try:
        import ffcv.writer  # noqa: F401
    except ImportError:
        raise MissingExtra(
            "The format beton is written by FFCV, which is compiled as it is installed, with Debian's g++, pkg-config, "
            "libturbojpeg0-dev and libopencv-dev (apt-get install them first), and",
            "ffcv",
        ) from None
