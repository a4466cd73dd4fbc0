"""Solvers, data and fits that the tests of queries share; a few dozen images each."""

from helpers import small_images
from remote_encoder import RemoteEncoder, Service

from skdne import SPSA, BlockErasure, DebiasedNoiseTransformer, GatedErasure, GeZO

GEZO = GeZO(max_iter=3, n_local_iter=2, n_directions=2, batch_size=16, grid_size=None)
SPSA_ = SPSA(max_iter=3, n_local_iter=2, n_pairs=2, batch_size=20, grid_size=None)
ERASURE = BlockErasure(block_size=4, n_images=16, n_permutations=79, probes=("linear",))
GATES = GatedErasure(
    block_size=4, n_images=16, n_permutations=79, probes=("linear",), max_iter=5, batch_size=16
)


def make_dne(solver, service=None, **options):
    kwargs = {"leakage": False, "random_state": 0, **options}
    encoder = kwargs.pop("encoder", None)
    if encoder is None:
        encoder = RemoteEncoder(service=service or Service(), concurrency=kwargs.pop("flight", 1))
    return DebiasedNoiseTransformer(encoder, solver=solver, **kwargs)


def fit(dne, n=47, seed=0):
    X, y, a = small_images(n, seed=seed)
    return dne.fit(X, y, sensitive_features=a)
