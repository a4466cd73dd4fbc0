"""The three sets: disjoint, complete, by patient, stratified."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skdne.splits import three_sets


def check_partition(sets, n, groups=None):
    parts = [sets.fit, sets.select, *sets.report_folds]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n))
    np.testing.assert_array_equal(np.sort(np.concatenate([np.arange(0), *parts[2:]])), sets.report)
    if groups is not None:
        of_part = [set(groups[part]) for part in parts]
        for i, one in enumerate(of_part):
            assert all(one.isdisjoint(other) for other in of_part[i + 1 :])


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(2, 150),
    n_groups=st.one_of(st.none(), st.integers(1, 100)),
    n_classes=st.integers(1, 4),
    report=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_three_disjoint_sets_cover_everything(n, n_groups, n_classes, report, seed):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, n_classes, n)
    cells = codes + n_classes * rng.integers(0, 2, n)
    groups = None if n_groups is None else rng.integers(0, n_groups, n)
    sets = three_sets(cells, codes, groups, report, seed)
    check_partition(sets, n, groups)
    assert len(sets.fit) > 0
    assert len(sets.report_folds) in ((0, 3) if report else (0,))
    members = np.arange(n) if groups is None else groups
    smallest = min(len(np.unique(members[codes == k])) for k in np.unique(codes))
    assert (len(sets.select) > 0) == (smallest >= 10)


@pytest.mark.parametrize("grouped", [False, True])
def test_shares_and_strata(grouped):
    rng = np.random.default_rng(0)
    cells = rng.choice(4, 2000, p=[0.5, 0.3, 0.15, 0.05])
    groups = rng.integers(0, 900, 2000) if grouped else None
    sets = three_sets(cells, cells % 2, groups, True, 0)
    check_partition(sets, 2000, groups)
    for part, share in ((sets.fit, 0.5), (sets.select, 0.2), (sets.report, 0.3)):
        assert abs(len(part) / 2000 - share) < 0.02
        shares = np.bincount(cells[part], minlength=4) / len(part)
        np.testing.assert_allclose(shares, np.bincount(cells) / 2000, atol=0.02)


def test_without_a_report_its_share_goes_to_the_fit():
    codes = np.arange(200) % 2
    sets = three_sets(codes, codes, None, False, 0)
    assert (len(sets.fit), len(sets.select), len(sets.report)) == (160, 40, 0)


def test_seeds():
    codes = np.arange(200) % 2
    first, same, other = (three_sets(codes, codes, None, True, s).fit for s in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("n_small", [9, 10])
def test_small_classes_leave_nothing_held_out(n_small):
    codes = np.repeat([0, 1], [100, n_small])
    sets = three_sets(codes, codes, None, True, 0)
    assert len(sets.select) == (0 if n_small < 10 else 22)
    # ten images of one patient are no ten patients
    groups = np.r_[np.arange(100), np.full(n_small, 100)]
    assert len(three_sets(codes, codes, groups, True, 0).select) == 0


def test_cells_smaller_than_the_folds_fall_back_to_the_attribute():
    codes = np.arange(24) % 2
    cells = codes + 2 * (np.arange(24) // 6)  # 8 cells of 3
    sets = three_sets(cells, codes, None, True, 0)
    check_partition(sets, 24)
    assert len(sets.select) > 0


@pytest.mark.parametrize("seed", range(6))
def test_one_patient_with_most_images_belongs_to_the_fit(seed):
    codes = np.arange(400) % 2
    groups = np.r_[np.zeros(250, int), np.arange(1, 151)]
    sets = three_sets(codes, codes, groups, True, seed)
    check_partition(sets, 400, groups)
    assert 0 in groups[sets.fit]
    assert len(sets.select) == 30
    assert all(len(np.unique(codes[fold])) == 2 for fold in sets.report_folds)


def test_twenty_thousand_images_take_seconds():
    rng = np.random.default_rng(0)
    codes, groups = rng.integers(0, 2, 20_000), rng.integers(0, 5000, 20_000)
    start = time.perf_counter()
    check_partition(three_sets(codes, codes, groups, True, 0), 20_000, groups)
    assert time.perf_counter() - start < 30  # 1.6 s on two cores


def test_patients_with_many_images_are_in_the_report_set_as_often_as_others():
    """All that have over a tenth of the images used to end up in the fit."""
    per_patient = np.r_[[60, 50, 40], np.ones(150, int)]
    groups = np.repeat(np.arange(153), per_patient)
    codes = np.arange(len(groups)) % 2
    found = np.zeros(2)
    for seed in range(40):
        sets = three_sets(codes, codes, groups, True, seed)
        found += [np.isin([0, 1, 2], groups[part]).mean() for part in (sets.report, sets.select)]
    assert 0.2 < found[0] / 40 < 0.4  # three of ten folds
    assert 0.1 < found[1] / 40 < 0.3  # two of ten
