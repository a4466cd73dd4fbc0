"""ReweighedClassifier: any classifier, with the (y, a) cells weighing the same."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from skdne.attribute_classifier import _weight_parameter
from skdne.baselines._cells import check_groups, encode_target


def _has(method: str) -> Any:
    def check(self: Any) -> bool:
        inner = getattr(self, "estimator_", self.estimator)
        getattr(LogisticRegression() if inner is None else inner, method)
        return True

    return check


class ReweighedClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Train a classifier with weights that give every cell of label and attribute the same total.

    The first thing to try: where fairness of the predictions is all that matters, it was hard to
    beat in our measurements. The attribute is needed by ``fit`` only.

    Parameters
    ----------
    estimator : classifier or None, default=None
        Takes ``sample_weight`` in ``fit``, itself or as the last step of a Pipeline. None is
        ``LogisticRegression(max_iter=1000)``.

    Attributes
    ----------
    estimator_ : classifier
        Fitted.
    cell_weights_ : dict of str to float
        Weight of one row of each cell, such as ``"y=1, F"``; the mean over all rows is 1.
    classes_ : ndarray of shape (n_classes,)
    n_features_in_ : int
        Number of features, d.

    Notes
    -----
    A row of cell g has weight ``n / (G n_g)`` for G cells that are not empty. Kamiran and Calders'
    ``n_y n_a / (n n_ya)`` makes y and a independent too, but keeps the share of each.

    References
    ----------
    Kamiran, Calders 2012, "Data preprocessing techniques for classification without
    discrimination".

    Examples
    --------
    >>> import numpy as np
    >>> from skdne.baselines import ReweighedClassifier
    >>> y, a = np.repeat([0, 0, 1, 1], [30, 10, 20, 20]), np.repeat([*"FMFM"], [30, 10, 20, 20])
    >>> Z = np.random.default_rng(0).normal(size=(80, 3)) + y[:, None]
    >>> ReweighedClassifier().fit(Z, y, sensitive_features=a).cell_weights_["y=0, M"]
    2.0
    """

    __metadata_request__fit: ClassVar[dict[str, bool]] = {"sensitive_features": True}

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods(["fit", "predict"]), None],
    }

    def __init__(self, estimator=None):
        self.estimator = estimator

    def fit(self, Z, y, *, sensitive_features=None) -> Self:
        """Train the classifier.

        Parameters
        ----------
        Z : array-like of shape (n, d)
            Embeddings.
        y : array-like of shape (n,)
            Labels.
        sensitive_features : array-like of shape (n,) or (n, k)
            The attribute; several columns are intersected. Rows where it is missing are left out.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the classifier takes no ``sample_weight``.
        """
        self._validate_params()
        Z, y = validate_data(self, Z, y)
        encode_target(y)  # refuses what is no classes
        inner = LogisticRegression(max_iter=1000) if self.estimator is None else self.estimator
        name = _weight_parameter(inner)
        if name is None:
            raise ValueError(
                f"estimator {inner!r} takes no sample_weight in fit; give one that does, or use "
                "BatchSamplingClassifier(strata='ya')."
            )
        groups = check_groups(sensitive_features, y, len(Z))
        weights = compute_sample_weight("balanced", groups.strata)
        self.cell_weights_ = {
            cell: float(weights[groups.strata == k][0]) for k, cell in enumerate(groups.names)
        }
        self.estimator_ = clone(inner)
        with config_context(enable_metadata_routing=False):  # how weights travel is our own matter
            self.estimator_.fit(Z[groups.rows], y[groups.rows], **{name: weights})
        self.classes_ = self.estimator_.classes_
        return self

    def predict(self, Z) -> np.ndarray:
        """Predict the class of each row.

        Parameters
        ----------
        Z : array-like of shape (n, d)

        Returns
        -------
        ndarray of shape (n,)
        """
        return self._inner("predict", Z)

    @available_if(_has("predict_proba"))
    def predict_proba(self, Z) -> np.ndarray:
        """Return the probability of each class, (n, n_classes), where the classifier has it."""
        return self._inner("predict_proba", Z)

    @available_if(_has("decision_function"))
    def decision_function(self, Z) -> np.ndarray:
        """Return the classifier's decision values, (n,) or (n, n_classes), where it has them."""
        return self._inner("decision_function", Z)

    def _inner(self, method: str, Z: Any) -> np.ndarray:
        check_is_fitted(self)
        return getattr(self.estimator_, method)(validate_data(self, Z, reset=False))
