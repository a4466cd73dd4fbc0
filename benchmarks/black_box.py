"""What a query buys: the black-box solvers at one budget, behind a service of 8-bit pixels.

    python benchmarks/black_box.py [--images FOLDER] [--queries 6400] [--out PREFIX]

Synthetic images, or with ``--images`` chest X-rays: the folder holds ``images/`` and
``metadata.csv`` of NIH ChestX-ray14; the attribute is the sex, and patients that the bundled
encoder was trained on are left out. Every arm of a seed gets the same images, split, g and budget.
At checkpoints, outside the budget, two figures are measured: Eq. 2 over *all* images of the fit
(not the mini-batch loss that a solver sees), and the AUC of probes that are trained anew on the
edited images and scored on held-out ones. Rows are appended to PREFIX.csv, and what is there is
not run again; the tables and the curve come from all rows there: PREFIX.txt, PREFIX.png.
"""

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from skdne import SPSA, Adam, BlockErasure, GeZO, bundled_encoder
from skdne.attribute import check_sensitive_data
from skdne.attribute_classifier import AttributeClassifier
from skdne.budget import BudgetExhaustedError, QueryBudget
from skdne.datasets import encoder_training_patients, make_biased_images
from skdne.embedding import embed_images
from skdne.encoders import TimmEncoder
from skdne.findings import measure_findings
from skdne.images import check_images
from skdne.leakage import measure_leakage
from skdne.objective import Objective
from skdne.splits import three_sets

LONG = {"max_iter": 10_000}  # the budget ends the fit
GEZO = {"batch_size": 32, "step_size": 0.01, **LONG}
PRINTED = {"shared_batch": False, "grid_size": None, **GEZO}
ARMS = {
    "SPSA (its defaults)": SPSA(**LONG),
    "GeZO as printed, C=5": GeZO(n_directions=5, **PRINTED),
    "GeZO as printed, C=2": GeZO(n_directions=2, **PRINTED),
    "GeZO, shared batch": GeZO(grid_size=None, **GEZO),
    "GeZO, shared batch, 16x16": GeZO(grid_size=16, **GEZO),
    "SPSA, step 0.1": SPSA(step_size=0.1, **LONG),
    "SPSA, 16x16": SPSA(grid_size=16, **LONG),
    "SPSA, 5 pairs of 32 images, 16x16": SPSA(n_pairs=5, batch_size=32, grid_size=16, **LONG),
    "block erasure, 40 images": BlockErasure(n_images=40),
    "Adam (white box), 400 images": Adam(batch_size=32, **LONG),
}
# The reference is past every goal by then; the erasure needs what it needs, as its row says.
LIMITS = {"Adam (white box), 400 images": 400, "block erasure, 40 images": 4000}
CHECKPOINTS = [100 * 2**k for k in range(12)]
LEGEND = """\
Median (smallest to largest) over the seeds. "to": queries at the first checkpoint (100, 200, 400,
...) where Eq. 2 over all fit images is half a nat below that of no noise; where it is at most the
best that Algorithm 1 as printed, of either C, reached in its run; where the AUC of the best
re-trained probe, above .5, is half of what it was. "never": not in the queries of "run to". "at":
the objective at one budget for all; "objective" and what follows: at the end of the run.
"""
PROBED = {1600, 6400, 25_600}
PROBES = ["linear", "rbf", "mlp"]
COLUMNS = ["images", "seed", "arm", "checkpoint", "queries", "objective", "rms", *PROBES, "disease"]


class EightBitEncoder(TimmEncoder):
    """What a service is sent: pixels rounded to 8 bits. Gradients ignore it: a white box."""

    @property
    def levels(self):
        return 255

    def on_wire(self, images):
        return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)

    def _embed(self, pixels):
        return super()._embed(pixels.astype(np.float32) / 255)


def load(seed, folder, n):
    """Images, attribute, disease and patients."""
    if folder is None:
        made = make_biased_images(n, correlation=0, random_state=seed)
        return made.images, made.sensitive_features.to_numpy(str), made.target, None
    table = pd.read_csv(folder / "metadata.csv", dtype=str)
    table = table[~table["patient_id"].isin(set(map(str, encoder_training_patients())))]
    y = (table["findings"] != "No Finding").to_numpy(int)
    paths = [str(folder / "images" / name) for name in table["image"]]
    return paths, table["sex"].to_numpy(str), y, table["patient_id"].to_numpy(str)


class Trial:
    """One seed: images, split and g, the same for every arm."""

    def __init__(self, encoder, seed, folder, n):
        X, a, self.y, patients = load(seed, folder, n)
        self.encoder, self.seed = encoder, seed
        self.images = check_images(X, input_size=encoder.input_size, n_channels=1).decoded()
        self.data = check_sensitive_data(a, self.y, patients, len(a))
        data = self.data
        self.sets = three_sets(data.cells, data.codes, data.groups, True, seed)
        self.clean = embed_images(encoder, self.images, None, False)

    def objective(self, solver, limit=None):
        data, fit = self.data, self.sets.fit
        g = AttributeClassifier(None, data.classes)
        g.fit(self.clean[fit], data.codes[fit], data.weights[fit])
        budget = QueryBudget(limit)

        def over(rows, selection=None):
            return Objective(
                self.encoder,
                self.images,
                rows,
                data.codes[rows],
                data.weights[rows],
                g,
                solver.space(self.images.shape),
                objective="cross_entropy",
                reg_lambda=0.01,
                clip=solver.clip,
                budget=budget,
                strata=data.strata[rows],
                groups=None if data.groups is None else data.groups[rows],
                selection=selection,
            )

        return over(fit, over(self.sets.select))

    def measure(self, solver, theta, with_probes):
        """Eq. 2 over all images of the fit, by the g that knows clean ones; probes trained anew."""
        L, fit = self.objective(solver), self.sets.fit
        noise = L.space.expand(theta).detach()
        rows = np.arange(len(self.y)) if with_probes else fit
        Z = self.clean.copy()
        if noise.any():
            Z[rows] = embed_images(self.encoder, self.images, noise, solver.clip, rows)
        g, codes, weights = L.attribute_classifier, L.codes, L.weights
        row = {
            "objective": L.value_of_embeddings(g, Z[fit], codes, weights, noise),
            "rms": float(noise.square().mean().sqrt()),
        }
        if with_probes:
            leakage = measure_leakage(Z, self.data, self.sets, self.seed)
            row |= {name: leakage[name].auc for name in PROBES}
            known = {"disease": self.y}
            row |= {
                name: found["after"].auc
                for name, found in measure_findings(
                    Z, Z, known, self.data, self.sets, self.seed
                ).items()
            }
        return row


def states(solver, L, seed):
    """Each theta that a solver reaches within its budget."""
    if not solver.lowers_objective:
        yield solver.minimize(L, seed, lambda *_: False).theta
        return
    epoch = 0
    try:
        for step in solver.iterate(L, seed):
            yield step.theta
            epoch += step.ends_epoch
            if solver.refit_every and step.ends_epoch and epoch % solver.refit_every == 0:
                L.attribute_classifier = L.retrained(step.theta)
    except BudgetExhaustedError:
        return


def run(trial, arm, limit, known):
    """Rows of one arm: the first state past each checkpoint that is not ``known``."""
    solver = ARMS[arm]
    L = trial.objective(solver, limit)
    left = [c for c in CHECKPOINTS if c <= limit]
    theta, start = L.space.zeros(), time.perf_counter()
    for theta in states(solver, L, trial.seed):
        if not left or L.budget.spent < left[0]:
            continue
        while left and L.budget.spent >= left[0]:
            checkpoint = left.pop(0)
        if checkpoint not in known:
            row = trial.measure(solver, theta, checkpoint in PROBED or not left)
            yield {"checkpoint": checkpoint, "queries": L.budget.spent, **row}
    if left:  # it ended by itself, or the budget cut its last step short
        row = trial.measure(solver, theta, True)
        yield {"checkpoint": left[-1], "queries": L.budget.spent, **row}
    print(f"  {arm}: {L.budget.spent} queries, {time.perf_counter() - start:.0f} s", flush=True)


def tables(rows):
    """One table for each kind of images, as text."""
    text = []
    for kind, of_kind in rows.groupby("images", sort=False):
        free = of_kind[~of_kind["arm"].isin(["no noise", *LIMITS])]
        common = free.groupby(["arm", "seed"])["checkpoint"].max().min()
        found = []
        for seed, of_seed in of_kind.groupby("seed"):
            none = of_seed[of_seed["arm"] == "no noise"].iloc[0]
            printed = of_seed[of_seed["arm"].str.contains("printed")]
            best_printed = min(none["objective"], printed["objective"].min())
            readable = none[PROBES].max()
            for arm, of_arm in of_seed.sort_values("checkpoint").groupby("arm", sort=False):
                last, worst = of_arm.iloc[-1], of_arm[PROBES].max(axis=1)
                goals = {
                    "half a nat": of_arm["objective"] <= none["objective"] - 0.5,
                    "Algorithm 1's best": (of_arm["objective"] <= best_printed)
                    & (of_arm["queries"] > 0),
                    "half the leakage": worst - 0.5 <= (readable - 0.5) / 2,
                }
                to = {f"to {goal}": of_arm.loc[hit, "queries"].min() for goal, hit in goals.items()}
                row = {"arm": arm, "seed": seed, "run to": last["queries"], **to}
                at_common = of_arm.loc[of_arm["checkpoint"] <= common, "objective"]
                row[f"at {common:.0f}"] = at_common.iloc[-1] if len(at_common) else np.nan
                found.append(row | last[["objective", *PROBES, "disease", "rms"]].to_dict())
        table = pd.DataFrame(found).replace({goal: {np.nan: np.inf} for goal in to})
        by_arm = table.groupby("arm", sort=False)
        shown = by_arm.agg(show).drop(columns="seed")
        shown.insert(0, "seeds", by_arm.size())
        text.append(f"{kind}\n{shown.to_string()}")
    return f"{LEGEND}\n" + "\n\n".join(text)


def show(values):
    """Median (smallest to largest)."""
    low, middle, high = (word(v) for v in (values.min(), values.median(), values.max()))
    return middle if low == high else f"{middle} ({low} to {high})"


def word(value):
    if np.isinf(value):
        return "never"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"


def curve(rows):
    """Objective and best probe against queries, median over seeds."""
    arms = [arm for arm in ARMS if arm in set(rows["arm"])]
    looks = {
        arm: {"color": f"C{i % 10}", "marker": "os^Dv<>PX*"[i % 10], "label": arm}
        for i, arm in enumerate(arms)
    }
    kinds = list(dict.fromkeys(rows["images"]))
    figure = Figure(figsize=(13, 4.2 * len(kinds)), layout="constrained")
    axes = figure.subplots(len(kinds), 2, squeeze=False)
    rows = rows.assign(probe=rows[PROBES].max(axis=1))
    for pair, kind in zip(axes, kinds, strict=True):
        for axis, column in zip(pair, ("objective", "probe"), strict=True):
            for arm, of_arm in rows[(rows["images"] == kind)].groupby("arm", sort=False):
                if arm == "no noise":
                    axis.axhline(of_arm[column].median(), color="gray", linestyle=":")
                    continue
                points = of_arm.dropna(subset=[column]).groupby("checkpoint")
                points = points[["queries", column]].median()
                axis.plot(points["queries"], points[column], **looks[arm])
            axis.set(xscale="log", xlabel="queries", title=kind, xlim=(90, 8000))
        pair[0].set_yscale("symlog", linthresh=0.5)
        pair[0].set_ylabel("Eq. 2 over all fit images")
        pair[1].set_ylabel("AUC of the best probe trained anew")
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside right center", fontsize="small")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=Path, help="folder of the NIH chest X-rays")
    parser.add_argument("--queries", type=int, default=6400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--n", type=int, default=200, help="synthetic images, half to fit on")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), metavar="ARM")
    parser.add_argument("--out", type=Path, default=Path("black_box"), metavar="PREFIX")
    args = parser.parse_args()
    bundled = bundled_encoder()
    fields = {field.name: getattr(bundled, field.name) for field in dataclasses.fields(bundled)}
    encoder = EightBitEncoder(**fields)
    kind = "synthetic" if args.images is None else "X-rays"
    path = args.out.with_suffix(".csv")
    for seed in args.seeds:
        trial = None
        for arm in ["no noise", *args.arms]:
            limit = LIMITS.get(arm, args.queries)
            done = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=COLUMNS)
            here = (done["images"] == kind) & (done["seed"] == seed) & (done["arm"] == arm)
            known = set(done.loc[here, "checkpoint"])
            wanted = {c for c in CHECKPOINTS if c <= limit} if arm != "no noise" else {0}
            if max(wanted) in known:
                continue
            if trial is None:
                print(f"{kind}, seed {seed}", flush=True)
                trial = Trial(encoder, seed, args.images, args.n)
            if arm == "no noise":
                none = np.zeros((1, *trial.images.shape[1:]), np.float32)
                row = trial.measure(ARMS["SPSA (its defaults)"], torch.from_numpy(none), True)
                found = [{"checkpoint": 0, "queries": 0, **row}]
            else:
                found = run(trial, arm, limit, known)
            for row in found:
                row = {"images": kind, "seed": seed, "arm": arm, **row}
                line = pd.DataFrame([row]).reindex(columns=COLUMNS).round(4)
                line.to_csv(path, mode="a", header=not path.exists(), index=False)
    rows = pd.read_csv(path)
    text = tables(rows)
    print(text)
    path.with_suffix(".txt").write_text(text + "\n", encoding="utf-8")
    curve(rows).savefig(path.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
