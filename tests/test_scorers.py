"""Scorers through routed cross-validation, and the refit rule of the grid search."""

import pickle

import fairlearn.metrics as flm
import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdne.metrics import (
    constrained_refit,
    di_scorer,
    disparate_impact,
    eo_scorer,
    equal_opportunity_difference,
    fairness_scorer,
    true_positive_rate_ratio_gap,
    worst_group_accuracy,
    worst_group_scorer,
)

SCORERS = [eo_scorer(), eo_scorer(0), di_scorer(), worst_group_scorer()]


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.fixture(scope="module")
def data():
    """A third are positive, more often in group 1, which X shows: ERM is unfair."""
    rng = np.random.default_rng(0)
    sex = rng.integers(0, 2, 1200)
    y = (rng.random(1200) < np.where(sex == 1, 0.5, 0.16)).astype(int)
    X = np.c_[y + rng.normal(size=1200), sex + 0.2 * rng.normal(size=1200)]
    return X, y, sex


@pytest.fixture(scope="module")
def folds(data):
    X, y, sex = data
    return list(StratifiedKFold(3, shuffle=True, random_state=0).split(X, 2 * y + sex))


@pytest.mark.parametrize(
    ("scorer", "expected"),
    [
        (eo_scorer(), lambda *v, **k: -equal_opportunity_difference(*v, **k)),
        (eo_scorer(0), lambda *v, **k: -equal_opportunity_difference(*v, **k, positive_label=0)),
        (di_scorer(), lambda *v, **k: -disparate_impact(*v, **k)),
        (worst_group_scorer(), worst_group_accuracy),
    ],
)
def test_scorer_is_the_signed_metric(data, routing, scorer, expected):
    X, y, sex = data
    model = LogisticRegression().fit(X, y)
    value = scorer(model, X, y, sensitive_features=sex)
    assert value == expected(y, model.predict(X), sensitive_features=sex)
    assert pickle.loads(pickle.dumps(scorer))(model, X, y, sensitive_features=sex) == value


def test_making_a_scorer_leaves_the_global_switch_alone():
    for on in (False, True):
        with sklearn.config_context(enable_metadata_routing=on):
            eo_scorer()
            assert sklearn.get_config()["enable_metadata_routing"] is on


def test_scorers_print():
    assert repr(eo_scorer(0)) == (
        "make_scorer(equal_opportunity_difference, greater_is_better=False, "
        "response_method='predict', positive_label=0)"
    )
    assert repr(worst_group_scorer()) == (
        "make_scorer(worst_group_accuracy, response_method='predict')"
    )


def test_cross_validate_equals_a_loop_by_hand(data, folds, routing):
    X, y, sex = data
    A = pd.DataFrame({"sex": np.array(["F", "M"])[sex], "age": np.arange(len(y)) // 50 % 2})
    A.index = A.index[::-1] + 7  # rows are matched by position
    scoring = {"eo": eo_scorer(), "worst": worst_group_scorer(), "auc": "roc_auc"}
    model = make_pipeline(StandardScaler(), LogisticRegression())
    got = cross_validate(model, X, y, cv=folds, scoring=scoring, params={"sensitive_features": A})
    for i, (train, test) in enumerate(folds):
        p = clone(model).fit(X[train], y[train]).predict(X[test])
        kw = {"sensitive_features": A.iloc[test]}
        assert got["test_eo"][i] == -equal_opportunity_difference(y[test], p, **kw)
        assert got["test_worst"][i] == worst_group_accuracy(y[test], p, **kw)
    assert (got["test_auc"] > 0.7).all()


def test_generic_scorer_takes_any_metric_and_response(data, routing):
    X, y, sex = data
    model = LogisticRegression().fit(X, y)
    kw = {"sensitive_features": sex}
    theirs = fairness_scorer(flm.demographic_parity_difference, greater_is_better=False)
    assert theirs(model, X, y, **kw) == -flm.demographic_parity_difference(
        y, model.predict(X), **kw
    )
    as_coded = fairness_scorer(true_positive_rate_ratio_gap, greater_is_better=False)
    assert as_coded(model, X, y, **kw) == -true_positive_rate_ratio_gap(y, model.predict(X), **kw)
    soft = fairness_scorer(
        _mean_gap, greater_is_better=False, response_method="predict_proba", power=2
    )
    assert soft(model, X, y, **kw) == -_mean_gap(y, model.predict_proba(X)[:, 1], **kw, power=2)


def _mean_gap(y_true, y_score, *, sensitive_features, power):
    return (
        abs(y_score[sensitive_features == 0].mean() - y_score[sensitive_features == 1].mean())
        ** power
    )


def grid(folds, refit, n_jobs=None):
    scoring = {
        "eo_p": eo_scorer(),
        "eo_n": eo_scorer(0),
        "worst": worst_group_scorer(),
        "auc": "roc_auc",
        "balanced_accuracy": "balanced_accuracy",
    }
    return GridSearchCV(
        LogisticRegression(),
        {"C": [1e-6, 1e-3, 1e-2, 1.0]},
        scoring=scoring,
        cv=folds,
        refit=refit,
        n_jobs=n_jobs,
        error_score="raise",
    )


def test_refit_avoids_the_classifier_that_predicts_nothing(data, folds, routing):
    X, y, sex = data
    trap = grid(folds, "eo_p").fit(X, y, sensitive_features=sex)
    assert trap.best_params_ == {"C": 1e-6}
    assert trap.best_score_ == 0
    assert not trap.predict(X).any()
    assert balanced_accuracy_score(y, trap.predict(X)) == 0.5

    rule = constrained_refit(fairness="eo_p", utility="balanced_accuracy", tolerance=0.05)
    search = grid(folds, rule).fit(X, y, sensitive_features=sex)
    utility = search.cv_results_["mean_test_balanced_accuracy"]
    fairness = search.cv_results_["mean_test_eo_p"]
    assert utility[search.best_index_] >= utility.max() - 0.05
    assert utility[search.best_index_] > 0.6
    assert fairness[search.best_index_] == fairness[utility >= utility.max() - 0.05].max()
    assert (search.cv_results_["mean_test_eo_p"][1:] < 0).all()  # ERM is unfair here


def test_parallel_search_equals_the_serial_one(data, folds, routing):
    X, y, sex = data
    rule = constrained_refit(fairness="worst", utility="auc", tolerance=0.02)
    one = grid(folds, rule).fit(X, y, sensitive_features=sex)
    two = clone(one).set_params(n_jobs=2).fit(X, y, sensitive_features=sex)
    assert one.best_index_ == two.best_index_
    for name in ("eo_p", "eo_n", "worst", "auc"):
        key = f"mean_test_{name}"
        np.testing.assert_array_equal(one.cv_results_[key], two.cv_results_[key])


def test_without_routing_the_error_says_what_to_do(data, folds):
    X, y, sex = data
    model = LogisticRegression().fit(X, y)
    for scorer in SCORERS:
        with pytest.raises(ValueError, match="enable_metadata_routing=True"):
            scorer(model, X, y, sensitive_features=sex)
        with pytest.raises(ValueError, match=r"sensitive_features is missing.*enable_metadata"):
            scorer(model, X, y)
    with pytest.raises(ValueError, match=r"sensitive_features is missing.*enable_metadata"):
        grid(folds, "eo_p").fit(X, y)


@pytest.mark.filterwarnings("ignore:Scoring failed", "ignore:One or more of the test scores")
def test_search_that_lost_the_sensitive_features_does_not_pick(data, folds):
    X, y, _ = data
    rule = constrained_refit(fairness="eo_p", utility="auc", tolerance=0.02)
    search = grid(folds, rule).set_params(error_score=np.nan)  # scikit-learn's default: hush
    with pytest.raises(ValueError, match=r"fairness='eo_p' is nan.*enable_metadata_routing"):
        search.fit(X, y)


def test_fold_without_a_group_gives_nan_and_is_not_picked(data, routing):
    X, y, sex = data
    men, women = np.flatnonzero(sex == 1), np.flatnonzero(sex == 0)
    rule = constrained_refit(fairness="eo_p", utility="auc", tolerance=0.02)
    search = grid([(men, women), (women, men)], rule)
    with (
        pytest.warns(UndefinedMetricWarning, match="only one group"),
        pytest.warns(UserWarning, match="non-finite"),
        pytest.raises(ValueError, match=r"fairness='eo_p' is nan.*stratify the folds"),
    ):
        search.fit(X, y, sensitive_features=sex)


def test_threshold_tuned_by_worst_group(data, folds, routing):
    X, y, sex = data
    plain = LogisticRegression().fit(X, y)
    tuned = TunedThresholdClassifierCV(
        LogisticRegression(), scoring=worst_group_scorer(), cv=folds, thresholds=30
    ).fit(X, y, sensitive_features=sex)
    before, after = (
        worst_group_accuracy(y, m.predict(X), sensitive_features=sex) for m in (plain, tuned)
    )
    assert 0 < tuned.best_threshold_ < 0.5
    assert after > before + 0.1


def test_threshold_tuned_by_a_gap_alone_is_the_same_trap(data, folds, routing):
    X, y, sex = data
    tuned = TunedThresholdClassifierCV(
        LogisticRegression(), scoring=eo_scorer(), cv=folds, thresholds=30
    ).fit(X, y, sensitive_features=sex)
    assert tuned.best_score_ == 0
    assert tuned.predict(X).mean() > 0.98


def results(fairness, utility):
    return {"mean_test_f": np.array(fairness), "mean_test_u": np.array(utility)}


@pytest.mark.parametrize(
    ("fairness", "utility", "tolerance", "chosen"),
    [
        ([-0.3, -0.1, 0.0], [0.80, 0.79, 0.50], 0.02, 1),
        ([-0.3, -0.1, 0.0], [0.80, 0.79, 0.50], 0.0, 0),
        ([-0.3, -0.1, 0.0], [0.80, 0.79, 0.50], 1.0, 2),
        ([-0.3, -0.1], [0.8, 0.7], 0.1, 1),  # 0.8 - 0.1 > 0.7 in floating point
        ([-0.1, -0.1, -0.1], [0.79, 0.80, 0.80], 0.02, 1),  # ties: utility, then order
        ([-0.3, np.nan], [0.80, 0.80], 0.02, 0),
        ([-0.3, 0.0], [0.80, np.nan], 0.02, 0),
    ],
)
def test_constrained_refit_by_hand(fairness, utility, tolerance, chosen):
    rule = constrained_refit(fairness="f", utility="u", tolerance=tolerance)
    for r in (rule, pickle.loads(pickle.dumps(rule))):
        index = r(results(fairness, utility))
        assert index == chosen
        assert type(index) is int


@given(
    st.lists(st.tuples(st.floats(-1, 0), st.floats(0, 1)), min_size=1, max_size=20),
    st.floats(0, 1),
)
def test_constrained_refit_is_the_best_allowed(scores, tolerance):
    fairness, utility = np.array(scores).T
    rule = constrained_refit(fairness="f", utility="u", tolerance=tolerance)
    chosen = rule(results(fairness, utility))
    allowed = utility >= utility.max() - tolerance
    assert utility[chosen] >= utility.max() - tolerance - 1e-9
    assert fairness[chosen] >= fairness[allowed].max()


def test_constrained_refit_errors():
    rule = constrained_refit(fairness="f", utility="u", tolerance=0.02)
    with pytest.raises(ValueError, match="fairness='f' is nan for every candidate within"):
        rule(results([np.nan, 0.0], [0.8, 0.5]))
    with pytest.raises(ValueError, match="utility='u' is nan for every candidate"):
        rule(results([0.0], [np.nan]))
    with pytest.raises(ValueError, match=r"fairness='f' is not a scorer.*it has \['score'\]"):
        rule({"mean_test_score": np.array([1.0])})
    for tolerance in (-0.1, np.nan):
        with pytest.raises(ValueError, match="tolerance must be 0 or more"):
            constrained_refit(fairness="f", utility="u", tolerance=tolerance)
    with pytest.raises(TypeError, match="utility must be the name of a scorer"):
        constrained_refit(fairness="f", utility="roc_auc".upper, tolerance=0.1)
