"""Statistics of the audit: power, coverage, patients, permutations, Nadeau-Bengio."""

import numpy as np
import pytest
from scipy import stats

from skdne.audit import FairnessAudit, nadeau_bengio_interval
from skdne.audit._intervals import gap_interval, percentile_interval, worst_interval
from skdne.audit._rates import cell_counts, rates, with_spread
from skdne.audit._resampling import bootstrap_patients, permute_attribute
from skdne.audit._unfairness import max_t


def drawn(seed, n_patients=150, per_patient=2, unfair=0.0):
    """Predictions right in 75%, less for F by ``unfair``; patients share a true class and luck."""
    rng = np.random.default_rng(seed)
    a = rng.choice(["F", "M"], n_patients)
    y = (rng.random(n_patients) < np.where(a == "F", 0.35, 0.6)).astype(int)  # unlike prevalence
    right = rng.random(n_patients) < 0.75 - unfair * (a == "F")
    rows = np.repeat(np.arange(n_patients), per_patient)
    y_pred = np.where(right, y, 1 - y)[rows]
    return y[rows], y_pred, a[rows], rows


def flags(seed, **kwargs):
    y, y_pred, a, groups = drawn(seed, **kwargs)
    audit = FairnessAudit.from_predictions(
        y,
        y_pred=y_pred,
        sensitive_features=a,
        groups=groups,
        n_bootstrap=20,
        n_permutations=199,
        random_state=seed,
    )
    frame = audit.to_frame()
    return set(frame.loc[frame["flagged"].fillna(False).astype(bool), "figure"])


def test_an_unfair_classifier_is_flagged():
    found = [flags(seed, n_patients=300, unfair=0.35) for seed in range(10)]
    assert all("equalized odds" in names for names in found)
    assert sum({"EO_p", "EO_n"} <= names for names in found) >= 7


def test_a_gap_in_one_class_alone_is_flagged_there():
    y, y_pred, a, groups = drawn(0, n_patients=400)
    y_pred = np.where((a == "F") & (y == 1), groups % 2, y_pred)
    audit = FairnessAudit.from_predictions(
        y, y_pred=y_pred, sensitive_features=a, groups=groups, random_state=0
    )
    frame = audit.to_frame().set_index("figure")
    assert frame.loc["EO_p", "flagged"]
    assert not frame.loc["EO_n", "flagged"]
    assert any(s.startswith("Flagged: EO_p") and "lowest for F" in s for s in audit.summary)


@pytest.mark.parametrize("true_gap", [0.0, 0.25])
def test_coverage_of_the_intervals(true_gap):
    """Gap, group rate and worst group over 150 samples; 95% is promised, 90% refused by chance."""
    held = np.zeros((150, 3), dtype=bool)
    recall = np.array([[0.8, 0.8], [0.7, 0.7 - true_gap]])  # [class, group]
    for i in range(len(held)):
        rng = np.random.default_rng(i)
        a, y = rng.integers(0, 2, (2, 400))
        y_pred = np.where(rng.random(400) < recall[y, a], y, 1 - y)
        boot = bootstrap_patients(400, 200, i)
        found = rates(cell_counts(boot, a, y, y_pred, (2, 2))).recall
        low, high = gap_interval(found[:, 1])
        held[i, 0] = low <= true_gap <= high
        low, high = percentile_interval(found[:, 1, 1])
        held[i, 1] = low <= recall[1, 1] <= high
        low, high = worst_interval(found)
        held[i, 2] = low <= recall.min() <= high
    for covered in held.sum(axis=0):
        assert stats.binomtest(int(covered), len(held), 0.95, alternative="less").pvalue > 0.005


def test_bootstrap_percentiles_of_a_gap_would_miss_zero():
    """Why gap_interval exists: where there is no gap, the plain interval never holds 0."""
    rng = np.random.default_rng(0)
    boot = bootstrap_patients(300, 400, 0)
    a, y = rng.integers(0, 3, 300), rng.integers(0, 2, 300)
    y_pred = np.where(rng.random(300) < 0.7, y, 1 - y)
    recall = rates(cell_counts(boot, a, y, y_pred, (3, 2))).recall[:, 1]
    plain = np.quantile(recall[1:].max(axis=1) - recall[1:].min(axis=1), 0.025)
    assert plain > 0
    assert gap_interval(recall)[0] == 0


def test_a_rate_of_one_has_an_interval():
    ones = np.ones((2001, 1))
    spread = with_spread(ones, np.array([12]))
    assert spread[0] == 1
    low, high = percentile_interval(spread[:, 0])
    assert low == pytest.approx(stats.beta.ppf(0.025, 12.5, 0.5), abs=1e-3)
    assert high == 1
    np.testing.assert_array_equal(spread, with_spread(ones, np.array([12])))


def test_a_perfect_classifier_of_a_handful_has_intervals():
    """12 patients of 3 images each, all right: every rate may be less than 1 elsewhere."""
    rows = np.repeat(np.arange(12), 3)
    y, a = rows % 2, np.where(rows % 4 < 2, "F", "M")
    audit = FairnessAudit.from_predictions(
        y, y_pred=y, sensitive_features=a, groups=rows, n_bootstrap=2000, random_state=0
    )
    frame = audit.to_frame().query("section in ['performance', 'group'] and figure != 'AUC'")
    low = frame.set_index(["figure", "group"])["low"]
    assert (frame["value"].isin([0, 0.5, 1])).all()
    assert low["accuracy", "all"] == pytest.approx(stats.beta.ppf(0.025, 12.5, 0.5), abs=2e-3)
    for group in "FM":  # 6 patients, 3 of each class
        for rate, n in (("accuracy", 6), ("true positive rate", 3), ("true negative rate", 3)):
            assert low[rate, group] == pytest.approx(stats.beta.ppf(0.025, n + 0.5, 0.5), abs=5e-3)
    assert low["accuracy", "all"] - 0.1 < low["balanced accuracy", "all"] < 0.9
    assert low["worst group accuracy", "all"] < low["true positive rate", "F"]


def test_bootstrap_resamples_patients():
    counts = bootstrap_patients(30, 400, 0)
    np.testing.assert_array_equal(counts[0], 1)
    np.testing.assert_array_equal(counts.sum(axis=1), 30)
    assert counts[1:].var() == pytest.approx(29 / 30, rel=0.05)  # of a multinomial


def test_permutations_keep_patients_and_y():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(60), rng.integers(1, 4, 60))
    a = rng.integers(0, 3, 60)[patients]
    y = rng.integers(0, 2, len(patients))
    permuted = permute_attribute(a, y, patients, 50, 0)
    np.testing.assert_array_equal(permuted[0], a)
    first = np.unique(patients, return_index=True)[1]
    np.testing.assert_array_equal(permuted, permuted[:, first][:, patients])  # one value a patient
    classes = np.array(
        [1 + set(y[patients == p]).issubset({1}) - (0 in y[patients == p]) * 1 for p in range(60)]
    )
    for stratum in np.unique(classes):  # as many of each attribute among patients of equal classes
        here = permuted[:, first][:, classes == stratum]
        np.testing.assert_array_equal(
            np.sort(here, axis=1), np.sort(here[:1], axis=1).repeat(51, 0)
        )
    assert len(np.unique(permuted, axis=0)) > 40


def test_max_t_by_brute_force():
    rng = np.random.default_rng(1)
    gaps = {"u": rng.random(40), "v": rng.random(40), "none": np.full(40, np.nan)}
    gaps["u"][0] = 1.3
    found = max_t(gaps, 0.05)
    assert set(found) == {"u", "v"}
    z = {name: (gaps[name] - gaps[name].mean()) / gaps[name].std() for name in found}
    for name, test in found.items():
        count = sum(max(z["u"][b], z["v"][b]) >= z[name][0] for b in range(40))
        assert test.p_value == pytest.approx(count / 40)
        assert test.null == pytest.approx(gaps[name].mean())
        assert test.flagged == (count / 40 <= 0.05)
    assert found["u"].flagged


def test_nadeau_bengio_by_hand_and_limits():
    d = [0.02, 0.05, -0.01, 0.04]
    mean, low, high = nadeau_bengio_interval(d, 90, 30)
    half = stats.t.ppf(0.975, 3) * np.sqrt((1 / 4 + 1 / 3) * np.var(d, ddof=1))
    np.testing.assert_allclose([mean, low, high], [0.025, 0.025 - half, 0.025 + half])
    plain = stats.t.interval(0.95, 3, loc=np.mean(d), scale=stats.sem(d))
    np.testing.assert_allclose(nadeau_bengio_interval(d, 10**12, 1)[1:], plain, rtol=1e-9)
    for bad, message in (([0.1], "two finite"), ([0.1, np.nan], "nan"), ([[1, 2]], "one column")):
        with pytest.raises(ValueError, match=message):
            nadeau_bengio_interval(bad, 10, 10)
    with pytest.raises(ValueError, match="positive"):
        nadeau_bengio_interval(d, 0, 10)
