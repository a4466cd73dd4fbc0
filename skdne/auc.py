"""AUC among pairs that share a stratum, and its intervals, of patients.

A pair is an image with the class and one without it, both of the same stratum (the same y, say).
Strata count by their pairs: the AUC is the share of all such pairs that the score orders rightly,
so that a stratum of few images, whose own AUC is luck, does not drown the others.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm, rankdata

CROSS_FITTED = 1.25  # see auc_interval


class Auc(NamedTuple):
    """An AUC and its 95% interval, of patients. The probe that made the scores is held fixed."""

    auc: float
    low: float
    high: float


class Change(NamedTuple):
    """AUC after minus AUC before, on the same patients, and its interval."""

    change: float
    low: float
    high: float


def pairs_won(
    score: np.ndarray, positive: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that the score orders rightly, and all pairs, for every row of ``weights`` (R, n)."""
    order = np.argsort(score, kind="stable")
    _, starts = np.unique(score[order], return_index=True)  # ties count half
    of_positive = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
    of_negative = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)
    below = np.cumsum(of_negative, axis=1) - of_negative
    won = (of_positive * (below + 0.5 * of_negative)).sum(axis=1)
    return won, of_positive.sum(axis=1) * of_negative.sum(axis=1)


def weighted_auc(score: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUC for every row of ``weights`` (R, n); nan where one class has no weight."""
    won, pairs = pairs_won(score, positive, weights)
    with np.errstate(invalid="ignore"):
        return won / pairs


def conditional_auc(
    codes: np.ndarray,
    scores: np.ndarray,
    strata: np.ndarray | None = None,
    counts: np.ndarray | None = None,
) -> Any:
    """AUC of ``scores`` for the classes of ``codes`` among pairs that share a stratum.

    Strata count by their pairs. The AUC of more than two classes is the mean of each against the
    rest.

    Parameters
    ----------
    codes : ndarray of shape (n,)
        Class index.
    scores : ndarray of shape (n, K)
        Column k is high where class k is likely.
    strata : ndarray of shape (n,) or None
        Pairs are compared within a stratum only; None compares all.
    counts : ndarray of shape (n_replicates, n) or None
        How often each row counts, for the bootstrap.

    Returns
    -------
    float, or ndarray of shape (n_replicates,) where ``counts`` is given
        nan where no stratum holds both a member of a class and another.
    """
    weights = np.ones((1, len(codes))) if counts is None else counts.astype(float)
    won, pairs = np.zeros((2, scores.shape[1], len(weights)))
    for rows in _members(strata, len(codes)):
        for k in range(scores.shape[1]):
            found = pairs_won(scores[rows, k], codes[rows] == k, weights[:, rows])
            won[k] += found[0]
            pairs[k] += found[1]
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # a replicate may miss every pair
        auc = np.nanmean(won / pairs, axis=0)
    return float(auc[0]) if counts is None else auc


def auc_interval(
    codes: np.ndarray,
    scores: np.ndarray,
    strata: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    shared: float = 0.0,
    level: float = 0.05,
) -> Auc:
    r"""The AUC of :func:`conditional_auc` and its score interval, 95% by default.

    The interval holds every A that the estimate does not contradict:
    :math:`|\hat A - A| \le z \sqrt{D\, C(A)\, V(A)}`, with the variance V of Hanley and McNeil
    in the symmetric form of Newcombe (2006, method 5), summed over strata by the squares of their
    shares of pairs. Like Wilson's interval of a proportion it does not collapse where classes are
    separated without error, and it holds its level with few images in a class. D, at least 1, is
    what several images of one patient add to the variance (the delta method, by patient and by
    image). C is what cross-fitting adds where little can be read: an image that is scored by
    a probe also trains the probe that scores the others, and their luck is one and the same.
    :math:`C(A) = 1 + 1.25\, s\, 4 A (1 - A)`, s being ``shared``; without any signal the variance
    of a fully cross-fitted AUC is twice that of a fixed score, and the constant was set by
    simulation (``benchmarks/leakage_coverage.py``). For more than two classes the standard
    deviations are averaged, which is on the safe side.

    Parameters
    ----------
    codes, scores, strata
        As for :func:`conditional_auc`.
    groups : ndarray of shape (n,) or None
        Patients; None: every image is one.
    shared : float
        Part of the images that a score was learned from which are scored here themselves, by
        scores learned from the others: 0 for a score from elsewhere, 1 for K-fold cross-fitting.
    level : float
        One minus the coverage.

    Returns
    -------
    Auc
        nan without a pair.

    References
    ----------
    Hanley and McNeil 1982, "The meaning and use of the area under a receiver operating
    characteristic (ROC) curve"; Newcombe 2006, "Confidence intervals for an effect size measure
    based on the Mann-Whitney statistic. Part 2".
    """
    estimate = conditional_auc(codes, scores, strata)
    if np.isnan(estimate):
        return Auc(np.nan, np.nan, np.nan)
    sizes = _sizes(codes, scores.shape[1], strata)
    design = _design_effect(_influence(codes, scores, strata), groups)
    z = norm.ppf(1 - level / 2)

    def excess(auc: float) -> float:  # how far the estimate is from A, beyond what A allows
        luck = 1 + CROSS_FITTED * shared * 4 * auc * (1 - auc)
        return abs(estimate - auc) - z * np.sqrt(design * luck) * _standard_error(auc, sizes)

    # at 0 and at 1 nothing varies, and the estimate is a root of its own: look beside it
    low = 0.0 if estimate == 0 else brentq(excess, 0.0, min(estimate, 1 - 1e-9))
    high = 1.0 if estimate == 1 else brentq(excess, max(estimate, 1e-9), 1.0)
    return Auc(estimate, float(low), float(high))


def auc_change(
    codes: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    strata: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    level: float = 0.05,
) -> Change:
    """AUC of the scores ``after`` minus that of ``before``, of the same images, with its interval.

    By the delta method on patients (DeLong, DeLong and Clarke-Pearson 1988): how much each moves
    the one AUC more than the other. Either end of the interval is a bound that errs in 5% of
    cases: the interval is one of 90% by default.
    """
    was, now = (conditional_auc(codes, scores, strata) for scores in (before, after))
    if np.isnan(was) or np.isnan(now):
        return Change(np.nan, np.nan, np.nan)
    moved = _influence(codes, after, strata) - _influence(codes, before, strata)
    reach = float(norm.ppf(1 - level) * np.linalg.norm(_by_patient(moved, groups)))
    return Change(now - was, now - was - reach, now - was + reach)


def _members(strata: np.ndarray | None, n: int) -> list[np.ndarray]:
    if strata is None:
        return [np.arange(n)]
    return [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]


def _sizes(codes: np.ndarray, n_classes: int, strata: np.ndarray | None) -> list[np.ndarray]:
    """For each class with pairs, (members, others) of each stratum that has both, (S, 2)."""
    counts = np.array(
        [
            np.bincount(codes[rows], minlength=n_classes)[:n_classes]
            for rows in _members(strata, len(codes))
        ]
    )
    of_classes = []
    for k in range(n_classes):
        sizes = np.column_stack([counts[:, k], counts.sum(axis=1) - counts[:, k]])
        sizes = sizes[sizes.min(axis=1) > 0]
        if len(sizes):
            of_classes.append(sizes)
    return of_classes


def _standard_error(auc: float, of_classes: list[np.ndarray]) -> float:
    """Of the pair-weighted AUC, if it is ``auc`` in every stratum."""
    found = []
    for sizes in of_classes:
        m, n = sizes.T.astype(float)
        half = (m + n) / 2 - 1
        spread = 1 + half * ((1 - auc) / (2 - auc) + auc / (1 + auc))
        variance = auc * (1 - auc) * (m * n * spread).sum() / (m * n).sum() ** 2
        found.append(np.sqrt(variance))
    return float(np.mean(found))


def _influence(codes: np.ndarray, scores: np.ndarray, strata: np.ndarray | None) -> np.ndarray:
    """How much each image moves the AUC, (n,): by the pairs it wins beyond its share of them."""
    auc = conditional_auc(codes, scores, strata)
    n, n_classes = scores.shape
    of_classes = []
    for k in range(n_classes):
        beyond, pairs = np.zeros(n), 0
        for rows in _members(strata, n):
            positive = codes[rows] == k
            ranks = rankdata(scores[rows, k])
            for side, sign, share in ((positive, 1, auc), (~positive, -1, 1 - auc)):
                n_others = len(rows) - int(side.sum())
                below = ranks[side] - rankdata(scores[rows[side], k])  # others that score lower
                beyond[rows[side]] = sign * (below - share * n_others)
            pairs += int(positive.sum() * (~positive).sum())
        if pairs:
            of_classes.append(beyond / pairs)
    return np.mean(of_classes, axis=0) if of_classes else np.zeros(n)


def _by_patient(influence: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    if groups is None:
        return influence
    _, patient = np.unique(groups, return_inverse=True)
    return np.bincount(patient, weights=influence)


def _design_effect(influence: np.ndarray, groups: np.ndarray | None) -> float:
    """Variance by patient over variance by image; 1 where images tell nothing of each other."""
    of_images = float(influence @ influence)
    of_patients = _by_patient(influence, groups)
    return max(1.0, float(of_patients @ of_patients) / of_images) if of_images > 0 else 1.0
