"""Figures of scores, without a threshold: AUC, Brier score, calibration; many resamples at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skdne.auc import weighted_auc
from skdne.audit._numbers import as_numbers

Floats = NDArray[np.float64]
N_BINS = 10
N_SIMULATIONS = 200


def class_auc(scores: Floats, y: NDArray[np.int64], weights: Floats) -> Floats:
    """AUC of the positive class; of more than two classes the mean of each against the rest.

    Parameters
    ----------
    scores : ndarray of shape (n, C)
    y : ndarray of shape (n,)
    weights : ndarray of shape (R, n)

    Returns
    -------
    ndarray of shape (R,)
    """
    if scores.shape[1] == 2:
        return weighted_auc(scores[:, 1], y == 1, weights)
    each = [weighted_auc(scores[:, k], y == k, weights) for k in range(scores.shape[1])]
    return np.mean(each, axis=0)


def weighted_mean(values: Floats, weights: Floats) -> Floats:
    """Mean of ``values`` (n,) for each row of ``weights`` (R, n)."""
    with np.errstate(invalid="ignore"):
        return weights @ values / weights.sum(axis=1)


def brier(scores: Floats, y: NDArray[np.int64]) -> Floats:
    """Brier score of each row: (p - y)^2, or the sum of it over three classes or more."""
    if scores.shape[1] == 2:
        return (scores[:, 1] - y) ** 2
    return np.square(scores - np.eye(scores.shape[1])[y]).sum(axis=1)


def confidence(scores: Floats, y: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Forecast and outcome of each row: of the positive class, or of the likeliest of several."""
    if scores.shape[1] == 2:
        return scores[:, 1], (y == 1).astype(float)
    return scores.max(axis=1), (scores.argmax(axis=1) == y).astype(float)


def calibration_bins(forecast: Floats) -> NDArray[np.int64]:
    """Bin of each row: about ten bins, of equal numbers of all rows, the same for all groups."""
    edges = np.quantile(forecast, np.linspace(0, 1, N_BINS + 1)[1:-1])
    return np.searchsorted(np.unique(edges), forecast, side="right")


def calibration_error(
    forecast: Floats, outcome: Floats, bins: NDArray[np.int64], weights: Floats
) -> Floats:
    """Expected calibration error (ECE) for each row of ``weights`` (R, n).

    Mean over bins, by weight, of \\|mean forecast - mean outcome\\|. Naeini et al. 2015.
    """
    member = np.eye(bins.max() + 1)[bins]
    with np.errstate(invalid="ignore"):
        return np.abs((weights * (forecast - outcome)) @ member).sum(axis=1) / weights.sum(axis=1)


def null_calibration_error(forecast: Floats, bins: NDArray[np.int64], seed: int) -> float:
    """Mean ECE of a perfectly calibrated classifier with these forecasts: it is not 0."""
    rng = np.random.default_rng(seed)
    member = np.eye(bins.max() + 1)[bins]
    drawn = rng.random((N_SIMULATIONS, len(forecast))) < forecast
    return float(np.abs((forecast - drawn) @ member).sum(axis=1).mean() / len(forecast))


def choose_threshold(y_true: NDArray, y_score: NDArray, *, positive_label=None) -> float:
    """Threshold with the largest balanced accuracy; choose it on validation data, never on test.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Two classes.
    y_score : array-like of shape (n,) or (n, 2)
        Higher where the positive class is likely.
    positive_label : label, default=None
        None is the larger label.

    Returns
    -------
    float
        Midway between two neighbouring scores; predict positive from there on.

    Raises
    ------
    ValueError
        If there are not two classes, or lengths differ.

    Examples
    --------
    >>> from skdne.audit import choose_threshold
    >>> choose_threshold([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.9])
    0.25
    """
    y, score = np.asarray(y_true), as_numbers(y_score, "y_score")
    score = score[:, 1] if score.ndim == 2 and score.shape[1] == 2 else score
    labels = np.unique(y)
    if score.shape != y.shape or len(labels) != 2:
        raise ValueError(
            "a threshold needs one score for each label and two classes; got labels of shape "
            f"{y.shape} with {len(labels)} classes and scores of shape {score.shape}."
        )
    if positive_label is not None and positive_label not in labels:
        raise ValueError(f"positive_label={positive_label!r} must be one of {labels.tolist()}.")
    positive = y == (labels[1] if positive_label is None else positive_label)
    values, place = np.unique(score, return_inverse=True)
    cuts = np.r_[values[0], (values[1:] + values[:-1]) / 2]
    of_positive = np.bincount(place[positive], minlength=len(values))
    of_negative = np.bincount(place[~positive], minlength=len(values))
    sensitivity = np.cumsum(of_positive[::-1])[::-1] / positive.sum()
    specificity = np.r_[0, np.cumsum(of_negative)[:-1]] / (~positive).sum()
    return float(cuts[np.argmax(sensitivity + specificity)])
