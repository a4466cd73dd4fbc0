"""ThresholdOptimizerClassifier: fairlearn's thresholds by group, for a routed Pipeline."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from fairlearn.postprocessing import ThresholdOptimizer
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.linear_model import LogisticRegression
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from skdne.baselines._cells import check_groups, check_known, encode_binary_target

CONSTRAINTS = {
    "demographic_parity",
    "equalized_odds",
    "false_negative_rate_parity",
    "false_positive_rate_parity",
    "true_negative_rate_parity",
    "true_positive_rate_parity",
}


class ThresholdOptimizerClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """fairlearn's ThresholdOptimizer: a threshold of its own for each group, mixed at random.

    **It needs the attribute at prediction**, which the other systems do not: ``predict(Z,
    sensitive_features=a)``, also through a Pipeline with metadata routing. scikit-learn's scorers
    do not pass it on. Two classes only.

    Parameters
    ----------
    estimator : classifier or None, default=None
        None is ``LogisticRegression(max_iter=1000)``. The thresholds are chosen on the data that it
        is trained on; to choose them on other data, give a fitted one in a
        :class:`~sklearn.frozen.FrozenEstimator`.
    constraints : str, default="equalized_odds"
        ``"equalized_odds"``, ``"demographic_parity"``, or ``"{true, false}_{positive,
        negative}_rate_parity"``.
    objective : {"accuracy_score", "balanced_accuracy_score"}, default="accuracy_score"
        What the thresholds maximise under the constraint.
    random_state : int, RandomState instance or None, default=None
        Seeds ``predict``, which draws between two thresholds for each row. An int gives the same
        predictions for the same data.

    Attributes
    ----------
    needs_attribute_at_prediction : bool
        True, of the class.
    threshold_optimizer_ : fairlearn.postprocessing.ThresholdOptimizer
        Fitted on labels 0 and 1, for ``classes_``.
    groups_ : ndarray of shape (n_groups,)
        Classes of the attribute.
    classes_ : ndarray of shape (2,)
    n_features_in_ : int
        Number of features, d.

    References
    ----------
    Hardt, Price, Srebro 2016, "Equality of opportunity in supervised learning".

    Examples
    --------
    >>> import numpy as np
    >>> from skdne.baselines import ThresholdOptimizerClassifier
    >>> rng = np.random.default_rng(0)
    >>> y, a = rng.integers(0, 2, size=(2, 200))
    >>> Z = rng.normal(size=(200, 3)) + np.column_stack([y, y, a])
    >>> clf = ThresholdOptimizerClassifier(random_state=0).fit(Z, y, sensitive_features=a)
    >>> clf.predict(Z, sensitive_features=a).shape
    (200,)
    """

    __metadata_request__fit: ClassVar[dict[str, bool]] = {"sensitive_features": True}
    __metadata_request__predict: ClassVar[dict[str, bool]] = {"sensitive_features": True}

    needs_attribute_at_prediction: ClassVar[bool] = True

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods(["fit", "predict"]), None],
        "constraints": [StrOptions(CONSTRAINTS)],
        "objective": [StrOptions({"accuracy_score", "balanced_accuracy_score"})],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator=None,
        *,
        constraints="equalized_odds",
        objective="accuracy_score",
        random_state=None,
    ):
        self.estimator = estimator
        self.constraints = constraints
        self.objective = objective
        self.random_state = random_state

    def fit(self, Z, y, *, sensitive_features=None) -> Self:
        """Train the classifier and choose the thresholds.

        Parameters
        ----------
        Z : array-like of shape (n, d)
            Embeddings.
        y : array-like of shape (n,)
            Labels of two classes; every group must hold both.
        sensitive_features : array-like of shape (n,) or (n, k)
            The attribute; several columns are intersected. Rows where it is missing are left out.

        Returns
        -------
        self
        """
        self._validate_params()
        Z, y = validate_data(self, Z, y)
        codes, self.classes_ = encode_binary_target(y)
        groups = check_groups(sensitive_features, y, len(Z), within_y=False)
        self.groups_ = groups.classes
        inner = LogisticRegression(max_iter=1000) if self.estimator is None else self.estimator
        self.threshold_optimizer_ = ThresholdOptimizer(
            estimator=inner, constraints=self.constraints, objective=self.objective
        )
        with config_context(enable_metadata_routing=False):
            self.threshold_optimizer_.fit(
                Z[groups.rows], codes[groups.rows], sensitive_features=groups.strata
            )
        return self

    def predict(self, Z, *, sensitive_features=None) -> np.ndarray:
        """Predict the class of each row, by the thresholds of its group.

        Parameters
        ----------
        Z : array-like of shape (n, d)
        sensitive_features : array-like of shape (n,) or (n, k)
            The attribute, of classes that fit has met; none may be missing.

        Returns
        -------
        ndarray of shape (n,)
        """
        check_is_fitted(self)
        Z = validate_data(self, Z, reset=False)
        strata = check_known(sensitive_features, self.groups_, len(Z))
        predicted = self.threshold_optimizer_.predict(
            Z, sensitive_features=strata, random_state=check_random_state(self.random_state)
        )
        return self.classes_[np.asarray(predicted, dtype=int)]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.non_deterministic = True  # a row's prediction depends on its place in Z
        return tags
