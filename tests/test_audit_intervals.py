"""Intervals, permutations and the joint test of the audit, recomputed resample by resample."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from skdne.audit import FairnessAudit
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


def calibrated(n=300, seed=0):
    """Outcomes drawn by their forecasts, which are far below one half."""
    rng = np.random.default_rng(seed)
    forecast = rng.beta(1, 6, n)
    return (rng.random(n) < forecast).astype(int), forecast, rng.choice(["F", "M"], n, p=[0.3, 0.7])


def test_the_calibration_error_stands_beside_what_chance_gives_with_these_forecasts():
    y, forecast, a = calibrated()
    audit = FairnessAudit.from_predictions(
        y, y_score=forecast, sensitive_features=a, n_bootstrap=20, n_permutations=20, random_state=0
    )
    frame = audit.to_frame().set_index(["figure", "group"])
    rng = np.random.default_rng(1)
    bins = np.array_split(np.argsort(forecast), 10)
    few = np.flatnonzero(a == "F")
    for group, rows in (("all", np.arange(300)), ("F", few)):
        errors = []
        for _ in range(500):
            off = forecast - (rng.random(300) < forecast)
            in_bins = [abs(off[np.intersect1d(b, rows)].sum()) for b in bins]
            errors.append(sum(in_bins) / len(rows))
        null = frame.loc[("expected calibration error", group), "null"]
        assert null == pytest.approx(np.mean(errors), abs=0.004)


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_of_a_calibration_error_lies_around_it(seed):
    """Resamples repeat rows, which adds to an absolute error: as they are they would lie above."""
    y, forecast, a = calibrated(seed=seed)
    audit = FairnessAudit.from_predictions(
        y,
        y_score=forecast,
        sensitive_features=a,
        n_bootstrap=400,
        n_permutations=20,
        random_state=0,
    )
    row = (
        audit.to_frame().query("figure == 'expected calibration error' and group == 'all'").iloc[0]
    )
    above, below = row["high"] - row["value"], row["value"] - row["low"]
    assert 0.5 < above / below < 2


def test_calibration_of_several_classes_is_that_of_the_likeliest():
    rng = np.random.default_rng(0)
    scores = rng.dirichlet([1, 2, 3], 200)
    y, a = rng.integers(0, 3, 200), rng.choice(["F", "M"], 200)
    audit = FairnessAudit.from_predictions(
        y, y_score=scores, sensitive_features=a, n_bootstrap=20, n_permutations=20, random_state=0
    )
    found = audit.to_frame().set_index(["figure", "group"])["value"]
    over = scores.max(axis=1) - (scores.argmax(axis=1) == y)
    assert found["mean forecast - outcome", "all"] == pytest.approx(over.mean())
    assert found["mean forecast - outcome", "F"] == pytest.approx(over[a == "F"].mean())


def test_a_patient_with_two_values_of_the_attribute_is_two_units():
    """Young in one or two of three images: each value moves, with all its images."""
    patients = np.repeat(np.arange(20), 3)
    a = np.r_[np.tile([0, 1, 1], 10), np.tile([1, 0, 0], 10)]
    permuted = permute_attribute(a, np.zeros(60, dtype=np.int64), patients, 50, 0)
    np.testing.assert_array_equal(permuted[0], a)
    images = permuted.reshape(51, 20, 3)
    np.testing.assert_array_equal(images[:, :, 1], images[:, :, 2])
    assert (images[1:, :, 0] == images[1:, :, 1]).any()


def test_chance_gives_a_gap_of_aucs_too():
    rng = np.random.default_rng(0)
    y, a = np.arange(240) % 2, rng.choice(["u", "v", "w"], 240)
    score = 1 / (1 + np.exp(-y - rng.normal(size=240)))
    audit = FairnessAudit.from_predictions(
        y, y_score=score, sensitive_features=a, n_bootstrap=20, n_permutations=400, random_state=0
    )
    found = []
    for _ in range(400):
        b = a.copy()
        for label in (0, 1):
            b[y == label] = rng.permutation(a[y == label])
        aucs = [roc_auc_score(y[b == group], score[b == group]) for group in "uvw"]
        found.append(max(aucs) - min(aucs))
    row = audit.to_frame().set_index("figure").loc["AUC gap"]
    assert row["null"] == pytest.approx(np.mean(found), abs=0.01)


def test_other_prevalences_explain_other_selection_rates():
    """The null of |1-DI| keeps y of each group: what y explains is no gap beyond chance."""
    rng = np.random.default_rng(0)
    y, a = np.repeat([1, 0, 1, 0], [60, 240, 180, 120]), np.repeat(["F", "M"], 300)
    y_pred = np.where(rng.random(600) < 0.8, y, 1 - y)
    audit = FairnessAudit.from_predictions(
        y, y_pred=y_pred, sensitive_features=a, n_bootstrap=20, n_permutations=400, random_state=0
    )
    row = audit.to_frame().set_index("figure").loc["|1-DI|"]
    found = []
    for _ in range(400):
        b = a.copy()
        for label in (0, 1):
            b[y == label] = rng.permutation(a[y == label])
        rates = [y_pred[b == group].mean() for group in "FM"]
        found.append(1 - min(rates) / max(rates))
    assert row["null"] == pytest.approx(np.mean(found), abs=0.01)
    assert row["null"] > 0.3  # .2 and .6 are ill
    assert not row["flagged"]
