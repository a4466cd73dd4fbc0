"""Is a gap more than chance? The attribute permuted within y, corrected over all gaps tested."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
K = TypeVar("K", bound=Hashable)  # what names a gap


class Test(NamedTuple):
    """Null expectation of a gap, its corrected p-value, and whether it is flagged."""

    null: float
    p_value: float
    flagged: bool


def max_t(gaps: Mapping[K, Floats], level: float) -> dict[K, Test]:
    """Test all gaps at once, by the largest of them.

    Each gap is standardised by its mean and standard deviation over the permutations; its p-value
    is the share of permutations in which the *largest* standardised gap is as large. So any false
    alarm at all has probability ``level`` at most, however dependent the gaps are.

    Parameters
    ----------
    gaps : mapping to ndarray of shape (1 + B,)
        Entry 0 as observed, the others with the attribute permuted. Gaps without a value are left
        out of the family, and of the result.
    level : float

    Returns
    -------
    dict to Test, with the same keys

    References
    ----------
    Westfall and Young 1993, "Resampling-Based Multiple Testing", single-step maxT.
    """
    tested = {name: values for name, values in gaps.items() if np.isfinite(values[0])}
    if not tested:
        return {}
    found = np.array(list(tested.values()))
    mean = np.nanmean(found, axis=1, keepdims=True)
    sd = np.nanstd(found, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(sd > 1e-12, (found - mean) / sd, 0.0)
    largest = np.nanmax(z, axis=0)  # some gap always has a value: the observed mark which are in
    p_values = (largest >= z[:, :1] - 1e-12).mean(axis=1)
    return {
        name: Test(float(null), float(p), bool(p <= level))
        for name, null, p in zip(tested, mean[:, 0], p_values, strict=True)
    }
