"""The same network, initial weights, data order and recipe in PyTorch and in Keras on TensorFlow, side by side.

Two networks learn 2,000 images of CIFAR-10 (or what --data names) at 32 pixels from nothing: Adam at 1e-3, batches of
100, no augmentation. Weights and the order of every epoch are drawn once and given to both; the loss of the first step
therefore agrees to rounding, and the file says by how much. Each runs in a process of its own: `seconds` of each epoch
(the first holds what TensorFlow compiles), `peak_mb` of the process, test accuracy after the last epoch.

TensorFlow wants an environment of its own, which no one else needs:

    uv venv keras-env && uv pip install --python keras-env/bin/python tensorflow-cpu keras
    python benchmarks/frameworks.py --keras keras-env/bin/python [--data cifar10] [--quick]

What is not the same: how Adam and batch norm round, PyTorch's running variance has n - 1 below it where Keras's has n,
and each framework chooses its own layout of memory and its own kernels.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from frameworks_keras import BATCH, LEARNING_RATE, peak_mb

Row = dict[str, Any]
NETWORKS = ("cnn", "resnet18")
PX = 32


def network(name: str, classes: int) -> Any:
    """As `frameworks_keras.network` builds it."""
    from torch import nn
    from torchvision.models import resnet18

    if name == "resnet18":
        return resnet18(weights=None, num_classes=classes)
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, classes),
    )


def shared(data: str, images: int, epochs: int, seed: int, folder: Path) -> Path:
    """Writes pixels, labels, the order of each epoch and each network's initial weights to one file."""
    import torch

    import scrimp

    found = scrimp.find_images(data, per_class=images // 10 * 5 // 4)
    ready = scrimp.prepare(found, image_px=PX)
    train, test = (ready.images.rows(split) for split in ("train", "test"))
    dice = np.random.default_rng(seed)
    train, test = dice.permutation(train)[:images], dice.permutation(test)[:2000]
    given: dict[str, Any] = {
        "train_pixels": ready.pixels[np.sort(train)],
        "train_labels": ready.images.labels[np.sort(train)],
        "test_pixels": ready.pixels[np.sort(test)],
        "test_labels": ready.images.labels[np.sort(test)],
        "order": np.stack([dice.permutation(len(train)) for _ in range(epochs)]),
    }
    for name in NETWORKS:
        torch.manual_seed(seed)
        for key, value in network(name, len(found.classes)).state_dict().items():
            given[f"{name}/{key}"] = value.numpy()
    path = folder / f"seed{seed}.npz"
    np.savez(path, **given)
    return path


def in_torch(name: str, path: Path, threads: int) -> Row:
    """The run in PyTorch; `frameworks_keras.main` is the other."""
    import torch
    from torch.nn.functional import cross_entropy

    torch.set_num_threads(threads)
    given = np.load(path)
    classes = int(given["train_labels"].max()) + 1
    model = network(name, classes)
    start = f"{name}/"
    model.load_state_dict({k.removeprefix(start): torch.from_numpy(given[k]) for k in given if k.startswith(start)})
    pixels = torch.from_numpy(given["train_pixels"]).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(given["train_labels"]).long()
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    seconds, losses = [], []
    for order in given["order"]:
        began = time.perf_counter()
        model.train()
        for rows in torch.from_numpy(order).split(BATCH):
            loss = cross_entropy(model(pixels[rows]), labels[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(loss.item())
        seconds.append(time.perf_counter() - began)
    model.eval()
    unseen = torch.from_numpy(given["test_pixels"]).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        said = torch.cat([model(part) for part in unseen.split(BATCH)]).argmax(1).numpy()
    right = float((said == given["test_labels"]).mean())
    return {
        "framework": f"PyTorch {torch.__version__}",
        "seconds": seconds,
        "losses": losses,
        "test_accuracy": right,
        "peak_mb": peak_mb(),
    }


def alone(python: str, script: str, *arguments: str, threads: int) -> Row:
    """What a script prints as its last line, run by a Python of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [python, str(Path(__file__).parent / script), *arguments, "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def summary(rows: list[Row]) -> Row:
    """By network and framework: seconds of an epoch and of the first, memory, accuracy; how far first losses agree."""
    told: Row = {}
    for name in dict.fromkeys(row["network"] for row in rows):
        of = [row for row in rows if row["network"] == name]
        for framework in dict.fromkeys(row["framework"] for row in of):
            runs = [row for row in of if row["framework"] == framework]
            told[f"{name}.{framework}"] = {
                "epoch_s": float(np.median([s for row in runs for s in row["seconds"][1:]])),
                "first_epoch_s": float(np.median([row["seconds"][0] for row in runs])),
                "peak_mb": max(row["peak_mb"] for row in runs),
                "test_accuracy": [row["test_accuracy"] for row in runs],
            }
        for seed in sorted({row["seed"] for row in of}):
            one, other = (row["losses"] for row in of if row["seed"] == seed)
            told.setdefault(f"{name}.first_loss_difference", []).append(abs(one[0] - other[0]))
    return told


def main() -> None:
    """Both frameworks, both networks, every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keras", help="Python of the environment that holds TensorFlow")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--torch", nargs=2, metavar=("NETWORK", "FILE"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.torch:
        print(json.dumps(in_torch(asked.torch[0], Path(asked.torch[1]), asked.threads)))
        return
    from record import record  # not in the process that is measured

    if not asked.keras:
        parser.error("--keras is wanted: the Python of an environment with tensorflow-cpu and keras")
    images, epochs, seeds = (500, 2, 1) if asked.quick else (2000, 3, 2)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            path = shared(asked.data, images, epochs, seed, Path(folder))
            for name in NETWORKS:
                both = (
                    alone(sys.executable, "frameworks.py", "--torch", name, str(path), threads=asked.threads),
                    alone(asked.keras, "frameworks_keras.py", name, str(path), threads=asked.threads),
                )
                for row in both:
                    rows.append({"network": name, "seed": seed, "images": images, "threads": asked.threads, **row})
    record("frameworks", rows, summary(rows), quick=asked.quick)


if __name__ == "__main__":
    main()
