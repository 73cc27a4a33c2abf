"""A run that was killed goes on from its last whole epoch, and ends as if it had never been."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from scrimp.cost import Cost
from scrimp.store import write_whole
from scrimp.training.history import Epoch

Weights = dict[str, torch.Tensor]


@dataclass
class Checkpoint:
    """Where a run stands after a whole epoch. Random numbers need no saving: each epoch seeds its own."""

    asked: str
    history: list[Epoch]
    model: Weights
    best: Weights
    best_epoch: int
    optimiser: dict[str, Any]
    scaler: dict[str, Any]
    average: dict[str, Any]
    losses: torch.Tensor | None
    peak: float
    cost: Cost


def save(checkpoint: Checkpoint, folder: Path) -> None:
    """Writes `checkpoint.pt`, whole or not at all; it holds numbers and tensors only."""
    plain = {"history": [epoch.model_dump() for epoch in checkpoint.history], "cost": asdict(checkpoint.cost)}
    content = vars(checkpoint) | plain
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(folder / "checkpoint.pt", buffer.getvalue())


def load(folder: Path, asked: str) -> Checkpoint | None:
    """The checkpoint of the same run, or None when there is none or it belongs to another plan or other images."""
    path = folder / "checkpoint.pt"
    if not path.is_file():
        return None
    content = torch.load(path, map_location="cpu", weights_only=True)
    if content["asked"] != asked:
        return None
    history = [Epoch(**row) for row in content["history"]]
    return Checkpoint(**content | {"history": history, "cost": Cost(**content["cost"])})
