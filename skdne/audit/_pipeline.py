"""What an audit takes from a fitted pipeline: predictions, embeddings and edited images."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing

from skdne.audit._scores import choose_threshold
from skdne.fitted_parts import Parts, find_parts, run, without_noise


def parts(estimator: Any) -> Parts | None:
    """Cut a fitted estimator at its one transformer; None where it holds none, or several."""
    cuts = find_parts(estimator)
    return cuts[0] if len(cuts) == 1 else None


def several_transformers(estimator: Any) -> list[str]:
    """What must be said of an ensemble whose members edit the images differently."""
    n = len(find_parts(estimator))
    if n < 2:
        return []
    return [
        f"{type(estimator).__name__} holds {n} fitted transformers, each with its own noise: "
        "leakage, findings and fidelity are not measured. Put a FrozenEstimator of one fitted "
        "transformer into it, or audit a member."
    ]


def check_baseline(estimator: Any, baseline: Any) -> None:
    """Refuse two pipelines that end in one object: a Pipeline fits the steps it is given.

    Raises
    ------
    ValueError
    """
    if not (isinstance(estimator, Pipeline) and isinstance(baseline, Pipeline)):
        return
    last = estimator.steps[-1][1]
    if last is baseline.steps[-1][1] and not isinstance(last, FrozenEstimator):
        raise ValueError(
            f"estimator and baseline share one {type(last).__name__} object, so to fit one was to "
            "refit the other. Give each its own, such as sklearn.base.clone(head), and fit both."
        )


class Seen(NamedTuple):
    """Predictions of an estimator, and the embeddings that its classifier was given, if any."""

    predicted: dict[str, Any]  # y_score, y_pred, threshold
    embeddings: NDArray[Any] | None
    plain: NDArray[Any] | None  # phi(x) without the noise


def look(
    estimator: Any, X: Any, classes: NDArray[Any], *, embeddings: bool = False, plain: bool = False
) -> Seen:
    """Run an estimator on X, with one pass of its encoder (two for ``plain``) where it can be cut.

    A meta-estimator around the pipeline that cannot be cut is asked itself: more passes.
    """
    cut = parts(estimator)
    if cut is None or not cut.after or (cut.head is None and not embeddings):
        return Seen(_predict(estimator, X, classes), None, None)
    there = run(cut.before, X)
    Z = cut.transformer.transform(there)
    whole = cut.head is None
    predicted = _predict(estimator if whole else cut.head, X if whole else Z, classes)
    if not embeddings:
        return Seen(predicted, None, None)
    noise = cut.transformer.noise_.any()
    without = (without_noise(cut.transformer).transform(there) if noise else Z) if plain else None
    return Seen(predicted, np.asarray(run(cut.after[:-1], Z)), without)


def _predict(estimator: Any, X: Any, classes: NDArray[Any]) -> dict[str, Any]:
    """The labels of ``predict``, whatever threshold they come from, beside the scores."""
    score = _scores(estimator, X, classes)
    return {"y_score": score, "y_pred": estimator.predict(X), "threshold": None}


def _scores(estimator: Any, X: Any, classes: NDArray[Any]) -> NDArray[Any] | None:
    """Scores with columns in the order of ``classes``; None where an estimator has none."""
    known = list(getattr(estimator, "classes_", classes))
    missing = [c for c in np.asarray(classes).tolist() if c not in known]
    if missing:
        raise ValueError(
            f"y holds {missing}, which the estimator was not fitted on; it knows "
            f"{np.asarray(known).tolist()}. Leave those images out."
        )
    if hasattr(estimator, "predict_proba"):
        score = estimator.predict_proba(X)
    elif hasattr(estimator, "decision_function"):
        score = estimator.decision_function(X)
        if score.ndim == 1:
            score = np.column_stack([-score, score])
    else:
        return None
    return score[:, [known.index(c) for c in classes]]


def validation_threshold(
    estimator: Any, X: Any, y: Any, classes: NDArray[Any], positive_label: Any
) -> float:
    """Threshold of largest balanced accuracy on validation data."""
    score = _scores(estimator, X, classes)
    if score is None or len(classes) != 2:
        raise ValueError("validation needs a classifier with scores and two classes.")
    first = positive_label is not None and classes[0] == positive_label
    return choose_threshold(y, score[:, 0 if first else 1], positive_label=positive_label)


def edited_images(
    estimator: Any, X: Any, rows: NDArray[np.intp]
) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Some images before and after the edit, (n, H, W) or (n, H, W, C); None without one."""
    cut = parts(estimator)
    if cut is None:
        return None
    some = _safe_indexing(X, rows)
    some = run(cut.before, some)
    noise = cut.transformer.noise_
    pair = [t.edit(some) for t in (without_noise(cut.transformer), cut.transformer)]
    if pair[0].ndim == 4 and pair[0].shape[2:] == noise.shape[-2:]:  # (n, C, H, W)
        pair = [np.moveaxis(images, 1, -1) for images in pair]
    first, second = (
        images[..., 0] if images.ndim == 4 and images.shape[-1] == 1 else images for images in pair
    )
    return first, second
