"""What does a GPU get out of Scrimp: how fast it is fed, how fast it learns, and what each trick of a step is worth?

For a machine with an NVIDIA GPU of 40 GB, 4 GB of disk and ten minutes. Photo-like JPEGs, made by loading.py, and a raw
pack of them (whole images, short side 256), both in the page cache; batches of 256 at 224 px, a thread on every core;
what is fed is cropped and mirrored at random, in epochs of 200 batches. Models have 1,000 outputs and random weights,
and learn by SGD with Nesterov momentum. Every figure is the median of some repetitions, each of 1 s after 8 untimed
steps, from an idle device to an idle device; the rows hold every one. What fails is a row that says why, and the rest
is measured all the same; the file is written after each part. `--dry-run` goes through all of it at toy size on the
CPU, compiles nothing and writes nothing.

    python benchmarks/gpu.py [--photos 6000] [--repetitions 3] [--dry-run]

Summary keys, None where nothing was measured:
`compared_batches` and `unequal_batches` (fed to the GPU and to the CPU with the same seed, every byte compared, while
the GPU and the way to it are kept busy; the second must be 0);
`copy_gb_per_s` (one batch in pinned memory) and `copy_waited` (part of that copy's time that Python waits: near 0);
`fed_pack`, `fed_jpeg` (images per second into the device, uint8, nothing else done) and `first_batch_pack_s`,
`first_batch_jpeg_s` (from asking for the first batch of an epoch to having it there);
`resnet50_synthetic`, `resnet50_pack`, `resnet50_jpeg` (images learnt from per second with every trick on: batches that
lie on the device, and fed ones, in turns), `pack_vs_synthetic`, `jpeg_vs_synthetic` (their ratios) and `compile_s`
(the first step, compiling included);
`trick_bf16` (over TF32), `trick_channels_last`, `trick_compile`, `trick_fused` (over PyTorch's default of one kernel
for many parameters), `trick_cudnn_benchmark`: speed of ResNet-50 with every trick on over that without this one;
`amp_MODEL_tf32`, `amp_MODEL_float16`, `amp_MODEL_bfloat16`: speed over float32 without TF32, not compiled, else with
every trick on; float16 with a loss scaler.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from loading import make_material
from record import record
from torch import Tensor
from torch.nn.functional import cross_entropy

from scrimp.augment import Augmentation, crop, mirror, shift
from scrimp.batches import Batch, Prepared, batches, prepare, write_pack
from scrimp.images import find_images
from scrimp.models import build

CLASSES = 1_000
LIGHT = ["mobilenet_v3_large", "mobilenet_v3_small", "mnasnet0_5"]
LIGHT += ["shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "tiny_vit_5m"]
PRECISIONS = {"float32": torch.float32, "tf32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
JAM_BYTES, JAM_SIDE = 256_000_000, 8192  # a copy and a product of matrices of some milliseconds each

Row = dict[str, Any]
Learnt = tuple[Tensor, Tensor]  # pixels and labels


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is done, and where. epoch and compared: batches; warm_up: steps before each repetition of `turn_s`."""

    device: torch.device
    photos: int
    repetitions: int
    batch: int = 256
    px: int = 224
    stored_px: int = 256
    epoch: int = 200
    compared: int = 24
    warm_up: int = 8
    turn_s: float = 1.0
    compile: bool = True


TOY = Scale(
    device=torch.device("cpu"),
    photos=64,
    repetitions=1,
    batch=4,
    px=32,
    stored_px=40,
    epoch=8,
    compared=6,
    warm_up=1,
    turn_s=0,
    compile=False,
)


@dataclass(frozen=True, kw_only=True)
class Tricks:
    """How a step is made."""

    precision: str = "bfloat16"
    channels_last: bool = True
    compile: bool = True
    fused: bool = True
    cudnn_benchmark: bool = True


ALL_ON = Tricks()
WITHOUT = {
    "bf16": replace(ALL_ON, precision="tf32"),
    "channels_last": replace(ALL_ON, channels_last=False),
    "compile": replace(ALL_ON, compile=False),
    "fused": replace(ALL_ON, fused=False),
    "cudnn_benchmark": replace(ALL_ON, cudnn_benchmark=False),
}


# ---------------------------------------------------------------- the clock


def wait(device: torch.device) -> None:
    """Until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def first(step: Callable[[], object], device: torch.device) -> float:
    """Seconds of one step."""
    wait(device)
    start = time.perf_counter()
    step()
    wait(device)
    return time.perf_counter() - start


def turn(step: Callable[[], object], scale: Scale) -> Row:
    """One repetition; its untimed steps also use up the batches that were filled while nobody asked."""
    for _ in range(scale.warm_up):
        step()
    wait(scale.device)
    start, steps = time.perf_counter(), 0
    while steps < 2 or time.perf_counter() - start < scale.turn_s:
        step()
        steps += 1
    wait(scale.device)
    seconds = time.perf_counter() - start
    return {"steps": steps, "seconds": seconds, "images_per_second": steps * scale.batch / seconds}


# ---------------------------------------------------------------- feeding


def sources(folder: Path, scale: Scale) -> dict[str, Prepared]:
    """The same photos as a raw pack of whole images and as JPEG files."""
    make_material(folder / "photos", scale.photos, os.cpu_count() or 1)
    images = find_images(folder / "photos", val_fraction=0.001, test_fraction=0.001)
    write_pack(images, folder / "pack", image_px=scale.stored_px, format="raw", keep="whole")
    packed = find_images(folder / "pack")
    return {name: prepare(some, image_px=scale.px, pack="none") for name, some in (("pack", packed), ("jpeg", images))}


def endless(ready: Prepared, scale: Scale) -> Generator[Learnt]:
    """One epoch after the other, as in training; images come again where they are too few for one."""
    rows = np.resize(ready.images.rows("train"), scale.epoch * scale.batch)
    order = torch.Generator().manual_seed(0)
    while True:
        for fed in batches(ready, rows, scale.batch, order=order, changes=(crop, mirror), device=scale.device):
            yield fed.pixels, fed.labels


def feeding(ready: dict[str, Prepared], scale: Scale) -> Iterator[Row]:
    """Images into the device, where nothing happens to them."""
    for repetition in range(scale.repetitions):
        for source in ready:
            with closing(endless(ready[source], scale)) as stream:
                first_s = first(stream.__next__, scale.device)
                row = {"what": "fed", "source": source, "repetition": repetition, "first_batch_s": first_s}
                yield row | turn(stream.__next__, scale)


def copying(scale: Scale) -> Iterator[Row]:
    """One batch to the device out of an array over a part of pinned memory, as batches are."""
    shape, on_gpu = (scale.batch, scale.px, scale.px, 3), scale.device.type == "cuda"
    memory = torch.empty(shape, dtype=torch.uint8, pin_memory=on_gpu).numpy()
    pixels = torch.from_numpy(memory[: scale.batch - 1]).permute(0, 3, 1, 2)
    pixels.to(scale.device, non_blocking=True)
    for repetition in range(scale.repetitions):
        wait(scale.device)
        start = time.perf_counter()
        there = pixels.to(scale.device, non_blocking=True)
        waited_s = time.perf_counter() - start
        wait(scale.device)
        row = {"what": "copy", "repetition": repetition, "pinned": pixels.is_pinned(), "bytes": there.nbytes}
        yield row | {"waited_s": waited_s, "seconds": time.perf_counter() - start}


# ---------------------------------------------------------------- is it right?


def comparing(ready: dict[str, Prepared], scale: Scale) -> Iterator[Row]:
    """Every batch as it comes to the device and as it comes to the CPU, with the same seed."""
    cases: list[tuple[str, tuple[Augmentation, ...]]]
    cases = [("pack", (crop, mirror)), ("jpeg", (crop, mirror)), ("pack", (shift, mirror))]
    for source, changes in cases:
        rows = np.resize(ready[source].images.rows("train"), scale.compared * scale.batch)
        feed = partial(batches, ready[source], rows, scale.batch, changes=changes)
        here = feed(order=torch.Generator().manual_seed(1), device=torch.device("cpu"))
        there = feed(order=torch.Generator().manual_seed(1), device=scale.device)
        expected = [(fed.pixels, fed.labels) for fed in here]
        pairs = zip(expected, arrived(there, scale), strict=True)
        unequal = sum(not all(map(torch.equal, *pair)) for pair in pairs)
        names = [change.__name__ for change in changes]
        yield {"what": "equal", "source": source, "changes": names, "batches": scale.compared, "unequal": unequal}


def arrived(stream: Iterator[Batch], scale: Scale) -> list[Learnt]:
    """What a device finds in batches that come late, behind other copies, and are looked at late, after other work.

    Memory that is used again too early, on either side, shows as wrong pixels.
    """
    count, device = scale.compared * scale.batch, scale.device
    pixels = torch.empty((count, 3, scale.px, scale.px), dtype=torch.uint8, device=device)
    labels = torch.empty(count, dtype=torch.int64, device=device)
    delay = delays(device)
    at = 0
    for fed in stream:
        delay()
        pixels[at : at + scale.batch] = fed.pixels
        labels[at : at + scale.batch] = fed.labels
        at += scale.batch
    return list(zip(pixels.cpu().split(scale.batch), labels.cpu().split(scale.batch), strict=True))


def delays(device: torch.device) -> Callable[[], None]:
    """Keeps the way to a GPU, and the GPU, busy for some milliseconds; does not wait."""
    if device.type != "cuda":
        return lambda: None
    here = torch.empty(JAM_BYTES, dtype=torch.uint8, pin_memory=True)
    there, traffic = torch.empty_like(here, device=device), torch.cuda.Stream(device)
    factor = torch.rand(JAM_SIDE, JAM_SIDE, device=device)
    product = torch.empty_like(factor)
    wait(device)

    def delay() -> None:
        with torch.cuda.stream(traffic):
            there.copy_(here, non_blocking=True)
        torch.mm(factor, factor, out=product)

    return delay


# ---------------------------------------------------------------- learning


def learner(name: str, tricks: Tricks, scale: Scale) -> Callable[[Tensor, Tensor], Tensor]:
    """A function that learns from a batch on the device and returns its loss."""
    tf32 = tricks.precision != "float32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = tricks.cudnn_benchmark
    torch.compiler.reset()
    torch.cuda.empty_cache()
    layout = torch.channels_last if tricks.channels_last else torch.contiguous_format
    model = build(name, classes=CLASSES, image_px=scale.px, pretrained=False).to(scale.device, memory_format=layout)
    model.train()
    run = torch.compile(model) if tricks.compile and scale.compile else model
    fused = True if tricks.fused else None
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, nesterov=True, fused=fused)
    for parameter in model.parameters():  # else a first step that the scaler has skipped leaves fused SGD with garbage
        optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    precision = PRECISIONS[tricks.precision]
    scaler = torch.amp.GradScaler(scale.device.type, enabled=precision == torch.float16)

    def learn(pixels: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(scale.device.type, precision, enabled=precision != torch.float32):
            loss = cross_entropy(run(pixels), labels)
        optimiser.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimiser)
        scaler.update()
        return loss.detach()

    return learn


def synthetic(tricks: Tricks, scale: Scale) -> Learnt:
    """A batch of noise that lies on the device."""
    layout = torch.channels_last if tricks.channels_last else torch.contiguous_format
    shape = (scale.batch, 3, scale.px, scale.px)
    pixels = torch.randint(256, shape, dtype=torch.uint8, device=scale.device).contiguous(memory_format=layout)
    return pixels, torch.randint(CLASSES, (scale.batch,), device=scale.device)


def learning(name: str, tricks: Tricks, scale: Scale, fed: dict[str, Prepared]) -> Iterator[Row]:
    """Steps from a batch that lies on the device, in turns with steps from batches that are fed."""
    learn, still = learner(name, tricks, scale), synthetic(tricks, scale)
    first_s = first(lambda: learn(*still), scale.device)
    with ExitStack() as stack:
        feeds: dict[str, Callable[[], Learnt]] = {"synthetic": lambda: still}
        for source in fed:
            feeds[source] = stack.enter_context(closing(endless(fed[source], scale))).__next__
        for repetition in range(scale.repetitions):
            for source, feed in feeds.items():
                about = {"what": "step", "model": name, **asdict(tricks), "source": source, "repetition": repetition}
                row = turn(lambda feed=feed: learn(*feed()), scale)
                loss = learn(*feed()).item()
                if not math.isfinite(loss):
                    raise FloatingPointError(f"the loss became {loss}")
                yield about | {"first_step_s": first_s, "loss": loss} | row


# ---------------------------------------------------------------- all of it


def parts(ready: dict[str, Prepared], scale: Scale) -> Iterator[dict[str, Iterator[Row]]]:
    """What is measured, by name; what matters most comes first."""
    yield {"equal": comparing(ready, scale), "copy": copying(scale), "fed": feeding(ready, scale)}
    yield {"resnet50": learning("resnet50", ALL_ON, scale, ready)}
    yield {f"resnet50 without {name}": learning("resnet50", how, scale, {}) for name, how in WITHOUT.items()}
    for name in LIGHT:
        yield {f"{name} {kind}": learning(name, eager(kind), scale, {}) for kind in PRECISIONS}


def eager(precision: str) -> Tricks:
    """Every trick but compiling, in this precision."""
    return replace(ALL_ON, precision=precision, compile=False)


def rows_of(name: str, measuring: Iterator[Row]) -> Iterator[Row]:
    """The rows, and where they break off one that says why."""
    try:
        yield from measuring
    except Exception as error:  # whatever a GPU may say: the rest is still worth measuring
        yield {"what": "failed", "name": name, "error": f"{type(error).__name__}: {error}"}


def summarise(rows: list[Row]) -> dict[str, float | None]:
    """The headline figures; None for what was not measured."""

    def middle(figure: str, **about: Any) -> float | None:
        found = [row[figure] for row in rows if all(row.get(name) == value for name, value in about.items())]
        return median(found) if found else None

    def speed(model: str, how: Tricks, source: str = "synthetic") -> float | None:
        return middle("images_per_second", what="step", model=model, source=source, **asdict(how))

    def ratio(one: float | None, other: float | None) -> float | None:
        return None if one is None or other is None else round(one / other, 3)

    compared = [row for row in rows if row["what"] == "equal"]
    copies = [row for row in rows if row["what"] == "copy"]
    still = speed("resnet50", ALL_ON)
    found: dict[str, float | None] = {
        "compared_batches": sum(row["batches"] for row in compared) if compared else None,
        "unequal_batches": sum(row["unequal"] for row in compared) if compared else None,
        "copy_gb_per_s": median(row["bytes"] / row["seconds"] / 1e9 for row in copies) if copies else None,
        "copy_waited": median(row["waited_s"] / row["seconds"] for row in copies) if copies else None,
        "resnet50_synthetic": still,
        "compile_s": middle("first_step_s", what="step", model="resnet50", **asdict(ALL_ON)),
    }
    for source in ("pack", "jpeg"):
        found[f"fed_{source}"] = middle("images_per_second", what="fed", source=source)
        found[f"first_batch_{source}_s"] = middle("first_batch_s", what="fed", source=source)
        found[f"resnet50_{source}"] = speed("resnet50", ALL_ON, source)
        found[f"{source}_vs_synthetic"] = ratio(found[f"resnet50_{source}"], still)
    for name, how in WITHOUT.items():
        found[f"trick_{name}"] = ratio(still, speed("resnet50", how))
    for name in LIGHT:
        for kind in ("tf32", "float16", "bfloat16"):
            found[f"amp_{name}_{kind}"] = ratio(speed(name, eager(kind)), speed(name, eager("float32")))
    return found


def main() -> None:
    """Measures, writes what was found after each part, and says whether anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=6000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--dry-run", action="store_true", help="64 photos, once, on the CPU; nothing is written")
    asked = parser.parse_args()
    if not asked.dry_run and not torch.cuda.is_available():
        sys.exit(f"This needs an NVIDIA GPU, and torch {torch.__version__} finds none. --dry-run does without.")
    on_gpu = Scale(device=torch.device("cuda"), photos=asked.photos, repetitions=asked.repetitions)
    scale = TOY if asked.dry_run else on_gpu
    start = time.perf_counter()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/compiled"  # so that nothing was compiled before
        ready = sources(Path(folder), scale)
        for part in parts(ready, scale):
            for name, measuring in part.items():
                for row in rows_of(name, measuring):
                    rows.append(row)
                    print(f"{time.perf_counter() - start:4.0f} s {json.dumps(row)}", file=sys.stderr, flush=True)
            if not asked.dry_run:
                record("gpu", rows, summarise(rows), quick=False)
    found = summarise(rows)
    if asked.dry_run:
        print(json.dumps(found, indent=1))
    failed = [row["name"] for row in rows if row["what"] == "failed"]
    if failed or found["unequal_batches"]:
        sys.exit(f"{len(failed)} measurements failed ({failed}); unequal batches: {found['unequal_batches']}")


if __name__ == "__main__":
    main()
