"""What a model says about images."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from scrimp.batches import Prepared, batches

_BATCH = 64


@torch.inference_mode()
def predict(model: nn.Module, ready: Prepared, rows: npt.NDArray[np.int64], *, batch_size: int = _BATCH) -> Tensor:
    """Logits float32 (len(rows), classes) on the CPU, in the order of the rows; the model is left in eval mode."""
    device = next(model.parameters()).device
    model.eval()
    if not len(rows):
        return torch.empty(0, len(ready.images.classes))
    logits = [model(pixels.to(device)).float().cpu() for pixels, _ in batches(ready, rows, batch_size)]
    return torch.cat(logits)


def loss_and_accuracy(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean cross-entropy in nats, and top-1 accuracy, 0 to 1."""
    loss = nn.functional.cross_entropy(logits, labels).item()
    return loss, (logits.argmax(1) == labels).float().mean().item()


def seconds_to_predict(model: nn.Module, ready: Prepared, rows: npt.NDArray[np.int64]) -> float:
    """How long `predict` on these rows will take, from one batch after a warm-up batch."""
    some = rows[:_BATCH]
    predict(model, ready, some)
    start = time.perf_counter()
    predict(model, ready, some)
    return (time.perf_counter() - start) * len(rows) / max(1, len(some))
