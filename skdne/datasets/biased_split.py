"""Split images into a biased training set and a balanced test set, no patient in both."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state
from sklearn.utils.validation import _num_samples

from skdne.attribute import encode_labels
from skdne.datasets.cells import Cells, check_cells, scale_cells

N_ORDERS = 20

_Cell = tuple[Hashable, Hashable]
_Needs = dict[str, np.ndarray]


class BiasedSplit(NamedTuple):
    """Row numbers of the sets, ascending.

    Parameters
    ----------
    train, test : ndarray of int
        Rows to train on and to test on; no patient is in both.
    sensitive : ndarray of int
        Rows to learn an edit on; empty where none was asked for.
    """

    train: np.ndarray
    test: np.ndarray
    sensitive: np.ndarray


def biased_split(
    target: Any,
    attribute: Any,
    groups: Any = None,
    *,
    train_cells: Cells,
    test_cells: Cells,
    sensitive_cells: Cells | None = None,
    scale: float = 1.0,
    random_state: Any = None,
) -> BiasedSplit:
    """Draw training and test images by the number wanted of each (target, attribute) cell.

    This amplifies bias: cells of unequal counts make the attribute a shortcut for the target in the
    training set, and equal ones show in the test set what that does.

    Parameters
    ----------
    target : array-like of shape (n,)
        Classes of the disease.
    attribute : array-like of shape (n,) or (n, k)
        The sensitive attribute; several columns are joined to text such as "F, over 60". Rows in
        which target or attribute is missing are not drawn.
    groups : array-like of shape (n,) or None, default=None
        Patients: all images of one are in the same set, or in none. None: each image is a patient.
    train_cells, test_cells : mapping of (target, attribute) to int
        Images of each cell; cells that are not named give none. The papers' counts are in
        ``PAPER_CELLS``.
    sensitive_cells : mapping of (target, attribute) to int, or None, default=None
        A third set, to learn the noise on, where it shall share no patient with the other two.
    scale : float, default=1.0
        Shrinks all counts, in (0, 1]; a count that is not 0 stays at least 1.
    random_state : int, RandomState instance or None, default=None
        Seed. The same int draws the same rows.

    Returns
    -------
    BiasedSplit
        Row numbers ``train``, ``test`` and ``sensitive``, ascending, each row at most once. The
        counts are exactly those asked for.

    Raises
    ------
    ValueError
        If there are fewer images than a cell needs, in all or once patients are kept apart. The
        message names the cells, what they need and what there is.

    Notes
    -----
    All images are put in random order, and their patients gone through in that order. One who has
    an image in a cell that the test set is still short of joins the test set, counted with one
    image for each cell; then, in the same way, the third set. The training set is drawn from all
    others, at random in each cell. So test images are of as many patients as can be, which keeps
    intervals narrow. If a cell cannot be filled so, other orders are tried, 20 in all; in the
    second half of them a patient counts with all images, so that fewer patients are taken from the
    training set. Where hardly any image is to spare, a split may exist that none of them finds.

    References
    ----------
    Jin et al. 2024, section 3.1. The papers publish counts and no script; whether their patients
    were kept apart is not said.

    Examples
    --------
    >>> import numpy as np
    >>> from skdne.datasets.biased_split import biased_split
    >>> from skdne.datasets.cells import PAPER_CELLS
    >>> rng = np.random.default_rng(0)
    >>> y, sex = rng.integers(2, size=2000), rng.choice(["F", "M"], size=2000)
    >>> patients = rng.integers(1200, size=2000)
    >>> cells = PAPER_CELLS["Edema"]
    >>> split = biased_split(
    ...     y,
    ...     sex,
    ...     patients,
    ...     train_cells=cells.train,
    ...     test_cells=cells.test,
    ...     scale=0.05,
    ...     random_state=0,
    ... )
    >>> len(split.train), len(split.test)
    (775, 40)
    >>> np.intersect1d(patients[split.train], patients[split.test])
    array([], dtype=int64)
    """
    n = _num_samples(target)
    for name, values in {"attribute": attribute, "groups": groups}.items():
        if values is not None and (length := _num_samples(values)) != n:
            raise ValueError(f"{name} has {length} rows, target has {n}; they must be as many.")
    asked: dict[str, Cells | None] = {  # in this order: what is left is for the last one
        "test_cells": test_cells,
        "sensitive_cells": sensitive_cells,
        "train_cells": train_cells,
    }
    counts = {
        name: scale_cells(check_cells(name, cells), scale)
        for name, cells in asked.items()
        if cells is not None
    }
    cells = sorted({cell for c in counts.values() for cell in c if c[cell]}, key=str)
    needs = {name: np.array([c.get(cell, 0) for cell in cells]) for name, c in counts.items()}
    of_row = _cell_of_row(target, attribute, cells, needs)
    _check_supply(needs, of_row, cells, scale)

    rng = check_random_state(random_state)
    patients, supply = _patients(groups, of_row, len(cells))
    best: _Needs | None = None
    for attempt in range(N_ORDERS):
        order = pd.unique(patients[rng.permutation(n)])
        credit = np.minimum(supply, 1) if attempt < N_ORDERS // 2 else supply
        set_of_patient = _assign(order, credit, list(needs.values()))
        short = {
            name: need - supply[set_of_patient == i].sum(axis=0)
            for i, (name, need) in enumerate(needs.items())
        }
        if best is None or _total(short) < _total(best):
            best = short
        if _total(short) == 0:
            break
    else:
        assert best is not None
        _raise_patients_apart(best, needs, cells)
    rows = {"sensitive_cells": np.arange(0)}
    for i, (name, need) in enumerate(needs.items()):
        here = set_of_patient[patients] == i
        drawn = []
        for c, wanted in enumerate(need):
            found = rng.permutation(np.flatnonzero(here & (of_row == c)))
            if name != "train_cells":
                found = _one_of_each_first(found, patients)
            drawn.append(found[:wanted])
        rows[name] = np.sort(np.concatenate(drawn))
    return BiasedSplit(rows["train_cells"], rows["test_cells"], rows["sensitive_cells"])


def _cell_of_row(target: Any, attribute: Any, cells: list[_Cell], needs: _Needs) -> np.ndarray:
    """Index into ``cells`` of each row, -1 where it is in none of them."""
    y, y_found = encode_labels(target, "target")
    a, a_found = encode_labels(attribute, "attribute")
    y_classes, a_classes = y_found.tolist(), a_found.tolist()
    of_row = np.full(len(y), -1)
    for i, (y_name, a_name) in enumerate(cells):
        if y_name not in y_classes or a_name not in a_classes:
            raise ValueError(
                f"{_said(i, cells, needs)}, there are none: target holds "
                f"{y_classes[:10]}, attribute holds {a_classes[:10]}; use these as keys."
            )
        of_row[(y == y_classes.index(y_name)) & (a == a_classes.index(a_name))] = i
    return of_row


def _said(i: int, cells: list[_Cell], needs: _Needs) -> str:
    parts = ", ".join(f"{need[i]} in {name}" for name, need in needs.items())
    return f"cell {cells[i]} needs {sum(need[i] for need in needs.values())} images ({parts})"


def _check_supply(needs: _Needs, of_row: np.ndarray, cells: list[_Cell], scale: float) -> None:
    there = np.bincount(of_row[of_row >= 0], minlength=len(cells))
    total = np.sum(list(needs.values()), axis=0)
    if not (short := total > there).any():
        return
    lacking = np.flatnonzero(short).tolist()
    listed = [f"{_said(i, cells, needs)}, there are {there[i]}" for i in lacking]
    most = scale * (there[short] / total[short]).min()
    enough = f", or use a scale below {most:.2g}" if most else ""
    raise ValueError(f"{'; '.join(listed)}. Ask for fewer images{enough}.")


def _patients(groups: Any, of_row: np.ndarray, n_cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Patient of each row, and images of each patient in each cell (n_patients, n_cells)."""
    patients = np.arange(len(of_row))
    if groups is not None:
        patients, _ = encode_labels(groups, "groups")
        if n_missing := int((patients < 0).sum()):
            raise ValueError(
                f"groups is missing in {n_missing} of {len(patients)} rows; give each image a "
                "patient."
            )
    supply = np.zeros((patients.max() + 1, n_cells), dtype=np.int64)
    np.add.at(supply, (patients[of_row >= 0], of_row[of_row >= 0]), 1)
    return patients, supply


def _assign(order: np.ndarray, credit: np.ndarray, needs: list[np.ndarray]) -> np.ndarray:
    """Index of the set of each patient; the last set gets all whom no other one needs.

    A patient who joins a set fills ``credit`` (n_patients, n_cells) places of it.
    """
    set_of_patient = np.full(len(credit), len(needs) - 1)
    useful = order[credit[order].any(axis=1)]
    for i, need in enumerate(needs[:-1]):
        short = need.copy()
        for patient in useful[set_of_patient[useful] == len(needs) - 1]:
            if not (short > 0).any():
                break
            if (credit[patient][short > 0] > 0).any():
                set_of_patient[patient] = i
                short -= credit[patient]
    return set_of_patient


def _one_of_each_first(rows: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Reorder rows: the first of each patient, then the second of each, and so on."""
    nth = pd.Series(rows).groupby(patients[rows]).cumcount()
    return rows[np.argsort(nth.to_numpy(), kind="stable")]


def _total(short: _Needs) -> int:
    return sum(int(np.maximum(missing, 0).sum()) for missing in short.values())


def _raise_patients_apart(short: _Needs, needs: _Needs, cells: list[_Cell]) -> None:
    listed = [
        f"cell {cells[i]} of {name} needs {needs[name][i]} images and gets {needs[name][i] - lack}"
        for name, lacks in short.items()
        for i, lack in enumerate(lacks)
        if lack > 0
    ]
    raise ValueError(
        f"with no patient in two sets, {'; '.join(listed)}; this is the best of {N_ORDERS} random "
        "orders. Ask for fewer images, or use a smaller scale."
    )
