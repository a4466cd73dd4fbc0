"""Bootstrap samples of whole patients, and permutations of the attribute within y."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MIN_PROFILE = 5


def bootstrap_patients(n_patients: int, n_bootstrap: int, seed: int) -> NDArray[np.float64]:
    """How often each patient counts, (1 + n_bootstrap, n_patients); row 0 is the sample itself."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients), size=n_bootstrap)
    return np.vstack([np.ones(n_patients), counts])


def permute_attribute(
    a: NDArray[np.int64], y: NDArray[np.int64], patients: NDArray[np.int64], n: int, seed: int
) -> NDArray[np.int64]:
    """Attribute of each row under permutations within y, (1 + n, n_rows); row 0 as observed.

    The attribute moves between patients that have the same number of images of each class of y;
    where fewer than 5 patients share those numbers, between all such patients of the same classes.
    A patient with several values of the attribute (an age band, say) is as many units.

    Parameters
    ----------
    a, y, patients : ndarray of shape (n_rows,)
        Codes.
    n : int
        Permutations.
    seed : int
    """
    rng = np.random.default_rng(seed)
    _, first, unit = np.unique(
        np.column_stack([patients, a]), axis=0, return_index=True, return_inverse=True
    )
    unit = unit.reshape(-1)
    of_unit = a[first]
    counts = np.zeros((len(first), y.max() + 1), dtype=np.int64)
    np.add.at(counts, (unit, y), 1)
    profile, members = _number(counts)
    rare = members[profile] < MIN_PROFILE
    # the classes alone for the rare ones; negative, so as not to meet a profile of counts
    counts[rare] = -(counts[rare] > 0).astype(np.int64)
    profile, _ = _number(counts)
    permuted = np.tile(of_unit, (1 + n, 1))
    for stratum in np.unique(profile):
        here = np.flatnonzero(profile == stratum)
        block = np.tile(of_unit[here], (n, 1))
        permuted[1:, here] = rng.permuted(block, axis=1)
    return permuted[:, unit]


def _number(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    _, index, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    return index.reshape(-1), counts
