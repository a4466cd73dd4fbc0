"""How often does a search for blocks find something where nothing tells the attribute?

    python benchmarks/_false_alarms_blocks.py [--runs 300] [--seed 0]

An alarm of the first part is a block that is found; one of the second, that the attribute is read
on the selection set where no block was found. The level of .05 holds for both together. Images are
small, and the encoder is a fixed random network, so that a run takes a fraction of a second. The
images tell y, and each patient looks like itself.

Run k of layout i has the seed (seed, i, k), so that a run is the same however many there are.
Intervals are those of Clopper and Pearson, 95%.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from skdne import BlockErasure, CallableEncoder, DebiasedNoiseTransformer, DebiasingWarning

LEVEL = 0.05
SIZE, N = 8, 300
LAYOUTS = {  # probability that the attribute agrees with y, images of a patient at most
    "cells of one size": (None, 1),
    "attribute goes with y in 85%": (0.85, 1),
    "1 to 6 images of a patient, cells of 56:19:6:19": (0.75, 6),
}
_rng = np.random.default_rng(0)
HIDDEN = (_rng.standard_normal((SIZE**2, 64)) / SIZE).astype(np.float32)
OUTPUT = (_rng.standard_normal((64, 24)) / 8).astype(np.float32)


def embed(images):
    """A fixed random network."""
    return np.tanh(np.tanh(6 * (images.reshape(len(images), -1) - 0.45) @ HIDDEN) @ OUTPUT)


ENCODER = CallableEncoder(embed, input_size=(SIZE, SIZE), n_channels=1)


def blocks(n_runs, seed):
    """One row a run and layout: was anything found, by which part?"""
    rows = [
        {"layout": name, "run": k, **found(*draw([seed, i, k], *LAYOUTS[name]), seed=k)}
        for i, name in enumerate(LAYOUTS)
        for k in range(n_runs)
    ]
    return pd.DataFrame(rows)


def draw(seed, agrees, most):
    """Images, y, attribute and patients; within y nothing but luck tells the attribute."""
    rng = np.random.default_rng(seed)
    n = N if most == 1 else 2 * N // 3  # patients
    y, a = np.arange(n) % 2, np.arange(n) // 2 % 2
    if most > 1:
        y = (rng.random(n) < 0.25).astype(int)
    if agrees is not None:
        a = np.where(rng.random(n) < agrees, y, 1 - y)
    patient = np.repeat(np.arange(n), rng.integers(1, most + 1, n))
    looks = 12 * rng.standard_normal((n, SIZE, SIZE))
    images = 110 + looks[patient] + 18 * rng.standard_normal((len(patient), SIZE, SIZE))
    images[:, 4:7, 4:7] += 40 * y[patient, None, None]
    return images.clip(0, 255).astype(np.uint8), y[patient], a[patient], patient


def found(images, y, a, patients, seed):
    """Whether the search finds a block, and else whether it reads anything at the end."""
    solver = BlockErasure(block_size=2, n_images=80, level=LEVEL, n_permutations=199)
    dne = DebiasedNoiseTransformer(ENCODER, solver=solver, leakage=False, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DebiasingWarning)
        dne.fit(images, y, sensitive_features=a, groups=patients)
    first = bool((dne.blocks_["p_value"] <= LEVEL / 2).any())
    went_on = dne.stop_reason_ in ("not located", "max_iter") or dne.noise_.any()
    left = not first and bool(went_on)
    return {"alarm": first or left, "of blocks": first, "of what is left": left}


def summary(runs):
    """Share of alarms of each layout and of all, with its interval."""
    lines = []
    for layout, part in [*runs.groupby("layout", sort=False), ("all", runs)]:
        alarms = part["alarm"]
        bounds = stats.binomtest(int(alarms.sum()), len(alarms)).proportion_ci(method="exact")
        lines.append(
            f"{layout:48s} {alarms.sum():4d} of {len(alarms)}: {alarms.mean():.3f} "
            f"[{bounds.low:.3f}, {bounds.high:.3f}]  blocks {part['of blocks'].mean():.3f}, "
            f"what is left {part['of what is left'].mean():.3f}"
        )
    return "\n".join(lines)


def main():
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=300, help="of each layout")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write to this file too")
    args = parser.parse_args()
    begin = time.perf_counter()
    runs = blocks(args.runs, args.seed)
    text = (
        f"$ python benchmarks/_false_alarms_blocks.py --runs {args.runs} --seed {args.seed}\n\n"
        f"Share of runs with a false alarm, nominally {LEVEL} at most:\n\n{summary(runs)}\n"
    )
    print(f"{text}\n{time.perf_counter() - begin:.0f} seconds")
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
