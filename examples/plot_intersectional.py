"""
================================================
Two attributes at once: who is missed in between
================================================

A classifier may be a little unfair by sex, a little by age, and miss most of the young women. Here
two attributes are planted at two places: sex as a texture beside the heart, age as a letter in a
corner. The edit is learned once for sex alone, once for sex and age together:
``sensitive_features`` with two columns, whose combinations are the groups.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdne import BlockErasure, DebiasedNoiseTransformer, NoiseDisplay
from skdne.audit import attribute_leakage
from skdne.datasets import make_biased_images, plant_stamp
from skdne.metrics import equal_opportunity_difference, group_rates

parser = argparse.ArgumentParser(description="Edit by one attribute and by two.")
parser.add_argument("--n", type=int, default=320, help="images to train on, and to test on")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", type=Path, default=Path("demo_output/intersectional"), help="folder")
args = parser.parse_args()

# %%
# The data
# --------
# In the training images, disease goes with sex (correlation .5) and with age (three of four
# diseased are old, one of four healthy). In the test images all eight cells are equal.


def images(correlation, share_old, seed):
    data = make_biased_images(args.n, correlation=correlation, random_state=seed)
    sex, y = data.sensitive_features.to_numpy(str), data.target
    old = np.zeros(args.n, dtype=bool)
    for cell in np.unique(y.astype(str) + sex.astype(object)):
        rows = np.flatnonzero(y.astype(str) + sex.astype(object) == cell)
        share = share_old if cell[0] == "1" else 1 - share_old
        old[rows] = np.arange(len(rows)) < round(share * len(rows))
    X = plant_stamp(data.images, np.where(old, "O", "Y"), random_state=seed)
    return X, y, pd.DataFrame({"sex": sex, "age": np.where(old, "60+", "<60")})


X, y, a = images(0.5, 0.75, args.seed)
X_test, y_test, a_test = images(0.0, 0.5, args.seed + 1)
print(pd.crosstab(y, [a["sex"], a["age"]]).rename_axis("disease").to_string())

# %%
# Three classifiers
# -----------------

solver = BlockErasure(block_size=32, n_images=80)
arms = {
    "no edit": (None, None),
    "edited for sex": (solver, a["sex"]),
    "edited for sex and age": (solver, a),
}
fitted, predicted, embedded = {}, {}, {}
for name, (how, attribute) in arms.items():
    dne = DebiasedNoiseTransformer(solver=how, leakage=False, random_state=args.seed)
    dne.fit(X, y, sensitive_features=attribute)
    head = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    head.fit(dne.transform(X), y)
    fitted[name], embedded[name] = dne, dne.transform(X_test)
    predicted[name] = head.predict(embedded[name])

# %%
# What each group gets
# --------------------
# Gaps by one attribute, and by both. The second is never the smaller one.

rows = []
for name, y_pred in predicted.items():
    for by, columns in {"sex": a_test["sex"], "age": a_test["age"], "both": a_test}.items():
        gap = equal_opportunity_difference(y_test, y_pred, sensitive_features=columns)
        rows.append((name, by, gap))
gaps = pd.DataFrame(rows, columns=["arm", "by", "EO_p"]).pivot_table(
    "EO_p", "arm", "by", sort=False
)
print("EO_p by\n" + gaps.round(2).to_string())

# %%
# What is still read
# ------------------
# Probes of sex and of age, trained anew on the test images. An edit for one attribute leaves the
# other where it is.

leaks = {
    (name, column): attribute_leakage(
        Z, sensitive_features=a_test[column], y=y_test, random_state=args.seed
    )["linear"]
    for name, Z in embedded.items()
    for column in a_test
}
for (name, column), (auc, low, high) in leaks.items():
    print(f"{name:24} linear probe of {column}: AUC {auc:.2f} ({low:.2f} to {high:.2f})")

args.out.mkdir(parents=True, exist_ok=True)
display = NoiseDisplay.from_estimator(fitted["edited for sex and age"], X_test[:1], kind="blocks")
display.figure_.savefig(args.out / "blocks.png", dpi=110)

# %%
# The picture
# -----------
# Left, how many of the diseased of each group are found: the bars show the 95% interval of a
# proportion (Wilson). Right, the probes. With this many images the intervals of neighbours overlap;
# the pattern over all four groups is what the edit changes.

STYLES = {
    "no edit": {"color": "#767676", "marker": "s", "markerfacecolor": "white"},
    "edited for sex": {"color": "#0072B2", "marker": "o"},
    "edited for sex and age": {"color": "#D55E00", "marker": "D"},
}


def wilson(share, n, z=1.96):
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return middle - half, middle + half


figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4), layout="constrained")
for offset, (name, style) in zip((-0.2, 0, 0.2), STYLES.items(), strict=True):
    table = group_rates(y_test, predicted[name], sensitive_features=a_test)
    found = table["true_positive_rate"].to_numpy()
    low, high = wilson(found, (table["count"] // 2).to_numpy())
    error = np.abs(np.stack([found - low, high - found]))
    place = np.arange(len(table)) + offset
    left.errorbar(found, place, xerr=error, linestyle=" ", capsize=3, label=name, **style)
    aucs = np.array([leaks[name, column] for column in a_test])
    error = np.abs(np.stack([aucs[:, 0] - aucs[:, 1], aucs[:, 2] - aucs[:, 0]]))
    place = np.arange(2) + offset
    right.errorbar(aucs[:, 0], place, xerr=error, linestyle=" ", capsize=3, **style)
left.set_yticks(range(len(table)), [", ".join(map(str, np.atleast_1d(g))) for g in table.index])
left.set(xlabel="share of the diseased that is found", title="True positive rate of each group")
right.set_yticks(range(2), ["sex", "age"])
right.axvline(0.5, color="0.6", linewidth=1, zorder=0)
right.set(xlabel="AUC (0.5 = chance)", xlim=(0.3, 1.03), title="What a linear probe reads")
for ax in (left, right):
    ax.invert_yaxis()
figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
figure.savefig(args.out / "intersectional.png", dpi=110)
print(f"wrote {args.out / 'intersectional.png'}")
