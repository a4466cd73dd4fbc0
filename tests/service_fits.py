"""Fits over the services of tests/servers, and in this process over the same model."""

import dataclasses
import hashlib
import multiprocessing
import warnings
from typing import ClassVar

import numpy as np
from helpers import small_images
from servers.models import Projection, from_wire

from skdne import SPSA, BlockErasure, DebiasedNoiseTransformer, DebiasingWarning, GeZO, HTTPEncoder
from skdne.canary import canary_images
from skdne.encoders import Encoder

SIZE = 16
GEZO = GeZO(max_iter=3, n_local_iter=2, n_directions=2, batch_size=16, grid_size=4, step_size=0.1)
SPSA_ = SPSA(max_iter=2, n_local_iter=2, n_pairs=2, batch_size=16, grid_size=4, step_size=0.1)
ERASURE = BlockErasure(block_size=8, n_images=40, n_permutations=79, probes=("linear",))
PREDICT = "/v1/endpoints/1:predict"


@dataclasses.dataclass(frozen=True, eq=False)
class LocalEncoder(Encoder):
    """The model of the servers in this process; it is sent bytes, as they are."""

    input_size: tuple[int, int] | None = (SIZE, SIZE)
    n_channels: int | None = 1
    batch_size: int = 8

    remote: ClassVar[bool] = True  # so that its canaries count, as those of the servers do
    levels: ClassVar[int] = 255

    def on_wire(self, images):
        return np.clip(np.rint(np.asarray(images, np.float32) * 255), 0, 255).astype(np.uint8)

    def _embed(self, pixels):
        return Projection(SIZE).embed(from_wire(pixels))


def v2(url, **options):
    """An encoder of the servers "v2" and "mlserver", or of the proxy before them."""
    defaults = {"batch_size": 8, "concurrency": 4, "encoding": "binary", "timeout": 30}
    return HTTPEncoder(url, model="encoder", **{**defaults, **options})


def vertex(url, **options):
    """An encoder of the server "vertex", or of the proxy before it."""
    defaults = {"batch_size": 8, "concurrency": 4, "timeout": 30}
    return HTTPEncoder(url + PREDICT, "vertex", **{**defaults, **options})


def make_dne(encoder, solver=GEZO, **options):
    kwargs = {"leakage": False, "random_state": 0, **options}
    return DebiasedNoiseTransformer(encoder, solver=solver, **kwargs)


def fit(encoder, solver=GEZO, n=48, **options):
    X, y, a = small_images(n, size=SIZE)
    return make_dne(encoder, solver, **options).fit(X, y, sensitive_features=a)


def digests(images):
    """What the proxy calls these images, where they are sent as bytes in binary."""
    pixels = LocalEncoder().on_wire(images)
    return {hashlib.sha256(image.tobytes()).hexdigest()[:24] for image in pixels}


CANARIES = digests(canary_images((1, SIZE, SIZE)))


def start_fit(url, store, solvers, results):
    """Start a process that fits one solver after another over a store, noises go to ``results``.

    It is forked from one that has imported everything, so that it begins at once.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["skdne.encoders._connection", "pytest"])
    process = context.Process(target=_fit_all, args=(url, store, solvers, results))
    process.start()
    return process


def _fit_all(url, store, solvers, results):
    warnings.simplefilter("ignore", DebiasingWarning)
    for i, solver in solvers.items():
        dne = fit(v2(url, store=store, batch_size=4), solver)
        np.savez(f"{results}_{i}.npz", noise=dne.noise_, asked=dne.n_queries_, sent=dne.n_sent_)
