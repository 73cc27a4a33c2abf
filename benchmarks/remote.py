"""What does it cost to learn from images in a bucket: by copying them first, streaming them, or keeping what was read?

Photo-like JPEGs lie on an S3 server (moto's, in a process of its own) behind a proxy that adds 20 ms to every request
and counts them. Each way reads and decodes all images twice, in two random orders, each epoch by a reader of its own
and each repetition with an empty cache; "folder" reads the same files from this disk. "cache, half" may keep half the
bytes.

    python benchmarks/remote.py [--quick] [--data FOLDER] [--server URL]

Summary keys: for each way the medians `first_epoch_s`, `second_epoch_s`, `first_requests`, `second_requests` and
`disk_mb`, and the smallest and largest `second_epoch_s`; `images`, `mb`, `delay_ms`, `repetitions`, and
`half_hit_rate`, the smallest part of the second epoch that "cache, half" found on the disk.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image
from proxy import Proxy
from record import record

from scrimp import Images, ImageSource, find_images, push
from scrimp.images.decode import open_row, reader_of, threads_to_read
from scrimp.store import in_order

DELAY_S = 0.020
PX = 160
WAYS = ("folder", "copy", "stream", "cache", "cache, half")

MOTO = """
import logging, sys, threading
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


def make_photos(folder: Path, count: int) -> None:
    """JPEGs of 640 x 480 whose detail falls off with frequency as that of photos does, about 60 kB each."""
    random = np.random.default_rng(0)
    for index in range(count):
        pixels = np.full((480, 640, 3), 110.0)
        for scale in (4, 8, 16, 32, 64, 128, 256, 640):
            coarse = random.normal(0, 1, (480 * scale // 640 + 1, scale, 3)) * 45 * (4 / scale) ** 0.5
            pixels += np.stack(
                [np.asarray(Image.fromarray(coarse[..., c].astype(np.float32)).resize((640, 480))) for c in range(3)], 2
            )
        path = folder / f"class{index % 10}" / f"{index:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=88)


@contextmanager
def server_at(given: str | None) -> Iterator[str]:
    """The address of an S3 server: the one given, or moto's."""
    if given:
        yield given
        return
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
    process = subprocess.Popen([sys.executable, "-c", MOTO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.communicate()


def epoch(images: Images, seed: int) -> float:
    """Seconds to read and decode every image once, in random order, taking everything down first if so asked."""
    order = np.random.default_rng(seed).permutation(len(images)).tolist()
    start = time.perf_counter()
    with reader_of(images) as reader:
        for _ in in_order(
            lambda row: open_row(images, row, draft_px=PX, reader=reader), order, threads_to_read(images)
        ):
            pass
    return time.perf_counter() - start


def measure(way: str, folder: Path, bucket: str, total: int, proxy: Proxy, repetition: int) -> dict[str, Any]:
    """Two epochs with an empty cache."""
    mode, size = way.split(",")[0], total // 2 if "half" in way else 10 * total
    with tempfile.TemporaryDirectory() as cache:
        os.environ["SCRIMP_CACHE"] = cache
        if way == "folder":
            images = find_images(folder)
        else:
            images = find_images(ImageSource(source=bucket, remote=mode, cache_size=size))  # type: ignore[arg-type]
        row: dict[str, Any] = {"way": way, "repetition": repetition, "images": len(images)}
        for number, name in enumerate(("first", "second")):
            proxy.requests.clear()
            row[f"{name}_epoch_s"] = epoch(images, seed=2 * repetition + number)
            row[f"{name}_requests"] = len(proxy.requests)
        kept = [path for path in Path(cache, "remote").rglob("*") if path.is_file()]
        return row | {"disk_mb": sum(path.stat().st_size for path in kept) / 1e6}


def summary_of(rows: list[dict[str, Any]], total: int) -> dict[str, Any]:
    """The headline of the rows."""
    found: dict[str, Any] = {}
    for way in dict.fromkeys(row["way"] for row in rows):
        own = [row for row in rows if row["way"] == way]
        names = ("first_epoch_s", "second_epoch_s", "first_requests", "second_requests", "disk_mb")
        seconds = [row["second_epoch_s"] for row in own]
        found[way] = {name: median(row[name] for row in own) for name in names}
        found[way] |= {"second_epoch_s_min": min(seconds), "second_epoch_s_max": max(seconds)}
    half = [1 - row["second_requests"] / row["images"] for row in rows if row["way"] == "cache, half"]
    return found | {
        "images": rows[0]["images"],
        "mb": total / 1e6,
        "delay_ms": 1000 * DELAY_S,
        "repetitions": 1 + max(row["repetition"] for row in rows),
        "half_hit_rate": min(half, default=None),
    }


def main() -> None:
    """Makes or takes the images, sends them, and measures every way, one repetition after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100 images, one repetition")
    parser.add_argument("--data", help="a folder of class folders to use instead of made images")
    parser.add_argument("--server", help="the address of another S3 server; keys in AWS's variables")
    asked = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as made, server_at(asked.server) as url, Proxy(url, delay_s=DELAY_S) as proxy:
        folder = Path(asked.data or made)
        if not asked.data:
            make_photos(folder, 100 if asked.quick else 800)
        os.environ["AWS_ENDPOINT_URL"] = proxy.url
        bucket = f"s3://scrimp-{uuid.uuid4().hex[:12]}"
        push(folder, bucket)
        total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        rows = [
            measure(way, folder, bucket, total, proxy, repetition)
            for repetition in range(1 if asked.quick else 5)
            for way in WAYS
        ]
    record("remote", rows, summary_of(rows, total), quick=asked.quick)


if __name__ == "__main__":
    main()
