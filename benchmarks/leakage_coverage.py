"""Coverage of the leakage interval: how often it holds what its probes really read.

    python benchmarks/leakage_coverage.py --runs 200

Gaussian embeddings in which one direction tells the attribute and another y. The truth of a run is
the AUC of the very probes that made its scores, on images without end: for a linear probe of
Gaussian embeddings a formula. Layouts are images of the cells (y, a) = (0, 0), (0, 1), (1, 0) and
(1, 1).
"""

import argparse

import numpy as np
import pandas as pd
from scipy.stats import norm

from skdne.attribute import check_sensitive_data
from skdne.audit import _probes
from skdne.leakage import cross_fit, probes
from skdne.splits import three_sets

LAYOUTS = {  # images of each cell, images of a patient
    "190/10/10/190": ((190, 10, 10, 190), 1),
    "100 each": ((100, 100, 100, 100), 1),
    "25 each": ((25, 25, 25, 25), 1),
    "150/15/150/150 (Pneumonia)": ((150, 15, 150, 150), 1),
    "150/150/15/150 (Pleural Effusion)": ((150, 150, 15, 150), 1),
    "60/3/3/60": ((60, 3, 3, 60), 1),
    "60/10/10/60 patients of 5 images": ((60, 10, 10, 60), 5),
}
SHIFTS = {"nothing to read": 0.0, "a little": 0.7, "much": 2.0, "all": 5.0}
DIMENSION = 16
ALIKE = 0.8  # correlation of two images of one patient


def draw(cells, per_patient, shift, rng):
    """Embeddings, attribute, y and patients."""
    y = np.repeat([0, 0, 1, 1], cells).repeat(per_patient)
    a = np.repeat([0, 1, 0, 1], cells).repeat(per_patient)
    groups = np.arange(sum(cells)).repeat(per_patient)
    Z = rng.normal(size=(len(y), DIMENSION))
    if per_patient > 1:
        own = rng.normal(size=(sum(cells), DIMENSION))[groups]
        Z = np.sqrt(ALIKE) * own + np.sqrt(1 - ALIKE) * Z
    Z[:, 0] += shift * a
    Z[:, 1] += 2 * y
    return Z, a, y, groups


class Truth:
    """The linear probe, which notes what each of its fits would read on images without end."""

    def __init__(self, shift):
        self.shift, self.aucs = shift, []
        self.pipeline = probes(0)["linear"]

    def measure(self, Z, data, folds):
        """Scores out of fold, and the mean AUC of the probes that made them."""
        found = cross_fit(self.pipeline, Z, data, np.arange(len(Z)), folds, 0)
        aucs, pairs = [], []
        for fold in folds:
            train = np.setdiff1d(np.arange(len(Z)), fold)
            probe = self.pipeline.fit(
                Z[train], data.codes[train], logisticregression__sample_weight=data.weights[train]
            )
            w = probe[-1].coef_[0] / probe[0].scale_
            aucs.append(norm.cdf(w[0] * self.shift / np.sqrt(2) / np.linalg.norm(w)))
            of_y = [data.codes[fold][data.strata[fold] == s] for s in (0, 1)]
            pairs.append(sum((a == 0).sum() * (a == 1).sum() for a in of_y))
        return found.auc(), float(np.average(aucs, weights=pairs))


def coverage(n_runs, seed=0, layouts=tuple(LAYOUTS), shifts=tuple(SHIFTS), way="audit"):
    """Share of runs in which the interval holds the truth.

    ``way``: ``"audit"`` cross-fits all images in five folds; ``"fit"`` scores the report set by
    probes trained on everything else.
    """
    rows = []
    for i, layout in enumerate(layouts):
        cells, per_patient = LAYOUTS[layout]
        for j, name in enumerate(shifts):
            held, widths = [], []
            for run in range(n_runs):
                rng = np.random.default_rng([seed, i, j, run])
                Z, a, y, groups = draw(cells, per_patient, SHIFTS[name], rng)
                data = check_sensitive_data(a, y, groups if per_patient > 1 else None, len(a))
                folds = (
                    _probes.folds_by_patient(data, run)
                    if way == "audit"
                    else three_sets(data.cells, data.codes, data.groups, True, run).report_folds
                )
                auc, truth = Truth(SHIFTS[name]).measure(Z, data, folds)
                held.append(auc.low <= truth <= auc.high)
                widths.append(auc.high - auc.low)
            rows.append(
                {
                    "way": way,
                    "layout": layout,
                    "to read": name,
                    "runs": n_runs,
                    "coverage": np.mean(held),
                    "width": np.mean(widths),
                }
            )
            print(pd.DataFrame(rows[-1:]).to_string(index=False, header=len(rows) == 1), flush=True)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for way in ("audit", "fit"):
        # of a tenth of three cells' three images nothing is left to report on
        layouts = [name for name in LAYOUTS if way == "audit" or not name.startswith("60/3")]
        coverage(arguments.runs, arguments.seed, layouts, way=way)
