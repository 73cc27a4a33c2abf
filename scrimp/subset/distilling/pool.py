"""Networks at every stage of learning from the learned images, so that these serve a network from start to end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn, optim

from scrimp.subset.distilling.network import ConvNet


@dataclass
class Pupil:
    """A network, its optimiser, and the steps it has made."""

    network: ConvNet
    optimiser: optim.Optimizer
    age: int = 0


class Pool:
    """Some pupils; one that has made `most_steps` leaves, and a fresh one comes."""

    def __init__(self, size: int, most_steps: int, make: Callable[[], ConvNet], lr: float) -> None:
        """lr: of Adam. The pupils begin at ages spread evenly, so that they do not leave all at once."""
        self.most_steps, self.make, self.lr = most_steps, make, lr
        self.pupils = [self._fresh(number * most_steps // size) for number in range(size)]

    def _fresh(self, age: int = 0) -> Pupil:
        network = self.make()
        return Pupil(network, optim.Adam(network.parameters(), self.lr), age)

    def teach(self, number: int, loss: Callable[[nn.Module], Tensor]) -> None:
        """One step of a pupil, or a fresh one in its place."""
        pupil = self.pupils[number]
        pupil.network.train()
        pupil.optimiser.zero_grad(set_to_none=True)
        loss(pupil.network).backward()  # type: ignore[no-untyped-call]
        pupil.optimiser.step()
        pupil.age += 1
        if pupil.age >= self.most_steps:
            self.pupils[number] = self._fresh()

    def state(self) -> list[dict[str, Any]]:
        """All that a checkpoint must hold."""
        return [
            {"network": p.network.state_dict(), "optimiser": p.optimiser.state_dict(), "age": p.age}
            for p in self.pupils
        ]

    def load(self, state: list[dict[str, Any]]) -> None:
        """As it stood."""
        for pupil, held in zip(self.pupils, state, strict=True):
            pupil.network.load_state_dict(held["network"])
            pupil.optimiser.load_state_dict(held["optimiser"])
            pupil.age = held["age"]


def seeded(seed: int) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)
