"""The authors' released training loops, where they differ from the papers' text.

Written from a description of their behaviour (the public code of Jin et al. 2024), so that a
reproduction can explain itself; nobody should prefer them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from skdne.objective import Objective
from skdne.solvers import Adam, GeZO
from skdne.solvers._base import Step, gaussian
from skdne.solvers._batches import draw_batch


class ReleasedAdam(Adam):
    """Adam whose optimiser is made anew every epoch, so that it never gathers momentum."""

    def iterate(self, objective: Objective, seed: int) -> Iterator[Step]:
        """Yield one step for each mini-batch of each pass."""
        theta = objective.space.zeros()
        for epoch in range(self.max_iter):
            optimizer = torch.optim.Adam([theta], lr=self.step_size)
            order = np.random.default_rng([seed, epoch]).permutation(len(objective))
            starts = range(0, len(order), self.batch_size)
            for start in starts:
                rows = order[start : start + self.batch_size]
                loss, theta.grad = objective.value_and_gradient(theta, rows)
                optimizer.step()
                yield Step(theta.clone(), loss, ends_epoch=start == starts[-1])


class ReleasedGeZO(GeZO):
    """One local iteration an epoch; only +delta is ever scored, on the luckier of two batches."""

    def queries_per_epoch(self, n_images: int) -> int:
        """Both signs are sent, on two batches each, though only one sign counts."""
        return 4 * self.n_directions * min(self.batch_size, n_images)

    def iterate(self, objective: Objective, seed: int) -> Iterator[Step]:
        """Yield one step for each epoch."""
        eps = objective.space.zeros()
        for epoch in range(self.max_iter):
            rng = np.random.default_rng([seed, epoch])
            losses, directions = [], []
            for _ in range(self.n_directions):
                delta = self.step_size * gaussian(objective.space, rng)
                for sign in (-1, 1):
                    tried = [
                        objective.value(
                            eps + sign * delta, *draw_batch(objective, self.batch_size, rng)
                        )
                        for _ in range(2)
                    ]
                losses.append(min(tried))  # of the last sign, +1
                directions.append(delta)
            best = int(np.argmin(losses))
            eps = eps + directions[best]
            yield Step(eps, losses[best], ends_epoch=True)
