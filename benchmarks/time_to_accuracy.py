"""How much less does it cost to reach the val accuracy that plain fine-tuning reaches, and what do its seconds buy?

Pretrained mobilenet_v2 and squeezenet1_0 on imagenette-224, stanford-dogs-10 (cut to their boxes) and 5,000 images of
CIFAR-10 (500 a class, and the whole test split), all in one data folder (SCRIMP_DATA); published weights lie where
TORCH_HOME says. Both sides learn from, choose by and report on the very same images. Every run is a process of its own,
measured from its start, imports and reading included; looking at the test split is on nobody's bill.

plain.py, once a seed, with the threads and workers that are fastest for it: 10 epochs at 224 px. It is given folders of
photos already cut to their boxes, and of CIFAR-10 as PNGs, and what these took to write is not on its bill. Its price
is that of getting to the end of its best epoch on val, the first of equals. With `--price-by-the-image` its epochs run
on one thread (so that two runs can go side by side) with an allocator that keeps memory (by glibc's tunables: the
arithmetic is the same, and takes half of the time), and its price is its images times what one takes with the threads
and workers that are fastest for it and the allocator as it comes, timed over a few steps; rows say so.

Scrimp, with an empty cache: whole runs of 0 (the solved head alone), 1, 2, … epochs, a schedule each; the cheapest that
is as good on val as plain's best epoch counts. What the runs before it took is not counted, as plain's choice of 10
epochs is not. Once more it gets the seconds that plain took for all its epochs, and at most `--most-epochs`, and
reports its test accuracy.

Rows are kept as they come, plain's epoch by epoch: started again, it goes on with those that are missing.

    python benchmarks/time_to_accuracy.py [--quick] [--recipe NAME] [--set cifar10/mobilenet_v2:recipe.lr=1e-3]
        [--only DATA/MODEL[/SEED]] [--seeds 0 1 2] [--data-dir FOLDER] [--out FOLDER]

Summary keys: `cpu_ratio.DATA.MODEL` (CPU-seconds of plain over Scrimp's, median over the seeds, one that never got
there being the lowest; None where that is the median), `cpu_ratio_all_epochs.DATA.MODEL` (the same with the price of
all of plain's epochs), `test_gain_same_seconds.DATA.MODEL` (points of test accuracy over plain's, mean over the seeds).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from record import record

from scrimp.images import Images, find_images
from scrimp.store import write_whole

Row = dict[str, Any]
MODELS = ["mobilenet_v2", "squeezenet1_0"]
DATA: dict[str, Row] = {
    "imagenette-224": {},
    "stanford-dogs-10": {"boxes": "voc"},
    "cifar10": {"per_class": 500},
}
"""What is said of the images beside their name."""
RESIZE = {"stanford-dogs-10": 256}  # else 224: the short side, of which plain cuts out the middle 224 pixels
EPOCHS, QUICK_EPOCHS = [0, 1, 2, 3, 4, 6, 8, 10, 12, 16], [0, 1]
HERE = Path(__file__).parent


# ---------------------------------------------------------------- the same images for both


def write_folders(images: Images, folder: Path) -> Row:
    """train, val and test, each a folder a class: links to files, or new ones of what was cut out or lay in memory."""
    from PIL import Image, ImageOps

    start = time.perf_counter()
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    for row, item in enumerate(images.items):
        name = images.keys[row].replace("/", "_").replace("#", "_")
        path = part / str(images.splits[row]) / images.classes[images.labels[row]] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        box = None if images.boxes is None else images.boxes[row]
        if not isinstance(item, str):
            Image.fromarray(item).save(path.with_suffix(".png"))
        elif box is None or box[0] != box[0]:
            path.symlink_to(Path(item).resolve())
        else:
            whole = ImageOps.exif_transpose(Image.open(item)).convert("RGB")
            whole.crop(tuple(round(edge) for edge in box)).save(path.with_suffix(".jpg"), quality=95)
    part.rename(folder)
    return {"what": "folders", "images": len(images), "seconds": time.perf_counter() - start}


# ---------------------------------------------------------------- one process each


KEEP_MEMORY = {
    "GLIBC_TUNABLES": "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1099511627776:glibc.malloc.hugetlb=1"
}


def run_plain(folder: Path, data: str, model: str, options: list[str], out: Path, place: dict[str, str]) -> Row:
    """A row of plain.py, which lies in `out`, beside what has been done so far, until it is taken from there."""
    command = [sys.executable, str(HERE / "plain.py"), str(folder), model, str(out), *options]
    command += ["--resize", str(RESIZE.get(data, 224))]
    subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, **place})
    row: Row = json.loads(out.read_bytes())
    out.unlink()
    return row


def run_scrimp(arguments: list[str], _: Path) -> Row:
    """`scrimp train` with nothing in its cache."""
    with tempfile.TemporaryDirectory() as folder:
        place = {"SCRIMP_CACHE": f"{folder}/cache"}
        command = [sys.executable, "-m", "scrimp", "train", *arguments, "--out", f"{folder}/run", "--json"]
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, **place})
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    run = json.loads(done.stdout)
    whole = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "seconds": seconds,
        "cpu_seconds": whole - run["costs"]["measure"]["cpu_seconds"],
        "bill": run["costs"],
        "image_px": run["plan"]["preparation"]["image_px"],
        "recipe": run["plan"]["recipe"],
        "images": run["image_counts"],
        "status": run["status"],
        "notes": [note.replace(f"{Path(arguments[0]).parent}/", "") for note in run["notes"]],
        "val_accuracies": [epoch["val_score"] for epoch in run["history"]],
        "val_accuracy": run["val"]["top1"],
        "test_accuracy": run["test"]["top1"],
    }


# ---------------------------------------------------------------- what they are compared by


def price(plain: Row, *, epochs: int | None = None) -> Row:
    """What plain's start and first epochs took, or all of them."""
    parts = [plain["start"], *plain["epochs"][:epochs]]
    return {unit: sum(part[unit] for part in parts) for unit in ("seconds", "cpu_seconds")}


def priced_by_the_image(plain: Row, best: Row) -> Row:
    """The row with the bill of its epochs as the timed steps have it; what was on the clock is kept beside it."""
    images = plain["images"]
    epoch = {
        "seconds": images["train"] / best["images_per_second"] + images["val"] * best["seconds_per_image_looked_at"],
        "cpu_seconds": images["train"] * best["cpu_s_per_image"]
        + images["val"] * best["cpu_seconds_per_image_looked_at"],
    }
    epochs = [one | epoch | {"clocked_cpu_seconds": one["cpu_seconds"]} for one in plain["epochs"]]
    return plain | {"epochs": epochs, "priced": "by the image"}


def best_epoch(plain: Row) -> int:
    """Counted from 1, the first of equals."""
    accuracies = [epoch["val_accuracy"] for epoch in plain["epochs"]]
    return accuracies.index(max(accuracies)) + 1


def comparison(plain: Row, ours: Row, longest: Row) -> Row:
    """What a seed says. ours: the first run as good as plain's best epoch, or the last that was tried."""
    best = best_epoch(plain)
    target = plain["epochs"][best - 1]["val_accuracy"]
    reached = ours["val_accuracy"] >= target
    whole, allowed = price(plain), price(plain, epochs=best)
    return {
        "plain_val_accuracy": target,
        "plain_best_epoch": best,
        "plain_cpu_seconds": allowed["cpu_seconds"],
        "plain_cpu_seconds_all_epochs": whole["cpu_seconds"],
        "plain_seconds_all_epochs": whole["seconds"],
        "scrimp_image_px": ours["image_px"],
        "scrimp_epochs": ours["recipe"]["epochs"],
        "scrimp_val_accuracy": ours["val_accuracy"],
        "scrimp_cpu_seconds": ours["cpu_seconds"],
        "cpu_ratio": allowed["cpu_seconds"] / ours["cpu_seconds"] if reached else None,
        "cpu_ratio_all_epochs": whole["cpu_seconds"] / ours["cpu_seconds"] if reached else None,
        "same_seconds": longest["seconds"],
        "plain_test_accuracy": plain["test"]["accuracy"],
        "same_seconds_test_accuracy": longest["test_accuracy"],
        "test_gain_same_seconds": 100 * (longest["test_accuracy"] - plain["test"]["accuracy"]),
    }


def middle(ratios: list[float | None]) -> float | None:
    """The median, the lower of two; None, which is what never got there, is the lowest."""
    return sorted(ratios, key=lambda ratio: -1.0 if ratio is None else ratio)[(len(ratios) - 1) // 2]


def summary_of(compared: list[Row]) -> Row:
    """The headline of the comparisons so far."""
    summary: Row = {}
    for pair in dict.fromkeys((row["data"], row["model"]) for row in compared):
        of_pair = [row for row in compared if (row["data"], row["model"]) == pair]
        name = ".".join(pair)
        for key in ("cpu_ratio", "cpu_ratio_all_epochs"):
            summary[f"{key}.{name}"] = middle([row[key] for row in of_pair])
        gains = [row["test_gain_same_seconds"] for row in of_pair]
        summary[f"test_gain_same_seconds.{name}"] = sum(gains) / len(gains)
    return summary


# ---------------------------------------------------------------- one after the other


class Shelf:
    """Rows that are measured once and kept in a folder, where what was made for them lies too."""

    def __init__(self, folder: Path) -> None:
        """folder: made when the first row is kept."""
        self.folder, self.rows = folder, dict[str, Row]()

    def kept(self, name: str, about: Row, measure: Callable[[Path], Row]) -> Row:
        """The row of that name; `measure` may use the file that it is given on the way."""
        file = self.folder / f"{name}.json"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, json.dumps(measure(file.with_suffix(".part"))).encode())
        self.rows[name] = about | json.loads(file.read_bytes())
        return self.rows[name]


def compare(shelf: Shelf, asked: argparse.Namespace, data: str, model: str, seed: int) -> Row:
    """Measures what is missing of one seed, and compares."""
    source = data if data == "cifar10" else str(Path(asked.data_dir) / data)
    options = DATA[data] | ({"per_class": 8} if asked.quick else {})
    images = find_images(source, **options, data_dir=asked.data_dir)
    folder, name = shelf.folder / data, f"{data}-{model}"
    shelf.kept(f"{data}-folders", {"what": "folders", "data": data}, lambda _: write_folders(images, folder))

    tuning = partial(run_plain, folder, data, model, ["--tune"], place={})
    best = shelf.kept(f"{name}-tuned", {"what": "tuning", "data": data, "model": model}, tuning)["best"]
    about = {"data": data, "model": model, "seed": seed}
    how = ["--seed", str(seed), "--epochs", "2" if asked.quick else "10"]
    if asked.price_by_the_image:
        tuned = partial(run_plain, folder, data, model, [*how, "--threads", "1"], place=KEEP_MEMORY)
        kept = f"{name}-plain{seed}-kept-memory"
        plain = priced_by_the_image(shelf.kept(kept, {"what": "plain", **about}, tuned), best)
        shelf.rows[kept] = plain
    else:
        how += ["--threads", str(best["threads"]), "--workers", str(best["workers"])]
        tuned = partial(run_plain, folder, data, model, how, place={})
        plain = shelf.kept(f"{name}-plain{seed}", {"what": "plain", **about}, tuned)

    given = [*words_of(source, options, asked.data_dir), "--model", model, "--seed", str(seed)]
    given += settings(asked, data, model)
    name += f"-scrimp-{hashlib.sha256(repr(given).encode()).hexdigest()[:6]}"
    target, ours = max(epoch["val_accuracy"] for epoch in plain["epochs"]), list[Row]()
    for epochs in QUICK_EPOCHS if asked.quick else EPOCHS:
        whole = partial(run_scrimp, [*given, "--epochs", str(epochs)])
        ours.append(shelf.kept(f"{name}-{epochs}", {"what": "scrimp", **about}, whole))
        if ours[-1]["val_accuracy"] >= target:
            break
    around = ours[0]["seconds"] - ours[0]["bill"]["train"]["seconds"]
    limit = f"recipe.max_seconds={max(1.0, price(plain)['seconds'] - around):.1f}"
    given += ["--epochs", str(asked.most_epochs), "--set", limit]
    longest = shelf.kept(f"{name}-longest", {"what": "same seconds", **about}, partial(run_scrimp, given))
    return {"what": "comparison", **about, **comparison(plain, ours[-1], longest)}


def words_of(source: str, options: Row, data_dir: str) -> list[str]:
    """Images as the command line names them."""
    words = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    return [source, *words, "--data-dir", data_dir]


def settings(asked: argparse.Namespace, data: str, model: str) -> list[str]:
    """The options of the command line that say how Scrimp trains this model on these images."""
    options = ["--recipe", asked.recipe] if asked.recipe else []
    for setting in asked.set:
        whose, _, rest = setting.partition(":")
        if whose.partition("/")[0] not in DATA:
            options += ["--set", setting]
        elif whose in (data, f"{data}/{model}"):
            options += ["--set", rest]
    return options


def main() -> None:
    """Goes over seeds, data and models, and records after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="8 photos a class, 2 epochs, squeezenet1_0 alone")
    parser.add_argument("--recipe", help="name of a preset of 'scrimp train'")
    parser.add_argument("--set", action="append", default=[], help="a setting, of some alone with DATA[/MODEL]: before")
    parser.add_argument("--only", action="append", help="DATA/MODEL, or DATA/MODEL/SEED; may be repeated")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--price-by-the-image", action="store_true", help="plain: half of the time, the same arithmetic"
    )
    parser.add_argument("--most-epochs", type=int, default=30, help="of the run that is given plain's seconds")
    parser.add_argument("--data-dir", default=os.environ.get("SCRIMP_DATA"), help="folder that holds the data sets")
    parser.add_argument("--out", default="runs/time_to_accuracy", help="rows that lie here are not measured again")
    asked = parser.parse_args()
    if not asked.data_dir:
        parser.error("no data: give --data-dir, or set SCRIMP_DATA")
    shelf = Shelf(Path(asked.out) / ("quick" if asked.quick else "whole"))
    compared: list[Row] = []
    for data, model, seed in jobs_of(asked):
        compared.append(compare(shelf, asked, data, model, seed))
        record("time_to_accuracy", [*shelf.rows.values(), *compared], summary_of(compared), quick=asked.quick)


def jobs_of(asked: argparse.Namespace) -> list[tuple[str, str, int]]:
    """Data, model and seed of each comparison: all of the first seed before those of the next."""
    if asked.quick:
        return [("imagenette-224", "squeezenet1_0", asked.seeds[0])]
    every = [(data, model, seed) for seed in asked.seeds for data in DATA for model in MODELS]
    wanted = tuple(f"{only}/" for only in asked.only or ())
    return [job for job in every if not wanted or "/".join([*map(str, job), ""]).startswith(wanted)]


if __name__ == "__main__":
    main()
