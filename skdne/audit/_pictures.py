"""The pictures of a report, as PNG."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skdne.audit import _scores
from skdne.audit._input import AuditData
from skdne.drawing import (
    AFTER,
    BEFORE,
    COLOURS,
    FLAG,
    LINES,
    draw_points,
    load_matplotlib,
    plain_rows,
)
from skdne.panels import draw_edits

WIDTH = 5.2  # inches: its text can still be read on a phone


def new_figure(height: float, rows: int = 1, width: float = WIDTH) -> tuple[Any, NDArray[Any]]:
    """Return a figure without a window, and its axes in one column."""
    Figure = load_matplotlib("FairnessAudit.to_html", "matplotlib.figure").Figure
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, 1, squeeze=False)[:, 0]


def as_png(figure: Any) -> str:
    """Return the picture as a data URI."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def intervals(ax: Any, frame: pd.DataFrame, labels: list[str], flags: bool = False) -> None:
    """Draw a row for each figure: its value and interval, the baseline above it as a square."""
    place = np.arange(len(frame), dtype=float)
    both = frame["baseline"].notna().any()
    for i, row in enumerate(frame.to_dict("records")):
        y, colour = place[i] + 0.13 * both, FLAG if flags and row["flagged"] is True else AFTER
        draw_points(ax, row["value"], y, x_ends=[row["low"], row["high"]], colour=colour)
        if both:
            ends = [row["baseline_low"], row["baseline_high"]]
            y_before = place[i] - 0.17
            draw_points(
                ax, row["baseline"], y_before, x_ends=ends, colour=BEFORE, marker="s", hollow=True
            )
        if flags and not np.isnan(row["null"]):
            ax.plot([row["null"]], [y], "k|", markersize=13, zorder=4)
    plain_rows(ax, labels)


def legend(figure: Any, both: bool, flags: bool = False, after: str = "audited") -> None:
    """Say what the marks are, above the axes."""
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], color=AFTER, marker="o", linewidth=2, label=after)]
    if both:
        square = Line2D([], [], color=BEFORE, marker="s", linewidth=2, label="baseline")
        square.set_markerfacecolor("white")
        marks.append(square)
    if flags:
        marks.append(Line2D([], [], color=FLAG, marker="o", linewidth=2, label="flagged"))
        marks.append(
            Line2D([], [], color="k", marker="|", linewidth=0, markersize=11, label="by chance")
        )
    figure.legend(handles=marks, loc="outside upper center", ncols=len(marks), frameon=False)


def gaps(frame: pd.DataFrame, threshold: str) -> str | None:
    """Gaps between groups with their intervals, and what chance would give."""
    rows = frame[(frame["section"] == "fairness") & frame["threshold"].isin([threshold, ""])]
    rows = rows[rows["value"].notna()]
    if not len(rows):
        return None
    labels = [str(figure).replace(" (|1-DI| as coded)", "") for figure in rows["figure"]]
    figure, axes = new_figure(1.1 + 0.42 * len(rows))
    intervals(axes[0], rows, labels, flags=True)
    axes[0].set(xlim=(-0.02, 1.02), xlabel="gap between groups (0 is parity)")
    legend(figure, bool(rows["baseline"].notna().any()), flags=True)
    return as_png(figure)


def rates(frame: pd.DataFrame, threshold: str) -> str | None:
    """Rates of each group, with the baseline: what levelling down hides shows here."""
    rows = frame[(frame["section"] == "group") & (frame["threshold"] == threshold)]
    names = [n for n in dict.fromkeys(rows["figure"]) if n != "accuracy"]
    if not names:
        return None
    n_groups = rows["group"].nunique()
    figure, axes = new_figure(0.7 + len(names) * (0.75 + 0.36 * n_groups), len(names))
    for ax, name in zip(axes, names, strict=True):
        part = rows[rows["figure"] == name]
        intervals(ax, part, [_wrap(str(g)) for g in part["group"]])
        ax.set(xlim=(-0.02, 1.02))
        ax.set_title(name, loc="left", fontsize=10.5)
    legend(figure, bool(rows["baseline"].notna().any()))
    return as_png(figure)


def probes(frame: pd.DataFrame) -> str | None:
    """AUC of the probes of the attribute, and of the findings."""
    parts = {
        "attribute (lower is better; 0.5: not readable)": "leakage",
        "findings (should not fall)": "finding",
    }
    shown = {title: frame[frame["section"] == section] for title, section in parts.items()}
    shown = {title: rows for title, rows in shown.items() if rows["value"].notna().any()}
    if not shown:
        return None
    total = sum(len(rows) for rows in shown.values())
    figure, axes = new_figure(0.9 + 0.75 * len(shown) + 0.4 * total, len(shown))
    for ax, (title, rows) in zip(axes, shown.items(), strict=True):
        intervals(ax, rows, [_wrap(str(name)) for name in rows["figure"]])
        ax.axvline(0.5, color="k", linestyle=":", linewidth=1)
        ax.set(xlim=(0.28, 1.02))
        ax.set_title(title, loc="left", fontsize=10.5)
    axes[-1].set_xlabel("AUC of a probe trained anew")
    both = any(rows["baseline"].notna().any() for rows in shown.values())
    legend(figure, both)
    return as_png(figure)


def calibration(data: AuditData) -> str | None:
    """Reliability: outcome against forecast, for every group."""
    given = data.predictions
    if not given.probabilities or given.scores is None:
        return None
    forecast, outcome = _scores.confidence(given.scores, data.y)
    figure, axes = new_figure(4.6)
    ax = axes[0]
    ax.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    for g, group in enumerate(data.groups):
        rows = np.flatnonzero(data.a == g)
        bins = np.array_split(rows[np.argsort(forecast[rows])], min(len(rows) // 15, 10) or 1)
        points = [(forecast[b].mean(), outcome[b].mean()) for b in bins if len(b)]
        if points:
            style = LINES[(g // len(COLOURS)) % len(LINES)]
            ax.plot(
                *np.array(points).T,
                marker="o",
                markersize=5,
                linestyle=style,
                color=COLOURS[g % len(COLOURS)],
                label=_wrap(group),
            )
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    ax.set(
        xlabel="mean forecast",
        ylabel="share that has it" if len(data.classes) == 2 else "share that is right",
    )
    ax.legend(loc="upper left", frameon=False)
    return as_png(figure)


def edits(originals: NDArray[Any] | None, edited: NDArray[Any] | None) -> str | None:
    """Three images before and after the edit."""
    if originals is None or edited is None or not len(originals):
        return None
    n = min(3, len(originals))
    figure, _ = new_figure(1.0)
    figure.clear()
    figure.set_size_inches(WIDTH, 1.55 * n + 0.3)
    axes = figure.subplots(n, 3, squeeze=False)
    noise = np.asarray(edited[:n], dtype=float) - np.asarray(originals[:n], dtype=float)
    draw_edits(axes, noise, np.asarray(originals[:n]), np.asarray(edited[:n]))
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    return as_png(figure)


def _wrap(text: str, width: int = 18) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
