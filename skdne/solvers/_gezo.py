"""GeZO, greedy zeroth-order optimisation: Algorithm 1 of the papers."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval

from skdne.objective import Objective
from skdne.solvers._base import NoiseSolver, Step, gaussian
from skdne.solvers._batches import draw_batch


class GeZO(NoiseSolver):
    """Black-box solver: greedy zeroth-order search with momentum (Algorithm 1).

    Parameters
    ----------
    step_size : float, default=0.01
        Standard deviation s of a perturbation, at the start of each epoch. Where the encoder is
        sent whole grey levels, s is never less than half a level.
    max_iter : int, default=20
        Epochs, that is calls of UpdateEditionPerEpoch.
    n_local_iter : int, default=10
        Local iterations R of an epoch.
    n_directions : int, default=5
        Sample times C; each direction is tried with both signs.
    momentum : float, default=0.9
        mu, in [0, 1).
    decay : float, default=0.95
        k: the step shrinks by it where no direction improves.
    shared_batch : bool, default=True
        Evaluate all candidates of a step on one mini-batch. False is Algorithm 1 as printed: each
        candidate has a batch of its own, and the luck of the batch decides.
    include_current : bool, default=False
        Evaluate the current noise too, so that "best" means better than now. False is Algorithm 1
        as printed: the best loss of the epoch so far is the bar. With True a very confident g can
        leave the search stuck at zero: the penalty on a step exceeds all that it changes.
    batch_size : int, default=64
        SA images of one evaluation, where y is given oftener from small (y, attribute) cells.
    clip, radius, per_channel, refit_every, n_images, n_iter_no_change
        See :class:`Adam`.
    grid_size : int or None, default=16
        Learn a grid of this size, upsampled bilinearly; None (as printed) learns every pixel.

    Notes
    -----
    An epoch costs ``n_local_iter * 2 * n_directions * batch_size`` queries, and one batch more for
    each local iteration with ``include_current``. Two slips of the print are mended in every
    setting: it returns eps^R, which would discard the last update, and leaves eps and v undefined
    where no direction improves; here eps^{R+1} is returned, and both carry over.

    ``GeZO(max_iter=50, shared_batch=False, grid_size=None)`` is the algorithm as printed. SPSA
    reached the same objective with an eighth of its queries, or fewer, on every seed of
    ``benchmarks/black_box.py``.

    References
    ----------
    Jin et al. 2024, "Universal Debiased Editing on Foundation Models for Fair Medical Image
    Classification", Algorithm 1.

    Examples
    --------
    >>> from skdne import GeZO
    >>> GeZO(n_local_iter=10, n_directions=5).n_local_iter
    10
    """

    needs_gradient: ClassVar[bool] = False

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NoiseSolver._parameter_constraints,
        "n_local_iter": [Interval(Integral, 1, None, closed="left")],
        "n_directions": [Interval(Integral, 1, None, closed="left")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "decay": [Interval(Real, 0, 1, closed="right")],
        "shared_batch": ["boolean"],
        "include_current": ["boolean"],
    }

    def __init__(
        self,
        *,
        step_size=0.01,
        max_iter=20,
        n_local_iter=10,
        n_directions=5,
        momentum=0.9,
        decay=0.95,
        shared_batch=True,
        include_current=False,
        batch_size=64,
        clip=False,
        radius=None,
        per_channel=False,
        grid_size=16,
        refit_every=None,
        n_images=None,
        n_iter_no_change=None,
    ):
        self.step_size = step_size
        self.max_iter = max_iter
        self.n_local_iter = n_local_iter
        self.n_directions = n_directions
        self.momentum = momentum
        self.decay = decay
        self.shared_batch = shared_batch
        self.include_current = include_current
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
        """Images of one local iteration, which are on their way together."""
        n_candidates = 2 * self.n_directions + self.include_current
        return n_candidates * super().queries_per_step(n_images)

    def iterate(self, objective: Objective, seed: int) -> Iterator[Step]:
        """Yield one step for each local iteration r. The names are those of Algorithm 1."""
        R, mu, k = self.n_local_iter, self.momentum, self.decay
        levels = objective.encoder.levels
        smallest = 1 / (2 * levels) if levels else 0.0  # less is rounded away on the wire
        eps = objective.space.zeros()
        for epoch in range(self.max_iter):
            s, v, L_best = max(self.step_size, smallest), torch.zeros_like(eps), np.inf
            for r in range(R):
                d_best, L_best = self._greedy_gradient(objective, eps, s, L_best, [seed, epoch, r])
                if d_best is not None:
                    v = mu * v + d_best
                    eps = objective.space.project(eps + v, self.radius)
                else:
                    s = max(k * s, smallest)
                yield Step(eps, L_best, ends_epoch=r == R - 1)

    def _greedy_gradient(
        self, objective: Objective, eps: torch.Tensor, s: float, L_best: float, seed: list[int]
    ) -> tuple[torch.Tensor | None, float]:
        d_best = None
        B = self.batch_size
        shared = draw_batch(objective, B, np.random.default_rng(seed))
        steps, candidates = [], []
        for c in range(self.n_directions):
            rng = np.random.default_rng([*seed, c])
            delta = gaussian(objective.space, rng) * s
            for d in (-1, 1):
                batch = shared if self.shared_batch else draw_batch(objective, B, rng)
                steps.append(d * delta)
                candidates.append((eps + d * delta, *batch))
        if self.include_current:
            candidates.append((eps, *shared))
        losses = objective.values(candidates)
        if self.include_current:
            L_best = losses.pop()
        for step, L in zip(steps, losses, strict=True):
            if L_best > L:
                L_best, d_best = L, step
        return d_best, L_best
