"""Fewer passes: a fit that takes some of the images, a solver that takes fewer or stops early."""

import numpy as np
import pytest
from helpers import small_encoder, small_images
from query_fits import GEZO, SPSA_, fit, make_dne
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from test_objective import make_objective

from skdne import SPSA, Adam, DebiasedNoiseTransformer
from skdne.attribute import check_sensitive_data

pytestmark = pytest.mark.filterwarnings("ignore::skdne.DebiasingWarning")

SEED = 0
STOPPING = {"n_iter_no_change": 2, "step_size": 0.1, "clip": True}


def two_sets():
    """An objective over 24 images, and over the other 16 its selection set."""
    whole = make_objective("confusion", clip=True)
    L = whole.subset(np.arange(24))
    L.selection = whole.subset(np.arange(24, 40))
    return L


def left_to_read(L, theta):
    """AUC on the selection set of a classifier trained on edited fit images, by scikit-learn."""
    X = L.images.batch(np.arange(40)) + theta.numpy()
    Z = L.encoder.embed(X.clip(0, 1))
    a = np.concatenate([L.codes, L.selection.codes])
    g = LogisticRegression(C=1.0).fit(Z[:24], a[:24])
    return roc_auc_score(a[24:], g.decision_function(Z[24:]))


@pytest.mark.parametrize("refit_every", [None, 1, 3])
def test_it_keeps_the_epoch_that_left_least_and_stops_when_none_is_better(refit_every):
    solver = Adam(max_iter=30, batch_size=8, refit_every=refit_every, **STOPPING)
    L, thetas = two_sets(), []
    frozen = L.attribute_classifier
    solution = solver.minimize(L, SEED, lambda theta, curve: thetas.append(theta.clone()))
    assert (L.attribute_classifier is frozen) == (refit_every is None)
    left = [left_to_read(L, theta) for theta in thetas]
    best = int(np.argmin(left))
    assert 0 < best < len(left) - 1
    assert len(left) == best + 1 + 2 < 30
    assert solution.stop_reason == "no_change"
    assert solution.theta.equal(thetas[best])
    # training g anew, where it is due, goes with the test: it sends nothing of its own
    assert L.budget.spent == len(left) * (24 + 24 + 16)


def test_without_it_all_epochs_run_and_the_last_is_kept():
    L, thetas = two_sets(), []
    solver = Adam(max_iter=6, batch_size=8, step_size=0.05, clip=True)
    solution = solver.minimize(L, SEED, lambda theta, curve: thetas.append(theta.clone()))
    assert (solution.stop_reason, len(thetas)) == ("max_iter", 6)
    assert solution.theta.equal(thetas[-1])


def test_what_a_callback_ends_stays_as_it_is():
    L, thetas = two_sets(), []

    def fifth(theta, curve):
        thetas.append(theta.clone())
        return len(curve) == 5

    patient = Adam(max_iter=30, batch_size=8, **{**STOPPING, "n_iter_no_change": 9})
    solution = patient.minimize(L, SEED, fifth)
    assert solution.stop_reason == "callback"
    assert solution.theta.equal(thetas[-1])


@pytest.mark.parametrize("n_images", [8, 20, 1000])
def test_some_images_are_drawn_evenly_and_no_other_is_sent(n_images, monkeypatch):
    L = two_sets()
    sent = []
    stored = type(L.images).stored
    monkeypatch.setattr(
        type(L.images), "stored", lambda self, rows: sent.append(rows) or stored(self, rows)
    )
    Adam(max_iter=2, batch_size=8, n_images=n_images, **STOPPING).minimize(L, SEED, lambda *_: 0)
    rows = np.unique(np.concatenate(sent))
    ours, judges = rows[rows < 24], rows[rows >= 24]
    assert (len(ours), len(judges)) == (min(n_images, 24), min(n_images, 16))
    for part in (ours, judges):
        a = np.concatenate([L.codes, L.selection.codes])[part]
        assert abs(np.mean(a) - 0.5) <= 0.5 / len(part) + 1e-9
    if n_images == 8:  # of all the set, not its first ones
        assert ours.max() > 12


@pytest.mark.parametrize("refit_every", [None, 2])
@pytest.mark.parametrize("base", [Adam(max_iter=4, batch_size=16), GEZO, SPSA_])
def test_the_estimate_knows_both(base, refit_every):
    solver = clone(base).set_params(n_images=16, refit_every=refit_every)
    encoder = {"encoder": small_encoder()} if isinstance(base, Adam) else {}
    dne = make_dne(solver, **encoder)
    plan = dne.estimate_queries(47)
    assert plan.least == plan.most == fit(dne).n_queries_
    solver.set_params(n_iter_no_change=1)
    dne = make_dne(solver, **encoder)
    plan = dne.estimate_queries(47)
    assert plan.least < plan.most
    fit(dne)
    assert plan.least <= dne.n_queries_ <= plan.most
    spared = solver.max_iter - dne.n_iter_
    if not spared:
        assert dne.n_queries_ == plan.most
    if dne.n_iter_ == 2:
        assert dne.n_queries_ == plan.least
    assert (dne.stop_reason_ == "no_change") or not spared


def test_a_fit_says_why_it_ended_and_repeats_itself():
    X, y, a = small_images(160)
    fits = [
        DebiasedNoiseTransformer(
            small_encoder(),
            solver=SPSA(max_iter=40, n_images=40, **STOPPING),
            objective="confusion",
            leakage=False,
            random_state=0,
        ).fit(X, y, sensitive_features=a)
        for _ in range(2)
    ]
    assert fits[0].stop_reason_ == "no_change"
    assert fits[0].n_iter_ < 40
    np.testing.assert_array_equal(fits[0].noise_, fits[1].noise_)


def test_it_is_refused_where_nothing_can_tell():
    X, y, a = small_images(40)
    solver = Adam(n_iter_no_change=3)
    few = np.r_[np.flatnonzero(a == "F"), np.flatnonzero(a == "M")[:9]]
    with pytest.raises(ValueError, match=r"n_iter_no_change=3 stops by images.*Give more images"):
        make_dne(solver, encoder=small_encoder()).fit(X[few], y[few], sensitive_features=a[few])
    g = LogisticRegression().fit(small_encoder().embed(X[:, None] / np.float32(255)), a)
    with pytest.raises(ValueError, match="n_iter_no_change trains the attribute classifier anew"):
        make_dne(solver, encoder=small_encoder(), attribute_classifier=g).fit(
            X, y, sensitive_features=a
        )


@pytest.mark.parametrize("with_y", [True, False])
def test_a_subsample_is_what_a_fit_of_those_images_alone_would_have_seen(with_y):
    _, y, a = small_images(300, correlation=0.5)
    y = y if with_y else None
    a[::7] = None
    whole = check_sensitive_data(a, y, np.arange(300) // 2, 300)
    part = whole.subsample(101, SEED)
    assert len(np.unique(part.rows)) == 101
    assert set(part.rows) <= set(whole.rows)
    alone = np.full(300, None, dtype=object)
    alone[part.rows] = a[part.rows]
    expected = check_sensitive_data(alone, y, np.arange(300) // 2, 300)
    for name in ("rows", "codes", "strata", "cells", "weights", "groups"):
        np.testing.assert_array_equal(getattr(part, name), getattr(expected, name))
    for cell in np.unique(whole.cells):
        share = 101 * np.mean(whole.cells == cell)
        assert abs(np.sum(part.cells == cell) - share) < 1
    assert whole.subsample(300, SEED) is whole.subsample(None, SEED) is whole


def test_a_fit_sends_no_more_than_its_subsample():
    X, y, a = small_images(300)
    dne = make_dne(Adam(max_iter=2), encoder=small_encoder(), leakage=True, subsample=100)
    plan = dne.estimate_queries(300)
    dne.fit(X, y, sensitive_features=a)
    assert plan == dne.query_plan_ == clone(dne).estimate_queries(100)
    assert plan.clean == 100
    assert dne.n_queries_ == plan.most == 100 + 2 * 50 + 100
    assert dne.leakage_["linear"]["before"].auc > 0.9
    whole = clone(dne).set_params(subsample=None).fit(X, y, sensitive_features=a)
    assert whole.query_plan_.clean == 300


def test_a_subsample_that_loses_a_class_is_refused():
    X, y, a = small_images(300)
    a[:3] = "X"
    with pytest.raises(ValueError, match=r"subsample=20 of 300 .* none .* 'X'; raise it"):
        make_dne("adam", encoder=small_encoder(), subsample=20).fit(X, y, sensitive_features=a)
