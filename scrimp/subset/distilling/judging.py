"""How good a few training images are: fresh networks learn from them, and answer about others."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn, optim
from torch.nn.functional import cross_entropy

from scrimp.subset.distilling.network import in_blocks, machine
from scrimp.subset.distilling.pool import seeded
from scrimp.subset.distilling.siamese import augment

_BATCH = 256


def taught(network: nn.Module, images: Tensor, labels: Tensor, *, steps: int, seed: int, mirror: bool) -> nn.Module:
    """The network after `steps` steps, in batches of up to 256, with siamese augmentation.

    images: float32 (n, 3, px, px). labels: classes, int64 (n,), or soft ones that sum to 0, float32 (n, classes).

    AdamW on the squared error of labels, or SGD with momentum on the cross-entropy of classes, as the papers judge.
    """
    device, precision = machine()
    network, images, labels = network.to(device), images.to(device), labels.to(device)
    soft = labels.is_floating_point()
    lr = 3e-4 if soft else 1e-2
    generator = seeded(seed)
    parameters = network.parameters()
    optimiser: optim.Optimizer = (
        optim.AdamW(parameters, lr, weight_decay=5e-4)
        if soft
        else optim.SGD(parameters, lr, momentum=0.9, weight_decay=5e-4)
    )
    schedule = optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.1)
    network.train()
    for _ in range(steps):
        rows = torch.randperm(len(images), generator=generator)[:_BATCH]
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            answers = network(augment(images[rows], generator, mirror=mirror))
        wanted = labels[rows]
        error = (
            (answers.float() - wanted).square().sum(1).mean() / 2 if soft else cross_entropy(answers.float(), wanted)
        )
        optimiser.zero_grad(set_to_none=True)
        error.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


@torch.inference_mode()
def accuracy(network: nn.Module, asked: Iterable[tuple[Tensor, npt.NDArray[np.int64]]]) -> float:
    """Of a network that was taught, about batches of images and their classes: from 0 to 1."""
    device, precision = machine()
    right = total = 0
    for images, classes in asked:
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            answers = in_blocks(network, images.to(device)).argmax(1).cpu()
        right += int((answers == torch.from_numpy(classes)).sum())
        total += len(classes)
    return right / total


def accuracies(
    images: Tensor,
    labels: Tensor,
    make: Callable[[], nn.Module],
    asked: Callable[[], Iterable[tuple[Tensor, npt.NDArray[np.int64]]]],
    *,
    networks: int,
    steps: int,
    mirror: bool,
    seed: int = 0,
) -> list[float]:
    """Of as many fresh networks, each of its own seed. mirror: whether a mirrored image keeps its label."""
    found = []
    with torch.random.fork_rng(devices=[]):
        for number in range(seed, seed + networks):
            torch.manual_seed(number)
            network = taught(make(), images, labels, steps=steps, seed=number, mirror=mirror)
            found.append(accuracy(network, asked()))
    return found
