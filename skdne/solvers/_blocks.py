"""What the solvers that erase blocks share: their parameters, and going on with what is left."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from skdne.block_power import Power, power_of
from skdne.block_test import PROBES, Design
from skdne.blocks import FILLS, BlockGrid, default_block_size
from skdne.budget import BudgetExhaustedError
from skdne.encoders import Encoder
from skdne.noise import NoiseSpace
from skdne.objective import Objective
from skdne.query_estimate import bill, n_erasable
from skdne.solvers._base import NoiseSolver, OnEpoch, Solution
from skdne.solvers._block_samples import MORE, Labels, Samples, draw_samples
from skdne.solvers._block_search import BlockSearch

MAX_MORE = 3  # times that more is erased around, or beside, the blocks that were found
WORTH = 0.2  # part of what can be read that an erasure must take away to be kept


class BlockSolver(NoiseSolver):
    """Base of the solvers that erase blocks."""

    lowers_objective: ClassVar[bool] = False
    clip = True  # without clipping an erased block still tells everything
    refit_every = None
    n_iter_no_change = None

    block_size: int | None
    n_images: int
    level: float
    fill: str
    max_area: float
    n_permutations: int
    probes: tuple[str, ...]

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "block_size": [Interval(Integral, 1, None, closed="left"), None],
        "n_images": [Interval(Integral, 8, None, closed="left")],
        "level": [Interval(Real, 0, 1, closed="neither")],
        "fill": [StrOptions(set(FILLS))],
        "max_area": [Interval(Real, 0, 1, closed="right")],
        "n_permutations": [Interval(Integral, 1, None, closed="left")],
        "probes": [tuple, list],
    }

    def validate(self) -> None:
        """Check the parameters, before any work."""
        super().validate()
        if not self.probes or set(self.probes) - set(PROBES):
            raise ValueError(f"probes must be some of {PROBES}, got {self.probes!r}.")
        if (self.n_permutations + 1) * self.level < 2:
            raise ValueError(
                f"n_permutations={self.n_permutations} can never reach level={self.level}: give "
                f"n_permutations={int(np.ceil(2 / self.level)) - 1} or more."
            )

    def grid(self, image_shape: tuple[int, ...], encoder: Encoder) -> BlockGrid:
        """Blocks of images of this shape."""
        size = self.block_size or default_block_size(image_shape[1:], encoder.patch_size)
        return BlockGrid((image_shape[1], image_shape[2]), size, self.fill)

    def space(self, image_shape: tuple[int, ...]) -> NoiseSpace:
        """Form of the noise: one plane, shared by the channels."""
        return NoiseSpace(image_shape)

    def queries_of_first_part(
        self, n_fit: int, image_shape: tuple[int, ...], encoder: Encoder
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Streams before what is left is tested, at least and at most, for :func:`bill`."""
        raise NotImplementedError

    def queries_in_all(
        self, n_fit: int, n_select: int, image_shape: tuple[int, ...], encoder: Encoder
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images and requests, at least and at most: what is found decides what is looked at next.

        The most holds where there are no more (y, attribute) cells than ``n_images``; the least
        where each cell can give its share of them.
        """
        grid, b = self.grid(image_shape, encoder), encoder.batch_size
        few, many, judges = (
            min(n, of)
            for n, of in (
                (self.n_images, n_fit),
                (MORE * self.n_images, n_fit),
                (MORE * self.n_images, n_select),
            )
        )
        least, most = (
            bill(streams, b) for streams in self.queries_of_first_part(n_fit, image_shape, encoder)
        )
        if not n_select:  # nothing to judge by, so nothing more is erased
            return least, most
        # BlockSearch.erase_more: a test of now, one of the ring, perhaps all windows and one that
        # decides, and a test for each block that was added, after one to compare with
        n_added = n_erasable(grid, self.max_area)
        ring = bill([(3 + n_added, many)], b)
        window = bill([(4 + min(9, n_added), many), (1, len(grid) * few)], b)
        held_out = bill([(1, many), (1, judges)], b)  # a last one before all is restored
        return least, most + (MAX_MORE + 2) * held_out + MAX_MORE * np.maximum(ring, window)

    @property
    def level_of_each(self) -> float:
        """Level of either test, of the blocks and of what is left: together they have the whole."""
        return self.level / 2

    def power(
        self,
        fit: Labels,
        select: Labels | None,
        image_shape: tuple[int, ...],
        encoder: Encoder,
        seed: int,
    ) -> tuple[Power, Power | None]:
        """What a search on such labels could show; nothing is sent.

        Parameters
        ----------
        fit, select : Labels
            Of the images that it would look at, and of the selection set.
        image_shape : tuple of int
            (C, H, W) of what the encoder sees.
        encoder : Encoder
        seed : int
            That of :meth:`minimize`, which then draws the same images.

        Returns
        -------
        blocks : Power
            Of the test by which a block is erased, or kept so.
        left : Power or None
            Of the test of what is left; None without a selection set.
        """
        rng = np.random.default_rng(seed)
        samples = draw_samples(fit, select, self.n_images, self.n_permutations, rng)
        design, n_tests = self.test_of_blocks(samples, len(self.grid(image_shape, encoder)))
        level = self.level_of_each
        judges = samples.judges
        return power_of(design, level, n_tests), judges and power_of(judges[1], level)

    def test_of_blocks(self, samples: Samples, n_blocks: int) -> tuple[Design, int]:
        """Of the test by which a block is erased, or kept so: the images, and how many share it."""
        raise NotImplementedError

    def epochs(self, search: BlockSearch, seed: int, stop: list[str]) -> Iterator[float]:
        """Do one thing after another; yield a figure of each, leave in ``stop`` why it ended."""
        raise NotImplementedError

    def minimize(self, objective: Objective, seed: int, on_epoch: OnEpoch) -> Solution:
        """Find blocks and erase them.

        Returns
        -------
        Solution
            The loss curve holds what ``epochs`` yields.
        """
        search = BlockSearch(
            objective,
            self.grid(objective.space.image_shape, objective.encoder),
            n_images=self.n_images,
            level=self.level_of_each,
            n_permutations=self.n_permutations,
            probes=tuple(self.probes),
            rng=np.random.default_rng(seed),
        )
        curve: list[float] = []
        stop: list[str] = []
        try:
            for figure in self.epochs(search, seed, stop):
                curve.append(figure)
                if on_epoch(search.grid.noise(search.erased), curve):
                    stop.append("callback")
                    break
        except BudgetExhaustedError:
            stop.append("max_queries")
        return Solution(search.grid.noise(search.erased), curve, stop[0], search.table())

    def erase_what_is_left(self, search: BlockSearch, stop: list[str]) -> Iterator[float]:
        """While the attribute is read on the selection set, erase more; restore all if in vain.

        Yields the AUC of the best probe after each test; leaves in ``stop`` why it ended.
        """
        if not search.can_test_what_is_left:
            stop.append("not tested")
            return
        reason = "max_iter"
        for n_more in range(MAX_MORE + 1):
            is_readable = search.is_readable()
            yield search.left
            if not is_readable:
                stop.append("converged")
                return
            if n_more < MAX_MORE and not search.erase_more(self.max_area):
                reason = "not located"
                break
        search.restore_all_unless_worth(WORTH)
        stop.append(reason)
