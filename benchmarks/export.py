"""What does each export format bring on this machine's CPU, and what does it cost in accuracy?

Light models of the table, from published weights, trained by the recipe `frugal` on the images that are named, then
exported to every format and tried as `scrimp export` does, in fresh processes by their own runtimes, several times by
turns: speeds are medians over the rounds. Accuracy is on the test split.

    python benchmarks/export.py SRC [--quick] [--model mobilenet_v2 --model squeezenet1_0] [--rounds 5] [--epochs 3]

Summary keys: `int8_speedup.<model>` (images per second of the eight-bit ONNX file over those of the PyTorch model, both
one image at a time), `int8_accuracy_drop.<model>` (points of accuracy that it loses on test).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, get_args

from record import record

import scrimp
from scrimp.serving.exporting import Exported, Format
from scrimp.training.recipes import frugal


def trained(source: str, model: str, epochs: int, px: int, per_class: int | None, folder: Path) -> None:
    """A run folder."""
    images = scrimp.find_images(source, per_class=per_class)
    ready = scrimp.prepare(images, image_px=px)
    scrimp.measure(scrimp.train(ready, frugal(model, epochs=epochs), out=folder))


def main() -> None:
    """Every model, every format, every round."""
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--model", action="append")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--image-size", type=int, default=224)
    given = parser.parse_args()
    models = given.model or ["mobilenet_v2", "squeezenet1_0"]
    rounds, epochs, px, per_class = given.rounds, given.epochs, given.image_size, None
    if given.quick:
        models, rounds, epochs, px, per_class = models[:1], 1, 1, 64, 20
    rows: list[dict[str, Any]] = []
    summary: dict[str, float] = {}
    for model in models:
        with tempfile.TemporaryDirectory() as scratch:
            trained(given.source, model, epochs, px, per_class, Path(scratch))
            for number in range(rounds):
                for format in get_args(Format):
                    made = scrimp.export(scratch, format=format, most_lost=100)
                    rows.append(row(model, px, number, made))
        ours = [one for one in rows if one["model"] == model and one["format"] == "onnx-int8"]
        speedups = [one["pytorch"]["ms_per_image"] / one["exported"]["ms_per_image"] for one in ours]
        summary[f"int8_speedup.{model}"] = round(median(speedups), 2)
        summary[f"int8_accuracy_drop.{model}"] = round(median(one["lost_points"] for one in ours), 2)
    record("export", rows, summary, quick=given.quick)


def row(model: str, px: int, number: int, made: Exported) -> dict[str, Any]:
    """One file, beside the model it was made from, as both did in this round."""
    return {
        "model": model,
        "image_px": px,
        "round": number,
        "format": made.format,
        "test_images": made.test_images,
        "pytorch": made.model._asdict(),
        "exported": made.exported._asdict(),
        "lost_points": made.lost,
        "notes": made.notes,
    }


if __name__ == "__main__":
    main()
