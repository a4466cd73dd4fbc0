"""Fairness in cross-validation: scorers, and a rule that picks from a grid search."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.metrics import make_scorer

from skdne.metrics._groups import HOW_TO_ROUTE
from skdne.metrics.group_fairness import (
    disparate_impact,
    equal_opportunity_difference,
    worst_group_accuracy,
)


def fairness_scorer(
    metric: Callable[..., float],
    *,
    greater_is_better: bool,
    response_method: str = "predict",
    **kwargs: Any,
) -> Any:
    """Make a scorer that asks scikit-learn for ``sensitive_features``.

    Parameters
    ----------
    metric : callable
        ``metric(y_true, y_pred, *, sensitive_features, ...) -> float``, from this package, from
        fairlearn or your own. It must be a named function if the scorer is to be printed.
    greater_is_better : bool
        False for a gap: the scorer then returns its negative, as scikit-learn maximises.
    response_method : {"predict", "predict_proba", "decision_function"}, default="predict"
        What `metric` gets as ``y_pred``.
    **kwargs : dict
        Fixed arguments of `metric`, such as ``positive_label=0``.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, sensitive_features=A) -> float``; can be pickled.

    Notes
    -----
    Metadata routing must be on where the scorer is used, not where it is made. This function
    leaves the global setting as it is.

    Examples
    --------
    >>> from fairlearn.metrics import demographic_parity_difference
    >>> from skdne.metrics import fairness_scorer
    >>> fairness_scorer(demographic_parity_difference, greater_is_better=False)
    make_scorer(demographic_parity_difference, greater_is_better=False, response_method='predict')
    """
    # set_score_request exists only while routing is on; the request itself stays.
    with config_context(enable_metadata_routing=True):
        return make_scorer(
            metric,
            greater_is_better=greater_is_better,
            response_method=response_method,
            **kwargs,
        ).set_score_request(sensitive_features=True)


def eo_scorer(positive_label: Any = 1) -> Any:
    """Scorer of the negative :func:`equal_opportunity_difference`, in [-1, 0].

    Parameters
    ----------
    positive_label : label, default=1
        1 gives EO_p and 0 gives EO_n.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, sensitive_features=A) -> float``.

    Notes
    -----
    A classifier that always predicts the same has no gap, so never let this score alone choose
    a model (see :func:`constrained_refit`) or a threshold: ``TunedThresholdClassifierCV`` with it
    calls everybody positive. Tune the threshold by :func:`worst_group_scorer` or by balanced
    accuracy, and measure the gap at the threshold that results.

    Examples
    --------
    >>> import numpy as np, sklearn
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_validate
    >>> from skdne.metrics import eo_scorer
    >>> rng = np.random.default_rng(0)
    >>> y, sex = rng.integers(0, 2, (2, 400))
    >>> X = np.c_[y + rng.normal(size=400), sex]
    >>> scoring = {"eo_p": eo_scorer(), "eo_n": eo_scorer(0), "auc": "roc_auc"}
    >>> with sklearn.config_context(enable_metadata_routing=True):
    ...     scores = cross_validate(LogisticRegression(), X, y, scoring=scoring,
    ...                             params={"sensitive_features": sex})
    >>> bool((scores["test_eo_p"] <= 0).all())
    True
    """
    return fairness_scorer(
        equal_opportunity_difference, greater_is_better=False, positive_label=positive_label
    )


def di_scorer(positive_label: Any = 1) -> Any:
    """Scorer of the negative :func:`disparate_impact`, in [-1, 0].

    Parameters
    ----------
    positive_label : label, default=1
        The prediction that counts as positive.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, sensitive_features=A) -> float``.

    Examples
    --------
    >>> from skdne.metrics import di_scorer
    >>> di_scorer()
    make_scorer(disparate_impact, greater_is_better=False, response_method='predict', \
positive_label=1)
    """
    return fairness_scorer(disparate_impact, greater_is_better=False, positive_label=positive_label)


def worst_group_scorer() -> Any:
    """Scorer of :func:`worst_group_accuracy`, in [0, 1].

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, sensitive_features=A) -> float``.

    Notes
    -----
    A constant classifier scores 0 here, so this score may choose a model or, as the scoring of
    ``TunedThresholdClassifierCV``, a threshold by itself.

    Examples
    --------
    >>> from skdne.metrics import worst_group_scorer
    >>> worst_group_scorer()
    make_scorer(worst_group_accuracy, response_method='predict')
    """
    return fairness_scorer(worst_group_accuracy, greater_is_better=True)


def constrained_refit(
    *, fairness: str, utility: str, tolerance: float = 0.02
) -> Callable[[dict[str, Any]], int]:
    """Rule for ``GridSearchCV(refit=...)``: the fairest candidate that is still useful.

    ``refit="eo_p"`` would choose the classifier that predicts nothing, as it has no gap. This
    rule keeps the candidates whose mean utility is at most `tolerance` below the best, and takes
    the one with the best mean fairness among them; ties go to the higher utility, then to the
    first in the grid.

    Parameters
    ----------
    fairness, utility : str
        Names of scorers in the `scoring` of the search; greater is better for both, which scorers
        see to. With a single unnamed scorer the name is ``"score"``.
    tolerance : float, default=0.02
        Utility that may be given up for fairness, in units of the utility score, at least 0.

    Returns
    -------
    refit : callable
        Takes ``cv_results_`` and returns the index of the chosen candidate; can be pickled.

    Raises
    ------
    ValueError
        If `tolerance` is negative; when called, if a scorer is missing, every utility is nan, or
        every candidate within the tolerance has a fairness of nan.

    Notes
    -----
    A candidate is nan when any of its folds is. It is never chosen, but a nan fairness does not
    stop its utility from counting as the best.

    Examples
    --------
    >>> from skdne.metrics import constrained_refit
    >>> refit = constrained_refit(fairness="eo_p", utility="auc", tolerance=0.02)
    >>> refit({"mean_test_eo_p": [-0.30, -0.10, 0.0], "mean_test_auc": [0.80, 0.79, 0.50]})
    1
    """
    for name, value in (("fairness", fairness), ("utility", utility)):
        if not isinstance(value, str):
            raise TypeError(
                f"{name} must be the name of a scorer in `scoring`, as a string; got {value!r}."
            )
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be 0 or more; got {tolerance!r}.")
    return partial(_fairest_within, fairness=fairness, utility=utility, tolerance=tolerance)


def _fairest_within(
    cv_results: dict[str, Any], *, fairness: str, utility: str, tolerance: float
) -> int:
    fair = _mean_test(cv_results, fairness, "fairness")
    useful = _mean_test(cv_results, utility, "utility")
    if np.isnan(useful).all():
        raise ValueError(
            f"utility={utility!r} is nan for every candidate; look at the warnings of the search."
        )
    # The slack lets a loss of exactly `tolerance` pass in spite of rounding.
    within = useful >= np.nanmax(useful) - tolerance - 1e-12
    candidates = np.flatnonzero(within & ~np.isnan(fair))
    if len(candidates) == 0:
        raise ValueError(
            f"fairness={fairness!r} is nan for every candidate within the tolerance of the best "
            f"utility. Either a fold lacks a cell (stratify the folds on (y, sensitive_features)), "
            f"or sensitive_features holds missing values, or the scorer got none. {HOW_TO_ROUTE}"
        )
    return int(max(candidates, key=lambda i: (fair[i], useful[i])))


def _mean_test(cv_results: dict[str, Any], scorer: str, argument: str) -> np.ndarray:
    prefix = "mean_test_"
    if prefix + scorer not in cv_results:
        known = sorted(key.removeprefix(prefix) for key in cv_results if key.startswith(prefix))
        raise ValueError(
            f"{argument}={scorer!r} is not a scorer of this search; it has {known}, name one."
        )
    return np.asarray(cv_results[prefix + scorer], dtype=float)
