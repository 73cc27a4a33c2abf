"""Batches: what waits is computed together, nothing is lost, mixed up or held back."""

from __future__ import annotations

import threading
from concurrent.futures import wait

import numpy as np
import pytest

from scrimp.serving.batching import Batcher

SHAPE = (3, 2, 2)


def image(value: int) -> np.ndarray:
    return np.full(SHAPE, value, dtype=np.uint8)


def sums(pixels: np.ndarray) -> np.ndarray:
    """Each image's value and that times ten: known without a model."""
    value = pixels[:, 0, 0, 0].astype(np.float32)
    return np.stack([value, 10 * value], axis=1)


def test_everyone_gets_his_own_answer() -> None:
    batcher = Batcher(sums, at_most=7)
    promised = {value: batcher.submit(image(value)) for value in range(200)}
    batcher.close()
    assert {value: one.result(0).tolist() for value, one in promised.items()} == {v: [v, 10 * v] for v in range(200)}


def test_what_waits_is_taken_together_and_no_more_than_allowed() -> None:
    sizes, may, began = [], threading.Event(), threading.Event()

    def held(pixels: np.ndarray) -> np.ndarray:
        began.set()
        assert may.wait(30)
        return sums(pixels)

    batcher = Batcher(held, at_most=4, seen=sizes.append)
    first = batcher.submit(image(0))
    assert began.wait(30), "a lone image waits for no other"
    rest = [batcher.submit(image(value)) for value in range(1, 11)]
    may.set()
    wait([first, *rest])
    batcher.close()
    assert sizes == [1, 4, 4, 2]


def test_a_failure_is_told_to_those_of_its_batch_alone() -> None:
    def touchy(pixels: np.ndarray) -> np.ndarray:
        if pixels.max() == 13:
            raise ArithmeticError("thirteen")
        return sums(pixels)

    batcher = Batcher(touchy, at_most=1)
    bad, good = batcher.submit(image(13)), batcher.submit(image(14))
    with pytest.raises(ArithmeticError, match="thirteen"):
        bad.result(30)
    assert good.result(30).tolist() == [14, 140]
    batcher.close()


def test_whoever_gave_up_is_not_computed() -> None:
    seen, may, began = [], threading.Event(), threading.Event()

    def held(pixels: np.ndarray) -> np.ndarray:
        began.set()
        assert may.wait(30)
        seen.extend(pixels[:, 0, 0, 0].tolist())
        return sums(pixels)

    batcher = Batcher(held)
    batcher.submit(image(1))
    assert began.wait(30)
    assert batcher.submit(image(2)).cancel()
    last = batcher.submit(image(3))
    may.set()
    last.result(30)
    batcher.close()
    assert seen == [1, 3]
