"""
=======================================
Real chest X-rays, and what helps there
=======================================

Sex shows all over a chest X-ray. On real images of NIH ChestX-ray14 this draws from where it is
read, tries to erase it, and compares what the embeddings still tell after that and after
``EmbeddingEraser``, which works on embeddings instead of images.

Run it on a folder::

    python examples/plot_real_xrays.py FOLDER

FOLDER holds the NIH release, or ``metadata.csv`` and ``images/`` of a part of it; without the
argument it is taken from the environment variable ``SKDNE_NIH_CXR``. On these pages the example is
run only where that is set.
"""

import argparse
import os
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from skdne import (
    BlockErasure,
    DebiasedNoiseTransformer,
    DebiasingWarning,
    EmbeddingEraser,
    NoiseDisplay,
)
from skdne.audit import attribute_leakage
from skdne.datasets import encoder_training_patients, load_nih_chest_xray14

parser = argparse.ArgumentParser(description="What can be done about sex in real chest X-rays.")
parser.add_argument("folder", nargs="?", default=os.environ.get("SKDNE_NIH_CXR"))
parser.add_argument("--n", type=int, default=310, help="images at most")
parser.add_argument("--block-size", type=int, default=32, help="pixels of 128; 16: 4 x slower")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", type=Path, default=Path("demo_output/real_xrays"), help="folder")
args = parser.parse_args()
if args.folder is None:
    parser.error("give the folder of the X-rays, or set SKDNE_NIH_CXR")

# %%
# The data
# --------
# Patients that the bundled encoder was trained on are left out. The others are parted in half, by
# patient: edits are learned on one half, everything is measured on the other.

data = load_nih_chest_xray14(args.folder)
seen = [str(patient) for patient in encoder_training_patients()]
new = np.flatnonzero(~np.isin(data.patients, seen) & data.attributes["sex"].notna())
data = data.take(np.random.default_rng(args.seed).permutation(new)[: args.n])
sex = data.attributes["sex"].to_numpy(str)
opacities = ["Infiltration", "Consolidation", "Effusion", "Pneumonia", "Edema", "Atelectasis"]
y = data.findings[opacities].max(axis=1).to_numpy(int)
print(f"{len(y)} images of {len(set(data.patients))} patients, {np.mean(sex == 'M'):.0%} men")

cells = y.astype(str) + sex.astype(object)
splitter = StratifiedGroupKFold(2, shuffle=True, random_state=args.seed)
fit, test = next(splitter.split(cells, cells, data.patients))

# %%
# From where sex is read
# ----------------------
# Each block is shown alone, all else black. Sex shows a little in many blocks, and in none as a
# marker does: no few blocks take it away, and ``max_area`` forbids to erase them all.

dne = DebiasedNoiseTransformer(
    solver=BlockErasure(block_size=args.block_size, n_images=120),
    leakage=False,  # it is measured on the other half, below
    random_state=args.seed,
)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DebiasingWarning)  # they repeat the verdict
    dne.fit(data.paths[fit], y[fit], sensitive_features=sex[fit], groups=data.patients[fit])
erased = dne.blocks_["erased"]
print(f"{erased.sum()} of {len(erased)} blocks erased; the search ended by {dne.stop_reason_!r}")
display = NoiseDisplay.from_estimator(dne, list(data.paths[test][:1]), kind="blocks")
display.figure_.suptitle("What each block tells about sex")
args.out.mkdir(parents=True, exist_ok=True)
display.figure_.savefig(args.out / "blocks.png", dpi=110)

# %%
# On the embeddings instead
# -------------------------
# LEACE takes out what a linear classifier reads on the images of the fit. Cut down to the eight
# directions that tell the findings first, little is left for other classifiers either, nor of
# anything that the findings do not name.

plain = DebiasedNoiseTransformer(solver=None).fit(data.paths[fit])
Z_fit, Z_test = plain.transform(data.paths[fit]), plain.transform(data.paths[test])
labels = data.findings.to_numpy(float)[fit]
embeddings = {"no edit": Z_test, "block erasure": dne.transform(data.paths[test])}
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DebiasingWarning)
    for name, n in {"LEACE": None, "LEACE on 8 directions": 8}.items():
        eraser = EmbeddingEraser(n_components=n).fit(Z_fit, labels, sensitive_features=sex[fit])
        embeddings[name] = eraser.transform(Z_test)

# %%
# The picture
# -----------
# Three probes of sex, trained anew on the half that no edit has seen. An interval that ends left of
# another one's beginning is a difference; one that reaches .5 is no proof that sex is gone.

COLOURS = {"linear": "#0072B2", "rbf": "#E66100", "mlp": "0.35"}
found = {
    name: attribute_leakage(
        Z, sensitive_features=sex[test], y=y[test], groups=data.patients[test], random_state=0
    )
    for name, Z in embeddings.items()
}
figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
for i, (probe, colour) in enumerate(COLOURS.items()):
    aucs = np.array([leaks[probe] for leaks in found.values()])
    error = np.abs(np.stack([aucs[:, 0] - aucs[:, 1], aucs[:, 2] - aucs[:, 0]]))
    place = np.arange(len(found)) + 0.2 * (i - 1)
    ax.errorbar(
        aucs[:, 0],
        place,
        xerr=error,
        color=colour,
        marker="os^"[i],
        linestyle=" ",
        capsize=3,
        label=f"{probe} probe",
    )
ax.axvline(0.5, color="0.6", linewidth=1, zorder=0)
ax.set_yticks(range(len(found)), list(found))
ax.invert_yaxis()
ax.set(xlabel="AUC of sex (0.5 = chance), 95% interval", title=f"{len(test)} held-out X-rays")
figure.legend(*ax.get_legend_handles_labels(), loc="outside right center")
figure.savefig(args.out / "real_xrays.png", dpi=110)
print(f"wrote {args.out / 'real_xrays.png'}")
for name, leaks in found.items():
    print(f"{name:22}", *(f"{p} {a:.2f} ({lo:.2f}-{hi:.2f})" for p, (a, lo, hi) in leaks.items()))
