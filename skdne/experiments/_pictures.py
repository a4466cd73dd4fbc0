"""Pictures after the papers' Figs. 2 to 4."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skdne import DebiasedNoiseTransformer, FrontierDisplay, NoiseDisplay, SearchDisplay
from skdne.drawing import load_matplotlib
from skdne.encoders import Encoder
from skdne.experiments._tables import half_width
from skdne.experiments._tasks import Task

SHOWN = ("accuracy", "EO_p", "EO_n", "linear probe")


def draw_ablation(
    found: pd.DataFrame, table: pd.DataFrame, task: str, name: str, out: Path
) -> Path:
    """Figures over the values of a parameter (Fig. 2), ERM apart."""
    erm = table.xs((task, "ERM", "converged"), level=("task", "system", "head"))
    scores, labels = {}, []
    for column in SHOWN:
        of_seeds = found.pivot_table(column, "system", "seed", sort=False, dropna=False)
        labels = list(of_seeds.index)
        scores[column] = np.vstack([erm[column].loc[of_seeds.columns], of_seeds])
    values = [float(label.partition("= ")[2]) for label in labels]
    display = SearchDisplay(["ERM", *values], scores, param_name=name, repeats="seeds").plot()
    display.ax_.set(ylim=(-0.02, 1.02), title=f"{task}: effect of {name}")
    path = out / f"ablation_{name}.png"
    display.figure_.savefig(path, dpi=120)
    load_matplotlib("draw_ablation").close(display.figure_)
    return path


def draw_frontier(found: pd.DataFrame, task: Task, head: str, out: Path) -> Path:
    """All systems of one task and head: EO_p and EO_n against accuracy, with 95% intervals."""
    plt = load_matplotlib("draw_frontier")
    rows = found.xs((task.name, head), level=("task", "head"))
    n_train, n_test = (int(rows[name].iloc[0]) for name in ("n_train", "n_test"))
    by_system = rows.groupby(level="system", sort=False)
    figure, axes = plt.subplots(2, 1, figsize=(7.6, 8.6), sharex=True, layout="constrained")
    for ax, gap in zip(axes, ("EO_p", "EO_n"), strict=True):
        points = pd.DataFrame(index=by_system[gap].mean().index)
        for argument, column in {"utility": "accuracy", "fairness": gap}.items():
            half = by_system[column].agg(lambda v: half_width(v, task.resplits, n_train, n_test))
            mean = by_system[column].mean()
            points[argument] = mean
            points[f"{argument}_low"], points[f"{argument}_high"] = mean - half, mean + half
        FrontierDisplay(points, utility_name="accuracy", fairness_name=gap).plot(ax)
    figure.suptitle(f"{task.name}, head {head!r}")
    stem = "".join(c if c.isalnum() else "_" for c in task.name).lower()
    path = out / f"frontier_{stem}_{head}.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def draw_noises(tasks: Sequence[Task], encoder: Encoder, out: Path) -> list[Path]:
    """Noise maps (Fig. 4) and edited images, healthy and diseased (Fig. 3), of the first seed."""
    plt = load_matplotlib("draw_noises")
    written = []
    for task in tasks:
        _, test = task.draw(0)
        rows = [int(np.flatnonzero(test.y == y)[0]) for y in (0, 1)]
        X: Any = test.X[rows] if isinstance(test.X, np.ndarray) else [test.X[i] for i in rows]
        stem = "".join(c if c.isalnum() else "_" for c in task.name).lower()
        for file in sorted((out / "noises").glob(f"{stem}_dne*_0.safetensors")):
            dne = DebiasedNoiseTransformer.load_noise(file, encoder)
            for kind in ("noise", "edits"):
                display = NoiseDisplay.from_estimator(dne, X, kind=kind)
                display.figure_.suptitle(file.stem.replace("_", " "))
                path = out / f"{kind}_{file.stem}.png"
                display.figure_.savefig(path, dpi=110)
                plt.close(display.figure_)
                written.append(path)
    return written
