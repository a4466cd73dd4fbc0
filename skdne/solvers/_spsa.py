"""SPSA: a gradient estimated from antithetic pairs of evaluations, followed by Adam."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval

from skdne.objective import Objective
from skdne.solvers._base import NoiseSolver, Step, draw_batch, gaussian


class SPSA(NoiseSolver):
    """Black-box solver: Adam on an antithetic estimate of the gradient.

    With u_j standard normal and one mini-batch for the whole step,

        grad = 1/P sum_j (L(eps + sigma u_j) - L(eps - sigma u_j)) / (2 sigma) u_j

    Parameters
    ----------
    step_size : float, default=0.03
        Learning rate of Adam.
    max_iter : int, default=20
        Epochs, each of ``n_local_iter`` steps.
    n_local_iter : int, default=10
        Steps of an epoch.
    n_pairs : int, default=5
        Antithetic pairs P of a step.
    perturbation : float, default=0.05
        sigma, in pixel units of [0, 1].
    batch_size : int, default=32
        SA images of one evaluation; a step costs ``2 * n_pairs * batch_size`` queries.
    clip, radius, per_channel, refit_every
        See :class:`Adam`.
    grid_size : int or None, default=16
        Learn a grid of this size, upsampled bilinearly; None learns every pixel.

    References
    ----------
    Spall 1992, "Multivariate stochastic approximation using a simultaneous perturbation gradient
    approximation"; Nesterov and Spokoiny 2017, "Random gradient-free minimization of convex
    functions" (the normal directions).

    Examples
    --------
    >>> from skdne import SPSA
    >>> SPSA(n_pairs=5).n_pairs
    5
    """

    needs_gradient: ClassVar[bool] = False

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NoiseSolver._parameter_constraints,
        "n_local_iter": [Interval(Integral, 1, None, closed="left")],
        "n_pairs": [Interval(Integral, 1, None, closed="left")],
        "perturbation": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        *,
        step_size=0.03,
        max_iter=20,
        n_local_iter=10,
        n_pairs=5,
        perturbation=0.05,
        batch_size=32,
        clip=False,
        radius=None,
        per_channel=False,
        grid_size=16,
        refit_every=None,
    ):
        self.step_size = step_size
        self.max_iter = max_iter
        self.n_local_iter = n_local_iter
        self.n_pairs = n_pairs
        self.perturbation = perturbation
        self.batch_size = batch_size
        self.clip = clip
        self.radius = radius
        self.per_channel = per_channel
        self.grid_size = grid_size
        self.refit_every = refit_every

    def queries_per_epoch(self, n_images: int) -> int:
        """Images that one epoch sends for ``n_images`` SA images, without re-training g."""
        return self.n_local_iter * 2 * self.n_pairs * min(self.batch_size, n_images)

    def iterate(self, objective: Objective, seed: int) -> Iterator[Step]:
        """Yield one step for each gradient estimate."""
        sigma, P = self.perturbation, self.n_pairs
        theta = objective.space.zeros()
        optimizer = torch.optim.Adam([theta], lr=self.step_size)
        for epoch in range(self.max_iter):
            for r in range(self.n_local_iter):
                rows = draw_batch(
                    objective, self.batch_size, np.random.default_rng([seed, epoch, r])
                )
                gradient, losses = torch.zeros_like(theta), []
                for j in range(P):
                    u = gaussian(objective.space, np.random.default_rng([seed, epoch, r, j]))
                    up = objective.value(theta + sigma * u, rows)
                    down = objective.value(theta - sigma * u, rows)
                    gradient += (up - down) / (2 * sigma * P) * u
                    losses += [up, down]
                theta.grad = gradient
                optimizer.step()
                theta.copy_(objective.space.project(theta, self.radius))
                yield Step(theta.clone(), float(np.mean(losses)), r == self.n_local_iter - 1)
