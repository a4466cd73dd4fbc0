"""How often is something found where there is nothing? The level of each test, by simulation.

    python benchmarks/false_alarms.py audit|blocks|removed [--runs 400] [--seed 0]

``audit``: classifiers whose predictions depend on y but, given y, not on the attribute. An alarm is
an audit that flags any gap; its level of .05 holds for all gaps together. Groups differ in size, in
how often they are ill and, in the last layout, in images per patient; images of a patient share
their luck, and may differ in y.

``blocks``: searches for blocks where nothing tells the attribute (``_false_alarms_blocks.py``).

``removed``: fits after which the attribute can still be read at AUC .65. An alarm is the verdict
"removed"; the rule has no level of its own.

Run k of layout i has the seed (seed, i, k), so that a run is the same however many there are.
Intervals are those of Clopper and Pearson, 95%.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from _false_alarms_blocks import blocks
from _false_alarms_removed import removed
from scipy import stats

from skdne.audit import FairnessAudit

LEVEL = 0.05
AUDITS = {  # shares of the groups, fewest and most images of a patient in each of them
    "2 groups, 1 image": ([0.5, 0.5], [(1, 1)] * 2),
    "2 groups, 4 images": ([0.5, 0.5], [(4, 4)] * 2),
    "2 groups of 15:85, 1 to 5 images": ([0.15, 0.85], [(1, 5)] * 2),
    "4 groups of 10:20:30:40, 1 to 5 images": ([0.1, 0.2, 0.3, 0.4], [(1, 5)] * 4),
    "4 groups of 10:20:30:40, more images in some": (
        [0.1, 0.2, 0.3, 0.4],
        [(3, 6), (1, 2), (3, 6), (1, 2)],
    ),
}


def audit(n_runs, seed):
    """One row a run and layout: was any gap flagged that is none?"""
    rows = [
        {"layout": name, "run": k, "alarm": flags_any(*fair([seed, i, k], *AUDITS[name]), seed=k)}
        for i, name in enumerate(AUDITS)
        for k in range(n_runs)
    ]
    return pd.DataFrame(rows)


def fair(seed, shares, images, n_patients=200):
    """y, scores, groups and patients of images; given y, a score tells nothing of the group."""
    rng = np.random.default_rng(seed)
    group = rng.choice(len(shares), n_patients, p=shares)
    fewest, most = np.array(images)[group].T
    patients = np.repeat(np.arange(n_patients), rng.integers(fewest, most + 1))
    ill = rng.random(n_patients) < np.linspace(0.3, 0.6, len(shares))[group]
    y = np.where(rng.random(len(patients)) < 0.9, ill[patients], ~ill[patients]).astype(int)
    luck = rng.normal(size=n_patients)[patients] + 0.5 * rng.normal(size=len(patients))
    scores = 1 / (1 + np.exp(-(2 * y - 1 + luck)))
    return y, scores, np.array(list("ABCD"))[group][patients], patients


def flags_any(y, scores, group, patients, seed):
    """Whether an audit of scores and of labels at .5 flags any gap."""
    frame = FairnessAudit.from_predictions(
        y,
        y_score=scores,
        sensitive_features=group,
        groups=patients,
        level=LEVEL,
        n_bootstrap=20,  # for the intervals, which are not the point
        n_permutations=199,
        random_state=seed,
    ).to_frame()
    return bool(frame["flagged"].fillna(False).any())


def summary(runs):
    """Share of alarms of each layout and of all, with its interval."""
    lines = []
    for layout, alarms in [*runs.groupby("layout", sort=False)["alarm"], ("all", runs["alarm"])]:
        found = stats.binomtest(int(alarms.sum()), len(alarms)).proportion_ci(method="exact")
        lines.append(
            f"{layout:45s} {alarms.sum():4d} of {len(alarms)}: {alarms.mean():.3f} "
            f"[{found.low:.3f}, {found.high:.3f}]"
        )
    return "\n".join(lines)


PARTS = {"audit": audit, "blocks": blocks, "removed": removed}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--runs", type=int, default=400, help="of each layout")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write to this file too")
    args = parser.parse_args()
    begin = time.perf_counter()
    runs = PARTS[args.part](args.runs, args.seed)
    text = (
        f"$ python benchmarks/false_alarms.py {args.part} --runs {args.runs} --seed {args.seed}\n\n"
        f"Share of runs with a false alarm, {LEVEL} at most:\n\n{summary(runs)}\n"
    )
    print(f"{text}\n{time.perf_counter() - begin:.0f} seconds")
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
