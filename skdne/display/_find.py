"""The transformer in what a user has fitted."""

from __future__ import annotations

from typing import Any

from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from skdne.transformer import DebiasedNoiseTransformer


def find_transformer(estimator: Any, X: Any) -> tuple[DebiasedNoiseTransformer, Any]:
    """Return the transformer in a fitted estimator, and X as it gets there."""
    if isinstance(estimator, DebiasedNoiseTransformer):
        return estimator, X
    if isinstance(estimator, FrozenEstimator):
        return find_transformer(estimator.estimator, X)
    if isinstance(estimator, Pipeline):
        for i, (_, step) in enumerate(estimator.steps):
            if _holds_transformer(step):
                before = estimator[:i]
                return find_transformer(step, before.transform(X) if i and X is not None else X)
    for name in ("best_estimator_", "estimator_"):  # searches, threshold tuning
        if hasattr(estimator, name):
            return find_transformer(getattr(estimator, name), X)
    raise ValueError(
        f"estimator holds no DebiasedNoiseTransformer: {type(estimator).__name__}; give the "
        "transformer, or a fitted pipeline with it."
    )


def _holds_transformer(step: Any) -> bool:
    if isinstance(step, FrozenEstimator):
        return _holds_transformer(step.estimator)
    return isinstance(step, DebiasedNoiseTransformer)
