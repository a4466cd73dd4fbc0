"""The training loop that all torch heads share, and what a batch may be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch

Batches = Callable[[np.random.Generator], Iterable[np.ndarray]]
Loss = Callable[[np.ndarray], torch.Tensor]


def new_head(n_features: int, n_classes: int, init_std: float, seed: int) -> torch.nn.Linear:
    """Make a linear head of one logit a class, weights N(0, init_std^2), bias 0, in float64."""
    head = torch.nn.Linear(n_features, n_classes, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.normal_(0, init_std, generator=generator)
        head.bias.zero_()
    return head


def adamw(heads: list[torch.nn.Linear], step_size: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW at a constant rate; weights decay, biases do not."""
    return torch.optim.AdamW(
        [
            {"params": [head.weight for head in heads], "weight_decay": weight_decay},
            {"params": [head.bias for head in heads], "weight_decay": 0.0},
        ],
        lr=step_size,
    )


@torch.enable_grad()  # also where fit is called under torch.no_grad()
def train(
    optimizer: torch.optim.Optimizer, batches: Batches, loss: Loss, max_iter: int, seed: int
) -> list[float]:
    """Take one step for each batch, ``max_iter`` times through them.

    Parameters
    ----------
    batches : callable
        Gets a random generator, yields the rows of each batch of one epoch.
    loss : callable
        The loss of these rows, with gradients to what the optimiser moves.

    Returns
    -------
    list of float
        Mean loss over the batches of each epoch.
    """
    rng = np.random.default_rng(seed)
    curve = []
    for _ in range(max_iter):
        values = []
        for rows in batches(rng):
            optimizer.zero_grad()
            value = loss(rows)
            value.backward()
            optimizer.step()
            values.append(value.item())
        curve.append(float(np.mean(values)))
    return curve


def shuffled_batches(n: int, batch_size: int) -> Batches:
    """All rows once an epoch, in random order; the last batch may be smaller."""

    def batches(rng: np.random.Generator) -> Iterator[np.ndarray]:
        order = rng.permutation(n)
        for start in range(0, n, batch_size):
            yield order[start : start + batch_size]

    return batches


def balanced_batches(strata: np.ndarray, batch_size: int) -> Batches:
    """Batches that hold every stratum equally often, as many an epoch as :func:`shuffled_batches`.

    Where ``batch_size`` is no multiple of the number of strata, some, drawn anew for each batch,
    have one row more. The rows of a stratum come in random order, and again from the start, in
    another order, once all were used.

    Raises
    ------
    ValueError
        If a batch cannot hold all strata.
    """
    members = [np.flatnonzero(strata == k) for k in np.unique(strata)]
    if batch_size < len(members):
        raise ValueError(
            f"batch_size={batch_size} cannot hold one row of each of the {len(members)} groups; "
            "raise it, or merge groups."
        )
    n_batches = -(-len(strata) // batch_size)
    size = max(min(batch_size, len(strata)), len(members))
    base, n_more = divmod(size, len(members))

    def batches(rng: np.random.Generator) -> Iterator[np.ndarray]:
        streams = [_endless(rows, rng) for rows in members]
        for _ in range(n_batches):
            more = set(rng.permutation(len(members))[:n_more].tolist())
            yield np.array(
                [
                    next(stream)
                    for k, stream in enumerate(streams)
                    for _ in range(base + (k in more))
                ]
            )

    return batches


def _endless(rows: np.ndarray, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(rows)
