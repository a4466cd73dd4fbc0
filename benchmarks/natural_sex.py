"""What can be removed of an attribute that is everywhere: sex in a chest X-ray.

    python benchmarks/natural_sex.py --data FOLDER [--splits 10] [--out FILE] [--cache FOLDER]

FOLDER holds ``images/`` and ``metadata.csv`` of the NIH chest X-rays. Patients that the bundled
encoder was trained on are left out. Each split parts the rest in half: edits and erasers are fitted
on one half, with its sex and its findings; the other half is never seen by a fit, and its sex by
nothing but the probes. They are trained anew for every row on the first half and four fifths of the
second, which they know *after* the erasure, and scored on the last fifth.

The block edits are those of ``BlockErasure`` without its test: of 64 blocks, the k that tell most
when shown alone are erased.
"""

import argparse
import warnings
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch

from skdne import Adam, DebiasedNoiseTransformer, DebiasingWarning, bundled_encoder
from skdne.attribute import check_sensitive_data
from skdne.audit import nadeau_bengio_interval
from skdne.block_test import make_design, scores
from skdne.blocks import BlockGrid
from skdne.datasets import encoder_training_patients
from skdne.embedding import embed_images
from skdne.embedding_eraser import EmbeddingEraser
from skdne.images import check_images
from skdne.leakage import measure_leakage
from skdne.metrics import equal_opportunity_difference
from skdne.splits import ThreeSets

OPACITY = {"Infiltration", "Consolidation", "Effusion", "Pneumonia", "Edema", "Atelectasis"}
MIN_CASES = 25
GRID = BlockGrid((128, 128), 16, "black")
NYSTROEM = Nystroem(gamma=1 / 1024, n_components=30, random_state=0)
PROBES = ["linear", "rbf", "mlp"]


def load(folder: Path) -> Bunch:
    """Read the images that the encoder has not seen: paths, sex, findings (0/1), patients."""
    table = pd.read_csv(folder / "metadata.csv", dtype=str).dropna(subset=["sex", "findings"])
    seen = set(map(str, encoder_training_patients()))
    table = table[~table["patient_id"].isin(seen)].reset_index(drop=True)
    findings = table["findings"].str.get_dummies("|")
    opacity = findings[[name for name in findings if name in OPACITY]].max(axis=1)
    findings = findings.loc[:, findings.sum() >= MIN_CASES]
    findings.insert(0, "any opacity", opacity)  # first: EmbeddingEraser balances over it
    return Bunch(
        X=np.array([str(folder / "images" / name) for name in table["image"]]),
        a=table["sex"].to_numpy(str),
        Y=findings.to_numpy(int),
        names=list(findings),
        patients=table["patient_id"].to_numpy(str),
    )


def halves(data: Bunch, seed: int) -> list[np.ndarray]:
    cells = np.char.add(data.Y[:, 0].astype(str), data.a)
    splitter = StratifiedGroupKFold(2, shuffle=True, random_state=seed)
    return list(next(splitter.split(data.X, cells, data.patients)))


def embed(paths: np.ndarray, noise: np.ndarray | None, planted: np.ndarray | None) -> np.ndarray:
    """phi(clip(x + eps)); images of the ``planted`` rows get a bright blob first."""
    encoder = bundled_encoder()
    images = check_images(list(paths), input_size=encoder.input_size, n_channels=1).decoded()
    if planted is not None:
        pixels = np.concatenate([batch for _, batch in images.batches(64)])
        rng, axis = np.random.default_rng(0), np.arange(128)
        for row in np.flatnonzero(planted):
            down, right = rng.normal([60, 40], 5)
            distance = np.add.outer((axis - down) ** 2, (axis - right) ** 2)
            blob = 0.5 * np.exp(-distance / (2 * rng.uniform(5, 10) ** 2))
            pixels[row, 0] = np.clip(pixels[row, 0] + blob, 0, 1)
        images = check_images(pixels, input_size=encoder.input_size, n_channels=1)
    eps = None if noise is None else torch.from_numpy(noise)
    return embed_images(encoder, images, eps, True)


# Edits of the image: (data, training rows, seed) -> noise (1, 128, 128)
def block_noise(data, train, seed, k, embed):
    """Saturate the k blocks that tell most when shown alone."""
    codes = np.unique(data.a, return_inverse=True)[1]
    design = make_design(codes[train], data.Y[train, 0], 0, np.random.default_rng(seed))
    blocks = np.eye(len(GRID), dtype=bool)
    alone = [embed(data.X, GRID.noise(~b).numpy(), None)[train] for b in blocks]
    order = np.argsort([-scores(Z, design)[0] for Z in alone])
    return GRID.noise(np.isin(np.arange(len(GRID)), order[:k])).numpy()


def random_noise(data, train, seed, k):
    """Saturate k blocks at random, as a control."""
    chosen = np.random.default_rng([seed, k]).permutation(len(GRID))[:k]
    return GRID.noise(np.isin(np.arange(len(GRID)), chosen)).numpy()


def pixel_noise(paths, y, a, patients, seed, step_size, n_steps=100):
    """Adam on the confusion of a g that is re-trained each epoch, clipped; zero if it failed."""
    epochs = max(1, round(n_steps * 32 / (0.8 * len(y))))
    form = {"grid_size": 16, "clip": True, "refit_every": 1}
    adam = Adam(step_size=step_size, max_iter=epochs, batch_size=32, **form)
    dne = DebiasedNoiseTransformer(
        solver=adam, objective="confusion", reg_lambda=0, leakage=False, random_state=seed
    )
    dne.fit(paths, y, sensitive_features=a, groups=patients)
    return np.atleast_3d(dne.noise_.T).T


# Erasers of embeddings: (Z, training rows, Y, a, seed) -> new embeddings
def leace(Z, train, Y, a, seed, n_components=None):
    eraser = EmbeddingEraser(n_components)
    return eraser.fit(Z[train], Y[train], sensitive_features=a[train]).transform(Z)


def pls_8(Z, train, Y, a, seed):
    return PLSRegression(8).fit(Z[train], Y[train]).transform(Z)


def leace_after(reducer, Z, train, Y, a, seed):
    """LEACE on what an unsupervised reduction leaves."""
    pipe = make_pipeline(StandardScaler(), reducer).fit(Z[train])
    return leace(pipe.transform(Z), train, Y, a, seed)


def inlp(Z, train, Y, a, seed, n_directions=40):
    """Iterated nullspace projection (Ravfogel et al. 2020)."""
    Z = StandardScaler().fit(Z[train]).transform(Z)
    for _ in range(n_directions):
        w = LogisticRegression(C=0.01, max_iter=500).fit(Z[train], a[train]).coef_[0]
        w /= np.linalg.norm(w) + 1e-12
        Z = Z - np.outer(Z @ w, w)
    return Z


def mmd_network(Z, train, Y, a, seed, weight=3.0):
    """LEACE, then a residual network with the least change that brings the MMD within y to 0."""
    Z = leace(Z, train, Y, a, seed)
    X = torch.tensor(StandardScaler().fit(Z[train]).transform(Z), dtype=torch.float32)
    d, generator = X.shape[1], torch.Generator().manual_seed(seed)
    W = (torch.randn(d, 64, generator=generator) / d**0.5).requires_grad_()
    V = torch.zeros(64, d).requires_grad_()
    optimizer = torch.optim.AdamW([W, V], lr=1e-2, weight_decay=1e-2)
    bandwidth = torch.cdist(X[train], X[train]).square().median()
    cells = [[(Y[train, 0] == y) & (a[train] == s) for s in np.unique(a)] for y in (0, 1)]
    for _ in range(300):
        noisy = X[train] + 0.3 * torch.randn(len(train), d, generator=generator)
        moved = noisy + torch.tanh(noisy @ W) @ V
        distance = torch.cdist(moved, moved).square() / bandwidth
        K = sum(torch.exp(-distance / h) for h in (0.25, 0.5, 1)).fill_diagonal_(0)
        mmd = 0
        for pair in cells:
            p, q = (torch.from_numpy(cell) for cell in pair)
            within = [K[one][:, one].sum() / (one.sum() * (one.sum() - 1)) for one in (p, q)]
            mmd = mmd + sum(within) - 2 * K[p][:, q].mean()
        loss = (moved - noisy).square().mean() + weight * mmd
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return (X + torch.tanh(X @ W) @ V).numpy()


def measure(Z, train, test, Y, names, a, patients, seed) -> dict[str, float]:
    """Leakage within y, AUC of each finding by a head on standardised embeddings, EO of opacity."""
    data = check_sensitive_data(a, Y[:, 0], patients, len(a))
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    folds = [test[f] for _, f in splitter.split(test, data.cells[test], patients[test])]
    leaks = measure_leakage(Z, data, ThreeSets(train, np.arange(0), folds), seed)
    row = {name: leaks[name].auc for name in PROBES}
    for name, y in zip(names, Y.T, strict=True):
        head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        head.fit(Z[train], y[train])
        row[name] = roc_auc_score(y[test], head.decision_function(Z[test]))
        if name == names[0]:
            true_and_predicted, by_sex = (y[test], head.predict(Z[test])), a[test]
            for sign, label in (("p", 1), ("n", 0)):
                row[f"EO_{sign}"] = equal_opportunity_difference(
                    *true_and_predicted, sensitive_features=by_sex, positive_label=label
                )
    row["mean finding"] = np.mean([row[name] for name in names])
    return row


def half_width(values: pd.Series) -> float:
    """Of the 95% interval of Nadeau and Bengio 2003, where n_test / n_train is 1."""
    mean, low, _ = nadeau_bengio_interval(values, 1, 1)
    return mean - low


def show(title: str, results: pd.DataFrame, columns: list[str]) -> str:
    grouped = results.groupby("arm", sort=False)[columns]
    means, widths = grouped.mean(), grouped.agg(half_width)
    text = means.map("{:.3f}".format) + " ±" + widths.map("{:.3f}".format)
    return f"{title}\n\n{text.rename_axis(None).to_string()}\n"


def report(data: Bunch, results: pd.DataFrame, planted: pd.DataFrame) -> str:
    names, n_splits = data.names, results["split"].nunique()
    by_split = results.set_index(["arm", "split"])[[*PROBES, "any opacity", "mean finding"]]
    unedited = results[results["arm"].str.startswith("no edit")]
    before = by_split.loc["no edit"].reindex(by_split.index, level="split")
    change = (by_split - before).reset_index()
    counts = ", ".join(f"{n} {c}" for n, c in zip(names, data.Y.sum(axis=0), strict=True))
    intro = f"""\
{len(data.a)} images of patients the bundled encoder has not seen. Cases: {counts}.
{n_splits} patient-disjoint halves; mean ± half-width of the 95% interval of Nadeau and Bengio.
Probes: AUC of sex within opacity, trained anew; .5 is chance. EO: of opacity; 0 is parity.
To keep the AUC of a finding that is hardly readable, near .5, shows little; the planted disease,
independent of sex, shows more. Halves of few images: read no difference without its interval.
"""
    tables = {
        "Frontier": (results, [*PROBES, "any opacity", "mean finding", "EO_p", "EO_n"]),
        "Change against no edit, of the same split": (change, list(before)),
        "AUC of each finding, no edit": (unedited, names),
        "A planted disease, no edit": (planted, [*PROBES, "disease", "EO_p", "EO_n"]),
    }
    return "\n".join([intro, *(show(title, *table) for title, table in tables.items())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--out", type=Path, help="file for the tables")
    parser.add_argument("--cache", type=Path, help="folder that makes re-runs fast")
    parser.add_argument("--quick", action="store_true", help="tiny: figures mean nothing")
    args = parser.parse_args()
    few = slice(1 if args.quick else None)
    memory = joblib.Memory(args.cache, verbose=0)
    embedded, measured, fit_pixels = map(memory.cache, (embed, measure, pixel_noise))
    data = load(args.data)

    def pixels(data, train, seed, step_size, n_steps=2 if args.quick else 100):
        known = data.X[train], data.Y[train, 0], data.a[train], data.patients[train]
        return fit_pixels(*known, seed, step_size, n_steps)

    plain = {"": lambda Z, *_: Z, "LEACE": leace}
    pls = {f"PLS {m} + LEACE": partial(leace, n_components=m) for m in (4, 8, 12, 24)[few]}
    network = {"LEACE + MMD network": mmd_network}
    failed = {
        "PLS 8": pls_8,
        "PCA 30 + LEACE": partial(leace_after, PCA(30, whiten=True, random_state=0)),
        "Nystroem 30 + LEACE": partial(leace_after, NYSTROEM),
        "INLP 40": inlp,
    }
    failed = dict(list(failed.items())[few])
    edits = {"no edit": (lambda *_: None, {**plain, **pls, **failed, **network})}
    for k in (8, 24, 40, 58)[few]:
        erasers = plain | {"PLS 8 + LEACE": partial(leace, n_components=8)}
        edits[f"{k} blocks"] = partial(block_noise, k=k, embed=embedded), erasers
        edits[f"{k} random blocks"] = partial(random_noise, k=k), {"": plain[""]}
    for step_size in (0.05, 0.2)[few]:
        edits[f"pixels, step {step_size}"] = partial(pixels, step_size=step_size), plain

    disease = np.zeros(len(data.a), dtype=int)
    shuffled = np.random.default_rng(0).permutation(len(data.a))
    disease[shuffled[np.argsort(data.a[shuffled], kind="stable")][::2]] = 1  # half of either sex
    warnings.simplefilter("ignore", DebiasingWarning)  # small cells; a noise that was no use
    rows, planted = [], []
    for seed in range(2 if args.quick else args.splits):
        train, test = halves(data, seed)
        for edit, (noise, erasers) in edits.items():
            Z = embedded(data.X, noise(data, train, seed), None)
            for name, erase in erasers.items():
                erased = erase(Z, train, data.Y, data.a, seed)
                row = measured(erased, train, test, data.Y, data.names, data.a, data.patients, seed)
                rows.append({"arm": ", ".join(filter(None, (edit, name))), "split": seed, **row})
        Z, y = embedded(data.X, None, disease), disease[:, None]
        for name, erase in {**plain, **pls, **network}.items():
            erased = erase(Z, train, y, data.a, seed)
            row = measured(erased, train, test, y, ["disease"], data.a, data.patients, seed)
            planted.append({"arm": name or "nothing", "split": seed, **row})
        print(f"split {seed} done", flush=True)

    text = report(data, pd.DataFrame(rows), pd.DataFrame(planted))
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
