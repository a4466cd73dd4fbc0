"""Can the attribute be read from these embeddings? Probes and their null, for many edits at once.

Kernel-ridge probes predict the attribute out of fold. Their predictions are linear in it: one
matrix for each edit and probe, the smoother S, serves the labels as observed and all their
permutations, so the null distribution costs no query. The attribute is permuted within (y, fold),
alike for all edits; the largest score over edits and probes under each permutation bounds the
chance of *any* false alarm (max-T; Westfall and Young 1993, "Resampling-based multiple testing").
"""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
from scipy.spatial.distance import cdist, pdist
from scipy.stats import rankdata
from sklearn.model_selection import StratifiedKFold

from skdne.attribute import cell_index

PROBES = ("linear", "rbf")
N_FOLDS = 4
# In units of the mean diagonal of the kernel. Weak: what is left of a cue lies in directions of
# little variance; at 1.0 a linear probe reads a remainder at AUC .59 that it reads at .71 here.
RIDGE = 0.03


@dataclasses.dataclass(frozen=True)
class Design:
    """What is the same for all edits: the folds, the labels and their permutations.

    Parameters
    ----------
    labels : ndarray of shape (n, 1 + n_permutations), int
        Column 0 holds the observed class index of the attribute.
    strata : ndarray of shape (n,), int
        Class index of y; all 0 without y.
    folds : ndarray of shape (n,), int
        Rows of one fold are predicted from those of the others.
    """

    labels: np.ndarray
    strata: np.ndarray
    folds: np.ndarray

    @property
    def cells(self) -> np.ndarray:
        """Index of the (y, fold) cell; permutations and comparisons stay within it."""
        return self.strata * (self.folds.max() + 1) + self.folds


def make_design(
    codes: np.ndarray,
    strata: np.ndarray | None,
    n_permutations: int,
    rng: np.random.Generator,
    n_folds: int = N_FOLDS,
) -> Design:
    """Draw folds, stratified on the (y, a) cells, and permutations of a within (y, fold).

    Parameters
    ----------
    codes, strata : ndarray of shape (n,), int
        Class index of the attribute, and of y where it is known; one image of each patient.
    n_permutations : int
    rng : Generator
    n_folds : int, default=4
        1 where the probes are trained on other images.
    """
    y = np.zeros_like(codes) if strata is None else np.unique(strata, return_inverse=True)[1]
    folds = _folds(cell_index(codes, y), n_folds, rng)
    design = Design(np.repeat(codes[:, None], 1 + n_permutations, axis=1), y, folds)
    for cell in np.unique(design.cells):
        rows = design.cells == cell
        design.labels[rows, 1:] = rng.permuted(design.labels[rows, 1:], axis=0)
    return design


def _folds(cells: np.ndarray, n_folds: int, rng: np.random.Generator) -> np.ndarray:
    folds = np.zeros(len(cells), dtype=int)
    n_folds = min(n_folds, np.bincount(cells).max())
    if n_folds > 1:
        splitter = StratifiedKFold(n_folds, shuffle=True, random_state=int(rng.integers(2**31)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a small cell misses from some folds
            for k, (_, test) in enumerate(splitter.split(cells, cells)):
                folds[test] = k
    return folds


def kernel(train: np.ndarray, test: np.ndarray, probe: str) -> tuple[np.ndarray, np.ndarray]:
    """Kernel of train with train, and of test with train, on standardised embeddings.

    The mean diagonal is 1; the bandwidth of the RBF kernel is the median squared distance.
    """
    mean, spread = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    Z, T = ((X - mean) / np.where(spread > 1e-8, spread, np.inf) for X in (train, test))
    if probe == "linear":
        K, scale = Z @ Z.T, np.square(Z).sum() / len(Z)
        return (K / scale, T @ Z.T / scale) if scale > 0 else (K, T @ Z.T)
    bandwidth = np.median(pdist(Z, "sqeuclidean"))
    if not bandwidth > 0:  # all embeddings alike: nothing can be read
        return np.zeros((len(Z), len(Z))), np.zeros((len(T), len(Z)))
    of_train, of_test = (np.exp(-cdist(X, Z, "sqeuclidean") / bandwidth) for X in (Z, T))
    return of_train, of_test


def smoother(train: np.ndarray, test: np.ndarray, probe: str) -> np.ndarray:
    """S (n_test, n_train): ``S @ t`` are the probe's predictions of targets t, whatever t is."""
    K, K_test = kernel(train, test, probe)
    return np.linalg.solve(K + RIDGE * np.eye(len(K)), K_test.T).T


def scores(embeddings: np.ndarray, design: Design, probes: tuple[str, ...] = PROBES) -> np.ndarray:
    """AUC of the best probe, for the labels as observed and each permutation of them.

    Parameters
    ----------
    embeddings : ndarray of shape (n, d)
    design : Design
    probes : tuple of {"linear", "rbf"}

    Returns
    -------
    ndarray of shape (1 + n_permutations,)
        Of pairs within a (y, fold) cell; for more than two classes the mean of each against the
        rest. Probes are trained on the other folds.
    """
    parts = [(design.folds != k, design.folds == k) for k in np.unique(design.folds)]
    if len(parts) == 1:  # too few images to predict any from others
        return np.full(design.labels.shape[1], 0.5)
    best = np.zeros(design.labels.shape[1])
    for probe in probes:
        S = [smoother(embeddings[train], embeddings[test], probe) for train, test in parts]
        found = []
        for k in one_against_rest(design.labels[:, 0]):
            is_k = design.labels == k
            targets = _targets(is_k, design.strata)
            predictions = np.zeros(is_k.shape)
            for (train, test), S_fold in zip(parts, S, strict=True):
                predictions[test] = S_fold @ targets[train]
            found.append(_auc_within(predictions, is_k, design.cells))
        best = np.maximum(best, np.mean(found, axis=0))
    return best


def held_out_scores(
    train: np.ndarray,
    codes: np.ndarray,
    strata: np.ndarray,
    test: np.ndarray,
    design: Design,
    probes: tuple[str, ...] = PROBES,
) -> np.ndarray:
    """AUC of the best probe trained on other images; as :func:`scores`.

    Parameters
    ----------
    train, test : ndarray of shape (n_train, d), (n_test, d)
    codes, strata : ndarray of shape (n_train,), int
        Of the attribute and of y.
    design : Design
        Of the test images, in one fold.
    probes : tuple of {"linear", "rbf"}
    """
    best = np.zeros(design.labels.shape[1])
    classes = one_against_rest(codes)  # a rare one may be absent from the test images
    for probe in probes:
        S = smoother(train, test, probe)
        found = [
            _auc_within(S @ _targets(codes[:, None] == k, strata), design.labels == k, design.cells)
            for k in classes
        ]
        best = np.maximum(best, np.mean(found, axis=0))
    return best


def one_against_rest(codes: np.ndarray) -> np.ndarray:
    """Classes that are each compared with all others; of two, one says everything."""
    classes = np.unique(codes)
    return classes[1:] if len(classes) == 2 else classes


def _targets(is_k: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """What the probes regress on: membership, less its mean within y, which is no leakage."""
    targets = is_k.astype(float)
    for stratum in np.unique(strata):
        rows = strata == stratum
        targets[rows] -= targets[rows].mean(axis=0)
    return targets


def _auc_within(predictions: np.ndarray, is_k: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """AUC of each column over the pairs of rows that share a cell; .5 where there are none."""
    won, pairs = np.zeros(is_k.shape[1]), np.zeros(is_k.shape[1])
    for cell in np.unique(cells):
        rows = cells == cell
        ranks = rankdata(predictions[rows], axis=0)
        n_k = is_k[rows].sum(axis=0)
        won += (ranks * is_k[rows]).sum(axis=0) - n_k * (n_k + 1) / 2
        pairs += n_k * (rows.sum() - n_k)
    return np.where(pairs > 0, won / np.maximum(pairs, 1), 0.5)


def adjusted_p_values(found: np.ndarray) -> np.ndarray:
    """Chance, under permutation, that *any* edit scores as high as each did.

    Parameters
    ----------
    found : ndarray of shape (n_edits, 1 + n_permutations)
        Of :func:`scores`, all of one design; rows of nan were not tested.

    Returns
    -------
    ndarray of shape (n_edits,)
        nan where nothing was tested.
    """
    tested = ~np.isnan(found[:, 0])
    p_values = np.full(len(found), np.nan)
    if tested.any():
        null = found[tested, 1:].max(axis=0)
        reached = (null[None] >= found[tested, :1] - 1e-12).sum(axis=1)
        p_values[tested] = (1 + reached) / (1 + len(null))
    return p_values
