"""Images to upload, a model that waits, and servers as processes of their own."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The file of an image."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """An image that compresses badly."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


class Held:
    """Outputs of a model that computes only while it may: so that a test decides what is under way."""

    def __init__(self, outputs: Any) -> None:
        self.may, self.began, self.batches = threading.Event(), threading.Event(), []
        self._outputs = outputs

    def __call__(self, pixels: Any) -> Any:
        self.batches.append(len(pixels))
        self.began.set()
        assert self.may.wait(60)
        return self._outputs(pixels)


class Served(NamedTuple):
    """A server of its own process."""

    url: str
    process: subprocess.Popen[str]
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


def start_server(folder: Path, log: Path, *options: str) -> Served:
    """`scrimp serve` on a free port, once it has said where it is."""
    command = [sys.executable, "-m", "scrimp", "serve", str(folder), "--port", "0", "--json", *options]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True)
    assert process.stdout
    line = process.stdout.readline()
    assert line, log.read_text()
    return Served(json.loads(line)["url"], process, log)
