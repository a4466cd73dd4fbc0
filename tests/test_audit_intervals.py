"""Intervals, permutations and the joint test of the audit, recomputed resample by resample."""

import numpy as np
import pytest

from skdne.audit._intervals import gap_interval, percentile_interval, worst_interval
from skdne.audit._rates import equalized_odds, gap, ratio_gap
from skdne.audit._resampling import permute_attribute
from skdne.audit._unfairness import max_t


def resampled(*estimates, seed=0, n=100, sd=0.02):
    """Rates of groups, the sample first; the resamples are off centre, as a bootstrap may be."""
    rng = np.random.default_rng(seed)
    estimates = np.array(estimates)
    return np.concatenate([[estimates], estimates + rng.normal(0.01, sd, (n, *estimates.shape))])


def reach(deviations):
    """Where 95 of 100 deviations lie below: the next one."""
    return sorted(deviations)[95]


def test_gap_interval_is_the_gap_and_the_range_of_deviations():
    values = resampled(0.5, 0.62, 0.7)
    deviations = [max(row - values[0]) - min(row - values[0]) for row in values[1:]]
    low, high = gap_interval(values)
    assert low == pytest.approx(0.2 - reach(deviations))
    assert high == pytest.approx(0.2 + reach(deviations))
    assert low > 0  # nothing was cut off here


def test_gap_interval_of_several_classes_is_of_the_largest_gap():
    values = resampled([0.5, 0.7], [0.8, 0.75])  # (class, group): gaps of .2 and .05
    values[1:, 1] += np.linspace(-0.1, 0.1, 100)[:, None] * [1, -1]  # the other class varies more
    deviations = [
        max(max(of_class) - min(of_class) for of_class in row - values[0]) for row in values[1:]
    ]
    assert gap_interval(values) == pytest.approx(
        (max(0.2 - reach(deviations), 0), 0.2 + reach(deviations))
    )
    assert reach(deviations) > reach([abs(np.diff(row[0] - values[0, 0])[0]) for row in values[1:]])


def test_gap_interval_of_a_ratio_is_on_the_log_scale():
    values = resampled(0.4, 0.5, 0.48)
    logs = np.log(values)
    deviations = [max(row - logs[0]) - min(row - logs[0]) for row in logs[1:]]
    ratio = 0.4 / 0.5
    low, high = gap_interval(values, log=True)
    assert low == pytest.approx(1 - min(ratio * np.exp(reach(deviations)), 1))
    assert high == pytest.approx(1 - ratio * np.exp(-reach(deviations)))
    assert low < 1 - ratio < high < 1


def test_intervals_end_where_a_gap_and_a_rate_do():
    assert gap_interval(resampled(0.5, 0.51, sd=0.2))[0] == 0
    assert gap_interval(resampled(0.02, 0.97, sd=0.2))[1] == 1
    assert worst_interval(resampled([[0.02, 0.97]], sd=0.2))[0] == 0
    assert worst_interval(resampled([[0.98, 0.99]], sd=0.2))[1] == 1


@pytest.mark.parametrize("end", [-0.2, 0.2])
def test_worst_interval_is_the_worst_rate_and_the_largest_deviation_of_any_cell(end):
    values = resampled([0.5, 0.7], [0.8, 0.6])
    values[1:, 0, 1] += np.linspace(0, end, 100)  # not the worst cell, but it may become it
    deviations = [np.abs(row - values[0]).max() for row in values[1:]]
    assert worst_interval(values) == pytest.approx(
        (0.5 - reach(deviations), 0.5 + reach(deviations))
    )


def test_percentile_interval_holds_the_middle_and_the_estimate():
    values = np.r_[0.5, np.arange(1001) / 1000]
    assert percentile_interval(values) == pytest.approx((0.025, 0.975))
    assert percentile_interval(np.r_[0.99, values[1:]]) == pytest.approx((0.025, 0.99))
    assert percentile_interval(np.r_[0.01, values[1:]]) == pytest.approx((0.01, 0.975))


def test_no_interval_where_a_fifth_of_the_resamples_has_no_value():
    """A cell that resamples lose so often is too small to say anything."""
    values = resampled(0.5, 0.7)
    for lost, known in ((20, True), (21, False)):
        values[1 : 1 + lost, 1] = np.nan
        assert np.isfinite(gap_interval(values)).all() == known
        assert np.isfinite(percentile_interval(values[:, 1])).all() == known
        assert np.isfinite(worst_interval(values[:, None])).all() == known


def test_largest_differences_by_hand():
    rates = np.array([[0.2, 0.5, 0.4], [0.0, 0.3, 0.1]])
    assert gap(rates) == pytest.approx([0.3, 0.3])
    assert ratio_gap(rates) == pytest.approx([0.6, 1.0])  # 1 - .2 / .5, and 0 against anything
    assert np.isnan(ratio_gap(np.zeros((1, 2)))).all()
    recall = np.array([[[0.2, 0.5], [0.9, 0.8]], [[0.5, 0.5], [0.9, 0.1]]])  # (R, class, group)
    assert equalized_odds(recall) == pytest.approx([0.3, 0.8])


@pytest.mark.parametrize(("n_alike", "moves"), [(5, False), (4, True)])
def test_patients_exchange_the_attribute_with_those_of_as_many_images(n_alike, moves):
    """Five patients alike exchange it among themselves only; fewer, with others so rare."""
    images = np.r_[np.full(n_alike, 3), np.full(n_alike, 2), np.full(20, 1)]
    patients = np.repeat(np.arange(len(images)), images)
    a = (patients < n_alike).astype(np.int64)  # M are those with three images
    permuted = permute_attribute(a, np.zeros(len(a), dtype=np.int64), patients, 50, 0)
    rare = patients < 2 * n_alike
    assert (permuted != a)[:, rare].any() == moves
    assert not (permuted != a)[:, ~rare].any()


def test_patients_of_unlike_classes_never_exchange_the_attribute():
    """Each has a number of images of its own, so that only the classes are left to share."""
    images = np.arange(1, 13)
    patients = np.repeat(np.arange(12), images)
    y = (patients >= 6).astype(np.int64)
    a = (patients % 6 < 2).astype(np.int64)
    permuted = permute_attribute(a, y, patients, 200, 0)
    first = np.unique(patients, return_index=True)[1]
    for half in (slice(0, 6), slice(6, 12)):
        assert (permuted[:, first][:, half].sum(axis=1) == 2).all()
    assert len(np.unique(permuted, axis=0)) > 100  # of 15 x 15


def ladder(n=199):
    """Values of a gap under permutations: 1 to n, shuffled."""
    return np.random.default_rng(0).permutation(np.arange(1.0, n + 1))


def test_a_gap_is_compared_on_its_own_scale():
    """One of thousandths that is far out is flagged beside one that varies in tenths."""
    small, large = np.r_[400, ladder()] / 1e5, 0.3 + np.r_[100, ladder()] / 1e3
    found = max_t({"small": small, "large": large}, 0.05)
    assert found["small"].flagged
    assert found["small"].p_value == pytest.approx(1 / 200)  # itself alone
    assert not found["large"].flagged


def test_a_p_value_counts_the_largest_gap_of_each_permutation():
    """Beyond 195 of 199 alone is p = .025; each other gap gives chance another try."""
    gaps = {"tested": np.r_[195.5, ladder()]}
    assert max_t(gaps, 0.05)["tested"].p_value == pytest.approx(5 / 200)
    assert max_t(gaps, 0.05)["tested"].flagged
    rng = np.random.default_rng(1)
    for i in range(5):
        gaps[f"other {i}"] = np.r_[100, rng.permutation(ladder())]
    z = np.array([(v - v.mean()) / v.std() for v in gaps.values()])
    joint = max_t(gaps, 0.05)["tested"]
    assert joint.p_value == pytest.approx((z.max(axis=0) >= z[0, 0]).mean())
    assert joint.p_value > 0.08
    assert not joint.flagged


def test_a_gap_that_never_varies_is_no_evidence():
    found = max_t({"constant": np.full(200, 0.4), "other": np.r_[100, ladder()]}, 0.05)
    assert not found["constant"].flagged
    assert max_t({"none": np.full(200, np.nan)}, 0.05) == {}
