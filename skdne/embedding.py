"""Images on their way to phi: read ahead, with the noise added, in full batches."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from skdne.budget import QueryBudget
from skdne.canary import EncoderChangedError
from skdne.encoders import Encoder, TorchBackend
from skdne.encoders._requests import in_order
from skdne.images import Images, Rows
from skdne.noise import add_noise

Edits = Sequence[tuple[torch.Tensor | None, np.ndarray]]

# Parts that are there or on their way at once: while the encoder has one, the next are read,
# decoded and edited, one after the other.
N_AHEAD = 3


def embed_images(
    encoder: Encoder,
    images: Images,
    noise: torch.Tensor | None,
    clip: bool,
    rows: np.ndarray | None = None,
    budget: QueryBudget | None = None,
) -> np.ndarray:
    """phi(x + eps) in batches, of ``rows`` or all images; ``noise=None`` embeds them as they are.

    Returns
    -------
    ndarray of shape (n_rows, d), float32
    """
    edit = (noise, np.arange(len(images)) if rows is None else rows)
    return next(embed_edits(encoder, images, [edit], clip, budget))


def embed_edits(
    encoder: Encoder, images: Images, edits: Edits, clip: bool, budget: QueryBudget | None = None
) -> Iterator[np.ndarray]:
    """phi(x + eps) for each of several noises, on rows of its own.

    They share batches: twenty noises on three images each are one batch of sixty.

    Yields
    ------
    ndarray of shape (n_rows, d), float32
        Of each edit, in order.
    """
    with contextlib.closing(_batches(encoder, images, edits, clip, budget)) as batches:
        found = encoder.embed_batches(batches, budget.send if budget is not None else None)
        arrived, width = np.empty((0, 0), np.float32), None  # of the batch that came last
        for _, rows in edits:
            embeddings = np.empty((0, width or 0), np.float32)  # of an edit without rows
            filled = 0
            while filled < len(rows):
                if not len(arrived):
                    arrived = next(found)
                    if width not in (None, arrived.shape[1]):
                        raise (EncoderChangedError if encoder.remote else ValueError)(
                            f"{type(encoder).__name__} returned vectors of different lengths, "
                            f"{sorted((width or 0, arrived.shape[1]))}, for images of one run; it "
                            "must be the same model throughout."
                        )
                    width = arrived.shape[1]
                if not filled:  # filled as they come: all embeddings are there only once
                    embeddings = np.empty((len(rows), width or 0), np.float32)
                part, arrived = np.split(arrived, [len(rows) - filled])
                embeddings[filled : filled + len(part)] = part
                filled += len(part)
            yield embeddings


def _batches(
    encoder: Encoder, images: Images, edits: Edits, clip: bool, budget: QueryBudget | None
) -> Generator[Any]:
    """Full batches of edited images; each edit is counted as it is begun.

    Where the budget ends, what came before is still handed out.
    """
    size = encoder.batch_size
    waiting: list[Any] = []
    begun = -1

    def read(part: tuple[int, np.ndarray]) -> tuple[int, Any]:
        edit, rows = part
        return edit, edited(encoder, images, images.stored(rows), edits[edit][0], clip)

    ahead = 1 if computes_here(encoder) else N_AHEAD
    for edit, batch in in_order(read, _parts(edits, size), ahead, n_threads=1):
        rows = edits[edit][1]
        if edit > begun and budget is not None:
            try:
                budget.spend(len(rows))
            except Exception:
                if waiting:
                    yield _joined(waiting)
                raise
        begun = edit
        waiting.append(batch)
        if sum(map(len, waiting)) == size:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _parts(edits: Edits, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Cut each edit's rows where a batch is full: (number of the edit, rows)."""
    room = size
    for number, (_, rows) in enumerate(edits):
        start = 0
        while start < len(rows):
            part = rows[start : start + room]
            yield number, part
            start += len(part)
            room = room - len(part) or size


def _joined(parts: list[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    return torch.cat(parts) if isinstance(parts[0], torch.Tensor) else np.concatenate(parts)


def computes_here(encoder: Encoder) -> bool:
    """Whether the encoder works on the cores that read images: then each waits for the other.

    Both at once would only make torch's threads wait for those that decode, at every layer.
    """
    return isinstance(encoder, TorchBackend) and encoder.torch_device.type == "cpu"


def edited(
    encoder: Encoder, images: Images, stored: Rows, noise: torch.Tensor | None, clip: bool
) -> Any:
    """x + eps as ``encoder`` takes it: where nobody looks at the pixels before, on its device."""
    if isinstance(encoder, TorchBackend) and encoder.takes_tensors:
        x = encoder.on_device(stored, images.shape[0])
        return x if noise is None else add_noise(x, noise.to(x.device), clip)
    batch = images.scaled(stored)
    return batch if noise is None else add_noise(torch.from_numpy(batch), noise, clip).numpy()
