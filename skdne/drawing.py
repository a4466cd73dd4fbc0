"""One style for all charts: colours, points with their intervals, matplotlib when it is needed."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# told apart with every common colour blindness, and in grey (Okabe and Ito 2008)
AFTER, BEFORE, FLAG = "#0072B2", "#767676", "#D55E00"
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]  # 7 and 6 have no common divisor: 42 pairs
LINES = ["-", "--", "-.", ":"]


def load_matplotlib(caller: str, module: str = "matplotlib.pyplot") -> Any:
    """Import matplotlib when it is first needed: it is an extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f'{caller} needs matplotlib; install it with: pip install "skdne[plot]"'
        ) from error


def axes_for(ax: Any, caller: str, size: tuple[float, float]) -> Any:
    """Return the axes given, or those of a new figure."""
    plt = load_matplotlib(caller)
    return plt.subplots(figsize=size, layout="constrained")[1] if ax is None else ax


def draw_points(
    ax: Any,
    x: ArrayLike,
    y: ArrayLike,
    *,
    x_ends: ArrayLike | None = None,
    y_ends: ArrayLike | None = None,
    colour: str = AFTER,
    marker: str = "o",
    line: str = "",
    hollow: bool = False,
    label: str | None = None,
    light: bool = False,
) -> Any:
    """Draw points and, as bars, their intervals.

    Parameters
    ----------
    ax : Axes
    x, y : array-like of shape (n,)
    x_ends, y_ends : array-like of shape (n, 2) or None
        Lower and upper ends. Unlike those of ``errorbar`` they need not enclose the point: a
        bootstrap interval may not.
    colour, marker, line : str
    hollow : bool
    label : str or None
    light : bool
        Draw thin, pale bars and let hollow points show what lies beneath, for where many meet.

    Returns
    -------
    Line2D of the points
    """
    x, y = (np.atleast_1d(np.asarray(values, dtype=float)) for values in (x, y))
    style: dict[str, Any] = {"colors": colour, "linewidth": 2.0, "zorder": 2}
    if light:
        style |= {"linewidth": 1.2, "alpha": 0.45}
    for ends, draw, at in ((x_ends, ax.hlines, y), (y_ends, ax.vlines, x)):
        if ends is not None:
            draw(at, *_columns(ends), **style)
    points = ax.plot(x, y, marker, color=colour, linestyle=line, linewidth=1.5, zorder=3)[0]
    points.set_markersize(6.5)
    if hollow:
        points.set_markerfacecolor("none" if light else "white")
    if label is not None:
        points.set_label(label)
    return points


def plain_rows(ax: Any, labels: list[str]) -> None:
    """Give each label a row, the first on top, and guide the eye along it."""
    ax.set_yticks(np.arange(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.grid(axis="x", color="#DDDDDD", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)


def _columns(ends: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(ends, dtype=float).reshape(-1, 2).T
