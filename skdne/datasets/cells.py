"""How many images of each (target, attribute) cell the papers trained and tested on."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from numbers import Integral, Real
from types import MappingProxyType
from typing import NamedTuple

Cells = Mapping[tuple[Hashable, Hashable], int]


class PaperCells(NamedTuple):
    """One task of the papers: the column of the findings, and images in each cell.

    Parameters
    ----------
    finding : str
        Column of the findings.
    train, test : mapping of (int, str) to int
        Images of each (y, attribute) cell.
    """

    finding: str
    train: Cells
    test: Cells


def _cells(neg_m: int, neg_f: int, pos_m: int, pos_f: int) -> Cells:
    return MappingProxyType({(0, "M"): neg_m, (0, "F"): neg_f, (1, "M"): pos_m, (1, "F"): pos_f})


PAPER_CELLS: Mapping[str, PaperCells] = MappingProxyType(
    {
        "Pneumonia": PaperCells(
            "Pneumonia", _cells(1500, 150, 1500, 1500), _cells(100, 100, 100, 100)
        ),
        "Edema": PaperCells("Edema", _cells(5000, 500, 5000, 5000), _cells(200, 200, 200, 200)),
        "Pleural Effusion": PaperCells(
            "Pleural Effusion", _cells(5000, 5000, 500, 5000), _cells(200, 200, 200, 200)
        ),
        "Pleural Effusion, as released": PaperCells(
            "Pleural Effusion", _cells(5000, 500, 500, 5000), _cells(200, 200, 200, 200)
        ),
    }
)
"""Images of each cell (target, sex), by task: Jin et al. 2024, Table 1 of the arXiv paper.

"Pleural Effusion" is that row as printed, 15,500 images to train on. The released notebook runs 85
batches of 128, about 11,000: "Pleural Effusion, as released" is our guess of what those were.
"""


def scale_cells(cells: Cells, scale: float) -> dict[tuple[Hashable, Hashable], int]:
    """Shrink the counts of all cells alike.

    Parameters
    ----------
    cells : mapping of (target, attribute) to int
    scale : float
        In (0, 1]. Counts are rounded, and at least 1 where they were not 0.

    Returns
    -------
    dict of (target, attribute) to int

    Examples
    --------
    >>> from skdne.datasets.cells import PAPER_CELLS, scale_cells
    >>> scale_cells(PAPER_CELLS["Edema"].train, 0.01)
    {(0, 'M'): 50, (0, 'F'): 5, (1, 'M'): 50, (1, 'F'): 50}
    """
    if isinstance(scale, bool) or not isinstance(scale, Real) or not 0 < scale <= 1:
        raise ValueError(f"scale must be a number in (0, 1]; got {scale!r}.")
    return {cell: max(1, round(n * scale)) if n else 0 for cell, n in cells.items()}


def check_cells(name: str, cells: Cells) -> dict[tuple[Hashable, Hashable], int]:
    """Check the argument ``name`` and return it as a dict."""
    if not isinstance(cells, Mapping):
        raise ValueError(
            f"{name} must be a dict with keys (target, attribute), such as (1, 'F'), got {cells!r}."
        )
    counts = dict(cells)
    for cell, n in counts.items():
        if not isinstance(cell, tuple) or len(cell) != 2:
            raise ValueError(
                f"{name}: keys must be (target, attribute), such as (1, 'F'); got {cell!r}."
            )
        if isinstance(n, bool) or not isinstance(n, Integral) or n < 0:
            raise ValueError(f"{name}[{cell}] must be an integer, at least 0; got {n!r}.")
    if not sum(counts.values()):
        raise ValueError(f"{name} asks for no image at all; give a count above 0.")
    return {cell: int(n) for cell, n in counts.items()}
