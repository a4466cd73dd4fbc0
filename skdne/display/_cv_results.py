"""What a display takes from ``cv_results_`` of a fitted search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

PREFIX = "mean_test_"


def check_search(search: Any) -> None:
    """Refuse what is no fitted search."""
    if not hasattr(search, "cv_results_"):
        if hasattr(search, "scoring") and hasattr(search, "refit"):
            check_is_fitted(search, "cv_results_")
        raise ValueError(
            f"estimator must be a fitted search, such as GridSearchCV, got {type(search).__name__}."
        )


def scorer_names(search: Any) -> list[str]:
    """Names of the scorers of a search, in its order."""
    return [key.removeprefix(PREFIX) for key in search.cv_results_ if key.startswith(PREFIX)]


def fold_scores(search: Any, name: str, argument: str) -> tuple[NDArray[np.float64], bool]:
    """Scores (n_candidates, n_folds), and whether lower is better.

    scikit-learn negates scores of which less is better; here they have their own sign again.
    """
    names = scorer_names(search)
    if name not in names:
        raise ValueError(f"{argument}={name!r} is not a scorer of this search; it has {names}.")
    scorers = search.scorer_
    scorer = scorers.get(name) if isinstance(scorers, Mapping) else scorers
    sign = getattr(scorer, "_sign", 1)
    splits = [search.cv_results_[f"split{k}_test_{name}"] for k in range(search.n_splits_)]
    return sign * np.column_stack(splits).astype(float), sign < 0


def score_label(search: Any, name: str) -> str:
    """Name of a scorer for the reader; a search with one names it "score"."""
    if name == "score" and isinstance(search.scoring, str):
        name = search.scoring
    return name.removeprefix("neg_")


def short(value: Any) -> str:
    """Text of a parameter's value: the class of an estimator, a number without its tail."""
    if isinstance(value, BaseEstimator):
        return type(value).__name__
    if isinstance(value, (float, np.floating)):
        return f"{value:g}"
    return "none" if value is None else str(value)


def candidate_labels(params: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name candidates by the parameters in which they differ, without the steps' names.

    A parameter that only some have, all with one value, is left out where the others tell the
    candidates apart. Where nothing does, numbers do.
    """
    names = list(dict.fromkeys(name for candidate in params for name in candidate))
    seen = {name: {str(c[name]) for c in params if name in c} for name in names}
    several = [name for name in names if len(seen[name]) > 1]
    differing = [n for n in names if n in several or any(n not in c for c in params)]
    labels = [_label(c, several) or _label(c, differing) or "as it is" for c in params]
    if len(set(labels)) < len(labels):
        labels = [_label(c, differing) or "as it is" for c in params]
    return [
        label if labels.count(label) == 1 else f"{label} ({i})" for i, label in enumerate(labels)
    ]


def _label(candidate: Mapping[str, Any], names: Sequence[str]) -> str:
    parts = [f"{n.rpartition('__')[2]}={short(candidate[n])}" for n in names if n in candidate]
    return ", ".join(parts)


def slice_of(
    params: Sequence[Mapping[str, Any]],
    param: str,
    fixed: Mapping[str, Any] | None,
    chosen: int | None,
) -> list[int]:
    """Candidates that differ in one parameter only."""
    rows = [i for i, candidate in enumerate(params) if param in candidate]
    if not rows:
        known = sorted({name for candidate in params for name in candidate})
        raise ValueError(f"param={param!r} is not a parameter of this search; it has {known}.")
    if fixed is None:
        fixed = {}
        if chosen in rows:
            assert chosen is not None
            fixed = {name: value for name, value in params[chosen].items() if name != param}
    # as text: equal settings of an estimator need not compare equal
    wanted = {name: str(value) for name, value in fixed.items()}
    rows = [
        i
        for i in rows
        if all(str(params[i].get(name, "")) == value for name, value in wanted.items())
    ]
    if not rows:
        raise ValueError(
            f"no candidate with {param} has fixed={dict(fixed)!r}; give values of the grid."
        )
    of_value: dict[str, int] = {}
    for i in rows:
        other = of_value.setdefault(str(params[i][param]), i)
        if other != i:
            differing = [
                name
                for name in params[i]
                if str(params[i][name]) != str(params[other].get(name, ""))
            ]
            raise ValueError(
                f"several candidates have {param}={params[i][param]!r}; they differ in "
                f"{differing}: hold those with fixed={{name: value}}."
            )
    return rows


def search_points(
    search: Any, utility: str | None, fairness: str | None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Candidates as the points of a FrontierDisplay, and its other arguments."""
    rule = getattr(search.refit, "keywords", {})  # constrained_refit is a partial
    names = {
        "utility": utility or rule.get("utility"),
        "fairness": fairness or rule.get("fairness"),
    }
    params = search.cv_results_["params"]
    index = candidate_labels(params)
    columns: dict[str, Any] = {}
    settings: dict[str, Any] = {"bars": f"standard deviation over {search.n_splits_} folds"}
    greater = []
    for argument, name in names.items():
        if name is None:
            raise ValueError(
                f"{argument} is missing: name a scorer of this search, {scorer_names(search)}."
            )
        found, lower = fold_scores(search, name, argument)
        mean = found.mean(axis=1)
        spread = found.std(axis=1, ddof=1) if found.shape[1] > 1 else np.full(len(mean), np.nan)
        columns |= {argument: mean}
        columns |= {f"{argument}_low": mean - spread, f"{argument}_high": mean + spread}
        settings[f"{argument}_name"] = score_label(search, name)
        greater.append(not lower)
    best = getattr(search, "best_index_", None)
    settings |= {
        "greater_is_better": tuple(greater),
        "chosen": None if best is None else index[best],
    }
    return pd.DataFrame(columns, index=index), settings
