"""What an audit is given: labels, predictions and groups, checked against each other."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils import column_or_1d
from sklearn.utils.validation import _num_samples

from skdne import diagnostics
from skdne.attribute import MAX_CLASSES, cell_index, encode_labels
from skdne.audit._numbers import as_numbers

Codes = NDArray[np.int64]
AS_PREDICTED = "as predicted"  # in place of a threshold: labels that were given, or of predict


def at_threshold(name: str) -> str:
    """Say at which threshold; labels as predicted, and figures without one, need no word."""
    return "" if name in ("", AS_PREDICTED) else f" at threshold {name}"


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What one classifier says: scores (n, C) or None, and class indices for each threshold."""

    scores: NDArray[np.float64] | None
    labels: dict[str, Codes]  # by the name of the threshold
    probabilities: bool = False


@dataclasses.dataclass(frozen=True)
class AuditData:
    """Rows with an attribute; the positive class of two is class 1.

    ``rows`` are those of the input. ``patients`` are numbered from 0 without gaps.
    """

    rows: NDArray[np.intp]
    y: Codes
    classes: list[Any]
    a: Codes
    groups: list[str]
    patients: Codes
    has_patients: bool
    predictions: Predictions
    baseline: Predictions | None
    warnings: list[str]

    @property
    def n_patients(self) -> int:
        """Patients; images, where patients are not known."""
        return int(self.patients.max()) + 1

    @property
    def shape(self) -> tuple[int, int]:
        """Number of groups and of classes."""
        return len(self.groups), len(self.classes)

    def class_name(self, c: int) -> str:
        """Name of the gap in recall of class c: EO_p and EO_n for two classes."""
        if len(self.classes) == 2:
            return ("EO_n", "EO_p")[c]
        return f"EO (y={self.classes[c]})"


def check_audit_data(
    y_true: Any,
    sensitive_features: Any,
    groups: Any,
    positive_label: Any,
    predicted: dict[str, Any],
    baseline: dict[str, Any] | None,
) -> AuditData:
    """Check everything that has one row an image.

    Parameters
    ----------
    predicted, baseline : dict
        ``y_score``, ``y_pred`` and ``threshold``, any of them None.

    Raises
    ------
    ValueError
        Naming the argument.
    """
    if y_true is None:
        raise ValueError("y is missing; an audit needs the true class of every image.")
    y_true = column_or_1d(y_true, input_name="y")
    n = len(y_true)
    if pd.isna(y_true).any():
        raise ValueError("y has missing values; leave those images out.")
    classes = np.unique(y_true)
    if not 2 <= len(classes) <= MAX_CLASSES:
        raise ValueError(
            f"y has {len(classes)} distinct value(s); an audit needs between 2 and {MAX_CLASSES} "
            "classes."
        )
    if positive_label is not None:
        if len(classes) > 2 or positive_label not in classes:
            raise ValueError(
                f"positive_label={positive_label!r} must be one of two classes of y, which are "
                f"{classes.tolist()}."
            )
        classes = np.r_[classes[classes != positive_label], classes[classes == positive_label]]
    for name, value in {"sensitive_features": sensitive_features, "groups": groups}.items():
        if value is None and name == "groups":
            continue
        if value is None:
            raise ValueError("sensitive_features is missing; pass one value for each image.")
        if (length := _num_samples(value)) != n:
            raise ValueError(f"{name} has {length} rows, y has {n}; they must be as many.")
    a, group_names = encode_labels(sensitive_features, "sensitive_features")
    if not 2 <= len(group_names) <= MAX_CLASSES:
        raise ValueError(
            f"sensitive_features has {len(group_names)} distinct value(s); an audit compares "
            f"between 2 and {MAX_CLASSES} groups. Bin numbers, for example with pandas.cut."
        )
    rows = np.flatnonzero(a >= 0)
    warnings = []
    if len(rows) < n:
        warnings.append(
            f"sensitive_features is missing in {n - len(rows)} of {n} rows; they are left out."
        )
    patients = np.arange(n)
    if groups is not None:
        patients, _ = encode_labels(groups, "groups")
        if (patients < 0).any():
            raise ValueError(
                f"groups is missing in {int((patients < 0).sum())} of {n} rows; give each image a "
                "patient."
            )
    patients = np.unique(patients[rows], return_inverse=True)[1]
    y = _codes(y_true, classes, "y")[rows]
    found = predictions(y_true, classes, rows, predicted, "")
    before = None if baseline is None else predictions(y_true, classes, rows, baseline, "baseline_")
    if before is not None and set(before.labels) != set(found.labels):
        raise ValueError(
            "the baseline must be given as the predictions are: as scores or as labels, and with a "
            f"threshold or without; got {sorted(before.labels)} beside {sorted(found.labels)}."
        )
    cells = cell_index(a[rows], y)
    names = [f"y={c}, {g}" for c in classes for g in group_names]
    small = diagnostics.small_cells(cells, names)
    if small:
        warnings.append(small.replace("figures of this fit", "figures of this audit"))
    if groups is None:
        warnings.append(
            "groups was not given: every image counts as a patient of its own. If patients have "
            "several images, the intervals are too narrow."
        )
    elif len(np.unique(np.column_stack([patients, a[rows]]), axis=0)) > patients.max() + 1:
        warnings.append(
            "sensitive_features differs between images of one patient; the permutations treat each "
            "of its values as a unit."
        )
    return AuditData(
        rows=rows,
        y=y,
        classes=classes.tolist(),
        a=a[rows],
        groups=[str(name) for name in group_names],
        patients=patients,
        has_patients=groups is not None,
        predictions=found,
        baseline=before,
        warnings=warnings,
    )


def predictions(
    y_true: NDArray[Any],
    classes: NDArray[Any],
    rows: NDArray[np.intp],
    given: dict[str, Any],
    prefix: str,
) -> Predictions:
    """Check scores and labels; labels at .5 come from the scores where none are given."""
    score, label, threshold = (given[name] for name in ("y_score", "y_pred", "threshold"))
    score_name, label_name = f"{prefix}y_score", f"{prefix}y_pred"
    if score is None and label is None:
        raise ValueError(f"{score_name} and {label_name} are both missing; pass one, or both.")
    n, binary = len(y_true), len(classes) == 2
    labels: dict[str, Codes] = {}
    scores = None
    probabilities = False
    if score is not None:
        scores = as_numbers(score, score_name)
        if scores.shape != (n, len(classes)) and not (binary and scores.shape == (n,)):
            raise ValueError(
                f"{score_name} must have shape ({n}, {len(classes)}){f' or ({n},)' * binary}, a "
                f"column for each of {np.sort(classes).tolist()}; its shape is {scores.shape}."
            )
        if not np.isfinite(scores).all():
            raise ValueError(f"{score_name} has nan or infinite values; leave those images out.")
        probabilities = bool(scores.min() >= 0 and scores.max() <= 1)
        if scores.ndim == 1:
            low = 1 - scores if probabilities else -scores
            scores = np.column_stack([low, scores])
        else:  # columns come in the order of sorted labels, as in scikit-learn
            scores = scores[:, np.searchsorted(np.sort(classes), classes)]
        probabilities &= bool(np.allclose(scores.sum(axis=1), 1, atol=1e-3))
        scores = scores[rows]
    if label is not None:
        y_pred = column_or_1d(label, input_name=label_name)
        if len(y_pred) != n:
            raise ValueError(
                f"{label_name} has {len(y_pred)} rows, y has {n}; they must be as many."
            )
        labels[AS_PREDICTED] = _codes(y_pred, classes, label_name)[rows]
    elif scores is not None and not binary:
        labels["largest score"] = scores.argmax(axis=1)
    elif scores is not None:
        if not probabilities:
            raise ValueError(
                f"{score_name} is not in [0, 1]: .5 is no threshold for it. Pass probabilities, or "
                f"{label_name} as well."
            )
        labels["0.5"] = (scores[:, 1] >= 0.5).astype(np.int64)
    if threshold is not None:
        if scores is None or not binary:
            raise ValueError(f"{prefix}threshold needs {score_name} and two classes.")
        labels["validation"] = (scores[:, 1] >= threshold).astype(np.int64)
    return Predictions(scores, labels, probabilities)


def _codes(labels: NDArray[Any], classes: NDArray[Any], name: str) -> Codes:
    order = np.argsort(classes)
    place = np.searchsorted(classes[order], labels).clip(max=len(classes) - 1)
    codes = order[place]
    unknown = classes[codes] != labels
    if unknown.any():
        raise ValueError(
            f"{name} holds {np.unique(labels[unknown]).tolist()[:3]}, which are no classes of y; "
            f"it has {classes.tolist()}."
        )
    return codes.astype(np.int64)
