"""EmbeddingEraser: exact where LEACE is exact, honest elsewhere, and a scikit-learn estimator."""

import pickle
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from sklearn import config_context
from sklearn.base import clone
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks
from test_estimator_checks import CHECKS

from skdne.embedding_eraser import EmbeddingEraser, _pls_directions

pytest.importorskip("concept_erasure")
pytestmark = pytest.mark.filterwarnings("ignore::skdne.DebiasingWarning")  # small cells


def embeddings(n=300, d=8, correlation=0.0, seed=0):
    """Feature 0 tells y, 1 tells a, and the last three vary more where a is 1."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    a = np.where(rng.random(n) < (1 + correlation) / 2, y, 1 - y)
    Z = rng.normal(size=(n, d))
    Z[:, 0] += 2 * y
    Z[:, 1] += 2 * a
    Z[:, -3:] *= 1 + 2 * a[:, None]
    return Z, y, a


def reading(probe, Z, a, Z_new, a_new):
    return roc_auc_score(a_new, probe.fit(Z, a).decision_function(Z_new))


def cell_mean_gap(Z, y, a):
    """Largest difference between the groups' means, classes of y counting equally."""
    by_group = [np.mean([Z[(a == k) & (y == c)].mean(axis=0) for c in (0, 1)], 0) for k in (0, 1)]
    return np.abs(by_group[1] - by_group[0]).max()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), correlation=st.floats(-0.6, 0.6), m=st.sampled_from([None, 3, 5]))
def test_groups_have_the_same_mean_within_balanced_cells(seed, correlation, m):
    Z, y, a = embeddings(120, correlation=correlation, seed=seed)
    assert cell_mean_gap(Z, y, a) > 1
    erased = EmbeddingEraser(m).fit(Z, y, sensitive_features=a).transform(Z)
    assert cell_mean_gap(erased, y, a) < 1e-8


def test_projection_is_that_of_theorem_4_3_with_shrinkage():
    Z, y, a = embeddings(90, d=30, correlation=0.5)
    Z[:, 10:20] += 2 * Z[:, :1]
    eraser = EmbeddingEraser().fit(Z, y, sensitive_features=a)
    w = np.zeros(90)
    for cell in (2 * y + a)[None] == np.arange(4)[:, None]:
        w[cell] = 0.25 / cell.sum()
    X = (Z - w @ Z) / np.sqrt(w @ (Z - w @ Z) ** 2)
    S, n, d = (X * w[:, None]).T @ X, 1 / (w**2).sum(), 30
    # optimal linear shrinkage of a correlation matrix, whose trace is d (Bodnar et al. 2014)
    alpha = max(0, 1 - (d**2 / n) / ((S**2).sum() - d))
    assert 0.1 < alpha < 0.9
    W = np.linalg.inv(sqrtm(alpha * S + (1 - alpha) * np.eye(d)).real)
    u = W @ (X.T @ (w * (a - w @ a)))
    u /= np.linalg.norm(u)
    P = np.eye(d) - np.linalg.inv(W) @ np.outer(u, u) @ W
    np.testing.assert_allclose(np.eye(d) - eraser.read_ @ eraser.write_, P.T, atol=1e-8)


def test_weights_equal_repeated_rows():
    """Cells of 10 and 20 rows: rows of the small ones, repeated, balance them exactly."""
    rng = np.random.default_rng(0)
    y, a = np.repeat([0, 0, 1, 1], [10, 20, 20, 10]), np.repeat([0, 1, 0, 1], [10, 20, 20, 10])
    Z = rng.normal(size=(60, 6)) + np.outer(y, np.arange(6)) + a[:, None]
    weights = np.where(y == a, 2, 1) / 80
    X = (Z - weights @ Z) / np.sqrt(weights @ (Z - weights @ Z) ** 2)
    ours = _pls_directions(X, y[:, None].astype(float), weights, 3)
    repeated = np.repeat(np.arange(60), np.where(y == a, 2, 1))
    theirs = PLSRegression(3, scale=False).fit(X[repeated], y[repeated]).x_rotations_
    np.testing.assert_allclose(ours / ours[0], theirs / theirs[0], rtol=1e-6)


def test_on_other_data_it_reduces_linear_leakage_and_keeps_the_disease():
    Z, y, a = embeddings(600)
    Z_new, y_new, a_new = embeddings(600, seed=1)
    eraser = EmbeddingEraser().fit(Z, y, sensitive_features=a)
    linear = LogisticRegression()
    assert reading(linear, Z, a, Z_new, a_new) > 0.85
    assert reading(linear, eraser.transform(Z), a, eraser.transform(Z_new), a_new) < 0.6
    before = reading(linear, Z, y, Z_new, y_new)
    assert reading(linear, eraser.transform(Z), y, eraser.transform(Z_new), y_new) > before - 0.01


def test_n_components_takes_away_what_only_nonlinear_probes_read():
    Z, y, a = embeddings(600, d=12)
    Z_new, y_new, a_new = embeddings(600, d=12, seed=1)
    found = {}
    for m in (None, 2):
        eraser = EmbeddingEraser(m).fit(Z, y, sensitive_features=a)
        after, after_new = eraser.transform(Z), eraser.transform(Z_new)
        disease = reading(LogisticRegression(), after, y, after_new, y_new)
        found[m] = reading(SVC(), after, a, after_new, a_new), disease
    assert found[None][0] > 0.8
    assert found[2][0] < 0.7
    assert found[2][1] > found[None][1] - 0.03


def test_y_keeps_a_correlated_disease():
    Z, y, a = embeddings(1000, correlation=0.8)
    Z_new, y_new, _ = embeddings(1000, seed=1)
    auc = {}
    for name, target in (("y", y), ("none", None)):
        eraser = EmbeddingEraser().fit(Z, target, sensitive_features=a)
        auc[name] = roc_auc_score(y_new, eraser.transform(Z_new)[:, 0])
    assert auc["y"] > auc["none"] + 0.02


def trained_on_fit_data(Z, a, weights=None):
    """A linear classifier's log-loss less a constant's, and its AUC, weighted as it is trained."""
    Z = (Z - Z.mean(axis=0)) / Z.std(axis=0)
    clf = LogisticRegression(C=1e4, tol=1e-9, max_iter=5000).fit(Z, a, sample_weight=weights)
    share = np.average(a, weights=weights)
    constant = log_loss(a, np.full(len(a), share), sample_weight=weights)
    gain = constant - log_loss(a, clf.predict_proba(Z)[:, 1], sample_weight=weights)
    return gain, roc_auc_score(a, clf.decision_function(Z), sample_weight=weights)


@pytest.mark.parametrize("m", [None, 3])
def test_with_y_no_linear_classifier_with_the_cells_weights_beats_a_constant(m):
    Z, y, a = embeddings(600, correlation=0.7)  # y and a agree in 85%
    weights = compute_sample_weight("balanced", 2 * y + a)
    assert trained_on_fit_data(Z, a, weights)[0] > 0.2
    erased = EmbeddingEraser(m).fit(Z, y, sensitive_features=a).transform(Z)
    means = [np.average(erased[a == k], axis=0, weights=weights[a == k]) for k in (0, 1)]
    np.testing.assert_allclose(means[0], means[1], atol=1e-8)
    assert trained_on_fit_data(erased, a, weights)[0] == pytest.approx(0, abs=1e-6)
    # what is not promised: without the weights it reads a through y
    assert trained_on_fit_data(erased, a)[1] > 0.7


@pytest.mark.parametrize("m", [None, 3])
def test_unbalanced_no_plain_linear_classifier_beats_a_constant(m):
    Z, y, a = embeddings(600, correlation=0.7)
    assert trained_on_fit_data(Z, a)[0] > 0.2
    eraser = EmbeddingEraser(m, balanced=False).fit(Z, y, sensitive_features=a)
    erased = eraser.transform(Z)
    np.testing.assert_allclose(erased[a == 0].mean(axis=0), erased[a == 1].mean(axis=0), atol=1e-8)
    assert trained_on_fit_data(erased, a)[0] == pytest.approx(0, abs=1e-6)
    assert np.abs(eraser.mean_ - Z.mean(axis=0)).max() < 1e-10
    if m is None:  # then y tells nothing more
        alone = EmbeddingEraser().fit_transform(Z, sensitive_features=a)
        np.testing.assert_allclose(erased, alone)


def test_unbalanced_costs_disease_where_it_is_correlated():
    Z_new, y_new, _ = embeddings(2000, seed=1)
    auc = {}
    for correlation in (0.0, 0.8):
        Z, y, a = embeddings(1000, correlation=correlation)
        for balanced in (True, False):
            eraser = EmbeddingEraser(balanced=balanced).fit(Z, y, sensitive_features=a)
            head = LogisticRegression().fit(
                eraser.transform(Z), y, compute_sample_weight("balanced", 2 * y + a)
            )
            scores = head.decision_function(eraser.transform(Z_new))
            auc[correlation, balanced] = roc_auc_score(y_new, scores)
    assert auc[0.8, False] < auc[0.8, True] - 0.02
    assert auc[0.0, False] == pytest.approx(auc[0.0, True], abs=0.005)


def test_missing_rows_are_left_out():
    Z, y, a = embeddings(200)
    holes = a.astype(object)
    holes[::5] = None
    known = np.arange(200) % 5 != 0
    for m in (None, 3):
        with pytest.warns(match="missing in 40 of 200"):
            eraser = EmbeddingEraser(m).fit(Z, y, sensitive_features=holes)
        subset = EmbeddingEraser(m).fit(Z[known], y[known], sensitive_features=a[known])
        np.testing.assert_allclose(eraser.transform(Z), subset.transform(Z), atol=1e-10)


def test_a_missing_finding_says_nothing():
    Z, y, a = embeddings(200)
    other = np.where(np.arange(200) < 150, y, np.nan)
    frame = pd.DataFrame({"y": y, "other": other})
    eraser = EmbeddingEraser(3).fit(Z, frame, sensitive_features=a)
    assert np.isfinite(eraser.transform(Z)).all()
    same = EmbeddingEraser(3).fit(Z, frame.to_numpy(), sensitive_features=a)
    np.testing.assert_allclose(eraser.rotation_, same.rotation_)


def test_several_columns_are_intersected():
    Z, y, a = embeddings(400)
    old = np.random.default_rng(3).random(400) < 0.5
    Z[:, 2] += 2 * old
    sensitive = pd.DataFrame({"sex": np.where(a == 1, "M", "F"), "old": old})
    eraser = EmbeddingEraser().fit(Z, y, sensitive_features=sensitive)
    assert list(eraser.classes_) == ["F, False", "F, True", "M, False", "M, True"]
    assert eraser.read_.shape == (8, 3)
    erased = eraser.transform(Z)
    for labels in (a, old):
        assert cell_mean_gap(erased, y, labels.astype(int)) < 0.1 < cell_mean_gap(Z, y, labels)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(1e-3, 1e3), min_size=8, max_size=8), st.floats(-100, 100))
def test_units_do_not_matter(scales, shift):
    Z, y, a = embeddings(60)
    units = np.array(scales)
    erased = EmbeddingEraser().fit_transform(Z, y, sensitive_features=a)
    changed = EmbeddingEraser().fit_transform(Z * units + shift, y, sensitive_features=a)
    np.testing.assert_allclose((changed - shift) / units, erased, atol=1e-6)


def test_more_features_than_images_and_constant_ones():
    rng = np.random.default_rng(0)
    a = np.arange(20) % 2
    Z = np.hstack([rng.normal(size=(20, 50)) + a[:, None], np.full((20, 2), 7.0)])
    erased = EmbeddingEraser().fit_transform(Z, sensitive_features=a)
    gap = erased[a == 1].mean(axis=0) - erased[a == 0].mean(axis=0)
    assert np.abs(gap).max() < 1e-8
    np.testing.assert_allclose(erased[:, -2:], 7.0)


def test_float32_stays_and_agrees():
    Z, y, a = embeddings()
    eraser = EmbeddingEraser().fit(Z.astype(np.float32), y, sensitive_features=a)
    single = eraser.transform(Z.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, eraser.transform(Z), atol=1e-5)


def test_pickle_clone_names_and_output():
    Z, y, a = embeddings()
    eraser = EmbeddingEraser(3).fit(Z, y, sensitive_features=a)
    again = pickle.loads(pickle.dumps(eraser))
    np.testing.assert_array_equal(again.transform(Z), eraser.transform(Z))
    assert clone(eraser).n_components == 3
    names = ["embeddingeraser0", "embeddingeraser1", "embeddingeraser2"]
    assert list(eraser.get_feature_names_out()) == names
    assert list(eraser.set_output(transform="pandas").transform(Z)) == names
    assert len(EmbeddingEraser().fit(Z, sensitive_features=a).get_feature_names_out()) == 8


def test_the_attribute_is_routed_through_a_pipeline_and_a_search():
    Z, y, a = embeddings()
    with config_context(enable_metadata_routing=True):
        pipe = make_pipeline(EmbeddingEraser(4), LogisticRegression())
        scores = cross_val_score(pipe, Z, y, params={"sensitive_features": a}, error_score="raise")
    assert scores.mean() > 0.7


@pytest.mark.parametrize(
    ("m", "target", "message"),
    [
        (3, None, "n_components=3 needs y"),
        (8, "y", "n_components=8 needs 9 directions"),
        (2, "continuous", "distinct values; n_components needs classes"),
        (2, "constant", "1 distinct values"),
    ],
)
def test_bad_n_components(m, target, message):
    Z, y, a = embeddings()
    targets = {"y": y, "continuous": Z[:, 0], "constant": np.zeros(300)}
    with pytest.raises(ValueError, match=message):
        EmbeddingEraser(m).fit(Z, targets.get(target), sensitive_features=a)


def test_three_groups_leave_as_many_features_as_asked_for():
    Z, y, a = embeddings()
    groups = a + (np.random.default_rng(0).random(300) < 0.4)
    eraser = EmbeddingEraser(2).fit(Z, y, sensitive_features=groups)
    erased = eraser.transform(Z)
    assert np.linalg.matrix_rank(erased - erased.mean(axis=0)) == 2
    cells = pd.DataFrame(erased).groupby([groups, y]).mean()
    by_group = cells.groupby(level=0).mean().to_numpy()
    np.testing.assert_allclose(by_group - by_group[0], 0, atol=1e-8)


def test_no_attribute():
    with pytest.raises(ValueError, match="sensitive_features is missing"):
        EmbeddingEraser().fit(*embeddings()[:2])


def test_without_the_library(monkeypatch):
    Z, y, a = embeddings()
    monkeypatch.setitem(sys.modules, "concept_erasure", None)
    with pytest.raises(ImportError, match=r'pip install "skdne\[erase\]"'):
        EmbeddingEraser().fit(Z, y, sensitive_features=a)


class AlternatingAttribute(EmbeddingEraser):
    """The suite knows no sensitive features: supply some."""

    def fit(self, Z, y=None, *, sensitive_features=None):
        if sensitive_features is None:
            shape = Z.shape if hasattr(Z, "shape") else np.asarray(Z).shape
            sensitive_features = np.arange(*shape[:1]) % 2 if shape else [0]
        return super().fit(Z, y, sensitive_features=sensitive_features)


@parametrize_with_checks([AlternatingAttribute(), AlternatingAttribute(1)])
def test_estimator_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("m", [None, 1])
def test_the_suite_is_not_skipped(m):
    estimator = AlternatingAttribute(m)
    names = [check.func.__name__ for _, check in estimator_checks_generator(estimator)]
    extra = ["check_requires_y_none"] if m else []  # in scikit-learn 1.9.1
    assert sorted(set(names)) == sorted([*CHECKS, *extra, "check_transformer_preserve_dtypes"])
    assert len(names) == 47 + len(extra)
