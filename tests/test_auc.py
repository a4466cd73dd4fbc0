"""AUC within strata: against scikit-learn's, its score interval against formulas, its change."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from skdne.auc import auc_change, auc_interval, conditional_auc


def reference_auc(codes, scores, strata, weights=None):
    """Mean over classes of scikit-learn's AUC, strata weighted by their pairs."""
    weights = np.ones(len(codes)) if weights is None else weights
    of_classes = []
    for k in range(scores.shape[1]):
        won = pairs = 0.0
        for stratum in np.unique(strata):
            here = strata == stratum
            positive, w = codes[here] == k, weights[here]
            n_pairs = w[positive].sum() * w[~positive].sum()
            if n_pairs > 0:
                won += n_pairs * roc_auc_score(positive, scores[here, k], sample_weight=w)
                pairs += n_pairs
        if pairs > 0:
            of_classes.append(won / pairs)
    return np.mean(of_classes) if of_classes else np.nan


@st.composite
def scored(draw):
    n = draw(st.integers(2, 40))
    n_classes = draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    scores = rng.integers(0, draw(st.sampled_from([3, 1000])), (n, n_classes)).astype(float)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=3).astype(float)
    return rng.integers(0, n_classes, n), scores, rng.integers(0, 3, n), counts


@settings(deadline=None)
@given(scored())
def test_conditional_auc_is_that_of_scikit_learn(case):
    codes, scores, strata, counts = case
    np.testing.assert_allclose(
        conditional_auc(codes, scores, strata), reference_auc(codes, scores, strata)
    )
    everything = np.zeros(len(codes))
    np.testing.assert_allclose(
        conditional_auc(codes, scores), reference_auc(codes, scores, everything)
    )
    expected = [reference_auc(codes, scores, strata, weights) for weights in counts]
    np.testing.assert_allclose(conditional_auc(codes, scores, strata, counts), expected)


def test_classes_that_were_never_scored_are_ties():
    scores = np.array([[1.0, -np.inf], [0.0, -np.inf]])
    assert conditional_auc(np.array([0, 1]), scores) == 0.75  # class 0 right, class 1 a tie


def test_a_rare_stratum_does_not_drown_the_others():
    """Twelve pairs of a rare y against a thousand times as many: its own luck hardly counts."""
    a = np.tile([0, 1], 712)
    y = np.repeat([0, 1], [1400, 24])
    spread = []
    for seed in range(200):
        score = np.random.default_rng(seed).normal(size=len(a))
        spread.append(conditional_auc(a, np.column_stack([-score, score]), y))
    assert np.std(spread) < 0.02  # .015; strata that count alike give .06


def two_columns(score):
    return np.column_stack([-score, score])


def test_the_interval_without_strata_is_newcombes():
    """Method 5 of Newcombe 2006: both ends solve its equation."""
    rng = np.random.default_rng(0)
    a = np.repeat([0, 1], [30, 12])
    found = auc_interval(a, two_columns(rng.normal(size=42) + a))
    m, n, z = 12, 30, norm.ppf(0.975)
    assert found.auc == pytest.approx(
        roc_auc_score(a, np.random.default_rng(0).normal(size=42) + a)
    )
    for end in (found.low, found.high):
        half = (m + n) / 2 - 1
        variance = end * (1 - end) / (m * n)
        variance *= 1 + half * (1 - end) / (2 - end) + half * end / (1 + end)
        assert abs(found.auc - end) == pytest.approx(z * np.sqrt(variance), abs=1e-6)
    assert found.low < found.auc < found.high


def test_at_chance_the_variance_is_that_of_ranks():
    """The exact null variance of Mann and Whitney, (m + n + 1) / (12 m n), pooled over strata."""
    a, y = np.tile([0, 1], 50), np.repeat([0, 1], [60, 40])
    tied = np.zeros((100, 2))  # AUC exactly .5
    found = auc_interval(a, tied, y)
    won = [(30, 30), (20, 20)]
    pairs = sum(m * n for m, n in won)
    variance = sum((m * n) ** 2 * (m + n + 1) / (12 * m * n) for m, n in won) / pairs**2
    # the ends solve an equation of their own; near .5 the variance is nearly constant
    assert found.high - 0.5 == pytest.approx(1.96 * np.sqrt(variance), rel=0.04)
    assert found.high - 0.5 == pytest.approx(0.5 - found.low)


@pytest.mark.parametrize("n", [3, 10, 100])
def test_perfect_separation_is_no_certainty(n):
    a = np.repeat([0, 1], n)
    found = auc_interval(a, two_columns(a.astype(float)))
    assert found[::2] == (1, 1)
    assert 1 - found.low > 1 / (2 * n)
    worst = auc_interval(a, two_columns(-a.astype(float)))
    assert worst[:2] == (0, 0)
    assert worst.high == pytest.approx(1 - found.low)


def test_copies_of_images_do_not_narrow_the_interval():
    rng = np.random.default_rng(1)
    a = np.repeat([0, 1], 40)
    score = rng.normal(size=80) + a
    once = auc_interval(a, two_columns(score))
    patients = np.repeat(np.arange(80), 5)
    copied = auc_interval(a[patients], two_columns(score[patients]), groups=patients)
    assert copied.auc == pytest.approx(once.auc)
    assert copied.high - copied.low == pytest.approx(once.high - once.low, rel=0.05)


def test_images_of_a_patient_that_cancel_do_not_narrow_the_interval():
    """A patient with one image of each class, scored alike: what one wins the other loses."""
    rng = np.random.default_rng(5)
    a, patients = np.tile([0, 1], 40), np.repeat(np.arange(40), 2)
    scores = two_columns(rng.normal(size=40)[patients])
    assert auc_interval(a, scores, groups=patients) == auc_interval(a, scores)


def test_cross_fitting_widens_where_little_is_read():
    rng = np.random.default_rng(2)
    a = np.repeat([0, 1], 200)
    widths = {}
    for shift in (0, 4):
        scores = two_columns(rng.normal(size=400) + shift * a)
        for shared in (0, 1):
            found = auc_interval(a, scores, shared=shared)
            widths[shift, shared] = found.high - found.low
    assert widths[0, 1] == pytest.approx(1.5 * widths[0, 0], rel=0.05)
    assert widths[4, 1] < 1.1 * widths[4, 0]


def test_without_a_pair_there_is_no_auc():
    assert np.isnan(auc_interval(np.array([0, 1]), np.zeros((2, 2)), np.array([0, 1]))).all()
    nothing = np.zeros(0, dtype=int)
    assert np.isnan(auc_interval(nothing, np.zeros((0, 2)), nothing)).all()


@settings(deadline=None)
@given(scored())
def test_the_estimate_is_within_its_interval_and_that_within_0_and_1(case):
    codes, scores, strata, _ = case
    auc, low, high = auc_interval(codes, scores, strata)
    if not np.isnan(auc):
        assert 0 <= low <= auc <= high <= 1
        assert high - low > 0


def simulated_change(r, loss, n=240):
    rng = np.random.default_rng(r)
    a = np.arange(n) % 2
    signal = rng.normal(size=(4, n)) + 0.9 * a
    after = signal[: 4 - loss].sum(axis=0) / np.sqrt(4 - loss)
    before = signal.sum(axis=0) / 2 + 0.3 * rng.normal(size=n)
    after += 0.3 * rng.normal(size=n)
    return auc_change(a, two_columns(before), two_columns(after))


def test_a_change_is_covered_and_a_true_one_seen():
    none = [simulated_change(r, 0) for r in range(300)]
    assert np.mean([c.low <= 0 <= c.high for c in none]) > 0.87
    assert np.mean([c.high < 0 for c in none]) < 0.07
    truth = norm.cdf(0.9 * np.sqrt(2) / np.sqrt(2 + 0.18)) - norm.cdf(1.8 / np.sqrt(2 + 0.18))
    half = [simulated_change(r, 2) for r in range(300)]
    assert np.mean([c.low <= truth <= c.high for c in half]) > 0.87
    assert np.mean([c.high < 0 for c in half]) > 0.9


def test_no_change_is_exactly_none():
    rng = np.random.default_rng(3)
    a, scores = np.arange(60) % 2, two_columns(rng.normal(size=60))
    assert auc_change(a, scores, scores) == (0, 0, 0)


def test_the_interval_of_a_change_is_delongs():
    """By the structural components of either AUC, pair by pair."""
    rng = np.random.default_rng(4)
    a = np.repeat([0, 1], [30, 20])
    before, after = rng.normal(size=(2, 50)) + np.outer([2, 0.3], a)
    variance = 0.0
    components = []
    for score in (before, after):
        wins = np.sign(score[a == 1][:, None] - score[a == 0]) / 2 + 0.5
        components.append((wins.mean(), wins.mean(axis=1), wins.mean(axis=0)))
    change = components[1][0] - components[0][0]
    for side, n in ((1, 20), (2, 30)):
        moved = components[1][side] - components[0][side] - change
        variance += np.square(moved).sum() / n**2
    found = auc_change(a, two_columns(before), two_columns(after))
    reach = norm.ppf(0.95) * np.sqrt(variance)
    np.testing.assert_allclose(found, (change, change - reach, change + reach))
