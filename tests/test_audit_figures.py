"""Figures of the audit against scikit-learn, fairlearn, and counting by hand."""

import warnings

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import (
    MetricFrame,
    demographic_parity_ratio,
    equalized_odds_difference,
    selection_rate,
    true_negative_rate,
    true_positive_rate,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    recall_score,
    roc_auc_score,
)

from skdne.auc import weighted_auc
from skdne.audit import FairnessAudit, choose_threshold
from skdne.audit._scores import calibration_bins, calibration_error
from skdne.metrics import (
    disparate_impact,
    equal_opportunity_difference,
    true_positive_rate_ratio_gap,
    worst_group_accuracy,
)

FAST = {"n_bootstrap": 50, "n_permutations": 50, "random_state": 0}


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    a = rng.choice(["u", "v", "w"], 500)
    y = (rng.random(500) < np.select([a == "u", a == "v"], [0.3, 0.5], 0.6)).astype(int)
    score = np.round(1 / (1 + np.exp(-(1.5 * y - 1 + (a == "w") + rng.normal(size=500)))), 2)
    base = np.round(1 / (1 + np.exp(-(y - 0.5 + rng.normal(size=500)))), 2)
    return y, score, base, a


def values(audit, threshold=None):
    frame = audit.to_frame()
    if threshold is not None:
        frame = frame[frame["threshold"].isin(["", threshold])]
    return frame.set_index(["figure", "group"])["value"]


def test_figures_are_those_of_fairlearn_and_scikit_learn(data):
    y, score, _, a = data
    audit = FairnessAudit.from_predictions(
        y, y_score=score, sensitive_features=a, threshold=0.37, **FAST
    )
    for threshold, name in ((0.5, "0.5"), (0.37, "validation")):
        pred = (score >= threshold).astype(int)
        found = values(audit, name)
        expected = {
            "accuracy": accuracy_score(y, pred),
            "balanced accuracy": balanced_accuracy_score(y, pred),
            "equalized odds": equalized_odds_difference(y, pred, sensitive_features=a),
            "|1-DI|": 1 - demographic_parity_ratio(y, pred, sensitive_features=a),
            "EO_p": equal_opportunity_difference(y, pred, sensitive_features=a),
            "EO_n": equal_opportunity_difference(y, pred, sensitive_features=a, positive_label=0),
            "worst group accuracy": worst_group_accuracy(y, pred, sensitive_features=a),
            "TPR ratio gap (|1-DI| as coded)": true_positive_rate_ratio_gap(
                y, pred, sensitive_features=a
            ),
        }
        assert expected["|1-DI|"] == pytest.approx(disparate_impact(y, pred, sensitive_features=a))
        for figure, value in expected.items():
            assert found[figure, "all"] == pytest.approx(value), figure
        rates = MetricFrame(
            metrics={
                "accuracy": accuracy_score,
                "true positive rate": true_positive_rate,
                "true negative rate": true_negative_rate,
                "selection rate": selection_rate,
            },
            y_true=y,
            y_pred=pred,
            sensitive_features=a,
        ).by_group
        for group, row in rates.iterrows():
            for figure, value in row.items():
                assert found[figure, group] == pytest.approx(value)
    assert found["AUC", "all"] == pytest.approx(roc_auc_score(y, score))
    aucs = {g: roc_auc_score(y[a == g], score[a == g]) for g in "uvw"}
    for group, value in aucs.items():
        assert found["AUC", group] == pytest.approx(value)
        here = a == group
        assert found["Brier score", group] == pytest.approx(brier_score_loss(y[here], score[here]))
        assert found["mean forecast - outcome", group] == pytest.approx(
            score[here].mean() - y[here].mean()
        )
    assert found["AUC gap", "all"] == pytest.approx(max(aucs.values()) - min(aucs.values()))


def test_every_figure_has_an_interval_around_it(data):
    y, score, base, a = data
    frame = FairnessAudit.from_predictions(
        y, y_score=score, baseline_score=base, sensitive_features=a, **FAST
    ).to_frame()
    for value, low, high in (
        ("value", "low", "high"),
        ("baseline", "baseline_low", "baseline_high"),
        ("difference", "difference_low", "difference_high"),
    ):
        assert frame[[value, low, high]].notna().all(axis=None)
        assert (frame[low] <= frame[value] + 1e-12).all()
        assert (frame[value] <= frame[high] + 1e-12).all()
    np.testing.assert_allclose(frame["difference"], frame["value"] - frame["baseline"])


def test_a_classifier_does_not_differ_from_itself(data):
    y, score, _, a = data
    frame = FairnessAudit.from_predictions(
        y, y_score=score, baseline_score=score, sensitive_features=a, **FAST
    ).to_frame()
    assert (frame[["difference", "difference_low", "difference_high"]] == 0).all(axis=None)


def test_paired_differences_are_narrower_than_unpaired_ones(data):
    y, score, _, a = data
    near = np.clip(score + 0.01, 0, 1)
    frame = FairnessAudit.from_predictions(
        y, y_score=score, baseline_score=near, sensitive_features=a, **FAST
    ).to_frame()
    row = frame[frame["figure"] == "accuracy"].iloc[0]
    assert row["difference_high"] - row["difference_low"] < 0.5 * (row["high"] - row["low"])


def test_copies_of_images_change_nothing_where_patients_are_known(data):
    y, score, base, a = data
    frames = []
    for copies in (1, 3):
        rows = np.repeat(np.arange(200), copies)
        frames.append(
            FairnessAudit.from_predictions(
                y[rows],
                y_score=score[rows],
                baseline_score=base[rows],
                sensitive_features=a[rows],
                groups=rows,
                **FAST,
            ).to_frame()
        )
    same = [f[f["section"] != "calibration"].drop(columns="n") for f in frames]  # bins may differ
    pd.testing.assert_frame_equal(*same)


def test_two_groups_have_a_signed_difference(data):
    y, score, _, a = data
    a = np.where(a == "u", "u", "v")
    found = values(FairnessAudit.from_predictions(y, y_score=score, sensitive_features=a, **FAST))
    pred = score >= 0.5
    rate = {g: pred[(a == g) & (y == 1)].mean() for g in "uv"}
    assert found["true positive rate", "v minus u"] == pytest.approx(rate["v"] - rate["u"])


def test_several_classes(data):
    _, _, _, a = data
    rng = np.random.default_rng(1)
    y = rng.choice(["a", "b", "c"], 500)
    scores = rng.dirichlet([1, 1, 1], 500) + 0.5 * (y[:, None] == np.array(["a", "b", "c"]))
    scores /= scores.sum(axis=1, keepdims=True)
    audit = FairnessAudit.from_predictions(y, y_score=scores, sensitive_features=a, **FAST)
    found = values(audit)
    pred = np.array(["a", "b", "c"])[scores.argmax(axis=1)]
    assert found["AUC", "all"] == pytest.approx(roc_auc_score(y, scores, multi_class="ovr"))
    assert found["balanced accuracy", "all"] == pytest.approx(balanced_accuracy_score(y, pred))
    for label in "abc":
        expected = equal_opportunity_difference(y, pred, sensitive_features=a, positive_label=label)
        assert found[f"EO (y={label})", "all"] == pytest.approx(expected)
        recall = recall_score(y[a == "u"], pred[a == "u"], labels=[label], average=None)[0]
        assert found[f"recall (y={label})", "u"] == pytest.approx(recall)
        assert found[f"|1-DI| (y={label})", "all"] == pytest.approx(
            disparate_impact(y, pred, sensitive_features=a, positive_label=label)
        )
    onehot = (y[:, None] == np.array(["a", "b", "c"])).astype(float)
    brier = np.square(scores - onehot).sum(axis=1).mean()
    assert found["Brier score", "all"] == pytest.approx(brier)


def test_columns_of_an_attribute_are_intersected(data):
    y, score, _, a = data
    sex = np.where(np.arange(500) % 2, "F", "M")
    both = pd.DataFrame({"race": a, "sex": sex})
    both.iloc[3, 0] = None
    audit = FairnessAudit.from_predictions(y, y_score=score, sensitive_features=both, **FAST)
    assert set(audit.groups) == {f"{r}, {s}" for r in "uvw" for s in "FM"}
    assert audit.n_images == 499
    assert any("missing in 1 of 500" in sentence for sentence in audit.warnings)
    here = (a == "v") & (sex == "F") & (y == 1)
    assert values(audit)["true positive rate", "v, F"] == pytest.approx((score[here] >= 0.5).mean())


def test_an_empty_cell_is_nan_and_named(data):
    y, score, _, a = data
    y = np.where(a == "w", 0, y)
    audit = FairnessAudit.from_predictions(y, y_score=score, sensitive_features=a, **FAST)
    found = audit.to_frame().set_index(["figure", "group"])
    for figure, group in (("EO_p", "all"), ("equalized odds", "all"), ("AUC", "w")):
        assert np.isnan(found.loc[(figure, group), ["value", "low", "high"]].to_numpy(float)).all()
    assert pd.isna(found.loc[("EO_p", "all"), "flagged"])
    assert np.isfinite(found.loc[("EO_n", "all"), "p_value"])
    said = " ".join(audit.warnings)
    assert "y=1, w: 0" in said
    assert "undefined (nan): " in said
    assert "EO_p" in said


def test_positive_label(data):
    y, score, _, a = data
    names = np.array(["sick", "well"])[1 - y]
    kwargs = {"sensitive_features": a, **FAST}
    one = FairnessAudit.from_predictions(names, y_score=score, positive_label="sick", **kwargs)
    other = FairnessAudit.from_predictions(y, y_score=score, **kwargs)
    pd.testing.assert_series_equal(values(one), values(other))
    columns = np.column_stack([score, 1 - score])  # sick, well: sorted
    both = FairnessAudit.from_predictions(names, y_score=columns, positive_label="sick", **kwargs)
    pd.testing.assert_series_equal(values(both), values(other))


def test_the_same_seed_gives_the_same_digits(data):
    y, score, base, a = data
    frames = [
        FairnessAudit.from_predictions(
            y, y_score=score, baseline_score=base, sensitive_features=a, **FAST
        ).to_frame()
        for _ in range(2)
    ]
    pd.testing.assert_frame_equal(*frames, check_exact=True)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(4, 60), st.sampled_from([3, 1000]))
def test_weighted_auc_is_that_of_scikit_learn(seed, n, levels):
    rng = np.random.default_rng(seed)
    score, y = rng.integers(0, levels, n).astype(float), np.arange(n) % 2
    weights = rng.integers(0, 3, (4, n)).astype(float)
    weights[:, :2] += 1
    expected = [roc_auc_score(y, score, sample_weight=w) for w in weights]
    np.testing.assert_allclose(weighted_auc(score, y == 1, weights), expected)


def test_calibration_error_by_hand():
    rng = np.random.default_rng(0)
    forecast = rng.random(200)
    outcome = (rng.random(200) < forecast**2).astype(float)
    bins = calibration_bins(forecast)
    np.testing.assert_array_equal(np.bincount(bins), 20)
    expected = np.mean(
        [abs(forecast[bins == b].mean() - outcome[bins == b].mean()) for b in range(10)]
    )
    found = calibration_error(forecast, outcome, bins, np.ones((1, 200)))
    np.testing.assert_allclose(found, [expected])


@pytest.mark.parametrize("seed", range(8))
def test_threshold_by_brute_force(seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, 80)
    score = np.round(y + rng.normal(size=80), 1)
    chosen = choose_threshold(y, score)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        best = max(balanced_accuracy_score(y, score >= t) for t in np.arange(-4, 5, 0.05))
    assert balanced_accuracy_score(y, score >= chosen) == pytest.approx(best)
    assert choose_threshold(np.array(["n", "p"])[y], -score, positive_label="n") == pytest.approx(
        -choose_threshold(y, score), abs=0.11
    )


BAD = {
    "no predictions": ({"y_score": None}, "y_score and y_pred are both missing"),
    "logits": ({"y_score": np.linspace(-3, 3, 40)}, r"not in \[0, 1\]"),
    "short score": ({"y_score": np.ones(39)}, r"y_score must have shape \(40, 2\) or \(40,\)"),
    "unknown class": ({"y_pred": np.full(40, 2)}, "y_pred holds .2., which are no classes"),
    "one group": ({"sensitive_features": ["F"] * 40}, r"1 distinct value\(s\)"),
    "short attribute": ({"sensitive_features": ["F", "M"]}, "sensitive_features has 2 rows"),
    "patients missing": ({"groups": [None] + [1] * 39}, "groups is missing in 1 of 40"),
    "one baseline": ({"baseline_pred": np.zeros(40)}, "baseline must be given as"),
    "findings alone": ({"findings": np.zeros((40, 1))}, "findings needs embeddings"),
    "embeddings": ({"embeddings": np.zeros((3, 2))}, r"embeddings must have shape \(40, d\)"),
    "one image set": ({"originals": np.zeros((40, 8, 8))}, "both originals and edited"),
    "level": ({"n_permutations": 20, "level": 0.01}, "raise it to 100"),
    "label": ({"positive_label": 7}, "positive_label=7"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    changes, message = BAD[case]
    given_ = {"y_score": np.tile([0.2, 0.7], 20), "sensitive_features": ["F", "M"] * 20, **changes}
    with pytest.raises(ValueError, match=message):
        FairnessAudit.from_predictions(np.arange(40) // 2 % 2, **given_)
