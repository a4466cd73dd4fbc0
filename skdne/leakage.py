"""Leakage: how well the attribute can still be read, by classifiers trained afresh for the purpose.

That a frozen classifier is fooled says nothing: the attribute may be as readable as before. So
probes are re-trained on the embeddings in question and scored on images that they, the noise and
every stopping rule have not seen.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

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
from skdne.splits import ThreeSets

N_BOOTSTRAP = 500
MAX_ROWS = 2000  # a probe learns from, and is scored on, no more: the cost grows as the square


class Auc(NamedTuple):
    """An AUC and its 95% interval, from a bootstrap of the patients it is scored on.

    The probes are not re-trained for the bootstrap. In simulations without any cue and 90 images to
    report on, it held .5 in 91 to 95 of 100 cases: read it as slightly too narrow.
    """

    auc: float
    low: float
    high: float


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


def weighted_auc(score: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUC for every row of ``weights`` (R, n); nan where one class has no weight."""
    order = np.argsort(score, kind="stable")
    _, starts = np.unique(score[order], return_index=True)  # ties count half
    of_positive = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
    of_negative = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)
    below = np.cumsum(of_negative, axis=1) - of_negative
    won = (of_positive * (below + 0.5 * of_negative)).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return won / (of_positive.sum(axis=1) * of_negative.sum(axis=1))


def conditional_auc(
    codes: np.ndarray,
    scores: np.ndarray,
    strata: np.ndarray | None = None,
    counts: np.ndarray | None = None,
) -> Any:
    """AUC of ``scores`` for the attribute among pairs that share a stratum (the same y, say).

    Strata count equally, and so do the classes of the attribute, each against the rest.

    Parameters
    ----------
    codes : ndarray of shape (n,)
        Class index of the attribute.
    scores : ndarray of shape (n, K)
        Column k is high where class k is likely.
    strata : ndarray of shape (n,) or None
        Pairs are compared within a stratum only; None compares all.
    counts : ndarray of shape (n_replicates, n) or None
        How often each row counts, for the bootstrap.

    Returns
    -------
    float, or ndarray of shape (n_replicates,) where ``counts`` is given
        nan where no stratum holds both a member of a class and another.
    """
    strata = np.zeros(len(codes), dtype=int) if strata is None else strata
    weights = np.ones((1, len(codes))) if counts is None else counts.astype(float)
    aucs = []
    for stratum in np.unique(strata):
        for k in range(scores.shape[1]):
            is_k = (strata == stratum) & (codes == k)
            is_other = (strata == stratum) & (codes != k)
            if not is_k.any() or not is_other.any():
                continue
            pairs = is_k | is_other
            aucs.append(weighted_auc(scores[pairs, k], is_k[pairs], weights[:, pairs]))
    if not aucs:
        return np.nan if counts is None else np.full(len(weights), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a replicate may miss every pair
        auc = np.nanmean(aucs, axis=0)
    return float(auc[0]) if counts is None else auc


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
        For the probes ``"linear"``, ``"rbf"`` and ``"mlp"``: y-conditional where y is known.
    """
    everything = np.arange(len(embeddings))
    return {
        name: cross_fitted(probe, embeddings, data, everything, sets.report_folds, random_state)
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
    return cross_fitted(probe, embeddings, data, sets.fit, folds, random_state).auc


def cross_fitted(
    probe: Any,
    embeddings: np.ndarray,
    data: SensitiveData,
    rows: np.ndarray,
    test_folds: list[np.ndarray],
    random_state: int,
) -> Auc:
    """Mean AUC over folds, each scored by a probe trained on the other ``rows``."""
    rng = np.random.default_rng(random_state)
    groups = np.arange(len(data.codes)) if data.groups is None else data.groups
    aucs, replicates = [], []
    for fold in test_folds:
        train, test = (_at_most(part, rng) for part in (np.setdiff1d(rows, fold), fold))
        scores = fit_scores(probe, embeddings, data.codes, data.weights, train, test)
        strata = None if data.strata is None else data.strata[test]
        aucs.append(conditional_auc(data.codes[test], scores, strata))
        counts = bootstrap_counts(groups[test], rng)
        replicates.append(conditional_auc(data.codes[test], scores, strata, counts))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all nan where a fold holds one class
        low, high = np.nanpercentile(np.nanmean(replicates, axis=0), [2.5, 97.5])
        return Auc(float(np.nanmean(aucs)), float(low), float(high))


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
