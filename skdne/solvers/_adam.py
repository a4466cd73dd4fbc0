"""Adam on the gradient through the encoder: the papers' white-box solver."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch

from skdne.objective import Objective
from skdne.solvers._base import NoiseSolver, Step


class Adam(NoiseSolver):
    """White-box solver: Adam on mini-batches, one optimiser for the whole fit.

    Parameters
    ----------
    step_size : float, default=0.01
        Learning rate, in pixel units of [0, 1]. The papers' value.
    max_iter : int, default=50
        Passes over the SA images (epochs). The papers' value.
    batch_size : int, default=64
        SA images of one step.
    clip : bool, default=False
        Clip x + eps to [0, 1], while fitting and in ``transform``. Without clipping the edit is
        the papers'; with it, saturated pixels carry nothing any more.
    radius : float or None, default=None
        Bound on ``||eps||_2``, kept by projection after each step (Eq. 1's ``th``).
    per_channel : bool, default=False
        Learn one plane for each channel instead of one shared plane.
    grid_size : int or None, default=None
        Learn a grid of this size, upsampled bilinearly; None learns every pixel.
    refit_every : int or None, default=None
        Train g anew on the edited embeddings every so many epochs.
    n_images : int or None, default=None
        SA images to learn from, at least 8, drawn evenly over the (y, attribute) cells; None takes
        all. With as many gradients, 320 did as well as 640 in ``benchmarks/speed.py``, 40 worse.
    n_iter_no_change : int or None, default=None
        Stop after so many epochs in which the attribute became no less readable on the selection
        set, and keep the noise that left least: after each epoch a g is trained anew on the edited
        images and tested on others, which sends each of them once more. None runs all epochs, as
        the papers do.

    References
    ----------
    Jin et al. 2024, "Debiased Noise Editing on Foundation Models for Fair Medical Image
    Classification", section 3.2.

    Examples
    --------
    >>> from skdne import Adam, DebiasedNoiseTransformer
    >>> DebiasedNoiseTransformer(solver=Adam(max_iter=20, clip=True)).solver.max_iter
    20
    """

    needs_gradient: ClassVar[bool] = True

    def __init__(
        self,
        *,
        step_size=0.01,
        max_iter=50,
        batch_size=64,
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
        return self.n_used(n_images)

    def iterate(self, objective: Objective, seed: int) -> Iterator[Step]:
        """Yield one step for each mini-batch of each pass."""
        n = len(objective)
        theta = objective.space.zeros()
        optimizer = torch.optim.Adam([theta], lr=self.step_size)
        for epoch in range(self.max_iter):
            order = np.random.default_rng([seed, epoch]).permutation(n)
            starts = range(0, n, self.batch_size)
            for start in starts:
                rows = order[start : start + self.batch_size]
                loss, theta.grad = objective.value_and_gradient(theta, rows)
                optimizer.step()
                theta.copy_(objective.space.project(theta, self.radius))
                yield Step(theta.clone(), loss, ends_epoch=start == starts[-1])
