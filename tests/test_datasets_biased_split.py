"""The split builder: exact counts, patients apart, same seed same rows, and honest errors."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skdne.datasets.biased_split import biased_split
from skdne.datasets.cells import PAPER_CELLS, scale_cells

CELLS = [(0, "M"), (0, "F"), (1, "M"), (1, "F")]


def counts(rows, y, a):
    return Counter(zip(np.asarray(y)[rows].tolist(), np.asarray(a)[rows].tolist(), strict=True))


def check(split, y, a, groups, train, test, sensitive=None):
    """Exact counts, each row once, no patient in two sets."""
    for rows, cells in zip(split, (train, test, sensitive or {}), strict=True):
        assert counts(rows, y, a) == {cell: n for cell, n in cells.items() if n}
        assert (np.diff(rows) > 0).all()
    all_rows = np.concatenate(split)
    assert len(np.unique(all_rows)) == len(all_rows)
    groups = np.arange(len(y)) if groups is None else np.asarray(groups)
    patients = [set(groups[rows].tolist()) for rows in split]
    assert not patients[0] & patients[1]
    assert not patients[2] & (patients[0] | patients[1])


cell_counts = st.lists(st.integers(0, 6), min_size=4, max_size=4).filter(any)


@settings(max_examples=150, deadline=None)
@given(
    supply=st.lists(st.integers(0, 14), min_size=4, max_size=4),
    wanted=st.tuples(cell_counts, cell_counts, cell_counts),
    seed=st.integers(0, 2**32 - 1),
)
def test_one_image_a_patient_fails_only_where_it_must(supply, wanted, seed):
    order = np.random.default_rng(seed).permutation(np.repeat(np.arange(4), supply))
    y, a = order // 2, np.array(["M", "F"])[order % 2]
    train, test, sensitive = (dict(zip(CELLS, n, strict=True)) for n in wanted)
    arguments = {
        "train_cells": train,
        "test_cells": test,
        "sensitive_cells": sensitive,
        "random_state": seed,
    }
    if (np.sum(wanted, axis=0) > supply).any() or len(order) == 0:
        with pytest.raises(ValueError, match="needs"):
            biased_split(y, a, **arguments)
        return
    split = biased_split(y, a, **arguments)
    check(split, y, a, None, train, test, sensitive)
    again = biased_split(y, a, np.arange(len(y)), **arguments)
    for rows, same in zip(split, again, strict=True):
        np.testing.assert_array_equal(rows, same)


@settings(max_examples=150, deadline=None)
@given(
    patients=st.lists(st.integers(0, 9), min_size=8, max_size=80),
    wanted=st.tuples(cell_counts, cell_counts),
    seed=st.integers(0, 2**32 - 1),
)
def test_several_images_a_patient(patients, wanted, seed):
    rng = np.random.default_rng(seed)
    y, is_f = rng.integers(2, size=(2, len(patients)))
    a = np.where(is_f, "F", "M")
    groups = np.array([f"p{patient}" for patient in patients])
    train, test = (dict(zip(CELLS, n, strict=True)) for n in wanted)
    arguments = {"train_cells": train, "test_cells": test, "random_state": seed}
    try:
        split = biased_split(y, a, groups, **arguments)
    except ValueError as error:
        assert "needs" in str(error)  # noqa: PT017
        table = pd.DataFrame({"cell": list(zip(y.tolist(), a.tolist(), strict=True)), "p": groups})
        supply = table.value_counts("cell")
        most = table.groupby(["cell", "p"]).size().groupby("cell").max()
        # each test patient fills a place at least, and takes no more images from a cell than `most`
        lost = {cell: sum(test.values()) * most.get(cell, 0) for cell in CELLS}
        assert any(
            supply.get(cell, 0) < test[cell] or supply.get(cell, 0) - lost[cell] < train[cell]
            for cell in CELLS
            if train[cell] or test[cell]
        )
        return
    check(split, y, a, groups, train, test)
    again = biased_split(y, a, groups, **arguments)
    np.testing.assert_array_equal(split.train, again.train)
    np.testing.assert_array_equal(split.test, again.test)


def cohort(n_patients=6000, seed=0):
    """About 2.6 images a patient, a finding in a quarter of them, as in CheXpert."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_patients), rng.geometric(0.38, n_patients))
    sex = np.where(rng.random(n_patients) < 0.41, "F", "M")[groups]
    rate = rng.beta(0.8, 2.4, n_patients)[groups]
    return (rng.random(len(groups)) < rate).astype(int), sex, groups


@pytest.mark.parametrize("name", list(PAPER_CELLS))
def test_papers_cells_scaled_down(name):
    y, sex, groups = cohort()
    cells = PAPER_CELLS[name]
    split = biased_split(
        y,
        pd.Series(sex, index=np.arange(len(y))[::-1]),  # matched by position
        groups,
        train_cells=cells.train,
        test_cells=cells.test,
        scale=0.1,
        random_state=1,
    )
    assert len(split.sensitive) == 0
    train = {cell: n // 10 for cell, n in cells.train.items()}
    test = {cell: n // 10 for cell, n in cells.test.items()}
    check(split, y, sex, groups, train, test)
    other = biased_split(
        y,
        sex,
        groups,
        train_cells=cells.train,
        test_cells=cells.test,
        scale=0.1,
        random_state=2,
    )
    assert not np.array_equal(split.test, other.test)


def test_test_images_are_of_many_patients_while_there_are_enough():
    """20 patients with 5 images each: 20 test images are one of each; with 12 patients, a few."""
    y, a, groups = [0] * 100, ["F"] * 100, np.repeat(np.arange(20), 5)
    cell = (0, "F")
    for n_train, n_test, n_patients in ((10, 15, 15), (10, 18, 18), (70, 20, 4), (80, 20, 4)):
        split = biased_split(
            y, a, groups, train_cells={cell: n_train}, test_cells={cell: n_test}, random_state=0
        )
        check(split, y, a, groups, {cell: n_train}, {cell: n_test})
        assert len(np.unique(groups[split.test])) == n_patients


def test_papers_cells_are_the_papers():
    """Table 1 of the arXiv paper: neg M, neg F, pos M, pos F; the last row is a reading of ours."""
    expected = {
        "Pneumonia": ([1500, 150, 1500, 1500], 100),
        "Edema": ([5000, 500, 5000, 5000], 200),
        "Pleural Effusion": ([5000, 5000, 500, 5000], 200),
        "Pleural Effusion, as released": ([5000, 500, 500, 5000], 200),
    }
    assert list(PAPER_CELLS) == list(expected)
    for name, (train, test) in expected.items():
        assert [PAPER_CELLS[name].train[cell] for cell in CELLS] == train
        assert [PAPER_CELLS[name].test[cell] for cell in CELLS] == [test] * 4
        assert PAPER_CELLS[name].finding == name.partition(",")[0]
    # 85 batches of 128 of the released notebook
    total = sum(PAPER_CELLS["Pleural Effusion, as released"].train.values())
    assert abs(total - 85 * 128) <= 128
    with pytest.raises(TypeError):
        PAPER_CELLS["Edema"].train[0, "M"] = 1


def test_every_image_of_a_cell_is_as_likely():
    """One image a patient: 40 of 60 images of a cell are drawn, 10 to test; chi-square by hand."""
    y, a = np.repeat([0, 1], 60), np.repeat("F", 120)
    trains, tests = np.zeros(120), np.zeros(120)
    n = 300
    for seed in range(n):
        split = biased_split(
            y,
            a,
            train_cells={(0, "F"): 30, (1, "F"): 30},
            test_cells={(0, "F"): 10, (1, "F"): 10},
            random_state=seed,
        )
        trains[split.train] += 1
        tests[split.test] += 1
    for drawn, p in ((trains, 30 / 60), (tests, 10 / 60)):
        # without replacement: the variance of a count is n p (1 - p), correlated by -1 / 59
        statistic = ((drawn - n * p) ** 2).sum() / (n * p * (1 - p)) * 59 / 60
        assert 77 < statistic < 167  # 118 degrees of freedom: 0.1% and 99.9%


def test_missing_labels_several_attributes_and_text_targets():
    y = np.array(["sick", "well", "sick", "well", "sick", None] * 4, dtype=object)
    a = pd.DataFrame({"sex": ["F", "F", "M"] * 8, "age": ["old"] * 20 + [None] * 4})
    cells = {("sick", "F, old"): 1, ("well", "F, old"): 1}
    split = biased_split(y, a, train_cells=cells, test_cells=cells, random_state=0)
    for rows in (split.train, split.test):
        assert sorted(y[rows]) == ["sick", "well"]
        assert (a["sex"].iloc[rows] == "F").all()
        assert (a["age"].iloc[rows] == "old").all()
    floats = np.where(y == "sick", 1.0, np.nan)  # "ignore": 1.0 is the class 1
    split = biased_split(
        floats, a["sex"], train_cells={(1, "M"): 2}, test_cells={(1, "F"): 3}, random_state=0
    )
    assert (floats[np.concatenate(split)] == 1).all()


def test_errors_name_the_cell_what_it_needs_and_what_there_is():
    y, a = [0] * 10 + [1] * 10, ["F", "M"] * 10
    balanced = dict.fromkeys(CELLS, 2)
    with pytest.raises(ValueError, match="cell") as caught:
        biased_split(y, a, train_cells={**balanced, (1, "F"): 4}, test_cells=balanced)
    assert str(caught.value) == (
        "cell (1, 'F') needs 6 images (2 in test_cells, 4 in train_cells), there are 5. Ask for "
        "fewer images, or use a scale below 0.83."
    )
    with pytest.raises(ValueError, match=r"cell \(1, 'Female'\) needs 1 images .*there are none: "):
        biased_split(y, a, train_cells={(1, "Female"): 1}, test_cells=balanced)
    # two patients with two images each: the one who fills the test set takes both away
    with pytest.raises(ValueError, match="with no patient in two sets") as caught:
        biased_split(
            [0] * 4,
            ["F"] * 4,
            [1, 1, 2, 2],
            train_cells={(0, "F"): 3},
            test_cells={(0, "F"): 1},
        )
    assert str(caught.value) == (
        "with no patient in two sets, cell (0, 'F') of train_cells needs 3 images and gets 2; this "
        "is the best of 20 random orders. Ask for fewer images, or use a smaller scale."
    )


def test_other_orders_are_tried():
    """Only the patient with one image may go to the test set; half the orders begin with her."""
    for seed in range(20):
        split = biased_split(
            [0] * 3,
            ["F"] * 3,
            ["a", "a", "b"],
            train_cells={(0, "F"): 2},
            test_cells={(0, "F"): 1},
            random_state=seed,
        )
        assert (split.train.tolist(), split.test.tolist()) == ([0, 1], [2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attribute": ["F"]}, "attribute has 1 rows, target has 6"),
        ({"groups": [1, 2]}, "groups has 2 rows, target has 6"),
        ({"groups": [1, 2, 3, None, 5, 6]}, "groups is missing in 1 of 6 rows"),
        ({"scale": 0}, r"scale must be a number in \(0, 1\]; got 0"),
        ({"scale": 2.0}, r"scale must be a number in \(0, 1\]; got 2.0"),
        ({"train_cells": {(0, "F"): -1}}, r"train_cells\[\(0, 'F'\)\] must be an integer.* got -1"),
        ({"train_cells": {(0, "F"): 1.5}}, r"train_cells\[\(0, 'F'\)\] must be an integer"),
        ({"test_cells": {"F": 1}}, r"test_cells: keys must be \(target, attribute\).* got 'F'"),
        ({"test_cells": {(0, "F"): 0}}, "test_cells asks for no image at all"),
        ({"test_cells": {}}, "test_cells asks for no image at all"),
    ],
)
def test_bad_arguments(arguments, message):
    good = {
        "target": [0, 1] * 3,
        "attribute": ["F"] * 6,
        "train_cells": {(0, "F"): 1},
        "test_cells": {(0, "F"): 1},
    }
    assert len(biased_split(**good).train) == 1
    with pytest.raises(ValueError, match=message):
        biased_split(**{**good, **arguments})


@given(n=st.integers(0, 5000), scale=st.floats(1e-3, 1))
def test_scaling_rounds_and_keeps_cells(n, scale):
    (scaled,) = scale_cells({(0, "F"): n}, scale).values()
    assert (scaled == 0) == (n == 0)
    assert abs(scaled - n * scale) <= 0.5 or scaled == 1
