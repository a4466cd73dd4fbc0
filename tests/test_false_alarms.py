"""benchmarks/false_alarms.py, in short: tests keep their level where nothing is."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from skdne.audit import _compute, _figures, _unfairness

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "false_alarms.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("false_alarms", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def too_many(runs):
    """p-value of as many alarms as that, at the level of .05."""
    alarms = runs["alarm"]
    return stats.binomtest(int(alarms.sum()), len(alarms), 0.05, alternative="greater").pvalue


def test_audits_of_fair_classifiers_keep_the_level(script):
    assert too_many(script.audit(40, seed=2)) > 0.01


def each_gap_alone(gaps, level):
    """Without a correction for the number of gaps."""
    p_values = {name: np.mean(values >= values[0]) for name, values in gaps.items()}
    return {name: _unfairness.Test(0.0, p, bool(p <= level)) for name, p in p_values.items()}


def regardless_of_y(permute):
    return lambda a, y, *rest: permute(a, np.zeros_like(y), *rest)


def every_image_alone(permute):
    return lambda a, y, patients, *rest: permute(a, y, np.arange(len(a)), *rest)


def test_it_would_be_seen_if_gaps_were_not_corrected(script, monkeypatch):
    monkeypatch.setattr(_figures, "max_t", each_gap_alone)
    assert too_many(script.audit(40, seed=2)) < 0.01


@pytest.mark.parametrize("broken", [regardless_of_y, every_image_alone])
def test_it_would_be_seen_if_the_wrong_rows_were_exchanged(script, broken, monkeypatch):
    monkeypatch.setattr(_compute, "permute_attribute", broken(_compute.permute_attribute))
    assert too_many(script.audit(8, seed=2)) < 0.01


def test_the_summary_counts_alarms_and_says_how_sure_it_is(script):
    runs = script.audit(2, seed=0)
    assert list(runs["layout"].unique()) == list(script.AUDITS)
    runs["alarm"] = np.arange(len(runs)) == 3
    lines = script.summary(runs).splitlines()
    assert lines[1].split()[-6:] == ["1", "of", "2:", "0.500", "[0.013,", "0.987]"]
    assert "1 of 10: 0.100 [0.003, 0.445]" in lines[-1]


def test_given_y_a_score_tells_nothing_of_the_group_and_patients_are_alike(script):
    """The null of the simulation, on many patients."""
    y, scores, group, patients = script.fair(0, *script.AUDITS["2 groups, 4 images"], 4000)
    for label in (0, 1):
        of_groups = [scores[(y == label) & (group == g)].mean() for g in "AB"]
        assert of_groups[0] == pytest.approx(of_groups[1], abs=0.02)
    assert y[group == "B"].mean() > y[group == "A"].mean() + 0.1
    luck = np.log(scores / (1 - scores)) - 2 * y
    one, other = luck.reshape(4000, 4)[:, :2].T
    assert np.corrcoef(one, other)[0, 1] > 0.5
    assert (np.diff(patients) >= 0).all()
