"""Each solver against a transcription of its pseudo-code, its query count and its options."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_objective import make_objective

from skdne import SPSA, Adam, GeZO
from skdne.attribute import draw_evenly
from skdne.solvers import as_solver

SOLVERS = [Adam(max_iter=3), GeZO(max_iter=2), SPSA(max_iter=2)]
SEED = 7


def never_stop(theta, loss_curve):
    return False


def transcribed_gezo(L, *, epochs, R, C, B, s1=0.01, mu=0.9, k=0.95):
    """Algorithm 1 line by line; numbers are those of its lines. Yields eps after each r."""

    def batch(rng):
        return rng.choice(len(L), size=B, replace=False)

    eps = torch.zeros(L.space.shape)
    for epoch in range(epochs):
        s, v, L_best = s1, torch.zeros_like(eps), float("inf")  # 2
        for r in range(R):  # 3
            d_best = None  # 12
            for c in range(C):  # 13
                rng = np.random.default_rng([SEED, epoch, r, c])
                normal = rng.standard_normal(L.space.shape, dtype=np.float32)
                delta = torch.from_numpy(normal) * s  # 14
                for d in (-1, 1):  # 15
                    candidate = eps + d * delta  # 16
                    loss = L.value(candidate, batch(rng))  # 17
                    if loss < L_best:  # 18
                        L_best, d_best = loss, d * delta  # 19
            if d_best is not None:  # 5
                v = mu * v + d_best  # 6
                eps = eps + v  # 7; s stays
            else:
                s = k * s  # 9; eps and v carry over
            yield eps


def test_gezo_is_algorithm_1_step_by_step():
    settings = {"max_iter": 3, "n_local_iter": 4, "n_directions": 2, "batch_size": 8}
    solver = GeZO(**settings, shared_batch=False, include_current=False, grid_size=None)
    steps = list(solver.iterate(make_objective(), SEED))
    expected = list(transcribed_gezo(make_objective(), epochs=3, R=4, C=2, B=8))
    assert len(steps) == len(expected) == 12
    for step, eps in zip(steps, expected, strict=True):
        torch.testing.assert_close(step.theta, eps, rtol=0, atol=0)
    assert [step.ends_epoch for step in steps] == [False, False, False, True] * 3
    moved = [not torch.equal(a, b) for a, b in pairwise(expected)]
    assert any(moved)
    assert not all(moved)  # both branches of line 5 were taken
    # the last update is kept: eps^{R+1}, not the printed eps^R
    solution = solver.minimize(make_objective(), SEED, never_stop)
    torch.testing.assert_close(solution.theta, expected[-1], rtol=0, atol=0)


@pytest.mark.parametrize("include_current", [False, True])
@pytest.mark.parametrize("shared_batch", [False, True])
def test_gezo_costs_what_the_formula_says(include_current, shared_batch):
    epochs, R, C, B = 2, 3, 2, 8
    L = make_objective()
    solver = GeZO(
        max_iter=epochs,
        n_local_iter=R,
        n_directions=C,
        batch_size=B,
        shared_batch=shared_batch,
        include_current=include_current,
    )
    solver.minimize(L, SEED, never_stop)
    assert L.budget.spent == epochs * R * (2 * C + include_current) * B
    assert L.budget.spent == epochs * solver.queries_per_epoch(len(L))


def test_gezo_with_the_current_point_never_accepts_a_worse_candidate():
    L = make_objective()
    L.weights = np.where(np.arange(40) < 10, 3.0, 1.0)
    everything = len(L)  # batches of all images: no luck of the batch
    solver = GeZO(max_iter=1, n_local_iter=12, batch_size=everything, momentum=0.0)
    rows = np.arange(everything)
    values = [L.value(step.theta, rows) for step in solver.iterate(L, SEED)]
    assert np.all(np.diff(values) <= 1e-6)
    assert values[-1] < values[0]


def test_spsa_steps_along_its_formula():
    L = make_objective()
    solver = SPSA(max_iter=1, n_local_iter=1, n_pairs=3, batch_size=10)
    (step,) = solver.iterate(L, SEED)
    gradient = np.zeros(L.space.shape)
    for j in range(3):
        rng = np.random.default_rng([SEED, 0, 0, j])
        u = rng.standard_normal(L.space.shape, dtype=np.float32)
        rows = draw_evenly(L.codes, 10, rng)
        up, down = (L.value(torch.from_numpy(sign * 0.05 * u), rows) for sign in (1, -1))
        gradient += (up - down) / (2 * 0.05) * u / 3
    first_adam_step = -0.03 * gradient / (np.abs(gradient) + 1e-8)  # lr times the sign
    np.testing.assert_allclose(step.theta.numpy(), first_adam_step, rtol=1e-3, atol=1e-5)
    assert L.budget.spent - 60 == solver.queries_per_epoch(len(L)) == 60


@given(
    codes=st.lists(st.integers(0, 2), min_size=1, max_size=30),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_batch_holds_each_class_in_proportion(codes, batch_size, seed):
    codes = np.array(codes)
    rows = draw_evenly(codes, batch_size, np.random.default_rng(seed))
    size = min(batch_size, len(codes))
    assert len(set(rows)) == len(rows) == size
    for k in range(3):
        share = size * np.mean(codes == k)
        assert np.floor(share) <= np.sum(codes[rows] == k) <= np.ceil(share)


def test_each_row_is_drawn_as_often_as_any_other():
    codes = np.array([0, 0, 0, 0, 0, 1, 1])
    rng = np.random.default_rng(SEED)
    counts = np.bincount(np.concatenate([draw_evenly(codes, 2, rng) for _ in range(7000)]))
    np.testing.assert_allclose(counts, 2000, atol=200)  # 5 standard deviations of 38


def test_spsa_estimates_the_gradient():
    L = make_objective(grid_size=2)
    rows = np.arange(len(L))
    _, gradient = L.value_and_gradient(L.space.zeros(), rows)
    rng = np.random.default_rng(0)
    sigma, estimates = 0.01, []
    for _ in range(400):
        u = torch.from_numpy(rng.standard_normal(L.space.shape, dtype=np.float32))
        estimates.append((L.value(sigma * u, rows) - L.value(-sigma * u, rows)) / (2 * sigma) * u)
    mean = torch.stack(estimates).mean(dim=0)
    cosine = torch.nn.functional.cosine_similarity(mean.flatten(), gradient.flatten(), dim=0)
    assert cosine > 0.95


def test_adam_is_torchs_adam_on_the_same_batches():
    L = make_objective()
    (*_, last) = Adam(max_iter=2, batch_size=16).iterate(L, SEED)
    theta = torch.nn.Parameter(torch.zeros(1, 8, 8))
    optimizer = torch.optim.Adam([theta], lr=0.01)
    g = L.attribute_classifier
    for epoch in range(2):
        order = np.random.default_rng([SEED, epoch]).permutation(40)
        for start in (0, 16, 32):
            rows = order[start : start + 16]
            images = torch.from_numpy(L.images.batch(rows))
            log_p = g.log_proba(L.encoder.forward(images + theta))
            cross_entropy = torch.nn.functional.nll_loss(log_p, torch.from_numpy(L.codes[rows]))
            loss = -cross_entropy + 0.1 * torch.linalg.vector_norm(theta)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    torch.testing.assert_close(last.theta, theta.detach(), rtol=1e-4, atol=1e-5)
    assert L.budget.spent == 2 * Adam().queries_per_epoch(40) == 80


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
def test_objective_falls(solver):
    L = make_objective()
    rows = np.arange(len(L))
    solution = solver.minimize(L, SEED, never_stop)
    assert L.value(solution.theta, rows) < L.value(L.space.zeros(), rows)
    assert len(solution.loss_curve) == solver.max_iter
    assert solution.stop_reason == "max_iter"


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
def test_radius_bounds_the_noise_at_every_step(solver):
    L = make_objective(grid_size=3)
    solver = type(solver)(**{**solver.get_params(), "radius": 0.05, "grid_size": 3})
    norms = [float(L.space.expand(s.theta).norm()) for s in solver.iterate(L, SEED)]
    assert max(norms) <= 0.05 * (1 + 1e-5)
    assert max(norms) > 0.04  # the bound is active


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
def test_budget_ends_the_fit_with_the_noise_reached_so_far(solver):
    full = make_objective()
    steps = list(solver.iterate(full, SEED))
    limited = make_objective(limit=full.budget.spent // 2)
    solution = solver.minimize(limited, SEED, never_stop)
    assert solution.stop_reason == "max_queries"
    assert limited.budget.spent <= limited.budget.limit
    assert any(torch.equal(solution.theta, step.theta) for step in steps[:-1])
    assert solution.theta.any()


def test_callback_stops():
    solution = Adam(max_iter=9).minimize(make_objective(), SEED, lambda t, curve: len(curve) == 2)
    assert (solution.stop_reason, len(solution.loss_curve)) == ("callback", 2)


def test_refit_every_trains_g_between_epochs():
    L = make_objective()
    first = L.attribute_classifier.estimator
    Adam(max_iter=4, refit_every=2).minimize(L, SEED, never_stop)
    assert L.attribute_classifier.estimator is not first
    assert L.budget.spent == 4 * 40 + 40  # once, after epoch 2; after the last it would be idle


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
def test_same_seed_same_noise_and_no_global_state(solver):
    objectives = [make_objective() for _ in range(3)]
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    noises = [
        solver.minimize(L, seed, never_stop).theta
        for L, seed in zip(objectives, (1, 1, 2), strict=True)
    ]
    assert torch.equal(noises[0], noises[1])
    assert not torch.equal(noises[0], noises[2])
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_as_solver():
    assert as_solver(None) is None
    assert isinstance(as_solver("spsa"), SPSA)
    given = Adam(step_size=0.5)
    assert as_solver(given) is not given
    assert as_solver(given).step_size == 0.5
    with pytest.raises(ValueError, match=r"solver must be one of \['adam', 'erasure', 'gates', "):
        as_solver("sgd")
    with pytest.raises(ValueError, match="'step_size' parameter of Adam"):
        as_solver(Adam(step_size=-1))
