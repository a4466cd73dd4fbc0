"""What every encoder phi is: images in [0, 1] in, one finite vector per image out.

An encoder is immutable (a frozen dataclass whose fields are its specification) and frozen in the
sense of the method too: it is never trained. Because it cannot change, cloning returns the encoder
itself, so a grid search never copies weights; it pickles as its specification, so joblib hashes it
cheaply and alike in every process. It has no ``get_params`` / ``set_params`` on purpose: a
``set_params`` on a clone would change the original. Search over whole encoder objects instead.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator
from numbers import Integral
from typing import Any, ClassVar

import numpy as np

from skdne.embedding_store import EmbeddingStore
from skdne.encoders._requests import OnSend, in_order, through_store


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Encoder:
    """Base class of the encoders: the fields they share and the checks on what they return.

    Subclasses implement :meth:`_embed` and, if they have gradients, set ``differentiable``. Those
    that send images elsewhere implement :meth:`_request`, and say what is sent.

    Parameters
    ----------
    input_size : (int, int) or None, default=None
        Height and width the encoder wants; images are resized to it before the noise is added.
        None takes images as they are, which then must all have one size.
    n_channels : int or None, default=None
        Channels the encoder wants (1 or 3); grey images are repeated, colour ones turned to
        luminance. None takes what comes.
    batch_size : int, default=64
        Images per call of the encoder, at most.
    pixel_range : (float, float) or None, default=None
        Raw pixel values that mean 0 and 1, such as ``(0, 4095)`` for 12-bit data stored in uint16.
        None scales by the data type: uint8 by 255, uint16 by 65535, floats are in [0, 1] already.
    store : str, PathLike or None, default=None
        File that keeps embeddings, made if it is not there. An image that was embedded before, by
        any process that shares the file, is not embedded again: a fit that was killed goes on where
        it was. The file comes from patients' images; keep it as you keep those.
    """

    input_size: tuple[int, int] | None = None
    n_channels: int | None = None
    batch_size: int = 64
    pixel_range: tuple[float, float] | None = None
    store: str | os.PathLike[str] | None = None

    differentiable: ClassVar[bool] = False
    remote: ClassVar[bool] = False  # a service that can change or fail, and has its price

    def __post_init__(self) -> None:
        for name in ("input_size", "pixel_range"):
            value = getattr(self, name)
            if value is not None:
                value = tuple(value) if np.iterable(value) else (value,)
                if len(value) != 2:
                    raise ValueError(f"{name} must be two numbers or None, got {value!r}.")
                object.__setattr__(self, name, value)
        if not isinstance(self.batch_size, Integral) or self.batch_size < 1:
            raise ValueError(
                f"batch_size must be a whole number, at least 1, not {self.batch_size!r}."
            )

    def __repr__(self) -> str:
        # what was given, not what a model or a service told when it was loaded
        given = self.__dict__.get("_given", self.__dict__)
        required, options = [], []
        for field in dataclasses.fields(self):
            value = given[field.name]
            if field.default is dataclasses.MISSING:
                required.append(_short(value))
            elif field.repr and value not in (field.default, ()):
                options.append(f"{field.name}={_short(value)}")
        return f"{type(self).__name__}({', '.join(required + options)})"

    def __sklearn_clone__(self) -> Encoder:
        return self

    @property
    def patch_size(self) -> int | None:
        """Side in pixels of the square patches it cuts images into; None if unknown, or none."""
        return None

    def load(self) -> None:
        """Load what the encoder needs (weights, say), so that what fails fails before any work."""

    @property
    def levels(self) -> int | None:
        """Steps between black and white of the pixels that are sent; None if they are floats."""
        return None

    @property
    def n_in_flight(self) -> int:
        """Batches that are embedded at once."""
        return 1

    @property
    def max_drift(self) -> float:
        """Relative change of a fixed image's embedding that still passes for the same model."""
        return 1e-4

    def on_wire(self, images: np.ndarray) -> np.ndarray:
        """Return pixels as the model gets them.

        Parameters
        ----------
        images : ndarray of shape (b, C, H, W)
            Pixels in units of [0, 1].

        Returns
        -------
        ndarray of shape (b, C, H, W)
            Floats, or whole numbers from 0 to ``levels``.
        """
        return np.asarray(images, dtype=np.float32)

    def embed(self, images: np.ndarray, on_send: OnSend | None = None) -> np.ndarray:
        """Embed a batch of images and check what comes back; the store is not asked.

        Parameters
        ----------
        images : ndarray of shape (b, C, H, W), float32
            Pixels in units of [0, 1], at most ``batch_size`` of them.
        on_send : callable or None, default=None
            See :meth:`embed_batches`.

        Returns
        -------
        ndarray of shape (b, d), float32

        Raises
        ------
        ValueError
            If the encoder returns the wrong number of rows, not one vector per image, or a value
            that is not finite. The message names the rows.
        """
        return self._checked_request(self.on_wire(images), on_send or _ignore)

    def embed_batches(
        self, batches: Iterable[np.ndarray], on_send: OnSend | None = None
    ) -> Iterator[np.ndarray]:
        """Embed batch after batch: from the store what it knows, several in flight where it pays.

        Parameters
        ----------
        batches : iterable of ndarray
            Each as :meth:`embed` takes it.
        on_send : callable or None, default=None
            Gets the number of images before each attempt to have them embedded; what the store
            knows does not count, what is sent again does.

        Yields
        ------
        ndarray of shape (b, d), float32
            Of each batch, in order.
        """
        store = self.open_store()

        def request(pixels: np.ndarray) -> np.ndarray:
            return self._checked_request(pixels, on_send or _ignore)

        def work(batch: np.ndarray) -> np.ndarray:
            pixels = self.on_wire(batch)
            return request(pixels) if store is None else through_store(store, pixels, request)

        return in_order(work, batches, self.n_in_flight)

    def open_store(self) -> EmbeddingStore | None:
        """Return the store, or None if there is none.

        Returns
        -------
        EmbeddingStore or None

        Raises
        ------
        ValueError
            The file was made with another encoder, or is no store.
        """
        return None if self.store is None else EmbeddingStore(self.store, self.fingerprint)

    def _checked_request(self, pixels: np.ndarray, on_send: OnSend) -> np.ndarray:
        name = type(self).__name__
        try:
            vectors = np.asarray(self._request(pixels, on_send))
        except ValueError as error:
            if "inhomogeneous" not in str(error):
                raise
            raise ValueError(
                f"{name} returned vectors of different lengths; expected one length."
            ) from error
        if vectors.ndim != 2 or len(vectors) != len(pixels):
            raise ValueError(
                f"{name} returned an array of shape {vectors.shape} for {len(pixels)} images; "
                f"expected ({len(pixels)}, n_features): one vector per image, in order."
            )
        if vectors.dtype.kind not in "fiub":
            raise ValueError(f"{name} returned {vectors.dtype} values; expected numbers.")
        with np.errstate(over="ignore"):  # too large for float32 is infinity, reported below
            vectors = vectors.astype(np.float32, copy=False)
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            raise ValueError(
                f"{name} returned NaN or infinity for rows {bad[:10].tolist()} of a batch of "
                f"{len(pixels)}; check those images and the encoder's precision."
            )
        return vectors

    def _request(self, pixels: np.ndarray, on_send: OnSend) -> Any:
        """Vectors of pixels as :meth:`on_wire` makes them; ``on_send`` hears of each attempt."""
        on_send(len(pixels))
        return self._embed(pixels)

    def _embed(self, images: np.ndarray) -> Any:
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        """Hexadecimal digest of what decides the embeddings; it is stored beside a noise."""
        return digest(type(self).__name__, *self._identity())

    def _identity(self) -> tuple[Any, ...]:
        """Everything that decides the embeddings, as strings, numbers or arrays."""
        return (self.input_size, self.n_channels, self.pixel_range)


def _short(value: Any) -> str:
    """One line for a repr: a function by its name, a module without its layers."""
    if isinstance(value, (str, bytes, int, float, tuple, dict, os.PathLike)) or value is None:
        return repr(value)
    return getattr(value, "__qualname__", None) or f"{type(value).__name__}(...)"


def _ignore(_: int) -> None:
    """An ``on_send`` that does not count."""


def digest(*parts: Any) -> str:
    """First 16 hexadecimal digits of the SHA-256 of arrays (their bytes) and reprs (the rest)."""
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            sha.update(f"{part.dtype}{part.shape}".encode())
            sha.update(np.ascontiguousarray(part).view(np.uint8).data)
        else:
            sha.update(repr(part).encode())
    return sha.hexdigest()[:16]
