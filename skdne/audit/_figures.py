"""The figures of one classifier, each with its bootstrap resamples and its interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skdne.audit import _rates as r
from skdne.audit import _scores as s
from skdne.audit._input import AuditData, Predictions
from skdne.audit._intervals import gap_interval, percentile_interval, worst_interval
from skdne.audit._unfairness import Test, max_t

Floats = NDArray[np.float64]
CHUNK = 10_000_000  # numbers in memory at once


class Key(NamedTuple):
    """Place of a figure in the report."""

    section: str
    figure: str
    group: str = "all"
    threshold: str = ""


class Measured(NamedTuple):
    """Resamples, entry 0 the estimate; the interval; images it rests on; its value at no effect."""

    draws: Floats
    interval: tuple[float, float]
    n: int
    null: float = np.nan


Figures = dict[Key, Measured]


def classifier_figures(data: AuditData, given: Predictions, boot: Floats, seed: int) -> Figures:
    """All figures of labels and scores.

    Parameters
    ----------
    data : AuditData
    given : Predictions
    boot : ndarray of shape (1 + R, n_patients)
        How often each patient counts; row 0 is the sample.
    seed : int
    """
    figures: Figures = {}
    for threshold, y_pred in given.labels.items():
        figures |= _label_figures(data, y_pred, boot, threshold)
    if given.scores is not None:
        figures |= _score_figures(data, given, boot, seed)
    return figures


def _label_figures(
    data: AuditData, y_pred: NDArray[np.int64], boot: Floats, threshold: str
) -> Figures:
    counts = np.concatenate(
        [r.cell_counts(w, data.a, data.y, y_pred, data.shape) for w in _rows(boot, data)]
    )
    found = r.rates(counts)
    recall = r.with_spread(found.recall, _patients_of_cells(data))
    of_groups = np.array([len(np.unique(data.patients[data.a == g])) for g in _groups(data)])
    selection = r.with_spread(found.selection, np.tile(of_groups, (data.shape[1], 1)))
    accuracy = r.with_spread(found.accuracy, of_groups)
    overall = r.with_spread(found.overall, np.array([data.n_patients]))
    of_class = r.with_spread(found.of_class, _patients_of_classes(data))
    n = len(data.y)
    positive = range(1, 2) if data.shape[1] == 2 else range(data.shape[1])
    figures: Figures = {}

    def put(section: str, name: str, values: Floats, interval=None, group="all", size=n) -> None:
        interval = percentile_interval(values) if interval is None else interval
        key = Key(section, name, group, threshold)
        figures[key] = Measured(values, interval, int(size))

    put("performance", "accuracy", overall[:, 0])
    put("performance", "balanced accuracy", of_class.mean(axis=1))
    put("performance", "worst group accuracy", r.worst_group(recall), worst_interval(recall))
    for c in reversed(range(data.shape[1])):
        interval = gap_interval(recall[:, c])
        put("fairness", data.class_name(c), r.gap(recall[:, c]), interval)
    put("fairness", "equalized odds", r.equalized_odds(recall), gap_interval(recall))
    for c in positive:
        of = "" if data.shape[1] == 2 else f" (y={data.classes[c]})"
        chosen, hit = selection[:, c], recall[:, c]
        put("fairness", f"|1-DI|{of}", r.ratio_gap(chosen), gap_interval(chosen, log=True))
        name = f"TPR ratio gap (|1-DI| as coded){of}"
        put("fairness", name, r.ratio_gap(hit), gap_interval(hit, log=True))
    if len(data.groups) == 2:  # signed: the only difference whose bootstrap is not biased
        label = f"{data.groups[1]} minus {data.groups[0]}"
        for name, values in _rate_names(data, recall, selection):
            put("difference", name, values[:, 1] - values[:, 0], group=label)
    for g, group in enumerate(data.groups):
        of_group = data.a == g
        put("group", "accuracy", accuracy[:, g], group=group, size=of_group.sum())
        for name, values in _rate_names(data, recall, selection):
            put("group", name, values[:, g], group=group, size=of_group.sum())
    return figures


def _rate_names(data: AuditData, recall: Floats, selection: Floats) -> Iterator[tuple[str, Floats]]:
    if data.shape[1] == 2:
        yield "true positive rate", recall[:, 1]
        yield "true negative rate", recall[:, 0]
        yield "selection rate", selection[:, 1]
        return
    for c, label in enumerate(data.classes):
        yield f"recall (y={label})", recall[:, c]
        yield f"selection rate (y={label})", selection[:, c]


def _score_figures(data: AuditData, given: Predictions, boot: Floats, seed: int) -> Figures:
    scores, y = given.scores, data.y
    assert scores is not None
    figures: Figures = {}

    def over(rows: NDArray[np.bool_], measure: Callable[[Floats], Floats]) -> Floats:
        return np.concatenate([measure(w[:, rows]) for w in _rows(boot, data)])

    def put(section: str, name: str, group: str, values: Floats, rows, null=np.nan, interval=None):
        interval = percentile_interval(values) if interval is None else interval
        figures[Key(section, name, group)] = Measured(values, interval, int(rows.sum()), null)

    everyone = np.ones(len(y), dtype=bool)
    parts = [("all", everyone), *((g, data.a == i) for i, g in enumerate(data.groups))]
    aucs = []
    for group, rows in parts:
        auc = over(rows, partial(s.class_auc, scores[rows], y[rows]))
        put("performance" if group == "all" else "group", "AUC", group, auc, rows)
        aucs.append(auc)
    of_groups = np.column_stack(aucs[1:])
    put("fairness", "AUC gap", "all", r.gap(of_groups), everyone, interval=gap_interval(of_groups))
    if not given.probabilities:
        return figures
    forecast, outcome = s.confidence(scores, y)
    losses, bins = s.brier(scores, y), s.calibration_bins(forecast)
    for group, rows in parts:

        def mean_of(values: Floats, rows: NDArray[np.bool_] = rows) -> Floats:
            return over(rows, partial(s.weighted_mean, values[rows]))

        put("calibration", "Brier score", group, mean_of(losses), rows)
        put("calibration", "mean forecast - outcome", group, mean_of(forecast - outcome), rows)
        arguments = forecast[rows], outcome[rows], bins[rows]
        error = over(rows, partial(s.calibration_error, *arguments))
        null = s.null_calibration_error(forecast[rows], bins[rows], seed)
        # resamples repeat rows, which adds to an absolute error: take that off
        centred = np.r_[error[0], np.maximum(error[1:] - np.nanmean(error[1:]) + error[0], 0)]
        interval = percentile_interval(centred)
        put("calibration", "expected calibration error", group, error, rows, null, interval)
    return figures


def unfairness_tests(data: AuditData, permuted: NDArray[np.int64], level: float) -> dict[Key, Test]:
    """Test every gap by permutations (1 + B, n) of the attribute within y, corrected over all."""
    gaps: dict[Key, Floats] = {}
    given = data.predictions
    n_groups, n_classes = data.shape
    parts = np.array_split(permuted, max(1, permuted.size * n_groups // CHUNK))
    for threshold, y_pred in given.labels.items():
        pair = np.eye(n_classes**2)[data.y * n_classes + y_pred]
        counts = np.concatenate(
            [np.stack([(p == g) @ pair for g in range(n_groups)], axis=1) for p in parts]
        )
        found = r.rates(counts.reshape(-1, n_groups, n_classes, n_classes))
        named = {data.class_name(c): r.gap(found.recall[:, c]) for c in range(n_classes)}
        named["equalized odds"] = r.equalized_odds(found.recall)
        for c in range(1, 2) if n_classes == 2 else range(n_classes):
            of = "" if n_classes == 2 else f" (y={data.classes[c]})"
            named[f"|1-DI|{of}"] = r.ratio_gap(found.selection[:, c])
        gaps |= {Key("fairness", name, "all", threshold): v for name, v in named.items()}
    if given.scores is not None:
        scores = given.scores
        aucs = [
            np.stack([s.class_auc(scores, data.y, (p == g).astype(float)) for g in range(n_groups)])
            for p in parts
        ]
        gaps[Key("fairness", "AUC gap")] = r.gap(np.concatenate(aucs, axis=1).T)
    return max_t(gaps, level)


def _rows(boot: Floats, data: AuditData) -> Iterator[Floats]:
    """Weights of rows from weights of patients, some resamples at a time."""
    for part in np.array_split(boot, max(1, len(boot) * len(data.y) // CHUNK)):
        yield part[:, data.patients]


def _groups(data: AuditData) -> range:
    return range(len(data.groups))


def _patients_of_classes(data: AuditData) -> NDArray[np.int64]:
    """Patients of each class, (C,)."""
    pairs = np.unique(np.column_stack([data.y, data.patients]), axis=0)
    return np.bincount(pairs[:, 0], minlength=data.shape[1])


def _patients_of_cells(data: AuditData) -> NDArray[np.int64]:
    """Patients in each cell, (C, A)."""
    counts = np.zeros((data.shape[1], data.shape[0]), dtype=np.int64)
    for c in range(data.shape[1]):
        for g in _groups(data):
            counts[c, g] = len(np.unique(data.patients[(data.y == c) & (data.a == g)]))
    return counts
