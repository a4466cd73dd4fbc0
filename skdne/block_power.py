"""What a permutation test of blocks can show at all; known before a query is sent."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln
from scipy.stats import norm

from skdne.block_test import Design, one_against_rest


class Power(NamedTuple):
    """What one test can show.

    Parameters
    ----------
    smallest_p : float
        The smallest p-value that it can give.
    level : float
        It finds something where its p-value is at most this.
    detectable_auc : float
        What it finds with a probability of .8; 1 where not even a perfect probe would do.
    """

    smallest_p: float
    level: float
    detectable_auc: float

    @property
    def can_show(self) -> bool:
        """Whether any embeddings whatever could make the test find something."""
        return self.smallest_p <= self.level


def smallest_p_value(design: Design) -> float:
    """P-value of a permutation test where no other labels score as high as those observed.

    One over the number of distinct ways to permute the labels within their (y, fold) cells, and
    not below what the number of permutations allows. No p-value is smaller.

    Parameters
    ----------
    design : Design
        With as many permutations as the test has.
    """
    log_ways = 0.0
    for counts in _counts(design):
        log_ways += gammaln(counts.sum() + 1) - gammaln(counts + 1).sum()
    return max(float(np.exp(-log_ways)), 1 / design.labels.shape[1])


def detectable_auc(design: Design, level: float, power: float = 0.8, n_tests: int = 1) -> float:
    """AUC that a test finds with probability ``power``, by the normal approximation.

    It is the AUC that a probe reaches on these images; with more to learn from it reaches more.

    Parameters
    ----------
    design : Design
    level : float
    power : float, default=0.8
    n_tests : int, default=1
        Tests that share the level, by Bonferroni.

    Returns
    -------
    float
        1 where no AUC would do.
    """
    counts = _counts(design)
    n = counts.sum(axis=1)
    sds = []
    for k in one_against_rest(design.labels[:, 0]):
        pairs = counts[:, k] * (n - counts[:, k])
        if pairs.sum():  # the variance of a rank sum, added up over the cells
            sds.append(np.sqrt((pairs * (n + 1) / 12).sum()) / pairs.sum())
    if not sds or smallest_p_value(design) > level:
        return 1.0
    sd = float(np.mean(sds))  # at least that of the mean over the classes
    return min(1.0, 0.5 + sd * float(norm.isf(level / n_tests) + norm.ppf(power)))


def power_of(design: Design, level: float, n_tests: int = 1) -> Power:
    """Both figures of a test."""
    return Power(smallest_p_value(design), level, detectable_auc(design, level, n_tests=n_tests))


def _counts(design: Design) -> np.ndarray:
    """Images of each class of the attribute in each (y, fold) cell, (n_cells, n_classes)."""
    observed = design.labels[:, 0]
    counts = np.zeros((design.cells.max() + 1, observed.max() + 1), dtype=int)
    np.add.at(counts, (design.cells, observed), 1)
    return counts
