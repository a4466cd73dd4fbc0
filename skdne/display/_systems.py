"""Figures of several systems on the same images, by the means of the audit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from skdne.audit._figures import Figures, classifier_figures
from skdne.audit._input import check_audit_data
from skdne.audit._pipeline import look
from skdne.audit._resampling import bootstrap_patients

SECTIONS = ("performance", "fairness")  # of the first more is better, the second are gaps


def measure_systems(
    y_true: Any,
    predicted: Mapping[str, dict[str, Any]],
    *,
    sensitive_features: Any,
    groups: Any,
    positive_label: Any,
    n_bootstrap: int,
    random_state: Any,
) -> dict[str, Figures]:
    """Measure each system, with the same bootstrap samples of patients for all.

    Parameters
    ----------
    y_true, sensitive_features, groups, positive_label
        As an audit takes them.
    predicted : dict of str to dict
        For each system ``y_score``, ``y_pred`` and ``threshold``, any of them None.
    n_bootstrap : int
    random_state : int, RandomState instance or None
    """
    if n_bootstrap < 20:
        raise ValueError(f"n_bootstrap must be 20 or more, got {n_bootstrap!r}.")
    seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    figures = {}
    for name, given in predicted.items():
        try:
            data = check_audit_data(y_true, sensitive_features, groups, positive_label, given, None)
        except ValueError as error:
            raise ValueError(f"system {name!r}: {error}") from error
        boot = bootstrap_patients(data.n_patients, n_bootstrap, seed)
        figures[name] = classifier_figures(data, data.predictions, boot, seed)
    return figures


def figure_points(
    systems: Mapping[str, Figures], utility: str, fairness: str
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Two figures of each system as the points of a FrontierDisplay, and its other arguments."""
    columns: dict[str, list[float]] = {}
    greater = []
    for argument, figure in {"utility": utility, "fairness": fairness}.items():
        sections = set()
        for name, figures in systems.items():
            found = {
                key.figure: (key.section, measured)
                for key, measured in figures.items()
                if key.section in SECTIONS and key.group == "all"
            }
            if figure not in found:
                raise ValueError(
                    f"{argument}={figure!r} is no figure of the system {name!r}; it has "
                    f"{list(found)}."
                )
            section, measured = found[figure]
            sections.add(section)
            for end, value in zip(
                ("", "_low", "_high"), (measured.draws[0], *measured.interval), strict=True
            ):
                columns.setdefault(argument + end, []).append(float(value))
        greater.append(sections == {"performance"})
    settings = {
        "utility_name": utility,
        "fairness_name": fairness,
        "greater_is_better": tuple(greater),
    }
    return pd.DataFrame(columns, index=list(systems)), settings


def looked_at(estimators: Mapping[str, Any], X: Any, y: Any) -> dict[str, dict[str, Any]]:
    """Predictions of fitted classifiers."""
    classes = np.unique(np.asarray(y))
    return {name: look(model, X, classes).predicted for name, model in estimators.items()}
