"""Three sets of SA images: to fit the noise, to stop by, and to report on; no patient in two."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

N_FOLDS = 10
N_SELECT = 2
N_REPORT = 3
MOST = 0.25  # of the images, in a fold to select or report on; a tenth is its share


@dataclasses.dataclass(frozen=True)
class ThreeSets:
    """Rows of the three sets; ``report_folds`` parts the report set for cross-fitted probes."""

    fit: np.ndarray
    select: np.ndarray
    report_folds: list[np.ndarray]

    @property
    def report(self) -> np.ndarray:
        """Rows of the report set; empty where there were too few images to hold any out."""
        return np.sort(np.concatenate(self.report_folds)) if self.report_folds else np.arange(0)


def three_sets(
    cells: np.ndarray, codes: np.ndarray, groups: np.ndarray | None, report: bool, seed: int
) -> ThreeSets:
    """Part the rows by patient, stratified on the (y, a) cells: 50% fit, 20% select, 30% report.

    Which patients are in which set is drawn; how many images they have plays no part, but that a
    fold of more than a quarter of all images goes to the fit. Without a report set its share goes
    to the fit. Where an attribute class has fewer members (or patients) than there are folds,
    nothing can be held out and all rows go to the fit.

    Parameters
    ----------
    cells, codes : ndarray of shape (n,)
        Index of the (y, a) cell and of the attribute.
    groups : ndarray of shape (n,) or None
        Patients; None: every image is a patient.
    report : bool
        Whether a report set is wanted.
    seed : int
    """
    members = np.arange(len(codes)) if groups is None else groups
    smallest = min(len(np.unique(members[codes == k])) for k in np.unique(codes))
    if smallest < N_FOLDS:
        return ThreeSets(np.arange(len(codes)), np.arange(0), [])
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    splitter = kind(N_FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a small cell may miss from some folds
        try:
            folds = [test for _, test in splitter.split(codes, cells, groups)]
        except ValueError:  # every (y, a) cell is smaller than the folds: the attribute alone then
            folds = [test for _, test in splitter.split(codes, codes, groups)]
    if groups is None:
        folds.sort(key=len)
    else:
        # The splitter deals out the patients with many images first, so the order of the folds is
        # drawn. A fold that one patient almost fills goes to the fit: no set could be judged by it.
        order = np.random.default_rng(seed).permutation(N_FOLDS)
        folds = sorted((folds[k] for k in order), key=lambda fold: len(fold) > MOST * len(codes))
    select = folds[:N_SELECT]
    held = folds[N_SELECT : N_SELECT + N_REPORT] if report else []
    rest = folds[N_SELECT + len(held) :]
    return ThreeSets(np.sort(np.concatenate(rest)), np.sort(np.concatenate(select)), held)
