"""FrontierDisplay: fairness against utility of many systems, and which of them no other beats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from skdne.display._cv_results import check_search, search_points
from skdne.display._systems import figure_points, looked_at, measure_systems
from skdne.drawing import COLOURS, MARKERS, axes_for, draw_points

COLUMNS = ["utility", "utility_low", "utility_high", "fairness", "fairness_low", "fairness_high"]
MAX_NAMED = 16  # with more, only those on the frontier and the chosen one have a name


class FrontierDisplay:
    """Fairness against utility of several systems, the Pareto-optimal ones filled and joined.

    Use :meth:`from_estimator` or :meth:`from_predictions`; matplotlib is needed
    (``pip install "skdne[plot]"``).

    Parameters
    ----------
    points : DataFrame of shape (n_systems, 6)
        A row for each system, its name the index: ``utility``, ``fairness`` and the ends of their
        intervals, ``utility_low``, ``utility_high``, ``fairness_low``, ``fairness_high``; nan where
        there is none. A system with a figure of nan is named as undefined.
    utility_name, fairness_name : str
        Labels of the axes.
    greater_is_better : tuple of two bool, default=(True, False)
        Of utility, and of fairness: False for a gap.
    bars : str, default="95% intervals"
        What the intervals are.
    chosen : str or None, default=None
        System to mark with a ring.

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : matplotlib Axes
    lines_ : list of matplotlib Line2D
        The point of each system, in the order of ``points``.
    frontier_ : matplotlib Line2D
        Through the Pareto-optimal points.

    See Also
    --------
    skdne.metrics.constrained_refit : chooses on this picture, by a rule.
    skdne.audit.FairnessAudit : tests one system in full.

    Notes
    -----
    The frontier is one of estimates. Where the bars of two systems overlap, the data may not say
    which is better; and of many candidates the best looking one looks too good.

    References
    ----------
    Agarwal et al. 2018, "A Reductions Approach to Fair Classification", Fig. 1.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from skdne import FrontierDisplay
    >>> points = pd.DataFrame({"utility": [0.8, 0.7, 0.6], "fairness": [0.3, 0.1, 0.2]}, index=[
    ...     "ERM", "reweighed", "random"])
    >>> FrontierDisplay(points, utility_name="accuracy", fairness_name="EO_p").pareto().tolist()
    [True, True, False]
    """

    def __init__(
        self,
        points: pd.DataFrame,
        *,
        utility_name: str,
        fairness_name: str,
        greater_is_better: tuple[bool, bool] = (True, False),
        bars: str = "95% intervals",
        chosen: str | None = None,
    ) -> None:
        missing = {"utility", "fairness"} - set(points)
        if missing:
            raise ValueError(f"points has no column {sorted(missing)}; it has {list(points)}.")
        if not points.index.is_unique or chosen not in (None, *points.index):
            raise ValueError(
                f"the index of points must name each system once, chosen={chosen!r} among them; it "
                f"is {points.index.tolist()}."
            )
        self.points = points.reindex(columns=COLUMNS).astype(float)
        self.utility_name = utility_name
        self.fairness_name = fairness_name
        self.greater_is_better = greater_is_better
        self.bars = bars
        self.chosen = chosen

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_pred: Mapping[str, ArrayLike],
        *,
        sensitive_features: Any,
        groups: Any = None,
        utility: str = "balanced accuracy",
        fairness: str = "equalized odds",
        positive_label: Any = None,
        n_bootstrap: int = 1000,
        random_state: Any = None,
        ax: Any = None,
    ) -> Self:
        """Draw systems from what they predict for the same images.

        Figures and 95% intervals are those of :class:`~skdne.audit.FairnessAudit`: a bootstrap of
        patients, the same samples for every system.

        Parameters
        ----------
        y_true : array-like of shape (n,)
            True classes, two or more.
        y_pred : dict of str to array-like of shape (n,)
            Predicted classes of each system.
        sensitive_features : array-like of shape (n,) or (n, k)
            Several columns are intersected; rows where it is missing are left out.
        groups : array-like of shape (n,), default=None
            Patients.
        utility, fairness : str, default="balanced accuracy" and "equalized odds"
            Figures of an audit, such as ``"accuracy"``, ``"worst group accuracy"``, ``"EO_p"``,
            ``"EO_n"``, ``"|1-DI|"``.
        positive_label : label, default=None
            The positive class of two; None is the larger.
        n_bootstrap : int, default=1000
        random_state : int, RandomState instance or None, default=None
        ax : matplotlib Axes, default=None
            None makes a new figure.

        Returns
        -------
        FrontierDisplay

        Raises
        ------
        ValueError
            For bad input, naming the argument.

        Examples
        --------
        >>> import numpy as np
        >>> from skdne import FrontierDisplay
        >>> rng = np.random.default_rng(0)
        >>> y, sex = rng.integers(0, 2, 400), rng.choice(["F", "M"], 400)
        >>> y_pred = {
        ...     "misses women": np.where((sex == "F") & (rng.random(400) < 0.5), 0, y),
        ...     "misses some": np.where(rng.random(400) < 0.3, 0, y),
        ... }
        >>> display = FrontierDisplay.from_predictions(
        ...     y, y_pred, sensitive_features=sex, fairness="EO_p", random_state=0
        ... )
        >>> display.points["fairness"].round(2).tolist()
        [0.45, 0.06]
        """
        if not isinstance(y_pred, Mapping) or not y_pred:
            raise ValueError(
                "y_pred must be a dict of the predictions of each system, such as "
                f"{{'ERM': y_pred}}; got {type(y_pred).__name__}."
            )
        predicted = {
            name: {"y_score": None, "y_pred": labels, "threshold": None}
            for name, labels in y_pred.items()
        }
        figures = measure_systems(
            y_true,
            predicted,
            sensitive_features=sensitive_features,
            groups=groups,
            positive_label=positive_label,
            n_bootstrap=n_bootstrap,
            random_state=random_state,
        )
        points, settings = figure_points(figures, utility, fairness)
        return cls(points, **settings).plot(ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        y: Any = None,
        *,
        sensitive_features: Any = None,
        groups: Any = None,
        utility: str | None = None,
        fairness: str | None = None,
        positive_label: Any = None,
        n_bootstrap: int = 1000,
        random_state: Any = None,
        ax: Any = None,
    ) -> Self:
        """Draw the candidates of a search, or several fitted classifiers.

        Parameters
        ----------
        estimator : GridSearchCV or another search, or dict of str to classifier
            Fitted. Candidates of a search are drawn from its ``cv_results_``: means over folds,
            with bars of one standard deviation.
        X : images, as ``predict`` of each classifier takes them, default=None
            Images that nothing was fitted on. For classifiers only, as all that follows but
            ``utility``, ``fairness`` and ``ax``.
        y, sensitive_features, groups : default=None
            See :meth:`from_predictions`.
        utility, fairness : str or None, default=None
            Of a search two of its scorers; None are those of
            :func:`~skdne.metrics.constrained_refit`, if that is its ``refit``. Of classifiers
            figures of an audit, here ``"AUC"`` and ``"AUC gap"`` too; None are those of
            :meth:`from_predictions`.
        positive_label, n_bootstrap, random_state
            See :meth:`from_predictions`.
        ax : matplotlib Axes, default=None
            None makes a new figure.

        Returns
        -------
        FrontierDisplay

        Raises
        ------
        ValueError
            For bad input, naming the argument.

        Notes
        -----
        A classifier that needs the attribute to predict goes through :meth:`from_predictions`.
        """
        if not isinstance(estimator, Mapping):
            check_search(estimator)
            if X is not None or y is not None:
                raise ValueError(
                    "X and y are for a dict of classifiers; a search is drawn from its folds. For "
                    "the best one on test images give {'chosen': search}."
                )
            points, settings = search_points(estimator, utility, fairness)
            return cls(points, **settings).plot(ax)
        if X is None or y is None:
            raise ValueError("X and y are missing; give images that nothing was fitted on.")
        figures = measure_systems(
            y,
            looked_at(estimator, X, y),
            sensitive_features=sensitive_features,
            groups=groups,
            positive_label=positive_label,
            n_bootstrap=n_bootstrap,
            random_state=random_state,
        )
        points, settings = figure_points(
            figures, utility or "balanced accuracy", fairness or "equalized odds"
        )
        return cls(points, **settings).plot(ax)

    def pareto(self) -> NDArray[np.bool_]:
        """Mark the Pareto-optimal systems: no other is as good in both and better in one.

        Returns
        -------
        ndarray of shape (n_systems,), bool
            Equal systems are marked alike; one with a figure of nan is not.
        """
        signs = np.where(self.greater_is_better, 1.0, -1.0)
        good = self.points[["utility", "fairness"]].to_numpy() * signs
        as_good = (good[:, None] >= good[None]).all(axis=2)
        better = (good[:, None] > good[None]).any(axis=2)
        return ~(as_good & better).any(axis=0) & np.isfinite(good).all(axis=1)

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
        ax = axes_for(ax, "FrontierDisplay.plot", (7.6, 4.4))
        self.ax_, self.figure_, self.lines_ = ax, ax.figure, []
        optimal = self.pareto()
        front = self.points[optimal].sort_values(["utility", "fairness"])
        self.frontier_ = ax.plot(
            front["utility"], front["fairness"], color="black", linewidth=1.5, zorder=2.5
        )[0]
        few = len(self.points) <= MAX_NAMED
        for i, (name, row) in enumerate(self.points.iterrows()):
            named = few or optimal[i] or name == self.chosen
            undefined = " (undefined)" * bool(row[["utility", "fairness"]].isna().any())
            self.lines_.append(
                draw_points(
                    ax,
                    row["utility"],
                    row["fairness"],
                    x_ends=row[["utility_low", "utility_high"]],
                    y_ends=row[["fairness_low", "fairness_high"]],
                    colour=COLOURS[i % len(COLOURS)] if named else "#BBBBBB",
                    marker=MARKERS[i % len(MARKERS)] if named else ".",
                    hollow=not optimal[i],
                    label=f"{name}{undefined}" if named else None,
                    light=True,
                )
            )
        if self.chosen is not None:
            at = self.points.loc[[self.chosen]]
            ring = {"markersize": 15, "markerfacecolor": "none", "color": "black"}
            ax.plot(at["utility"], at["fairness"], "o", label="chosen", **ring)
        for axis, name, greater in zip(
            ("x", "y"), (self.utility_name, self.fairness_name), self.greater_is_better, strict=True
        ):
            ax.set(**{f"{axis}label": f"{name} ({'higher' if greater else 'lower'} is better)"})
        ax.grid(color="#DDDDDD", linewidth=0.7)
        ax.set_axisbelow(True)
        title = f"filled: Pareto-optimal\nbars: {self.bars}"
        legend = ax.legend(
            loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, title=title
        )
        legend.set_alignment("left")
        return self
