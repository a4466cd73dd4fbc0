"""What the edit costs: how well each labelled finding can still be read from the embeddings."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import _num_samples

from skdne.attribute import MAX_CLASSES, SensitiveData, cell_weights, encode_labels
from skdne.leakage import OutOfFold, cross_fit, probes
from skdne.splits import ThreeSets

MIN_CASES = 10
LEVEL = 0.05


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
    before: np.ndarray,
    after: np.ndarray,
    codes: dict[str, np.ndarray],
    data: SensitiveData,
    sets: ThreeSets,
    random_state: int,
) -> dict[str, dict[str, Any]]:
    """How well a linear probe reads each finding before and after the edit, and the change.

    Where a finding and the attribute go together, an edit that takes the attribute away also takes
    the shortcut, which is no loss. So the AUC compares images of one group of the attribute, and
    the probe is trained on (finding, attribute) cells that weigh the same. It is scored on all
    images that the noise was not fitted on: by the selection set only the attribute decides.

    Parameters
    ----------
    before, after : ndarray of shape (n, d)
        Embeddings of the rows of ``data``, without and with the edit.
    codes : dict of str to ndarray of shape (n,)
        Class indices of the same rows, -1 where missing.
    data : SensitiveData
    sets : ThreeSets
    random_state : int

    Returns
    -------
    dict of str to dict
        ``"before"`` and ``"after"``, an Auc each, and their ``"change"`` on the same patients. The
        ends of its interval err in 5% of cases for all findings together (Bonferroni). Without
        the findings of which fewer than 10 of these images are of some class, and those that the
        attribute decides, so that no group holds two classes of them.
    """
    found = {}
    level = LEVEL / max(len(codes), 1)
    for name, of_rows in codes.items():
        labelled = np.flatnonzero(of_rows >= 0)
        folds = [np.intersect1d(fold, labelled) for fold in (sets.select, *sets.report_folds)]
        if not enough_cases(of_rows[np.concatenate(folds)]):
            continue
        was = now = cross_fit_finding(before, of_rows, data, labelled, folds, random_state)
        if after is not before:
            now = cross_fit_finding(after, of_rows, data, labelled, folds, random_state)
        change = was.change_to(now, level)
        if not np.isnan(change.change):
            found[name] = {"before": was.auc(), "after": now.auc(), "change": change}
    return found


def enough_cases(codes: np.ndarray) -> bool:
    """Whether there are ten or more of each of two classes or more."""
    counts = np.bincount(codes[codes >= 0])
    return len(counts) > 1 and bool(counts.min() >= MIN_CASES)


def cross_fit_finding(
    embeddings: np.ndarray,
    codes: np.ndarray,
    data: SensitiveData,
    labelled: np.ndarray,
    folds: list[np.ndarray],
    random_state: int,
) -> OutOfFold:
    """Score a finding within groups of the attribute, by a linear probe of balanced cells.

    The groups are centred: else the probe would read a finding less well before the edit only
    because the attribute, the shortcut, stands in its way, and that would hide a loss.
    """
    weights = np.zeros(len(codes))
    weights[labelled] = cell_weights(codes[labelled], data.codes[labelled])
    finding = dataclasses.replace(data, codes=codes, strata=data.codes, weights=weights)
    probe = probes(random_state)["linear"]
    return cross_fit(probe, embeddings, finding, labelled, folds, random_state, centred=True)
