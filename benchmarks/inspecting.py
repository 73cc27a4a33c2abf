"""How long does `scrimp inspect` take, and what does it find in data that everybody knows?

The whole command, measured from outside: on CIFAR-10 written out as 60,000 PNGs in class folders below train/ and
test/, and on a folder of 2,500 photos of 224 x 224 pixels. Of CIFAR-10 it is known by other means which test images
have near duplicates in train: Barz and Denzler, "Do we train on test data?", 2020, let a network propose and people
judge, and list 286 pairs (duplicates_cifar10.csv of ciFAIR); with their list, the part of it that is found is recorded.

    python benchmarks/inspecting.py --photos FOLDER [--cifar FOLDER] [--pairs FILE] [--out FOLDER] [--quick]

`--cifar` holds CIFAR-10 as torchvision lays it out; `--pairs` is their list, CSV with TestID and TrainID; `--quick`
takes 500 images of each class and split, and no photos.

Summary keys: `cifar10_seconds`, `photos_seconds` (wall clock of the whole command), `cifar10_test_in_train` (test
images with a near duplicate in train), `cifar10_pairs_found` (part of the listed pairs in one group; none without a
list), `photos_near_groups`. The row `changes` holds how many copies, changed in ten ways, are near to their original.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image, ImageEnhance
from record import record

from scrimp.images import Images, ImageSource
from scrimp.images.decode import open_rgb
from scrimp.images.folder import is_image_name
from scrimp.images.inspection.duplicates import find_duplicates
from scrimp.images.inspection.looking import look


def write_cifar10(source: str, folder: Path, per_class: int | None) -> None:
    """CIFAR-10 as PNGs, folder/train/cat/00123.png; the number is that of the official order."""
    from torchvision.datasets import CIFAR10

    whole = folder.with_suffix(".whole")
    if whole.is_file():
        return
    for split in ("train", "test"):
        data = CIFAR10(source, train=split == "train", download=False)
        for name in data.classes:
            (folder / split / name).mkdir(parents=True, exist_ok=True)
        written = dict.fromkeys(data.classes, 0)
        with ThreadPoolExecutor() as threads:
            for index, (pixels, label) in enumerate(zip(data.data, data.targets, strict=True)):
                name = data.classes[label]
                written[name] += 1
                if per_class is None or written[name] <= per_class:
                    path = folder / split / name / f"{index:05d}.png"
                    threads.submit(Image.fromarray(pixels).save, path)
    whole.touch()


def inspect(source: Path, page: Path) -> tuple[dict[str, Any], float, float, int]:
    """What the command prints, its wall-clock seconds, the processor's load before (0 to 1), the most bytes it held."""
    load = psutil.cpu_percent(2) / 100
    start = time.perf_counter()
    command = [sys.executable, "-m", "scrimp", "inspect", str(source), "--out", str(page), "--json"]
    with tempfile.TemporaryFile() as printed:
        process = psutil.Popen(command, stdout=printed)
        most = 0
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                most = max(most, process.memory_info().rss)
            time.sleep(0.2)
        seconds = time.perf_counter() - start
        printed.seek(0)
        found = json.load(printed)
    return found, seconds, load, most


def row(name: str, source: Path, out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figures of one inspection, and all of it."""
    found, seconds, load, memory = inspect(source, out / f"{name}.html")
    kept = {
        "what": name,
        "seconds": seconds,
        "load_before": load,
        "images": sum(amount["images"] for amount in found["splits"].values()),
        "exact_groups": len(found["duplicates"]["exact"]),
        "near_groups": len(found["duplicates"]["near"]),
        "leaks": found["duplicates"]["leaks"],
        "faults": {fault["kind"]: len(fault["images"]) for fault in found["faults"]},
        "baseline": found["baseline"],
        "peak_memory_mb": memory / 1e6,
        "page_mb": (out / f"{name}.html").stat().st_size / 1e6,
    }
    return kept, found


def listed_pairs(path: Path) -> Iterator[tuple[int, int]]:
    """The pairs of a list of duplicates: numbers in the test split and in the train split."""
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            yield int(line["TestID"]), int(line["TrainID"])


def part_found(found: dict[str, Any], pairs: list[tuple[int, int]]) -> float:
    """The part of the pairs whose two images are in one group."""
    group_of: dict[tuple[str, int], set[int]] = {}
    for number, group in enumerate(found["duplicates"]["near"] + found["duplicates"]["exact"]):
        for member in group["members"]:
            key = Path(member["key"])
            group_of.setdefault((key.parts[0], int(key.stem)), set()).add(number)
    hits = [group_of.get(("test", one), set()) & group_of.get(("train", other), set()) for one, other in pairs]
    return sum(map(bool, hits)) / len(pairs)


def recoded(image: Image.Image, quality: int) -> Image.Image:
    """The image after it was saved as JPEG."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def cut(image: Image.Image, part: float) -> Image.Image:
    """The image without this part of its width and height on each side."""
    left, top = round(image.width * part), round(image.height * part)
    return image.crop((left, top, image.width - left, image.height - top))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved as JPEG of quality 30": lambda image: recoded(image, 30),
    "saved as JPEG of quality 10": lambda image: recoded(image, 10),
    "half as large": lambda image: image.resize((image.width // 2, image.height // 2)),
    "15 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "50 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.5),
    "40 % darker": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    "half the contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.5),
    "made grey": lambda image: image.convert("L").convert("RGB"),
    "2 % cut off each side": lambda image: cut(image, 0.02),
    "5 % cut off each side": lambda image: cut(image, 0.05),
}


def parts_found(folder: Path, step: int) -> dict[str, float]:
    """Of every step-th image below a folder, changed in each of the ways: the part that is near to its original."""
    paths = sorted(path for path in folder.rglob("*") if is_image_name(path.name))
    images = [open_rgb(str(path))[0] for path in paths[::step]]
    return {
        name: float(np.mean([is_near(image, change(image)) for image in images])) for name, change in CHANGES.items()
    }


def is_near(one: Image.Image, other: Image.Image) -> bool:
    """Whether an inspection of these two alone finds near duplicates, or exact ones."""
    pixels = tuple(np.asarray(image) for image in (one, other))
    images = Images(
        source=ImageSource(source="two"),
        items=pixels,
        keys=("one", "other"),
        labels=np.zeros(2, np.int64),
        splits=np.array(["train", "train"]),
        classes=("one", "other"),
        fingerprint="two",
    )
    found = find_duplicates(images, look(images))
    return bool(found.near or found.exact)


def main() -> None:
    """Writes out CIFAR-10, inspects both sets, and records what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", help="folder that holds CIFAR-10")
    parser.add_argument("--photos", help="folder of photos in class folders")
    parser.add_argument("--pairs", type=Path, help="CSV of known near duplicates of CIFAR-10")
    parser.add_argument("--out", type=Path, default=Path("runs/inspecting"), help="where the PNGs and pages go")
    parser.add_argument("--quick", action="store_true", help="10,000 images instead of 60,000, and no photos")
    asked = parser.parse_args()
    rows, summary = [], {}
    if asked.cifar:
        folder = asked.out / ("cifar10-quick" if asked.quick else "cifar10")
        write_cifar10(asked.cifar, folder, 500 if asked.quick else None)
        kept, found = row("cifar10", folder, asked.out)
        leaks = [leak for leak in kept["leaks"] if leak["split"] == "test"]
        summary |= {
            "cifar10_seconds": kept["seconds"],
            "cifar10_test_in_train": sum(leak["near"] + leak["exact"] for leak in leaks if leak["other"] == "train"),
        }
        if asked.pairs and not asked.quick:
            kept["pairs"] = part_found(found, list(listed_pairs(asked.pairs)))
            summary["cifar10_pairs_found"] = kept["pairs"]
        rows.append(kept)
    if asked.photos and not asked.quick:
        kept, _ = row("photos", Path(asked.photos), asked.out)
        summary |= {"photos_seconds": kept["seconds"], "photos_near_groups": kept["near_groups"]}
        rows.append(kept)
    if asked.cifar and asked.photos and not asked.quick:
        found_of = {"photos": parts_found(Path(asked.photos), 5), "cifar10": parts_found(folder, 120)}
        changes = {name: {source: parts[name] for source, parts in found_of.items()} for name in CHANGES}
        rows.append({"what": "changes", "found": changes})
    record("inspecting", rows, summary, quick=asked.quick)


if __name__ == "__main__":
    main()
