"""BatchSamplingClassifier: batches in which the groups are equal in number."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from sklearn.utils._param_validation import StrOptions

from skdne.baselines._cells import check_groups
from skdne.baselines._linear_head import RECIPE_CONSTRAINTS, TorchLinearClassifier
from skdne.baselines._training import balanced_batches


class BatchSamplingClassifier(TorchLinearClassifier):
    """Linear head on embeddings, trained on batches balanced over the groups, re-implemented.

    Parameters
    ----------
    strata : {"a", "ya"}, default="a"
        What every batch is balanced over: the attribute, which is the original, or the cells of
        label and attribute. ``"a"`` does nothing where the groups are equal in number already, and
        cannot break a correlation of label and attribute; ``"ya"`` does.
    step_size, weight_decay, max_iter, batch_size, init_std, random_state
        The papers' recipe, see :class:`LinearHeadClassifier`. An epoch has as many batches as
        there; small groups are repeated in it, and of large ones another part is seen each time.

    Attributes
    ----------
    classes_, coef_, intercept_, loss_curve_, n_iter_, n_features_in_
        See :class:`LinearHeadClassifier`.

    Notes
    -----
    In expectation the same as weighing each row by one over the size of its group.

    References
    ----------
    Puyol-Antón et al. 2021, "Fairness in cardiac MR image analysis", strategy 1: stratified batch
    sampling.

    Examples
    --------
    >>> import numpy as np
    >>> from skdne.baselines import BatchSamplingClassifier
    >>> rng = np.random.default_rng(0)
    >>> y, a = rng.integers(0, 2, size=(2, 200))
    >>> Z = rng.normal(size=(200, 3)) + 2 * y[:, None]
    >>> head = BatchSamplingClassifier(strata="ya", random_state=0)
    >>> head.fit(Z, y, sensitive_features=a).predict([[3, 3, 3], [-3, -3, -3]]).tolist()
    [1, 0]
    """

    __metadata_request__fit: ClassVar[dict[str, bool]] = {"sensitive_features": True}

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **RECIPE_CONSTRAINTS,
        "strata": [StrOptions({"a", "ya"})],
    }

    def __init__(
        self,
        strata="a",
        *,
        step_size=1.25e-4,
        weight_decay=0.05,
        max_iter=50,
        batch_size=128,
        init_std=2e-5,
        random_state=None,
    ):
        super().__init__(
            step_size=step_size,
            weight_decay=weight_decay,
            max_iter=max_iter,
            batch_size=batch_size,
            init_std=init_std,
            random_state=random_state,
        )
        self.strata = strata

    def fit(self, Z, y, *, sensitive_features=None) -> Self:
        """Train the head.

        Parameters
        ----------
        Z : array-like of shape (n, d)
            Embeddings.
        y : array-like of shape (n,)
            Labels, two classes or more.
        sensitive_features : array-like of shape (n,) or (n, k)
            The attribute; several columns are intersected. Rows where it is missing are left out.

        Returns
        -------
        self
        """
        Z, y = self._check(Z, y)
        groups = check_groups(sensitive_features, y, len(Z), within_y=self.strata == "ya")
        batches = balanced_batches(groups.strata, self.batch_size)
        return self._train(Z[groups.rows], y[groups.rows], batches)
