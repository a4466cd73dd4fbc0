"""What the systems are compared on: the papers' tasks, real X-rays, or synthetic ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from skdne.datasets import (
    PAPER_CELLS,
    ImageTable,
    biased_split,
    encoder_training_patients,
    load_chexpert,
    load_nih_chest_xray14,
    make_biased_images,
    scale_cells,
)
from skdne.datasets.cells import Cells

OPACITIES = ["Infiltration", "Consolidation", "Effusion", "Pneumonia", "Edema", "Atelectasis"]
CUES: dict[str, dict[str, Any]] = {  # name of the task: arguments of make_biased_images
    "localised cue": {"cue": "patch"},
    "overlapping cue": {"cue": "patch", "overlap": 0.5},
    "global cue": {"cue": "global"},
}


@dataclasses.dataclass(frozen=True)
class Part:
    """Images with disease, attribute and patient."""

    X: Any
    y: np.ndarray
    a: np.ndarray
    groups: np.ndarray

    @property
    def cells(self) -> np.ndarray:
        """The (y, a) cell of each image, as text."""
        return np.char.add(np.char.add(self.y.astype(str), " "), self.a.astype(str))


@dataclasses.dataclass(frozen=True)
class Task:
    """One row group of the table.

    Parameters
    ----------
    name : str
    draw : callable
        From a seed the training part, biased, and the test part, balanced.
    resplits : bool
        Whether all seeds draw from one set of images, so that they are not independent.
    scale : float
        Of the papers' counts; 1 where the images are made to order.
    """

    name: str
    draw: Callable[[int], tuple[Part, Part]]
    resplits: bool
    scale: float = 1.0

    def check(self, n_seeds: int) -> None:
        """Raise ValueError where the images supply some seed too few, before any work starts."""
        if self.resplits:
            for seed in range(n_seeds):
                self.draw(seed)


def synthetic_tasks(n: int) -> list[Task]:
    """Three tasks; the cells are the papers' for Pneumonia, scaled to n images to train on."""
    counts = PAPER_CELLS["Pneumonia"].train
    scale = n / sum(counts.values())
    train: Any = scale_cells(counts, scale)
    test = {cell: round(n / 4) for cell in train}

    def drawer(arguments: dict[str, Any]) -> Callable[[int], tuple[Part, Part]]:
        def draw(seed: int) -> tuple[Part, Part]:
            parts = []
            for i, cells in enumerate((train, test)):
                made = make_biased_images(cells=cells, random_state=2 * seed + i, **arguments)
                a = made.sensitive_features.to_numpy(str)
                parts.append(Part(made.images, made.target, a, np.arange(len(a))))
            return parts[0], parts[1]

        return draw

    return [Task(name, drawer(arguments), False) for name, arguments in CUES.items()]


def real_tasks(root: Path, scale: float, n_seeds: int) -> list[Task]:
    """The papers' three tasks on CheXpert; any opacity on NIH ChestX-ray14.

    Parameters
    ----------
    root : Path
        Either data set's folder.
    scale : float
        Shrinks the papers' counts. For NIH the counts are as large as the images allow.
    n_seeds : int
        For NIH: seeds that the images must supply. Where patients have many images each, counts
        that one seed finds are too many for another.
    """
    if (root / "train.csv").is_file() or list(root.glob("CheXpert-v1.0*")):
        table = load_chexpert(root)
        return [
            _resplit(name, table, table.findings[paper.finding], paper.train, paper.test, scale)
            for name, paper in PAPER_CELLS.items()
        ]
    table = load_nih_chest_xray14(root)
    seen = [str(patient) for patient in encoder_training_patients()]
    assert table.patients is not None
    table = table.take(~np.isin(table.patients, seen))
    opacity = table.findings[[c for c in OPACITIES if c in table.findings]].max(axis=1)
    cells = PAPER_CELLS["Pneumonia"]
    train, test = cells.train, {cell: count * 4 for cell, count in cells.test.items()}
    for scale in np.geomspace(1, 0.005, 60):  # the largest that the images supply
        task = _resplit("any opacity", table, opacity, train, test, float(scale))
        try:
            task.check(n_seeds)
        except ValueError:
            continue
        return [task]
    raise ValueError(f"{root} holds too few images of some cell of opacity and sex.")


def _resplit(
    name: str, table: ImageTable, target: Any, train: Cells, test: Cells, scale: float
) -> Task:
    y, a = target.to_numpy(), table.attributes["sex"].to_numpy(object)
    paths = np.array(table.paths, dtype=object)
    patients = np.arange(len(y)) if table.patients is None else table.patients

    def draw(seed: int) -> tuple[Part, Part]:
        split = biased_split(
            y,
            a,
            patients,
            train_cells=train,
            test_cells=test,
            scale=scale,
            random_state=seed,
        )
        parts = [
            Part(paths[rows].tolist(), y[rows].astype(int), a[rows].astype(str), patients[rows])
            for rows in (split.train, split.test)
        ]
        return parts[0], parts[1]

    return Task(name, draw, True, scale)
