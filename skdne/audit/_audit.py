"""FairnessAudit: all figures of a classifier, by group, with what can and cannot be said."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from skdne.audit import _probes
from skdne.audit._compute import Extras, Options, compute
from skdne.audit._export import records
from skdne.audit._input import AuditData, check_audit_data
from skdne.audit._pipeline import (
    check_baseline,
    edited_images,
    look,
    parts,
    several_transformers,
    validation_threshold,
)
from skdne.audit._summary import summary
from skdne.findings import check_findings

MAX_IMAGES = 200  # for the fidelity of an edit


class FairnessAudit:
    """Audit of a classifier: performance, fairness, leakage and fidelity, with intervals.

    Made by :meth:`from_estimator` or :meth:`from_predictions`, on images that nothing was fitted
    on. Patients are the unit of every interval and test.

    Attributes
    ----------
    summary, warnings : list of str
        What was found, and what one may misread, in plain sentences.
    thresholds : dict of str to float
        Value of each numeric threshold.
    n_images, n_patients : int
        Audited; images, where patients are not known.
    groups : dict of str to int
        Images of each group.
    classes : list
        Classes of y; the positive one of two is the last.
    level : float
        Probability of any false flag.

    See Also
    --------
    attribute_leakage : leakage of given embeddings alone.
    nadeau_bengio_interval : for figures of several re-splits.

    Notes
    -----
    Intervals are 95% bootstrap percentiles over patients, the classifier held fixed; in simulations
    with 100 and 400 images they held the rate of a group in 93% to 96% of cases. A largest
    difference between groups is biased upwards, so its interval comes from the deviation of the
    rates themselves, may reach 0, and held the true gap in 94% to 99% (plain percentiles: in 0% to
    98%). ``null`` is its mean where the attribute tells nothing, from permutations of the attribute
    within y. ``flagged`` gaps are larger than that, at ``level`` for all of them together (max-T).
    It tests whether predictions depend on the attribute *given y*: a gap in selection rates that
    different prevalences explain is not flagged. Differences to the baseline are paired: the same
    patients in every resample; for gaps near 0 their intervals are approximate.
    """

    def __init__(
        self, data: AuditData, extras: Extras, options: Options, thresholds: dict[str, float]
    ) -> None:
        self.level = options.level
        self.thresholds = thresholds
        self.n_images, self.n_patients = len(data.y), data.n_patients
        self.groups = dict(
            zip(data.groups, np.bincount(data.a, minlength=len(data.groups)).tolist(), strict=True)
        )
        self.classes = data.classes
        self._data, self._extras = data, extras
        self._frame, self.warnings = compute(data, extras, options)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        *,
        sensitive_features: Any,
        y_score: Any = None,
        y_pred: Any = None,
        groups: Any = None,
        threshold: float | None = None,
        baseline_score: Any = None,
        baseline_pred: Any = None,
        baseline_threshold: float | None = None,
        embeddings: Any = None,
        baseline_embeddings: Any = None,
        findings: Any = None,
        originals: Any = None,
        edited: Any = None,
        positive_label: Any = None,
        level: float = 0.05,
        n_bootstrap: int = 1000,
        n_permutations: int = 1000,
        random_state: Any = None,
    ) -> Self:
        """Audit predictions, from anywhere.

        Parameters
        ----------
        y_true : array-like of shape (n,)
            True classes, two or more.
        sensitive_features : array-like of shape (n,) or (n, k)
            Several columns are intersected; rows where it is missing are left out.
        y_score : array-like of shape (n,) or (n, n_classes), default=None
            Scores of the positive class, or of every class in sorted order. Where they are
            probabilities, calibration is measured.
        y_pred : array-like of shape (n,), default=None
            Predicted classes; from ``y_score`` at .5 (several classes: the largest) where None.
        groups : array-like of shape (n,), default=None
            Patients.
        threshold : float, default=None
            A second threshold on ``y_score``, chosen on validation data: see
            :func:`choose_threshold`.
        baseline_score, baseline_pred, baseline_threshold : of the same types, default=None
            The same of another classifier on the same images, such as one without the edit.
        embeddings, baseline_embeddings : array-like of shape (n, d), default=None
            What the classifiers see: leakage and the AUC of findings are measured on them.
        findings : array-like of shape (n, k) or DataFrame, default=None
            Labels whose AUC an edit should not cost; NaN where unknown. Needs ``embeddings``.
        originals, edited : array-like of shape (n, H, W) or (n, H, W, C), default=None
            Images before and after, in [0, 1], for the fidelity of the edit.
        positive_label : label, default=None
            The positive class of two; None is the larger.
        level : float, default=0.05
            Probability of any false flag.
        n_bootstrap, n_permutations : int, default=1000
        random_state : int, RandomState instance or None, default=None
            An int repeats every digit.

        Returns
        -------
        FairnessAudit

        Raises
        ------
        ValueError
            For bad input, naming the argument.

        Examples
        --------
        >>> import numpy as np
        >>> from skdne.audit import FairnessAudit
        >>> rng = np.random.default_rng(0)
        >>> y, sex = rng.integers(0, 2, 400), rng.choice(["F", "M"], 400)
        >>> y_pred = np.where((sex == "F") & (rng.random(400) < 0.5), 0, y)  # misses women
        >>> audit = FairnessAudit.from_predictions(
        ...     y, y_pred=y_pred, sensitive_features=sex, random_state=0
        ... )
        >>> frame = audit.to_frame()
        >>> frame.loc[frame["flagged"].fillna(False), "figure"].tolist()
        ['EO_p', 'equalized odds', '|1-DI|']
        """
        options = Options(level, n_bootstrap, n_permutations, random_state)
        baseline = {
            "y_score": baseline_score,
            "y_pred": baseline_pred,
            "threshold": baseline_threshold,
        }
        data = check_audit_data(
            y_true,
            sensitive_features,
            groups,
            positive_label,
            {"y_score": y_score, "y_pred": y_pred, "threshold": threshold},
            None if baseline_score is None and baseline_pred is None else baseline,
        )
        n = len(np.asarray(y_true))
        extras = Extras(findings=findings)
        if findings is not None and embeddings is None:
            raise ValueError(
                "findings needs embeddings, on which they are measured; pass these too."
            )
        check_findings(None, findings, n)
        for name, Z in (("embeddings", embeddings), ("baseline_embeddings", baseline_embeddings)):
            if Z is not None:
                setattr(extras, name, _probes.check_embeddings(Z, name, n)[data.rows])
        if (originals is None) != (edited is None):
            raise ValueError("pass both originals and edited, or neither.")
        if originals is not None:
            originals, edited = np.asarray(originals), np.asarray(edited)
            if len(originals) != n or len(edited) != n:
                raise ValueError(
                    f"originals and edited have {len(originals)} and {len(edited)} images, y_true "
                    f"has {n} rows; they must be as many."
                )
            extras.originals, extras.edited = originals[data.rows], edited[data.rows]
        thresholds = {} if threshold is None else {"validation": float(threshold)}
        return cls(data, extras, options, thresholds)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        sensitive_features: Any,
        groups: Any = None,
        findings: Any = None,
        baseline: Any = None,
        validation: tuple[Any, Any] | None = None,
        leakage: bool = True,
        positive_label: Any = None,
        level: float = 0.05,
        n_bootstrap: int = 1000,
        n_permutations: int = 1000,
        random_state: Any = None,
    ) -> Self:
        """Audit a fitted classifier on images that it was not fitted on.

        Parameters
        ----------
        estimator : classifier
            Fitted. Its labels are those of ``predict``, at whatever threshold that uses; AUC and
            calibration are those of its scores. Where it is a pipeline with a
            :class:`~skdne.DebiasedNoiseTransformer`, or holds one (a search, a tuned threshold),
            leakage and fidelity are measured too.
        X : images, as ``estimator.predict`` takes them
        y, sensitive_features, groups, findings
            See :meth:`from_predictions`.
        baseline : classifier, default=None
            Fitted, without the edit: ``before`` in all comparisons.
        validation : (X, y), default=None
            Other images, for a second threshold: the one of largest balanced accuracy there, for
            the estimator and the baseline each.
        leakage : bool, default=True
            Whether to train probes; without, nothing about leakage and findings is said.
        positive_label, level, n_bootstrap, n_permutations, random_state
            See :meth:`from_predictions`.

        Returns
        -------
        FairnessAudit
        """
        options = Options(level, n_bootstrap, n_permutations, random_state)
        classes = np.unique(np.asarray(y))
        check_baseline(estimator, baseline)
        before = None if baseline is None else look(baseline, X, classes, embeddings=leakage)
        compared = before is not None and before.embeddings is not None
        seen = look(estimator, X, classes, embeddings=leakage, plain=leakage and not compared)
        thresholds = {}
        if validation is not None:
            for name, model, found in (
                ("validation", estimator, seen),
                ("baseline", baseline, before),
            ):
                if found is not None:
                    chosen = validation_threshold(model, *validation, classes, positive_label)
                    found.predicted["threshold"] = thresholds[name] = chosen
        baseline_given = None if before is None else before.predicted
        data = check_audit_data(
            y, sensitive_features, groups, positive_label, seen.predicted, baseline_given
        )
        check_findings(None, findings, len(np.asarray(y)))
        data.warnings.extend(several_transformers(estimator))
        cut = parts(estimator)
        extras = Extras(findings=findings, transformer=None if cut is None else cut.transformer)
        if seen.embeddings is not None:
            plain = before.embeddings if before is not None and compared else seen.plain
            extras.embeddings = np.asarray(seen.embeddings, dtype=np.float32)[data.rows]
            extras.baseline_embeddings = np.asarray(plain, dtype=np.float32)[data.rows]
        rng = np.random.default_rng(0)
        rows = np.sort(rng.permutation(len(data.rows))[:MAX_IMAGES])
        pair = edited_images(estimator, X, data.rows[rows])
        if pair is not None:
            extras.originals, extras.edited = pair
            extras.image_rows = rows
        return cls(data, extras, options, thresholds)

    @property
    def summary(self) -> list[str]:
        """What was found, in plain sentences."""
        return summary(self._frame, self.level)

    def to_frame(self) -> pd.DataFrame:
        """One row a figure.

        Returns
        -------
        DataFrame
            ``section``, ``figure``, ``group``, ``threshold`` and ``n`` images; ``value``, the
            ``baseline``'s value and their paired ``difference``, each with ``_low`` and ``_high``
            ends of the 95% interval (of ``value``: ``low``, ``high``); ``null``, the mean of a
            largest difference, or of a calibration error, where there is no effect; ``p_value``,
            corrected, and ``flagged`` of the gaps that were tested. nan marks what is undefined.
        """
        return self._frame.copy()

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain Python numbers and strings.

        Returns
        -------
        dict of str to object
            None stands for what is undefined; ``json.dumps`` takes it.
        """
        return {
            "format": "skdne.audit/1",
            "n_images": self.n_images,
            "n_patients": self.n_patients,
            "patients_known": self._data.has_patients,
            "groups": self.groups,
            "classes": [str(c) for c in self.classes],
            "level": self.level,
            "thresholds": self.thresholds,
            "summary": self.summary,
            "warnings": self.warnings,
            "figures": records(self._frame),
        }

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write the audit for machines: standard JSON, null for what is undefined.

        Parameters
        ----------
        path : path
        """
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False, ensure_ascii=False)
        Path(path).write_text(text + "\n", encoding="utf-8")

    def to_html(self, path: str | os.PathLike[str], *, title: str = "Fairness audit") -> None:
        """Write a report for people: one file with its pictures, which needs no network.

        Parameters
        ----------
        path : path
        title : str, default="Fairness audit"
        """
        from skdne.audit._report import report

        Path(path).write_text(report(self, title), encoding="utf-8")
