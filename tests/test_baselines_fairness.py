"""Reweighing and the wrappers of fairlearn, against scikit-learn's and fairlearn's own results."""

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import equalized_odds_difference
from fairlearn.postprocessing import ThresholdOptimizer
from fairlearn.preprocessing import CorrelationRemover
from fairlearn.reductions import EqualizedOdds, ExponentiatedGradient
from sklearn import config_context
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.class_weight import compute_sample_weight

from skdne.baselines import (
    CorrelationRemoverTransformer,
    ExponentiatedGradientClassifier,
    ReweighedClassifier,
    ThresholdOptimizerClassifier,
)

pytestmark = pytest.mark.filterwarnings("ignore:groups with fewer:skdne.DebiasingWarning")
PANDAS = pytest.mark.filterwarnings("ignore:Setting an? :DeprecationWarning")  # fairlearn alone


def biased(n=300, seed=0):
    """Labels "ill" and "well", a shortcut "F" or "M", embeddings that tell both."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    a = np.where(rng.random(n) < 0.85, y, 1 - y)
    Z = rng.normal(size=(n, 3)) + np.column_stack([1.5 * y, 2 * a, 0 * a])
    return Z, np.array(["ill", "well"])[y], np.array(["F", "M"])[a]


def test_reweighing_is_compute_sample_weight_on_the_cells():
    Z, y, a = biased()
    cells = np.char.add(y, a)
    weights = compute_sample_weight("balanced", cells)
    clf = ReweighedClassifier().fit(Z, y, sensitive_features=a)
    direct = LogisticRegression(max_iter=1000).fit(Z, y, sample_weight=weights)
    np.testing.assert_array_equal(clf.decision_function(Z), direct.decision_function(Z))
    for label in ("ill", "well"):
        for group in ("F", "M"):
            here = cells == label + group
            by_hand = len(y) / (4 * here.sum())
            assert clf.cell_weights_[f"y={label}, {group}"] == pytest.approx(by_hand)
            np.testing.assert_allclose(weights[here], by_hand)


def test_reweighing_takes_pipelines_and_intersections_and_offers_what_the_classifier_has():
    Z, y, a = biased()
    age = np.arange(len(y)) % 3
    both = pd.DataFrame({"sex": a, "age": age})
    inner = make_pipeline(StandardScaler(), LinearSVC())
    with config_context(enable_metadata_routing=True):
        clf = ReweighedClassifier(inner).fit(Z, y, sensitive_features=both)
    assert len(clf.cell_weights_) == 12
    keys = [f"{u}{v}{w}" for u, v, w in zip(y, a, age, strict=True)]
    weights = compute_sample_weight("balanced", keys)
    direct = inner.fit(Z, y, linearsvc__sample_weight=weights)
    np.testing.assert_array_equal(clf.predict(Z), direct.predict(Z))
    assert hasattr(clf, "decision_function")
    assert not hasattr(clf, "predict_proba")
    with pytest.raises(ValueError, match="takes no sample_weight"):
        ReweighedClassifier(KNeighborsClassifier()).fit(Z, y, sensitive_features=a)


@PANDAS
def test_exponentiated_gradient_is_fairlearns():
    Z, y, a = biased()
    clf = ExponentiatedGradientClassifier(random_state=3).fit(Z, y, sensitive_features=a)
    theirs = ExponentiatedGradient(LogisticRegression(max_iter=1000), EqualizedOdds())
    theirs.fit(Z, (y == "well").astype(int), sensitive_features=a)
    np.testing.assert_allclose(clf.predict_proba(Z), theirs._pmf_predict(Z), atol=1e-12)
    predicted = theirs.predict(Z, random_state=3)
    np.testing.assert_array_equal(clf.predict(Z) == "well", predicted == 1)
    np.testing.assert_array_equal(clf.predict(Z), clf.predict(Z))
    # and it does what it is for
    plain = LogisticRegression().fit(Z, y).predict(Z)
    before, after = (
        equalized_odds_difference(y == "well", p == "well", sensitive_features=a)
        for p in (plain, clf.predict(Z))
    )
    assert after < before - 0.2


def test_exponentiated_gradient_in_a_routed_pipeline():
    Z, y, a = biased(120)
    inner = make_pipeline(StandardScaler(), LogisticRegression())
    clf = ExponentiatedGradientClassifier(inner, max_iter=5, random_state=0)
    with config_context(enable_metadata_routing=True):
        pipe = make_pipeline(StandardScaler(), clf).fit(Z, y, sensitive_features=a)
        predicted = pipe.predict(Z)
    alone = clf.fit(StandardScaler().fit_transform(Z), y, sensitive_features=a)
    expected = alone.predict(StandardScaler().fit_transform(Z))
    np.testing.assert_array_equal(predicted, expected)


def test_threshold_optimizer_is_fairlearns_and_takes_the_attribute_through_a_pipeline():
    Z, y, a = biased()
    clf = ThresholdOptimizerClassifier(random_state=3)
    with config_context(enable_metadata_routing=True):
        pipe = make_pipeline(StandardScaler(), clf).fit(Z, y, sensitive_features=a)
        predicted = pipe.predict(Z, sensitive_features=a)
        with pytest.raises(ValueError, match="needs the attribute at prediction"):
            pipe.predict(Z)
    theirs = ThresholdOptimizer(
        estimator=LogisticRegression(max_iter=1000),
        constraints="equalized_odds",
        predict_method="auto",
    )
    scaled, codes = StandardScaler().fit_transform(Z), (y == "well").astype(int)
    theirs.fit(scaled, codes, sensitive_features=a)
    expected = theirs.predict(scaled, sensitive_features=a, random_state=3)
    np.testing.assert_array_equal(predicted == "well", expected == 1)
    plain = LogisticRegression().fit(scaled, codes).predict(scaled)
    before, after = (
        equalized_odds_difference(codes, p, sensitive_features=a)
        for p in (plain, predicted == "well")
    )
    assert after < before - 0.2


def test_threshold_optimizer_can_choose_on_other_data():
    Z, y, _ = biased()
    Z_new, y_new, a_new = biased(seed=1)
    fitted = LogisticRegression().fit(Z, y == "well")
    clf = ThresholdOptimizerClassifier(FrozenEstimator(fitted), random_state=0)
    clf.fit(Z_new, y_new, sensitive_features=a_new)
    np.testing.assert_array_equal(clf.threshold_optimizer_.estimator_.coef_, fitted.coef_)


def test_correlation_remover_is_fairlearns_and_leaves_equal_group_means():
    Z, _, a = biased()
    a = np.where(np.arange(len(a)) % 4 == 0, "other", a)
    remover = CorrelationRemoverTransformer(alpha=0.7)
    found = remover.fit_transform(Z, sensitive_features=a)
    columns = np.column_stack([a == "M", a == "other"]).astype(float)
    theirs = CorrelationRemover(sensitive_feature_ids=[0, 1], alpha=0.7)
    np.testing.assert_allclose(found, theirs.fit_transform(np.column_stack([columns, Z])))
    residual = Z - LinearRegression().fit(columns, Z).predict(columns) + Z.mean(axis=0)
    np.testing.assert_allclose(found, 0.7 * residual + 0.3 * Z)
    all_ = CorrelationRemoverTransformer().fit_transform(Z, sensitive_features=a)
    means = [all_[a == k].mean(axis=0) for k in ("F", "M", "other")]
    np.testing.assert_allclose(means, np.repeat([Z.mean(axis=0)], 3, axis=0), atol=1e-10)


def test_correlation_remover_takes_the_attribute_through_a_pipeline():
    Z, y, a = biased()
    with config_context(enable_metadata_routing=True):
        pipe = make_pipeline(CorrelationRemoverTransformer(), LogisticRegression())
        pipe.fit(Z, y, sensitive_features=a)
        predicted = pipe.predict(Z, sensitive_features=a)
    erased = CorrelationRemoverTransformer().fit_transform(Z, sensitive_features=a)
    np.testing.assert_array_equal(predicted, LogisticRegression().fit(erased, y).predict(erased))


def test_which_systems_need_the_attribute_at_prediction_is_marked():
    assert ThresholdOptimizerClassifier.needs_attribute_at_prediction
    assert CorrelationRemoverTransformer.needs_attribute_at_prediction
    assert not hasattr(ExponentiatedGradientClassifier, "needs_attribute_at_prediction")


def test_bad_input_is_named():
    Z, y, a = biased(80)
    clf = ThresholdOptimizerClassifier().fit(Z, y, sensitive_features=a)
    with pytest.raises(ValueError, match=r"holds \['X'\], which fit has not met; it knows"):
        clf.predict(Z[:2], sensitive_features=["F", "X"])
    with pytest.raises(ValueError, match="missing in 1 of 2 rows; this method cannot predict"):
        clf.predict(Z[:2], sensitive_features=["F", None])
    with pytest.raises(ValueError, match="Only binary classification"):
        ExponentiatedGradientClassifier().fit(Z, np.arange(80) % 3, sensitive_features=a)
    with pytest.raises(ValueError, match="sensitive_features is missing"):
        ReweighedClassifier().fit(Z, y)
