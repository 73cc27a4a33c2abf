"""What answers, for the page and for the JSON API alike: limits, decoding, batches, and counters of it all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from pydantic import Field

from scrimp.cores import cores
from scrimp.errors import ImageError
from scrimp.images.decode import claimed_size
from scrimp.serving.batching import Batcher
from scrimp.serving.predicting import Prediction, Predictor
from scrimp.settings import Settings

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""What may be uploaded, as Pillow calls it: pictures, and nothing that another program would have to run."""

_MOST_FILES = 64  # in one request
_BATCHES = (1, 2, 4, 8, 16, 32)

_JPEG, _SCAN = b"\xff\xd8", b"\xff\xda"
_MOST_SCANS = 100  # progressive files have ten; each takes as long as a whole image


class Limits(Settings):
    """How much a server takes before it refuses, each with an answer of its own."""

    upload_mb: float = Field(default=20.0, gt=0, le=1000)
    """Bytes of one request, in MB: a photo of a telephone has 2 to 12."""
    megapixels: float = Field(default=50.0, gt=0, le=80)
    """Pixels that one image may claim; decoding takes 3 to 8 bytes each for a moment."""
    queue: int = Field(default=256, ge=1, le=100_000)
    """Images taken and not yet answered, in each process; a further one is refused at once."""
    upload_seconds: float = Field(default=30.0, gt=0, le=3600)
    """Within which a request must have arrived."""

    @property
    def files(self) -> int:
        """Images that one request may hold."""
        return min(_MOST_FILES, self.queue)


class Refused(Exception):  # noqa: N818 - not an error of ours: an answer
    """An answer other than predictions: an HTTP status, a word for programs, a sentence for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class Service:
    """A predictor with room for so many images at once; safe to use from any thread."""

    def __init__(self, predictor: Predictor, limits: Limits) -> None:
        self.predictor, self.limits = predictor, limits
        self.counters = Counters()
        self._taken = 0
        self._lock = threading.Lock()
        self._batcher = Batcher(predictor.outputs, seen=self.counters.batch_size.observe)
        self._decoders = ThreadPoolExecutor(cores(), thread_name_prefix="decode")

    @contextmanager
    def room(self, images: int) -> Iterator[None]:
        """Holds room for images for the length of the block; `Refused` (503) where there is none."""
        with self._lock:
            if self._taken + images > self.limits.queue:
                raise Refused(503, "busy", f"{self._taken:,} images are waiting already: ask again in a second.")
            self._taken += images
            self.counters.waiting.inc(images)
        try:
            yield
        finally:
            with self._lock:
                self._taken -= images
                self.counters.waiting.dec(images)

    def decode(self, name: str, content: bytes) -> Future[Pixels]:
        """The pixels of a file, or `Refused`: 413 for too many pixels, 415 for no image, 422 for a broken one."""
        return self._decoders.submit(self.read, name, content)

    def outputs(self, pixels: Pixels) -> Future[Floats]:
        """What the model says of it."""
        return self._batcher.submit(pixels)

    def read(self, name: str, content: bytes) -> Pixels:
        """As `decode`, here and now."""
        if not content:
            raise Refused(422, "empty", f"'{name}' is empty.")
        try:
            width, height = claimed_size(content, FORMATS)
        except ImageError as error:
            raise Refused(*_unknown_or_huge(error, name)) from None
        if width * height > self.limits.megapixels * 1e6:
            claim = f"'{name}' claims {width:,} x {height:,} pixels"
            raise Refused(413, "too_many_pixels", f"{claim}; the limit is {self.limits.megapixels:g} million.")
        if content.startswith(_JPEG) and content.count(_SCAN) > _MOST_SCANS:
            raise Refused(
                413, "too_many_scans", f"'{name}' is a JPEG of more than {_MOST_SCANS} passes over its pixels."
            )
        try:
            return self.predictor.pixels(name, content)
        except ImageError as error:
            raise Refused(422, "broken_image", str(error)) from None

    def look(self, name: str, content: bytes) -> tuple[Prediction, Pixels]:
        """Prediction and what the model saw, here and now; raises `Refused`."""
        with self.room(1):
            pixels = self.read(name, content)
            prediction = self.predictor.said(self.outputs(pixels).result(), name)
        self.counters.images.inc()
        return prediction, pixels

    def close(self) -> None:
        """Ends when all that was taken is answered."""
        self._decoders.shutdown()
        self._batcher.close()


def _unknown_or_huge(error: ImageError, name: str) -> tuple[int, str, str]:
    """Pillow refuses a bomb before its size can be asked for."""
    if str(error).startswith("refused"):
        return 413, "too_many_pixels", f"'{name}' is {error}"
    return 415, "not_an_image", f"'{name}' is {error}"


class Counters:
    """What Prometheus is told; of all processes together where PROMETHEUS_MULTIPROC_DIR names a folder they share."""

    def __init__(self) -> None:
        own = CollectorRegistry()
        self.requests = Counter("scrimp_requests", "Answers of /predict.", ["status", "code"], registry=own)
        self.seconds = Histogram("scrimp_request_seconds", "From a request's head to its answer.", registry=own)
        self.images = Counter("scrimp_images", "Images that were predicted.", registry=own)
        self.batch_size = Histogram("scrimp_batch_size", "Images in a batch.", buckets=_BATCHES, registry=own)
        self.waiting = Gauge(
            "scrimp_waiting_images", "Taken, not yet answered.", multiprocess_mode="livesum", registry=own
        )
        self._own = own

    def text(self) -> bytes:
        """In the format of Prometheus."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._own)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
