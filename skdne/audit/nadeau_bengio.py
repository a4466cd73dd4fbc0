"""The corrected resampled t-interval: re-splits of one data set are not independent."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from skdne.audit._numbers import as_numbers


class Interval(NamedTuple):
    """A mean and the interval around it."""

    mean: float
    low: float
    high: float


def nadeau_bengio_interval(
    differences: ArrayLike, n_train: int, n_test: int, *, confidence: float = 0.95
) -> Interval:
    r"""Interval of a mean over random re-splits of one data set.

    The training sets of re-splits overlap, so that their results vary less than those of fresh
    data would; the plain t-interval is then much too narrow. The correction replaces 1/k by
    1/k + n_test/n_train.

    Parameters
    ----------
    differences : array-like of shape (k,)
        A figure of each re-split, or its difference between two methods on the same split; k is
        at least 2.
    n_train, n_test : int
        Rows (patients, where one has several images) on each side of a split.
    confidence : float, default=0.95
        In (0, 1).

    Returns
    -------
    Interval
        ``mean``, ``low``, ``high``.

    Raises
    ------
    ValueError
        If there are fewer than two values, one is not finite, or a size is not positive.

    Notes
    -----
    .. math:: \bar d \pm t_{k-1} \sqrt{\left(\frac1k + \frac{n_{test}}{n_{train}}\right) s^2}

    References
    ----------
    Nadeau and Bengio 2003, "Inference for the Generalization Error", Machine Learning 52.

    Examples
    --------
    >>> from skdne.audit import nadeau_bengio_interval
    >>> mean, low, high = nadeau_bengio_interval([0.1, 0.2, 0.3], n_train=100, n_test=100)
    >>> round(mean, 3), round(low, 3), round(high, 3)
    (0.2, -0.297, 0.697)
    """
    d = as_numbers(differences, "differences")
    if d.ndim != 1 or len(d) < 2 or not np.isfinite(d).all():
        raise ValueError(
            "differences must be one column of two finite numbers or more, one for each re-split; "
            f"got shape {d.shape}{'' if np.isfinite(d).all() else ' with nan or infinity'}."
        )
    if n_train <= 0 or n_test <= 0:
        raise ValueError(f"n_train and n_test must be positive, got {n_train} and {n_test}.")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}.")
    mean = float(d.mean())
    error = np.sqrt((1 / len(d) + n_test / n_train) * d.var(ddof=1))
    half = float(stats.t.ppf((1 + confidence) / 2, len(d) - 1) * error)
    return Interval(mean, mean - half, mean + half)
