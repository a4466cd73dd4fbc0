"""SearchDisplay: scores over the values of one parameter, the path of lambda for instance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skdne.display._cv_results import (
    candidate_labels,
    check_search,
    fold_scores,
    score_label,
    scorer_names,
    short,
    slice_of,
)
from skdne.drawing import COLOURS, MARKERS, axes_for, draw_points

MAX_TICKS = 8


class Places(NamedTuple):
    """Where values stand: on the scale of the axis, or apart from it at its left."""

    x: NDArray[np.float64]  # in powers of ten where log
    on_scale: NDArray[np.bool_]
    log: bool
    step: float


class SearchDisplay:
    """Scores of a search over one parameter: mean and standard deviation over folds.

    With ``param="dne__reg_lambda"`` it is the path of lambda, the papers' Fig. 2a; with
    ``param="dne__solver__n_local_iter"`` the ablation of R, Fig. 2b. Use :meth:`from_estimator`;
    matplotlib is needed (``pip install "skdne[plot]"``).

    Parameters
    ----------
    values : sequence of shape (n_values,)
        Values of the parameter. Positive numbers that span a factor of 10 are drawn on a log
        axis. What has no place on the axis (None, a text, 0 on a log axis) is drawn apart, hollow,
        and with a dashed line to compare by, if it is no number; where fewer than two values have
        a place, all are drawn as classes.
    scores : dict of str to array-like of shape (n_values, n_repeats)
        Each score of every value, once for each fold (or seed); the keys are drawn as they are.
    param_name : str
        Label of the axis.
    chosen : int or None, default=None
        Index in ``values`` of the one that was chosen.
    repeats : str, default="folds"
        What the repeats are.

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : matplotlib Axes
    lines_ : dict of str to matplotlib Line2D
        The points of each score that are on the scale of the axis, sorted; of all, where they are
        classes.

    See Also
    --------
    FrontierDisplay : two scores of all candidates against each other.
    sklearn.model_selection.ValidationCurveDisplay : trains and scores for one parameter.

    Notes
    -----
    The standard deviation, with n - 1 in its denominator, says how far folds differ. The training
    sets of folds overlap, so it is no interval: differences smaller than the bars say little.

    References
    ----------
    Jin et al. 2024, "Debiased Noise Editing on Foundation Models for Fair Medical Image
    Classification", Fig. 2.

    Examples
    --------
    >>> from skdne import SearchDisplay
    >>> scores = {"EO_p": [[0.30, 0.34], [0.10, 0.14], [0.28, 0.30]]}
    >>> display = SearchDisplay([None, 0.01, 0.1], scores, param_name="lambda", chosen=1).plot()
    >>> display.lines_["EO_p"].get_ydata().round(2).tolist()
    [0.12, 0.29]
    """

    def __init__(
        self,
        values: Sequence[Any],
        scores: Mapping[str, ArrayLike],
        *,
        param_name: str,
        chosen: int | None = None,
        repeats: str = "folds",
    ) -> None:
        self.values = list(values)
        self.scores = {name: np.asarray(found, dtype=float) for name, found in scores.items()}
        self.param_name = param_name
        self.chosen = chosen
        self.repeats = repeats
        for name, found in self.scores.items():
            if found.ndim != 2 or len(found) != len(self.values):
                raise ValueError(
                    f"scores[{name!r}] must have shape ({len(self.values)}, n_repeats), a row for "
                    f"each value; its shape is {found.shape}."
                )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        param: str,
        *,
        scoring: str | Sequence[str] | None = None,
        fixed: Mapping[str, Any] | None = None,
        ax: Any = None,
    ) -> Self:
        """Draw a parameter of a fitted search.

        Parameters
        ----------
        estimator : GridSearchCV or another search
            Fitted. Scores of which less is better, negative in the search, get their sign back.
        param : str
            Name as in the grid, such as ``"dne__reg_lambda"``. Candidates that do not have it, the
            control arm of a list of grids for instance, are drawn apart.
        scoring : str, list of str or None, default=None
            Names of scorers; None draws all.
        fixed : dict or None, default=None
            Values at which to hold other parameters. None takes those of the chosen candidate,
            if it has ``param``.
        ax : matplotlib Axes, default=None
            None makes a new figure.

        Returns
        -------
        SearchDisplay

        Raises
        ------
        ValueError
            If the search has no such parameter or scorer, nothing has the ``fixed`` values, or
            several candidates share a value of ``param``.

        Examples
        --------
        >>> from sklearn.datasets import make_classification
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.model_selection import GridSearchCV
        >>> from skdne import SearchDisplay
        >>> X, y = make_classification(random_state=0)
        >>> search = GridSearchCV(LogisticRegression(), {"C": [0.01, 0.1, 1]}).fit(X, y)
        >>> SearchDisplay.from_estimator(search, "C").ax_.get_xscale()
        'log'
        """
        check_search(estimator)
        names = [scoring] if isinstance(scoring, str) else list(scoring or scorer_names(estimator))
        params = estimator.cv_results_["params"]
        chosen = getattr(estimator, "best_index_", None)
        rows = slice_of(params, param, fixed, chosen)
        apart = [i for i, candidate in enumerate(params) if param not in candidate]
        labels = candidate_labels(params)
        values = [labels[i] for i in apart] + [params[i][param] for i in rows]
        rows = apart + rows
        scores = {}
        for name in names:
            found, lower = fold_scores(estimator, name, "scoring")
            label = score_label(estimator, name) + ", lower is better" * lower
            scores[label] = found[rows]
        display = cls(
            values,
            scores,
            param_name=param.rpartition("__")[2],
            chosen=rows.index(chosen) if chosen in rows else None,
        )
        return display.plot(ax)

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
        ax = axes_for(ax, "SearchDisplay.plot", (7.6, 4.2))
        self.ax_, self.figure_, self.lines_ = ax, ax.figure, {}
        places = _places(self.values)
        order = np.argsort(places.x, kind="stable")
        joined = order[places.on_scale[order]] if places.on_scale.any() else order
        apart = order[~places.on_scale[order]] if places.on_scale.any() else order[:0]
        n_repeats = 0
        for i, (name, found) in enumerate(self.scores.items()):
            n_repeats = found.shape[1]
            mean = found.mean(axis=1)
            spread = found.std(axis=1, ddof=1) if n_repeats > 1 else np.zeros(len(found))
            ends = np.column_stack([mean - spread, mean + spread])
            at = places.x + 0.06 * places.step * (i - (len(self.scores) - 1) / 2)
            x = 10**at if places.log else at
            colour = COLOURS[i % len(COLOURS)]
            style: dict[str, Any] = {"colour": colour, "marker": MARKERS[i % len(MARKERS)]}
            self.lines_[name] = draw_points(
                ax,
                x[joined],
                mean[joined],
                y_ends=ends[joined],
                line="-" if places.on_scale.any() else "",
                label=name,
                **style,
            )
            draw_points(ax, x[apart], mean[apart], y_ends=ends[apart], hollow=True, **style)
            for k in apart:
                if np.isnan(_number(self.values[k])):  # the control arm, not 0 on a log axis
                    ax.axhline(mean[k], color=colour, linestyle="--", linewidth=1, zorder=1)
        if self.chosen is not None:
            x_chosen = places.x[self.chosen]
            where = 10**x_chosen if places.log else x_chosen
            ax.axvline(where, color="black", linestyle=":", linewidth=1.5, label="chosen", zorder=0)
        _label_values(ax, self.values, places, order)
        label = f"mean and sd over {n_repeats} {self.repeats}"
        ax.set(xlabel=self.param_name, ylabel="score" if n_repeats == 1 else label)
        ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
        return self


def _places(values: Sequence[Any]) -> Places:
    numbers = np.array([_number(value) for value in values])
    positive = numbers[numbers > 0]
    log = len(positive) >= 2 and positive.max() >= 10 * positive.min() and not (numbers < 0).any()
    on_scale = numbers > 0 if log else ~np.isnan(numbers)
    if on_scale.sum() < 2:
        x = np.arange(len(values), dtype=float)
        return Places(x, np.zeros(len(values), dtype=bool), log=False, step=1.0)
    x = np.log10(numbers, where=on_scale, out=np.full(len(values), np.nan)) if log else numbers
    ends = x[on_scale].min(), x[on_scale].max()
    step = float(ends[1] - ends[0]) / (len(np.unique(x[on_scale])) - 1) or 1.0
    n_apart = int((~on_scale).sum())
    x = x.copy()
    x[~on_scale] = ends[0] - step * np.arange(n_apart, 0, -1)
    return Places(x, on_scale, log, step)


def _number(value: Any) -> float:
    is_number = isinstance(value, Real) and not isinstance(value, (bool, np.bool_))
    return float(value) if is_number and np.isfinite(float(value)) else np.nan


def _label_values(ax: Any, values: Sequence[Any], places: Places, order: NDArray[np.intp]) -> None:
    """Put a tick at each value; where there are many, matplotlib's own on the scale."""
    from matplotlib.ticker import NullLocator

    if places.log:
        ax.set_xscale("log")
    ticks = {places.x[i]: short(values[i]).replace(", ", "\n") for i in order}
    on_scale = places.x[places.on_scale]
    if len(np.unique(on_scale)) > MAX_TICKS:
        found = ax.xaxis.get_major_locator().tick_values(
            *(
                10 ** np.array([on_scale.min(), on_scale.max()])
                if places.log
                else (on_scale.min(), on_scale.max())
            )
        )
        kept = np.log10(found) if places.log else found
        kept = kept[(kept >= on_scale.min() - 1e-9) & (kept <= on_scale.max() + 1e-9)]
        apart = {x: text for x, text in ticks.items() if x not in on_scale}
        ticks = apart | {x: f"{10**x if places.log else x:g}" for x in kept}
    at = np.array(list(ticks))
    ax.set_xticks(10**at if places.log else at, list(ticks.values()))
    ax.xaxis.set_minor_locator(NullLocator())
    if max(map(len, ticks.values())) > 12:
        ax.tick_params(axis="x", rotation=20)
