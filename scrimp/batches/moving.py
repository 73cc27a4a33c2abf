"""Prepared images that travel: to a machine that cannot see the files they came from."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from scrimp.batches.packing import partial_of
from scrimp.batches.preparing import Preparation, Prepared, from_pack
from scrimp.errors import SettingError, StorageError
from scrimp.images import Images
from scrimp.images.packed import is_pack, open_pack
from scrimp.store import cache_folder

Files = dict[str, npt.NDArray[np.uint8]]
"""The files of a pack: name to bytes (n,), mapped into memory where they lie."""


class Luggage(NamedTuple):
    """All that is known of prepared images but their pixels. pack: the name of the pack that holds these."""

    pack: str
    images: Images
    preparation: Preparation


def pack_up(ready: Prepared) -> tuple[Luggage, Files]:
    """What `unpack` needs elsewhere; all folds of a set have the same files.

    Raises `SettingError` for images without a pack. Cost: none, for nothing is read yet.
    """
    if ready.pack is None:
        raise SettingError(
            f"'{ready.images.source.source}' is read where it lies, which other machines cannot see: take another "
            "pack than 'none', or images at a URI."
        )
    folder = ready.pack.folder
    images = replace(ready.images, items=ready.images.keys)  # where they lay means nothing elsewhere
    files = {path.name: np.asarray(np.memmap(path, np.uint8, "r")) for path in folder.iterdir() if path.stat().st_size}
    return Luggage(folder.name, images, ready.preparation), files


def unpack(luggage: Luggage, files: Files) -> Prepared:
    """The images, from this machine's cache, where the pack is put unless it is there already."""
    packs = cache_folder() / "packs"
    folder = packs / luggage.pack
    if not is_pack(folder):
        partial = partial_of(folder)
        try:
            partial.mkdir(parents=True)
            for name, content in files.items():
                content.tofile(partial / name)
            partial.rename(folder)
        except OSError as error:
            if not is_pack(folder):  # else another process was first, with the same pack
                raise StorageError(f"Cannot write the pack '{folder}': {error.strerror}.") from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return from_pack(open_pack(folder), luggage.images, luggage.preparation, from_cache=True)
