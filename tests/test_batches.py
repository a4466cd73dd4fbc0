"""A batch of any size stands for the whole set: its value and gradient have those on average."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_objective import direction, make_objective

from skdne import SPSA, Adam, GeZO
from skdne.attribute import draw_evenly
from skdne.solvers._batches import draw_batch, draw_by_weight

N = 24
SEED = 3


def unequal(**kwargs):
    """24 images, of which the three with the largest loss weigh as much as all others."""
    L = make_objective("confusion", **kwargs).subset(np.arange(N))
    losses = [L.value(L.space.zeros(), np.array([i])) for i in range(N)]
    L.weights = np.where(np.argsort(np.argsort(losses)) >= N - 3, 7.0, 1.0)
    return L


@pytest.mark.parametrize("size", [1, 2])
def test_all_batches_of_a_size_have_the_sets_value_and_gradient_on_average(size):
    L = unequal()
    theta = direction((1, 8, 8))
    each = [L.value_and_gradient(theta, np.array(b)) for b in combinations(range(N), size)]
    value, gradient = L.value_and_gradient(theta, np.arange(N))
    assert np.mean([v for v, _ in each]) == pytest.approx(value, rel=1e-4)
    mean = torch.stack([g for _, g in each]).mean(dim=0)
    torch.testing.assert_close(mean, gradient, rtol=1e-3, atol=1e-5)
    assert value == pytest.approx(L.value(theta, np.arange(N)), rel=1e-5)
    alone = [L.value(theta, np.array(b)) for b in combinations(range(N), size)]
    assert np.mean(alone) == pytest.approx(value, rel=1e-4)


STILL = {"step_size": 1e-9, "max_iter": 80}  # the noise stays at zero


@pytest.mark.parametrize(
    "solver",
    [
        Adam(batch_size=5, **STILL),
        SPSA(batch_size=2, n_pairs=2, perturbation=1e-9, **STILL),
        GeZO(batch_size=4, n_local_iter=5, n_directions=1, **STILL),
        GeZO(batch_size=4, n_local_iter=5, n_directions=1, shared_batch=False, **STILL),
    ],
    ids=["Adam", "SPSA", "GeZO", "GeZO as printed"],
)
def test_what_a_solver_sees_is_the_sets_value_on_average(solver, monkeypatch):
    L = unequal(reg_lambda=0.0)
    seen = []
    several, one = L.values, L.value_and_gradient

    def values(candidates):
        seen.extend(several(candidates))
        return seen[-len(candidates) :]

    def value_and_gradient(theta, rows):
        seen.append(one(theta, rows)[0])
        return seen[-1], torch.zeros_like(theta)

    monkeypatch.setattr(L, "values", values)
    monkeypatch.setattr(L, "value_and_gradient", value_and_gradient)
    list(solver.iterate(L, SEED))
    repeats = {"SPSA": 2, "GeZO": 2 if solver.get_params().get("shared_batch") else 1}
    independent = len(seen) / repeats.get(type(solver).__name__, 1)
    assert independent >= 400
    zero, everything = L.space.zeros(), np.arange(N)
    full, unweighted = (
        several([(zero, everything, w / w.sum())])[0] for w in (L.weights, np.ones(N))
    )
    error = np.std(seen) / np.sqrt(independent)
    assert abs(np.mean(seen) - full) < 4 * error
    assert full > unweighted + 5 * error  # the test can fail


def test_spsa_estimates_the_gradient_of_the_weighted_objective(monkeypatch):
    L = unequal(reg_lambda=0.0, grid_size=2)
    sigma, estimates, several = 0.01, [], L.values

    def values(candidates):
        found = several(candidates)
        for up, down, plus, minus in zip(
            candidates[::2], candidates[1::2], found[::2], found[1::2], strict=True
        ):
            estimates.append((plus - minus) / (2 * sigma) * (up[0] - down[0]) / (2 * sigma))
        return found

    monkeypatch.setattr(L, "values", values)
    solver = SPSA(max_iter=5, n_local_iter=10, n_pairs=50, perturbation=sigma, step_size=1e-9)
    list(solver.iterate(L, SEED))
    mean = torch.stack(estimates).mean(dim=0).flatten()
    _, gradient = L.value_and_gradient(L.space.zeros(), np.arange(N))
    unweighted = unequal(reg_lambda=0.0, grid_size=2)
    unweighted.weights = np.ones(N)
    _, other = unweighted.value_and_gradient(L.space.zeros(), np.arange(N))
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(mean, gradient.flatten(), dim=0) > 0.99
    assert cosine(other.flatten(), gradient.flatten(), dim=0) < 0.95  # the test can fail


drawn = {
    "weights": st.lists(st.sampled_from([0.0, 0.775, 1.0, 7.75, 300.0]), min_size=1, max_size=40),
    "size": st.integers(1, 50),
    "seed": st.integers(0, 2**32 - 1),
}


@given(**drawn)
def test_no_row_is_drawn_twice(weights, size, seed):
    weights = np.array(weights) + 1e-3 * (not any(weights))
    n, rng = len(weights), np.random.default_rng(seed)
    rows, shares = draw_by_weight(rng.integers(0, 2, n), weights, size, rng)
    assert len(rows) == len(shares) == min(size, n)
    assert len(np.unique(rows)) == len(rows)
    assert np.isfinite(shares).all()
    if size >= n:
        np.testing.assert_allclose(shares, weights[rows] / weights.sum())


@pytest.mark.parametrize("size", [2, 5, 12])
def test_each_row_counts_its_weight_on_average(size):
    weights = np.repeat([0.0, 0.5, 1.0, 9.0], [2, 6, 6, 2])
    classes = np.arange(16) % 2
    rng, n_draws = np.random.default_rng(SEED), 5000
    counted = np.zeros((n_draws, 16))
    for i in range(n_draws):
        rows, shares = draw_by_weight(classes, weights, size, rng)
        counted[i, rows] = shares
    error = counted.std(axis=0) / np.sqrt(n_draws)
    assert (np.abs(counted.mean(axis=0) - weights / weights.sum()) <= 5 * error + 1e-12).all()


def test_a_batch_of_two_holds_each_class_once_where_cells_are_balanced():
    """Cells of 100, 10, 100 and 100 images, as the papers' are in proportion."""
    sizes = [100, 10, 100, 100]
    y, a = (np.repeat(code, sizes) for code in ([0, 0, 1, 1], [0, 1, 0, 1]))
    weights = 310 / 4 / np.repeat(sizes, sizes)
    rng = np.random.default_rng(SEED)
    batches = np.array([draw_by_weight(a, weights, 2, rng)[0] for _ in range(4000)])
    assert (a[batches] == [0, 1]).all()
    rare = np.mean((y[batches] == 0) & (a[batches] == 1))
    assert rare == pytest.approx(0.25, abs=0.03)


def test_equal_weights_draw_as_ever():
    """To the bit: what was fitted without y stays what it was."""
    classes = np.arange(30) % 3
    for weight in (1.0, 0.3):
        rows, shares = draw_by_weight(classes, np.full(30, weight), 7, np.random.default_rng(SEED))
        expected = draw_evenly(classes, 7, np.random.default_rng(SEED))
        np.testing.assert_array_equal(rows, expected)
        np.testing.assert_array_equal(shares, 1 / 7)
    L = make_objective()
    rows, shares = draw_batch(L, 16, np.random.default_rng(SEED))
    np.testing.assert_array_equal(
        rows, np.random.default_rng(SEED).choice(40, size=16, replace=False)
    )
    np.testing.assert_array_equal(shares, 1 / 16)
