"""The transformer that a display draws."""

from __future__ import annotations

from typing import Any

from skdne.fitted_parts import find_parts, run
from skdne.transformer import DebiasedNoiseTransformer


def find_transformer(estimator: Any, X: Any) -> tuple[DebiasedNoiseTransformer, Any]:
    """Return the transformer in a fitted estimator, and X as it gets there."""
    cuts = find_parts(estimator)
    if not cuts:
        raise ValueError(
            f"estimator holds no DebiasedNoiseTransformer: {type(estimator).__name__}; give the "
            "transformer, or a fitted pipeline with it."
        )
    if len(cuts) > 1:
        raise ValueError(
            f"estimator, {type(estimator).__name__}, holds {len(cuts)} fitted transformers, each "
            "with its own noise; give one of its members."
        )
    return cuts[0].transformer, None if X is None else run(cuts[0].before, X)
