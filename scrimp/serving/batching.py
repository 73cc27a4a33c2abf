"""Images that come one by one, and a model that is faster with many: it takes as many as are waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class Batcher:
    """Runs a model in a thread of its own, on up to `at_most` images at once, and waits for none to come.

    While a batch is computed the next gathers: under load batches are large, and a lone image is never held back.
    """

    def __init__(
        self,
        outputs: Callable[[Pixels], Floats],
        *,
        at_most: int = 32,
        seen: Callable[[int], object] = lambda images: None,
    ) -> None:
        """outputs: (n, k) of uint8 pixels (n, 3, h, w). seen: called with the number of images of every batch."""
        self._outputs, self._at_most, self._seen = outputs, at_most, seen
        self._waiting: SimpleQueue[tuple[Pixels, Future[Floats]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def submit(self, pixels: Pixels) -> Future[Floats]:
        """The outputs (k,) of one image (3, h, w), once its batch is computed; or what the model raised."""
        promised: Future[Floats] = Future()
        self._waiting.put((pixels, promised))
        return promised

    def close(self) -> None:
        """Ends the thread when all that was submitted is answered."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        ended = False
        while not ended:
            gathered = [self._waiting.get()]
            while len(gathered) < self._at_most:
                try:
                    gathered.append(self._waiting.get_nowait())
                except Empty:
                    break
            ended = None in gathered
            self._answer([one for one in gathered if one is not None and one[1].set_running_or_notify_cancel()])

    def _answer(self, batch: list[tuple[Pixels, Future[Floats]]]) -> None:
        if not batch:
            return
        self._seen(len(batch))
        try:
            outputs = self._outputs(np.stack([pixels for pixels, _ in batch]))
        except Exception as error:  # whoever waits must hear of it, and the thread goes on for others
            for _, promised in batch:
                promised.set_exception(error)
            return
        for (_, promised), output in zip(batch, outputs, strict=True):
            promised.set_result(output)
