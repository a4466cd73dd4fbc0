"""An encoder that behaves as one behind a network, without the network."""

import collections
import dataclasses
import threading
from typing import ClassVar

import numpy as np

from skdne.encoders import Encoder


class Service:
    """What is at the other end: it counts, fails when told to, and can change its model."""

    def __init__(self, n_features=12, failures=0.0, seed=0):
        self.weights = np.random.default_rng(7).normal(size=(64, n_features)).astype(np.float32)
        self.failures = failures  # chance that an attempt fails, after its images were sent
        self.fails_from = np.inf  # request from which on all attempts fail
        self.error_at = {}  # request -> an error that nobody catches
        self.n_requests = 0
        self.seen = collections.Counter()
        self.change = lambda vectors: vectors
        self._rng = np.random.default_rng(seed)
        self._lock = threading.Lock()

    @property
    def n_images(self):
        """Images that came in, those sent again included."""
        return self.seen.total()

    def answer(self, pixels):
        """Embeddings, or None where the attempt fails."""
        with self._lock:
            number = self.n_requests
            self.n_requests += 1
            self.seen.update(image.tobytes() for image in pixels)
            if number in self.error_at:
                raise self.error_at[number]
            if number >= self.fails_from or self._rng.random() < self.failures:
                return None
        rows = pixels.reshape(len(pixels), -1).astype(np.float32) / 255 - 0.5
        return self.change(np.tanh(rows @ self.weights))


@dataclasses.dataclass(frozen=True, eq=False)
class RemoteEncoder(Encoder):
    """8 x 8 grey images go as uint8 to a :class:`Service`; what fails is sent again."""

    service: Service = dataclasses.field(default_factory=Service)
    concurrency: int = 1
    attempts: int = 1000
    input_size: tuple[int, int] | None = (8, 8)
    n_channels: int | None = 1
    batch_size: int = 16

    remote: ClassVar[bool] = True

    @property
    def levels(self):
        return 255

    @property
    def n_in_flight(self):
        return self.concurrency

    def on_wire(self, images):
        return np.clip(np.rint(images * 255), 0, 255).astype(np.uint8)

    def _request(self, pixels, on_send):
        assert pixels.dtype == np.uint8
        assert len(pixels) <= self.batch_size
        for _ in range(self.attempts):
            on_send(len(pixels))
            vectors = self.service.answer(pixels)
            if vectors is not None:
                return vectors
        raise ConnectionError("the service does not answer")
