"""The table of an audit: one row a figure, with intervals, the baseline, and the test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skdne.audit._figures import Figures, Key, Measured
from skdne.audit._intervals import percentile_interval
from skdne.audit._unfairness import Test
from skdne.audit.fidelity import edit_sizes

COLUMNS = [
    *("section", "figure", "group", "threshold", "n", "value", "low", "high"),
    *("baseline", "baseline_low", "baseline_high"),
    *("difference", "difference_low", "difference_high"),
    *("null", "p_value", "flagged"),
]
_ORDER = ["performance", "fairness", "difference", "group", "calibration", "leakage", "finding"]


def table(after: Figures, before: Figures, tests: dict[Key, Test]) -> pd.DataFrame:
    """Put figures beside those of the baseline, with paired differences.

    Parameters
    ----------
    after, before : dict of Key to Measured
        ``before`` may lack any; resamples of both are the same patients.
    tests : dict of Key to Test
    """
    rows: list[dict[str, Any]] = []
    for key, found in after.items():
        row = key._asdict() | _side(found, "value", "low", "high") | {"n": found.n}
        row |= {"null": found.null, "p_value": np.nan, "flagged": None}
        if key in before:
            base = before[key]
            paired = found.draws - base.draws
            change = Measured(paired, percentile_interval(paired), found.n)
            row |= _side(base, "baseline", "baseline_low", "baseline_high")
            row |= _side(change, "difference", "difference_low", "difference_high")
        if key in tests:
            row |= tests[key]._asdict()
        rows.append(row)
    frame = pd.DataFrame(rows, columns=COLUMNS)
    order = {name: i for i, name in enumerate(_ORDER)}
    place = frame["section"].map(lambda name: order.get(name, len(order)))
    frame = frame.iloc[np.argsort(place.to_numpy(), kind="stable")].reset_index(drop=True)
    frame["flagged"] = frame["flagged"].astype("boolean")  # NA where nothing was tested
    return frame


def _side(found: Measured, value: str, low: str, high: str) -> dict[str, float]:
    return {value: float(found.draws[0]), low: found.interval[0], high: found.interval[1]}


def fidelity_figures(
    originals: NDArray[Any],
    edited: NDArray[Any],
    patients: NDArray[np.int64],
    boot: NDArray[np.float64],
) -> Figures:
    """Mean size of the edit over images; PSNR of their mean squared error.

    Parameters
    ----------
    originals, edited : ndarray of shape (n, H, W) or (n, H, W, C)
    patients : ndarray of shape (n,)
    boot : ndarray of shape (1 + R, n_patients)
    """
    sizes = edit_sizes(originals, edited)
    weights = boot[:, patients]
    figures: Figures = {}
    for name, values in sizes.items():
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = weights @ values / weights.sum(axis=1)
            mean, name = (-10 * np.log10(mean), "PSNR (dB)") if name == "MSE" else (mean, name)
        if np.isinf(mean).any():  # no edit at all: its interval is a point
            measured = Measured(mean, (float(mean[0]), float(mean[0])), len(values))
        else:
            measured = Measured(mean, percentile_interval(mean), len(values))
        figures[Key("fidelity", name)] = measured
    return figures
