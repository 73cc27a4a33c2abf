"""Data sets known by name: scikit-learn's digits, and those that torchvision can fetch."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scrimp import store
from scrimp.errors import NotFound
from scrimp.images.found import Found
from scrimp.images.kinds import Split


@dataclass(frozen=True)
class Torchvision:
    """A class of torchvision.datasets: how to ask it for each of its official splits.

    A set without official splits has one part, "". mirror_ok: whether a mirrored image keeps its label.
    """

    name: str
    parts: Mapping[Split | str, Mapping[str, Any]]
    mirror_ok: bool = True


BY_FLAG: Mapping[str, Mapping[str, Any]] = {"train": {"train": True}, "test": {"train": False}}
BY_WORD: Mapping[str, Mapping[str, Any]] = {"train": {"split": "train"}, "test": {"split": "test"}}
BY_THREE: Mapping[str, Mapping[str, Any]] = {**BY_WORD, "val": {"split": "val"}}
BY_TRAINVAL: Mapping[str, Mapping[str, Any]] = {**BY_WORD, "train": {"split": "trainval"}}
IMAGENETTE: Mapping[str, Mapping[str, Any]] = {
    "train": {"split": "train", "size": "320px"},
    "test": {"split": "val", "size": "320px"},  # its held-out images, which results are reported on
}

NAMED: dict[str, Torchvision | None] = {
    "digits": None,  # comes with scikit-learn
    "cifar10": Torchvision("CIFAR10", BY_FLAG),
    "cifar100": Torchvision("CIFAR100", BY_FLAG),
    "dtd": Torchvision("DTD", BY_THREE),
    "eurosat": Torchvision("EuroSAT", {"": {}}),
    "fashion-mnist": Torchvision("FashionMNIST", BY_FLAG),
    "fgvc-aircraft": Torchvision("FGVCAircraft", BY_THREE),
    "flowers102": Torchvision("Flowers102", BY_THREE),
    "food101": Torchvision("Food101", BY_WORD),
    "gtsrb": Torchvision("GTSRB", BY_WORD, mirror_ok=False),
    "imagenette": Torchvision("Imagenette", IMAGENETTE),
    "kmnist": Torchvision("KMNIST", BY_FLAG, mirror_ok=False),
    "mnist": Torchvision("MNIST", BY_FLAG, mirror_ok=False),
    "oxford-iiit-pet": Torchvision("OxfordIIITPet", BY_TRAINVAL),
    "stanford-cars": Torchvision("StanfordCars", BY_WORD),
    "stl10": Torchvision("STL10", BY_WORD),
    "svhn": Torchvision("SVHN", BY_WORD, mirror_ok=False),
}
"""Every data set that `find_images` knows by name."""


def read_named(name: str, data_dir: str | None = None) -> Found:
    """The images of a data set in `NAMED`, with its official splits.

    Looked for in `data_dir`, or in SCRIMP_DATA and the cache folder; else downloaded into the first or the
    last of these. Raises `NotFound` when it is neither here nor to be had. Cost: importing torchvision and
    reading the files; sets of small images are held in memory (180 MB for CIFAR-10).
    """
    entry = NAMED[name]
    if entry is None:
        return _read_digits()
    parts = _load(name, entry, data_dir)
    found = Found(mirror_ok=entry.mirror_ok)
    for part, dataset in parts.items():
        given = part if part in ("train", "val", "test") else ""
        root = Path(dataset.root)
        names = _class_names(dataset)
        items, labels = _content(dataset)
        for index, (item, label) in enumerate(zip(items, labels, strict=True)):
            if isinstance(item, np.ndarray):
                found.add(item, f"{part or name}/{index:06d}", names[label], given)  # type: ignore[arg-type]
            else:
                _add_file(found, item, root, names[label], given)
    return found


def _add_file(found: Found, path: str, root: Path, label: str, given: str) -> None:
    from scrimp.images.kinds import LeftOut

    key = Path(path).relative_to(root).as_posix() if Path(path).is_relative_to(root) else Path(path).name
    file = store.describe(path)
    if file is None:
        found.left_out.append(LeftOut(key, "no such file"))
    else:
        found.add(path, key, label, given, f"{file.size} {file.stamp}")  # type: ignore[arg-type]


# ---------------------------------------------------------------- scikit-learn


def _read_digits() -> Found:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # sixteen greys, 0 to 16
    found = Found(mirror_ok=False)
    for index, (image, label) in enumerate(zip(pixels, digits.target, strict=True)):
        found.add(_three_channels(image), f"digits/{index:04d}", str(label))
    return found


# ---------------------------------------------------------------- torchvision


def _load(name: str, entry: Torchvision, data_dir: str | None) -> dict[str, Any]:
    """A torchvision object per official split, from the first folder that holds them all."""
    folders = _folders(data_dir)
    for folder in folders:
        with contextlib.suppress(RuntimeError, OSError, ValueError):  # torchvision's ways to say "not here"
            return _open(entry, folder, download=False)
    try:
        folders[-1].mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for results
            return _open(entry, folders[-1], download=True)
    except (RuntimeError, OSError, ValueError) as error:
        looked = " or ".join(f"'{folder}'" for folder in folders)
        why = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
        raise NotFound(
            f"The data set '{name}' is not in {looked}, and downloading it failed: {why}. Either connect "
            "this machine to the internet and try again, or set SCRIMP_DATA (or data_dir) to a folder that "
            f"holds the files as torchvision.datasets.{entry.name} lays them out."
        ) from None


def _open(entry: Torchvision, folder: Path, *, download: bool) -> dict[str, Any]:
    from torchvision import datasets

    make = getattr(datasets, entry.name)
    return {part: make(str(folder), download=download, **options) for part, options in entry.parts.items()}


def _folders(data_dir: str | None) -> list[Path]:
    """Where to look; the last one is where a download goes."""
    if data_dir is not None:
        return [Path(data_dir).expanduser()]
    given = os.environ.get("SCRIMP_DATA")
    own = store.cache_folder() / "data"
    return [Path(given).expanduser(), own] if given else [own]


def _class_names(dataset: Any) -> list[str]:
    names = getattr(dataset, "classes", None)
    if names is None:  # SVHN and GTSRB number their classes
        count = max(_content(dataset)[1]) + 1
        return [str(n).zfill(len(str(count - 1))) for n in range(count)]
    return [", ".join(name) if isinstance(name, tuple) else str(name) for name in names]


def _content(dataset: Any) -> tuple[list[Any], list[int]]:
    """Arrays (h, w, 3) or paths, and their labels: torchvision has no public way to ask without decoding."""
    if hasattr(dataset, "data"):
        pixels = np.asarray(dataset.data)
        if pixels.ndim == 4 and pixels.shape[1] == 3:  # SVHN and STL-10 put colours first
            pixels = pixels.transpose(0, 2, 3, 1)
        labels = dataset.targets if hasattr(dataset, "targets") else dataset.labels
        images = [_three_channels(image) for image in pixels] if pixels.ndim == 3 else list(pixels)
        return images, [int(label) for label in labels]
    for name in ("_samples", "samples"):
        if hasattr(dataset, name):
            samples = getattr(dataset, name)
            return [str(path) for path, _ in samples], [int(label) for _, label in samples]
    files = dataset._image_files if hasattr(dataset, "_image_files") else dataset._images
    return [str(path) for path in files], [int(label) for label in dataset._labels]


def _three_channels(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.repeat(grey[:, :, None], 3, axis=2)
