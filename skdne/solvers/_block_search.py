"""What the solvers that erase blocks share: the images they look at, and what they can tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from skdne.block_test import (
    N_FOLDS,
    Design,
    adjusted_p_values,
    held_out_scores,
    make_design,
    scores,
)
from skdne.blocks import BlockGrid
from skdne.objective import Objective

MORE = 4  # times as many images for the few tests of what is left as for each of the blocks


class BlockSearch:
    """One run over the blocks of a grid: what each tells, and which are erased.

    Parameters
    ----------
    L : Objective
        With the fit images; its ``selection`` holds the images that judge.
    grid : BlockGrid
    n_images : int
        Fit images to look at for each block, at most.
    level : float
        Chance of a false alarm, of each of the two tests: of the blocks, and of what is left.
    n_permutations : int
    probes : tuple of str
    rng : Generator
    """

    def __init__(
        self,
        L: Objective,
        grid: BlockGrid,
        *,
        n_images: int,
        level: float,
        n_permutations: int,
        probes: tuple[str, ...],
        rng: np.random.Generator,
    ) -> None:
        self.L, self.grid, self.level, self.probes = L, grid, level, probes
        self.few = self._sample(L, n_images, n_permutations, rng)
        self.many = self._sample(L, MORE * n_images, n_permutations, rng)
        if L.selection is not None:
            self.judges = self._sample(L.selection, MORE * n_images, n_permutations, rng, n_folds=1)
        self.erased = np.zeros(len(grid), dtype=bool)
        self.found = np.full((len(grid), 1 + n_permutations), np.nan)
        self.left = np.nan

    def _sample(
        self,
        L: Objective,
        n_images: int,
        n_permutations: int,
        rng: np.random.Generator,
        n_folds: int = N_FOLDS,
    ) -> tuple[np.ndarray, Design]:
        rows = draw_balanced(L, n_images, rng)
        strata = None if L.strata is None else L.strata[rows]
        return rows, make_design(L.codes[rows], strata, n_permutations, rng, n_folds)

    def scores(self, erased: np.ndarray, sample: tuple[np.ndarray, Design]) -> np.ndarray:
        """AUC of the best probe on these fit images with blocks erased, and its null."""
        return next(self.scores_each([erased], sample))

    def scores_each(
        self, masks: Sequence[np.ndarray], sample: tuple[np.ndarray, Design]
    ) -> Iterator[np.ndarray]:
        """The same for several sets of blocks; a service gets them together."""
        rows, design = sample
        for Z in self.L.embed_each([(self.grid.noise(erased), rows) for erased in masks]):
            yield scores(Z, design, self.probes)

    def accept(self, erased: np.ndarray, max_area: float) -> bool:
        """Erase exactly these blocks; none, and False, where they cover too much of the image."""
        fits = self.grid.area(erased) <= max_area
        self.erased = erased if fits else np.zeros_like(erased)
        return fits

    def is_readable(self) -> bool:
        """Test on the selection set whether the attribute can be read beside what is erased.

        The AUC of the best probe is kept in ``left``.
        """
        if self.L.selection is None:
            return False  # nothing to judge by
        found = self._held_out(self.erased)
        self.left = float(found[0])
        return bool(adjusted_p_values(found[None])[0] <= self.level)

    def restore_all_unless_worth(self, part: float) -> None:
        """Restore everything if what is erased took away less than this part of what was read."""
        if self.erased.any():
            before = self._held_out(np.zeros_like(self.erased))[0]
            if self.left - 0.5 > (1 - part) * (before - 0.5):
                self.erased = np.zeros_like(self.erased)

    def _held_out(self, erased: np.ndarray) -> np.ndarray:
        """AUC on the selection set of the best probe trained on fit images, and its null."""
        assert self.L.selection is not None
        noise = self.grid.noise(erased)
        (rows, design), (judges, design_of_judges) = self.many, self.judges
        return held_out_scores(
            self.L.embed(noise, rows),
            design.labels[:, 0],
            design.strata,
            self.L.selection.embed(noise, judges),
            design_of_judges,
            self.probes,
        )

    def erase_more(self, max_area: float) -> bool:
        """Erase a ring around what is erased, or a neighbourhood: that without which least is read.

        False, and nothing is erased, where the fit images do not tell the attribute themselves, and
        where nothing takes away half of what can be read: it then shows in too many places.
        """
        now = self.scores(self.erased, self.many)
        if adjusted_p_values(now[None])[0] > self.level:
            return False
        ring = np.any([self.grid.window(int(b)) for b in np.flatnonzero(self.erased)], axis=0)
        windows = [self.grid.window(int(b)) for b in np.flatnonzero(~self.erased)]
        rings = [ring] if self.erased.any() else []
        for candidates, sample in ((rings, self.many), (windows, self.few)):
            masks = [self.erased | blocks for blocks in candidates]
            masks = [mask for mask in masks if self.grid.area(mask) <= max_area]
            after = [found[0] for found in self.scores_each(masks, sample)]
            if masks and min(after) - 0.5 <= (now[0] - 0.5) / 2:
                erased = self.erased
                self.erased = masks[int(np.argmin(after))]
                added = np.flatnonzero(self.erased & ~erased)
                self.restore(added[np.argsort(self.found[added, 0], kind="stable")])
                return True
        return False

    def restore(self, blocks: np.ndarray) -> None:
        """Restore those of these erased blocks, in this order, that tell nothing anew."""
        now = self.scores(self.erased, self.many)[0]
        for block in blocks:
            fewer = self.erased.copy()
            fewer[block] = False
            found = self.scores(fewer, self.many)
            if found[0] <= max(now, np.quantile(found[1:], 1 - self.level)):
                self.erased, now = fewer, max(now, found[0])

    def table(self) -> pd.DataFrame:
        """One row for each block: place, AUC and p-value if it was shown alone, erased or not."""
        top, left = self.grid.corners().T
        return pd.DataFrame(
            {
                "top": top,
                "left": left,
                "size": self.grid.size,
                "auc": self.found[:, 0],
                "p_value": adjusted_p_values(self.found),
                "erased": self.erased,
            }
        )


def draw_balanced(L: Objective, n_images: int, rng: np.random.Generator) -> np.ndarray:
    """Rows to look at, one for each patient, as equal in number over (y, a) cells as there are."""
    rows = rng.permutation(len(L))
    if L.groups is not None:
        rows = rows[np.unique(L.groups[rows], return_index=True)[1]]
    cells = L.cells
    present = np.unique(cells[rows])
    each = max(1, n_images // len(present))
    return np.sort(np.concatenate([rows[cells[rows] == cell][:each] for cell in present]))
