"""Rates of each group, side by side."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from skdne.metrics._groups import check_input, rate_by_group, recall_by_group


def group_rates(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sensitive_features: Any = None,
    positive_label: Any = 1,
    sample_weight: ArrayLike | None = None,
) -> pd.DataFrame:
    """Rates of each group, side by side.

    A gap also closes when the better group gets worse (levelling down). Compare this table
    before and after mitigation: only the rates themselves show it.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted class labels, of any number of classes.
    sensitive_features : array-like of shape (n_samples,) or (n_samples, n_columns)
        Required. One value per row; a Series or a DataFrame also works. Several columns are
        intersected: each combination that occurs is a group.
    positive_label : label, default=1
        The class whose rates are shown; every other class counts as negative.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights. ``count`` stays the plain number of rows.

    Returns
    -------
    pandas.DataFrame of shape (n_groups, 5)
        ``count``, ``selection_rate`` P(Yhat = p | A), ``true_positive_rate``
        P(Yhat = p | Y = p, A), ``true_negative_rate`` P(Yhat != p | Y != p, A) and ``accuracy``
        P(Yhat = Y | A), where p is `positive_label`. Rates are in [0, 1]; nan marks an empty cell.

    Raises
    ------
    ValueError
        If lengths differ, values are missing or `positive_label` is not a label.

    Examples
    --------
    >>> from skdne.metrics import group_rates
    >>> group_rates([1, 1, 0, 0, 1, 0], [1, 0, 0, 0, 1, 1],
    ...             sensitive_features=["F", "F", "F", "M", "M", "M"]).round(2)
                         count  selection_rate  ...  true_negative_rate  accuracy
    sensitive_feature_0                         ...
    F                        3            0.33  ...                 1.0      0.67
    M                        3            0.67  ...                 0.5      0.67
    <BLANKLINE>
    [2 rows x 5 columns]
    """
    data = check_input(y_true, y_pred, sensitive_features, sample_weight, positive_label)
    n_groups = len(data.groups)
    selected = data.y_pred == positive_label
    negative = data.y_true != positive_label
    return pd.DataFrame(
        {
            "count": np.bincount(data.codes, minlength=n_groups),
            "selection_rate": rate_by_group(selected, data.codes, n_groups, data.weight),
            "true_positive_rate": recall_by_group(data, positive_label),
            "true_negative_rate": rate_by_group(
                ~selected[negative], data.codes[negative], n_groups, data.weight[negative]
            ),
            "accuracy": rate_by_group(
                data.y_true == data.y_pred, data.codes, n_groups, data.weight
            ),
        },
        index=data.groups,
    )
