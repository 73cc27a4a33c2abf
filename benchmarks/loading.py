"""How fast are batches fed, from JPEG files and from a pack, and how fast is a pack written?

3,000 photo-like JPEGs of about 500 x 375 pixels at quality 90, made by this script, the same every time; batches of 64
at 224 px with random resized crop and mirror; 2 workers or threads for everyone; files in the page cache. Peers run in
environments of their own that this script makes (FFCV needs Debian's pkg-config, libturbojpeg0-dev, libopencv-dev and
a compiler); one that cannot be installed is skipped, and its figures are None. All processes stay up, and take
turns: in each round each of them runs whole epochs for 4 s. Figures are medians over the rounds; the rows hold every
one.

    python benchmarks/loading.py [--quick] [--rounds 5] [--out FOLDER]

Summary keys, ratios of images per second unless said otherwise: `jpeg_vs_torchvision` (ours from JPEG files, uint8,
over ImageFolder + Pillow + transforms v2 to normalised floats in DataLoader's workers), `jpeg_vs_dali` (uint8 over
uint8), `jpeg_vs_decode_limit` (uint8, over decoding alone by the same decoder), `pack_vs_ffcv_raw_uint8`,
`pack_vs_ffcv_raw_float` (raw pixels, short side 256; FFCV's longest side 341), `pack_vs_torchvision` (pack, uint8, over
torchvision from JPEG as above), `first_batch_s` (seconds from starting a process to the first batch of the JPEG
folder, less those of a process that only imports torch), `pack_write_vs_ffcv` (speed of writing that pack over FFCV's
writer).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from record import record

PX, STORED, LONGEST, BATCH, THREADS = 224, 256, 341, 64, 2
TURN_S = 4  # as in loading_peers.py
MEAN, STD = np.array([0.485, 0.456, 0.406]) * 255, np.array([0.229, 0.224, 0.225]) * 255
HERE = Path(__file__).parent
PEERS = {
    "dali": ["nvidia-dali-cuda120", "numpy"],
    "ffcv": ["setuptools", "wheel", "numpy<2", "torch", "torchvision", "opencv-python-headless<5", "ffcv==1.0.2"],
}


# ---------------------------------------------------------------- material


def photo(seed: int) -> bytes:
    """A JPEG of blurred clouds at many scales, hard-edged shapes and grain, 4:3 or 3:4, about 60 kB."""
    import cv2
    import simplejpeg

    random = np.random.default_rng([7, seed])
    short = int(random.integers(340, 411))
    width, height = (round(short * 4 / 3), short) if random.random() < 0.75 else (short, round(short * 4 / 3))
    canvas = np.full((height, width, 3), 118, dtype=np.float32)
    for cells, strength in ((2, 90), (5, 45), (12, 28), (30, 18), (75, 11), (150, 8)):
        grid = random.normal(0, strength, (cells, cells, 3)).astype(np.float32)
        grid = 1.3 * grid.mean(axis=2, keepdims=True) + 0.35 * grid
        canvas += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    image = np.clip(canvas, 0, 255).astype(np.uint8)
    for _ in range(12):
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        x, y, to_x, to_y = (int(value) for value in random.integers(0, [width, height, width, height]))
        if random.random() < 0.5:
            cv2.circle(image, (x, y), int(random.integers(6, 70)), colour, -1, cv2.LINE_AA)
        else:
            cv2.line(image, (x, y), (to_x, to_y), colour, int(random.integers(1, 5)), cv2.LINE_AA)
    grain = cv2.GaussianBlur(random.normal(0, 18, (height, width)).astype(np.float32), (0, 0), 0.8)
    image = np.clip(image + grain[..., None], 0, 255).astype(np.uint8)
    content: bytes = simplejpeg.encode_jpeg(image, 90, "RGB", "420")
    return content


def make_material(folder: Path, count: int, threads: int = THREADS) -> None:
    """Ten class folders of JPEGs; what is there already stays."""
    from scrimp.store import in_order

    paths = [folder / f"class{number % 10}" / f"{number:05d}.jpg" for number in range(count)]
    missing = [number for number in range(count) if not paths[number].is_file()]
    for number, content in zip(missing, in_order(photo, missing, threads), strict=True):
        paths[number].parent.mkdir(parents=True, exist_ok=True)
        paths[number].write_bytes(content)


# ---------------------------------------------------------------- ours, run as `loading.py --serve NAME FOLDER`


def decode_only(folder: str) -> Callable[[], int]:
    """The limit: every file read and decoded, nothing else, by the decoder and in the way that ours uses."""
    from scrimp.images.fast import decode_jpeg, jpeg_head
    from scrimp.store import in_order

    files = sorted(str(path) for path in Path(folder).glob("*/*.jpg"))
    chunks = [files[start : start + 8] for start in range(0, len(files), 8)]

    def decode(chunk: list[str]) -> int:
        for file in chunk:
            content = Path(file).read_bytes()
            head = jpeg_head(content)
            assert head is not None
            assert decode_jpeg(content, head, exact=False) is not None
        return len(chunk)

    return lambda: sum(in_order(decode, chunks, THREADS))


def ours(folder: str, *, floats: bool) -> Callable[[], int]:
    """Batches from a folder of files, or of a pack; floats are normalised as the model would, into kept memory."""
    import torch

    from scrimp.augment import crop, mirror
    from scrimp.batches import batches, prepare
    from scrimp.images import find_images

    ready = prepare(find_images(folder, val_fraction=0.001, test_fraction=0.001), image_px=PX, pack="none")
    rows = np.arange(len(ready.images))
    order = torch.Generator().manual_seed(0)
    mean = torch.from_numpy(np.tile(MEAN, PX).astype(np.float32))
    scale = torch.from_numpy(np.tile(1 / STD, PX).astype(np.float32))
    kept = torch.empty(BATCH, PX, 3 * PX)

    def epoch() -> int:
        seen = 0
        for pixels, *_ in batches(ready, rows, BATCH, order=order, changes=(crop, mirror), threads=THREADS):
            if floats:
                for image, to in zip(pixels.permute(0, 2, 3, 1), kept, strict=False):  # one by one: it fits the cache
                    torch.sub(image.view(PX, 3 * PX), mean, out=to).mul_(scale)
            seen += len(pixels)
        return seen

    return epoch


def write_ours(folder: str, out: str) -> float:
    """Seconds to write the pack, all of it on the disk for good."""
    from scrimp.batches.packing import Packing, build
    from scrimp.images import find_images

    images = find_images(folder)
    start = time.perf_counter()
    build(images, Packing(format="raw", px=STORED, keep="whole"), Path(out))
    return time.perf_counter() - start


IMPORT_TORCH = "import torch\nprint('there', flush=True)"
FIRST_BATCH = f"""
import sys
from scrimp.cost import warm_up_sensor
warm_up_sensor()  # as every command does first
import torch
from scrimp.augment import crop, mirror
from scrimp.batches import batches, prepare
from scrimp.images import find_images
ready = prepare(find_images(sys.argv[1]), image_px={PX}, pack="none")
order = torch.Generator().manual_seed(0)
next(batches(ready, ready.images.rows("train"), {BATCH}, order=order, changes=(crop, mirror), threads={THREADS}))
print('there', flush=True)
"""


def seconds_until_there(code: str, *arguments: str) -> float:
    """From starting a fresh process to what it prints."""
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        if process.stdout.readline() != "there\n":
            raise RuntimeError("the first batch never came")
        seconds = time.perf_counter() - start
        process.communicate()
    return seconds


def serve(name: str, place: str, out: str) -> None:
    """What a process of ours does: as in loading_peers.py."""
    if name == "ours-write":
        print(json.dumps({"seconds": write_ours(place, out)}), flush=True)
        return
    epoch = decode_only(place) if name == "decode" else ours(place, floats=name.endswith("float"))
    epoch()
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        start, cpu, images = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - start < TURN_S:
            images += epoch()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        print(json.dumps({"images": images, "seconds": seconds, "cpu_seconds": cpu, **own_memory()}), flush=True)


def own_memory() -> dict[str, float]:
    """Peak and present memory in MB; what is only mapped from files, and can be dropped, is counted apart."""
    lines = Path("/proc/self/status").read_text().splitlines() if Path("/proc/self/status").is_file() else []
    wanted = {"VmHWM": "peak_mb", "RssAnon": "anonymous_mb", "RssFile": "mapped_mb"}
    found = {line.split(":")[0]: line.split()[1] for line in lines if ":" in line and len(line.split()) > 1}
    return {name: int(found[key]) * 1024 / 1e6 for key, name in wanted.items() if key in found}


# ---------------------------------------------------------------- peers


def environment(name: str, out: Path) -> tuple[str, str]:
    """The Python of a peer's own environment, made by uv if need be; or "" and why there is none."""
    python = out / "peers" / name / "bin" / "python"
    installed = python.with_name("installed")
    if installed.is_file():
        return str(python), ""
    uv = shutil.which("uv") or str(HERE.parent / ".uv" / "bin" / "uv")
    base, _, last = " ".join(PEERS[name]).rpartition(" ")
    install = [uv, "pip", "install", "--quiet", "--python", str(python)]
    steps = [[uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(python.parents[1])]]
    steps += [[*install, *base.split()], [*install, "--no-build-isolation", last]]
    try:
        for step in steps:
            subprocess.run(step, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        told = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        return "", f"{name} cannot be installed: {' '.join(told[-3:])}"
    installed.touch()
    return str(python), ""


class Runner:
    """A process that takes a turn whenever it is asked."""

    def __init__(self, name: str, command: list[str]) -> None:
        """Started, and warmed up."""
        self.name = name
        environ = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)
        self._answer()

    def epoch(self) -> dict[str, Any]:
        """Seconds, processor time and images of one turn."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise RuntimeError(f"{self.name} ended without an answer")


def once(command: list[str]) -> float:
    """What a process that measures itself once has found."""
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))["seconds"])


# ---------------------------------------------------------------- the comparison


def measure(out: Path, count: int, rounds: int) -> list[dict[str, Any]]:
    """All rows: one per name and round, and one for each peer that was skipped."""
    photos, rows = out / f"photos{count}", []
    make_material(photos, count)
    pythons = {}
    for name in PEERS:
        pythons[name], why = environment(name, out)
        rows += [{"what": name, "skipped": why}] if why else []
    mine = [sys.executable, str(Path(__file__).resolve()), "--serve"]
    peers = str(HERE / "loading_peers.py")
    pack, beton = out / f"pack{count}", out / f"beton{count}.beton"
    os.environ["SCRIMP_CACHE"] = str(out / "cache")
    for _ in range(rounds):
        shutil.rmtree(pack, ignore_errors=True)
        seconds = once([*mine, "ours-write", str(photos), str(pack)])
        rows.append({"what": "ours-write", "images": count, "seconds": seconds})
        if pythons["ffcv"]:
            beton.unlink(missing_ok=True)
            seconds = once([pythons["ffcv"], peers, "ffcv-write", str(photos), str(beton), str(LONGEST)])
            rows.append({"what": "ffcv-write", "images": count, "seconds": seconds})
        rows.append({"what": "import-torch", "seconds": seconds_until_there(IMPORT_TORCH)})
        for what, place in (("first-batch-jpeg", photos), ("first-batch-pack", pack)):
            rows.append({"what": what, "seconds": seconds_until_there(FIRST_BATCH, str(place))})
    rows.append({"what": "sizes", "jpeg_bytes": size(photos), "pack_bytes": size(pack), "beton_bytes": size(beton)})
    runners = []
    for kind in ("float", "uint8"):
        runners.append(
            Runner(f"torchvision-{kind}", [sys.executable, peers, f"torchvision-{kind}", str(photos), str(PX)])
        )
        if pythons["dali"]:
            runners.append(Runner(f"dali-{kind}", [pythons["dali"], peers, f"dali-{kind}", str(photos), str(PX)]))
        if pythons["ffcv"]:
            runners.append(Runner(f"ffcv-{kind}", [pythons["ffcv"], peers, f"ffcv-{kind}", str(beton), str(PX)]))
        runners.append(Runner(f"jpeg-{kind}", [*mine, f"jpeg-{kind}", str(photos), ""]))
        runners.append(Runner(f"pack-{kind}", [*mine, f"pack-{kind}", str(pack), ""]))
    runners.append(Runner("decode", [*mine, "decode", str(photos), ""]))
    for number in range(rounds):
        for runner in runners:
            row = {"what": runner.name, "round": number, **runner.epoch()}
            rows.append({**row, "images_per_second": row["images"] / row["seconds"]})
            print(f"{runner.name:20} {rows[-1]['images_per_second']:8.0f} images/s", file=sys.stderr)
    for runner in runners:
        runner.close()
    return rows


def size(place: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    files = [place] if place.is_file() else place.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def summarise(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """The headline figures; None for what was skipped."""

    def middle(what: str, figure: str) -> float | None:
        found = [row[figure] for row in rows if row["what"] == what and figure in row]
        return median(found) if found else None

    def ratio(what: str, other: str, figure: str = "images_per_second") -> float | None:
        ours, theirs = middle(what, figure), middle(other, figure)
        return None if ours is None or theirs is None else round(ours / theirs, 3)

    return {
        "jpeg_vs_torchvision": ratio("jpeg-uint8", "torchvision-float"),
        "jpeg_vs_dali": ratio("jpeg-uint8", "dali-uint8"),
        "jpeg_vs_decode_limit": ratio("jpeg-uint8", "decode"),
        "pack_vs_ffcv_raw_uint8": ratio("pack-uint8", "ffcv-uint8"),
        "pack_vs_ffcv_raw_float": ratio("pack-float", "ffcv-float"),
        "pack_vs_torchvision": ratio("pack-uint8", "torchvision-float"),
        "first_batch_s": (middle("first-batch-jpeg", "seconds") or 0) - (middle("import-torch", "seconds") or 0),
        "pack_write_vs_ffcv": ratio("ffcv-write", "ours-write", "seconds"),
    }


def main() -> None:
    """Measures, and writes what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="600 photos, 2 rounds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--out", type=Path, default=Path(tempfile.gettempdir()) / "scrimp-loading", help="kept for next time"
    )
    parser.add_argument("--serve", nargs=3, metavar=("NAME", "PLACE", "OUT"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(*asked.serve)
        return
    rows = measure(asked.out, 600 if asked.quick else 3000, 2 if asked.quick else asked.rounds)
    record("loading", rows, summarise(rows), quick=asked.quick)


if __name__ == "__main__":
    main()
