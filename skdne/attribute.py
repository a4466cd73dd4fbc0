"""The attribute: its columns as classes, the (y, a) cells, and weights that balance them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import _num_samples

from skdne import diagnostics

MAX_CLASSES = 50
MISSING_TEXTS = ["", "nan", "NaN", "None", "<NA>"]


def encode_labels(labels: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Turn one column, or the intersection of several, into class indices.

    Parameters
    ----------
    labels : array-like of shape (n,) or (n, k), Series or DataFrame
        Missing values (None, NaN, NA) in any column make the row missing.
    name : str
        Name of the argument, for errors.

    Returns
    -------
    codes : ndarray of shape (n,), int64
        Index into ``classes``; -1 where the label is missing.
    classes : ndarray of shape (n_classes,)
        The labels, sorted; strings such as ``"F, over 60"`` where there were several columns.
    """
    if hasattr(labels, "__array__") and not hasattr(labels, "iloc"):
        labels = np.asarray(labels)  # not for lists: it would turn a missing value into "nan"
    frame = pd.DataFrame(labels if getattr(labels, "ndim", 1) < 3 else None)
    if frame.shape[1] == 0:
        raise ValueError(f"{name} must be of shape (n,) or (n, k), got {np.shape(labels)}.")
    # numpy turns missing values beside strings into these texts
    missing = (frame.isna() | frame.isin(MISSING_TEXTS)).any(axis=1).to_numpy()
    present: Any = frame[~missing]
    if frame.shape[1] == 1:
        present = present.iloc[:, 0].to_numpy()
    else:
        present = np.array([", ".join(row) for row in present.astype(str).to_numpy()], dtype=str)
    codes = np.full(len(frame), -1, dtype=np.int64)
    try:
        classes, codes[~missing] = np.unique(present, return_inverse=True)
    except TypeError as error:
        raise TypeError(
            f"{name} mixes labels that cannot be sorted: {error}; give labels of one type."
        ) from error
    if classes.dtype == object:  # strings from pandas: a plain numpy type pickles and prints better
        strings = all(isinstance(c, str) for c in classes)
        classes = classes.astype(str) if strings else classes
    return codes, classes


def cell_weights(codes: np.ndarray, y_codes: np.ndarray | None) -> np.ndarray:
    """Weights, mean 1, that give every (y, a) cell the same total; all 1 without y."""
    if y_codes is None:
        return np.ones(len(codes))
    _, cells, counts = np.unique(
        np.column_stack([y_codes, codes]), axis=0, return_inverse=True, return_counts=True
    )
    return len(codes) / (len(counts) * counts[cells.reshape(-1)])


def missing_attribute(data: str, step: str) -> str:
    """Error text for a fit without the attribute, whose data is X or Z, of a step of a pipeline."""
    return (
        f"sensitive_features is missing: pass fit({data}, y, sensitive_features=a). In a Pipeline "
        "or a search, switch on metadata routing first "
        "(sklearn.set_config(enable_metadata_routing=True)) and pass sensitive_features=a to "
        f"its fit; without routing, Pipeline.fit takes {step}__sensitive_features=a, with the name "
        "of the step, which make_pipeline makes of its class in small letters."
    )


def cell_index(codes: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Index of the (y, a) cell of each row."""
    return strata * (codes.max() + 1) + codes


def draw_evenly(cells: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Rows that hold each cell in proportion, as nearly as their number allows.

    Systematic sampling of rows sorted by cell: each row is as likely as any other. Without it, the
    classes' shares, which pull the noise in opposite directions, are the luck of a small batch.
    """
    n = len(cells)
    by_cell = np.lexsort((rng.random(n), cells))
    size = min(size, n)
    return by_cell[(rng.integers(n) + n * np.arange(size)) // size]


@dataclasses.dataclass(frozen=True)
class SensitiveData:
    """The images that have an attribute: rows of X, their classes, cells, weights and patients.

    ``strata`` is y as class indices, or None; ``cells`` indexes ``cell_names``, the (y, a) cells.
    """

    rows: np.ndarray
    codes: np.ndarray
    classes: np.ndarray
    strata: np.ndarray | None
    cells: np.ndarray
    cell_names: list[str]
    weights: np.ndarray
    groups: np.ndarray | None

    def subsample(self, size: int | None, seed: int) -> SensitiveData:
        """At most ``size`` of the images, each cell in proportion; None keeps all."""
        if size is None or len(self.rows) <= size:
            return self
        drawn = np.sort(draw_evenly(self.cells, size, np.random.default_rng(seed)))
        codes, strata = self.codes[drawn], None if self.strata is None else self.strata[drawn]
        lost = np.setdiff1d(np.arange(len(self.classes)), codes)
        if len(lost):
            raise ValueError(
                f"subsample={size} of {len(self.rows)} images leaves none with the attribute "
                f"{self.classes.tolist()[lost[0]]!r}; raise it, or merge rare classes."
            )
        return dataclasses.replace(
            self,
            rows=self.rows[drawn],
            codes=codes,
            strata=strata,
            cells=self.cells[drawn],
            weights=cell_weights(codes, strata),
            groups=None if self.groups is None else self.groups[drawn],
        )


def check_sensitive_data(sensitive_features: Any, y: Any, groups: Any, n: int) -> SensitiveData:
    """Check the attribute, y and the patients against each other and leave out unlabelled rows.

    Rows without y, where others have it, are left out too: they cannot be balanced.

    Parameters
    ----------
    sensitive_features : array-like of shape (n,) or (n, k)
    y : array-like of shape (n,) or (n, k), or None
        Classes; it only balances. A continuous y cannot, and is left out with a warning.
    groups : array-like of shape (n,) or None
        Patients.
    n : int
        Images in X.

    Raises
    ------
    ValueError
        If lengths differ, there are fewer than two classes, or so many that they look like numbers,
        or y is missing wherever the attribute is of some class.
    """
    for name, value in {
        "sensitive_features": sensitive_features,
        "y": y,
        "groups": groups,
    }.items():
        if value is not None and (length := _num_samples(value)) != n:
            raise ValueError(f"{name} has {length} rows, X has {n} images; they must be as many.")
    codes, classes = encode_labels(sensitive_features, "sensitive_features")
    if len(classes) < 2:
        found = f"one class, {classes.tolist()[0]!r}" if len(classes) else "no labels at all"
        raise ValueError(
            f"sensitive_features holds {found}; hiding an attribute needs two classes or more."
        )
    if len(classes) > MAX_CLASSES:
        raise ValueError(
            f"sensitive_features has {len(classes)} distinct values; more than {MAX_CLASSES} look "
            "like a number, not a group: bin it, for example with pandas.cut."
        )
    strata, y_names = _strata(y)
    known_y = np.ones(n, dtype=bool) if strata is None else strata >= 0
    rows = np.flatnonzero((codes >= 0) & known_y)
    lost = np.setdiff1d(np.arange(len(classes)), codes[rows])
    if len(lost):
        raise ValueError(
            f"y is missing in all rows with the attribute {classes.tolist()[lost[0]]!r}; rows "
            "without y are left out, so none would remain. Give y for some of them, or no y at all."
        )
    diagnostics.warn(diagnostics.missing_labels(int((codes < 0).sum()), n))
    n_labelled = int((codes >= 0).sum())
    diagnostics.warn(diagnostics.missing_y(n_labelled - len(rows), n_labelled))
    codes = codes[rows]
    if strata is None:
        cells, names = codes, [str(a) for a in classes]
    else:
        strata = strata[rows]
        cells = cell_index(codes, strata)
        names = [f"y={name}, {a}" for name in y_names for a in classes]
    return SensitiveData(
        rows=rows,
        codes=codes,
        classes=classes,
        strata=strata,
        cells=cells,
        cell_names=names,
        weights=cell_weights(codes, strata),
        groups=None if groups is None else _patients(groups)[rows],
    )


def _patients(groups: Any) -> np.ndarray:
    codes, _ = encode_labels(groups, "groups")
    if n_missing := int((codes < 0).sum()):
        raise ValueError(
            f"groups is missing in {n_missing} of {len(codes)} rows; give each image a patient."
        )
    return codes


def _strata(y: Any) -> tuple[np.ndarray | None, list[str]]:
    """y as class indices (-1: missing) and their names; None where no y could balance."""
    if y is None:
        return None, []
    codes, classes = encode_labels(y, "y")
    continuous = classes.dtype.kind == "f" and (classes != np.rint(classes)).any()
    if continuous or len(classes) > MAX_CLASSES:
        diagnostics.warn(
            "y is continuous or has too many classes to balance the attribute within it; it is "
            "ignored, and leakage includes any relation between y and the attribute. Bin y."
        )
        return None, []
    return codes, [str(c) for c in classes]
