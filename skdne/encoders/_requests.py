"""Batches on their way to an encoder: through the store, several in flight, back in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

import numpy as np

from skdne.embedding_store import EmbeddingStore, pixel_keys

OnSend = Callable[[int], None]
T = TypeVar("T")
R = TypeVar("R")


def in_order(
    work: Callable[[T], R], items: Iterable[T], n_in_flight: int, n_threads: int | None = None
) -> Iterator[R]:
    """Apply ``work`` to items ahead of who takes the results; yield in order.

    Up to ``n_in_flight`` results are there or on their way, each in a thread of its own, or made by
    ``n_threads``.

    To the caller it is ``map``: an error of ``items`` is raised after what came before it was
    yielded. Once ``work`` has failed no other is begun, but those in flight are waited for: what
    they bring has been paid for, and goes to the store.
    """
    if n_in_flight == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(n_threads or n_in_flight) as pool:
        pending: deque[Future[R]] = deque()
        iterator, error = iter(items), None
        try:
            while not any(f.done() and f.exception() for f in pending):
                try:
                    pending.append(pool.submit(work, next(iterator)))
                except StopIteration:
                    break
                except Exception as raised:
                    error = raised
                    break
                if len(pending) >= n_in_flight:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
            wait(pending)
        if error is not None:
            raise error


def through_store(
    store: EmbeddingStore, pixels: np.ndarray, request: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Embeddings of ``pixels``: what the store knows, and one request for the rest.

    An image that occurs twice is asked for once. What the request brings is in the store before
    anything else is done with it.
    """
    keys = pixel_keys(pixels)
    known = store.get(keys)
    missing = {key: row for row, key in reversed(list(enumerate(keys))) if key not in known}
    if missing:
        rows = sorted(missing.values())
        asked = {keys[row]: vector for row, vector in zip(rows, request(pixels[rows]), strict=True)}
        store.put(asked)
        known = {**known, **asked}
    return np.stack([known[key] for key in keys])
