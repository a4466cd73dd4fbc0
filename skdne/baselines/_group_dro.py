"""GroupDROClassifier: minimise the loss of the worst group."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils._param_validation import Interval

from skdne.baselines._cells import check_groups
from skdne.baselines._linear_head import RECIPE_CONSTRAINTS, TorchLinearClassifier
from skdne.baselines._training import balanced_batches, shuffled_batches


class GroupDROClassifier(TorchLinearClassifier):
    """Group distributionally robust optimisation of a linear head on embeddings, re-implemented.

    The groups are the cells of label and attribute. Groups with a high loss get a high weight; a
    converged model fits all groups perfectly and has nothing to weigh, hence ``alpha`` or few
    epochs.

    Parameters
    ----------
    group_step_size : float, default=0.01
        eta, of the exponentiated-gradient step on the groups' weights q.
    adjustment : float, default=0.0
        C: adds ``C / sqrt(n_g)`` to the loss of group g where its weight is set. 0 does nothing.
    alpha : float, default=0.1
        L2 penalty: ``alpha / 2 * ||W||^2`` is added to the loss. The original's weight decay on
        CelebA, where 1e-4 let every group be fitted.
    balanced_sampling : bool, default=True
        Draw batches with equally many rows of each group, as the original's runs do in expectation.
        False shuffles: then a rare group is missing from many batches, and its weight is set by
        the losses of few rows.
    step_size, weight_decay, max_iter, batch_size, init_std, random_state
        The papers' recipe, see :class:`LinearHeadClassifier`.

    Attributes
    ----------
    group_weights_ : dict of str to float
        q after the last batch; they sum to 1.
    classes_, coef_, intercept_, loss_curve_, n_iter_, n_features_in_
        See :class:`LinearHeadClassifier`. The loss is ``sum_g q_g loss_g`` with the penalty.

    Notes
    -----
    For each batch, with loss_g the mean cross-entropy of its rows of group g (0 without any) and
    n_g the rows of g in all the data,

    .. math:: q_g \\leftarrow q_g \\exp(\\eta (loss_g + C / \\sqrt{n_g})), \\qquad
              q \\leftarrow q / \\sum_g q_g,

    then one AdamW step on ``sum_g q_g loss_g + alpha / 2 ||W||^2``. The original takes SGD with
    momentum steps through a whole network.

    References
    ----------
    Sagawa, Koh, Hashimoto, Liang 2020, "Distributionally robust neural networks for group shifts",
    Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skdne.baselines import GroupDROClassifier
    >>> rng = np.random.default_rng(0)
    >>> y, a = rng.integers(0, 2, size=(2, 400))
    >>> Z = rng.normal(size=(400, 4)) + np.column_stack([3 * y * a, y, a, a])
    >>> q = GroupDROClassifier(random_state=0).fit(Z, y, sensitive_features=a).group_weights_
    >>> list(q)
    ['y=0, 0', 'y=0, 1', 'y=1, 0', 'y=1, 1']
    """

    __metadata_request__fit: ClassVar[dict[str, bool]] = {"sensitive_features": True}

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **RECIPE_CONSTRAINTS,
        "group_step_size": [Interval(Real, 0, None, closed="left")],
        "adjustment": [Interval(Real, 0, None, closed="left")],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "balanced_sampling": ["boolean"],
    }

    def __init__(
        self,
        *,
        group_step_size=0.01,
        adjustment=0.0,
        alpha=0.1,
        balanced_sampling=True,
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
        self.group_step_size = group_step_size
        self.adjustment = adjustment
        self.alpha = alpha
        self.balanced_sampling = balanced_sampling

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
        groups = check_groups(sensitive_features, y, len(Z))
        strata = torch.from_numpy(groups.strata)
        counts = torch.from_numpy(groups.counts.astype(np.float64))
        q = torch.full((len(counts),), 1 / len(counts), dtype=torch.float64)

        def robust_loss(losses: torch.Tensor, rows: np.ndarray, head: torch.nn.Linear):
            nonlocal q
            group_losses = mean_by_group(losses, strata[rows], len(counts))
            raised = group_losses.detach() + self.adjustment / counts.sqrt()
            q = q * torch.exp(self.group_step_size * raised)
            q = q / q.sum()
            return q @ group_losses + self.alpha / 2 * head.weight.square().sum()

        if self.balanced_sampling:
            batches = balanced_batches(groups.strata, self.batch_size)
        else:
            batches = shuffled_batches(len(groups.rows), self.batch_size)
        self._train(Z[groups.rows], y[groups.rows], batches, robust_loss)
        self.group_weights_ = dict(zip(groups.names, q.tolist(), strict=True))
        return self


def mean_by_group(losses: torch.Tensor, strata: torch.Tensor, n_groups: int) -> torch.Tensor:
    """Mean of the losses of each group; 0 for a group without any."""
    member = torch.nn.functional.one_hot(strata, n_groups).to(losses)
    return (losses @ member) / member.sum(dim=0).clamp(min=1)
