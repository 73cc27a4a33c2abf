"""How much of a model's speed is left behind `POST /predict`, and does the server stay well under load?

mobilenet_v3_small at 224 px with random weights (speed does not ask what they are), photo-like JPEGs of about
300 x 250 pixels, made by this script. First the same model is called in a loop, with the runtime and all threads that
the server has, at batch sizes from 1 to 64: its latency at one image and its best throughput. Then `scrimp serve`
is asked over loopback by 32 clients that each wait for their answer (one asyncio process, on the same cores), for ten
minutes; then a server with room for 8 images by 64 clients, who come back 50 ms after they were refused. Loop and load
are measured in turns at the beginning, so that both see the same machine.

    python benchmarks/serving.py [--quick] [--workers 2] [--runtime torch|onnx] [--seconds 600]

Summary keys: `throughput_vs_loop` (images per second through the server over the best of the loop, median of the
turns), `p99_vs_single` (99th percentile of the load's seconds over one image's seconds through the same idle server),
`failed_requests` (all but status 200 under the load of 32, and all but 200 and 503 when overloaded), `rss_growth_mb`
(memory of all server processes, median of the last tenth of the load less that of its second tenth),
`overload_503_ms` (99th percentile of the time to a 503).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import psutil
from record import record

PX, CLIENTS, IMAGES = 224, 32, 64
SIZES = (1, 2, 4, 8, 16, 32, 64)
ROUNDS = 5
HERE = Path(__file__).parent


# ---------------------------------------------------------------- material


def make_run(folder: Path, runtime: str) -> None:
    """A run folder that holds a model alone, and its ONNX file where that is served."""
    import torch

    from scrimp.models import build
    from scrimp.models.saved import read_facts, save_model

    torch.manual_seed(0)
    model = build("mobilenet_v3_small", classes=10, image_px=PX, pretrained=False).eval()
    save_model(model, folder, classes=[f"class {n}" for n in range(10)], image_px=PX)
    if runtime == "onnx":
        from scrimp.serving.exporting import _write_onnx

        _write_onnx(model, PX, read_facts(folder), folder / "model.onnx")


def make_photos() -> list[bytes]:
    """JPEGs of about 300 x 250 pixels and 30 kB."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    from make_photos import photo
    from serve_tools import encoded

    return [encoded(photo(seed, (300 + seed, 250)), "JPEG", quality=90) for seed in range(IMAGES)]


# ---------------------------------------------------------------- the loop, as `serving.py --loop FOLDER RUNTIME`


def loop(folder: str, runtime: str) -> None:
    """For every line on stdin, one on stdout: seconds of one image, and images per second at every batch size."""
    from scrimp.serving import Predictor

    predictor = Predictor(folder, runtime=runtime)  # type: ignore[arg-type]
    pixels = np.random.default_rng(0).integers(0, 256, (max(SIZES), 3, PX, PX), dtype=np.uint8)
    predictor.outputs(pixels)
    print(json.dumps({}), flush=True)
    for _ in sys.stdin:
        seconds = {}
        for size in SIZES:
            taken: list[float] = []
            while len(taken) < 5 or sum(taken) < 0.5:
                start = time.perf_counter()
                predictor.outputs(pixels[:size])
                taken.append(time.perf_counter() - start)
            seconds[size] = median(taken)
        speeds = {size: size / one for size, one in seconds.items()}
        print(json.dumps({"one_image_s": seconds[1], "images_per_second": speeds}), flush=True)


@contextmanager
def looping(folder: Path, runtime: str) -> Iterator[Any]:
    """Calls the loop in a process of its own, which sleeps meanwhile."""
    command = [sys.executable, __file__, "--loop", str(folder), runtime]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()

        def turn() -> dict[str, Any]:
            process.stdin.write("go\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            told: dict[str, Any] = json.loads(process.stdout.readline())  # type: ignore[union-attr]
            return told

        yield turn
        process.stdin.close()


# ---------------------------------------------------------------- the server


class Server(NamedTuple):
    """Where it is, and its processes."""

    port: int
    process: psutil.Process

    def rss_mb(self) -> float:
        """Of the server and all its workers."""
        every = [self.process, *self.process.children(recursive=True)]
        return sum(one.memory_info().rss for one in every) / 1e6


@contextmanager
def serving(folder: Path, runtime: str, workers: int, *options: str) -> Iterator[Server]:
    """`scrimp serve` for the length of the block."""
    flags = ["--onnx"] if runtime == "onnx" else []
    command = [sys.executable, "-m", "scrimp", "serve", str(folder), "--port", "0", "--json", "--workers", str(workers)]
    with subprocess.Popen([*command, *flags, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = json.loads(process.stdout.readline())["url"]
        server = Server(int(url.rpartition(":")[2]), psutil.Process(process.pid))
        try:
            yield server
        finally:
            process.terminate()
            process.wait(60)


# ---------------------------------------------------------------- the load


class Load(NamedTuple):
    """Seconds of every answer by status, how long it all took, and the server's memory once a second."""

    seconds: dict[int, list[float]]
    wall: float
    rss_mb: list[float]

    @property
    def per_second(self) -> float:
        """Images that were predicted."""
        return len(self.seconds.get(200, ())) / self.wall


def load(server: Server, photos: list[bytes], clients: int, seconds: float, pause: float = 0.0) -> Load:
    """Clients that each ask again as soon as they are answered, or a pause after they were refused."""
    return asyncio.run(_load(server, [_request(photo) for photo in photos], clients, seconds, pause))


def _request(photo: bytes) -> bytes:
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(photo)}\r\n\r\n"
    return head.encode() + photo


async def _load(server: Server, requests: list[bytes], clients: int, seconds: float, pause: float) -> Load:
    answers: dict[int, list[float]] = {}
    memory: list[float] = []
    began = time.perf_counter()
    until = began + seconds

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        asked = number
        while (start := time.perf_counter()) < until:
            try:
                writer.write(requests[asked % len(requests)])
                status = await _status(reader)
            except (OSError, asyncio.IncompleteReadError):
                status = 0
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            answers.setdefault(status, []).append(time.perf_counter() - start)
            asked += clients
            if status == 503:
                await asyncio.sleep(pause)
        writer.close()

    async def watch() -> None:
        while time.perf_counter() < until:
            memory.append(server.rss_mb())
            await asyncio.sleep(1)

    await asyncio.gather(watch(), *(client(number) for number in range(clients)))
    return Load(answers, time.perf_counter() - began, memory)


async def _status(reader: asyncio.StreamReader) -> int:
    """Of the next answer, which is read to its end."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.split(b":")[1]))
    return int(head.split(b" ", 2)[1])


# ---------------------------------------------------------------- everything


def main() -> None:
    """Loop and load by turns, the long load, then too much of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--runtime", choices=["torch", "onnx"], default="torch")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--loop", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.loop:
        loop(*given.loop)
        return
    rounds, seconds, turn_s = (2, 10.0, 4.0) if given.quick else (ROUNDS, given.seconds, 10.0)
    photos, rows = make_photos(), []
    setting = {"runtime": given.runtime, "workers": given.workers}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_run(folder, given.runtime)
        with serving(folder, given.runtime, given.workers) as server, looping(folder, given.runtime) as turn:
            load(server, photos, CLIENTS, turn_s)  # warm
            ratios = []
            for number in range(rounds):
                alone = turn()
                loaded = load(server, photos, CLIENTS, turn_s)
                best = max(alone["images_per_second"].values())
                ratios.append(loaded.per_second / best)
                rows.append(
                    {"what": "turn", "round": number, **setting, **alone, "served_per_second": loaded.per_second}
                )
            single = median(load(server, photos, 1, turn_s).seconds[200])
            long = load(server, photos, CLIENTS, seconds)
        with serving(folder, given.runtime, given.workers, "--queue", "8") as server:
            load(server, photos, 4, turn_s)
            over = load(server, photos, 2 * CLIENTS, turn_s, pause=0.05)
    p99 = float(np.percentile(long.seconds[200], 99))
    refused = over.seconds.get(503, [])
    tenth = max(1, len(long.rss_mb) // 10)
    growth = median(long.rss_mb[-tenth:]) - median(long.rss_mb[tenth : 2 * tenth] or long.rss_mb)
    failed = sum(len(taken) for status, taken in long.seconds.items() if status != 200)
    failed += sum(len(taken) for status, taken in over.seconds.items() if status not in (200, 503))
    rows += [
        {"what": "single", **setting, "median_s": single},
        {"what": "load", **setting, **told(long), "rss_mb": long.rss_mb},
        {"what": "overload", **setting, **told(over), "clients": 2 * CLIENTS, "queue": 8},
    ]
    summary = {
        "throughput_vs_loop": round(median(ratios), 3),
        "p99_vs_single": round(p99 / single, 2),
        "failed_requests": failed,
        "rss_growth_mb": round(growth, 1),
        "overload_503_ms": round(1000 * float(np.percentile(refused, 99)), 1) if refused else None,
        "images_per_second_per_core": round(long.per_second / (os.cpu_count() or 1), 1),
    }
    record("serving", rows, summary, quick=given.quick)


def told(load: Load) -> dict[str, Any]:
    """How many answers of each status, and how long they took."""
    return {
        "seconds": load.wall,
        "per_second": load.per_second,
        "answers": {str(status): len(taken) for status, taken in load.seconds.items()},
        "ms": {
            str(status): {f"p{q}": 1000 * float(np.percentile(taken, q)) for q in (50, 90, 99, 100)}
            for status, taken in load.seconds.items()
        },
    }


if __name__ == "__main__":
    main()
