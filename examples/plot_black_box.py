"""
======================================
A model you can't open, on a budget
======================================

The encoder is a service here: images go there, vectors come back, and each image has its price.
This says what a fit will cost before anything is sent, bounds it, has the machine fail in the
middle, goes on from there, and shows that what was paid for is not paid twice.

Run it as it is::

    python examples/plot_black_box.py

It starts a stand-in for the service on this machine, ``serve_encoder.py``, and ends it. With
``--url http://host:8000 --model NAME`` it uses yours, which must speak the Open Inference Protocol
and take grey images.
"""

import argparse
import atexit
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle
from sklearn.base import clone

from skdne import (
    BlockErasure,
    DebiasedNoiseTransformer,
    DebiasingWarning,
    HTTPEncoder,
    LeakageDisplay,
    QueryProgress,
)
from skdne.datasets import make_biased_images

parser = argparse.ArgumentParser(description="Debias behind a service, within a budget.")
parser.add_argument("--url", help="of a service; default: one that is started here")
parser.add_argument("--model", default="encoder", help="name of the service's model")
parser.add_argument("--n", type=int, default=300, help="synthetic images")
parser.add_argument("--block-size", type=int, default=32, help="pixels of 128; 16: 4 x dearer")
parser.add_argument("--n-images", type=int, default=60, help="to look at for each block")
parser.add_argument("--budget", type=int, default=3000, help="images a fit may send")
parser.add_argument("--price", type=float, default=0.5, help="of a thousand images")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", type=Path, default=Path("demo_output/black_box"), help="folder")
args = parser.parse_args()
args.out.mkdir(parents=True, exist_ok=True)

# %%
# The service
# -----------
# ``HTTPEncoder`` asks it once what its model takes; that sends no image. The store keeps what comes
# back. It is computed from images of patients: keep it, and delete it, as you do those.

server = None
if args.url is None:
    script = Path(sys.argv[0]).with_name("serve_encoder.py")  # pages of examples have no __file__
    command = [sys.executable, script, "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    atexit.register(server.terminate)  # also where something below fails
    args.url = server.stdout.readline().split()[1].rstrip(",")
store = args.out / "embeddings.sqlite"
for path in args.out.glob(f"{store.name}*"):  # begin with nothing
    path.unlink()
encoder = HTTPEncoder(args.url, model=args.model, batch_size=32, store=store)
encoder.load()
print(f"takes images of {encoder.input_size}, in {encoder.levels + 1} grey levels")

# %%
# The cost, before
# ----------------
# A texture at one place of the images tells the attribute, which is correlated with the disease.

data = make_biased_images(args.n, cue="patch", correlation=0.5, random_state=args.seed)
target = pd.Series(data.target, name="disease")
solver = BlockErasure(block_size=args.block_size, n_images=args.n_images)


dne = DebiasedNoiseTransformer(
    encoder, solver=solver, max_queries=args.budget, random_state=args.seed
)
plan = dne.estimate_queries(args.n)
print(plan)
least, most = plan.cost(args.price)
bound = args.budget * args.price / 1000
print(f"At {args.price:g} a thousand: {least:.2f} to {most:.2f}, bounded to {bound:.2f}")

# %%
# Three runs over one store
# -------------------------
# In the first the machine fails after half of the blocks. The second is the same fit once more: it
# asks for the same images, finds in the store what was paid for, and pays for the rest. The third
# sends four fixed images only, by which a changed model would be noticed. The noise of the last two
# is that of a fit which nothing disturbed, to the last bit.


class MachineFails:
    """A callback that ends everything after some epochs, as ctrl-c would."""

    max_propagation_depth = None

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        if context.task_name == "epoch" and context.task_id + 1 == n_blocks // 2:
            note("the machine fails", fitted_estimator, "failure")
            raise KeyboardInterrupt


def note(name, fitted, reason):
    paid = fitted.n_sent_ * args.price / 1000
    rows.append((name, fitted.n_queries_, fitted.n_sent_, paid, reason))


rows = []
n_blocks = (128 // args.block_size) ** 2
warnings.simplefilter("ignore", DebiasingWarning)  # the verdict below says the same
for name, callbacks in {
    "the machine fails": [MachineFails()],
    "the same again": [QueryProgress(sys.stdout)],
    "and again": [],
}.items():
    dne = clone(dne).set_callbacks(*callbacks)
    try:
        dne.fit(data.images, target, sensitive_features=data.sensitive_features)
        note(name, dne, dne.stop_reason_)
    except KeyboardInterrupt:
        continue
ledger = pd.DataFrame(rows, columns=["run", "asked for", "sent", "paid", "ended by"])
ledger.to_csv(args.out / "ledger.csv", index=False)
print()
print(ledger.set_index("run").round(2).to_string())

# %%
# What it is worth
# ----------------
# Probes are trained anew on embeddings of images that neither the search nor the probes have seen.

print(textwrap.fill(str(dne.verdict_), 96))
found = {f"attribute, {name} probe": sides for name, sides in dne.leakage_.items()}
found |= {f"{name}, linear probe": sides for name, sides in dne.findings_.items()}
for name, sides in found.items():
    before, after = (
        "{:.2f} ({:.2f} to {:.2f})".format(*sides[side]) for side in ("before", "after")
    )
    print(f"  {name + ':':<24} {before} before, {after} after")

figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained", width_ratios=[4, 4, 3])
ax = axes[0]
place = np.arange(len(ledger))
ax.barh(place - 0.2, ledger["asked for"], 0.38, color="0.75", label="asked for")
bars = ax.barh(place + 0.2, ledger["sent"], 0.38, color="#0072B2", label="sent, and paid")
ax.bar_label(bars, [f"{n:,}" for n in ledger["sent"]], padding=3)
ax.set_yticks(place, ledger["run"])
ax.invert_yaxis()
ax.set(xlabel="images", title="What each run pays", xlim=(0, 1.18 * ledger["asked for"].max()))
ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, frameon=False)

LeakageDisplay.from_estimator(dne, ax=axes[1])
axes[1].set_title("What is read")

ax = axes[2]
ax.imshow(dne.edit(data.images[:1])[0], cmap="gray", vmin=0, vmax=1)
for block in dne.blocks_[dne.blocks_["erased"]].itertuples():
    corner = (block.left - 0.5, block.top - 0.5)
    ax.add_patch(Rectangle(corner, block.size, block.size, fill=False, edgecolor="#0072B2"))
ax.set(xticks=[], yticks=[], title="What the service gets")

path = args.out / "black_box.png"
figure.savefig(path, dpi=110)
print(f"wrote {path}")

# %%
# At the end
# ----------
# The store is not needed any more: it is deleted, with what SQLite keeps beside it.

for path in args.out.glob(f"{store.name}*"):
    path.unlink()
if server is not None:
    server.terminate()
    server.wait()
