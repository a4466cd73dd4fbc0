"""SPSA: a gradient estimated from antithetic pairs of evaluations, followed by Adam."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval

from skdne.objective import Objective
from skdne.solvers._base import NoiseSolver, Step, gaussian
from skdne.solvers._batches import draw_by_weight


class SPSA(NoiseSolver):
    """Black-box solver: Adam on an antithetic estimate of the gradient.

    With u_j standard normal, and a mini-batch for each pair,

        grad = 1/P sum_j (L(eps + sigma u_j) - L(eps - sigma u_j)) / (2 sigma) u_j

    Parameters
    ----------
    step_size : float, default=0.03
        Learning rate of Adam.
    max_iter : int, default=20
        Epochs, each of ``n_local_iter`` steps.
    n_local_iter : int, default=10
        Steps of an epoch.
    n_pairs : int, default=10
        Antithetic pairs P of a step.
    perturbation : float, default=0.05
        sigma, in pixel units of [0, 1]. Where the encoder is sent whole grey levels, sigma is never
        less than half a level.
    batch_size : int, default=2
        SA images of one evaluation, drawn evenly over the classes of the attribute, and where y is
        given oftener from small (y, attribute) cells; a step costs ``2 * n_pairs * batch_size``
        queries. A query buys most where it tries another direction, so few images and many pairs
        are better than the reverse.
    clip, radius, per_channel, refit_every, n_images, n_iter_no_change
        See :class:`Adam`.
    grid_size : int or None, default=None
        Learn a grid of this size, upsampled bilinearly; None learns every pixel.

    Notes
    -----
    A larger step, such as .1, needs fewer queries to the same objective and makes a larger noise
    (``benchmarks/black_box.py`` has both). Either way a low objective says that this g is fooled,
    not that a classifier trained anew would be.

    References
    ----------
    Spall 1992, "Multivariate stochastic approximation using a simultaneous perturbation gradient
    approximation"; Nesterov and Spokoiny 2017, "Random gradient-free minimization of convex
    functions" (the normal directions).

    Examples
    --------
    >>> from skdne import SPSA
    >>> SPSA(n_pairs=20).n_pairs
    20
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
        n_pairs=10,
        perturbation=0.05,
        batch_size=2,
        clip=False,
        radius=None,
        per_channel=False,
        grid_size=None,
        refit_every=None,
        n_images=None,
        n_iter_no_change=None,
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
        self.n_images = n_images
        self.n_iter_no_change = n_iter_no_change

    def queries_per_epoch(self, n_images: int) -> int:
        """Images that one epoch sends for ``n_images`` SA images, without re-training g."""
        return self.n_local_iter * self.queries_per_step(n_images)

    def queries_per_step(self, n_images: int) -> int:
        """Images of one step, which are on their way together."""
        return 2 * self.n_pairs * super().queries_per_step(n_images)

    def iterate(self, objective: Objective, seed: int) -> Iterator[Step]:
        """Yield one step for each gradient estimate."""
        P, levels = self.n_pairs, objective.encoder.levels
        smallest = 1 / (2 * levels) if levels else 0.0  # less is rounded away on the wire
        sigma = max(self.perturbation, smallest)
        theta = objective.space.zeros()
        optimizer = torch.optim.Adam([theta], lr=self.step_size)
        for epoch in range(self.max_iter):
            for r in range(self.n_local_iter):
                directions, candidates = [], []
                for j in range(P):
                    rng = np.random.default_rng([seed, epoch, r, j])
                    u = gaussian(objective.space, rng)
                    batch = draw_by_weight(objective.codes, objective.weights, self.batch_size, rng)
                    directions.append(u)
                    candidates.append((theta + sigma * u, *batch))
                    candidates.append((theta - sigma * u, *batch))
                losses = objective.values(candidates)
                gradient = torch.zeros_like(theta)
                for u, up, down in zip(directions, losses[::2], losses[1::2], strict=True):
                    gradient += (up - down) / (2 * sigma * P) * u
                theta.grad = gradient
                optimizer.step()
                theta.copy_(objective.space.project(theta, self.radius))
                yield Step(theta.clone(), float(np.mean(losses)), r == self.n_local_iter - 1)
