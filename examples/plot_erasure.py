"""
======================================================
Erasing a local attribute, and where that cannot work
======================================================

Three attributes, one after another: a texture at one place of synthetic radiographs; a site stamp
in a corner; and one that shows all over the image. ``DebiasedNoiseTransformer()`` with its default
solver looks for the blocks of the image that tell the attribute, erases them, and says what came
of it.

Run it as it is for synthetic images, or with real X-rays for the second and third case::

    python examples/plot_erasure.py --images FOLDER

FOLDER holds ``images/`` and the ``metadata.csv`` of the NIH chest X-rays. The stamp is planted in
them, and so is a disease, a soft opacity, for the bundled encoder hardly reads the findings that
they have. The third attribute is then the patients' sex, as it is.
"""

import argparse
import textwrap
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from PIL import Image
from sklearn.utils import Bunch

from skdne import (
    BlockErasure,
    DebiasedNoiseTransformer,
    DebiasingWarning,
    LeakageDisplay,
    NoiseDisplay,
)
from skdne.datasets import (
    encoder_training_patients,
    make_biased_images,
    plant_opacity,
    plant_stamp,
)

SIDE = 128  # pixels

parser = argparse.ArgumentParser(description="Erase attributes, local ones and one that is not.")
parser.add_argument("--images", type=Path, help="folder; default: synthetic images")
parser.add_argument("--encoder", help="timm name; default: the bundled encoder")
parser.add_argument("--n", type=int, default=1000, help="synthetic images")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--quick", action="store_true", help="large blocks: figures mean little")
parser.add_argument("--small", action="store_true", help="few images a block: the gallery's")
parser.add_argument(
    "--out", type=Path, default=Path("demo_output/erasure"), help="folder for pictures"
)
args = parser.parse_args()

# %%
# The data
# --------
# In the first case disease and attribute are correlated, as in a biased training set, in the others
# they are not. Real X-rays of patients that the bundled encoder was trained on are left out. The
# opacity lies somewhere in one lower lung, as on the synthetic images. The stamp is a letter 16
# pixels high, "A" or "B" at random, so that nothing else tells the site; its place moves by up to
# two pixels, its strength varies.


def synthetic(cue, correlation=0.0):
    data = make_biased_images(args.n, cue=cue, correlation=correlation, random_state=args.seed)
    return Bunch(
        X=data.images,
        y=pd.Series(data.target, name="disease"),
        a=data.sensitive_features.to_numpy(str),
        groups=None,
    )


def xrays():
    table = pd.read_csv(args.images / "metadata.csv")
    table = table[~table["patient_id"].isin(encoder_training_patients())]
    images = [
        np.asarray(Image.open(args.images / "images" / name).convert("L").resize((SIDE, SIDE)))
        for name in table["image"]
    ]
    y = np.random.default_rng(args.seed).permutation(np.arange(len(images)) % 2)
    return Bunch(
        X=plant_opacity(np.stack(images), y, random_state=args.seed),
        y=pd.Series(y, name="disease"),
        a=table["sex"].to_numpy(str),
        groups=table["patient_id"].to_numpy(),
    )


def stamped(data):
    rng = np.random.default_rng(args.seed + 1)
    a = np.empty(len(data.y), dtype="<U1")
    for y in (0, 1):  # as many of either letter, ill or not
        rows = rng.permutation(np.flatnonzero(data.y == y))
        a[rows] = np.array(["A", "B"])[np.arange(len(rows)) % 2]
    X = plant_stamp(data.X, a, random_state=args.seed + 1)
    return Bunch(X=X, y=data.y, a=a, groups=data.groups)


# %%
# Fitting
# -------
# The map shows each block in the colour of the AUC at which probes read the attribute from it, all
# else erased. What the probes read before and after the edit is measured on images that neither the
# search nor the probes have seen.

solver = "erasure"  # the default
if args.quick or args.small:
    solver = BlockErasure(block_size=32, n_images=40 if args.quick else 80)
fitted, pictures = {}, {}
args.out.mkdir(parents=True, exist_ok=True)


def fit_and_show(name, data):
    start = time.perf_counter()
    dne = DebiasedNoiseTransformer(args.encoder, solver=solver, random_state=args.seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DebiasingWarning)
        dne.fit(data.X, data.y, sensitive_features=data.a, groups=data.groups)
    blocks = dne.blocks_
    print(f"{name}: {len(data.y)} images, {time.perf_counter() - start:.0f} s")
    print(f"  {blocks['erased'].sum()} of {len(blocks)} blocks erased, {dne.n_queries_} queries")
    print(textwrap.fill(str(dne.verdict_), 96, initial_indent="  ", subsequent_indent="  "))
    for warning in caught:  # some repeat the verdict before their advice
        advice = str(warning.message).rpartition(dne.verdict_.reason)[2].strip()
        print(textwrap.fill(f"  Warning: {advice}", 96, subsequent_indent="  "))
    print(flush=True)
    display = NoiseDisplay.from_estimator(dne, data.X[:1], kind="blocks")
    display.figure_.suptitle(f"{name}: {dne.verdict_.outcome}")
    pictures[f"blocks_{len(fitted) + 1}"] = display.figure_
    fitted[name] = dne


# %%
# A local cue, on synthetic radiographs
# -------------------------------------

fit_and_show("texture at one place", synthetic("patch", correlation=0.7))

# %%
# A site stamp
# ------------

plain = synthetic("none") if args.images is None else xrays()
stamp = stamped(plain)
fit_and_show("site stamp", stamp)
one_of_each = np.unique(stamp.a, return_index=True)[1]
display = NoiseDisplay.from_estimator(fitted["site stamp"], stamp.X[one_of_each], kind="edits")
pictures["edits_2"] = display.figure_

# %%
# Where it cannot work
# --------------------
# An attribute that shows everywhere is in no block more than in others: to take it away would take
# the image away.

if args.images is None:
    fit_and_show("texture everywhere", synthetic("global"))
else:
    fit_and_show("sex", plain)

# %%
# Before and after
# ----------------
# Probes are trained anew on edited images. The disease is read by a linear probe.


rows = []
for name, dne in fitted.items():
    found = dne.leakage_ | dne.findings_
    for read, sides in found.items():
        rows += [(name, edit, read, *sides[edit]) for edit in ("before", "after")]
results = pd.DataFrame(rows, columns=["case", "edit", "read", "auc", "low", "high"])
results.to_csv(args.out / "results.csv", index=False)
shown = results["auc"].map("{:.2f}".format)
shown += results["low"].map(" ({:.2f}".format) + results["high"].map(" to {:.2f})".format)
table = results.assign(shown=shown).pivot_table(
    "shown", ["case", "edit"], "read", aggfunc="first", sort=False
)
print("AUC on held-out images (95% interval): of the attribute to three probes, of the disease:\n")
print(table.rename_axis(columns=None).to_string())

# %%
# A verdict is "removed" where the intervals of all three probes end left of the dotted line. Few
# held-out images make wide intervals, and the verdict says no more than they do.

figure, axes = plt.subplots(1, 3, figsize=(11, 3.9), sharey=True, layout="constrained")
for ax, (name, dne) in zip(axes, fitted.items(), strict=True):
    LeakageDisplay.from_estimator(dne, ax=ax)
    ax.set_title(f"{name}:\n{ax.get_title()}", fontsize="medium")
    ax.set_xlim(0.15, 1.03)
for ax in (axes[0], axes[2]):
    ax.get_legend().remove()
pictures["before_and_after"] = figure

print()
for name, picture in pictures.items():
    path = args.out / f"{name}.png"
    picture.savefig(path, dpi=110)
    print(f"wrote {path}")
