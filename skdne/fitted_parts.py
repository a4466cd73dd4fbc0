"""Where the DebiasedNoiseTransformer stands in what a user has fitted: one answer for all."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline, make_pipeline

from skdne.transformer import DebiasedNoiseTransformer


class Parts(NamedTuple):
    """A fitted estimator cut at its transformer.

    ``head`` predicts from embeddings what the whole predicts from images. It is None where only the
    whole can: an unknown meta-estimator may do more with images than pass them on.
    """

    before: list[Any]  # steps in front
    transformer: DebiasedNoiseTransformer
    after: list[Any]  # steps behind, the classifier last
    head: Any


def find_parts(estimator: Any) -> list[Parts]:
    """Cut an estimator at each fitted transformer in it: at none, one, or those of an ensemble.

    Looks into pipelines, also nested ones, searches, FrozenEstimator, and meta-estimators with
    ``estimator_``, ``estimators_`` or ``calibrated_classifiers_``. Members of an ensemble that
    share one transformer, which was frozen, count as one.
    """
    if isinstance(estimator, DebiasedNoiseTransformer):
        return [Parts([], estimator, [], "passthrough")]
    if isinstance(estimator, Pipeline):
        return _in_pipeline([s for _, s in estimator.steps if s not in (None, "passthrough")])
    if isinstance(estimator, FrozenEstimator):
        return find_parts(estimator.estimator)
    if hasattr(estimator, "best_estimator_"):
        return find_parts(estimator.best_estimator_)
    members = getattr(estimator, "estimators_", None)  # before estimator_, which bagging never fits
    if members is None and hasattr(estimator, "calibrated_classifiers_"):
        members = [one.estimator for one in estimator.calibrated_classifiers_]
    if members is not None:
        return _in_ensemble(members)
    if isinstance(estimator, (FixedThresholdClassifier, TunedThresholdClassifierCV)):
        return _behind_threshold(estimator)
    if hasattr(estimator, "estimator_"):
        return [cut._replace(head=None) for cut in find_parts(estimator.estimator_)]
    return []


def run(steps: Sequence[Any], X: Any) -> Any:
    """Pass X through fitted transformers."""
    for step in steps:
        X = step.transform(X)
    return X


def without_noise(transformer: DebiasedNoiseTransformer) -> DebiasedNoiseTransformer:
    """Return the same encoder with no noise."""
    plain = copy.copy(transformer)
    plain.noise_, plain.clip_ = np.zeros_like(transformer.noise_), False
    return plain


def _in_pipeline(steps: list[Any]) -> list[Parts]:
    for i, step in enumerate(steps):
        later = steps[i + 1 :]
        cuts = [
            Parts(
                [*steps[:i], *cut.before],
                cut.transformer,
                [*cut.after, *later],
                make_pipeline(cut.head, *later) if later and cut.head is not None else cut.head,
            )
            for cut in find_parts(step)
        ]
        if cuts:
            return cuts
    return []


def _in_ensemble(members: Sequence[Any]) -> list[Parts]:
    """Only the whole ensemble predicts; what its members do behind embeddings may differ."""
    cuts = [cut._replace(head=None) for member in members for cut in find_parts(member)]
    shared = all(cut.transformer is cuts[0].transformer and not cut.before for cut in cuts)
    if len(cuts) > 1 and shared:
        return [cuts[0]._replace(after=cuts[0].after[-1:])]
    return cuts


def _behind_threshold(estimator: Any) -> list[Parts]:
    """scikit-learn's two classifiers with a threshold only ask what they hold, so they are cut."""
    found = []
    for cut in find_parts(getattr(estimator, "estimator_", estimator.estimator)):
        head = None
        if cut.head is not None:
            head = copy.copy(estimator)
            head.estimator_ = cut.head
        found.append(cut._replace(head=head))
    return found
