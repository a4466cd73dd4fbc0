"""False "removed": how often the verdict says so of an attribute that can still be read.

After the edit one direction of Gaussian embeddings tells the attribute at AUC .65 to whoever knows
it, and nearly so to a linear probe with ten times the patients: a verdict of "removed" would be
refuted.
"""

import numpy as np
import pandas as pd
from scipy.stats import norm

from skdne.attribute import check_sensitive_data
from skdne.leakage import measure_leakage
from skdne.splits import three_sets
from skdne.verdict import judge

LAYOUTS = {"100 each": (100, 100, 100, 100), "170/30/30/170": (170, 30, 30, 170)}
LEFT = 0.65  # AUC of the one who knows the direction
DIMENSION = 8


def one_run(cells, rng):
    """Outcome for embeddings whose attribute shows in one direction after the edit."""
    y, a = np.repeat([0, 0, 1, 1], cells), np.repeat([0, 1, 0, 1], cells)
    Z = rng.normal(size=(len(y), DIMENSION)).astype(np.float32)
    Z[:, -1] += 2 * y
    before = Z.copy()
    before[:, 0] += 3 * a
    Z[:, 0] += a * np.sqrt(2) * norm.ppf(LEFT)
    data = check_sensitive_data(a, y, None, len(a))
    sets = three_sets(data.cells, data.codes, None, True, int(rng.integers(2**31)))
    was, now = (measure_leakage(X, data, sets, 0) for X in (before, Z))
    leakage = {name: {"before": was[name], "after": now[name]} for name in was}
    return judge(leakage, {}, len(sets.report), "converged").outcome


def removed(n_runs, seed):
    """One row a run and layout: was an attribute that is there said to be removed?"""
    rows = [
        {
            "layout": layout,
            "run": k,
            "alarm": one_run(cells, np.random.default_rng([seed, i, k])) == "removed",
        }
        for i, (layout, cells) in enumerate(LAYOUTS.items())
        for k in range(n_runs)
    ]
    return pd.DataFrame(rows)
