"""A light model fine-tuned as everybody does it: torchvision, ImageFolder, DataLoader, Adam, nothing else.

What time_to_accuracy.py compares with. It knows nothing of Scrimp: FOLDER holds train, val and test, each with a folder
a class. Published ImageNet weights (from TORCH_HOME, or fetched), a new last layer, all layers learn; Adam, learning
rate 1e-4, batches of 32, 10 epochs, no augmentation; Resize(256), CenterCrop(224), ImageNet's normalisation. After each
epoch it looks at val; at the end it tests the weights that were best there. Everything else is left as PyTorch has it.

    python benchmarks/plain.py FOLDER MODEL OUT [--seed 0] [--threads 2] [--workers 0]
    python benchmarks/plain.py FOLDER MODEL OUT --tune

Writes the row OUT (JSON): `start` (until the first epoch: imports, scanning, building), `epochs` (training and looking
at val) and `test`, each with `seconds` and `cpu_seconds`, those of the DataLoader's workers included. Beside it lies a
checkpoint after each epoch, which is not on the bill, and from which a second start goes on. With `--tune` the row
holds the speed of sensible numbers of threads and workers, a few steps each, and the fastest of them, for which it also
says what looking at an image takes.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.models import get_model

Row = dict[str, Any]
BATCH, LEARNING_RATE = 32, 1e-4
WARM_UP, TIMED = 2, 5  # steps of tuning
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Bill:
    """Seconds and CPU-seconds of this process and of its children that have ended."""

    def __init__(self) -> None:
        """Counting begins with the process."""
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        self._seconds, self._cpu_seconds = ticks / os.sysconf("SC_CLK_TCK"), 0.0

    def so_far(self) -> Row:
        """What has been spent; counting begins anew."""
        seconds, cpu = time.clock_gettime(time.CLOCK_BOOTTIME), cpu_seconds()
        spent = {"seconds": seconds - self._seconds, "cpu_seconds": cpu - self._cpu_seconds}
        self._seconds, self._cpu_seconds = seconds, cpu
        return spent


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def images_of(folder: Path, resize: int) -> ImageFolder:
    """The images of a split, as ImageNet's models want them."""
    steps = [transforms.Resize(resize), transforms.CenterCrop(224), transforms.ToTensor()]
    return ImageFolder(str(folder), transforms.Compose([*steps, transforms.Normalize(MEAN, STD)]))


def pretrained(name: str, classes: int) -> nn.Module:
    """The published model with a new last layer."""
    model: nn.Module = get_model(name, weights="DEFAULT")
    layers: Any = model.classifier
    if name.startswith("squeezenet"):
        layers[1] = nn.Conv2d(512, classes, kernel_size=1)
    else:
        layers[-1] = nn.Linear(layers[-1].in_features, classes)
    return model


def learn(model: nn.Module, optimiser: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> float:
    """One step."""
    optimiser.zero_grad()
    loss = nn.functional.cross_entropy(model(images), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return loss.item()


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader[Any]) -> float:
    """Top-1, 0 to 1."""
    model.eval()
    right = [(model(images).argmax(1) == labels).sum().item() for images, labels in loader]
    return sum(right) / len(loader.dataset)  # type: ignore[arg-type]


def fine_tune(asked: argparse.Namespace) -> Row:
    """The whole run, or what is left of one that was cut off."""
    bill = Bill()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(asked.seed)
    order = torch.Generator()
    splits = {name: images_of(asked.folder / name, asked.resize) for name in ("train", "val", "test")}
    options: Row = {"batch_size": BATCH, "num_workers": asked.workers}
    training: DataLoader[Any] = DataLoader(splits["train"], shuffle=True, generator=order, **options)
    val, test = (DataLoader(splits[name], **options) for name in ("val", "test"))
    model = pretrained(asked.model, len(splits["train"].classes))
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    checkpoint = asked.out.with_suffix(".pt")
    if checkpoint.is_file():
        done = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(done["model"])
        optimiser.load_state_dict(done["optimiser"])
    else:
        done = {"start": bill.so_far(), "epochs": [], "best": {}}
    for epoch in range(len(done["epochs"]) + 1, asked.epochs + 1):
        torch.manual_seed(1_000 * asked.seed + epoch)  # so that a run that was cut off goes on as if it had not been
        order.manual_seed(1_000 * asked.seed + epoch)
        bill.so_far()
        model.train()
        losses = [learn(model, optimiser, images, labels) for images, labels in training]
        val_accuracy = accuracy(model, val)
        row = {"train_loss": sum(losses) / len(losses), "val_accuracy": val_accuracy, **bill.so_far()}
        if val_accuracy > max((one["val_accuracy"] for one in done["epochs"]), default=-1.0):
            done["best"] = copy.deepcopy(model.state_dict())
        done["epochs"].append(row)
        done |= {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
        torch.save(done, checkpoint.with_suffix(".new"))
        checkpoint.with_suffix(".new").rename(checkpoint)
        print(f"epoch {epoch}: {row}", flush=True)
    model.load_state_dict(done["best"])
    bill.so_far()
    test_accuracy = accuracy(model, test)
    return {
        "start": done["start"],
        "epochs": done["epochs"],
        "test": {"accuracy": test_accuracy, **bill.so_far()},
        "images": {name: len(images) for name, images in splits.items()},
        "threads": asked.threads,
        "workers": asked.workers,
    }


def tune(asked: argparse.Namespace) -> Row:
    """Images learnt from per second, and CPU-seconds per image, by threads and workers."""
    cores = os.cpu_count() or 1
    images = images_of(asked.folder / "train", asked.resize)
    some = Subset(images, range(min(len(images), BATCH * (WARM_UP + TIMED))))
    model = pretrained(asked.model, len(images.classes)).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    tried = []
    for threads in sorted({max(1, cores // 2), cores}):
        for workers in (0, cores):
            torch.set_num_threads(threads)
            loader: DataLoader[Any] = DataLoader(some, batch_size=BATCH, num_workers=workers)
            seen, bill = 0, Bill()
            for step, (pixels, labels) in enumerate(loader):
                if step == WARM_UP:
                    bill.so_far()
                learn(model, optimiser, pixels, labels)
                seen += len(labels) if step >= WARM_UP else 0
            used = bill.so_far()
            speed = {"images_per_second": seen / used["seconds"], "cpu_s_per_image": used["cpu_seconds"] / seen}
            tried.append({"threads": threads, "workers": workers, **speed})
            print(tried[-1], flush=True)
    best = max(tried, key=lambda one: one["images_per_second"])
    torch.set_num_threads(best["threads"])
    some = Subset(images, range(min(len(images), BATCH * TIMED)))
    bill = Bill()
    bill.so_far()
    accuracy(model, DataLoader(some, batch_size=BATCH, num_workers=best["workers"]))
    looked = {f"{unit}_per_image_looked_at": spent / len(some) for unit, spent in bill.so_far().items()}
    return {"tried": tried, "best": best | looked}


def main() -> None:
    """One run, or one tuning."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("model", choices=["mobilenet_v2", "squeezenet1_0"])
    parser.add_argument("out", type=Path, help="file to write the row to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--resize", type=int, default=256, help="short side before the middle 224 pixels are cut out")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--workers", type=int, default=0, help="of each DataLoader")
    parser.add_argument("--tune", action="store_true")
    asked = parser.parse_args()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    row = tune(asked) if asked.tune else fine_tune(asked)
    asked.out.with_suffix(".new").write_text(json.dumps(row))
    asked.out.with_suffix(".new").rename(asked.out)
    asked.out.with_suffix(".pt").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
