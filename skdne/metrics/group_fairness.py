"""Equal opportunity, disparate impact and worst-group accuracy.

Each is 0 at parity (worst-group accuracy: 1 at best) and lies in [0, 1]. Where a group lacks the
rows that a rate needs, the value is nan and scikit-learn's ``UndefinedMetricWarning`` says which
group; fairlearn counts such a rate as 0, which shows a gap that is not there.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skdne.metrics._groups import (
    check_input,
    rate_by_group,
    recall_by_group,
    warn_undefined,
    why_undefined,
    why_zero,
)


def equal_opportunity_difference(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sensitive_features: Any = None,
    positive_label: Any = 1,
    sample_weight: ArrayLike | None = None,
) -> float:
    r"""Equal opportunity gap for one class: EO_p, or EO_n with ``positive_label=0``.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted class labels, of any number of classes.
    sensitive_features : array-like of shape (n_samples,) or (n_samples, n_columns)
        Required. One value per row; several columns are intersected.
    positive_label : label, default=1
        The class c of the formula. 1 gives the papers' EO_p, 0 their EO_n.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights.

    Returns
    -------
    float
        The gap, in [0, 1]; 0 is parity. nan, with an ``UndefinedMetricWarning``, if there is one
        group only or a group has no row of the class.

    Raises
    ------
    ValueError
        If lengths differ, values are missing or `positive_label` is not a label.

    Notes
    -----
    The paper compares two groups; over more, this is the largest difference of any two:

    .. math:: EO_{Y=c} = \max_a P(\hat Y = c \mid Y = c, A = a)
                         - \min_a P(\hat Y = c \mid Y = c, A = a)

    References
    ----------
    Jin et al., "Debiased Noise Editing on Foundation Models for Fair Medical Image
    Classification", MICCAI 2024, section 3.1.

    Examples
    --------
    >>> from skdne.metrics import equal_opportunity_difference
    >>> y_true, y_pred = [1, 1, 0, 1, 1, 0], [1, 0, 0, 1, 1, 1]
    >>> sex = ["F", "F", "F", "M", "M", "M"]
    >>> equal_opportunity_difference(y_true, y_pred, sensitive_features=sex)
    0.5
    >>> equal_opportunity_difference(y_true, y_pred, sensitive_features=sex, positive_label=0)
    1.0
    """
    data = check_input(y_true, y_pred, sensitive_features, sample_weight, positive_label)
    rates = recall_by_group(data, positive_label)
    why = why_undefined(data, rates, f"rows with y_true == {positive_label!r}")
    if why:
        return warn_undefined("equal_opportunity_difference", why)
    return float(rates.max() - rates.min())


def disparate_impact(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sensitive_features: Any = None,
    positive_label: Any = 1,
    sample_weight: ArrayLike | None = None,
) -> float:
    r"""Disparate impact as the papers' text defines it, ``|1 - DI|``, over all rows.

    Their tables hold another quantity: see :func:`true_positive_rate_ratio_gap`.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Not used in the formula; here so that the metric fits scikit-learn's scorers.
    y_pred : array-like of shape (n_samples,)
        Predicted class labels.
    sensitive_features : array-like of shape (n_samples,) or (n_samples, n_columns)
        Required. One value per row; several columns are intersected.
    positive_label : label, default=1
        The prediction that counts as positive.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights.

    Returns
    -------
    float
        ``1 - DI``, in [0, 1]; 0 is parity. nan, with an ``UndefinedMetricWarning``, if there is
        one group only or nobody is predicted positive (0 / 0).

    Raises
    ------
    ValueError
        If lengths differ, values are missing or `positive_label` is not a label.

    Notes
    -----
    The text divides the first group's rate by the second's; without an order of groups, the
    smallest is divided by the largest here:

    .. math:: DI = \frac{\min_a P(\hat Y = 1 \mid A = a)}{\max_a P(\hat Y = 1 \mid A = a)}

    If the share of positives differs between the groups, a perfect classifier is not at 0.

    References
    ----------
    Jin et al., "Debiased Noise Editing on Foundation Models for Fair Medical Image
    Classification", MICCAI 2024, section 3.1.

    Examples
    --------
    >>> from skdne.metrics import disparate_impact
    >>> disparate_impact([1, 0, 1, 0], [1, 0, 1, 1], sensitive_features=["F", "F", "M", "M"])
    0.5
    """
    data = check_input(y_true, y_pred, sensitive_features, sample_weight, positive_label)
    selected = data.y_pred == positive_label
    rates = rate_by_group(selected, data.codes, len(data.groups), data.weight)
    why = why_undefined(data, rates, "rows with a positive weight") or why_zero(rates)
    if why:
        return warn_undefined("disparate_impact", why)
    return float(1 - rates.min() / rates.max())


def true_positive_rate_ratio_gap(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sensitive_features: Any = None,
    positive_label: Any = 1,
    sample_weight: ArrayLike | None = None,
) -> float:
    r"""One minus the ratio of true positive rates: the papers' "\|1 - DI\|" as coded.

    The papers' released code, and every row of their table, has this figure under the name of
    disparate impact. Use it to compare with that table only; :func:`disparate_impact` is the
    defined one.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted class labels.
    sensitive_features : array-like of shape (n_samples,) or (n_samples, n_columns)
        Required. One value per row; several columns are intersected.
    positive_label : label, default=1
        The positive class.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights.

    Returns
    -------
    float
        In [0, 1]; 0 is parity. nan, with an ``UndefinedMetricWarning``, if there is one group
        only, a group has no positives, or no positive is found in any group (0 / 0).

    Raises
    ------
    ValueError
        If lengths differ, values are missing or `positive_label` is not a label.

    Notes
    -----
    .. math:: 1 - \min_a TPR_a / \max_a TPR_a, \quad TPR_a = P(\hat Y = 1 \mid Y = 1, A = a)

    The code computes 1 - TPR_M / TPR_F, which is the same where men have the lower rate.

    Examples
    --------
    >>> from skdne.metrics import true_positive_rate_ratio_gap
    >>> true_positive_rate_ratio_gap([1, 1, 0, 1, 1], [1, 0, 1, 1, 1],
    ...                              sensitive_features=["M", "M", "M", "F", "F"])
    0.5
    """
    data = check_input(y_true, y_pred, sensitive_features, sample_weight, positive_label)
    rates = recall_by_group(data, positive_label)
    why = why_undefined(data, rates, f"rows with y_true == {positive_label!r}") or why_zero(rates)
    if why:
        return warn_undefined("true_positive_rate_ratio_gap", why)
    return float(1 - rates.min() / rates.max())


def worst_group_accuracy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sensitive_features: Any = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    r"""Accuracy in the worst cell of class and group.

    It cannot rise by making the better groups worse, so report it beside a gap.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted class labels, of any number of classes.
    sensitive_features : array-like of shape (n_samples,) or (n_samples, n_columns)
        Required. One value per row; several columns are intersected.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights.

    Returns
    -------
    float
        In [0, 1]; 1 is best. nan, with an ``UndefinedMetricWarning``, if there is one group only
        or a cell is empty (classes are those of `y_true` and `y_pred`).

    Raises
    ------
    ValueError
        If lengths differ or values are missing.

    Notes
    -----
    .. math:: \min_{y, a} P(\hat Y = y \mid Y = y, A = a)

    References
    ----------
    Sagawa et al., "Distributionally Robust Neural Networks for Group Shifts", ICLR 2020, whose
    groups are the pairs of class and attribute.

    Examples
    --------
    >>> from skdne.metrics import worst_group_accuracy
    >>> worst_group_accuracy([1, 1, 0, 0, 1, 0], [1, 0, 0, 0, 1, 0],
    ...                      sensitive_features=["F", "F", "F", "M", "M", "M"])
    0.5
    """
    data = check_input(y_true, y_pred, sensitive_features, sample_weight)
    rates = np.array([recall_by_group(data, label) for label in data.labels])
    for label, of_label in zip(data.labels.tolist(), rates, strict=True):
        why = why_undefined(data, of_label, f"rows with y_true == {label!r}")
        if why:
            return warn_undefined("worst_group_accuracy", why)
    return float(rates.min())
