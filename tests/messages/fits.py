"""The transformer: solvers, attribute, budget, queries, what a fit notices; and the eraser."""

import sys

import numpy as np
import torch
from helpers import small_encoder, small_images
from query_fits import ERASURE, GATES, GEZO, make_dne
from remote_encoder import Service
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from skdne import (
    SPSA,
    Adam,
    BlockErasure,
    CallableEncoder,
    DebiasedNoiseTransformer,
    EmbeddingEraser,
    GeZO,
    TorchEncoder,
)

X, y, a = small_images(80)
Z = small_encoder().embed(X[:, None] / np.float32(255))
LETTERS = LogisticRegression().fit(Z, np.where(a == "M", "x", "y"))
FITTED = LogisticRegression().fit(Z, a)
ONE_STEP = Adam(max_iter=1)


def never(images):
    raise AssertionError("the encoder was called")


class NoGradient(torch.nn.Flatten):
    @torch.no_grad()
    def forward(self, images):
        return 2 * super().forward(images)


def fit(X=X, y=y, a=a, *, groups=None, findings=None, **options):
    options = {"encoder": small_encoder(), "solver": ONE_STEP, "random_state": 0, **options}
    dne = DebiasedNoiseTransformer(**options)
    return dne.fit(X, y, sensitive_features=a, groups=groups, findings=findings)


def with_missing(labels, n=3):
    labels = labels.astype(object)
    labels[:n] = None
    return labels


def remote(solver=GEZO, fails_from=np.inf, n=47, **options):
    service = Service()
    service.fails_from = fails_from
    X, y, a = small_images(n)
    return make_dne(solver, service, **options).fit(X, y, sensitive_features=a)


def another_model(encoder_or_service, change, n=47):
    """Fit, change the model behind the encoder, and transform."""
    dne = make_dne(None, encoder_or_service)
    X, y, a = small_images(n)
    dne.fit(X, y, sensitive_features=a)
    encoder_or_service.change = change
    dne.transform(X)


def two_lengths(images):
    return np.ones((len(images), 3 if len(images) == 64 else 4))


def vectors(function, **options):
    encoder = CallableEncoder(function, n_channels=1)
    return fit(encoder=encoder, solver=None, **options)


def erase(n_components=None, y=y, a=a):
    return EmbeddingEraser(n_components).fit(Z, y, sensitive_features=a)


def without(world, module, call):
    world.patch.setitem(sys.modules, module, None)
    call()


def shared_with_another_fit(world):
    world.patch.setattr("skdne.distributed.is_shared", lambda: True)
    world.patch.setattr("torch.distributed.get_world_size", lambda: 2)
    world.patch.setattr("torch.distributed.all_gather_object", gather_two)
    fit()


def gather_two(found, mine):
    found[:] = [mine, "of the other"]


PLAIN = DebiasedNoiseTransformer(small_encoder(), solver=None).fit(X)
FLAT = TorchEncoder(torch.nn.Flatten(), n_channels=1)
EVERY_SIZE = CallableEncoder(lambda x: x.reshape(len(x), -1), name="flat")
BLACK_BOX = CallableEncoder(never, input_size=(8, 8), n_channels=1)
LARGE = Adam(step_size=3.0, max_iter=3, clip=False)
CASES = [
    # attribute, y, patients, findings
    lambda world: fit(a=None),
    lambda world: fit(a=["F"] * 80),
    lambda world: fit(a=[None] * 80),
    lambda world: fit(a=np.arange(80)),
    lambda world: fit(a=a[1:]),
    lambda world: fit(a=np.zeros((80, 2, 2))),
    lambda world: fit(a=np.array([1, "F"] * 40, dtype=object)),
    lambda world: fit(y=y[1:]),
    lambda world: fit(y=np.linspace(0, 1, 80)),
    lambda world: fit(y=None),
    lambda world: fit(a=with_missing(a)),
    lambda world: fit(y=with_missing(y)),
    lambda world: fit(y=np.where(a == "M", y, np.nan)),
    lambda world: fit(groups=np.arange(3)),
    lambda world: fit(groups=with_missing(np.arange(80))),
    lambda world: fit(groups=(a == "M") + 0),
    lambda world: fit(findings=np.zeros((3, 1))),
    lambda world: fit(findings=np.arange(80)[:, None]),
    # parameters
    lambda world: fit(solver="sgd"),
    lambda world: fit(encoder=torch.nn.Flatten()),
    lambda world: fit(encoder=BLACK_BOX, solver="adam"),
    lambda world: fit(encoder=TorchEncoder(NoGradient(), n_channels=1), solver="adam"),
    lambda world: fit(solver="adam", attribute_classifier=RandomForestClassifier()),
    lambda world: fit(solver="spsa", attribute_classifier=SVC()),
    lambda world: fit(solver=None, attribute_classifier=SVC()),
    lambda world: fit(attribute_classifier=LETTERS),
    lambda world: fit(attribute_classifier=FITTED, solver=Adam(refit_every=1)),
    lambda world: fit(X[:12], y[:12], a[:12], solver=Adam(n_iter_no_change=2)),
    lambda world: fit(a=[*"012345", *["F", "M"] * 37], subsample=20),
    lambda world: fit(solver=BlockErasure(probes=("forest",))),
    lambda world: fit(solver=BlockErasure(n_permutations=9)),
    lambda world: fit(encoder=BLACK_BOX, solver=SPSA(max_iter=1), max_queries=100),
    lambda world: PLAIN.estimate_queries(0),
    lambda world: PLAIN.estimate_queries(10).cost("1 EUR"),
    lambda world: make_dne(ERASURE, encoder=EVERY_SIZE).estimate_queries(100),
    shared_with_another_fit,
    # encoders that return something else, or another model
    lambda world: vectors(lambda x: np.zeros((len(x) - 1, 3))),
    lambda world: vectors(lambda x: np.full((len(x), 3), np.nan)),
    lambda world: vectors(lambda x: [["a"]] * len(x)),
    lambda world: vectors(lambda x: [[1.0], [1.0, 2.0]] * (len(x) // 2)),
    lambda world: vectors(two_lengths),
    lambda world: another_model(Service(), lambda vectors: vectors[:, :5]),
    lambda world: another_model(Service(), lambda vectors: vectors * 1.01),
    # what a fit notices
    lambda world: fit(X[:12], y[:12], a[:12]),
    lambda world: fit(*small_images(200)),
    lambda world: fit(np.zeros_like(X)),
    lambda world: fit(reg_lambda=1e6, solver=Adam(max_iter=1, step_size=0.1)),
    lambda world: fit(encoder=FLAT, solver=Adam(max_iter=2, step_size=0.01)),
    lambda world: fit(solver=LARGE, reg_lambda=0, objective="cross_entropy"),
    lambda world: fit(solver=GeZO(max_iter=1, step_size=1e-6, shared_batch=False)),
    lambda world: fit(solver=ERASURE),
    lambda world: fit(solver=GATES, y=a),
    lambda world: remote(max_queries=400),
    lambda world: remote(max_queries=400, fails_from=2),
    lambda world: remote(max_queries=make_dne(GEZO).estimate_queries(47).most, fails_from=33),
    lambda world: fit(X[:24], y[:24], a[:24], solver=ERASURE),
    lambda world: fit(*small_images(60), solver=ERASURE),
    # EmbeddingEraser
    lambda world: EmbeddingEraser().fit(Z, y),
    lambda world: erase(3, y=None),
    lambda world: erase(3, y=Z[:, 0]),
    lambda world: erase(99),
    lambda world: erase(3, y=np.c_[y, y], a=np.where(y == 1, a, None)),
    lambda world: without(world, "concept_erasure", erase),
]
