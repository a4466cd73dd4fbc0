"""The tables: means with intervals, and ours beside the papers'."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from skdne.audit import nadeau_bengio_interval

FIGURES = [
    "accuracy",
    "AUC",
    "EO_p",
    "EO_n",
    "|1-DI|",
    "|1-DI| as coded",
    "worst group",
    "linear probe",
    "rbf probe",
    "mlp probe",
]
PAPERS_COLUMNS = ["EO_n", "EO_p", "|1-DI| as coded", "accuracy"]
# Jin et al. 2024, the table of the arXiv paper, percent: EO_n, EO_p, |1-DI| (which their code
# computes from true positive rates), accuracy.
PAPERS = {
    "Pleural Effusion": {
        "ERM": (40.5, 57.0, 58.5, 72.9),
        "Sketch": (44.0, 52.0, 57.5, 66.3),
        "Group DRO": (41.0, 58.0, 59.5, 72.3),
        "Batch Sampling": (41.5, 50.5, 51.8, 74.3),
        "BiasAdv": (39.0, 54.5, 58.2, 71.1),
        "DNE": (28.5, 23.0, 25.6, 75.1),
        "DNE-GeZO": (37.0, 25.0, 28.5, 72.8),
    },
    "Pneumonia": {
        "ERM": (70.0, 70.0, 74.5, 59.6),
        "Sketch": (64.0, 61.0, 72.6, 56.3),
        "Group DRO": (60.0, 56.0, 64.4, 61.0),
        "Batch Sampling": (64.0, 72.0, 76.6, 60.5),
        "BiasAdv": (36.0, 54.0, 77.1, 61.0),
        "DNE": (38.0, 25.0, 34.7, 61.3),
        "DNE-GeZO": (35.0, 27.0, 33.7, 61.5),
    },
    "Edema": {
        "ERM": (42.0, 39.0, 42.0, 74.5),
        "Sketch": (44.0, 15.0, 15.5, 67.0),
        "Group DRO": (40.5, 40.5, 43.3, 74.8),
        "Batch Sampling": (39.0, 43.0, 44.8, 76.0),
        "BiasAdv": (39.0, 33.5, 36.6, 74.9),
        "DNE": (27.5, 17.0, 19.7, 75.6),
        "DNE-GeZO": (34.0, 15.5, 17.2, 75.1),
    },
}


def half_width(values: pd.Series, resplits: bool, n_train: int, n_test: int) -> float:
    """Half of the 95% interval of the mean over seeds; nan for one seed.

    Re-splits of one data set get the correction of Nadeau and Bengio, fresh data a t-interval.
    """
    values = values.dropna()
    if len(values) < 2:
        return np.nan
    if resplits:
        mean, low, _ = nadeau_bengio_interval(values, n_train, n_test)
        return mean - low
    return float(stats.t.ppf(0.975, len(values) - 1) * values.sem())


def table(found: pd.DataFrame, resplits: bool) -> pd.DataFrame:
    """One task and head: a row for each system, ``mean ±half-width`` as text."""
    n_train, n_test = (int(found[name].iloc[0]) for name in ("n_train", "n_test"))

    def cell(values: pd.Series) -> str:
        if values.isna().all():
            return "-"
        width = half_width(values, resplits, n_train, n_test)
        return f"{values.mean():.3f}" + ("" if np.isnan(width) else f" ±{width:.3f}")

    columns = [name for name in FIGURES if name in found]
    return found.groupby(level="system", sort=False)[columns].agg(cell)


def against_erm(found: pd.DataFrame, resplits: bool) -> pd.DataFrame:
    """Differences to ERM, seed by seed, with their intervals."""
    columns = [name for name in FIGURES if name in found]
    figures = found[columns].droplevel(["task", "head"])
    erm = figures.xs("ERM", level="system")
    of_same_seed = erm.reindex(figures.index.get_level_values("seed")).set_axis(figures.index)
    difference = figures - of_same_seed
    counts = found[["n_train", "n_test"]].droplevel(["task", "head"])
    return table(difference.join(counts).drop("ERM", level="system"), resplits)


def beside_papers(found: pd.DataFrame, task: str, names: dict[str, str]) -> pd.DataFrame | None:
    """Ours, the papers' and the difference, in percent; None where the papers have no such task.

    Parameters
    ----------
    found : DataFrame
        Of one task and head.
    task : str
    names : dict of str to str
        Name of each system in the papers' table.
    """
    papers = PAPERS.get(task.partition(",")[0])
    if papers is None:
        return None
    ours = 100 * found.groupby(level="system", sort=False)[PAPERS_COLUMNS].mean()
    ours = ours[ours.index.isin(list(names))]
    theirs = pd.DataFrame(
        [papers[names[name]] for name in ours.index], index=ours.index, columns=PAPERS_COLUMNS
    )
    parts = {"ours": ours, "papers": theirs, "difference": ours - theirs}
    return pd.concat(parts, axis=1).round(1)
