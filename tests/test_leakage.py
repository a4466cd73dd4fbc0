"""Leakage: planted and absent cues, rare classes, patients, determinism."""

import warnings

import numpy as np
import pytest
import sklearn

from skdne import leakage
from skdne.attribute import check_sensitive_data
from skdne.leakage import bootstrap_counts, in_sample_auc, measure_leakage
from skdne.splits import three_sets


def measured(Z, a, y=None, groups=None, seed=0, probe=None):
    data = check_sensitive_data(a, y, groups, len(a))
    sets = three_sets(data.cells, data.codes, data.groups, True, seed)
    Z = np.asarray(Z, dtype=np.float32)
    with pytest.MonkeyPatch.context() as patch:
        if probe is not None:  # one is enough, and much faster
            chosen = leakage.probes(seed)[probe]
            patch.setattr(leakage, "probes", lambda seed: {probe: chosen})
        return measure_leakage(Z, data, sets, seed)


def noise(n, d=8, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def test_a_planted_cue_is_read_by_all_and_an_absent_one_by_none():
    a = np.arange(240) % 2
    Z = noise(240)
    absent = measured(Z, a)
    assert list(absent) == ["linear", "rbf", "mlp"]
    for auc, low, high in absent.values():
        assert low < 0.5 < high
        assert low <= auc <= high
    Z[:, 3] += 5 * a
    for auc, low, high in measured(Z, a).values():
        assert auc > 0.97
        assert 0.9 < low <= high <= 1


def test_a_cue_in_the_radius_escapes_the_linear_probe_alone():
    a = np.arange(400) % 2
    Z = noise(400, d=2)
    Z *= (np.where(a, 3, 1) / np.linalg.norm(Z, axis=1))[:, None]
    found = measured(Z, a)
    assert found["linear"].low < 0.5 < found["linear"].high + 0.05
    assert found["rbf"].auc > 0.95
    assert found["mlp"].auc > 0.95


def test_what_is_readable_only_through_y_is_no_leakage_given_y():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 500)
    a = np.where(rng.random(500) < 0.85, y, 1 - y)
    Z = noise(500)
    Z[:, 0] += 4 * y
    without, given_y = measured(Z, a, probe="linear"), measured(Z, a, y, probe="linear")
    assert without["linear"].low > 0.7
    assert given_y["linear"].low < 0.5 < given_y["linear"].high


def test_several_classes():
    a = np.array(["u", "v", "w"])[np.arange(300) % 3]
    Z = noise(300)
    assert measured(Z, a, probe="linear")["linear"].low < 0.5
    Z[:, 0] += 4 * (a == "w")
    auc = measured(Z, a, probe="linear")["linear"].auc
    assert 0.7 < auc < 0.95  # w is readable, u and v are not told apart


def test_patients_are_resampled_whole():
    groups = np.array([7, 7, 3, 7, 3, 9])
    counts = bootstrap_counts(groups, np.random.default_rng(0))
    assert counts.shape == (leakage.N_BOOTSTRAP, 6)
    np.testing.assert_array_equal(counts[:, 0], counts[:, 1])
    np.testing.assert_array_equal(counts[:, 2], counts[:, 4])
    np.testing.assert_array_equal(counts[:, [0, 2, 5]].sum(axis=1), 3)
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.15)


def test_copies_of_patients_do_not_narrow_the_interval():
    a = np.arange(150) % 2
    Z = noise(150) + np.outer(a, [1, *[0] * 7])
    many, groups = np.repeat(np.arange(150), 4), np.repeat(np.arange(150), 4)
    honest = measured(Z[many], a[many], groups=groups, probe="linear")["linear"]
    naive = measured(Z[many], a[many], probe="linear")["linear"]
    assert honest.high - honest.low > 1.5 * (naive.high - naive.low)


def test_in_sample_auc_parts_by_patient():
    """A patient's fingerprint tells nothing of the attribute of other patients."""
    a = np.arange(60) % 2
    many = np.repeat(np.arange(60), 5)
    Z = np.eye(60)[many] + 0.01 * noise(300, 60)
    aucs = []
    for groups in (many, None):
        data = check_sensitive_data(a[many], None, groups, 300)
        sets = three_sets(data.cells, data.codes, many, True, 0)
        aucs.append(in_sample_auc(Z.astype(np.float32), data, sets, 0))
    assert aucs[0] < 0.65
    assert aucs[1] > 0.95


def test_deterministic_and_indifferent_to_routing():
    a = np.arange(120) % 2
    Z = noise(120) + 0.3 * a[:, None]
    first = measured(Z, a)
    assert measured(Z, a) == first
    with sklearn.config_context(enable_metadata_routing=True):
        assert measured(Z, a) == first
    assert measured(Z, a, seed=1) != first


def test_many_rows_are_thinned(monkeypatch):
    monkeypatch.setattr(leakage, "MAX_ROWS", 40)
    seen = []
    fit_scores = leakage.fit_scores

    def spy(probe, Z, codes, weights, train, test):
        seen.append((len(train), len(test), len(np.intersect1d(train, test))))
        return fit_scores(probe, Z, codes, weights, train, test)

    monkeypatch.setattr(leakage, "fit_scores", spy)
    measured(noise(600), np.arange(600) % 2, probe="linear")
    assert seen == [(40, 40, 0)] * 3


def test_a_fold_of_one_class_is_left_out_without_a_warning():
    a = np.arange(60) % 2
    data = check_sensitive_data(a, None, None, 60)
    sets = three_sets(data.cells, data.codes, None, True, 0)
    sets.report_folds[0] = np.flatnonzero(a == 0)[:5]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = measure_leakage(noise(60).astype(np.float32), data, sets, 0)
    assert np.isfinite(found["linear"]).all()


def test_a_rare_y_class_does_not_drown_the_leakage():
    """24 rare images among 1,424: without a cue the estimate stays at chance."""
    y = np.repeat([0, 1], [1400, 24])
    a = np.tile([0, 1], 712)
    found = [
        measured(noise(1424, seed=s), a, y, seed=s, probe="linear")["linear"] for s in range(8)
    ]
    assert np.std([auc.auc for auc in found]) < 0.06  # strata that count alike: .16
    assert all(auc.high - auc.low < 0.2 for auc in found)
