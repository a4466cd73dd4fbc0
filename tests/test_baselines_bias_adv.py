"""BiasAdv: the attack against finite differences, its bounds, and the loss by hand."""

import numpy as np
import pytest
import torch
from helpers import small_encoder, small_images
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from skdne import CallableEncoder, TorchEncoder
from skdne.baselines import BiasAdvClassifier, LinearHeadClassifier, _bias_adv
from skdne.baselines._adversarial import (
    adversarial_images,
    attack_gradient,
    generalized_cross_entropy,
)


def heads(seed=0):
    """Both heads on images of 4 x 4, nonlinear, in float64."""
    rng = torch.Generator().manual_seed(seed)
    W, *V = (torch.randn(s, generator=rng, dtype=torch.float64) for s in ((16, 6), (6, 3), (6, 3)))
    return lambda x: tuple(torch.tanh(x.flatten(1) @ W) @ v for v in V)


def value(x, y, both, reg_lambda):
    """CE(g) - lambda CE(f), written out in numpy."""
    total = 0.0
    f, g = both(torch.from_numpy(x))
    for logits, factor in ((g.numpy(), 1.0), (f.numpy(), -reg_lambda)):
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        total -= factor * log_p[np.arange(len(y)), y].sum()
    return total


def test_attack_gradient_is_that_of_finite_differences():
    x, y = np.random.default_rng(0).random((2, 1, 4, 4)), np.array([0, 2])
    both = heads()
    gradient = attack_gradient(torch.from_numpy(x), torch.from_numpy(y), both, 0.5).numpy()
    for i in np.ndindex(x.shape):
        above, below = x.copy(), x.copy()
        above[i] += 1e-6
        below[i] -= 1e-6
        slope = (value(above, y, both, 0.5) - value(below, y, both, 0.5)) / 2e-6
        assert gradient[i] == pytest.approx(slope, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 99),
    eps=st.floats(0, 0.5),
    n_steps=st.integers(1, 6),
    reg_lambda=st.floats(0, 1),
)
def test_attack_stays_within_eps_and_within_the_pixels(seed, eps, n_steps, reg_lambda):
    rng = np.random.default_rng(seed)
    x, y = torch.from_numpy(rng.random((3, 1, 4, 4))), torch.from_numpy(rng.integers(0, 3, 3))
    found = adversarial_images(x, y, heads(), eps=eps, n_steps=n_steps, reg_lambda=reg_lambda)
    assert float((found - x).abs().max()) <= eps + 1e-12
    assert 0 <= float(found.min()) <= float(found.max()) <= 1


def test_attack_misleads_the_biased_head_and_reaches_the_bound():
    rng = np.random.default_rng(0)
    x, y = rng.random((20, 1, 4, 4)), rng.integers(0, 3, 20)
    both = heads()
    options = {"eps": 0.1, "n_steps": 5, "reg_lambda": 0.5}
    found = adversarial_images(torch.from_numpy(x), torch.from_numpy(y), both, **options).numpy()
    assert value(found, y, both, 0.5) > value(x, y, both, 0.5) + 5
    assert np.abs(found - x).max() == pytest.approx(0.1)
    one = adversarial_images(
        torch.from_numpy(x), torch.from_numpy(y), both, eps=0.1, n_steps=1, reg_lambda=0.5
    ).numpy()
    sign = attack_gradient(torch.from_numpy(x), torch.from_numpy(y), both, 0.5).sign().numpy()
    np.testing.assert_allclose(one, np.clip(x + 0.1 * sign, 0, 1))


def test_generalized_cross_entropy_weighs_easy_images_more():
    logits = torch.tensor([[3.0, 0.0], [0.0, 3.0]], dtype=torch.float64, requires_grad=True)
    labels, q = torch.tensor([0, 0]), 0.7
    p = np.exp([3.0, 0.0]) / (np.exp(3.0) + 1)
    loss = generalized_cross_entropy(logits, labels, q)
    assert float(loss.detach()) == pytest.approx(np.mean((1 - p**q) / q))
    loss.backward()  # that of cross-entropy, p - 1, times p^q
    np.testing.assert_allclose(logits.grad[:, 0], p**q * (p - 1) / 2)
    tiny = generalized_cross_entropy(logits.detach(), labels, 1e-6)
    assert float(tiny) == pytest.approx(-np.log(p).mean(), rel=1e-4)


def test_without_adversarial_images_it_is_the_plain_head():
    X, y, _ = small_images(64)
    encoder = small_encoder()
    options = {"step_size": 0.05, "max_iter": 5, "init_std": 0.0, "batch_size": 64}
    clf = BiasAdvClassifier(encoder, beta=0, standardize=True, random_state=0, **options).fit(X, y)
    Z = encoder.embed(X[:, None] / np.float32(255))
    Z = StandardScaler().fit_transform(Z)
    head = LinearHeadClassifier(random_state=0, **options).fit(Z, y)
    np.testing.assert_allclose(clf.coef_, head.coef_, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(clf.predict_proba(X), head.predict_proba(Z), atol=1e-5)


def test_it_leans_less_on_a_shortcut_and_repeats_itself():
    X, y, _ = small_images(200, correlation=0.9)
    X_new, y_new, a_new = small_images(200, seed=1)
    gap = {}
    for beta in (0, 1):
        clf = BiasAdvClassifier(
            small_encoder(), beta=beta, eps=0.1, step_size=0.02, max_iter=10, random_state=0
        ).fit(X, y)
        scores = clf.decision_function(X_new)
        means = [[scores[(y_new == k) & (a_new == m)].mean() for m in "FM"] for k in (0, 1)]
        gap[beta] = np.ptp(means, axis=1).mean() / scores.std()
    assert gap[1] < gap[0]
    again = clone(clf).fit(X, y)
    np.testing.assert_array_equal(again.coef_, clf.coef_)
    assert clf.n_queries_ == 200 * (1 + 10 * 6)


def test_the_biased_head_is_attacked_and_the_wanted_one_learns_from_it(monkeypatch):
    """f is the head that is kept: images are changed so that g fails on them, and f less so."""
    X, y, _ = small_images(60, correlation=0.9)
    attack, seen = _bias_adv.adversarial_images, []

    def spy(x, labels, heads, **options):
        found = attack(x, labels, heads, **options)
        with torch.no_grad():
            logits = (*heads(x), *heads(found))
        losses = [float(torch.nn.functional.cross_entropy(z, labels)) for z in logits]
        seen.append((x, heads, *losses))
        return found

    monkeypatch.setattr(_bias_adv, "adversarial_images", spy)
    options = {"step_size": 0.02, "max_iter": 8, "batch_size": 60, "reg_lambda": 1.0}
    clf = BiasAdvClassifier(small_encoder(), eps=0.05, random_state=0, **options)
    clf.fit(X, y)
    x, heads, f_clean, g_clean, f_adv, g_adv = seen[-1]
    assert g_adv > g_clean + 0.1
    assert g_adv - g_clean > 2 * (f_adv - f_clean)
    with torch.no_grad():
        f = heads(x)[0].numpy()
    pixels = np.rint(x.numpy()[:, 0] * 255).astype(np.uint8)
    np.testing.assert_allclose(f[:, 1] - f[:, 0], clf.decision_function(pixels), atol=1e-4)


def test_bad_input_is_named():
    X, y, _ = small_images(20)
    black_box = CallableEncoder(lambda images: images.reshape(len(images), -1), input_size=(8, 8))
    with pytest.raises(ValueError, match="needs gradients, which CallableEncoder does not give"):
        BiasAdvClassifier(black_box).fit(X, y)

    class Broken(torch.nn.Linear):
        def forward(self, images):
            with torch.no_grad():
                return super().forward(images.flatten(1))

    with pytest.raises(ValueError, match="the module of TorchEncoder returns none"):
        BiasAdvClassifier(TorchEncoder(Broken(64, 4), input_size=(8, 8))).fit(X, y)
    with pytest.raises(ValueError, match="y has 19 rows, X has 20"):
        BiasAdvClassifier(small_encoder()).fit(X, y[1:])
    with pytest.raises(ValueError, match="'q' parameter"):
        BiasAdvClassifier(small_encoder(), q=0).fit(X, y)
