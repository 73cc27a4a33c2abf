"""How fast is a training step on the CPU: Scrimp's against PyTorch's as it comes, and what is each trick of it worth?

Batches of 32 random images of 224 px, 1,000 outputs, random weights; Adam, learning rate 1e-4, float32. "stock" is
what everybody writes: NCHW, the allocator as it comes, float batches that were normalised beforehand, for which it is
not charged. "scrimp" is a step as `train` makes it, from uint8 pixels, with every trick of a recipe on; the others are
stock with one trick. Every turn is a process of its own: 10 steps to warm up, whose losses are kept, then the timed
ones. In each round each way has its turn, in both directions by turns. Figures are medians over the rounds of ratios
within a round; the rows hold every turn.

Losses differ by rounding alone: other kernels add up in another order, and each step begins where the last one, rounded
otherwise, ended. How much of that is usual is shown by "stock_one_thread", stock PyTorch on one thread.

    python benchmarks/step.py [--quick] [--rounds 3] [--model NAME]

Summary keys, images per second over those of stock: `MODEL_224_vs_stock`, and `MODEL_224_TRICK_alone` for each trick;
`largest_relative_loss_difference` and `largest_relative_loss_difference_by_threads` (over the first 10 losses of all
models: of scrimp from stock, and of stock on one thread from stock); where the hardware has a faster number format,
`MODEL_224_vs_stock_auto_precision`, in which a recipe trains unless told otherwise, and
`relative_loss_difference_auto_precision`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from record import record
from torch import Tensor, nn

from scrimp.models import build
from scrimp.models.classifier import Classifier
from scrimp.training import Recipe
from scrimp.training.evaluate import losses_of
from scrimp.training.hardware import best_device, keep_freed_memory, precision_for
from scrimp.training.optimiser import optimiser_for

Row = dict[str, Any]
MODELS = ["mobilenet_v2", "mobilenet_v3_small", "squeezenet1_0", "resnet18"]
BATCH, PX, CLASSES, LEARNING_RATE, WARM_UP, TIMED = 32, 224, 1_000, 1e-4, 10, 10
TRICKS = ["channels_last", "keep_memory", "fused"]
CONTROL, AUTO = "stock_one_thread", "scrimp_auto_precision"


# ---------------------------------------------------------------- one turn, in a process of its own


def turn(name: str, way: str, steps: int) -> Row:
    """Losses of the steps that warm up, and the seconds of those that follow."""
    if way == CONTROL:
        torch.set_num_threads(1)
    by_scrimp = way in ("scrimp", AUTO)
    tricks = set(TRICKS) if by_scrimp else {way} & set(TRICKS)
    note = keep_freed_memory() if "keep_memory" in tricks else ""
    model = build(name, classes=CLASSES, image_px=PX, pretrained=False).train()
    if "channels_last" in tricks:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fused = "fused" in tricks
    recipe = Recipe(model=name, optimiser="adam", lr=LEARNING_RATE, weight_decay=0, fused=fused)
    if by_scrimp:
        optimiser = optimiser_for(model, recipe, LEARNING_RATE)
    else:
        optimiser = torch.optim.Adam(model.parameters(), LEARNING_RATE, fused=fused or None)
    fed = [batch(seed, model, raw=by_scrimp, channels_last="channels_last" in tricks) for seed in range(4)]
    network = model if by_scrimp else model.body
    precision = precision_for("auto", best_device())[0] if way == AUTO else torch.float32
    torch.manual_seed(0)  # of dropout
    losses = [learn(network, optimiser, *fed[step % 4], precision) for step in range(WARM_UP)]
    start, cpu = time.perf_counter(), time.process_time()
    for step in range(steps):
        learn(network, optimiser, *fed[step % 4], precision)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    speed = {"images_per_second": steps * BATCH / seconds, "seconds": seconds, "cpu_seconds": cpu}
    return {"model": name, "way": way, "steps": steps, **speed, "losses": losses, "note": note}


def batch(seed: int, model: Classifier, *, raw: bool, channels_last: bool) -> tuple[Tensor, Tensor]:
    """Pixels uint8 as Scrimp feeds them, channels last in memory; or floats, normalised already."""
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (BATCH, PX, PX, 3), dtype=torch.uint8, generator=random).permute(0, 3, 1, 2)
    labels = torch.randint(CLASSES, (BATCH,), generator=random)
    if raw:
        return pixels, labels
    form = torch.channels_last if channels_last else torch.contiguous_format
    return ((pixels - model.mean) / model.std).contiguous(memory_format=form), labels


def learn(
    network: nn.Module, optimiser: torch.optim.Optimizer, images: Tensor, labels: Tensor, precision: torch.dtype
) -> float:
    """One step."""
    optimiser.zero_grad()
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        loss = losses_of(network(images), labels, "classify").mean()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return loss.item()


# ---------------------------------------------------------------- taking turns


def take_turn(name: str, way: str, steps: int) -> Row:
    """A turn in a fresh process."""
    command = [sys.executable, str(Path(__file__)), "--turn", name, way, str(steps)]
    row: Row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    print(f"{name} {way}: {row['images_per_second']:.1f} images/s", file=sys.stderr, flush=True)
    return row


def ways(quick: bool) -> list[str]:
    """What takes turns on this machine."""
    if quick:
        return ["stock", "scrimp"]
    faster = precision_for("auto", best_device())[0] != torch.float32
    return ["stock", "scrimp", *TRICKS, CONTROL, *([AUTO] if faster else [])]


def summary_of(rows: list[Row]) -> Row:
    """The headline of whole rounds."""
    summary: Row = {}
    names = {"scrimp": "vs_stock", AUTO: "vs_stock_auto_precision"} | {trick: f"{trick}_alone" for trick in TRICKS}
    by_turn = {(row["model"], row["way"], row["round"]): row for row in rows}
    for model, way in dict.fromkeys((row["model"], row["way"]) for row in rows if row["way"] in names):
        pairs = [
            (row, by_turn[model, "stock", row["round"]]) for row in rows if (row["model"], row["way"]) == (model, way)
        ]
        ratios = [ours["images_per_second"] / stock["images_per_second"] for ours, stock in pairs]
        summary[f"{model}_{PX}_{names[way]}"] = median(ratios)
    summary["largest_relative_loss_difference"] = loss_difference(rows, "scrimp")
    summary["largest_relative_loss_difference_by_threads"] = loss_difference(rows, CONTROL)
    summary["relative_loss_difference_auto_precision"] = loss_difference(rows, AUTO)
    return summary


def loss_difference(rows: list[Row], way: str) -> float | None:
    """The largest from stock, of all models and steps; None where that way had no turn."""
    stock = {row["model"]: row["losses"] for row in rows if row["way"] == "stock"}
    losses = [(row["losses"], stock[row["model"]]) for row in rows if row["way"] == way]
    differences = [abs(a - b) / abs(b) for ours, theirs in losses for a, b in zip(ours, theirs, strict=True)]
    return max(differences, default=None)


def main() -> None:
    """Goes over models and rounds, and records after each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="mobilenet_v2, one round of few steps, no single tricks")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", action="append", choices=MODELS, help="instead of all; may be repeated")
    parser.add_argument("--turn", nargs=3, metavar=("MODEL", "WAY", "STEPS"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.turn:
        print(json.dumps(turn(asked.turn[0], asked.turn[1], int(asked.turn[2]))))
        return
    rows: list[Row] = []
    for model in asked.model or (MODELS[:1] if asked.quick else MODELS):
        for number in range(1 if asked.quick else asked.rounds):
            for way in ways(asked.quick)[:: -1 if number % 2 else 1]:
                rows.append(take_turn(model, way, 4 if asked.quick else TIMED) | {"round": number})
        record("step", rows, summary_of(rows), quick=asked.quick)


if __name__ == "__main__":
    main()
