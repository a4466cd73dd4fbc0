"""The attribute: labels to classes, balancing weights, and the checks on what comes in."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skdne.attribute import cell_weights, check_sensitive_data, encode_labels
from skdne.diagnostics import DebiasingWarning

LABELS = {
    "list": ["M", "F", None, "M"],
    "nan in an object array": np.array(["M", "F", np.nan, "M"], dtype=object),
    "series": pd.Series(["M", "F", None, "M"], index=[3, 3, 1, 0]),
    "string dtype": pd.Series(["M", "F", pd.NA, "M"], dtype="string"),
    "categorical": pd.Series(["M", "F", None, "M"], dtype=pd.CategoricalDtype(["M", "X", "F"])),
    "one column": pd.DataFrame({"sex": ["M", "F", None, "M"]}),
    "bools": [True, False, None, True],
    "boolean dtype": pd.Series([True, False, pd.NA, True], dtype="boolean"),
    "ints": [1, 0, None, 1],
    "Int64": pd.Series([1, 0, pd.NA, 1], dtype="Int64"),
    "floats": np.array([1.0, 0.0, np.nan, 1.0]),
    "float column": np.array([[1.0], [0.0], [np.nan], [1.0]]),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_encode_labels(labels):
    codes, classes = encode_labels(labels, "a")
    assert codes.tolist() == [1, 0, -1, 1]
    expected = ["F", "M"] if isinstance(classes[0], str) else [0, 1]
    assert list(classes) == expected


def test_several_columns_are_intersected():
    frame = pd.DataFrame(
        {
            "sex": ["F", "M", "F", None, "M"],
            "age": pd.Categorical(["old", "old", "young", "old", None]),
        }
    )
    codes, classes = encode_labels(frame, "a")
    assert codes.tolist() == [0, 2, 1, -1, -1]
    assert classes.tolist() == ["F, old", "F, young", "M, old"]
    codes, classes = encode_labels([[1, 0], [0, 1], [1, 0]], "a")
    assert codes.tolist() == [1, 0, 1]
    assert classes.tolist() == ["0, 1", "1, 0"]


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([1, "a", None], TypeError, "race mixes labels that cannot be sorted"),
        (np.zeros((3, 2, 2)), ValueError, r"race must be of shape .* got \(3, 2, 2\)"),
        (np.zeros((3, 0)), ValueError, r"race must be of shape .* got \(3, 0\)"),
    ],
)
def test_labels_that_are_none(labels, error, message):
    with pytest.raises(error, match=message):
        encode_labels(labels, "race")


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=60))
def test_cells_weigh_the_same(pairs):
    y, a = np.array(pairs).T
    weights = cell_weights(a, y)
    np.testing.assert_allclose(weights.mean(), 1)
    totals = pd.Series(weights).groupby([y, a]).sum()
    np.testing.assert_allclose(totals, len(y) / len(totals))
    assert pd.Series(weights).groupby([y, a]).nunique().eq(1).all()
    np.testing.assert_array_equal(cell_weights(a, None), np.ones(len(a)))


A = ["F", "M"] * 3


def test_sensitive_data_without_y():
    data = check_sensitive_data(A, None, None, 6)
    assert data.strata is None
    assert data.groups is None
    assert data.cell_names == ["F", "M"]
    np.testing.assert_array_equal(data.cells, data.codes)
    np.testing.assert_array_equal(data.weights, 1)


def test_missing_rows_are_left_out_and_counted_once():
    a = ["F", None, "M", "F", "M", None]
    with pytest.warns(DebiasingWarning, match="missing in 2 of 6 rows") as caught:
        data = check_sensitive_data(a, [0, 0, 0, 1, 1, 1], ["p", "p", "q", "q", "r", "r"], 6)
    assert len(caught) == 1
    assert data.rows.tolist() == [0, 2, 3, 4]
    assert data.codes.tolist() == [0, 1, 0, 1]
    assert data.strata.tolist() == [0, 0, 1, 1]
    assert data.cells.tolist() == [0, 1, 2, 3]
    assert data.cell_names == ["y=0, F", "y=0, M", "y=1, F", "y=1, M"]
    assert data.groups.tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("y", "strata", "names"),
    [
        (["ill", "well"] * 3, [0, 1] * 3, ["ill", "well"]),
        ([True, False] * 3, [1, 0] * 3, ["False", "True"]),
        ([0.0, 1.0] * 3, [0, 1] * 3, ["0.0", "1.0"]),
        (np.array([[0, 1], [1, 0], [1, 1]] * 2), [0, 1, 2] * 2, ["0, 1", "1, 0", "1, 1"]),
    ],
)
def test_y_of_every_kind_balances(y, strata, names):
    data = check_sensitive_data(A, y, None, 6)
    assert data.strata.tolist() == strata
    assert data.cell_names == [f"y={name}, {a}" for name in names for a in "FM"]
    totals = pd.Series(data.weights).groupby(data.cells).sum()
    np.testing.assert_allclose(totals, totals.iloc[0])


@pytest.mark.parametrize("y", [np.linspace(0.1, 1, 100), np.arange(100), [0.5, np.nan] * 50])
def test_a_continuous_y_is_left_out_with_a_warning(y):
    with pytest.warns(DebiasingWarning, match="continuous or has too many classes"):
        data = check_sensitive_data(["F", "M"] * 50, y, None, 100)
    assert data.strata is None
    np.testing.assert_array_equal(data.weights, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((A[:5], None, None), "sensitive_features has 5 rows, X has 6 images"),
        ((A, [0] * 7, None), "y has 7 rows, X has 6"),
        ((A, None, [0] * 2), "groups has 2 rows, X has 6"),
        ((["F"] * 6, None, None), "one class, 'F'"),
        (([None] * 6, None, None), "no labels at all"),
        ((A, None, ["p", None, "q", "q", "r", "r"]), "groups is missing in 1 of 6 rows"),
    ],
)
def test_what_is_refused(arguments, message):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=message):
            check_sensitive_data(*arguments, 6)


def test_a_number_is_no_group():
    with pytest.raises(ValueError, match=r"51 distinct values.*pandas\.cut"):
        check_sensitive_data(np.arange(51), None, None, 51)
    assert len(check_sensitive_data(np.arange(50), None, None, 50).classes) == 50


@pytest.mark.parametrize(
    "y",
    [
        [0.0, 1.0, np.nan] * 4,
        ["ill", "well", None] * 4,
        pd.Series([0, 1, pd.NA] * 4, dtype="Int64"),
        pd.Series(["a", "b", None] * 4, dtype="category"),
        np.array([[0, 0], [1, 1], [1, np.nan]] * 4),
    ],
)
@pytest.mark.filterwarnings("ignore:y is missing")
def test_missing_y_of_every_kind_leaves_the_row_out(y):
    data = check_sensitive_data(np.repeat(["F", "M"], 6), y, None, 12)
    assert data.rows.tolist() == [0, 1, 3, 4, 6, 7, 9, 10]
    assert data.strata.tolist() == [0, 1] * 4


def test_rows_without_y_take_no_part_in_balancing():
    """They were a stratum of their own, which weighed as much as each class of y."""
    y = np.arange(600) % 2 * 1.0
    a = np.arange(600) // 2 % 2
    y[:6] = np.nan
    with pytest.warns(DebiasingWarning, match="y is missing in 6 of the 600 rows"):
        data = check_sensitive_data(a, y, None, 600)
    np.testing.assert_array_equal(data.rows, np.arange(6, 600))
    assert set(data.strata) == {0, 1}
    np.testing.assert_allclose(np.bincount(data.cells, data.weights), len(data.rows) / 4)
    assert not any("missing" in name for name in data.cell_names)


def test_y_that_is_missing_for_a_whole_group_is_refused():
    y = np.where(np.arange(40) < 20, np.nan, np.arange(40) % 2)
    a = np.repeat(["F", "M"], 20)
    with pytest.raises(ValueError, match="y is missing in all rows with the attribute 'F'"):
        check_sensitive_data(a, y, None, 40)
