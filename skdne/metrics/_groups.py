"""Check labels and sensitive features, and measure one rate in every group."""

import warnings
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from fairlearn.metrics import MetricFrame, selection_rate
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import _check_sample_weight

from skdne.attribute import MISSING_TEXTS

HOW_TO_ROUTE = (
    "In cross-validation, turn metadata routing on: "
    "`with sklearn.config_context(enable_metadata_routing=True): "
    "search.fit(X, y, sensitive_features=A)`, or cross_validate(..., "
    "params={'sensitive_features': A})."
)


class Checked(NamedTuple):
    """Checked input of a metric: n rows, and for each the number of its group."""

    y_true: np.ndarray
    y_pred: np.ndarray
    labels: np.ndarray
    codes: np.ndarray
    groups: pd.Index
    weight: np.ndarray


def check_input(
    y_true: Any,
    y_pred: Any,
    sensitive_features: Any,
    sample_weight: Any,
    positive_label: Any = None,
) -> Checked:
    """Return the checked input; `positive_label=None` means that the metric needs none."""
    y_true = column_or_1d(y_true, input_name="y_true")
    y_pred = column_or_1d(y_pred, input_name="y_pred")
    if len(y_true) == 0:
        raise ValueError("y_true is empty; a metric needs at least one row.")
    if len(y_true) != len(y_pred):
        raise ValueError(
            f"y_true has {len(y_true)} rows and y_pred has {len(y_pred)}; pass one label per row."
        )
    for name, y in (("y_true", y_true), ("y_pred", y_pred)):
        if pd.isna(y).any():
            raise ValueError(f"{name} has missing values; leave those rows out.")
    try:
        labels = unique_labels(y_true, y_pred)
    except ValueError as error:
        raise ValueError(
            "y_true and y_pred must both be class labels of one kind, not probabilities and not "
            f"numbers in an object array (use astype(int)). {str(error).rstrip('.')}."
        ) from error
    # As in scikit-learn: with one label only (a fold without positives) nobody can tell a
    # misspelt label from an empty cell, and the metric says nan instead.
    if positive_label is not None and len(labels) > 1 and positive_label not in labels:
        raise ValueError(
            f"positive_label={positive_label!r} is not a label of y_true or y_pred; "
            f"choose one of {labels.tolist()}."
        )
    codes, groups = _intersect(sensitive_features, len(y_true))
    weight = _check_sample_weight(sample_weight, y_true, ensure_non_negative=True)
    return Checked(y_true, y_pred, labels, codes, groups, weight)


def _intersect(sensitive_features: Any, n_samples: int) -> tuple[np.ndarray, pd.Index]:
    """Number the groups (combinations of all columns that occur) and name them."""
    if sensitive_features is None:
        raise ValueError(f"sensitive_features is missing; pass one value per row. {HOW_TO_ROUTE}")
    if isinstance(sensitive_features, pd.DataFrame):
        A = sensitive_features
    elif isinstance(sensitive_features, pd.Series):
        A = sensitive_features.to_frame()
    else:
        # dtype=object, or NumPy would turn None and nan beside strings into strings.
        values = np.asarray(sensitive_features, dtype=object)
        if values.ndim not in (1, 2):
            raise ValueError(
                f"sensitive_features has {values.ndim} dimensions; pass one column, a DataFrame "
                "or an array of shape (n_samples, n_columns)."
            )
        A = pd.DataFrame(values)
    if len(A) != n_samples:
        raise ValueError(
            f"sensitive_features has {len(A)} rows and y_true has {n_samples}; pass one value per "
            "row (several attributes: a DataFrame or an array of shape (n_samples, n_columns))."
        )
    if A.shape[1] == 0:
        raise ValueError("sensitive_features has no columns; pass at least one attribute.")
    missing = (A.isna() | A.isin(MISSING_TEXTS)).any(axis=1)
    if missing.any():
        raise ValueError(
            f"sensitive_features has missing values in {int(missing.sum())} of "
            f"{n_samples} rows; leave those rows out or give them a value of their own."
        )
    names = [
        name if isinstance(name, str) else f"sensitive_feature_{i}"
        for i, name in enumerate(A.columns)
    ]
    A = A.set_axis(range(A.shape[1]), axis=1)
    # Groups are numbered here because fairlearn also lists combinations that never occur, and
    # then skips them without a word when it takes a minimum.
    grouped = A.groupby(list(A.columns), observed=True)
    return grouped.ngroup().to_numpy(), grouped.size().index.set_names(names)


def rate_by_group(
    hit: np.ndarray, codes: np.ndarray, n_groups: int, weight: np.ndarray
) -> np.ndarray:
    """Weighted share of `hit` in each group, shape (n_groups,); nan where a group is empty."""
    rates = np.full(n_groups, np.nan)
    filled = np.bincount(codes, weights=weight, minlength=n_groups) > 0
    rows = filled[codes]
    if rows.any():
        hit = hit[rows].astype(int)
        frame = MetricFrame(
            metrics={"rate": selection_rate},
            y_true=hit,  # fairlearn wants it; a selection rate does not use it
            y_pred=hit,
            sensitive_features=codes[rows].tolist(),  # an array of one row is squeezed away
            sample_params={"rate": {"sample_weight": weight[rows]}},
        )
        rates[filled] = frame.by_group["rate"].to_numpy(dtype=float)
    return rates


def recall_by_group(data: Checked, label: Any) -> np.ndarray:
    """P(Yhat = label | Y = label, A = a) for each group a; nan where it has no such row."""
    rows = data.y_true == label
    return rate_by_group(
        data.y_pred[rows] == label, data.codes[rows], len(data.groups), data.weight[rows]
    )


def warn_undefined(metric: str, why: str) -> float:
    """Warn that `metric` is undefined and return nan."""
    warnings.warn(
        f"{metric} is undefined and set to nan: {why}", UndefinedMetricWarning, stacklevel=3
    )
    return float("nan")


def why_undefined(data: Checked, rates: np.ndarray, needed: str) -> str | None:
    """Say why no gap can be computed from `rates`, one per group, or return None."""
    groups = data.groups.tolist()
    if len(groups) == 1:
        return f"sensitive_features has only one group, {groups[0]!r}; it needs two."
    empty = [group for group, rate in zip(groups, rates, strict=True) if np.isnan(rate)]
    if empty:
        return (
            f"no {needed} in group(s) {empty}. Stratify the split on (y, sensitive_features), "
            "use fewer folds, or merge small groups."
        )
    return None


def why_zero(rates: np.ndarray) -> str | None:
    """Say why the ratio of `rates` is 0 / 0, or return None."""
    if rates.max() == 0:
        return "the rate is 0 in every group, and 0 / 0 has no value; predict more positives."
    return None
