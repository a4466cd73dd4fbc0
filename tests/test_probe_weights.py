"""Probes are trained with (y, attribute) cells weighing the same, so that none scores through y."""

import numpy as np
import pytest

from skdne import CallableEncoder, DebiasedNoiseTransformer
from skdne.audit import attribute_leakage


def opposed(n, seed=0):
    """One feature rises with y and falls with a, which agrees with y in 85%.

    Over all images it rises with a, among those of one y it falls: a probe that does not weigh
    reads a through y, and within y it is wrong.
    """
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    a = np.where(rng.random(n) < 0.85, y, 1 - y)
    Z = rng.normal(size=(n, 2))
    Z[:, 0] += 2 * y - a
    assert Z[a == 1, 0].mean() > Z[a == 0, 0].mean() + 0.2
    for k in (0, 1):
        assert Z[(a == 1) & (y == k), 0].mean() < Z[(a == 0) & (y == k), 0].mean() - 0.5
    return Z, y, a


def test_probes_of_the_audit_read_the_attribute_and_not_y():
    Z, y, a = opposed(600)
    found = attribute_leakage(Z, sensitive_features=a, y=y, random_state=0)
    aucs = {name: auc.auc for name, auc in found.items()}
    assert set(aucs) == {"linear", "rbf", "mlp"}
    assert min(aucs.values()) > 0.6  # without weights .28 to .38
    assert aucs["linear"] == pytest.approx(0.76, abs=0.06)  # that of the feature turned round


def test_probes_of_a_fit_read_the_attribute_and_not_y():
    Z, y, a = opposed(900)
    images = np.full((900, 8, 8), 0.5, dtype=np.float32)
    images[:, 0, :2] = np.clip(0.5 + Z / 20, 0, 1)
    encoder = CallableEncoder(
        lambda batch: 20 * batch.reshape(len(batch), -1)[:, :2], input_size=(8, 8), n_channels=1
    )
    plain = DebiasedNoiseTransformer(encoder, solver=None, random_state=0)
    plain.fit(images, y, sensitive_features=a)
    aucs = {name: found["before"].auc for name, found in plain.leakage_.items()}
    assert set(aucs) == {"linear", "rbf", "mlp"}
    assert min(aucs.values()) > 0.55  # without weights .26 to .45
