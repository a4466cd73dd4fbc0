"""Is content called lost where it was not, and named where it was?

    python benchmarks/content_loss.py --runs 100

Simulated embeddings: four directions tell the disease, four others the attribute. The edit takes
the attribute alone, or two of the four directions of the disease as well. y and the attribute are
correlated, so that the embeddings before the edit hold a shortcut. Counted are the runs in which
the disease is said to be lost.
"""

import argparse

import numpy as np
import pandas as pd
from scipy.stats import beta

from skdne.attribute import check_sensitive_data
from skdne.findings import measure_findings
from skdne.splits import three_sets
from skdne.verdict import lost_findings

CORRELATIONS = (0.0, 0.4, 0.7, 0.85, 0.9)
TAKEN = {"attribute": 0, "attribute and half of the disease": 2}


def embeddings(n, correlation, n_taken, rng, shift=1.2):
    """Embeddings before and after the edit, y and the attribute."""
    y = np.arange(n) % 2
    a = np.where(rng.random(n) < (1 + correlation) / 2, y, 1 - y)
    after = rng.normal(size=(n, 64)).astype(np.float32)
    after[:, :4] += shift * y[:, None]
    before = after.copy()
    before[:, 10:14] += 3 * a[:, None]
    after[:, 10:14] = 0
    after[:, :n_taken] = 0
    return before, after, y, a


def losses(n_runs, n=600, seed=0, correlations=CORRELATIONS, taken=tuple(TAKEN)):
    """Share of runs in which the disease is said to be lost."""
    rows = []
    for correlation in correlations:
        for what in taken:
            found = []
            for run in range(n_runs):
                rng = np.random.default_rng([seed, run, int(100 * correlation)])
                before, after, y, a = embeddings(n, correlation, TAKEN[what], rng)
                data = check_sensitive_data(a, y, None, n)
                sets = three_sets(data.cells, data.codes, None, True, run)
                found.append(measure_findings(before, after, {"y": y}, data, sets, run))
            lost = sum("y" in lost_findings(of_run) for of_run in found)
            low, high = beta.ppf(
                [0.025, 0.975], [lost, lost + 1], [n_runs - lost + 1, n_runs - lost]
            )
            rows.append(
                {
                    "correlation": correlation,
                    "taken": what,
                    "runs": n_runs,
                    "AUC before": np.mean([f["y"]["before"].auc for f in found]),
                    "after": np.mean([f["y"]["after"].auc for f in found]),
                    "said to be lost": lost / n_runs,
                    "low": np.nan_to_num(low),
                    "high": 1.0 if np.isnan(high) else high,
                }
            )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    table = losses(arguments.runs, arguments.images, arguments.seed)
    print(table.round(3).to_string(index=False))
