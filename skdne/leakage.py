"""Leakage: how well the attribute can still be read, by classifiers trained afresh for the purpose.

That a frozen classifier is fooled says nothing: the attribute may be as readable as before. So
probes are re-trained on the embeddings in question and scored on images that they, the noise and
every stopping rule have not seen.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skdne.attribute import SensitiveData
from skdne.auc import Auc, Change, auc_change, auc_interval, conditional_auc
from skdne.splits import ThreeSets

N_BOOTSTRAP = 500
MAX_ROWS = 2000  # a probe learns from, and is scored on, no more: the cost grows as the square


def probes(random_state: int) -> dict[str, Any]:
    """Return the unfitted probes: a linear one, an RBF kernel, a small neural network."""
    return {
        "linear": make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)),
        "rbf": make_pipeline(StandardScaler(), SVC(C=1.0, kernel="rbf", gamma="scale")),
        "mlp": make_pipeline(
            StandardScaler(),
            MLPClassifier((64,), alpha=1e-2, max_iter=60, random_state=random_state),
        ),
    }


@dataclasses.dataclass(frozen=True)
class OutOfFold:
    """Scores of images by probes that were trained on others.

    Pairs of images are compared within ``cells``: the same fold, so the same probe, and the same
    stratum. ``shared`` is what :func:`~skdne.auc.auc_interval` needs to know of the folds.
    """

    codes: np.ndarray
    scores: np.ndarray
    cells: np.ndarray
    groups: np.ndarray | None
    shared: float

    def auc(self) -> Auc:
        """AUC over all folds, with its interval."""
        return auc_interval(self.codes, self.scores, self.cells, self.groups, self.shared)

    def change_to(self, after: OutOfFold, level: float) -> Change:
        """How much higher the AUC of ``after`` is, of the same images and folds."""
        scores = self.scores, after.scores
        return auc_change(self.codes, *scores, self.cells, self.groups, level)

    def resampled(self, seed: int) -> np.ndarray:
        """The AUC, and that of ``N_BOOTSTRAP`` samples of patients, the same for equal seeds."""
        n = len(self.codes)
        groups = np.arange(n) if self.groups is None else self.groups
        counts = bootstrap_counts(groups, np.random.default_rng(seed))
        weights = np.vstack([np.ones(n), counts])
        return conditional_auc(self.codes, self.scores, self.cells, weights)


def measure_leakage(
    embeddings: np.ndarray, data: SensitiveData, sets: ThreeSets, random_state: int
) -> dict[str, Auc]:
    """Re-train the probes and score them on held-out images.

    Each fold of the report set is scored by probes trained on everything else, so that they know
    edited images the noise was not fitted on; nobody who attacked the edit would know more.

    Parameters
    ----------
    embeddings : ndarray of shape (n, d)
        Of the rows of ``data``.
    data : SensitiveData
    sets : ThreeSets
    random_state : int

    Returns
    -------
    dict of str to Auc
        For the probes ``"linear"``, ``"rbf"`` and ``"mlp"``: among pairs of the same y where y is
        known.
    """
    everything = np.arange(len(embeddings))
    return {
        name: cross_fit(probe, embeddings, data, everything, sets.report_folds, random_state).auc()
        for name, probe in probes(random_state).items()
    }


def in_sample_auc(
    embeddings: np.ndarray, data: SensitiveData, sets: ThreeSets, random_state: int
) -> float:
    """AUC of the linear probe, cross-fitted on the images that the noise was fitted on."""
    groups = np.arange(len(data.codes)) if data.groups is None else data.groups
    patients = np.random.default_rng(random_state).permutation(np.unique(groups[sets.fit]))
    folds = [sets.fit[np.isin(groups[sets.fit], p)] for p in np.array_split(patients, 3)]
    probe = probes(random_state)["linear"]
    return cross_fit(probe, embeddings, data, sets.fit, folds, random_state).auc().auc


def cross_fit(
    probe: Any,
    embeddings: np.ndarray,
    data: SensitiveData,
    rows: np.ndarray,
    test_folds: list[np.ndarray],
    random_state: int,
    *,
    centred: bool = False,
) -> OutOfFold:
    """Score each fold by a probe trained on the other ``rows``.

    A fold is left out where the others hold one class. With ``centred`` the embeddings of each
    stratum are first moved to the same weighted mean, which the training rows tell.
    """
    rng = np.random.default_rng(random_state)
    tested = np.concatenate([np.arange(0), *test_folds])
    strata = np.zeros(len(data.codes), dtype=int) if data.strata is None else data.strata
    scored, scores, cells, shared = [], [], [], []
    for k, fold in enumerate(test_folds):
        train, test = (_at_most(part, rng) for part in (np.setdiff1d(rows, fold), fold))
        if not len(test) or len(np.unique(data.codes[train])) < 2:
            continue
        Z = _centred(embeddings, strata, data.weights, train) if centred else embeddings
        scored.append(test)
        scores.append(fit_scores(probe, Z, data.codes, data.weights, train, test))
        cells.append(k * (strata.max() + 1) + strata[test])
        shared.append(np.isin(train, tested).mean())
    if not scored:
        nothing = np.zeros(0, dtype=int)
        return OutOfFold(nothing, np.zeros((0, 2)), nothing, None, 0.0)
    kept = np.concatenate(scored)
    return OutOfFold(
        codes=data.codes[kept],
        scores=np.concatenate(scores),
        cells=np.concatenate(cells),
        groups=None if data.groups is None else data.groups[kept],
        shared=float(np.mean(shared)),
    )


def _centred(
    embeddings: np.ndarray, strata: np.ndarray, weights: np.ndarray, train: np.ndarray
) -> np.ndarray:
    """Embeddings without the weighted mean of their stratum over the training rows."""
    moved = embeddings.copy()
    for stratum in np.unique(strata[train]):
        of_stratum = train[strata[train] == stratum]
        if weights[of_stratum].sum() > 0:
            mean = np.average(embeddings[of_stratum], axis=0, weights=weights[of_stratum])
            moved[strata == stratum] -= mean.astype(embeddings.dtype)
    return moved


def _at_most(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= MAX_ROWS else np.sort(rng.choice(rows, MAX_ROWS, replace=False))


def fit_scores(
    probe: Any,
    embeddings: np.ndarray,
    codes: np.ndarray,
    weights: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
) -> np.ndarray:
    """Scores (n_test, K) of a probe trained on other rows; classes it never met score lowest."""
    probe = clone(probe)
    last = probe.steps[-1][0]
    # the probes' weights are no part of the metadata routing the user may have switched on
    with warnings.catch_warnings(), config_context(enable_metadata_routing=False):
        warnings.simplefilter("ignore", ConvergenceWarning)  # a probe need not converge to read
        probe.fit(embeddings[train], codes[train], **{f"{last}__sample_weight": weights[train]})
    if hasattr(probe, "decision_function"):
        values = probe.decision_function(embeddings[test])
    else:
        values = probe.predict_proba(embeddings[test])
    if values.ndim == 1:
        values = np.column_stack([-values, values])
    scores = np.full((len(test), codes.max() + 1), -np.inf)
    scores[:, probe.classes_] = values
    return scores


def bootstrap_counts(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How often each row counts in bootstrap samples of whole patients, (N_BOOTSTRAP, n)."""
    patients, member = np.unique(groups, return_inverse=True)
    n = len(patients)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=N_BOOTSTRAP)
    return counts[:, member].astype(float)
