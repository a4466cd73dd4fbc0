"""What a query buys: the black-box solvers at one budget, Eq. 2, synthetic images.

    python benchmarks/black_box.py [--queries 12000] [--seeds 3]

Prints, for each solver, the objective over all fit images (lower is better; the first line is
that of no noise), the queries to reach half a nat below no noise, and the AUC of a linear probe
trained anew. A lower objective is not less leakage.
"""

import argparse
import warnings

import numpy as np
import pandas as pd

from skdne import SPSA, Adam, DebiasedNoiseTransformer, DebiasingWarning, GeZO
from skdne.datasets import make_biased_images

STEP = {"n_local_iter": 10, "batch_size": 32, "max_iter": 10_000}  # the budget ends the fit
PRINTED = {"shared_batch": False, "grid_size": None}
SOLVERS = {
    "GeZO as printed, C=5": GeZO(**STEP, n_directions=5, **PRINTED),
    "GeZO as printed, C=2": GeZO(**STEP, n_directions=2, **PRINTED),
    "GeZO shared batch, current point, full size": GeZO(
        **STEP, grid_size=None, include_current=True
    ),
    "GeZO shared batch, current point, 16 x 16": GeZO(**STEP, include_current=True),
    "GeZO shared batch, 16 x 16": GeZO(**STEP),
    "SPSA full size": SPSA(**STEP, grid_size=None),
    "SPSA 16 x 16": SPSA(**STEP),
    "Adam (white box)": Adam(max_iter=10_000, batch_size=32),
}


def queries_to(dne: DebiasedNoiseTransformer, n_images: int, goal: float) -> float:
    """Queries of the noise fit until the mean loss of an epoch first reaches ``goal``."""
    reached = np.flatnonzero(np.array(dne.loss_curve_) <= goal)
    n_fit = dne.n_queries_ - 2 * n_images
    return (reached[0] + 1) / len(dne.loss_curve_) * n_fit if len(reached) else np.inf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--queries", type=int, default=12_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=400)
    args = parser.parse_args()
    rows = []
    for seed in range(args.seeds):
        data = make_biased_images(args.images, correlation=0, random_state=seed)
        for name, solver in SOLVERS.items():
            dne = DebiasedNoiseTransformer(
                solver=solver, max_queries=args.queries + 2 * args.images, random_state=seed
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DebiasingWarning)
                dne.fit(data.images, data.target, sensitive_features=data.sensitive_features)
            rows.append(
                {
                    "solver": name,
                    "objective": dne.objective_["noise"],
                    "no noise": dne.objective_["zero"],
                    "queries to -0.5": queries_to(dne, args.images, dne.objective_["zero"] - 0.5),
                    "linear probe": dne.leakage_["linear"]["after"].auc,
                }
            )
            print(f"seed {seed}  {name:45s}  {rows[-1]['objective']:9.3f}", flush=True)
    table = pd.DataFrame(rows).groupby("solver", sort=False)
    print(f"\nmean over {args.seeds} seeds of {args.images} images, {args.queries} queries a noise")
    print(table.mean().round(3).to_string())
    print("\nsmallest and largest objective over the seeds")
    print(table["objective"].agg(["min", "max"]).round(3).to_string())


if __name__ == "__main__":
    main()
