"""What an audit takes from a fitted pipeline: predictions, embeddings and edited images."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing

from skdne.audit._scores import choose_threshold
from skdne.transformer import DebiasedNoiseTransformer


class Parts(NamedTuple):
    """A pipeline cut at its DebiasedNoiseTransformer."""

    before: Any  # steps in front, or None
    transformer: DebiasedNoiseTransformer
    after: Any  # steps behind, the classifier last


def parts(estimator: Any) -> Parts | None:
    """Cut a fitted pipeline, or search over one; None where it holds no transformer."""
    if hasattr(estimator, "best_estimator_"):
        return parts(estimator.best_estimator_)
    if isinstance(estimator, FrozenEstimator):
        return parts(estimator.estimator)
    if not isinstance(estimator, Pipeline):
        return None
    for i, (_, step) in enumerate(estimator.steps[:-1]):
        inner = step.estimator if isinstance(step, FrozenEstimator) else step
        if isinstance(inner, DebiasedNoiseTransformer):
            return Parts(estimator[:i] if i else None, inner, estimator[i + 1 :])
    return None


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


def look(estimator: Any, X: Any, classes: NDArray[Any], plain: bool) -> Seen:
    """Run an estimator on X, with one pass of its encoder (two for ``plain``)."""
    cut = parts(estimator)
    if cut is None:
        return Seen(_predict(estimator, X, classes), None, None)
    X = X if cut.before is None else cut.before.transform(X)
    Z = cut.transformer.transform(X)
    predicted = _predict(cut.after, Z, classes)
    noise = cut.transformer.noise_.any()
    without = (without_noise(cut.transformer).transform(X) if noise else Z) if plain else None
    behind = Z if len(cut.after.steps) == 1 else np.asarray(cut.after[:-1].transform(Z))
    return Seen(predicted, behind, without)


def without_noise(transformer: DebiasedNoiseTransformer) -> DebiasedNoiseTransformer:
    """Return the same encoder with no noise."""
    plain = copy.copy(transformer)
    plain.noise_, plain.clip_ = np.zeros_like(transformer.noise_), False
    return plain


def _predict(estimator: Any, X: Any, classes: NDArray[Any]) -> dict[str, Any]:
    """Scores with columns in the order of ``classes``, and labels where scores cannot give them."""
    known = list(getattr(estimator, "classes_", classes))
    found: dict[str, Any] = {"y_score": None, "y_pred": None, "threshold": None}
    missing = [c for c in np.asarray(classes).tolist() if c not in known]
    if missing:
        raise ValueError(
            f"y holds {missing}, which the estimator was not fitted on; it knows "
            f"{np.asarray(known).tolist()}. Leave those images out."
        )
    columns = [known.index(c) for c in classes]
    if hasattr(estimator, "predict_proba"):
        found["y_score"] = estimator.predict_proba(X)[:, columns]
        if len(known) == len(classes) and not hasattr(estimator, "best_threshold_"):
            return found
    elif hasattr(estimator, "decision_function"):
        score = estimator.decision_function(X)
        if score.ndim == 1:
            score = np.column_stack([-score, score])
        found["y_score"] = score[:, columns]
    found["y_pred"] = estimator.predict(X)
    return found


def validation_threshold(
    estimator: Any, X: Any, y: Any, classes: NDArray[Any], positive_label: Any
) -> float:
    """Threshold of largest balanced accuracy on validation data."""
    score = look(estimator, X, classes, plain=False).predicted["y_score"]
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
    some = some if cut.before is None else cut.before.transform(some)
    noise = cut.transformer.noise_
    pair = [t.edit(some) for t in (without_noise(cut.transformer), cut.transformer)]
    if pair[0].ndim == 4 and pair[0].shape[2:] == noise.shape[-2:]:  # (n, C, H, W)
        pair = [np.moveaxis(images, 1, -1) for images in pair]
    first, second = (
        images[..., 0] if images.ndim == 4 and images.shape[-1] == 1 else images for images in pair
    )
    return first, second
