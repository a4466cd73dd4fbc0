"""
===========================================================
Quickstart: what does a learned noise do, and at what cost?
===========================================================

This is ``make demo``. It learns a noise that should hide a sensitive attribute, trains a disease
classifier on the edited images, and measures fairness, utility and leakage on test images that no
fit has seen, beside two baselines without a noise.

Run it as it is for synthetic radiographs, or on your own images::

    python examples/plot_quickstart.py --images FOLDER
    python examples/plot_quickstart.py --images FOLDER --csv labels.csv --path-column file \\
        --label-column disease --positive 1 --attribute-column sex --group-column patient

Without ``--csv``, FOLDER holds ``images/`` and the ``metadata.csv`` of the NIH chest X-rays:
attribute sex, and as disease any finding that is an opacity, against the rest, as this splits the
images about in half; a single finding would leave groups too small to say anything.
"""

import argparse
import re
import textwrap
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch
from sklearn.utils.class_weight import compute_sample_weight

from skdne import Adam, BlockErasure, DebiasedNoiseTransformer, DebiasingWarning, GeZO
from skdne.attribute import check_sensitive_data
from skdne.datasets import encoder_training_patients, make_biased_images
from skdne.display import NoiseDisplay
from skdne.leakage import measure_leakage
from skdne.metrics import disparate_impact, equal_opportunity_difference
from skdne.splits import ThreeSets

OPACITY = "Infiltration|Consolidation|Effusion|Pneumonia|Edema|Atelectasis"

parser = argparse.ArgumentParser(description="Compare debiasing arms on images.")
parser.add_argument("--images", type=Path, help="folder; default: synthetic images")
parser.add_argument("--csv", type=Path, help="default: metadata.csv in the folder")
parser.add_argument("--path-column", default="image", help="file, relative to --images")
parser.add_argument("--label-column", default="findings", help="values may be joined by |")
parser.add_argument("--positive", default=OPACITY, help="values that mean disease, joined by |")
parser.add_argument("--attribute-column", default="sex")
parser.add_argument("--group-column", help="patients; default: patient_id of metadata.csv")
parser.add_argument("--encoder", help="timm name; default: the bundled encoder")
parser.add_argument(
    "--head",
    choices=["plain", "standardised"],
    default="plain",
    help="logistic regression on the embeddings, or on standardised ones",
)
parser.add_argument("--seeds", type=int, default=3, help="repetitions")
parser.add_argument("--n", type=int, default=400, help="synthetic images in each set")
parser.add_argument("--quick", action="store_true", help="tiny fits: figures mean nothing")
parser.add_argument("--small", action="store_true", help="coarse blocks, few steps: the gallery's")
parser.add_argument("--out", type=Path, default=Path("demo_output"), help="folder for pictures")
args = parser.parse_args()
if args.csv is not None and args.images is None:
    parser.error("--csv needs --images, the folder that its paths are relative to")


# %%
# The data
# --------
# Synthetic: every seed draws fresh images. In the training set disease and attribute are
# correlated, so that the attribute is a shortcut; in the test set all four cells are equal.
# Real: every seed splits the patients in half, stratified on disease and attribute. Patients that
# the bundled encoder was trained on are left out.


def synthetic_split(seed):
    made = [
        make_biased_images(args.n, correlation=correlation, random_state=2 * seed + half)
        for half, correlation in enumerate((0.7, 0.0))
    ]
    return [
        Bunch(X=d.images, y=d.target, a=d.sensitive_features.to_numpy(str), groups=None)
        for d in made
    ]


def read_table():
    table = pd.read_csv(args.csv or args.images / "metadata.csv", dtype=str)
    group_column = args.group_column or ("patient_id" if args.csv is None else None)
    needed = [args.path_column, args.label_column, args.attribute_column]
    needed += [group_column] if group_column else []
    if missing := [name for name in needed if name not in table]:
        parser.error(f"the CSV has no column {missing}; it has {list(table)}")
    n_rows = len(table)
    table = table.dropna(subset=needed)
    if len(table) < n_rows:
        print(f"{n_rows - len(table)} of {n_rows} rows left out: a value is missing in {needed}")
    if args.csv is None:
        seen = set(map(str, encoder_training_patients()))
        table = table[~table[group_column].isin(seen)]
    folder = args.images / "images" if args.csv is None else args.images
    positive = set(args.positive.split("|"))
    y = table[args.label_column].map(lambda values: bool(positive & set(values.split("|"))))
    if y.nunique() < 2:
        parser.error(f"--positive {args.positive!r} splits no {args.label_column!r} in two")
    return Bunch(
        X=np.array([str(folder / name) for name in table[args.path_column]]),
        y=y.to_numpy(int),
        a=table[args.attribute_column].to_numpy(str),
        groups=table[group_column].to_numpy(str) if group_column else None,
    )


def halves(data, seed):
    members = np.arange(len(data.y)) if data.groups is None else data.groups
    splitter = StratifiedGroupKFold(2, shuffle=True, random_state=seed)
    parts = next(splitter.split(data.X, cells(data), members))
    return [Bunch(X=data.X[i], y=data.y[i], a=data.a[i], groups=members[i]) for i in parts]


def cells(data):
    return np.char.add(np.char.add(data.y.astype(str), " "), data.a)


# %%
# The arms
# --------
# ERM and the reweighed head have no noise; the latter weights the cells of disease and attribute
# equally when it trains the disease head. The noises are learned on the training set: the papers'
# (Eq. 2), with gradients (Adam) and from embeddings alone (GeZO), one that confuses a g which is
# trained anew every epoch, and saturates pixels, and the default, which erases the blocks of the
# image that tell the attribute.


def transformers(seed, n_train):
    n_steps = 4 if args.quick else 20 if args.small else 100  # of 32 images
    epochs = max(1, round(n_steps * 32 / (0.8 * n_train)))
    adam = {"max_iter": epochs, "batch_size": 32}
    gezo = {"max_iter": 1 if args.quick or args.small else 2, "batch_size": 32}  # 3,520 queries
    # On a coarse grid x + eps soon reaches 0 or 1, where clipping removes what was there.
    saturating = {"step_size": 0.05, "grid_size": 16, "clip": True, "refit_every": 1}
    confusion = {"objective": "confusion", "reg_lambda": 0.02}
    coarse = BlockErasure(block_size=32, n_images=80 if args.small else 40)
    blocks = coarse if args.quick or args.small else BlockErasure()
    common = {"encoder": args.encoder, "leakage": False, "random_state": seed}
    dne = DebiasedNoiseTransformer
    return {
        "ERM": dne(solver=None, **common),
        "reweighed head": dne(solver=None, **common),
        "DNE Adam, Eq. 2": dne(solver=Adam(**adam), **common),
        "DNE Adam, confusion": dne(solver=Adam(**adam, **saturating), **confusion, **common),
        "DNE GeZO, Eq. 2": dne(solver=GeZO(**gezo), **common),
        "DNE erasure (default)": dne(solver=blocks, **common),
    }


# %%
# Measuring
# ---------
# Leakage is the AUC of probes of the attribute, trained anew on embeddings of edited images and
# scored on others: each third of the test set by probes that know the training set and the other
# two thirds. It is measured within healthy and within diseased, so that a correlation of
# disease and attribute does not count as leakage.


def leakage(train, test, Z_train, Z_test, seed):
    both = {k: np.concatenate([train[k], test[k]]) for k in ("y", "a")}
    data = check_sensitive_data(both["a"], both["y"], None, len(both["y"]))
    splitter = StratifiedGroupKFold(3, shuffle=True, random_state=seed)
    members = np.arange(len(test.y)) if test.groups is None else test.groups
    folds = [len(train.y) + fold for _, fold in splitter.split(test.X, cells(test), members)]
    sets = ThreeSets(fit=np.arange(len(train.y)), select=np.arange(0), report_folds=folds)
    found = measure_leakage(np.concatenate([Z_train, Z_test]), data, sets, seed)
    return {f"{name} probe": probe.auc for name, probe in found.items()}


def measure(arm, train, test, Z_train, Z_test):
    weight = compute_sample_weight("balanced", cells(train)) if arm == "reweighed head" else None
    scaler = StandardScaler() if args.head == "standardised" else None
    head = make_pipeline(scaler, LogisticRegression(max_iter=1000))
    head.fit(Z_train, train.y, logisticregression__sample_weight=weight)
    predicted, by_group = head.predict(Z_test), {"sensitive_features": test.a}
    return {
        "accuracy": accuracy_score(test.y, predicted),
        "disease AUC": roc_auc_score(test.y, head.decision_function(Z_test)),
        "EO_p": equal_opportunity_difference(test.y, predicted, **by_group),
        "EO_n": equal_opportunity_difference(test.y, predicted, positive_label=0, **by_group),
        "|1-DI|": disparate_impact(test.y, predicted, **by_group),
    }


# %%
# Running every arm, seed by seed. What the fits warn of is kept for the end.

real = None if args.images is None else read_table()
if real is None:
    print(f"Synthetic images: {args.n} to train on, {args.n} to test on, {args.seeds} seeds.")
else:
    print(f"{len(real.y)} images; cells of (disease, {args.attribute_column}):")
    print(pd.crosstab(real.y, real.a).to_string())
rows, notes, fitted = [], {}, {}
for seed in range(args.seeds):
    train, test = synthetic_split(seed) if real is None else halves(real, seed)
    for arm, dne in transformers(seed, len(train.y)).items():
        start = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if arm != "reweighed head":  # it shares the embeddings of ERM
                dne.fit(train.X, train.y, sensitive_features=train.a, groups=train.groups)
                Z_train, Z_test = dne.transform(train.X), dne.transform(test.X)
                leaks = leakage(train, test, Z_train, Z_test, seed)
            row = measure(arm, train, test, Z_train, Z_test)
        for warning in caught:
            text = re.split(r"; |\. (?=[A-Z])", str(warning.message))[0]
            kind = re.sub(r"[\d.%]+", "#", text)
            named = "" if issubclass(warning.category, DebiasingWarning) else "(other) "
            notes.setdefault((arm, kind), (named + text, set()))[1].add(seed)
        rows.append({"arm": arm, "seed": seed, **row, **leaks})
        fitted[arm] = dne
        print(
            f"seed {seed + 1}/{args.seeds}  {arm:21}  accuracy {row['accuracy']:.3f}  "
            f"EO_n {row['EO_n']:.3f}  MLP probe {leaks['mlp probe']:.3f}  "
            f"({time.perf_counter() - start:.0f} s)",
            flush=True,
        )
results = pd.DataFrame(rows).set_index(["arm", "seed"])

# %%
# The table
# ---------
# Mean and 95% t-interval over seeds.


def interval(values):
    k = values.notna().sum()
    return stats.t.ppf(0.975, k - 1) * values.std() / np.sqrt(k) if k > 1 else np.nan


by_arm = results.groupby(level="arm", sort=False)
means, widths = by_arm.mean(), by_arm.agg(interval)
text = means.map("{:.3f}".format)
if args.seeds > 1:
    text += " ±" + widths.map("{:.3f}".format)
print(f"\nTest images; mean ± half-width of the 95% t-interval over {args.seeds} seed(s):\n")
print(text.rename_axis(None).to_string())
if real is None:
    print("\nEach seed has images of its own; the encoder is the same, and may be a lucky one.")
else:
    print(
        "\nThe seeds re-split one set of images, so they are not independent: the intervals say "
        "how much\nthe split matters, and are too narrow for the next hospital."
    )
print("EO_p, EO_n, |1-DI|: 0 is parity. Probe: AUC of the attribute, .5 is chance.")
if notes:
    print("\nWarnings (in how many seeds):")
for (arm, _), (note, seeds) in notes.items():
    print(textwrap.fill(f"- {arm} ({len(seeds)}): {note}", 96, subsequent_indent="  "))

# %%
# In words, from these figures: the default against both baselines.


ARM = "DNE erasure (default)"
changes = {}
for column in ("EO_p", "EO_n", "accuracy"):
    difference = results.loc[ARM, column] - results.loc["ERM", column]  # seed by seed
    verb = "lowered" if difference.mean() < 0 else "raised"
    if not abs(difference.mean()) > interval(difference):
        verb = "did not measurably change"
    figures = f"{column} ({means.loc['ERM', column]:.3f} to {means.loc[ARM, column]:.3f})"
    changes.setdefault(verb, []).append(figures)
said = "; it ".join(f"{verb} {' and '.join(what)}" for verb, what in changes.items())
other = means.loc["reweighed head"]
worst = means.loc[ARM].filter(like="probe").idxmax()
auc, width = means.loc[ARM, worst], widths.loc[ARM, worst]
told = "above chance" if auc - width > 0.5 else "not clearly above chance"
if np.isnan(width):
    told = "one seed gives no interval"
text = (
    f"On these images the noise of '{ARM}' {said}, against ERM. The reweighed head, without a "
    f"noise, has EO_p {other['EO_p']:.3f} and EO_n {other['EO_n']:.3f} at accuracy "
    f"{other['accuracy']:.3f}. A re-trained {worst} reads the attribute at AUC {auc:.3f}: "
    f"{told} (without noise {means.loc['ERM', worst]:.3f})."
)
print("\n" + textwrap.fill(text, 96))

# %%
# Pictures
# --------

# sphinx_gallery_thumbnail_number = 8
args.out.mkdir(parents=True, exist_ok=True)
pictures = {}
for arm in [name for name in fitted if name.startswith("DNE")]:
    for kind in ("noise", "edits"):
        display = NoiseDisplay.from_estimator(fitted[arm], test.X[:3], kind=kind)
        display.figure_.suptitle(f"{arm}, seed {seed + 1}")
        name = re.sub(r"\W+", "_", arm).lower()
        pictures[f"{kind}_{name}"] = display.figure_

probes = [name for name in means if "probe" in name]
panels = {name: [name] for name in means if name not in probes}
panels["AUC of the attribute"] = probes
figure, axes = plt.subplots(1, len(panels), figsize=(14, 3.4), sharey=True, layout="constrained")
for ax, (label, names) in zip(axes, panels.items(), strict=True):
    for i, (name, marker) in enumerate(zip(names, "os^", strict=False)):
        place = np.arange(len(means)) + 0.2 * (i - (len(names) - 1) / 2)
        ax.errorbar(means[name], place, xerr=widths[name], fmt=marker, capsize=3, label=name)
    reference = 0.5 if names == probes else means.loc["ERM", label]
    ax.axvline(reference, color="gray", linestyle="--", linewidth=1)
    ax.set(xlabel=label, xlim=(-0.03, 1.03) if label.startswith(("EO", "|")) else (0.35, 1.03))
axes[0].set_yticks(range(len(means)), means.index)
axes[0].invert_yaxis()
figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside right center")
figure.suptitle(
    f"Mean and 95% interval over {args.seeds} seeds; dashed: ERM, for the probes chance"
)
pictures["table"] = figure

print()
for name, picture in pictures.items():
    path = args.out / f"{name}.png"
    picture.savefig(path, dpi=110)
    print(f"wrote {path}")
results.to_csv(args.out / "results.csv")
print(f"wrote {args.out / 'results.csv'}")
