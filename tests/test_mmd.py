"""MMD^2 against the double sum of its definition."""

import numpy as np
import pytest
import torch

from skdne.mmd import BANDWIDTHS, group_discrepancy, mmd2


def test_mmd2_is_the_unbiased_double_sum():
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((5, 3)), rng.standard_normal((7, 3)) + 0.5
    Z = np.concatenate([A, B])
    scale = np.mean([[((u - v) ** 2).sum() for v in Z] for u in Z])
    expected = 0.0
    for h in BANDWIDTHS:

        def k(u, v, h=h):
            return np.exp(-((u - v) ** 2).sum() / (h * scale))

        expected += sum(k(u, v) for i, u in enumerate(A) for j, v in enumerate(A) if i != j) / 20
        expected += sum(k(u, v) for i, u in enumerate(B) for j, v in enumerate(B) if i != j) / 42
        expected -= 2 * sum(k(u, v) for u in A for v in B) / 35
    assert mmd2(torch.from_numpy(A), torch.from_numpy(B)).item() == pytest.approx(expected)


def test_alike_groups_have_mean_zero_and_others_do_not():
    rng = np.random.default_rng(0)
    codes = torch.arange(60) % 2
    alike = [
        group_discrepancy(torch.from_numpy(rng.standard_normal((60, 4))), codes).item()
        for _ in range(200)
    ]
    assert abs(np.mean(alike)) < 3 * np.std(alike) / np.sqrt(200)
    # equal means, other variances: no linear probe reads it, MMD does
    Z = rng.standard_normal((60, 4)) * np.where(codes.numpy() == 1, 3, 0.3)[:, None]
    assert group_discrepancy(torch.from_numpy(Z), codes).item() > 10 * np.std(alike)


def test_constant_embeddings_give_zero_and_a_finite_gradient():
    Z = torch.ones(8, 3, requires_grad=True)
    value = group_discrepancy(Z, torch.arange(8) % 2)
    (gradient,) = torch.autograd.grad(value, Z)
    assert value.item() == 0
    assert torch.isfinite(gradient).all()
