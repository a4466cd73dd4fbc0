"""Each check fires on a case made for it, is silent on its opposite, and says what to do."""

import linecache
import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skdne import CallableEncoder, DebiasedNoiseTransformer, diagnostics
from skdne.auc import Auc
from skdne.diagnostics import DebiasingWarning

RNG = np.random.default_rng(0)
HALF = np.arange(200) % 2
CLEAN = RNG.normal(size=(200, 4)).astype(np.float32)


def probes(after, before=0.8, half_width=0.05):
    def auc(value):
        return Auc(value, value - half_width, value + half_width)

    return {
        "linear": {"before": auc(before), "after": auc(0.5)},
        "rbf": {"before": auc(before - 0.1), "after": auc(after)},
    }


def log_p(share):
    """Predictions of g, of which ``share`` are class 0."""
    p = np.where(np.arange(1000) < share * 1000, 0.9, 0.1)
    return np.log(np.column_stack([p, 1 - p]))


CODES = np.arange(1000) % 2
confident = np.log(np.array([[1 - 1e-12, 1e-12], [1e-12, 1 - 1e-12]] * 50))

CASES = {
    "missing labels": (
        diagnostics.missing_labels(3, 10),
        diagnostics.missing_labels(0, 10),
        "missing in 3 of 10 rows; they are left out",
    ),
    "small cells": (
        diagnostics.small_cells(np.repeat([0, 1], [9, 10]), ["y=0, F", "y=0, M", "y=1, F"]),
        diagnostics.small_cells(np.repeat([0, 1], [10, 10]), ["F", "M"]),
        r"\(y=0, F: 9; y=1, F: 0\) .* collect more, or merge",
    ),
    "chance": (
        diagnostics.weak_classifier(0.53, 0.6, HALF),
        diagnostics.weak_classifier(0.60, 0.7, HALF),
        "cannot be told from chance .*nothing to hide, or too few images",
    ),
    "overfitted": (
        diagnostics.weak_classifier(0.7, 1.0, HALF),
        diagnostics.weak_classifier(0.7, 0.9, HALF),
        "overfitted .*give a more regularised attribute_classifier",
    ),
    "nothing held out": (
        diagnostics.weak_classifier(0.53, 1.0, HALF),
        diagnostics.weak_classifier(np.nan, 1.0, np.arange(0)),
        "cannot be told from chance",
    ),
    "not lower": (
        diagnostics.not_lower(-0.3, -0.3),
        diagnostics.not_lower(-0.3, -0.31),
        "noise is set to zero. Try a smaller reg_lambda",
    ),
    "nan objective": (
        diagnostics.not_lower(-0.3, np.nan),
        diagnostics.not_lower(-0.3, -np.inf),
        "noise is set to zero",
    ),
    "below the batch noise": (
        diagnostics.signal_below_noise(0.1, RNG.normal(size=500), 64),
        diagnostics.signal_below_noise(0.2, RNG.normal(size=500), 64),
        "below the batch noise: .*use shared_batch=True",
    ),
    "collapsed": (
        diagnostics.collapsed(log_p(0.5), log_p(0.99), CODES),
        diagnostics.collapsed(log_p(0.95), log_p(0.99), CODES),
        "one class for 99% .*objective='confusion'",
    ),
    "confident is not collapsed": (
        diagnostics.collapsed(log_p(0.5), log_p(0.01), CODES),
        diagnostics.collapsed(confident, confident, confident.argmax(axis=1)),
        "one class for 99%",
    ),
    "cross-entropy out of bounds": (
        diagnostics.collapsed(confident, confident, confident.argmin(axis=1)),
        diagnostics.collapsed(confident, confident, confident.argmax(axis=1)),
        "its cross-entropy is .* nats",
    ),
    "still leaking": (
        diagnostics.still_leaking(probes(after=0.75), 0.8, 0.7),
        diagnostics.still_leaking(probes(after=0.6), 0.8, 0.7),
        "re-trained rbf probe reaches AUC 0.75 .*before: 0.80.* try solver='erasure'",
    ),
    "leaking within the interval of chance": (
        diagnostics.still_leaking(probes(after=0.58, before=0.6), 0.6, 0.6),
        diagnostics.still_leaking(probes(after=0.58, before=0.6, half_width=0.1), 0.6, 0.6),
        "still readable",
    ),
    "in sample only": (
        diagnostics.still_leaking(probes(after=0.75), 0.8, 0.5),
        diagnostics.still_leaking(probes(after=np.nan), 0.8, 0.5),
        "fell from 0.80 to 0.50: the noise does not generalise; use more images",
    ),
    "affine": (
        diagnostics.nearly_affine(CLEAN, CLEAN + 3),
        diagnostics.nearly_affine(CLEAN, CLEAN + 3 + 0.1 * CLEAN**2),
        r"affine: .*Use clip=True on the solver",
    ),
    "affine, no noise": (
        diagnostics.nearly_affine(CLEAN, CLEAN - [1, 0, 0, 0]),
        diagnostics.nearly_affine(CLEAN, CLEAN),
        "same vector",
    ),
    "large noise": (
        diagnostics.large_noise(9.0, 0.5, 19.9),
        diagnostics.large_noise(9.0, 0.5, 20.0),
        r"PSNR 19.9 dB, L2 norm 9.0, largest value 0.50\): look at edit",
    ),
    "none held out": (diagnostics.no_held_out(np.array([0, 0, 1])), None, "class has 1 images"),
    "budget": (diagnostics.budget_spent(100, 3), None, "max_queries=100 ended .* epoch 3.*Raise"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_check_fires_and_is_silent(case):
    fires, silent, message = case
    assert silent is None
    with pytest.warns(DebiasingWarning, match=message):
        diagnostics.warn(fires)
    assert fires[0].islower() or fires.startswith("sensitive_features")
    assert fires.endswith(".")
    assert len(fires) < 520


def test_many_small_cells_are_not_all_listed():
    message = diagnostics.small_cells(np.zeros(20, int), [f"cell {i}" for i in range(50)])
    assert "cell 5: 0; ...)" in message
    assert "cell 6" not in message


def test_the_chance_of_a_coin():
    """The bound is the upper 5% of the AUC of scores that know nothing."""
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1], [15, 45])
    aucs = [roc_auc_score(codes, rng.normal(size=60)) for _ in range(2000)]
    silent = [diagnostics.weak_classifier(auc, auc, codes) is None for auc in aucs]
    assert 0.035 < np.mean(silent) < 0.065


def fit_directly(transformer, X, a):
    return transformer.fit(X, sensitive_features=a)


def fit_in_pipeline(transformer, X, a):
    pipeline = Pipeline([("dne", transformer), ("clf", LogisticRegression())])
    return pipeline.fit(X, np.arange(len(X)) % 3, dne__sensitive_features=a)


def fit_in_search(transformer, X, a):
    pipeline = Pipeline([("dne", transformer), ("clf", LogisticRegression())])
    search = GridSearchCV(pipeline, {"clf__C": [1.0]}, cv=2, refit=False)
    return search.fit(X, np.arange(len(X)) % 3, dne__sensitive_features=a)


@pytest.mark.parametrize("fit", [fit_directly, fit_in_pipeline, fit_in_search])
def test_warnings_point_at_the_line_of_the_user(fit):
    X = RNG.random((120, 1, 4, 4), dtype=np.float32)
    X[:, 0, 0, 0] = HALF[:120]
    a = np.where(HALF[:120], "M", "F").astype(object)
    a[::7] = None
    encoder = CallableEncoder(lambda images: images.reshape(len(images), -1))
    transformer = DebiasedNoiseTransformer(encoder, solver=None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(transformer, X, a)
    ours = [w for w in caught if issubclass(w.category, DebiasingWarning)]
    assert any("is missing in" in str(w.message) for w in ours)
    for warning in ours:
        assert warning.filename == __file__
        assert ".fit(X" in linecache.getline(warning.filename, warning.lineno)


def test_nothing_is_said_of_no_problem():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        diagnostics.warn(None)
