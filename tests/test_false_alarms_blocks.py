"""Short form of benchmarks/_false_alarms_blocks.py: alarms of the block tests under three nulls."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from skdne.block_test import adjusted_p_values, held_out_scores, make_design, scores

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "_false_alarms_blocks.py"
spec = importlib.util.spec_from_file_location("_false_alarms_blocks", SCRIPT)
assert spec is not None
assert spec.loader is not None
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)

LEVEL, RUNS = 0.2, 100  # a level that so few runs can tell from another
NULLS = {**script.LAYOUTS, "attribute goes with y in 95%": (0.95, 1)}


def p_values(layout, k):
    """Of four quarters of the image out of fold, and of the whole on other images."""
    images, y, a, patients = script.draw([1, k], *NULLS[layout])
    rng = np.random.default_rng(k)
    _, rows = np.unique(patients, return_index=True)
    rows = rng.permutation(rows)[:200]
    images, y, a = images[rows] / np.float32(255), y[rows], a[rows]
    design = make_design(a[:100], y[:100], 79, rng)
    found = []
    for top, left in ((0, 0), (0, 4), (4, 0), (4, 4)):
        shown = np.zeros_like(images[:100])
        quarter = np.s_[:, top : top + 4, left : left + 4]
        shown[quarter] = images[:100][quarter]
        found.append(scores(script.embed(shown), design))
    judges = make_design(a[100:], y[100:], 79, rng, n_folds=1)
    Z = script.embed(images)
    left = held_out_scores(Z[:100], a[:100], y[:100], Z[100:], judges)
    return adjusted_p_values(np.array(found)).min(), adjusted_p_values(left[None])[0]


@pytest.mark.parametrize("layout", NULLS)
def test_alarms_of_either_test_come_at_its_level(layout):
    alarms = np.mean([np.array(p_values(layout, k)) <= LEVEL for k in range(RUNS)], axis=0)
    low, high = stats.binom.ppf([0.0005, 0.9995], RUNS, LEVEL) / RUNS
    assert (alarms <= high).all(), alarms
    assert (alarms >= low).all(), alarms


def test_the_simulation_finds_a_cue_that_is_there(monkeypatch):
    """Else it could not fail."""
    draw = script.draw

    def told(seed, agrees, most):
        images, y, a, patients = draw(seed, agrees, most)
        images[:, :2, :2] = 80 + 100 * a[:, None, None]
        return images, y, a, patients

    monkeypatch.setattr(script, "draw", told)
    runs = script.blocks(1, 0)
    assert list(runs["layout"]) == list(script.LAYOUTS)
    assert runs["of blocks"].all()
    assert script.summary(runs).count("1 of 1: 1.000 [0.025, 1.000]") == 3
