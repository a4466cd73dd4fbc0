"""What a 5 x 5 grid search costs: skdne, the authors' settings in skdne, and a naive loop.

Five grid points in five folds, synthetic images as PNG files. Every cell of the naive loop and of
the authors' settings starts from scratch and costs the same, so one cell is run and counts 25
times; the searches of skdne are run in full, the final refit included. Quality is that of one
noise: held-out accuracy of a head on edited images, and AUC of the attribute for probes trained
anew. Passes are images that went through the module, forward, with a gradient or without.

naive loop            fp32, gradients to the weights too, files decoded each epoch, 50 epochs
authors' settings     the same noise fit by skdne: Adam, step .01, 50 epochs, all SA images
skdne, Adam           the same over lambda, on 160 SA images, stopped after 5 epochs of no change
skdne, default        BlockErasure, over its level
Both searches of skdne keep embeddings in a store.
"""

import contextlib
import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from PIL import Image
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skdne import Adam, BlockErasure, DebiasedNoiseTransformer
from skdne.datasets import make_biased_images
from skdne.embedding import embed_images
from skdne.encoders import TorchBackend
from skdne.images import check_images

N_CELLS = 25
SEARCHES = {  # the solver, which does less when quick, and the grid
    "skdne, Adam": (
        lambda quick: Adam(max_iter=2 if quick else 50, n_images=160, n_iter_no_change=5),
        {"reg_lambda": [0.001, 0.01, 0.1, 1.0, 10.0]},
    ),
    "skdne, default": (
        lambda quick: BlockErasure(n_images=40 if quick else 80, block_size=32),
        {"solver__level": [0.01, 0.02, 0.05, 0.1, 0.2]},
    ),
}


@contextlib.contextmanager
def counted():
    """A list whose sum is the number of images that go through an encoder."""
    sizes, forward = [], TorchBackend.forward

    def counting(self, images):
        sizes.append(len(images))
        return forward(self, images)

    with mock.patch.object(TorchBackend, "forward", counting):
        yield sizes


class _First(NamedTuple):
    target: Any
    sensitive_features: Any


def save(folder, images):
    paths = [f"{folder}/{i}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return np.array(paths)


def quality(Z_train, Z_test, train, test):
    """Accuracy of a head, and the AUC of the attribute for new linear and RBF probes."""
    figures = {}
    for name, probe in (("linear", LogisticRegression(C=0.1, max_iter=1000)), ("rbf", SVC())):
        probe = make_pipeline(StandardScaler(), probe).fit(Z_train, train.sensitive_features)
        auc = roc_auc_score(test.sensitive_features, probe.decision_function(Z_test))
        figures[f"leakage, {name}"] = float(auc)
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    head.fit(Z_train, train.target)
    return figures | {"accuracy": float(head.score(Z_test, test.target))}


def judged(encoder, noise, clip, train, test):
    """Quality of one noise."""
    both = []
    for data in (train, test):
        images = check_images(
            data.images, input_size=encoder.input_size, n_channels=encoder.n_channels
        )
        both.append(embed_images(encoder, images, noise, clip))
    return quality(*both, train, test)


def samples(quick, encoder, *_):
    """What the number of SA images buys: one noise each, judged on the same other images."""
    n, sizes, seeds = (200, [40, 80], 1) if quick else (1600, [40, 80, 160, 320, 640], 3)
    form = {"step_size": 0.05, "grid_size": 16, "clip": True, "refit_every": 1}
    train = make_biased_images(n // 2, correlation=0, random_state=100)
    test = make_biased_images(n // 4, correlation=0, random_state=101)
    rates, found = {}, {}
    for seed, size in [(seed, size) for seed in range(seeds) for size in sizes]:
        data = make_biased_images(n, correlation=0, random_state=seed)
        for name, solver in (
            ("erasure", BlockErasure(n_images=size, block_size=32)),
            ("Adam", Adam(max_iter=2 if quick else 6400 // size, n_images=size, **form)),
        ):
            dne = DebiasedNoiseTransformer(
                encoder, solver=solver, objective="confusion", leakage=False, random_state=seed
            )
            dne.fit(data.images, data.target, sensitive_features=data.sensitive_features)
            noise = torch.from_numpy(dne.noise_)[None]
            for figure, value in judged(encoder, noise, dne.clip_, train, test).items():
                found.setdefault(f"{figure}: {name}, {size} SA images", []).append(value)
            passes = f"images embedded: {name}, {size} SA images"
            rates.setdefault(passes, []).append(dne.n_queries_)
    return rates, dict(sorted(found.items()))


def naive_cell(encoder, paths, train, epochs):
    """One cell as a notebook writes it; the noise, and the seconds of an epoch and of the rest."""
    encoder = dataclasses.replace(encoder, precision="float32")
    module = encoder._module().requires_grad_(True)

    def read(rows):
        sized = check_images(list(paths[rows]), input_size=encoder.input_size,
                             n_channels=encoder.n_channels)  # fmt: skip
        return torch.from_numpy(sized.batch(slice(None))).to(encoder.torch_device)

    def embed(noise=0):
        starts = range(0, len(paths), 64)
        with torch.no_grad():
            return torch.cat([encoder.forward(read(np.arange(len(paths))[s : s + 64]) + noise).cpu()
                              for s in starts]).numpy()  # fmt: skip

    start = time.perf_counter()
    g = LogisticRegression(max_iter=1000).fit(embed(), train.sensitive_features)
    codes = torch.tensor(g.classes_ == np.asarray(train.sensitive_features)[:, None]).int()
    W, b = (torch.tensor(v, dtype=torch.float32) for v in (g.coef_[0], g.intercept_[0]))
    noise = torch.zeros(encoder.input_size, device=encoder.torch_device, requires_grad=True)
    adam = torch.optim.Adam([noise], lr=0.01)
    rest = time.perf_counter() - start
    start = time.perf_counter()
    for epoch in range(epochs):
        for rows in np.array_split(np.random.default_rng(epoch).permutation(len(paths)),
                                   -(-len(paths) // 64)):  # fmt: skip
            logit = encoder.forward(read(rows) + noise) @ W.to(noise.device) + b.to(noise.device)
            sign = 2 * codes[rows, 1].to(noise.device) - 1
            loss = torch.nn.functional.logsigmoid(sign * logit).mean()
            loss = loss + 0.01 * torch.linalg.vector_norm(noise)
            adam.zero_grad()
            module.zero_grad()
            loss.backward()
            adam.step()
    spent = time.perf_counter() - start
    start = time.perf_counter()
    embed(noise.detach())
    module.requires_grad_(False)
    return noise.detach().cpu(), spent / epochs, rest + time.perf_counter() - start


def search(quick, encoder, *_):
    n, epochs, n_test = (100, 2, 100) if quick else (400, 50, 400)
    train = make_biased_images(n, correlation=0, random_state=0)
    test = make_biased_images(n_test, correlation=0, random_state=1)
    labels = {"y": train.target, "sensitive_features": train.sensitive_features}
    minutes, passes, held_out = {}, {}, {}

    def judge(name, noise, clip=False):
        for figure, value in judged(encoder, noise, clip, train, test).items():
            held_out[f"{figure}: {name}"] = [value]

    with tempfile.TemporaryDirectory() as folder, config_context(enable_metadata_routing=True):
        paths = save(folder, train.images)
        in_fold = n * 4 // 5  # a cell learns on four folds, and embeds all five
        first = _First(train.target[:in_fold], train.sensitive_features[:in_fold])
        with counted() as sizes:
            noise, epoch, rest = naive_cell(encoder, paths[:in_fold], first, epochs)
        minutes["naive loop"] = N_CELLS * (50 * epoch + rest) / 60
        passes["naive loop"] = N_CELLS * (sum(sizes) + (50 - epochs) * in_fold)
        if not quick:
            judge("naive loop", noise[None])

        settings = Adam(step_size=0.01, max_iter=epochs)
        dne = DebiasedNoiseTransformer(encoder, solver=settings, leakage=False, random_state=0)
        start = time.perf_counter()
        with counted() as sizes:
            dne.fit(paths[:in_fold], first.target, sensitive_features=first.sensitive_features)
            dne.transform(paths)
        minutes["authors' settings"] = N_CELLS * (time.perf_counter() - start) / 60
        passes["authors' settings"] = N_CELLS * sum(sizes)
        if not quick:
            judge("authors' settings", torch.from_numpy(dne.noise_)[None])

        for name, (solver, grid) in SEARCHES.items():
            kept = dataclasses.replace(encoder, store=Path(folder, f"{name}.sqlite"))
            dne = DebiasedNoiseTransformer(
                kept, solver=solver(quick), leakage=False, random_state=0
            )
            pipeline = make_pipeline(dne, StandardScaler(), LogisticRegression(max_iter=1000))
            grid = {f"debiasednoisetransformer__{option}": of for option, of in grid.items()}
            start = time.perf_counter()
            with counted() as sizes:
                found = GridSearchCV(pipeline, grid, cv=5, error_score="raise").fit(paths, **labels)
            minutes[name] = (time.perf_counter() - start) / 60
            passes[name] = sum(sizes)
            best = found.best_estimator_[0]
            judge(name, torch.from_numpy(best.noise_)[None], best.clip_)
    judge("no noise", None)
    rates = {f"minutes of a search: {name}": [value] for name, value in minutes.items()}
    rates |= {f"images embedded: {name}": [value] for name, value in passes.items()}
    ratios = {
        f"{old} / {new}, minutes": [minutes[old] / minutes[new]]
        for old in ("naive loop", "authors' settings")
        for new in SEARCHES
    }
    return rates, ratios | held_out
