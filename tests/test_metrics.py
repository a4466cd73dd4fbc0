"""Fairness metrics against formulas by hand, against fairlearn, and their invariants."""

import fairlearn.metrics as flm
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.exceptions import UndefinedMetricWarning

from skdne.metrics import (
    disparate_impact,
    equal_opportunity_difference,
    group_rates,
    true_positive_rate_ratio_gap,
    worst_group_accuracy,
)

GAPS = [equal_opportunity_difference, disparate_impact, true_positive_rate_ratio_gap]
METRICS = [*GAPS, worst_group_accuracy]


def random_labels(seed=0, n=400, labels=(0, 1), n_groups=2):
    rng = np.random.default_rng(seed)
    y_true, y_pred = rng.choice(labels, (2, n))
    return y_true, y_pred, rng.integers(0, n_groups, n), rng.uniform(0.5, 2, n)


def share(hit, rows, weight):
    return weight[hit & rows].sum() / weight[rows].sum()


def test_published_row_of_erm_on_pleural_effusion():
    # 200 test images a cell; these four counts of hits give the row of the papers' table
    # (EO_n 40.5, EO_p 57.0, |1-DI| as coded 58.5, accuracy 72.9), and the text's DI is not it.
    hits = {(0, "M"): 194, (0, "F"): 113, (1, "M"): 81, (1, "F"): 195}
    y_true = np.repeat([y for y, _ in hits], 200)
    sex = np.repeat([a for _, a in hits], 200)
    hit = np.concatenate([np.arange(200) < h for h in hits.values()])
    y_pred = np.where(hit, y_true, 1 - y_true)
    kw = {"sensitive_features": sex}
    assert equal_opportunity_difference(y_true, y_pred, **kw) == pytest.approx(0.570)
    eo_n = equal_opportunity_difference(y_true, y_pred, positive_label=0, **kw)
    assert eo_n == pytest.approx(0.405)
    assert true_positive_rate_ratio_gap(y_true, y_pred, **kw) == pytest.approx(0.585, abs=5e-4)
    assert disparate_impact(y_true, y_pred, **kw) == pytest.approx(1 - 87 / 282)
    assert worst_group_accuracy(y_true, y_pred, **kw) == pytest.approx(81 / 200)
    rates = group_rates(y_true, y_pred, **kw)
    assert rates["accuracy"].mean() == pytest.approx(0.729, abs=5e-4)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("labels", "positive"), [((0, 1), 1), ((0, 1), 0), ((0, 1, 2), 2), (("no", "yes"), "yes")]
)
def test_formulas_by_hand(labels, positive, weighted):
    y, p, a, w = random_labels(labels=labels, n_groups=3)
    w = w if weighted else np.ones(len(w))
    of = [a == g for g in range(3)]
    tpr = [share(p == positive, g & (y == positive), w) for g in of]
    tnr = [share(p != positive, g & (y != positive), w) for g in of]
    selected = [share(p == positive, g, w) for g in of]
    accuracy = [share(p == y, g, w) for g in of]
    worst = min(share(p == c, g & (y == c), w) for g in of for c in labels)
    kw = {"sensitive_features": a, "sample_weight": w if weighted else None}
    pos = {**kw, "positive_label": positive}

    assert equal_opportunity_difference(y, p, **pos) == pytest.approx(max(tpr) - min(tpr))
    assert true_positive_rate_ratio_gap(y, p, **pos) == pytest.approx(1 - min(tpr) / max(tpr))
    assert disparate_impact(y, p, **pos) == pytest.approx(1 - min(selected) / max(selected))
    assert worst_group_accuracy(y, p, **kw) == pytest.approx(worst)
    table = group_rates(y, p, **pos)
    assert table["count"].tolist() == [g.sum() for g in of]
    expected = np.transpose([selected, tpr, tnr, accuracy])
    np.testing.assert_allclose(table.drop(columns="count"), expected)


@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_fairlearn_where_all_cells_are_filled(weighted):
    y, p, sex, w = random_labels(seed=1)
    A = pd.DataFrame({"sex": np.array(["F", "M"])[sex], "age": (np.arange(len(sex)) % 3) * 30})
    kw = {"sensitive_features": A, "sample_weight": w if weighted else None}
    assert equal_opportunity_difference(y, p, **kw) == pytest.approx(
        flm.equal_opportunity_difference(y, p, **kw)
    )
    assert disparate_impact(y, p, **kw) == pytest.approx(
        1 - flm.demographic_parity_ratio(y, p, **kw)
    )
    assert true_positive_rate_ratio_gap(y, p, **kw) == pytest.approx(
        1 - flm.equal_opportunity_ratio(y, p, **kw)
    )
    theirs = flm.MetricFrame(
        metrics={"true_negative_rate": flm.true_negative_rate},
        y_true=y,
        y_pred=p,
        sensitive_features=A,
        sample_params={"true_negative_rate": {"sample_weight": kw["sample_weight"]}},
    ).by_group
    ours = group_rates(y, p, **kw)[["true_negative_rate"]]
    pd.testing.assert_frame_equal(ours, theirs.astype(float), check_index_type=False)


def test_group_without_positives_is_nan_where_fairlearn_reports_a_gap():
    y, p, sex = [1, 1, 0, 0, 0], [1, 1, 0, 1, 0], ["F", "F", "F", "M", "M"]
    assert flm.equal_opportunity_difference(y, p, sensitive_features=sex) == 1
    for metric in (
        equal_opportunity_difference,
        true_positive_rate_ratio_gap,
        worst_group_accuracy,
    ):
        with pytest.warns(
            UndefinedMetricWarning, match=r"y_true == 1 in group\(s\) \['M'\]"
        ) as seen:
            assert np.isnan(metric(y, p, sensitive_features=sex))
        assert seen[0].filename == __file__  # the warning points at the caller
    assert np.isnan(group_rates(y, p, sensitive_features=sex).loc["M", "true_positive_rate"])
    assert equal_opportunity_difference(y, p, sensitive_features=sex, positive_label=0) == 0.5


def test_row_weights_of_zero_empty_a_cell():
    with pytest.warns(UndefinedMetricWarning, match=r"in group\(s\) \['F'\]"):
        value = disparate_impact(
            [1, 0, 1, 0], [1, 0, 1, 0], sensitive_features=list("FFMM"), sample_weight=[0, 0, 1, 1]
        )
    assert np.isnan(value)


@pytest.mark.parametrize("metric", METRICS)
def test_one_group_is_nan(metric):
    with pytest.warns(UndefinedMetricWarning, match="only one group, 'F'"):
        assert np.isnan(metric([1, 0, 1], [1, 0, 0], sensitive_features=["F"] * 3))


@pytest.mark.parametrize("metric", [disparate_impact, true_positive_rate_ratio_gap])
def test_zero_over_zero_is_nan(metric):
    with pytest.warns(UndefinedMetricWarning, match="0 / 0"):
        assert np.isnan(metric([1, 0, 1, 0], [0, 0, 0, 0], sensitive_features=list("FFMM")))


def test_a_fold_of_one_class_is_nan_and_not_an_error():
    with pytest.warns(UndefinedMetricWarning, match="y_true == 1"):
        assert np.isnan(
            equal_opportunity_difference([0, 0, 0], [0, 0, 0], sensitive_features=list("FMM"))
        )


def test_levelling_down_closes_the_gap_and_shows_in_the_rates():
    y, sex = np.array([1, 1, 0, 0] * 2), np.repeat(["F", "M"], 4)
    before = np.array([1, 1, 0, 0, 1, 0, 0, 0])
    after = np.array([1, 0, 0, 0, 1, 0, 0, 0])  # women are missed as often as men now
    gap = [equal_opportunity_difference(y, p, sensitive_features=sex) for p in (before, after)]
    worst = [worst_group_accuracy(y, p, sensitive_features=sex) for p in (before, after)]
    tpr = [group_rates(y, p, sensitive_features=sex)["true_positive_rate"] for p in (before, after)]
    assert gap == [0.5, 0]
    assert worst == [0.5, 0.5]
    assert tpr[0].to_dict() == {"F": 1, "M": 0.5}
    assert tpr[1].to_dict() == {"F": 0.5, "M": 0.5}


@pytest.mark.parametrize(
    "wrap",
    [
        list,
        lambda a: pd.Series(a, index=np.arange(len(a))[::-1]),
        lambda a: pd.Series(a, dtype="category"),
        lambda a: pd.DataFrame({"sex": a}),
        lambda a: a[:, None],
    ],
)
def test_containers_of_sensitive_features(wrap):
    y, p, a, _ = random_labels(seed=2)
    sex = np.array(["F", "M"])[a]
    for metric in METRICS:
        assert metric(y, p, sensitive_features=wrap(sex)) == metric(y, p, sensitive_features=a)


@pytest.mark.parametrize("dtype", [bool, float, "Int64", "boolean"])
def test_containers_of_labels(dtype):
    y, p, a, _ = random_labels(seed=3)
    for metric in METRICS:
        got = metric(pd.Series(y).astype(dtype), pd.Series(p).astype(dtype), sensitive_features=a)
        assert got == metric(y, p, sensitive_features=a)


def test_columns_are_intersected_and_absent_combinations_are_no_group():
    A = pd.DataFrame({"sex": list("FFFMM"), "age": ["old", "young", "old", "old", "old"]})
    rates = group_rates([1, 0, 1, 1, 0], [1, 0, 0, 1, 0], sensitive_features=A)
    assert rates.index.names == ["sex", "age"]
    assert rates["count"].to_dict() == {("F", "old"): 2, ("F", "young"): 1, ("M", "old"): 2}
    unnamed = group_rates([1, 0, 1, 1, 0], [1, 0, 0, 1, 0], sensitive_features=A.to_numpy())
    assert unnamed.index.names == ["sensitive_feature_0", "sensitive_feature_1"]
    np.testing.assert_array_equal(rates, unnamed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sensitive_features": None}, "sensitive_features is missing.*enable_metadata_routing"),
        ({"sensitive_features": ["F", "M"]}, "sensitive_features has 2 rows and y_true has 4"),
        ({"sensitive_features": ["F", None, "M", "M"]}, "sensitive_features has missing.*1 of 4"),
        ({"sensitive_features": [0, np.nan, 1, np.nan]}, "sensitive_features has missing.*2 of 4"),
        ({"sensitive_features": "F"}, "sensitive_features has 0 dimensions"),
        ({"sensitive_features": pd.DataFrame(index=range(4))}, "sensitive_features has no columns"),
        ({"y_pred": [1, 0]}, "y_true has 4 rows and y_pred has 2"),
        ({"y_true": [1, np.nan, 0, 1]}, "y_true has missing"),
        ({"y_pred": [0.1, 0.2, 0.7, 0.9]}, "class labels of one kind, not probabilities"),
        ({"y_true": ["a", "b", "a", "b"]}, "class labels of one kind"),
        ({"y_true": [], "y_pred": [], "sensitive_features": []}, "y_true is empty"),
        ({"sample_weight": [1, 2]}, "sample_weight"),
        ({"sample_weight": [1, 2, -1, 0]}, "Negative values.*sample_weight"),
    ],
)
@pytest.mark.parametrize("metric", [*METRICS, group_rates])
def test_bad_input(metric, change, message):
    good = {"y_true": [1, 0, 1, 0], "y_pred": [1, 0, 0, 1], "sensitive_features": list("FFMM")}
    with pytest.raises(ValueError, match=message):
        metric(**{**good, **change})


@pytest.mark.parametrize("metric", [*GAPS, group_rates])
def test_unknown_positive_label(metric):
    with pytest.raises(ValueError, match=r"positive_label='yes' is not a label.*\[0, 1\]"):
        metric([1, 0, 1], [1, 0, 0], sensitive_features=list("FMM"), positive_label="yes")


@st.composite
def filled_cells(draw):
    """Rows of (y, a, prediction) in which every cell of (y, a) is filled, in random order."""
    n_groups = draw(st.integers(2, 3))
    triples = st.tuples(st.integers(0, 1), st.integers(0, n_groups - 1), st.integers(0, 1))
    rows = draw(st.lists(triples, max_size=30))
    rows += [(y, a, draw(st.integers(0, 1))) for y in (0, 1) for a in range(n_groups)]
    return np.array(draw(st.permutations(rows))).T


@settings(deadline=None, max_examples=40)
@given(filled_cells(), st.randoms(use_true_random=False))
def test_range_order_and_names_of_groups(cells, random):
    y, a, p = cells
    assume((p == 1).any() and (p[y == 1] == 1).any())
    order = random.sample(range(len(y)), len(y))
    names = np.array(["c", "a", "b"])
    for metric in METRICS:
        value = metric(y, p, sensitive_features=a)
        assert 0 <= value <= 1
        assert metric(y[order], p[order], sensitive_features=a[order]) == pytest.approx(value)
        assert metric(y, p, sensitive_features=names[a]) == pytest.approx(value)


@settings(deadline=None, max_examples=40)
@given(filled_cells(), st.integers(2, 3))
def test_predictions_that_ignore_the_group_have_no_gap(cells, n_copies):
    y, _, p = cells
    assume((p[y == 1] == 1).any())
    a = np.repeat(np.arange(n_copies), len(y))
    y_all, p_all = np.tile(y, n_copies), np.tile(p, n_copies)
    for metric in GAPS:
        assert metric(y_all, p_all, sensitive_features=a) == 0
    recall = min((p[y == c] == c).mean() for c in (0, 1))
    assert worst_group_accuracy(y_all, p_all, sensitive_features=a) == pytest.approx(recall)


@settings(deadline=None, max_examples=40)
@given(filled_cells(), st.data())
def test_integer_weights_equal_repeated_rows(cells, data):
    y, a, p = cells
    assume((p[y == 1] == 1).any())
    w = np.array(data.draw(st.lists(st.integers(1, 3), min_size=len(y), max_size=len(y))))
    for metric in METRICS:
        weighted = metric(y, p, sensitive_features=a, sample_weight=w)
        y_rep, p_rep, a_rep = (np.repeat(v, w) for v in (y, p, a))
        assert weighted == pytest.approx(metric(y_rep, p_rep, sensitive_features=a_rep))
