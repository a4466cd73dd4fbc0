"""ExponentiatedGradientClassifier: fairlearn's reduction, for a routed Pipeline."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from fairlearn import reductions
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.linear_model import LogisticRegression
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from skdne.attribute_classifier import _weight_parameter
from skdne.baselines._cells import check_groups, encode_binary_target

CONSTRAINTS = {
    "demographic_parity": reductions.DemographicParity,
    "equalized_odds": reductions.EqualizedOdds,
    "error_rate_parity": reductions.ErrorRateParity,
    "false_positive_rate_parity": reductions.FalsePositiveRateParity,
    "true_positive_rate_parity": reductions.TruePositiveRateParity,
}


class ExponentiatedGradientClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """fairlearn's ExponentiatedGradient, which loses ``sensitive_features`` in a routed Pipeline.

    A mixture of classifiers, each trained with other weights on the rows, that meets a fairness
    constraint on the training data. Two classes only. The attribute is needed by ``fit`` only.

    Parameters
    ----------
    estimator : classifier or None, default=None
        Takes ``sample_weight`` in ``fit``, itself or as the last step of a Pipeline. None is
        ``LogisticRegression(max_iter=1000)``.
    constraints : str, default="equalized_odds"
        ``"equalized_odds"``, ``"demographic_parity"``, ``"true_positive_rate_parity"``,
        ``"false_positive_rate_parity"`` or ``"error_rate_parity"``.
    difference_bound : float, default=0.01
        Largest difference of a group's rate from the overall rate.
    max_iter : int, default=50
        Most iterations; each trains a classifier.
    random_state : int, RandomState instance or None, default=None
        Seeds ``predict``, which draws a classifier of the mixture for each row. An int gives the
        same predictions for the same Z.

    Attributes
    ----------
    exponentiated_gradient_ : fairlearn.reductions.ExponentiatedGradient
        Fitted on labels 0 and 1, for ``classes_``.
    classes_ : ndarray of shape (2,)
    n_iter_ : int
        Iterations run.
    n_features_in_ : int
        Number of features, d.

    References
    ----------
    Agarwal et al. 2018, "A reductions approach to fair classification".

    Examples
    --------
    >>> import numpy as np
    >>> from skdne.baselines import ExponentiatedGradientClassifier
    >>> rng = np.random.default_rng(0)
    >>> y, a = rng.integers(0, 2, size=(2, 200))
    >>> Z = rng.normal(size=(200, 3)) + np.column_stack([y, y, a])
    >>> clf = ExponentiatedGradientClassifier(random_state=0).fit(Z, y, sensitive_features=a)
    >>> clf.predict_proba(Z).shape
    (200, 2)
    """

    __metadata_request__fit: ClassVar[dict[str, bool]] = {"sensitive_features": True}

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods(["fit", "predict"]), None],
        "constraints": [StrOptions(set(CONSTRAINTS))],
        "difference_bound": [Interval(Real, 0, 1, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator=None,
        *,
        constraints="equalized_odds",
        difference_bound=0.01,
        max_iter=50,
        random_state=None,
    ):
        self.estimator = estimator
        self.constraints = constraints
        self.difference_bound = difference_bound
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, Z, y, *, sensitive_features=None) -> Self:
        """Train the mixture.

        Parameters
        ----------
        Z : array-like of shape (n, d)
            Embeddings.
        y : array-like of shape (n,)
            Labels of two classes.
        sensitive_features : array-like of shape (n,) or (n, k)
            The attribute; several columns are intersected. Rows where it is missing are left out.

        Returns
        -------
        self
        """
        self._validate_params()
        Z, y = validate_data(self, Z, y)
        codes, self.classes_ = encode_binary_target(y)
        inner = LogisticRegression(max_iter=1000) if self.estimator is None else self.estimator
        name = _weight_parameter(inner)
        if name is None:
            raise ValueError(
                f"estimator {inner!r} takes no sample_weight in fit; give one that does."
            )
        groups = check_groups(sensitive_features, y, len(Z), within_y=False)
        self.exponentiated_gradient_ = reductions.ExponentiatedGradient(
            inner,
            CONSTRAINTS[self.constraints](difference_bound=self.difference_bound),
            max_iter=self.max_iter,
            sample_weight_name=name,
        )
        # how weights travel is our own matter, and how fairlearn uses pandas its own
        with config_context(enable_metadata_routing=False), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Setting an? (value|item) ", DeprecationWarning)
            self.exponentiated_gradient_.fit(
                Z[groups.rows], codes[groups.rows], sensitive_features=groups.strata
            )
        self.n_iter_ = self.exponentiated_gradient_.last_iter_ + 1
        return self

    def predict_proba(self, Z) -> np.ndarray:
        """Return the share of the mixture that votes for each class.

        Parameters
        ----------
        Z : array-like of shape (n, d)

        Returns
        -------
        ndarray of shape (n, 2)
        """
        check_is_fitted(self)
        Z = validate_data(self, Z, reset=False)
        mixture = self.exponentiated_gradient_
        used = [(mixture.predictors_[t], w) for t, w in mixture.weights_.items() if w > 0]
        votes = np.sum([w * classifier.predict(Z) for classifier, w in used], axis=0)
        positive = np.clip(votes, 0, 1)  # the weights add up to 1 but for rounding
        return np.column_stack([1 - positive, positive])

    def predict(self, Z) -> np.ndarray:
        """Predict each row by a classifier drawn from the mixture, as fairlearn does.

        Parameters
        ----------
        Z : array-like of shape (n, d)

        Returns
        -------
        ndarray of shape (n,)
        """
        positive = self.predict_proba(Z)[:, 1]
        draws = check_random_state(self.random_state).rand(len(positive))
        return self.classes_[(positive >= draws).astype(int)]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.non_deterministic = True  # a row's prediction depends on its place in Z
        return tags
