"""Pictures after the papers' Figs. 2 to 4."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skdne import DebiasedNoiseTransformer, NoiseDisplay
from skdne.display import _pyplot
from skdne.encoders import Encoder
from skdne.experiments._tasks import Task

SHOWN = ("accuracy", "EO_p", "EO_n", "linear probe")


def draw_ablation(
    found: pd.DataFrame, table: pd.DataFrame, task: str, name: str, out: Path
) -> Path:
    """Figures over the values of a parameter (Fig. 2), with ERM's as dashed lines."""
    plt = _pyplot("draw_ablation")
    means = found.groupby(level="system", sort=False)[list(SHOWN)].mean()
    spread = found.groupby(level="system", sort=False)[list(SHOWN)].std()
    figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
    at = np.arange(len(means))
    for i, column in enumerate(SHOWN):
        colour = f"C{i}"
        ax.errorbar(
            at + 0.04 * (i - 1.5),
            means[column],
            yerr=spread[column],
            marker="os^D"[i],
            color=colour,
            capsize=3,
            label=column,
        )
        erm = table.xs(("ERM", "converged"), level=("system", "head"))
        ax.axhline(erm.xs(task, level="task")[column].mean(), color=colour, ls="--", lw=1)
    ax.set_xticks(at, [label.partition("= ")[2] for label in means.index])
    ax.set(xlabel=name, ylabel="mean and sd over seeds", ylim=(-0.02, 1.02))
    ax.set_title(f"{task}: effect of {name}; dashed: ERM")
    ax.legend()
    path = out / f"ablation_{name}.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def draw_noises(tasks: Sequence[Task], encoder: Encoder, out: Path) -> list[Path]:
    """Noise maps (Fig. 4) and edited images, healthy and diseased (Fig. 3), of the first seed."""
    plt = _pyplot("draw_noises")
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
