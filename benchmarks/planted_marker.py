"""Real chest X-rays with a planted site stamp and a planted disease: is the stamp found, for good?

    python benchmarks/planted_marker.py --images FOLDER

FOLDER holds ``images/`` and the ``metadata.csv`` of NIH ChestX-ray14. Attribute and disease are
both drawn at random and planted, so all images serve, also those that the bundled encoder was
trained on, without labels. Each seed parts the patients in half: in the first half attribute and
disease are correlated at .7, and the edit is fitted on it and the disease head trained; in the
other all cells are equal. Probes are trained and scored, in five folds, on its edited images.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from _figures import head_figures, mean_and_interval
from PIL import Image
from sklearn.model_selection import StratifiedKFold

from skdne import DebiasedNoiseTransformer, DebiasingWarning
from skdne.auc import conditional_auc
from skdne.datasets import plant_opacity, plant_stamp
from skdne.embedding_eraser import EmbeddingEraser
from skdne.leakage import fit_scores, probes

SIDE = 128


def read(folder):
    """All images, (n, SIDE, SIDE), one a patient."""
    table = pd.read_csv(folder / "metadata.csv").drop_duplicates("patient_id")
    files = [folder / "images" / name for name in table["image"]]
    resized = [Image.open(file).convert("L").resize((SIDE, SIDE)) for file in files]
    return np.stack([np.asarray(image) for image in resized])


def plant(images, correlation, seed):
    """Labels with this correlation, and the images that show them."""
    rng = np.random.default_rng(seed)
    n = len(images)
    y = rng.permutation(np.arange(n) % 2)
    agree = np.zeros(n, dtype=bool)
    for k in (0, 1):
        rows = rng.permutation(np.flatnonzero(y == k))
        agree[rows[: round(len(rows) * (1 + correlation) / 2)]] = True
    a = np.where((y == 1) == agree, "A", "B")
    return plant_stamp(plant_opacity(images, y, random_state=seed), a, random_state=seed), y, a


def measure(Z_train, y_train, Z, y, a):
    """Figures of a disease head, and of probes of the attribute in five folds."""
    row = head_figures(Z_train, y_train, Z, y, a)
    codes, ones = (a == "B").astype(int), np.ones(len(a))
    folds = list(StratifiedKFold(5, shuffle=True, random_state=0).split(Z, 2 * y + codes))
    for name, probe in probes(0).items():
        row[name] = np.mean(
            [
                conditional_auc(
                    codes[test], fit_scores(probe, Z, codes, ones, train, test), y[test]
                )
                for train, test in folds
            ]
        )
    return row


def run(images, seed):
    """All arms of one split."""
    order = np.random.default_rng(seed).permutation(len(images))
    first, second = np.array_split(order, 2)
    X_train, y_train, a_train = plant(images[first], 0.7, 2 * seed)
    X, y, a = plant(images[second], 0.0, 2 * seed + 1)
    plain = DebiasedNoiseTransformer(solver=None).fit(X_train[:2])
    dne = DebiasedNoiseTransformer(leakage=False, random_state=seed)
    dne.fit(X_train, y_train, sensitive_features=a_train)
    Z_train, Z = plain.transform(X_train), plain.transform(X)
    eraser = EmbeddingEraser().fit(Z_train, y_train, sensitive_features=a_train)
    arms = {
        "ERM": (Z_train, Z),
        "LEACE on embeddings": (eraser.transform(Z_train), eraser.transform(Z)),
        "erasure (default)": (dne.transform(X_train), dne.transform(X)),
    }
    rows = [{"arm": arm, **measure(Zs[0], y_train, Zs[1], y, a)} for arm, Zs in arms.items()]
    rows[-1]["erased"] = int(dne.blocks_["erased"].sum())
    return pd.DataFrame(rows).assign(seed=seed)


def main():
    """Read the arguments, run, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    warnings.simplefilter("ignore", DebiasingWarning)
    images = read(args.images)
    found = []
    for seed in range(args.seeds):
        found.append(run(images, seed))
        print(found[-1].round(3).to_string(index=False, header=seed == 0), flush=True)
    found = pd.concat(found)

    print(f"\n{len(images)} images, mean over {args.seeds} splits and 95% t-interval")
    print(found.drop(columns="seed").groupby("arm", sort=False).agg(mean_and_interval).to_string())


if __name__ == "__main__":
    main()
