"""g, the classifier of the attribute on embeddings, with gradients where it has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model._base import LinearClassifierMixin
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

Head = Callable[[torch.Tensor], torch.Tensor]


def default_classifier() -> Pipeline:
    """Return the papers' linear head, on standardised embeddings, trained to convergence."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))


class AttributeClassifier:
    """g: the classifier of the attribute on embeddings, and its log-probabilities in torch.

    Parameters
    ----------
    estimator : scikit-learn classifier or None
        A fitted one is used as it is (a FrozenEstimator survives :func:`sklearn.base.clone`);
        another is cloned and trained by :meth:`fit`; None is :func:`default_classifier`.
    classes : ndarray of shape (n_classes,)
        Labels of the attribute, in the order of the class indices.
    """

    def __init__(self, estimator: Any, classes: np.ndarray) -> None:
        self.classes = classes
        self.is_given_fitted = estimator is not None and is_fitted(estimator)
        if estimator is None:
            self.estimator = default_classifier()
        else:
            self.estimator = estimator if self.is_given_fitted else clone(estimator)
        if self.is_given_fitted:
            self._prepare()

    def fit(self, embeddings: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> None:
        """Train g (again) on embeddings; a fitted estimator that was given stays as it is."""
        if self.is_given_fitted:
            return
        self.estimator = clone(self.estimator)
        labels = self.classes[codes]
        name = _weight_parameter(self.estimator)
        rows = balanced_copies(weights) if name is None else np.arange(len(codes))
        given = {} if name is None else {name: weights}
        # the user's metadata routing is about their pipeline, not about how g gets its weights
        with config_context(enable_metadata_routing=False):
            self.estimator.fit(embeddings[rows], labels[rows], **given)
        self._prepare()

    def _prepare(self) -> None:
        if not is_differentiable(self.estimator) and not hasattr(self.estimator, "predict_proba"):
            raise ValueError(
                f"attribute_classifier {self.estimator!r} is neither a linear classifier nor an "
                "MLPClassifier and has no predict_proba; calibrate it with CalibratedClassifierCV, "
                "or give another."
            )
        known = list(self.estimator.classes_)
        unknown = [c for c in self.classes if c not in known]
        if unknown or len(known) != len(self.classes):
            raise ValueError(
                f"attribute_classifier knows the classes {np.asarray(known).tolist()}, but "
                f"sensitive_features has {self.classes.tolist()}; fit it on these, or give it "
                "unfitted."
            )
        self._order = [known.index(c) for c in self.classes]
        self._head = torch_head(self.estimator)

    def log_proba(self, embeddings: torch.Tensor) -> torch.Tensor:
        """log p(a | z), (b, K), in the order of ``classes``; with gradients if g has them."""
        if self._head is not None:
            return log_softmax(self._head(embeddings))[:, self._order]
        p = self.estimator.predict_proba(embeddings.numpy())[:, self._order]
        floor = np.finfo(np.float32).tiny
        return torch.from_numpy(np.log(np.maximum(p, floor)).astype(np.float32))


def balanced_copies(weights: np.ndarray) -> np.ndarray:
    """Rows, repeated in proportion to their weights, for a classifier that takes no weights.

    At most four times as many rows as there are; where the weights differ by more, some rows of
    the smallest weight are left out. Equal weights give every row once.
    """
    n = len(weights)
    size = int(min(4 * n, np.rint(weights.sum() / weights.min())))
    order = np.argsort(weights, kind="stable")  # equal weights side by side share out evenly
    reached = np.cumsum(weights[order])
    points = (np.arange(size) + 0.5) * reached[-1] / size
    return np.sort(order[np.searchsorted(reached, points)])


def log_softmax(logits: torch.Tensor) -> torch.Tensor:
    """Log-probabilities from a head's decision values, (b, 1) for two classes, else (b, K)."""
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    return torch.log_softmax(logits, dim=1)


def is_differentiable(estimator: Any) -> bool:
    """Whether :func:`torch_head` will find gradients once ``estimator`` is fitted."""
    if estimator is None:
        return True
    if isinstance(estimator, FrozenEstimator):
        return is_differentiable(estimator.estimator)
    if isinstance(estimator, Pipeline):
        *scalers, last = [step for _, step in estimator.steps]
        return all(isinstance(s, StandardScaler) for s in scalers) and is_differentiable(last)
    return isinstance(estimator, (LinearClassifierMixin, MLPClassifier))


def torch_head(estimator: Any) -> Head | None:
    """Return the fitted classifier's decision values as a torch function; None without gradients.

    Linear classifiers, :class:`~sklearn.neural_network.MLPClassifier` and pipelines of
    :class:`~sklearn.preprocessing.StandardScaler` before them are known. g's probabilities are the
    softmax of these values, also where a classifier itself has none or takes one against the rest.
    """
    if not is_differentiable(estimator):
        return None
    if isinstance(estimator, FrozenEstimator):
        return torch_head(estimator.estimator)
    if isinstance(estimator, Pipeline):
        parts: list[Any] = [torch_head_of_scaler(s) for _, s in estimator.steps[:-1]]
        parts.append(torch_head(estimator.steps[-1][1]))
        return _composed(parts)
    if isinstance(estimator, MLPClassifier):
        layers: list[Any] = []
        for W, b in zip(estimator.coefs_, estimator.intercepts_, strict=True):
            layers += [_affine(W.T, b), _ACTIVATIONS[estimator.activation]]
        return _composed(layers[:-1])
    return _affine(estimator.coef_, estimator.intercept_)


_ACTIVATIONS: dict[str, Head] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "logistic": torch.sigmoid,
    "identity": lambda z: z,
}


def torch_head_of_scaler(scaler: StandardScaler) -> Head:
    """(z - mean) / scale, as a torch function."""
    # with_mean=False may keep a mean_ all the same, so ask the parameters
    scale = scaler.scale_ if scaler.with_std else np.ones(scaler.n_features_in_)
    mean = scaler.mean_ if scaler.with_mean else np.zeros(scaler.n_features_in_)
    shift, factor = (torch.tensor(v, dtype=torch.float32) for v in (mean, scale))
    return lambda z: (z - shift.to(z.device)) / factor.to(z.device)


def _affine(weight: np.ndarray, bias: np.ndarray) -> Head:
    W = torch.tensor(np.atleast_2d(weight), dtype=torch.float32)
    b = torch.tensor(np.broadcast_to(bias, len(W)), dtype=torch.float32)
    return lambda z: torch.nn.functional.linear(z, W.to(z.device), b.to(z.device))


def _composed(functions: list[Head]) -> Head:
    def compose(z: torch.Tensor) -> torch.Tensor:
        for function in functions:
            z = function(z)
        return z

    return compose


def is_fitted(estimator: Any) -> bool:
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


def _weight_parameter(estimator: Any) -> str | None:
    if isinstance(estimator, Pipeline):
        step, last = estimator.steps[-1]
        return f"{step}__sample_weight" if has_fit_parameter(last, "sample_weight") else None
    return "sample_weight" if has_fit_parameter(estimator, "sample_weight") else None
