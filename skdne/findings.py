"""What the edit costs: how well each labelled finding can still be read from the embeddings."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import _num_samples

from skdne.attribute import MAX_CLASSES, SensitiveData, encode_labels
from skdne.leakage import Auc, cross_fitted, probes
from skdne.splits import ThreeSets

MIN_CASES = 10


def check_findings(y: Any, findings: Any, n: int) -> dict[str, np.ndarray]:
    """Class indices (n,), -1 where missing, of each column of y and of ``findings``.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, k), or None
        A continuous column is left out.
    findings : array-like of shape (n, k), DataFrame, or None
    n : int
        Images in X.

    Raises
    ------
    ValueError
        If the rows of ``findings`` are not as many, or a column holds no classes.
    """
    found: dict[str, np.ndarray] = {}
    if findings is not None and (length := _num_samples(findings)) != n:
        raise ValueError(f"findings has {length} rows, X has {n} images; they must be as many.")
    for name, columns in {"y": y, "findings": findings}.items():
        if columns is None:
            continue
        frame = pd.DataFrame(columns if hasattr(columns, "iloc") else np.asarray(columns))
        for i, label in enumerate(frame):
            codes, classes = encode_labels(frame[label], name)
            if isinstance(label, str):
                title = label
            else:
                title = name if frame.shape[1] == 1 else f"{name}[{i}]"
            if len(classes) <= MAX_CLASSES and not _continuous(classes):
                found[title] = codes
            elif name == "findings":
                raise ValueError(
                    f"column {title!r} of findings holds {len(classes)} distinct values; give "
                    "classes, such as 0 and 1, and NaN where the finding is unknown."
                )
    return found


def _continuous(classes: np.ndarray) -> bool:
    return classes.dtype.kind == "f" and bool((classes != np.rint(classes)).any())


def measure_findings(
    embeddings: np.ndarray,
    codes: dict[str, np.ndarray],
    data: SensitiveData,
    sets: ThreeSets,
    random_state: int,
) -> dict[str, Auc]:
    """AUC of a linear probe of each finding, trained anew and scored on held-out images.

    Parameters
    ----------
    embeddings : ndarray of shape (n, d)
        Of the rows of ``data``.
    codes : dict of str to ndarray of shape (n,)
        Class indices of the same rows, -1 where missing.
    data : SensitiveData
    sets : ThreeSets
    random_state : int

    Returns
    -------
    dict of str to Auc
        Without the findings of which fewer than 10 images of some class are in the report set.
    """
    found = {}
    for name, of_rows in codes.items():
        labelled = np.flatnonzero(of_rows >= 0)
        folds = [np.intersect1d(fold, labelled) for fold in sets.report_folds]
        counts = np.bincount(of_rows[np.intersect1d(sets.report, labelled)])
        if len(counts) < 2 or counts.min() < MIN_CASES:
            continue
        finding = dataclasses.replace(
            data, codes=of_rows, strata=None, weights=np.ones(len(of_rows))
        )
        probe = probes(random_state)["linear"]
        found[name] = cross_fitted(probe, embeddings, finding, labelled, folds, random_state)
    return found
