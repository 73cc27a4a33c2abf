"""The loop in which images are learned, to be read from top to bottom."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scrimp.cost import FREE, Cost, Stopwatch
from scrimp.errors import TrainingError
from scrimp.progress import bar
from scrimp.store import write_whole
from scrimp.subset.distilling.formation import unfold
from scrimp.subset.distilling.kernel import one_hot
from scrimp.subset.distilling.pool import seeded
from scrimp.subset.distilling.task import Task
from scrimp.subset.distilling.ways import Way

_WARM_UP = 100  # steps
_LOOK_EVERY_S = 30.0  # seconds from one checkpoint and look at the images to the next
_SAY_EVERY = 20  # steps


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What was learned.

    images: float32 (n, 3, px, px), folded and in the space of the task. labels: float32 (n * formation ** 2, classes),
    each summing to 0. steps: made in all. earlier: what starts that were cut off had cost up to their last checkpoint.
    """

    images: Tensor
    labels: Tensor
    steps: int
    earlier: Cost
    interrupted: bool


def learn(
    task: Task,
    way: Way,
    *,
    seed: int,
    steps: int,
    max_seconds: float | None,
    asked: str,
    folder: Path | None,
    look: Callable[[Tensor], None],
    watch: Stopwatch,
) -> Learned:
    """Learns images, and labels where the way does, in `steps` steps or `max_seconds`, whichever end first.

    asked: changes whenever anything does that decides the result. folder: for checkpoint.pt, from which the same call
    goes on after a kill; it is left there at the end. look: shown the images now and then. watch: runs since before
    the images were read. Ctrl-C ends the learning, not the program.
    Raises `TrainingError` when the loss is no number any more.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        images = task.first_images(seeded(seed)).requires_grad_(way.image_rate > 0)
        hard = one_hot(task.first_labels(), task.classes)
        labels = hard.clone().requires_grad_(way.label_rate > 0)
        rates = [(images, way.image_rate), (labels, way.label_rate)]
        groups = [{"params": [tensor], "lr": rate, "highest": rate} for tensor, rate in rates if rate]
        adam, sgd = partial(torch.optim.Adam, betas=(0.9, 0.99)), partial(torch.optim.SGD, momentum=0.5)
        optimiser: torch.optim.Optimizer = adam(groups) if way.adam else sgd(groups)
        pool = way.pool(task, way.norm) if way.pool else None
        step, earlier = 0, FREE

        held = _load(folder, asked)
        if held:
            step, earlier = held["step"], Cost(**held["cost"])
            images.data, labels.data = held["images"].to(task.device), held["labels"].to(task.device)
            optimiser.load_state_dict(held["optimiser"])
            if pool and held["pool"]:
                pool.load(held["pool"])

        def save(*, to_go_on: bool) -> None:
            if not (images.isfinite().all() and labels.isfinite().all()):
                raise TrainingError(f"What is learned is no longer numbers at step {step:,} of distilling.")
            look(images.detach())
            if folder:
                content = {"asked": asked, "step": step, "cost": asdict(earlier + watch.cost)}
                content |= {
                    "images": images.detach().cpu(),
                    "labels": labels.detach().cpu(),
                    "optimiser": optimiser.state_dict(),
                }
                buffer = io.BytesIO()
                torch.save(content | {"pool": pool.state() if pool and to_go_on else []}, buffer)
                write_whole(folder / "checkpoint.pt", buffer.getvalue())

        looked, interrupted = time.perf_counter(), False
        with bar("distilling", 1.0) as advance:
            told = 0.0
            try:
                while (part := _part(step, steps, earlier.seconds + watch.seconds, max_seconds)) < 1:
                    rate = min(1.0, (step + 1) / _WARM_UP) * (0.02 + 0.98 * (1 + math.cos(math.pi * part)) / 2)
                    for group in optimiser.param_groups:
                        group["lr"] = group["highest"] * rate
                    # Each step seeds its own random numbers, so that a resumed run sees what the unbroken one saw.
                    torch.manual_seed(seed * 1_000_003 + step)
                    optimiser.zero_grad(set_to_none=True)
                    tiles = unfold(images, task.formation)
                    loss = way.step(task, pool, tiles, labels, seeded(seed * 1_000_003 + step))
                    optimiser.step()
                    step += 1
                    if step % _SAY_EVERY == 0 or step == 1:
                        if not math.isfinite(float(loss)):
                            raise TrainingError(f"The loss became {float(loss)} at step {step:,} of distilling.")
                        advance(part - told, f"step {step:,}, loss {float(loss):.3f}")
                        told = part
                    if time.perf_counter() - looked > _LOOK_EVERY_S:
                        save(to_go_on=True)
                        looked = time.perf_counter()
            except KeyboardInterrupt:
                interrupted = True
        save(to_go_on=interrupted)
    found, said = images.detach().cpu(), labels.detach().cpu()
    return Learned(images=found, labels=said, steps=step, earlier=earlier, interrupted=interrupted)


def _part(step: int, steps: int, seconds: float, max_seconds: float | None) -> float:
    return max(step / steps, seconds / max_seconds if max_seconds else 0.0)


def _load(folder: Path | None, asked: str) -> dict[str, Any] | None:
    """The checkpoint of the same learning, or None when there is none or it belongs to another."""
    path = folder / "checkpoint.pt" if folder else None
    if path is None or not path.is_file():
        return None
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content if content["asked"] == asked else None
