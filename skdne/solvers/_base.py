"""What the solvers share: the form of the noise, one step's result, and the loop around steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval

from skdne.attribute import draw_evenly
from skdne.block_power import Power
from skdne.budget import BudgetExhaustedError
from skdne.encoders import Encoder
from skdne.noise import NoiseSpace
from skdne.objective import Objective
from skdne.query_estimate import bill
from skdne.solvers._block_samples import Labels


@dataclasses.dataclass(frozen=True)
class Step:
    """State after one step: the parameters, L(eps) as last evaluated, and if an epoch ends."""

    theta: torch.Tensor
    loss: float
    ends_epoch: bool


OnEpoch = Callable[[torch.Tensor, list[float]], bool]


@dataclasses.dataclass(frozen=True)
class Solution:
    """Where a solver stopped and why: ``stop_reason_`` of the transformer.

    Solvers that erase blocks add a table of them.
    """

    theta: torch.Tensor
    loss_curve: list[float]
    stop_reason: str
    blocks: pd.DataFrame | None = None


class NoiseSolver(BaseEstimator):
    """Base of the solvers. A subclass is its pseudo-code: a generator of steps.

    ``iterate(objective, seed)`` yields a :class:`Step` after each step. Every random draw comes
    from ``np.random.default_rng([seed, epoch, ...])``, so a draw depends on its place alone.
    """

    needs_gradient: ClassVar[bool]
    lowers_objective: ClassVar[bool] = True  # the noise is worth keeping iff L(eps) < L(0)

    max_iter: int
    batch_size: int
    clip: bool
    radius: float | None
    per_channel: bool
    grid_size: int | None
    refit_every: int | None
    n_images: int | None
    n_iter_no_change: int | None

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "step_size": [Interval(Real, 0, None, closed="neither")],
        "clip": ["boolean"],
        "radius": [Interval(Real, 0, None, closed="neither"), None],
        "per_channel": ["boolean"],
        "grid_size": [Interval(Integral, 1, None, closed="left"), None],
        "refit_every": [Interval(Integral, 1, None, closed="left"), None],
        "n_images": [Interval(Integral, 8, None, closed="left"), None],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), None],
    }

    def space(self, image_shape: tuple[int, ...]) -> NoiseSpace:
        """Form of the noise for images of this shape."""
        return NoiseSpace(image_shape, self.per_channel, self.grid_size)

    def validate(self) -> None:
        """Check the parameters, before any work."""
        self._validate_params()

    def n_epochs(self, image_shape: tuple[int, ...], encoder: Encoder) -> int:
        """Epochs at most: how often ``on_epoch`` is called."""
        return self.max_iter

    def fewest_epochs(self) -> int:
        """Epochs at least, unless a callback or the budget ends them."""
        if self.n_iter_no_change is None:
            return self.max_iter
        return min(self.max_iter, 1 + self.n_iter_no_change)  # the first one is the best so far

    def n_used(self, n_images: int) -> int:
        """How many of ``n_images`` SA images are looked at."""
        return n_images if self.n_images is None else min(n_images, self.n_images)

    def queries_per_epoch(self, n_images: int) -> int:
        """Images that one epoch sends for ``n_images`` SA images, without re-training g."""
        raise NotImplementedError

    def queries_per_step(self, n_images: int) -> int:
        """Images of one step, which are on their way together."""
        return min(self.batch_size, self.n_used(n_images))

    def queries_at_least(
        self, n_images: int, image_shape: tuple[int, ...], encoder: Encoder
    ) -> int:
        """Images that the solver must send to be of any use: those of one epoch."""
        return self.queries_per_epoch(n_images)

    def queries_in_all(
        self, n_fit: int, n_select: int, image_shape: tuple[int, ...], encoder: Encoder
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images and requests of all epochs, at least and at most, re-training g included.

        Parameters
        ----------
        n_fit, n_select : int
            SA images that the noise is fitted on, and that it is stopped by.
        image_shape : tuple of int
            (C, H, W).
        encoder : Encoder
        """
        step = self.queries_per_step(n_fit)
        full, rest = divmod(self.queries_per_epoch(n_fit), step)

        def of(epochs: int) -> np.ndarray:
            trained, judged = 0, 0
            if self.n_iter_no_change:
                trained = judged = epochs
            elif self.refit_every:
                trained = (epochs - 1) // self.refit_every
            streams = [(epochs * full, step), (epochs, rest)]
            streams += [(trained, self.n_used(n_fit)), (judged, self.n_used(n_select))]
            return bill(streams, encoder.batch_size)

        return of(self.fewest_epochs()), of(self.max_iter)

    def power(
        self,
        fit: Labels,
        select: Labels | None,
        image_shape: tuple[int, ...],
        encoder: Encoder,
        seed: int,
    ) -> tuple[Power, Power | None] | None:
        """What its tests could show on images with these labels; None: it tests nothing."""
        return None

    def iterate(self, objective: Objective, seed: int) -> Iterator[Step]:
        """Yield the steps of the minimisation."""
        raise NotImplementedError

    def minimize(self, objective: Objective, seed: int, on_epoch: OnEpoch) -> Solution:
        """Run the steps until they end, the callback says stop, or the budget is spent.

        Parameters
        ----------
        objective : Objective
        seed : int
        on_epoch : callable
            Gets theta and the loss curve after each epoch; True stops.

        Returns
        -------
        Solution
            With the last theta that was reached, also where the budget ended an epoch midway; with
            ``n_iter_no_change`` that of the epoch which left least to read, unless a callback
            ended it.
        """
        objective = self._sampled(objective, seed)
        theta = objective.space.zeros()
        curve: list[float] = []
        losses: list[float] = []
        left: list[float] = []  # AUC on the selection set, of a g trained anew, after each epoch
        best = None
        reason = "max_iter"
        try:
            for step in self.iterate(objective, seed):
                theta = step.theta
                losses.append(step.loss)
                if not step.ends_epoch:
                    continue
                curve.append(float(np.mean(losses)))
                losses = []
                if on_epoch(theta, curve):
                    reason, best = "callback", None
                    break
                epoch = len(curve)
                refits = self.refit_every and epoch % self.refit_every == 0
                if not self.n_iter_no_change and not (refits and epoch < self.max_iter):
                    continue
                g = objective.retrained(theta)
                if refits:
                    objective.attribute_classifier = g
                if self.n_iter_no_change:
                    left.append(objective.held_out_auc(g, theta))
                    since = epoch - 1 - int(np.argmin(left))
                    if not since:
                        best = theta
                    if since >= self.n_iter_no_change:
                        reason = "no_change"
                        break
        except BudgetExhaustedError:
            reason = "max_queries"
            curve += [float(np.mean(losses))] if losses else []
        return Solution(theta if best is None else best, curve, reason)

    def _sampled(self, objective: Objective, seed: int) -> Objective:
        """The objective over ``n_images`` of its images, and of its selection set."""
        if self.n_images is None:
            return objective
        rng = np.random.default_rng([seed, self.max_iter])  # no epoch draws from it
        part = objective.subset(draw_evenly(objective.cells, self.n_images, rng))
        if objective.selection is not None:
            rows = draw_evenly(objective.selection.cells, self.n_images, rng)
            part.selection = objective.selection.subset(rows)
        return part


def gaussian(space: NoiseSpace, rng: np.random.Generator) -> torch.Tensor:
    """Draw a standard normal direction in the solver's parameters."""
    return torch.from_numpy(rng.standard_normal(space.shape, dtype=np.float32))
