"""Images whose features, or whose gradients, are those of the real images of their class."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from scrimp.subset.distilling.network import ConvNet, in_blocks
from scrimp.subset.distilling.pool import Pool, seeded
from scrimp.subset.distilling.siamese import augment
from scrimp.subset.distilling.task import Task


def features_apart(task: Task, tiles: Tensor, generator: Generator, real_per_class: int) -> Tensor:
    """How far the mean feature of each class's tiles is from that of its real images, in a random network.

    Distribution matching (DM) of Zhao and Bilen (WACV 2023, arXiv 2110.04181).
    Cost: a forward pass of the real images drawn, and one there and back of the tiles.
    """
    network = ConvNet(task.classes, task.image_px).to(task.device).requires_grad_(False)
    seed = int(torch.randint(2**31, (), generator=generator))
    apart = torch.zeros((), device=task.device)
    for label, own in enumerate(tiles.chunk(task.classes)):
        real = augment(task.draw_of(label, real_per_class, generator), seeded(seed), alike=True, mirror=task.mirror_ok)
        changed = augment(own, seeded(seed), alike=True, mirror=task.mirror_ok)
        with task.autocast():
            with torch.no_grad():
                goal = in_blocks(network.features, real).float().mean(0)
            found = network.features(changed).float().mean(0)
        apart = apart + (found - goal).square().sum()
    return apart


def gradients_apart(task: Task, tiles: Tensor, generator: Generator, real_per_class: int, network: ConvNet) -> Tensor:
    """How far the gradient of each class's tiles is from that of its real images, by the angles of the filters.

    Gradient matching with siamese augmentation (DC, DSA) of Zhao et al. (ICLR 2021, arXiv 2006.05929; ICML 2021,
    arXiv 2102.08259). Cost: there and back for the real images drawn, and twice for the tiles.
    """
    weights = [weight for weight in network.parameters() if weight.ndim > 1]
    seed = int(torch.randint(2**31, (), generator=generator))
    apart = torch.zeros((), device=task.device)
    for label, own in enumerate(tiles.chunk(task.classes)):
        real = augment(task.draw_of(label, real_per_class, generator), seeded(seed), alike=True, mirror=task.mirror_ok)
        changed = augment(own, seeded(seed), alike=True, mirror=task.mirror_ok)
        with task.autocast():
            real_loss = cross_entropy(network(real).float(), torch.full((len(real),), label, device=task.device))
        goals = torch.autograd.grad(real_loss, weights)
        loss = cross_entropy(network(changed), torch.full((len(own),), label, device=task.device))
        found = torch.autograd.grad(loss, weights, create_graph=True)
        for one, goal in zip(found, goals, strict=True):
            apart = apart + (1 - cosine_similarity(one.flatten(1), goal.flatten(1))).sum()
    return apart


def teach_classes(pool: Pool, task: Task, tiles: Tensor, generator: Generator) -> None:
    """A step of every pupil on the tiles, changed by siamese augmentation."""
    changed, labels = augment(tiles, generator, mirror=task.mirror_ok), task.first_labels()
    for number in range(len(pool.pupils)):
        pool.teach(number, lambda network: cross_entropy(network(changed), labels))
