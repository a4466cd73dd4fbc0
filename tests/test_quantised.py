"""A service is sent whole grey levels: solvers judge by those, and ask nothing finer of them."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers import small_encoder
from test_objective import make_objective

from skdne import SPSA, CallableEncoder, GeZO
from skdne.embedding import embed_images
from skdne.images import check_images
from skdne.solvers._base import gaussian

SEED = 7
HALF_A_LEVEL = 1 / 510


@dataclasses.dataclass(frozen=True)
class EightBitEncoder(CallableEncoder):
    """Its ``function`` gets uint8; ``is_known`` says whether the solvers are told of it."""

    is_known: bool = dataclasses.field(default=True, kw_only=True)

    @property
    def levels(self):
        return 255 if self.is_known else None

    def on_wire(self, images):
        return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)


def eight_bit_objective(is_known=True, **kwargs):
    sent = []

    def service(pixels):
        sent.append(pixels)
        return small_encoder().embed(pixels.astype(np.float32) / 255)

    L = make_objective(**kwargs)
    L.encoder = EightBitEncoder(service, is_known=is_known)
    return L, sent


def test_what_a_solver_is_told_is_of_the_rounded_image():
    L, sent = eight_bit_objective(reg_lambda=0.0)
    noise = torch.full(L.space.shape, 1.3 / 255)
    value = L.value(noise, np.arange(40))
    exact = make_objective(reg_lambda=0.0)
    assert value == pytest.approx(exact.value(torch.full_like(noise, 1 / 255), np.arange(40)))
    assert value != pytest.approx(exact.value(noise, np.arange(40)))
    for solver in (GeZO(max_iter=1), SPSA(max_iter=1)):
        solver.minimize(L, SEED, lambda *_: False)
    assert {pixels.dtype for pixels in sent} == {np.dtype(np.uint8)}


@pytest.mark.parametrize(
    ("sd", "low", "high"),
    [(0.01, 0.98, 1.0), (0.002, 0.75, 0.95), (0.001, 0.4, 0.7), (0.0005, -0.1, 0.1)],
)
def test_an_8_bit_service_sees_less_and_less_of_a_smaller_noise(sd, low, high):
    """Cosine of the true and the seen shift of embeddings: little arrives below half a level."""
    rng = np.random.default_rng(SEED)
    images = check_images(rng.integers(60, 160, (4, 64, 64)).astype(np.uint8), n_channels=1)
    W = rng.standard_normal((64 * 64, 400), dtype=np.float32)
    exact = CallableEncoder(lambda x: x.reshape(len(x), -1) @ W)
    service = EightBitEncoder(lambda pixels: exact.embed(pixels.astype(np.float32) / 255))
    noise = torch.from_numpy(rng.normal(0, sd, (1, 64, 64)).astype(np.float32))
    clean = embed_images(exact, images, None, False)
    true, seen = (embed_images(encoder, images, noise, False) for encoder in (exact, service))
    a, b = (true - clean).astype(float), (seen - clean).astype(float)
    cosine = np.sum(a * b) / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-9)
    assert low < cosine < high
    # on whole grey levels the shift that arrives is the rounded noise
    rounded = np.rint(255 * noise.numpy()).reshape(-1) / 255 @ W
    np.testing.assert_allclose(b, np.tile(rounded, (4, 1)), atol=0.02)  # a pixel may be on the edge


@pytest.mark.parametrize("step_size", [0.01, 1e-4])
@pytest.mark.parametrize("is_known", [True, False])
def test_steps_of_gezo_shrink_to_half_a_level_and_no_further(monkeypatch, is_known, step_size):
    L, _ = eight_bit_objective(is_known=is_known)
    steps = []

    def nothing_improves(candidates):
        first, *_ = candidates[0]
        u = gaussian(L.space, np.random.default_rng([SEED, 0, len(steps), 0]))
        steps.append(float((-first / u).median()))
        return [np.inf] * len(candidates)

    monkeypatch.setattr(L, "values", nothing_improves)
    solver = GeZO(max_iter=1, n_local_iter=60, step_size=step_size, decay=0.9, grid_size=None)
    assert not list(solver.iterate(L, SEED))[-1].theta.any()
    unbounded = step_size * 0.9 ** np.arange(60)
    expected = np.maximum(unbounded, HALF_A_LEVEL) if is_known else unbounded
    np.testing.assert_allclose(steps, expected, rtol=1e-4)


def test_spsa_perturbs_by_half_a_level_at_least():
    rows = np.arange(40)
    falls = {}
    for is_known in (True, False):
        L, _ = eight_bit_objective(is_known=is_known)
        theta = SPSA(perturbation=1e-4, max_iter=1).minimize(L, SEED, lambda *_: False).theta
        falls[is_known] = L.value(L.space.zeros(), rows) - L.value(theta, rows)
    assert falls[True] > 0.1
    assert falls[False] == 0  # it saw no difference at all, and stayed where it was
