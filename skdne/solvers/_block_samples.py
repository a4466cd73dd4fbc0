"""Which images the solvers that erase blocks look at; drawn by their labels alone."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, Protocol

import numpy as np

from skdne.attribute import cell_index
from skdne.block_test import N_FOLDS, Design, make_design

MORE = 4  # times as many images for the few tests of what is left as for each of the blocks

Sample = tuple[np.ndarray, Design]  # rows, and how they are tested


class Labelled(Protocol):
    """Images with an attribute, of which drawing needs the labels: an Objective, or Labels."""

    @property
    def codes(self) -> np.ndarray: ...
    @property
    def strata(self) -> np.ndarray | None: ...
    @property
    def groups(self) -> np.ndarray | None: ...
    @property
    def cells(self) -> np.ndarray: ...
    def __len__(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class Labels:
    """Labels without images, to see what would be drawn.

    Parameters
    ----------
    codes : ndarray of shape (n,), int
        Class index of the attribute.
    strata, groups : ndarray of shape (n,), int, or None
        Class index of y, and patients.
    """

    codes: np.ndarray
    strata: np.ndarray | None = None
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def cells(self) -> np.ndarray:
        """Index of the (y, a) cell of each image."""
        return self.codes if self.strata is None else cell_index(self.codes, self.strata)


class Samples(NamedTuple):
    """Fit images: few for each block, many for what is left; and those that judge.

    ``choosing`` and ``deciding`` part the many: a place is chosen by images that take no part in
    the decision whether it is erased.
    """

    few: Sample
    many: Sample
    judges: Sample | None
    choosing: Sample
    deciding: Sample


def draw_samples(
    fit: Labelled,
    select: Labelled | None,
    n_images: int,
    n_permutations: int,
    rng: np.random.Generator,
) -> Samples:
    """Draw them; the same generator and labels give the same images, with an encoder or without."""

    def sample(
        images: Labelled, rows: np.ndarray, n_folds: int = N_FOLDS, n: int = n_permutations
    ) -> Sample:
        strata = None if images.strata is None else images.strata[rows]
        return rows, make_design(images.codes[rows], strata, n, rng, n_folds)

    few = sample(fit, draw_balanced(fit, n_images, rng))
    many = sample(fit, draw_balanced(fit, MORE * n_images, rng))
    judges = None
    if select is not None and len(select):
        judges = sample(select, draw_balanced(select, MORE * n_images, rng), n_folds=1)
    first, rest = _parted(fit.cells[many[0]], n_images, rng)
    choosing, deciding = sample(fit, many[0][first], n=0), sample(fit, many[0][rest])
    return Samples(few, many, judges, choosing, deciding)


def draw_balanced(L: Labelled, n_images: int, rng: np.random.Generator) -> np.ndarray:
    """Rows to look at, one for each patient, as equal in number over (y, a) cells as there are.

    Of classes of y in which the attribute varies; the others tell nothing of it within y.
    """
    rows = rng.permutation(len(L))
    if L.groups is not None:
        rows = rows[np.unique(L.groups[rows], return_index=True)[1]]
    if L.strata is not None:
        varies = strata_with(2, L.codes[rows], L.strata[rows])
        rows = rows[varies] if varies.any() else rows
    cells = L.cells
    present = np.unique(cells[rows])
    each = max(1, n_images // len(present))
    return np.sort(np.concatenate([rows[cells[rows] == cell][:each] for cell in present]))


def strata_with(n_classes: int, codes: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Mask of the rows whose class of y holds so many classes of the attribute, or more."""
    found = {y: len(np.unique(codes[strata == y])) for y in np.unique(strata)}
    return np.array([found[y] >= n_classes for y in strata], dtype=bool)


def _parted(
    cells: np.ndarray, n_first: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Two parts, the first of about ``n_first``, and of half of each cell at most."""
    each = n_first // len(np.unique(cells))
    first = np.zeros(len(cells), dtype=bool)
    for cell in np.unique(cells):
        members = rng.permutation(np.flatnonzero(cells == cell))
        first[members[: min(each, len(members) // 2)]] = True
    if not first.any():  # one image of each cell: nothing is tested on so few
        return np.arange(len(cells)), np.arange(len(cells))
    return np.flatnonzero(first), np.flatnonzero(~first)
