"""95% intervals from bootstrap resamples, for plain figures and for largest differences."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEVEL = 0.95
MAX_UNDEFINED = 0.2  # share of resamples in which a figure may have no value


def percentile_interval(values: Floats) -> tuple[float, float]:
    """2.5% and 97.5% points of the resamples ``values[1:]``; nan where too many have no value.

    The estimate ``values[0]`` is always within, which matters at the ends of a range.
    """
    resamples = values[1:]
    if np.isnan(values[0]) or np.isnan(resamples).mean() > MAX_UNDEFINED:
        return np.nan, np.nan
    low, high = np.nanquantile(resamples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(min(low, values[0])), float(max(high, values[0]))


def gap_interval(values: Floats, log: bool = False) -> tuple[float, float]:
    r"""Interval of the largest difference between groups.

    A largest difference is never negative, so its bootstrap percentiles are too high and never
    reach 0. But :math:`|R(r) - R(\hat r)| \le R(r - \hat r)` for the range R, and the right side
    can be bootstrapped: the interval is gap +- its 95% quantile, cut at 0 and 1. It holds the true
    gap, 0 included, in 95% of cases or more.

    Parameters
    ----------
    values : ndarray of shape (R, ..., A)
        Rates of A groups, row 0 the sample. With axes between (classes), the largest range of any.
    log : bool, default=False
        For one minus the ratio of smallest to largest: the same on the log scale.
    """
    if log:
        with np.errstate(divide="ignore"):
            values = np.log(values)
    if not np.isfinite(values[0]).all():
        return np.nan, np.nan
    estimate = _largest_range(values[:1])[0]
    deviation = _largest_range(values[1:] - values[0])
    reach = _quantile(deviation)
    low, high = max(estimate - reach, 0.0), estimate + reach
    if log:
        return float(1 - np.exp(-low)), float(1 - np.exp(-high))
    return float(low), float(min(high, 1.0))


def worst_interval(values: Floats) -> tuple[float, float]:
    """Interval of the smallest rate of any cell, (R, C, A), by the same argument."""
    if not np.isfinite(values[0]).all():
        return np.nan, np.nan
    reach = _quantile(np.abs(values[1:] - values[0]).max(axis=(1, 2)))
    worst = float(values[0].min())
    return max(worst - reach, 0.0), min(worst + reach, 1.0)


def _largest_range(values: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # log of 0 in all groups of a resample: no ratio
        ranges = values.max(axis=-1) - values.min(axis=-1)
    return ranges.reshape(len(values), -1).max(axis=1)


def _quantile(deviation: Floats) -> float:
    if np.isnan(deviation).mean() > MAX_UNDEFINED:
        return np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # inf - inf, on the log scale
        return float(np.nanquantile(deviation, LEVEL, method="higher"))
