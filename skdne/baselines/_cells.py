"""Labels, groups and (y, a) cells of a head's training data, checked."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_y, _num_samples

from skdne import diagnostics
from skdne.attribute import cell_index, encode_labels, missing_attribute


def encode_target(y: Any) -> tuple[np.ndarray, np.ndarray]:
    """y as class indices, and its classes.

    Raises
    ------
    ValueError
        If y is no column of two classes or more.
    """
    y = _check_y(y, multi_output=False)
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y holds one class, {classes.tolist()[0]!r}; a classifier needs two.")
    return codes, classes


def encode_binary_target(y: Any) -> tuple[np.ndarray, np.ndarray]:
    """y as 0 and 1, and its two classes.

    Raises
    ------
    ValueError
        If y has more.
    """
    codes, classes = encode_target(y)
    if len(classes) > 2:
        raise ValueError(
            "Only binary classification is supported; y is multiclass: it has "
            f"{len(classes)} classes."
        )
    return codes, classes


@dataclasses.dataclass(frozen=True)
class Groups:
    """The rows that have an attribute, and their groups, none of them empty.

    ``strata`` indexes ``names``; without y these are ``classes``, of the attribute.
    """

    rows: np.ndarray
    strata: np.ndarray
    names: list[str]
    classes: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        return np.bincount(self.strata, minlength=len(self.names))


def check_groups(sensitive_features: Any, y: Any, n: int, *, within_y: bool = True) -> Groups:
    """Check the attribute, leave out rows without it, and name the groups.

    Parameters
    ----------
    sensitive_features : array-like of shape (n,) or (n, k)
        Several columns are intersected.
    y : ndarray of shape (n,)
        Labels.
    n : int
        Rows of Z.
    within_y : bool
        Whether the groups are (y, a) cells, or the classes of the attribute.

    Raises
    ------
    ValueError
        If it is absent, of another length, or holds no label.

    Warns
    -----
    DebiasingWarning
        Of rows that are left out, and of groups of fewer than 10.
    """
    if sensitive_features is None:
        raise ValueError(missing_attribute("Z", "clf"))
    if (length := _num_samples(sensitive_features)) != n:
        raise ValueError(f"sensitive_features has {length} rows, Z has {n}; they must be as many.")
    codes, classes = encode_labels(sensitive_features, "sensitive_features")
    rows = np.flatnonzero(codes >= 0)
    if not len(rows):
        raise ValueError("sensitive_features holds no labels at all; give one for each row.")
    if len(rows) < n:
        diagnostics.warn(
            f"sensitive_features is missing in {n - len(rows)} of {n} rows; they are left out."
        )
    strata, names = codes[rows], [str(a) for a in classes]
    if within_y:
        y_classes, y_codes = np.unique(np.asarray(y)[rows], return_inverse=True)
        strata = cell_index(strata, y_codes)
        names = [f"y={label}, {a}" for label in y_classes for a in classes]
    diagnostics.warn(diagnostics.small_cells(strata, names))
    present, strata = np.unique(strata, return_inverse=True)
    return Groups(rows, strata, [names[k] for k in present], classes)


def check_known(sensitive_features: Any, known: np.ndarray, n: int) -> np.ndarray:
    """The attribute at prediction as class indices into ``known``, the classes of ``fit``.

    Raises
    ------
    ValueError
        If it is absent, missing in a row, or of a class that fit has not met.
    """
    if sensitive_features is None:
        raise ValueError(
            "sensitive_features is missing: this method needs the attribute at prediction too; "
            "pass it beside Z, also through a Pipeline with metadata routing. scikit-learn's "
            "scorers do not pass it on."
        )
    if (length := _num_samples(sensitive_features)) != n:
        raise ValueError(f"sensitive_features has {length} rows, Z has {n}; they must be as many.")
    codes, classes = encode_labels(sensitive_features, "sensitive_features")
    if n_missing := int((codes < 0).sum()):
        raise ValueError(
            f"sensitive_features is missing in {n_missing} of {n} rows; this method cannot predict "
            "without it; leave them out."
        )
    index = {label: k for k, label in enumerate(known.tolist())}
    if unknown := [label for label in classes.tolist() if label not in index]:
        raise ValueError(
            f"sensitive_features holds {unknown}, which fit has not met; it knows {list(index)}. "
            "Leave the others out."
        )
    return np.array([index[label] for label in classes.tolist()])[codes]
