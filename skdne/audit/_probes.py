"""Probes of embeddings, trained anew and scored on patients held out: leakage and findings."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.utils import check_random_state

from skdne.attribute import SensitiveData, check_sensitive_data
from skdne.audit._numbers import as_numbers
from skdne.findings import MIN_CASES
from skdne.leakage import (
    MAX_ROWS,
    Auc,
    bootstrap_counts,
    conditional_auc,
    fit_scores,
    probes,
)

N_FOLDS = 5
Resampled = NDArray[np.float64]  # entry 0 is the estimate, the others its bootstrap resamples


def attribute_leakage(
    embeddings: ArrayLike,
    *,
    sensitive_features: Any,
    y: Any = None,
    groups: Any = None,
    random_state: Any = None,
) -> dict[str, Auc]:
    """Measure how well an attribute can be read from embeddings, by probes trained for it.

    A linear probe, an RBF kernel and a small neural network are trained anew and scored on the
    patients of the other folds (5-fold cross-fitting). Give images that no edit or eraser was
    fitted on: what it learned by heart is no evidence.

    Parameters
    ----------
    embeddings : array-like of shape (n, d)
        Of edited or unedited images, from anywhere.
    sensitive_features : array-like of shape (n,) or (n, k)
        The attribute; several columns are intersected, rows where it is missing are left out.
    y : array-like of shape (n,) or None, default=None
        Disease classes. Where given, the (y, attribute) cells weigh the same in training, and AUCs
        compare images of the same y: else leakage includes what y tells about the attribute.
    groups : array-like of shape (n,) or None, default=None
        Patients: never parted, and the unit of the bootstrap.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    dict of str to Auc
        ``{"linear" | "rbf" | "mlp": (auc, low, high)}``; .5 is chance.

    Raises
    ------
    ValueError
        For bad input, or where an attribute class has fewer than five patients.

    Examples
    --------
    >>> import numpy as np
    >>> from skdne.audit import attribute_leakage
    >>> rng = np.random.default_rng(0)
    >>> sex = np.repeat(["F", "M"], 40)
    >>> Z = rng.normal(size=(80, 4)) + 4 * (sex == "M")[:, None]
    >>> leakage = attribute_leakage(Z, sensitive_features=sex, random_state=0)
    >>> leakage["linear"].auc > 0.95
    True
    """
    Z = check_embeddings(embeddings, "embeddings", None)
    data = check_sensitive_data(sensitive_features, y, groups, len(Z))
    seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    folds = folds_by_patient(data, seed)
    if folds is None:
        raise ValueError(
            f"the smallest attribute class has fewer than {N_FOLDS} patients; leakage cannot be "
            "cross-fitted. Give more images, or merge classes."
        )
    return {name: as_auc(found) for name, found in leakage(Z[data.rows], data, folds, seed).items()}


def as_auc(values: Resampled) -> Auc:
    """Return the estimate with its percentile interval."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all nan
        low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return Auc(float(values[0]), float(low), float(high))


def check_embeddings(embeddings: Any, name: str, n: int | None) -> NDArray[np.float32]:
    """Finite embeddings (n, d) of float32."""
    Z = as_numbers(embeddings, name, np.float32)
    if Z.ndim != 2 or (n is not None and len(Z) != n):
        rows = "n" if n is None else str(n)
        raise ValueError(f"{name} must have shape ({rows}, d), its shape is {Z.shape}.")
    if not np.isfinite(Z).all():
        raise ValueError(f"{name} has nan or infinite values; leave those images out.")
    return Z


def folds_by_patient(data: SensitiveData, seed: int) -> list[NDArray[np.intp]] | None:
    """Test rows of each fold; None where an attribute class has too few patients."""
    n = len(data.codes)
    groups = np.arange(n) if data.groups is None else data.groups
    if min(len(np.unique(groups[data.codes == k])) for k in np.unique(data.codes)) < N_FOLDS:
        return None
    splitter = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a small cell may miss from some folds
        try:
            return [test for _, test in splitter.split(data.codes, data.cells, groups)]
        except ValueError:  # every (y, a) cell is smaller than the folds
            return [test for _, test in splitter.split(data.codes, data.codes, groups)]


def leakage(
    Z: NDArray[np.float32], data: SensitiveData, folds: list[NDArray[np.intp]], seed: int
) -> dict[str, Resampled]:
    """AUC of the attribute of each probe; within classes of y where they are known."""
    return {name: _cross_fitted(p, Z, data, folds, seed) for name, p in probes(seed).items()}


def findings(
    Z: NDArray[np.float32],
    codes: dict[str, NDArray[np.int64]],
    data: SensitiveData,
    folds: list[NDArray[np.intp]],
    seed: int,
) -> dict[str, Resampled]:
    """AUC of a linear probe of each finding with ten cases or more of every class."""
    found = {}
    for name, of_rows in codes.items():
        counts = np.bincount(of_rows[of_rows >= 0], minlength=2)
        if counts.min() < MIN_CASES:
            continue
        labelled = np.flatnonzero(of_rows >= 0)
        finding = dataclasses.replace(
            data, codes=of_rows, strata=None, weights=np.ones(len(of_rows))
        )
        parts = [np.intersect1d(fold, labelled) for fold in folds]
        found[name] = _cross_fitted(probes(seed)["linear"], Z, finding, parts, seed)
    return found


def _cross_fitted(
    probe: Any,
    Z: NDArray[np.float32],
    data: SensitiveData,
    folds: list[NDArray[np.intp]],
    seed: int,
) -> Resampled:
    """Mean AUC over folds and its resamples; equal seeds draw equal patients."""
    rng = np.random.default_rng(seed)
    groups = np.arange(len(data.codes)) if data.groups is None else data.groups
    rows = np.concatenate(folds)
    of_folds = []
    for fold in folds:
        train, test = (_at_most(part, rng) for part in (np.setdiff1d(rows, fold), fold))
        counts = bootstrap_counts(groups[test], rng)
        if len(np.unique(data.codes[train])) < 2:
            continue
        scores = fit_scores(probe, Z, data.codes, data.weights, train, test)
        strata = None if data.strata is None else data.strata[test]
        weights = np.vstack([np.ones(len(test)), counts])
        of_folds.append(conditional_auc(data.codes[test], scores, strata, weights))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all nan where folds hold one class
        return np.nanmean(of_folds, axis=0)


def _at_most(rows: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    return rows if len(rows) <= MAX_ROWS else np.sort(rng.choice(rows, MAX_ROWS, replace=False))
