"""What happened in each epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from scrimp.images.kinds import Task
from scrimp.scores import MEASURES


class Epoch(BaseModel):
    """One pass over the training images, counted from 1; 0 is before the first, with a head solved for.

    Losses are means over the images: cross-entropy in nats for classes and, over the labels too, for labels; squared
    error in variances of the training targets for targets. Scores are the task's measure (see `scrimp.scores`), the
    training ones as seen while learning (augmented, with the weights of each moment), None where not computed.
    seconds: training and validation; lr: at the end of the epoch. val_certainty: see `scrimp.scores.certainty`; of
    classes alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    train_loss: float | None
    train_score: float | None = Field(validation_alias=AliasChoices("train_score", "train_accuracy"))
    val_loss: float
    val_score: float = Field(validation_alias=AliasChoices("val_score", "val_accuracy"))
    seconds: float
    lr: float
    val_certainty: float | None = None


def to_csv(history: Sequence[Epoch], task: Task) -> str:
    """The history as a table with one line an epoch; the scores' columns are named for the task's measure."""
    measure = MEASURES[task].column
    named = {"train_score": f"train_{measure}", "val_score": f"val_{measure}"}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(named.get(name, name) for name in Epoch.model_fields)
    writer.writerows(epoch.model_dump().values() for epoch in history)
    return text.getvalue()
