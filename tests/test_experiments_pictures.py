"""The pictures of the papers' experiment: they hold the rows that were measured."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from skdne.experiments import _pictures
from skdne.experiments._tasks import synthetic_tasks

mpl.use("Agg")
import matplotlib.pyplot as plt

KEY = ["task", "seed", "system", "head"]
COLUMNS = ["accuracy", "EO_p", "EO_n", "linear probe"]


@pytest.fixture
def figures(monkeypatch):
    """The figures that were written, which are closed otherwise."""
    drawn = []
    monkeypatch.setattr(plt, "close", drawn.append)
    yield drawn
    monkeypatch.undo()
    plt.close("all")


def rows_of(systems, task, n_seeds=3):
    rng = np.random.default_rng(len(systems))
    index = pd.MultiIndex.from_product([[task], range(n_seeds), systems, ["converged"]], names=KEY)
    found = pd.DataFrame(rng.random((len(index), 4)), index=index, columns=COLUMNS)
    return found.assign(n_train=100, n_test=50)


def test_ablation(figures, tmp_path):
    values = [0.0, 0.001, 0.1, 0.01]
    found = rows_of([f"lambda = {value:g}" for value in values], "cue")
    table = rows_of(["LEACE", "ERM"], "cue", n_seeds=5)  # more seeds than the ablation has
    path = _pictures.draw_ablation(found, table, "cue", "lambda", tmp_path)
    assert path == tmp_path / "ablation_lambda.png"
    with Image.open(path) as picture:
        assert np.asarray(picture.convert("L")).std() > 5
    ((ax,),) = (figure.axes for figure in figures)
    lines = {line.get_label(): line for line in ax.lines}
    order = ["lambda = 0.001", "lambda = 0.01", "lambda = 0.1"]
    mean = found.groupby("system")[COLUMNS].mean()
    erm = table.xs("ERM", level="system").loc[pd.IndexSlice[:, :2], COLUMNS].mean()
    dashed = [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(dashed, erm)
    for column in COLUMNS:
        np.testing.assert_allclose(lines[column].get_ydata(), mean.loc[order, column])
    assert ax.get_xlabel() == "lambda"
    assert ax.get_ylabel() == "mean and sd over 3 seeds"


def test_frontier(figures, tmp_path):
    task = synthetic_tasks(40)[0]
    systems = ["ERM", "LEACE", "reweighing"]
    found = rows_of(systems, task.name)
    path = _pictures.draw_frontier(found, task, "converged", tmp_path)
    assert path == tmp_path / "frontier_localised_cue_converged.png"
    assert path.exists()
    ((above, below),) = (figure.axes for figure in figures)
    mean = found.groupby("system")[COLUMNS].mean()
    for ax, gap in ((above, "EO_p"), (below, "EO_n")):
        assert ax.get_ylabel() == f"{gap} (lower is better)"
        points = {line.get_label(): line for line in ax.lines if line.get_label() in systems}
        for name in systems:
            assert points[name].get_xdata() == pytest.approx(mean.loc[name, "accuracy"])
            assert points[name].get_ydata() == pytest.approx(mean.loc[name, gap])
        (first,) = ax.collections[0].get_segments()
        erm = found.xs("ERM", level="system")["accuracy"]
        np.testing.assert_allclose(first[:, 0], stats.t.interval(0.95, 2, erm.mean(), erm.sem()))
