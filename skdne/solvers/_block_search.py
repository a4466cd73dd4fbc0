"""What the solvers that erase blocks share: the images they look at, and what they can tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from skdne.block_power import smallest_p_value
from skdne.block_test import adjusted_p_values, held_out_scores, scores
from skdne.blocks import BlockGrid
from skdne.objective import Objective
from skdne.solvers._block_samples import Sample, draw_samples


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
        samples = draw_samples(L, L.selection, n_images, n_permutations, rng)
        self.few, self.many, self.judges, self.choosing, self.deciding = samples
        self.erased = np.zeros(len(grid), dtype=bool)
        self.found = np.full((len(grid), 1 + n_permutations), np.nan)
        self.left = np.nan

    def scores(self, erased: np.ndarray, sample: Sample) -> np.ndarray:
        """AUC of the best probe on these fit images with blocks erased, and its null."""
        return next(self.scores_each([erased], sample))

    def scores_each(self, masks: Sequence[np.ndarray], sample: Sample) -> Iterator[np.ndarray]:
        """The same for several sets of blocks; a service gets them together."""
        rows, design = sample
        for Z in self.L.embed_each([(self.grid.noise(erased), rows) for erased in masks]):
            yield scores(Z, design, self.probes)

    def accept(self, erased: np.ndarray, max_area: float) -> bool:
        """Erase exactly these blocks; none, and False, where they cover too much of the image."""
        fits = self.grid.area(erased) <= max_area
        self.erased = erased if fits else np.zeros_like(erased)
        return fits

    @property
    def can_test_what_is_left(self) -> bool:
        """Whether there is a selection set on which the attribute could be found at all."""
        return self.judges is not None and smallest_p_value(self.judges[1]) <= self.level

    def is_readable(self) -> bool:
        """Test on the selection set whether the attribute can be read beside what is erased.

        The AUC of the best probe is kept in ``left``.
        """
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
        assert self.judges is not None
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

        It must take away half of what can be read, on the same images before and after. The
        neighbourhood is chosen by some images and judged by others: the least of many AUCs is low
        by luck, where the attribute shows everywhere.

        False, and nothing is erased, where the fit images do not tell the attribute themselves, and
        where nothing takes away half of what can be read: it then shows in too many places.
        """
        rows, design = self.many
        Z = self.L.embed(self.grid.noise(self.erased), rows)
        now = scores(Z, design, self.probes)
        if adjusted_p_values(now[None])[0] > self.level:
            return False
        ring = self._with(np.flatnonzero(self.erased))
        fits = self.erased.any() and self.grid.area(ring) <= max_area
        if fits and takes_half(now[0], self.scores(ring, self.many)[0]):
            return self._erase(ring)
        windows = [self._with(block) for block in np.flatnonzero(~self.erased)[:, None]]
        windows = [mask for mask in windows if self.grid.area(mask) <= max_area]
        fresh, design = self.deciding
        before = scores(Z[np.isin(rows, fresh)], design, self.probes)
        if not windows or adjusted_p_values(before[None])[0] > self.level:
            return False
        chosen = np.argmin([found[0] for found in self.scores_each(windows, self.choosing)])
        window = windows[int(chosen)]
        if not takes_half(before[0], self.scores(window, self.deciding)[0]):
            return False
        return self._erase(window)

    def _with(self, blocks: np.ndarray) -> np.ndarray:
        """What is erased, and these blocks with their neighbours."""
        windows = [self.grid.window(int(block)) for block in blocks]
        return np.any([self.erased, *windows], axis=0)

    def _erase(self, mask: np.ndarray) -> bool:
        """Erase these blocks, but those that are erased in vain; False if all of them are."""
        erased, self.erased = self.erased, mask
        added = np.flatnonzero(mask & ~erased)
        self.restore(added[np.argsort(self.found[added, 0], kind="stable")])
        return not np.array_equal(self.erased, erased)

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


def takes_half(before: float, after: float) -> bool:
    """Whether what could be read, as an AUC, is half gone."""
    return after - 0.5 <= (before - 0.5) / 2
