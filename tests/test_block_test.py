"""The permutation test behind block erasure, against independent computations."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import roc_auc_score

from skdne.block_test import (
    PROBES,
    RIDGE,
    adjusted_p_values,
    held_out_scores,
    kernel,
    make_design,
    scores,
    smoother,
)


def draw(n=120, d=6, signal=0.0, seed=0, n_classes=2):
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % n_classes
    strata = (np.arange(n) // n_classes) % 2
    Z = rng.standard_normal((n, d)).astype(np.float32)
    Z[:, 0] += signal * codes
    return Z, codes, strata


def test_smoother_predicts_as_kernel_ridge_does():
    Z, codes, _ = draw(signal=1.0)
    train, test = Z[:80], Z[80:]
    target = codes[:80] - codes[:80].mean()
    mean, spread = train.mean(axis=0), train.std(axis=0)
    A, B = (train - mean) / spread, (test - mean) / spread
    d = Z.shape[1]
    linear = KernelRidge(alpha=RIDGE * d, kernel="linear").fit(A, target).predict(B)
    squared = ((A[:, None] - A[None]) ** 2).sum(axis=-1)
    gamma = 1 / np.median(squared[np.triu_indices(80, 1)])
    rbf = KernelRidge(alpha=RIDGE, kernel="rbf", gamma=gamma).fit(A, target).predict(B)
    for probe, expected in (("linear", linear), ("rbf", rbf)):
        found = smoother(train, test, probe) @ target
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_remains_of_a_cue_in_directions_of_little_variance_is_read():
    """Five directions hold nearly all of the variance, the cue lies in another one."""
    aucs = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        _, codes, strata = draw(n=240)
        Z = rng.standard_normal((240, 5)) @ rng.standard_normal((5, 40))
        Z += 0.15 * rng.standard_normal((240, 40))
        direction = rng.standard_normal(40)
        Z += 0.4 * np.outer(codes, direction / np.linalg.norm(direction))
        aucs.append(scores(Z, make_design(codes, strata, 1, rng), ("linear",))[0])
    assert np.mean(aucs) > 0.9


def test_kernels_have_a_mean_diagonal_of_one_and_constant_embeddings_tell_nothing():
    Z, codes, strata = draw()
    for probe in PROBES:
        K, _ = kernel(Z, Z[:5], probe)
        assert np.trace(K) / len(K) == pytest.approx(1)
    design = make_design(codes, strata, 19, np.random.default_rng(0))
    assert (scores(np.ones_like(Z), design) == 0.5).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 3))
def test_permutations_stay_within_y_and_fold(seed, n_classes):
    _, codes, strata = draw(n=60, seed=seed, n_classes=n_classes)
    design = make_design(codes, strata, 9, np.random.default_rng(seed))
    for cell in np.unique(design.cells):
        rows = design.cells == cell
        counts = [np.bincount(column, minlength=n_classes) for column in design.labels[rows].T]
        assert (np.array(counts) == counts[0]).all()
    np.testing.assert_array_equal(design.labels[:, 0], codes)
    assert (design.labels[:, 1:] != codes[:, None]).any()


def test_auc_is_the_mean_over_y_and_fold_weighted_by_pairs():
    Z, codes, strata = draw(signal=0.7)
    design = make_design(codes, strata, 3, np.random.default_rng(0))
    found = scores(Z, design)
    best = []
    target = codes.astype(float)
    for y in (0, 1):
        target[strata == y] -= target[strata == y].mean()
    for probe in PROBES:
        won = pairs = 0
        for fold in range(4):
            test = design.folds == fold
            predicted = smoother(Z[~test], Z[test], probe) @ target[~test]
            for y in (0, 1):
                at = strata[test] == y
                a = codes[test][at]
                n_pairs = a.sum() * (len(a) - a.sum())
                won += roc_auc_score(a, predicted[at]) * n_pairs
                pairs += n_pairs
        best.append(won / pairs)
    assert found[0] == pytest.approx(max(best))


def test_a_permuted_column_scores_as_if_it_had_been_observed():
    Z, codes, strata = draw(signal=0.5)
    design = make_design(codes, strata, 5, np.random.default_rng(0))
    found = scores(Z, design)
    for j in (1, 4):
        alone = dataclasses.replace(design, labels=design.labels[:, [j]])
        assert scores(Z, alone)[0] == pytest.approx(found[j])


def test_what_y_tells_of_a_is_no_leakage():
    """Embeddings that hold y alone, where y and a are correlated, tell nothing within y."""
    rng = np.random.default_rng(0)
    strata = np.arange(400) % 2
    codes = np.where(rng.random(400) < 0.85, strata, 1 - strata)
    Z = np.column_stack([3 * strata, *rng.standard_normal((3, 400))]) + 0.1 * rng.standard_normal(
        (400, 1)
    )
    design = make_design(codes, strata, 99, rng)
    found = scores(Z, design)
    assert roc_auc_score(codes, Z[:, 0]) > 0.8
    assert adjusted_p_values(found[None])[0] > 0.05


def test_held_out_scores_know_a_signal_from_none():
    Z, codes, strata = draw(n=400, signal=1.5)
    null = draw(n=400, seed=1)[0]
    train, test = np.arange(200), np.arange(200, 400)
    design = make_design(codes[test], strata[test], 199, np.random.default_rng(0), n_folds=1)
    for embeddings, readable in ((Z, True), (null, False)):
        found = held_out_scores(
            embeddings[train], codes[train], strata[train], embeddings[test], design
        )
        assert (adjusted_p_values(found[None])[0] <= 0.05) == readable
    found = held_out_scores(Z[train], codes[train], strata[train], Z[test], design)
    target = codes[train].astype(float)
    for y in (0, 1):
        target[strata[train] == y] -= target[strata[train] == y].mean()
    by_hand = [
        np.mean(
            [
                roc_auc_score(codes[test][at], (S @ target)[at])
                for at in (strata[test] == 0, strata[test] == 1)
            ]
        )
        for S in (smoother(Z[train], Z[test], probe) for probe in PROBES)
    ]
    assert found[0] == pytest.approx(max(by_hand), abs=1e-9)  # as many pairs in both classes


def test_adjusted_p_values_by_hand():
    found = np.array([[0.9, 0.5, 0.6, 0.4], [0.55, 0.3, 0.5, 0.7], [np.nan] * 4])
    p = adjusted_p_values(found)  # null maxima: .5, .6, .7
    np.testing.assert_allclose(p, [1 / 4, 3 / 4, np.nan])


def test_chance_of_any_false_alarm_is_the_level():
    """Twelve edits that tell nothing: the smallest p-value is below .1 in a tenth of the runs."""
    alarms = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        _, codes, strata = draw(n=48)
        design = make_design(codes, strata, 59, rng)
        common = rng.standard_normal((48, 3))  # the edits share images, as real ones do
        found = [scores(common + rng.standard_normal((48, 3)), design) for _ in range(12)]
        alarms += adjusted_p_values(np.array(found)).min() <= 0.1
    assert 4 <= alarms <= 27  # 15 expected; P(outside) < 0.002 at 0.1


def test_three_classes_count_each_against_the_rest():
    Z, codes, strata = draw(n=180, signal=2.0, n_classes=3)
    design = make_design(codes, strata, 39, np.random.default_rng(0))
    found = scores(Z, design)
    assert found[0] > 0.75
    assert adjusted_p_values(found[None])[0] == 1 / 40


def test_a_class_without_images_to_judge_by_counts_as_chance():
    Z, codes, strata = draw(n=180, signal=2.0, n_classes=3)
    train, test = np.arange(90), 90 + np.flatnonzero(codes[90:] < 2)
    rng = np.random.default_rng(0)
    design = make_design(codes[test], strata[test], 9, rng, n_folds=1)
    found = held_out_scores(Z[train], codes[train], strata[train], Z[test], design)
    by_hand = []
    for probe in PROBES:
        S = smoother(Z[train], Z[test], probe)
        aucs = [0.5]  # of the third class
        for k in (0, 1):
            target = (codes[train] == k).astype(float)
            for y in (0, 1):
                target[strata[train] == y] -= target[strata[train] == y].mean()
            is_k, predicted = codes[test] == k, S @ target
            pairs = [
                (is_k[at].sum() * (~is_k[at]).sum(), at)
                for at in (strata[test] == 0, strata[test] == 1)
            ]
            won = sum(n * roc_auc_score(is_k[at], predicted[at]) for n, at in pairs)
            aucs.append(won / sum(n for n, _ in pairs))
        by_hand.append(np.mean(aucs))
    assert found[0] == pytest.approx(max(by_hand))


def test_one_image_of_each_cell_cannot_be_tested():
    design = make_design(np.array([0, 1]), None, 19, np.random.default_rng(0))
    assert (scores(np.eye(2), design) == 0.5).all()
