"""Rates of each group, and the gaps between them, for many resamples at once.

Everything here is a function of the counts of (attribute, true class, predicted class). Row 0 of
every array is the sample itself, the others are bootstrap samples or permutations.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Rates:
    """Rates for R resamples, C classes of y and A groups; nan where a cell is empty.

    ``recall`` is P(Yhat = c | Y = c, A = a) and ``selection`` P(Yhat = c | A = a), both (R, C, A);
    ``accuracy`` of each group is (R, A), ``of_class`` the recall over all groups (R, C), and
    ``overall`` the accuracy (R, 1).
    """

    recall: Floats
    selection: Floats
    accuracy: Floats
    of_class: Floats
    overall: Floats


def cell_counts(
    weights: Floats, a: NDArray[np.int64], y: NDArray[np.int64], y_pred: NDArray[np.int64], shape
) -> Floats:
    """Counts (R, A, C, C) for ``weights`` (R, n) of rows."""
    n_groups, n_classes = shape
    cell = (a * n_classes + y) * n_classes + y_pred
    indicator = np.zeros((len(cell), n_groups * n_classes**2))
    indicator[np.arange(len(cell)), cell] = 1
    return (weights @ indicator).reshape(-1, n_groups, n_classes, n_classes)


def rates(counts: Floats) -> Rates:
    """Rates from counts (R, A, C, C)."""
    hits = np.einsum("racc->rca", counts)
    of_class = np.einsum("racp->rca", counts)
    selected = np.einsum("racp->rpa", counts)
    of_group = counts.sum(axis=(2, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        return Rates(
            recall=hits / of_class,
            selection=selected / of_group[:, None],
            accuracy=hits.sum(axis=1) / of_group,
            of_class=hits.sum(axis=2) / of_class.sum(axis=2),
            overall=hits.sum(axis=(1, 2))[:, None] / of_group.sum(axis=1, keepdims=True),
        )


def with_spread(values: Floats, n_units: NDArray[np.int64]) -> Floats:
    """Give rates at exactly 0 or 1 the spread that a bootstrap cannot see.

    Where all patients of a cell agree, every bootstrap sample agrees too, and the interval would
    have no width. Quantiles of the Jeffreys posterior, for as many patients, stand in for the
    resamples of such a cell.

    Parameters
    ----------
    values : ndarray of shape (R, ...)
        Rates, row 0 the sample.
    n_units : ndarray of shape (...)
        Patients in each cell.
    """
    values = values.copy()
    n_replicates = len(values) - 1
    for cell in zip(*np.nonzero((values[0] == 0) | (values[0] == 1)), strict=True):
        n = int(n_units[cell])
        hits = n * values[(0, *cell)]
        # the same order for equal cells, so that equal predictions have a difference of exactly 0
        rng = np.random.default_rng([n, *(int(i) for i in cell)])
        u = rng.permutation((np.arange(n_replicates) + 0.5) / n_replicates)
        values[(slice(1, None), *cell)] = stats.beta.ppf(u, hits + 0.5, n - hits + 0.5)
    return values


def gap(values: Floats) -> Floats:
    """Largest minus smallest over groups (the last axis); nan where a group has no value."""
    return values.max(axis=-1) - values.min(axis=-1)


def ratio_gap(values: Floats) -> Floats:
    """One minus smallest over largest; nan for 0 / 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1 - values.min(axis=-1) / values.max(axis=-1)


def equalized_odds(recall: Floats) -> Floats:
    """Largest gap of any class, from recalls (R, C, A)."""
    return gap(recall).max(axis=-1)


def worst_group(recall: Floats) -> Floats:
    """Accuracy of the worst cell of class and group, from recalls (R, C, A)."""
    return recall.min(axis=(-2, -1))
