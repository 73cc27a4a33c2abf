"""What was seen in images, kept in the cache folder for other runs, with what it had cost to see."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from scrimp.batches import Prepared
from scrimp.batches.packing import Packing
from scrimp.cost import Cost
from scrimp.errors import StorageError
from scrimp.images.packed import Format
from scrimp.store import cache_folder, write_whole


class Kept(NamedTuple):
    """Tensors by name, and the bill for them."""

    tensors: dict[str, Tensor]
    cost: Cost


def identity_of(ready: Prepared) -> str:
    """Differs wherever prepared images do: in the images themselves, their size, or how they are stored."""
    stored: Format = "raw" if ready.pack is None else ready.pack.facts["format"]
    name = Packing(format=stored, px=ready.image_px, keep=ready.preparation.keep).name(ready.images)
    return f"{name} {ready.pack is None}"


def read_kept(name: str) -> Kept | None:
    """What is kept under a name, or None where it is not there or not whole."""
    try:
        with safe_open(_path(name), "pt") as file:
            tensors, told = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
        if _digest(tensors) == told["digest"]:
            return Kept(tensors, Cost(**json.loads(told["cost"])))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        pass
    return None


def keep(name: str, tensors: Mapping[str, Tensor], cost: Cost) -> str:
    """Keeps tensors for other runs; says why where that cannot be done."""
    try:
        facts = {"digest": _digest(tensors), "cost": json.dumps(asdict(cost))}
        write_whole(_path(name), save(dict(tensors), facts))
    except StorageError as error:
        return f"The features could not be kept for other runs: {error}"
    return ""


def _path(name: str) -> Path:
    return cache_folder() / "features" / f"{name}.safetensors"


def _digest(tensors: Mapping[str, Tensor]) -> str:
    total = blake2b(digest_size=16)
    for key in sorted(tensors):
        total.update(key.encode())
        total.update(tensors[key].numpy().data)
    return total.hexdigest()
