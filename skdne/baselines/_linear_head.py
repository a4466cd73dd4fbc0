"""LinearHeadClassifier: the papers' linear head on embeddings, and what other heads share with it.

The head that is trained to convergence is scikit-learn's LogisticRegression.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from scipy.special import softmax
from sklearn.base import BaseEstimator
from sklearn.linear_model._base import LinearClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import _check_sample_weight, validate_data

from skdne.baselines._cells import encode_target
from skdne.baselines._training import Batches, adamw, new_head, shuffled_batches, train

RECIPE_CONSTRAINTS: dict[str, list[Any]] = {
    "step_size": [Interval(Real, 0, None, closed="neither")],
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "init_std": [Interval(Real, 0, None, closed="left")],
    "random_state": ["random_state"],
}


class TorchLinearClassifier(LinearClassifierMixin, BaseEstimator):
    """What heads trained by AdamW share; a subclass has a ``fit`` that calls :meth:`_train`."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = RECIPE_CONSTRAINTS

    def __init__(
        self,
        *,
        step_size=1.25e-4,
        weight_decay=0.05,
        max_iter=50,
        batch_size=128,
        init_std=2e-5,
        random_state=None,
    ):
        self.step_size = step_size
        self.weight_decay = weight_decay
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.init_std = init_std
        self.random_state = random_state

    def predict_proba(self, Z) -> np.ndarray:
        """Return the probability of each class.

        Parameters
        ----------
        Z : array-like of shape (n, d)

        Returns
        -------
        ndarray of shape (n, n_classes)
            In the order of ``classes_``.
        """
        return probabilities(self.decision_function(Z))

    def _check(self, Z: Any, y: Any) -> tuple[np.ndarray, Any]:
        self._validate_params()
        Z, y = validate_data(self, Z, y, dtype=np.float64)
        encode_target(y)  # refuses what is no classes, before groups are made of it
        return Z, y

    def _train(
        self, Z: np.ndarray, y: np.ndarray, batches: Batches | None = None, loss: Any = None
    ) -> Self:
        """Train the head on rows of Z.

        ``loss`` gets the cross-entropy of each row of a batch (b,), its rows, and the head, and
        returns one number; None is the mean. ``batches=None`` shuffles.
        """
        codes, self.classes_ = encode_target(y)
        seeds = check_random_state(self.random_state).randint(np.iinfo(np.int32).max, size=2)
        head = new_head(Z.shape[1], len(self.classes_), self.init_std, int(seeds[0]))
        labels = torch.from_numpy(codes)

        def batch_loss(rows: np.ndarray) -> torch.Tensor:
            losses = torch.nn.functional.cross_entropy(
                head(torch.from_numpy(Z[rows])), labels[rows], reduction="none"
            )
            return losses.mean() if loss is None else loss(losses, rows, head)

        self.loss_curve_ = train(
            adamw([head], self.step_size, self.weight_decay),
            batches or shuffled_batches(len(Z), self.batch_size),
            batch_loss,
            self.max_iter,
            int(seeds[1]),
        )
        self.n_iter_ = self.max_iter
        self.coef_, self.intercept_ = as_linear(head)
        return self


def as_linear(head: torch.nn.Linear) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases of a head, those of two classes as scikit-learn keeps them: as one row."""
    W, b = head.weight.detach().numpy().copy(), head.bias.detach().numpy().copy()
    return (W[1:] - W[:1], b[1:] - b[:1]) if len(b) == 2 else (W, b)


def probabilities(decision: np.ndarray) -> np.ndarray:
    """Softmax of decision values, (n,) for two classes, else (n, n_classes)."""
    if decision.ndim == 1:
        decision = np.column_stack([np.zeros_like(decision), decision])
    return softmax(decision, axis=1)


class LinearHeadClassifier(TorchLinearClassifier):
    """Linear head on embeddings, trained by the recipe of Jin et al. 2024: AdamW for 50 epochs.

    The ERM row of the papers' table: ``make_pipeline(DebiasedNoiseTransformer(solver=None),
    LinearHeadClassifier())``. At this step size it is far from converged after 50 epochs, and the
    gaps between groups depend on how long it trains: report
    :class:`~sklearn.linear_model.LogisticRegression`, the same head at convergence, beside it.

    Parameters
    ----------
    step_size : float, default=1.25e-4
        Constant learning rate of AdamW.
    weight_decay : float, default=0.05
        Decoupled weight decay of AdamW, on the weights, not on the bias.
    max_iter : int, default=50
        Passes over the rows (epochs).
    batch_size : int, default=128
        Rows of one step; the value of the authors' demonstration.
    init_std : float, default=2e-5
        Standard deviation of the initial weights; the bias starts at 0.
    random_state : int, RandomState instance or None, default=None
        Seeds the initial weights and the order of the rows.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (1, d) or (n_classes, d)
        One row for two classes: the difference of their weights.
    intercept_ : ndarray of shape (1,) or (n_classes,)
    loss_curve_ : list of float
        Mean loss of the batches of each epoch.
    n_iter_ : int
        Epochs run.
    n_features_in_ : int
        d.

    References
    ----------
    Jin et al. 2024, "Debiased Noise Editing on Foundation Models for Fair Medical Image
    Classification", section 3.1, with settings of their public code.

    Examples
    --------
    >>> import numpy as np
    >>> from skdne.baselines import LinearHeadClassifier
    >>> Z = np.random.default_rng(0).normal(size=(200, 5))
    >>> y = np.where(Z[:, 0] > 0, "ill", "well")
    >>> LinearHeadClassifier(random_state=0).fit(Z, y).predict([[1, 0, 0, 0, 0]]).tolist()
    ['ill']
    """

    def fit(self, Z, y, sample_weight=None) -> Self:
        """Train the head.

        Parameters
        ----------
        Z : array-like of shape (n, d)
            Embeddings.
        y : array-like of shape (n,)
            Labels, two classes or more.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows in the loss; only their ratios matter.

        Returns
        -------
        self
        """
        Z, y = self._check(Z, y)
        if sample_weight is None:
            return self._train(Z, y)
        weights = _check_sample_weight(sample_weight, Z, ensure_non_negative=True)
        used = np.flatnonzero(weights)
        w = torch.from_numpy(weights[used] / weights[used].mean())
        # the weights are not divided by their sum over the batch, which would bias the gradient
        return self._train(
            Z[used], y[used], loss=lambda losses, rows, head: (w[rows] * losses).mean()
        )
