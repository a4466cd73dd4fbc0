"""g: its log-probabilities in torch against scikit-learn's own, gradients, weights, classes."""

import warnings

import numpy as np
import pytest
import sklearn
import torch
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC

from skdne.attribute_classifier import (
    AttributeClassifier,
    balanced_copies,
    default_classifier,
    is_differentiable,
    torch_head,
)

N, D = 90, 5


def data(n_classes, seed=0):
    rng = np.random.default_rng(seed)
    codes = np.arange(N) % n_classes
    Z = rng.normal(size=(N, D)).astype(np.float32) * [1, 2, 3, 1, 1] + [5, 0, 0, 0, -2]
    Z[:, 0] += codes
    return Z.astype(np.float32), codes


def fitted(estimator, n_classes, weights=None):
    Z, codes = data(n_classes)
    g = AttributeClassifier(estimator, np.array(["b", "c", "a"])[:n_classes])
    g.fit(Z, codes, np.ones(N) if weights is None else weights)
    return g, Z


WITH_PROBABILITIES = {
    "default": None,
    "logistic": LogisticRegression(),
    "logistic, no intercept": LogisticRegression(fit_intercept=False),
    "scaled": make_pipeline(StandardScaler(), LogisticRegression()),
    "not centred": make_pipeline(StandardScaler(with_mean=False), LogisticRegression()),
    "not scaled": make_pipeline(StandardScaler(with_std=False), LogisticRegression()),
    "twice": make_pipeline(
        StandardScaler(), StandardScaler(with_mean=False, with_std=False), LogisticRegression()
    ),
    "nested": make_pipeline(StandardScaler(), default_classifier()),
    "lda": LinearDiscriminantAnalysis(),
    **{
        f"mlp {activation}": make_pipeline(
            StandardScaler(),
            MLPClassifier((7, 4), activation=activation, max_iter=2000, tol=1e-3, random_state=0),
        )
        for activation in ("relu", "tanh", "logistic", "identity")
    },
}


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("estimator", WITH_PROBABILITIES.values(), ids=WITH_PROBABILITIES)
def test_torch_head_is_what_scikit_learn_predicts(estimator, n_classes):
    g, Z = fitted(estimator, n_classes)
    order = [list(g.estimator.classes_).index(c) for c in g.classes]
    assert order != list(range(n_classes)) or n_classes == 2
    found = g.log_proba(torch.from_numpy(Z)).numpy()
    assert g._head is not None
    np.testing.assert_allclose(found, g.estimator.predict_log_proba(Z)[:, order], atol=2e-4)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("estimator", [RidgeClassifier(), LinearSVC(), SGDClassifier()])
def test_without_probabilities_it_is_the_softmax_of_the_scores(estimator, n_classes):
    if not isinstance(estimator, RidgeClassifier):
        estimator = clone(estimator).set_params(random_state=0)
    g, Z = fitted(estimator, n_classes)
    scores = g.estimator.decision_function(Z)
    if n_classes == 2:
        scores = np.column_stack([np.zeros(N), scores])
    expected = log_softmax(scores, axis=1)
    order = [list(g.estimator.classes_).index(c) for c in g.classes]
    found = g.log_proba(torch.from_numpy(Z)).numpy()
    np.testing.assert_allclose(found, expected[:, order], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(5, random_state=0),
        KNeighborsClassifier(),
        CalibratedClassifierCV(LogisticRegression()),
        make_pipeline(MinMaxScaler(), LogisticRegression()),
    ],
)
def test_black_box_classifiers_are_asked_for_probabilities(estimator):
    assert not is_differentiable(estimator)
    g, Z = fitted(estimator, 3)
    found = g.log_proba(torch.from_numpy(Z)).numpy()
    assert found.dtype == np.float32
    order = [list(g.estimator.classes_).index(c) for c in g.classes]
    p = g.estimator.predict_proba(Z)[:, order]
    np.testing.assert_allclose(np.exp(found), p, atol=1e-6)
    assert np.isfinite(found).all()  # also where a probability is zero
    assert (p == 0).any() or not isinstance(estimator, KNeighborsClassifier)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", ["default", "mlp tanh"])
def test_gradients_agree_with_finite_differences(name, n_classes):
    g, Z = fitted(WITH_PROBABILITIES[name], n_classes)
    z = torch.from_numpy(Z[:4]).requires_grad_(True)
    g.log_proba(z)[:, 0].sum().backward()
    order = [list(g.estimator.classes_).index(c) for c in g.classes]

    def value(at):
        return g.estimator.predict_log_proba(at)[:, order[0]].sum()

    numeric = np.zeros((4, D))
    for i, j in np.ndindex(4, D):
        step = np.zeros((4, D))
        step[i, j] = 1e-4
        numeric[i, j] = (value(Z[:4] + step) - value(Z[:4] - step)) / 2e-4
    np.testing.assert_allclose(z.grad.numpy(), numeric, atol=1e-3)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_fitted_classifier_is_used_as_it_is(frozen):
    Z, codes = data(2)
    given = LogisticRegression().fit(Z, np.array(["b", "c"])[1 - codes])  # it learned the reverse
    given = FrozenEstimator(given) if frozen else given
    g = AttributeClassifier(given, np.array(["b", "c"]))
    before = g.log_proba(torch.from_numpy(Z))
    g.fit(Z, codes, np.ones(N))
    assert g.estimator is given
    assert torch.equal(g.log_proba(torch.from_numpy(Z)), before)
    np.testing.assert_allclose(before, given.predict_log_proba(Z), atol=1e-4)
    if frozen:
        assert AttributeClassifier(clone(given), np.array(["b", "c"])).is_given_fitted


def test_an_unfitted_classifier_is_cloned():
    estimator = LogisticRegression()
    g, _ = fitted(estimator, 2)
    assert not hasattr(estimator, "coef_")
    assert hasattr(g.estimator, "coef_")


@pytest.mark.parametrize("classes", [["a", "b"], ["b", "c", "d"]])
def test_other_classes_are_refused(classes):
    Z, codes = data(2)
    given = LogisticRegression().fit(Z, np.array(["b", "c"])[codes])
    with pytest.raises(ValueError, match=r"knows the classes .* but sensitive_features has"):
        AttributeClassifier(given, np.array(classes))


def test_a_classifier_without_probabilities_or_gradients_is_refused():
    with pytest.raises(ValueError, match="has no predict_proba; calibrate it"):
        fitted(SVC(), 2)


@pytest.mark.parametrize("name", ["default", "logistic", "mlp relu"])
@pytest.mark.parametrize("routing", [False, True])
def test_weights_reach_the_classifier_whatever_the_routing(name, routing):
    weights = np.where(np.arange(N) % 2 == 0, 1e-3, 2.0)
    with sklearn.config_context(enable_metadata_routing=routing):
        g, Z = fitted(WITH_PROBABILITIES[name], 2, weights)
        assert sklearn.get_config()["enable_metadata_routing"] is routing
    assert g.log_proba(torch.from_numpy(Z)).numpy().argmax(axis=1).mean() > 0.95
    even, _ = fitted(WITH_PROBABILITIES[name], 2)
    assert even.log_proba(torch.from_numpy(Z)).numpy().argmax(axis=1).mean() < 0.8


def test_balanced_copies():
    np.testing.assert_array_equal(balanced_copies(np.ones(7)), np.arange(7))
    # two cells of 30 and 20 images: the same total, no image left out
    weights = np.repeat([50 / 60, 50 / 40], [30, 20])
    copies = np.bincount(balanced_copies(weights), minlength=50)
    assert abs(copies[:30].sum() - copies[30:].sum()) <= 1
    assert copies.min() >= 1
    # an extreme weight takes no extreme memory, and still half of the rows
    weights = np.repeat([0.5, 5000.0], [9999, 1])
    rows = balanced_copies(weights)
    assert len(rows) == 19_999
    assert abs((rows == 9999).sum() - 10_000) <= 1
    weights[0] = 1e-12
    assert len(balanced_copies(weights)) == 40_000


def test_classifiers_that_take_no_weights_are_balanced_by_copies():
    _, codes = data(2)
    weights = np.where(codes == 0, 9.0, 1.0)
    shifted, _ = fitted(LinearDiscriminantAnalysis(), 2, weights)
    shares = shifted.estimator.priors_[[0, 1]]
    np.testing.assert_allclose(shares, [0.9, 0.1], atol=0.01)


def test_training_of_the_default_converges():
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        g, _ = fitted(None, 3)
    assert torch_head(g.estimator) is not None
    assert torch_head(RandomForestClassifier()) is None
