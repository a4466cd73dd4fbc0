"""A few fixed images by which a service is recognised: has its model changed?"""

from __future__ import annotations

import numpy as np

from skdne.budget import QueryBudget
from skdne.encoders import Encoder

N_CANARIES = 4


class EncoderChangedError(RuntimeError):
    """The service embeds fixed images otherwise than before: model or precision changed."""


def canary_images(shape: tuple[int, ...]) -> np.ndarray:
    """Fixed images (4, C, H, W) in [0, 1]: a ramp, its mirror image, a checkerboard, noise."""
    n_channels, height, width = shape
    ramp = np.linspace(0, 1, height)[:, None] * np.linspace(1, 0, width)
    board = np.indices((height, width)).sum(axis=0) // 8 % 2
    noise = np.random.default_rng(0).random((height, width))
    planes = np.stack([ramp, ramp[:, ::-1], board, noise]).astype(np.float32)
    return np.repeat(planes[:, None], n_channels, axis=1)


class Canary:
    """Compares what a remote encoder says of the canary images with what it said before.

    Parameters
    ----------
    encoder : Encoder
        One that is not remote is not asked.
    shape : tuple of int
        (C, H, W) of the images.
    budget : QueryBudget
        Every check is counted as asked for, also where it is not sent because nothing else was
        sent since the last one.
    reference : ndarray of shape (4, d) or None, default=None
        What was said before, if it is known.

    Attributes
    ----------
    reference : ndarray of shape (4, d) or None
        None as long as nothing was asked, and for an encoder that is not remote.
    """

    def __init__(
        self,
        encoder: Encoder,
        shape: tuple[int, ...],
        budget: QueryBudget,
        reference: np.ndarray | None = None,
    ) -> None:
        self.encoder, self.shape, self.budget, self.reference = encoder, shape, budget, reference
        self._sent_at_check: int | None = None
        self._n_sent = 0

    @property
    def cost(self) -> int:
        """Images of one check."""
        return N_CANARIES if self.encoder.remote else 0

    def check(self) -> None:
        """Ask, unless nothing was sent since the last time, and compare.

        Raises
        ------
        EncoderChangedError
        """
        if not self.cost:
            return
        self.budget.spend(self.cost)
        sent_before = self.budget.sent
        if sent_before == self._sent_at_check:
            return
        store = self.encoder.open_store()
        newest = store.newest() if store is not None else 0  # what comes later is not vouched for
        found = self._ask()
        if store is not None:
            store.set_canary(found)  # the first one stays
            self._compare(found, store.canary(), f"the store {self.encoder.store!s} was made")
        if self.reference is None:
            self.reference = found
        self._compare(found, self.reference, "the fit began")
        if store is not None:
            store.trust(newest)
        # what other threads sent meanwhile is for the next check
        self._sent_at_check = sent_before + self._n_sent

    def _ask(self) -> np.ndarray:
        images, size = canary_images(self.shape), self.encoder.batch_size
        self._n_sent = 0
        parts = [
            self.encoder.embed(images[start : start + size], self._send)
            for start in range(0, N_CANARIES, size)
        ]
        self._check_length({part.shape[1] for part in parts}, parts[0].shape[1], "the last request")
        return np.concatenate(parts)

    def _send(self, n_images: int) -> None:
        self.budget.send(n_images)
        self._n_sent += n_images

    def check_length(self, n_features: int) -> None:
        """Compare the length of an embedding, before anything stumbles over another one.

        Raises
        ------
        EncoderChangedError
        """
        if self.reference is not None:
            self._check_length({n_features}, self.reference.shape[1], "the fit began")

    def _check_length(self, now: set[int], before: int, since: str) -> None:
        if now != {before}:
            raise self._changed(
                since,
                f"its embeddings had {before} values, they have {max(now - {before})} now.",
            )

    def _changed(self, since: str, what: str) -> EncoderChangedError:
        advice = "Have the old model served again, or fit anew, with a store of its own."
        store = self.encoder.open_store()
        n_removed = store.discard_untrusted() if store is not None else 0
        if n_removed:
            advice += f" {n_removed} embeddings newer than the last check left the store."
        name = type(self.encoder).__name__
        return EncoderChangedError(
            f"the model behind {name} changed since {since}: {what} {advice}"
        )

    def _compare(self, found: np.ndarray, before: np.ndarray | None, since: str) -> None:
        assert before is not None
        self._check_length({found.shape[1]}, before.shape[1], since)
        size = np.linalg.norm(before, axis=1)
        drift = float(np.max(np.linalg.norm(found - before, axis=1) / np.maximum(size, 1e-12)))
        if not drift <= self.encoder.max_drift:
            raise self._changed(
                since,
                f"its embeddings of fixed images moved by {drift:.1e} of their length (max_drift "
                f"is {self.encoder.max_drift:g}), so its weights or its precision are others.",
            )
