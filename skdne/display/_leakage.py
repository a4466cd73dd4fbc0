"""LeakageDisplay: what probes read before the edit and after it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import _num_samples

from skdne.attribute import SensitiveData, check_sensitive_data
from skdne.auc import Auc, auc_interval
from skdne.audit._numbers import as_numbers
from skdne.display._find import find_transformer
from skdne.drawing import AFTER, BEFORE, axes_for, draw_points, plain_rows
from skdne.verdict import REMOVED, Verdict

Sides = Mapping[str, Auc]
STYLES: dict[str, dict[str, Any]] = {
    "before": {"colour": BEFORE, "marker": "s", "hollow": True},
    "after": {"colour": AFTER, "marker": "o"},
}
PROBES = {"linear": "linear probe", "rbf": "RBF probe", "mlp": "MLP probe"}


class LeakageDisplay:
    """Leakage before and after an edit: the AUC of each probe with its interval.

    Below the probes of the attribute stand those of the findings, which an edit should not cost.
    Use :meth:`from_estimator` or :meth:`from_predictions`; matplotlib is needed
    (``pip install "skdne[plot]"``).

    Parameters
    ----------
    leakage : dict of str to dict
        For each probe of the attribute ``{"before": (auc, low, high), "after": (auc, low, high)}``,
        as in ``leakage_`` of a transformer; one of the two may be missing.
    findings : dict of str to dict, default=None
        The same for each finding, as in ``findings_``.
    verdict : Verdict or None, default=None
        Its outcome is the title.

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : matplotlib Axes
    lines_ : dict of str to matplotlib Line2D
        The points drawn, ``"before"`` and ``"after"``; x is the AUC, y the row.

    See Also
    --------
    skdne.audit.attribute_leakage : measures leakage of given embeddings.

    Notes
    -----
    The solid line is chance. An attribute is called "removed" where the intervals of all its probes
    end left of the dotted line, .60.

    Examples
    --------
    >>> from skdne import LeakageDisplay
    >>> leakage = {"linear": {"before": (0.95, 0.92, 0.98), "after": (0.52, 0.45, 0.59)}}
    >>> LeakageDisplay(leakage).plot().lines_["after"].get_xdata().tolist()
    [0.52]
    """

    def __init__(
        self,
        leakage: Mapping[str, Sides],
        findings: Mapping[str, Sides] | None = None,
        *,
        verdict: Verdict | None = None,
    ) -> None:
        self.leakage = leakage
        self.findings = {} if findings is None else findings
        self.verdict = verdict

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> Self:
        """Draw ``leakage_`` and ``findings_`` of a fitted transformer.

        They were measured at fit, on images held out from it.

        Parameters
        ----------
        estimator : DebiasedNoiseTransformer, or an estimator that holds one, such as a pipeline
            Fitted. The transformer is found in it.
        ax : matplotlib Axes, default=None
            None makes a new figure.

        Returns
        -------
        LeakageDisplay

        Raises
        ------
        ValueError
            If there is no transformer in ``estimator``, or its ``leakage_`` is empty.
        """
        transformer, _ = find_transformer(estimator, None)
        leakage = getattr(transformer, "leakage_", {})  # a loaded noise has none
        if not leakage:
            raise ValueError(
                "estimator has no leakage_ to draw: it is not fitted, or was fitted with "
                "leakage=False, without sensitive_features or on too few images to hold any out, "
                "or loaded from a file. Fit it with leakage=True and sensitive_features=a."
            )
        found = cls(leakage, transformer.findings_, verdict=transformer.verdict_)
        return found.plot(ax)

    @classmethod
    def from_predictions(
        cls,
        sensitive_features: Any,
        *,
        before: Any = None,
        after: Any = None,
        y: Any = None,
        groups: Any = None,
        random_state: Any = None,
        ax: Any = None,
    ) -> Self:
        """Draw the AUC at which scores of your own probes tell the attribute.

        The scores must be of images that the probes were not trained on. Intervals are of patients
        (:func:`skdne.auc.auc_interval`).

        Parameters
        ----------
        sensitive_features : array-like of shape (n,) or (n, k)
            The attribute; several columns are intersected, rows where it is missing are left out.
        before, after : dict of str to array-like of shape (n,) or (n, n_classes), default=None
            For each probe its scores on unedited and on edited images: of the larger class of two,
            or of every class in sorted order. An array is one probe; give one of the two at least.
        y : array-like of shape (n,), default=None
            Disease classes. Where given, images of the same y are compared.
        groups : array-like of shape (n,), default=None
            Patients.
        random_state : object, default=None
            Not used: the intervals are not drawn any more. Kept for calls that pass it.
        ax : matplotlib Axes, default=None
            None makes a new figure.

        Returns
        -------
        LeakageDisplay

        Raises
        ------
        ValueError
            For bad input, naming the argument.

        Examples
        --------
        >>> import numpy as np
        >>> from skdne import LeakageDisplay
        >>> rng = np.random.default_rng(0)
        >>> sex = np.repeat(["F", "M"], 100)
        >>> before, after = rng.normal(size=(2, 200)) + 3 * np.outer([1, 0], sex == "M")
        >>> display = LeakageDisplay.from_predictions(
        ...     sex, before={"linear": before}, after={"linear": after}
        ... )
        >>> display.leakage["linear"]["before"].auc > 0.95
        True
        """
        data = check_sensitive_data(sensitive_features, y, groups, _num_samples(sensitive_features))
        leakage: dict[str, dict[str, Auc]] = {}
        for side, given in {"before": before, "after": after}.items():
            if given is None:
                continue
            probes = given if isinstance(given, Mapping) else {"probe": given}
            for name, scores in probes.items():
                columns = _check_scores(scores, f"{side}, {name!r},", data, sensitive_features)
                auc = auc_interval(data.codes, columns, data.strata, data.groups)
                leakage.setdefault(name, {})[side] = auc
        if not leakage:
            raise ValueError("before and after are missing; give the scores of a probe.")
        return cls(leakage).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a new figure.

        Returns
        -------
        self
        """
        labels = [f"attribute, {PROBES.get(name, name)}" for name in self.leakage]
        labels += [textwrap.shorten(name, 24) + ", linear probe" for name in self.findings]
        rows = [*self.leakage.values(), *self.findings.values()]
        both = all(any(side in row for row in rows) for side in STYLES)
        size = (6.4, 1.6 + 0.5 * len(rows))
        ax = axes_for(ax, "LeakageDisplay.plot", size)
        self.ax_, self.figure_, self.lines_ = ax, ax.figure, {}
        lowest = 0.4
        for offset, (side, style) in zip((-0.14, 0.14), STYLES.items(), strict=True):
            at = [i for i, row in enumerate(rows) if side in row]
            if not at:
                continue
            found = np.array([rows[i][side] for i in at], dtype=float)
            place = np.array(at) + offset * both
            self.lines_[side] = draw_points(
                ax, found[:, 0], place, x_ends=found[:, 1:], label=f"{side} the edit", **style
            )
            lowest = float(np.nanmin([lowest, *found[:, 1]]))
        plain_rows(ax, labels)
        ax.axvline(0.5, color="black", linewidth=1, zorder=0)
        n = len(self.leakage)
        ax.plot([REMOVED] * 2, [-0.5, n - 0.5], color="black", linestyle=":", linewidth=1.5)
        if self.findings:
            ax.axhline(n - 0.5, color="#999999", linewidth=1)
        ax.set(xlim=(lowest - 0.03, 1.02), xlabel="AUC, 95% interval (0.5 is chance)")
        if self.verdict is not None:
            ax.set_title(textwrap.fill(self.verdict.outcome, 36))
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, frameon=False)
        return self


def _check_scores(
    scores: ArrayLike, name: str, data: SensitiveData, sensitive_features: Any
) -> NDArray[np.float64]:
    """Scores of every class, (n, K), of the rows that have the attribute."""
    found = as_numbers(scores, name.rstrip(","))
    n, n_classes = _num_samples(sensitive_features), len(data.classes)
    if found.ndim == 1 and n_classes == 2:
        found = np.column_stack([-found, found])
    if found.shape != (n, n_classes):
        raise ValueError(
            f"{name} must have shape {f'({n},) or ' * (n_classes == 2)}({n}, {n_classes}): a row "
            f"for each image, a column for each class; its shape is {np.shape(scores)}."
        )
    found = found[data.rows]
    if not np.isfinite(found).all():
        raise ValueError(f"{name} has nan or infinite values; give a number for each image.")
    return found
