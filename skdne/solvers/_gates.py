"""Gated erasure: a gate for each block, opened and closed by the gradient through the encoder."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval

from skdne import diagnostics
from skdne.block_test import Design
from skdne.blocks import BlockGrid
from skdne.encoders import Encoder, TorchBackend
from skdne.mmd import group_discrepancy
from skdne.objective import Objective
from skdne.query_estimate import n_erasable
from skdne.solvers._base import NoiseSolver
from skdne.solvers._block_samples import MORE, Samples, strata_with
from skdne.solvers._block_search import BlockSearch
from skdne.solvers._blocks import MAX_MORE, BlockSolver

FIRST, LAST = 1.0, 4.0  # steepness beta of the gates over the steps, and where they start:
CLOSED = 2.0  # everything is erased, and blocks are opened while the groups stay alike


class GatedErasure(BlockSolver):
    """White-box solver: learn which blocks to erase, by the gradient through the encoder.

    Each block has a gate m in (0, 1); what the encoder sees is ``(1 - m) x + m fill``. Minimised is
    the squared maximum mean discrepancy (MMD^2) between the embeddings of the groups, plus
    ``area_weight`` times the mean gate. At the end gates are rounded, and blocks are
    restored that tell nothing. As with :class:`BlockErasure` the edit is one additive image
    that saturates the erased blocks; it costs less where blocks are small, and it sees what only
    several blocks tell together.

    Parameters
    ----------
    block_size : int or None, default=None
        Side of a block in pixels of the encoder's input, at least 1. None is that of
        :class:`BlockErasure`.
    max_iter : int, default=60
        Steps.
    batch_size : int, default=128
        SA images of one step, equal in number over classes of the attribute, and of y within them;
        only those classes of y that hold all classes of the attribute take part.
    step_size : float, default=0.15
        Learning rate of Adam.
    area_weight : float, default=0.5
        Price of erasing, at least 0.
    fill : {"black", "white", "checkerboard"}, default="black"
        What erased pixels become.
    max_area : float, default=0.5
        Largest part of the image to erase, in (0, 1]. If more tells the attribute, nothing is
        erased.
    n_images : int, default=160
        SA images to judge with what blocks tell, as in :class:`BlockErasure`.
    level : float, default=0.05
        Level of those tests, in (0, 1).
    n_permutations : int, default=999
        Permutations of the attribute; they cost no query.
    probes : tuple of {"linear", "rbf"}, default=("linear", "rbf")
        Kernel-ridge probes that try to read the attribute; the best one counts.

    References
    ----------
    Gretton et al. 2012, "A kernel two-sample test", Eq. 3, for MMD^2.

    Examples
    --------
    >>> from skdne import DebiasedNoiseTransformer, GatedErasure
    >>> from skdne.datasets import make_biased_images
    >>> data = make_biased_images(120, correlation=0, random_state=0)
    >>> solver = GatedErasure(block_size=32, batch_size=64, n_images=40)
    >>> dne = DebiasedNoiseTransformer(solver=solver, leakage=False, random_state=0)
    >>> dne = dne.fit(data.images, data.target, sensitive_features=data.sensitive_features)
    >>> dne.blocks_.loc[dne.blocks_["erased"], ["top", "left"]].to_numpy().tolist()
    [[0, 64], [0, 96], [32, 64], [32, 96]]
    """

    needs_gradient: ClassVar[bool] = True

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BlockSolver._parameter_constraints,
        "max_iter": NoiseSolver._parameter_constraints["max_iter"],
        "step_size": NoiseSolver._parameter_constraints["step_size"],
        "batch_size": [Interval(Integral, 8, None, closed="left")],
        "area_weight": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        block_size=None,
        max_iter=60,
        batch_size=128,
        step_size=0.15,
        area_weight=0.5,
        fill="black",
        max_area=0.5,
        n_images=160,
        level=0.05,
        n_permutations=999,
        probes=("linear", "rbf"),
    ):
        self.block_size = block_size
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.step_size = step_size
        self.area_weight = area_weight
        self.fill = fill
        self.max_area = max_area
        self.n_images = n_images
        self.level = level
        self.n_permutations = n_permutations
        self.probes = probes

    def n_epochs(self, image_shape: tuple[int, ...], encoder: Encoder) -> int:
        """One for each step, one for each test of what is left."""
        return self.max_iter + MAX_MORE + 1

    def queries_per_epoch(self, n_images: int) -> int:
        """Images of one step; where there are fewer, some count more than once."""
        return self.batch_size

    def queries_of_first_part(
        self, n_fit: int, image_shape: tuple[int, ...], encoder: Encoder
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Streams of the steps, and of the tests that restore blocks which tell nothing."""
        steps = (self.max_iter, self.batch_size)
        tests = 1 + n_erasable(self.grid(image_shape, encoder), self.max_area)
        return [steps], [steps, (tests, min(MORE * self.n_images, n_fit))]

    def test_of_blocks(self, samples: Samples, n_blocks: int) -> tuple[Design, int]:
        """Many images for each, at a level of its own: gates make no promise on false alarms."""
        return samples.many[1], 1

    def epochs(self, search: BlockSearch, seed: int, stop: list[str]) -> Iterator[float]:
        """Learn the gates, restore what tells nothing, test what is left.

        Yields what is minimised for each step, then the AUC of the best probe for each test.
        """
        fits = False
        for loss, gates in self._steps(search.L, search.grid, seed):
            fits = search.accept(gates.numpy().ravel() > 0.5, self.max_area)
            yield loss
        if not fits:
            stop.append("max_area")
            return
        order = gates.numpy().ravel().argsort(kind="stable")
        search.restore(order[search.erased[order]])
        yield from self.erase_what_is_left(search, stop)

    def _steps(
        self, L: Objective, grid: BlockGrid, seed: int
    ) -> Iterator[tuple[float, torch.Tensor]]:
        """Adam on theta, the gates being sigmoid(beta theta); yields the loss and the gates."""
        assert isinstance(L.encoder, TorchBackend)
        device = L.encoder.torch_device
        comparable = _comparable(L)
        fill = grid.filled().to(device)
        theta = torch.full(grid.shape, CLOSED, requires_grad=True)
        adam = torch.optim.Adam([theta], lr=self.step_size)
        for step in range(self.max_iter):
            beta = FIRST + (LAST - FIRST) * step / max(1, self.max_iter - 1)
            rng = np.random.default_rng([seed, step])
            rows = _balanced_batch(L, comparable, self.batch_size, rng)
            with torch.enable_grad():
                m = torch.sigmoid(beta * theta)
                Z = L.embed_for_gradient(spread(m, grid).to(device), fill, rows)
                codes = torch.from_numpy(L.codes[rows]).to(device)
                loss = group_discrepancy(Z, codes).cpu() + self.area_weight * m.mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            yield float(loss.detach()), torch.sigmoid(beta * theta.detach())


def spread(gates: torch.Tensor, grid: BlockGrid) -> torch.Tensor:
    """One value for each block as pixels (H, W), differentiably."""
    pixels = gates.repeat_interleave(grid.size, 0).repeat_interleave(grid.size, 1)
    return pixels[: grid.image_size[0], : grid.image_size[1]]


def _comparable(L: Objective) -> np.ndarray:
    """Rows of those classes of y that hold all classes of the attribute.

    With others among them the attribute would go with y in a batch, however it is balanced, and
    what tells y would be erased.
    """
    rows = np.arange(len(L))
    if L.strata is None:
        return rows
    whole = strata_with(len(np.unique(L.codes)), L.codes, L.strata)
    if whole.any():
        return rows[whole]
    diagnostics.warn(
        "no class of y has images of all classes of the attribute: gates that hide the attribute "
        "then hide y. Use solver='erasure', which compares within y, merge groups, or give more "
        "images."
    )
    return rows


def _balanced_batch(
    L: Objective, rows: np.ndarray, batch_size: int, rng: np.random.Generator
) -> np.ndarray:
    """Of these rows, every (y, a) cell as often; images of small cells twice if need be."""
    of_cells = [rows[L.cells[rows] == cell] for cell in np.unique(L.cells[rows])]
    each = max(2, batch_size // len(of_cells))
    return np.concatenate([rng.choice(c, each, replace=len(c) < each) for c in of_cells])
