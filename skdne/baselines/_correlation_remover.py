"""CorrelationRemoverTransformer: fairlearn's linear residuals, for a routed Pipeline."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from fairlearn.preprocessing import CorrelationRemover
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from skdne.baselines._cells import check_groups, check_known


class CorrelationRemoverTransformer(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """fairlearn's CorrelationRemover: subtract what the attribute predicts linearly.

    **It needs the attribute at prediction**, which the other systems do not: ``transform(Z,
    sensitive_features=a)``, also through a Pipeline with metadata routing (fairlearn's own wants it
    as columns of Z). For an eraser that does not, see :class:`~skdne.EmbeddingEraser`.

    Parameters
    ----------
    alpha : float, default=1.0
        Share to remove, from 0, nothing, to 1, all.

    Attributes
    ----------
    needs_attribute_at_prediction : bool
        True, of the class.
    correlation_remover_ : fairlearn.preprocessing.CorrelationRemover
        Fitted with an indicator column for each class of the attribute but the first, before Z.
    groups_ : ndarray of shape (n_groups,)
        Classes of the attribute.
    n_features_in_ : int
        d.

    Examples
    --------
    >>> import numpy as np
    >>> from skdne.baselines import CorrelationRemoverTransformer
    >>> a = np.repeat(["F", "M"], 10)
    >>> Z = np.tile([[0.0], [2.0]], (10, 1)) + 4 * (a == "M")[:, None]
    >>> remover = CorrelationRemoverTransformer().fit(Z, sensitive_features=a)
    >>> np.unique(remover.transform(Z, sensitive_features=a).round(6)).tolist()
    [2.0, 4.0]
    """

    __metadata_request__fit: ClassVar[dict[str, bool]] = {"sensitive_features": True}
    __metadata_request__transform: ClassVar[dict[str, bool]] = {"sensitive_features": True}

    needs_attribute_at_prediction: ClassVar[bool] = True

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "alpha": [Interval(Real, 0, 1, closed="both")]
    }

    def __init__(self, *, alpha=1.0):
        self.alpha = alpha

    def fit(self, Z, y=None, *, sensitive_features=None) -> Self:
        """Learn how the embeddings depend on the attribute.

        Parameters
        ----------
        Z : array-like of shape (n, d)
            Embeddings.
        y : ignored
        sensitive_features : array-like of shape (n,) or (n, k)
            The attribute; several columns are intersected. Rows where it is missing are left out.

        Returns
        -------
        self
        """
        self._validate_params()
        Z = validate_data(self, Z, dtype=np.float64, ensure_min_samples=2)
        groups = check_groups(sensitive_features, None, len(Z), within_y=False)
        self.groups_ = groups.classes
        self.correlation_remover_ = CorrelationRemover(
            sensitive_feature_ids=list(range(len(self.groups_) - 1)), alpha=self.alpha
        ).fit(self._with_indicators(Z[groups.rows], groups.strata))
        self._n_features_out = Z.shape[1]
        return self

    def transform(self, Z, *, sensitive_features=None) -> np.ndarray:
        """Subtract what the attribute of each row predicts.

        Parameters
        ----------
        Z : array-like of shape (n, d)
        sensitive_features : array-like of shape (n,) or (n, k)
            The attribute, of classes that fit has met; none may be missing.

        Returns
        -------
        ndarray of shape (n, d)
        """
        check_is_fitted(self)
        Z = validate_data(self, Z, reset=False, dtype=np.float64)
        strata = check_known(sensitive_features, self.groups_, len(Z))
        return self.correlation_remover_.transform(self._with_indicators(Z, strata))

    def fit_transform(self, Z, y=None, *, sensitive_features=None) -> np.ndarray:
        """Learn and subtract, as ``fit`` and ``transform``; no attribute may be missing.

        Parameters
        ----------
        Z, y, sensitive_features
            See :meth:`fit`.

        Returns
        -------
        ndarray of shape (n, d)
        """
        return self.fit(Z, y, sensitive_features=sensitive_features).transform(
            Z, sensitive_features=sensitive_features
        )

    def _with_indicators(self, Z: np.ndarray, strata: np.ndarray) -> np.ndarray:
        return np.column_stack([np.eye(len(self.groups_))[strata][:, 1:], Z])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64"]
        return tags
