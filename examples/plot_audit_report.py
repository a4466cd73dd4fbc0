"""
==========================================
An audit: before and after, with intervals
==========================================

How good is the classifier, for whom is it worse, is that more than chance, and what did the edit
change? ``FairnessAudit`` answers on images that nothing was fitted on, and writes a report: one
HTML file for people, a data frame and JSON for machines.
"""

import argparse
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdne import BlockErasure, DebiasedNoiseTransformer
from skdne.audit import FairnessAudit
from skdne.datasets import make_biased_images

parser = argparse.ArgumentParser(description="Audit a classifier with and without the edit.")
parser.add_argument("--n", type=int, default=300, help="images to train on, and to audit")
parser.add_argument("--resamples", type=int, default=500, help="bootstrap and permutations")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", type=Path, default=Path("demo_output/audit"), help="folder")
args = parser.parse_args()

# %%
# Two classifiers
# ---------------
# The same head on the same embeddings, without the edit and with it. Sex and disease are correlated
# in the training images, not in those of the audit, so that a classifier that uses sex is wrong for
# the rare cells. Each image shows another patient.

train = make_biased_images(args.n, correlation=0.7, random_state=args.seed)
test = make_biased_images(args.n, correlation=0, random_state=args.seed + 1)
patients = np.arange(args.n)

head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
solver = BlockErasure(block_size=32, n_images=80)
dne = DebiasedNoiseTransformer(solver=solver, leakage=False, random_state=args.seed)
edited = make_pipeline(dne, clone(head)).fit(
    train.images,
    train.target,
    debiasednoisetransformer__sensitive_features=train.sensitive_features,
)
plain = make_pipeline(DebiasedNoiseTransformer(solver=None), clone(head))
plain.fit(train.images, train.target)

# %%
# The audit
# ---------
# ``baseline`` is "before" in all comparisons. Leakage is that of probes trained anew.

audit = FairnessAudit.from_estimator(
    edited,
    test.images,
    test.target,
    sensitive_features=test.sensitive_features,
    groups=patients,
    baseline=plain,
    n_bootstrap=args.resamples,
    n_permutations=args.resamples,
    random_state=args.seed,
)
for sentence in audit.summary + audit.warnings:
    print(textwrap.fill(sentence, 96, initial_indent="- ", subsequent_indent="  "))

args.out.mkdir(parents=True, exist_ok=True)
audit.to_html(args.out / "audit.html")
audit.to_json(args.out / "audit.json")
print(f"\nwrote {args.out / 'audit.html'}\nwrote {args.out / 'audit.json'}")

# %%
# The figures behind it
# ---------------------
# One row a figure. ``null`` is what chance alone would give for a largest difference between
# groups: a gap is flagged only where it is beyond that, for all gaps together.

frame = audit.to_frame()
columns = ["figure", "value", "low", "high", "baseline", "null", "p_value", "flagged"]
print(frame.loc[frame["section"] == "fairness", columns].round(3).to_string(index=False))

# %%
# The picture
# -----------
# Left, gaps between groups, with what chance alone would give as a grey tick: left of it nothing is
# to be explained. Right, the rates themselves: only they show whether a gap closed because one
# group got better or the other worse.

BEFORE = {"color": "#767676", "marker": "s", "markerfacecolor": "white", "linestyle": " "}
AFTER = {"color": "#0072B2", "marker": "o", "linestyle": " "}


def two_rows(ax, rows, labels):
    """Before and after, one above the other, with their 95% intervals."""
    place = np.arange(len(rows))
    for offset, style, name in ((-0.15, BEFORE, "baseline"), (0.15, AFTER, "value")):
        prefix = "baseline_" if name == "baseline" else ""
        middle = rows[name].to_numpy(float)
        low, high = (rows[prefix + end].to_numpy(float) for end in ("low", "high"))
        error = np.abs(np.stack([middle - low, high - middle]))
        label = "without the edit" if name == "baseline" else "with it"
        ax.errorbar(middle, place + offset, xerr=error, capsize=3, label=label, **style)
    ax.set_yticks(place, labels)
    ax.set(ylim=(len(rows) - 0.5, -0.5))


gaps = frame[(frame["section"] == "fairness") & frame["null"].notna()]
names = ["true positive rate", "true negative rate", "selection rate", "accuracy"]
rates = frame[(frame["section"] == "group") & frame["figure"].isin(names)]
rates = rates.sort_values(["figure", "group"])
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.2), layout="constrained")
two_rows(left, gaps, gaps["figure"])
place = np.arange(len(gaps))
left.vlines(gaps["null"], place - 0.3, place + 0.3, color="0.6", linewidth=2, label="by chance")
left.set(xlabel="gap between groups (0 = parity)", xlim=(-0.02, None), title="Gaps")
two_rows(right, rates, rates["figure"] + ", " + rates["group"])
right.set(xlabel="rate", xlim=(0, 1.02), title="Rates of each group")
handles = left.get_legend_handles_labels()
figure.legend(*handles, loc="outside lower center", ncols=3)
figure.suptitle(f"{audit.n_images} images of {audit.n_patients} patients, 95% intervals")
figure.savefig(args.out / "audit.png", dpi=110)
print(f"wrote {args.out / 'audit.png'}")
