"""Probes of embeddings, trained anew and scored on patients held out: leakage and findings."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.utils import check_random_state

from skdne.attribute import SensitiveData, check_sensitive_data
from skdne.auc import Auc
from skdne.audit._numbers import as_numbers
from skdne.findings import cross_fit_finding, enough_cases
from skdne.leakage import OutOfFold, cross_fit, probes

N_FOLDS = 5


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
    return {name: found.auc() for name, found in leakage(Z[data.rows], data, folds, seed).items()}


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
) -> dict[str, OutOfFold]:
    """Scores of the attribute by each probe; compared within classes of y where they are known."""
    rows = np.arange(len(data.codes))
    return {name: cross_fit(p, Z, data, rows, folds, seed) for name, p in probes(seed).items()}


def findings(
    Z: NDArray[np.float32],
    codes: dict[str, NDArray[np.int64]],
    data: SensitiveData,
    folds: list[NDArray[np.intp]],
    seed: int,
) -> dict[str, OutOfFold]:
    """Scores of each finding with ten cases or more of every class, and pairs within groups."""
    found = {}
    for name, of_rows in codes.items():
        if not enough_cases(of_rows):
            continue
        labelled = np.flatnonzero(of_rows >= 0)
        parts = [np.intersect1d(fold, labelled) for fold in folds]
        scored = cross_fit_finding(Z, of_rows, data, labelled, parts, seed)
        if not np.isnan(scored.auc().auc):
            found[name] = scored
    return found
