"""Batches of images to evaluate a noise on, so drawn that each stands for the whole set."""

from __future__ import annotations

import numpy as np

from skdne.attribute import draw_evenly
from skdne.objective import Objective

Batch = tuple[np.ndarray, np.ndarray]  # rows, and what the loss of each counts


def draw_batch(objective: Objective, batch_size: int, rng: np.random.Generator) -> Batch:
    """One random mini-batch; each row as likely as it weighs."""
    n, weights = len(objective), objective.weights
    if (weights == weights[0]).all():
        rows = rng.choice(n, size=min(batch_size, n), replace=False)
        return rows, objective.shares(rows)
    return draw_by_weight(objective.codes, weights, batch_size, rng)


def draw_by_weight(
    classes: np.ndarray, weights: np.ndarray, size: int, rng: np.random.Generator
) -> Batch:
    """Rows, none twice, the likelier the more they weigh; and what the loss of each counts.

    A row that is drawn with probability p counts ``w / (sum(w) p)``, which on average gives the
    weighted mean over all rows. p is in proportion to w, so that all rows of a batch count the
    same, except those so heavy that they are in every batch. Were rows drawn uniformly and weighed
    afterwards, few batches would hold a heavy row, and in those little else would count.

    Systematic sampling of rows sorted by class as in :func:`skdne.attribute.draw_evenly`, which
    draws where all rows weigh the same.
    """
    size = min(size, len(weights))
    if (weights == weights[0]).all():
        return draw_evenly(classes, size, rng), np.full(size, 1 / size)
    p = _probabilities(weights, size)
    by_class = np.lexsort((rng.random(len(weights)), classes))
    ends = np.cumsum(p[by_class])
    points = (rng.random() + np.arange(size)) * ends[-1] / size
    rows = by_class[np.searchsorted(ends, points, side="right")]
    return rows, weights[rows] / (weights.sum() * p[rows])


def _probabilities(weights: np.ndarray, size: int) -> np.ndarray:
    """How likely each row is to be in a batch: in proportion to its weight, at most 1."""
    weights = np.maximum(weights, 1e-9 * weights.max())
    certain = np.zeros(len(weights), dtype=bool)
    while not certain.all():
        rest = np.where(certain, 0, weights)
        p = np.where(certain, 1, (size - certain.sum()) * rest / rest.sum())
        over = ~certain & (p > 1 - 1e-9)
        if not over.any():
            return p
        certain |= over
    return np.ones(len(weights))
