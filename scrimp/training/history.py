"""What happened in each epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict


class Epoch(BaseModel):
    """One pass over the training images, counted from 1.

    Losses are mean cross-entropies in nats; accuracies 0 to 1, the training one as seen while learning (augmented,
    with the weights of each moment). seconds: training and validation; lr: at the end of the epoch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    lr: float


def to_csv(history: Sequence[Epoch]) -> str:
    """The history as a table with one line an epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Epoch.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(epoch.model_dump() for epoch in history)
    return text.getvalue()
