"""Runs an exported model by its own runtime, in a process where nothing else is loaded: pixels in, outputs out.

    python -P trial.py FORMAT FILE

Arrays come by stdin and leave by stdout, one .npy after the other. The answer to the first, at least two images, is the
median of seconds that one image takes, and that all of them take together; to every other, the model's outputs.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import IO, Any

import numpy as np

Array = np.ndarray[Any, Any]

_MOST_SECONDS, _MOST_TIMES, _WARM_UPS = 1.0, 30, 3


def runner(format: str, file: str) -> Callable[[Array], Array]:
    """What runs the file: ONNX Runtime, PyTorch's TorchScript, or Scrimp for its own safetensors."""
    if format.startswith("onnx"):
        import onnxruntime

        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        return lambda pixels: session.run(None, {"pixels": pixels})[0]
    import torch

    if format == "torchscript":
        model: Any = torch.jit.load(file)  # type: ignore[no-untyped-call]
    else:
        from scrimp.models.saved import load_model

        model = load_model(Path(file).parent).model

    @torch.inference_mode()
    def run(pixels: Array) -> Array:
        outputs: Array = model(torch.from_numpy(pixels)).float().numpy()
        return outputs

    return run


def seconds(run: Callable[[Array], Array], pixels: Array) -> float:
    """Median seconds of a run, warmed up."""
    for _ in range(_WARM_UPS):
        run(pixels)
    taken: list[float] = []
    while len(taken) < _MOST_TIMES and sum(taken) < _MOST_SECONDS:
        start = time.perf_counter()
        run(pixels)
        taken.append(time.perf_counter() - start)
    return median(taken)


def send(pipe: IO[bytes], array: Array) -> None:
    """Writes an array; NumPy would ask a file where it is, and a pipe does not know."""
    np.lib.format.write_array(SimpleNamespace(write=pipe.write), array, allow_pickle=False)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Array:
    """Reads an array. Raises `ValueError` where there is none."""
    array: Array = np.lib.format.read_array(SimpleNamespace(read=pipe.read), allow_pickle=False)
    return array


def main(format: str, file: str) -> None:
    """Answers arrays until there are no more."""
    there, back = os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a runtime has to say is not an answer
    run = runner(format, file)
    timed = False
    while there.peek(1):
        pixels = receive(there)
        answer = run(pixels) if timed else np.array([seconds(run, pixels[:1]), seconds(run, pixels)])
        timed = True
        send(back, answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
