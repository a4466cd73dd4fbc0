"""Block erasure: find the blocks that tell the attribute, and saturate them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from skdne.block_test import Design, adjusted_p_values
from skdne.encoders import Encoder
from skdne.solvers._block_samples import Samples
from skdne.solvers._block_search import BlockSearch
from skdne.solvers._blocks import MAX_MORE, BlockSolver


class BlockErasure(BlockSolver):
    """Black-box solver: erase the blocks of the image from which the attribute can be read.

    First, each block is shown alone, all else erased, and probes trained out of fold try to read
    the attribute from it. Blocks that tell more than permuted attributes do anywhere in the image
    are erased: the noise saturates them, clipping makes them constant, and no probe, however
    strong, reads anything there. Then the edited images of the selection set are tested. While the
    attribute is still read there, as where only several blocks together tell it, the
    neighbourhood is erased without which least can be read, and what is erased in vain restored.

    It needs embeddings only and works where the attribute shows *somewhere*: a marker, burned-in
    text, a border, a device. Where it shows everywhere, nothing is erased and ``verdict_`` says so.

    Parameters
    ----------
    block_size : int or None, default=None
        Side of a block in pixels of the encoder's input, at least 1. None is the smallest multiple
        of the encoder's patch size that makes 64 blocks at most.
    n_images : int, default=160
        SA images to look at, of as many patients, balanced over (y, attribute) cells as far as
        there are; at least 8.
    level : float, default=0.05
        Chance of erasing anything where nothing tells the attribute, in (0, 1).
    fill : {"black", "white", "checkerboard"}, default="black"
        What erased pixels become.
    max_area : float, default=0.5
        Largest part of the image to erase, in (0, 1]. If more tells the attribute, nothing is
        erased.
    n_permutations : int, default=999
        Permutations of the attribute, at least 2 / level - 1; they cost no query.
    probes : tuple of {"linear", "rbf"}, default=("linear", "rbf")
        Kernel-ridge probes that try to read the attribute; the best one counts.

    Notes
    -----
    Queries: ``n_blocks * n_images`` at most for the first part, and ``8 * n_images`` for a test of
    what is left, with which it ends as a rule. Erasing more costs about as much as the first part
    each time, three times at most.

    A cue in a block that n_images do not suffice to see stays; the second part sees it only if
    what such blocks tell adds up.

    References
    ----------
    The edit has the form of Jin et al. 2024, Eq. 1: one additive image, shared by all. The test:
    Westfall and Young 1993, "Resampling-based multiple testing".

    Examples
    --------
    >>> from skdne import BlockErasure, DebiasedNoiseTransformer
    >>> from skdne.datasets import make_biased_images
    >>> data = make_biased_images(120, correlation=0, random_state=0)
    >>> solver = BlockErasure(block_size=32, n_images=40)
    >>> dne = DebiasedNoiseTransformer(solver=solver, leakage=False, random_state=0)
    >>> dne = dne.fit(data.images, data.target, sensitive_features=data.sensitive_features)
    >>> dne.blocks_.loc[dne.blocks_["erased"], ["top", "left"]].to_numpy().tolist()
    [[0, 64], [0, 96], [32, 64], [32, 96]]
    """

    needs_gradient: ClassVar[bool] = False

    def __init__(
        self,
        *,
        block_size=None,
        n_images=160,
        level=0.05,
        fill="black",
        max_area=0.5,
        n_permutations=999,
        probes=("linear", "rbf"),
    ):
        self.block_size = block_size
        self.n_images = n_images
        self.level = level
        self.fill = fill
        self.max_area = max_area
        self.n_permutations = n_permutations
        self.probes = probes

    def n_epochs(self, image_shape: tuple[int, ...], encoder: Encoder) -> int:
        """One for each block, one for each test of what is left."""
        return len(self.grid(image_shape, encoder)) + MAX_MORE + 1

    def queries_per_epoch(self, n_images: int) -> int:
        """Images that are sent for one block."""
        return min(self.n_images, n_images)

    def queries_at_least(
        self, n_images: int, image_shape: tuple[int, ...], encoder: Encoder
    ) -> int:
        """Images that are sent to look at each block once."""
        return len(self.grid(image_shape, encoder)) * self.queries_per_epoch(n_images)

    def queries_of_first_part(
        self, n_fit: int, image_shape: tuple[int, ...], encoder: Encoder
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """One stream that shows each block alone."""
        stream = [(1, len(self.grid(image_shape, encoder)) * self.queries_per_epoch(n_fit))]
        return stream, stream

    def test_of_blocks(self, samples: Samples, n_blocks: int) -> tuple[Design, int]:
        """Few images for each; all blocks share the level."""
        return samples.few[1], n_blocks

    def epochs(self, search: BlockSearch, seed: int, stop: list[str]) -> Iterator[float]:
        """Look at each block, then test what is left.

        Yields the AUC of the best probe: for each block shown alone, then for each of those tests.
        """
        fits = True
        all_but_one = list(~np.eye(len(search.grid), dtype=bool))
        for block, found in enumerate(search.scores_each(all_but_one, search.few)):
            search.found[block] = found
            telling = adjusted_p_values(search.found) <= search.level
            fits = search.accept(telling, self.max_area)
            yield float(search.found[block, 0])
        if fits:
            yield from self.erase_what_is_left(search, stop)
        else:
            stop.append("max_area")
