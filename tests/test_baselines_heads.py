"""The torch heads against the same maths written in numpy, and against scikit-learn."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state

from skdne.baselines import (
    BatchSamplingClassifier,
    GroupDROClassifier,
    LinearHeadClassifier,
    ReweighedClassifier,
)
from skdne.baselines._group_dro import mean_by_group
from skdne.baselines._training import balanced_batches, new_head, shuffled_batches

pytestmark = pytest.mark.filterwarnings("ignore:groups with fewer:skdne.DebiasingWarning")


def embeddings(n=60, d=3, n_classes=2, seed=0):
    rng = np.random.default_rng(seed)
    y, a = rng.integers(0, n_classes, n), rng.integers(0, 2, n)
    Z = rng.normal(size=(n, d))
    Z[:, 0] += y
    Z[:, 1] += a
    return Z, y, a


class NumpyAdamW:
    """Softmax regression by AdamW as its paper states it (Loshchilov, Hutter 2019, Algorithm 2)."""

    def __init__(self, d, n_classes, lr, decay):
        self.W, self.lr, self.decay, self.t = np.zeros((n_classes, d + 1)), lr, decay, 0
        self.m, self.v = np.zeros_like(self.W), np.zeros_like(self.W)

    def losses(self, Z, y):
        p = softmax(np.column_stack([Z, np.ones(len(Z))]) @ self.W.T, axis=1)
        return -np.log(p[np.arange(len(y)), y]), p

    def step(self, Z, y, row_weights, alpha=0.0):
        _, p = self.losses(Z, y)
        errors = (p - np.eye(len(self.W))[y]) * row_weights[:, None]
        gradient = errors.T @ np.column_stack([Z, np.ones(len(Z))])
        gradient[:, :-1] += alpha * self.W[:, :-1]
        self.t += 1
        self.W[:, :-1] *= 1 - self.lr * self.decay  # the bias, the last column, does not decay
        self.m = 0.9 * self.m + 0.1 * gradient
        self.v = 0.999 * self.v + 0.001 * gradient**2
        m, v = self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)
        self.W -= self.lr * m / (np.sqrt(v) + 1e-8)

    def assert_same(self, head):
        W = self.W if len(self.W) > 2 else self.W[1:] - self.W[:1]
        np.testing.assert_allclose(head.coef_, W[:, :-1], atol=1e-10)
        np.testing.assert_allclose(head.intercept_, W[:, -1], atol=1e-10)


def batches_of(n, batch_size, epochs, random_state=0):
    """The rows that a head with this random_state gets."""
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max, size=2)[1]
    rng, batches = np.random.default_rng(int(seed)), shuffled_batches(n, batch_size)
    return [rows for _ in range(epochs) for rows in batches(rng)]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_linear_head_takes_the_adamw_steps_of_the_textbook(n_classes):
    Z, y, _ = embeddings(50, n_classes=n_classes)
    settings_ = {"step_size": 0.1, "weight_decay": 0.5}
    head = LinearHeadClassifier(
        **settings_, init_std=0, max_iter=3, batch_size=20, random_state=0
    ).fit(Z, y)
    by_hand = NumpyAdamW(3, n_classes, 0.1, 0.5)
    curve = []
    for rows in batches_of(50, 20, 3):
        curve.append(by_hand.losses(Z[rows], y[rows])[0].mean())
        by_hand.step(Z[rows], y[rows], np.full(len(rows), 1 / len(rows)))
    by_hand.assert_same(head)
    np.testing.assert_allclose(head.loss_curve_, np.reshape(curve, (3, 3)).mean(axis=1))


def test_linear_head_starts_as_the_recipe_says():
    head = new_head(2000, 2, 2e-5, seed=0)
    assert float(head.weight.detach().std()) == pytest.approx(2e-5, rel=0.05)
    assert not head.bias.detach().any()
    recipe = LinearHeadClassifier().get_params()
    assert (recipe["step_size"], recipe["weight_decay"], recipe["max_iter"]) == (1.25e-4, 0.05, 50)


def test_linear_head_converges_to_logistic_regression():
    Z, y, _ = embeddings(200)
    head = LinearHeadClassifier(step_size=0.02, weight_decay=0, max_iter=400, batch_size=200)
    head.fit(Z, y)
    converged = LogisticRegression(C=np.inf).fit(Z, y)
    np.testing.assert_allclose(head.coef_, converged.coef_, atol=2e-3)
    np.testing.assert_allclose(head.predict_proba(Z), converged.predict_proba(Z), atol=1e-3)


def test_integer_weights_equal_repeated_rows():
    Z, y, _ = embeddings(30)
    weights = np.arange(30) % 3
    options = {"step_size": 0.05, "batch_size": 100, "random_state": 0}
    weighted = LinearHeadClassifier(**options).fit(Z, y, sample_weight=5.0 * weights)
    rows = np.repeat(np.arange(30), weights)
    repeated = LinearHeadClassifier(**options).fit(Z[rows], y[rows])
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-8)


def test_group_dro_updates_q_and_the_head_as_by_hand():
    Z, y, a = embeddings(60)
    eta, C, alpha = 0.3, 2.0, 0.2
    head = GroupDROClassifier(
        group_step_size=eta,
        adjustment=C,
        alpha=alpha,
        balanced_sampling=False,
        step_size=0.1,
        weight_decay=0.5,
        max_iter=3,
        batch_size=7,  # small: some batches lack a group
        init_std=0,
        random_state=0,
    ).fit(Z, y, sensitive_features=a)
    by_hand, g, q = NumpyAdamW(3, 2, 0.1, 0.5), 2 * y + a, np.full(4, 0.25)
    n_g, n_without = np.bincount(g), 0
    for rows in batches_of(60, 7, 3):
        losses, _ = by_hand.losses(Z[rows], y[rows])
        here = [g[rows] == k for k in range(4)]
        means = np.array([losses[h].mean() if h.any() else 0.0 for h in here])
        n_without += sum(not h.any() for h in here)
        q = q * np.exp(eta * (means + C / np.sqrt(n_g)))
        q /= q.sum()
        weights = sum(q[k] * h / max(h.sum(), 1) for k, h in enumerate(here))
        by_hand.step(Z[rows], y[rows], weights, alpha)
    assert n_without > 0
    by_hand.assert_same(head)
    np.testing.assert_allclose(list(head.group_weights_.values()), q, rtol=1e-10)
    assert list(head.group_weights_) == ["y=0, 0", "y=0, 1", "y=1, 0", "y=1, 1"]


def test_group_dro_with_equal_groups_and_weights_is_erm():
    losses = torch.rand(9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    one = mean_by_group(losses, torch.zeros(9, dtype=torch.int64), 1)
    assert float(one) == pytest.approx(float(losses.mean()), rel=1e-12)
    Z, y = embeddings(40)[0], np.arange(40) % 2
    options = {"step_size": 0.05, "batch_size": 40, "random_state": 0}
    dro = GroupDROClassifier(group_step_size=0, alpha=0, balanced_sampling=False, **options)
    dro.fit(Z, y, sensitive_features=np.arange(40) // 2 % 2)
    np.testing.assert_allclose(dro.coef_, LinearHeadClassifier(**options).fit(Z, y).coef_)


def test_group_dro_helps_the_worst_group():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 2000)
    a = np.where(rng.random(2000) < 0.95, y, 1 - y)  # a shortcut
    Z = rng.normal(size=(2000, 2)) + np.column_stack([1.5 * y, 3 * a])
    worst = {}
    options = {"step_size": 0.02, "max_iter": 20, "random_state": 0}
    for name, head in {
        "erm": LinearHeadClassifier(**options).fit(Z, y),
        "dro": GroupDROClassifier(**options).fit(Z, y, sensitive_features=a),
    }.items():
        right = head.predict(Z) == y
        worst[name] = min(right[(y == k) & (a == m)].mean() for k in (0, 1) for m in (0, 1))
    assert worst["dro"] > worst["erm"] + 0.2


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    batch_size=st.integers(5, 40),
    seed=st.integers(0, 99),
)
def test_every_batch_holds_the_strata_equally_often(sizes, batch_size, seed):
    strata = np.repeat(np.arange(len(sizes)), sizes)
    batches = list(balanced_batches(strata, batch_size)(np.random.default_rng(seed)))
    assert len(batches) == int(np.ceil(sum(sizes) / batch_size))
    for rows in batches:
        assert len(rows) == max(min(batch_size, sum(sizes)), len(sizes))
        assert np.ptp(np.bincount(strata[rows], minlength=len(sizes))) <= 1
    drawn = np.bincount(np.concatenate(batches), minlength=len(strata))
    for k in range(len(sizes)):  # none comes again before all of its stratum came
        assert np.ptp(drawn[strata == k]) <= 1


def test_batch_sampling_strata():
    Z = embeddings(200)[0]
    y, a = np.repeat([0, 0, 1, 1], [60, 20, 60, 60]), np.repeat([0, 1, 0, 1], [60, 20, 60, 60])
    options = {"step_size": 0.05, "max_iter": 60, "batch_size": 200, "random_state": 0}
    found = {
        strata: BatchSamplingClassifier(strata, **options).fit(Z, y, sensitive_features=a)
        for strata in ("a", "ya")
    }
    head = LinearHeadClassifier(**options)
    expected = {
        "a": head.fit(Z, y, sample_weight=1 / np.bincount(a)[a]).intercept_,
        "ya": ReweighedClassifier(head).fit(Z, y, sensitive_features=a).estimator_.intercept_,
    }
    assert expected["a"] > expected["ya"] + 0.2  # healthy "1" are few: the strata differ in y
    for strata, clf in found.items():
        assert clf.intercept_ == pytest.approx(expected[strata], abs=0.08)


def test_rows_without_an_attribute_are_left_out():
    Z, y, a = embeddings(80)
    a = np.array(["F", "M"], dtype=object)[a]
    a[::10] = None
    kept = np.flatnonzero(pd.notna(a))
    with pytest.warns(UserWarning, match="missing in 8 of 80 rows"):
        some = GroupDROClassifier(random_state=0).fit(Z, y, sensitive_features=a)
    all_ = GroupDROClassifier(random_state=0).fit(Z[kept], y[kept], sensitive_features=a[kept])
    np.testing.assert_array_equal(some.coef_, all_.coef_)


@pytest.mark.parametrize("head", [GroupDROClassifier(), BatchSamplingClassifier()])
def test_sensitive_features_travel_through_a_pipeline(head):
    Z, y, a = embeddings(80)
    head.set_params(random_state=0)
    with config_context(enable_metadata_routing=True):
        pipe = make_pipeline(StandardScaler(), head).fit(Z, y, sensitive_features=a)
        with pytest.raises(ValueError, match="sensitive_features is missing: pass fit"):
            make_pipeline(StandardScaler(), head).fit(Z, y)
    alone = head.fit(StandardScaler().fit_transform(Z), y, sensitive_features=a)
    np.testing.assert_array_equal(pipe[-1].coef_, alone.coef_)


def test_bad_input_is_named():
    Z, y, a = embeddings(40)
    with pytest.raises(ValueError, match="batch_size=3 cannot hold one row of each of the 4"):
        GroupDROClassifier(batch_size=3).fit(Z, y, sensitive_features=a)
    with pytest.raises(ValueError, match="sensitive_features has 39 rows, Z has 40"):
        BatchSamplingClassifier().fit(Z, y, sensitive_features=a[1:])
    with pytest.raises(ValueError, match="y holds one class"):
        LinearHeadClassifier().fit(Z, np.ones(40))
    with pytest.raises(ValueError, match="'strata' parameter"):
        BatchSamplingClassifier("b").fit(Z, y, sensitive_features=a)
