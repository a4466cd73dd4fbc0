"""The transformer among scikit-learn's own tools: routing, searches, memory, callbacks, skops."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from helpers import small_encoder, small_images
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    StratifiedKFold,
    cross_validate,
)
from sklearn.pipeline import Pipeline, make_pipeline

from skdne import SPSA, Adam, BlockErasure, DebiasedNoiseTransformer
from skdne.metrics import constrained_refit, di_scorer, eo_scorer

pytestmark = pytest.mark.filterwarnings("ignore::skdne.DebiasingWarning")


@pytest.fixture(autouse=True)
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.fixture(scope="module")
def data():
    return small_images(200)


def make_pipe(**kwargs):
    options = {"solver": Adam(max_iter=2), "leakage": False, "random_state": 0}
    dne = DebiasedNoiseTransformer(small_encoder(), **{**options, **kwargs})
    return Pipeline([("dne", dne), ("clf", LogisticRegression(max_iter=500))])


def test_pipeline_routes_the_attribute(data):
    X, y, a = data
    pipe = make_pipe().fit(X, y, sensitive_features=a)
    alone = make_pipe()["dne"].fit(X, y, sensitive_features=a)
    np.testing.assert_array_equal(pipe["dne"].noise_, alone.noise_)
    assert pipe.score(X, y) > 0.7


def test_without_routing_the_step_prefix_works_and_the_error_says_so(data):
    X, y, a = data
    with sklearn.config_context(enable_metadata_routing=False):
        make_pipe().fit(X, y, dne__sensitive_features=a)
        with pytest.raises(ValueError, match="dne__sensitive_features=a"):
            make_pipe().fit(X, y)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_grid_search_with_fairness_scorers(data, n_jobs):
    X, y, a = data
    cells = pd.Series(y).astype(str) + a
    folds = list(StratifiedKFold(2, shuffle=True, random_state=0).split(X, cells))
    search = GridSearchCV(
        make_pipe(),
        [{"dne__reg_lambda": [0.01, 10.0]}, {"dne__solver": [None]}],
        scoring={
            "eo_p": eo_scorer(1),
            "eo_n": eo_scorer(0),
            "di": di_scorer(),
            "utility": "balanced_accuracy",
        },
        refit=constrained_refit(fairness="eo_p", utility="utility", tolerance=0.1),
        cv=folds,
        n_jobs=n_jobs,
        error_score="raise",
    )
    search.fit(X, y, sensitive_features=a)
    assert np.isfinite(search.cv_results_["mean_test_eo_n"]).all()
    assert len(set(search.cv_results_["mean_test_utility"])) > 1
    assert search.best_estimator_.predict(X).shape == (200,)


def test_solver_parameters_and_whole_encoders_are_searched(data):
    X, y, a = data
    grid = {
        "dne__solver__step_size": [0.001, 0.1],
        "dne__encoder": [small_encoder(s) for s in (0, 1)],
    }
    search = GridSearchCV(make_pipe(), grid, cv=2, error_score="raise")
    search.fit(X, y, sensitive_features=a)
    assert len(set(search.cv_results_["mean_test_score"])) > 1


def test_patients_reach_both_the_folds_and_the_fit(data):
    X, y, a = data
    groups = np.arange(200) // 4
    result = cross_validate(
        make_pipe(),
        X,
        y,
        cv=GroupKFold(2),
        params={"sensitive_features": a, "groups": groups},
        error_score="raise",
    )
    assert len(result["test_score"]) == 2


def test_memory_saves_noise_fits(data, tmp_path):
    X, y, a = data
    calls = tmp_path / "calls"

    class Counting(Adam):
        def minimize(self, *args):
            with calls.open("a") as file:
                file.write("x")
            return super().minimize(*args)

    globals()["Counting"] = Counting  # joblib hashes it by its name
    Counting.__qualname__ = "Counting"
    pipe = make_pipe(solver=Counting(max_iter=1))
    pipe.set_params(memory=str(tmp_path / "cache"))
    search = GridSearchCV(pipe, {"clf__C": [0.1, 1, 10]}, cv=2, error_score="raise")
    search.fit(X, y, sensitive_features=a)
    # two folds and the refit, not one noise for each of the 3 values and 2 folds
    assert calls.read_text() == "xxx"


def test_set_output_pandas(data):
    X, y, a = data
    dne = make_pipe()["dne"].set_output(transform="pandas")
    frame = dne.fit(X, y, sensitive_features=a).transform(X)
    assert list(frame.columns[:2]) == ["debiasednoisetransformer0", "debiasednoisetransformer1"]
    assert (frame.dtypes == np.float32).all()
    pipe = make_pipe().set_output(transform="pandas").fit(X, y, sensitive_features=a)
    assert pipe.predict(X).shape == (200,)


def test_disjoint_sets_for_attribute_and_disease(data):
    X, _, a = data
    X_disease, y_disease, _ = small_images(100, seed=5)
    dne = make_pipe()["dne"].fit(X, sensitive_features=a)
    pipe = make_pipeline(FrozenEstimator(dne), LogisticRegression()).fit(X_disease, y_disease)
    np.testing.assert_array_equal(pipe[0].estimator.noise_, dne.noise_)
    assert clone(pipe).fit(X_disease, y_disease).score(X_disease, y_disease) > 0.7


class StopAfter:
    """A callback that stops, and looks at the noise so far."""

    def __init__(self, n_epochs):
        self.n_epochs, self.seen = n_epochs, []

    def setup(self, estimator, context): ...
    def teardown(self, estimator, context): ...
    def on_fit_task_begin(self, estimator, context): ...

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        if context.task_name == "epoch":
            self.seen.append((len(X), len(y), fitted_estimator.transform(X).shape))
            return len(self.seen) == self.n_epochs
        return False


def test_callback_sees_held_out_images_and_stops(data):
    X, y, a = data
    callback = StopAfter(2)
    dne = make_pipe(solver=Adam(max_iter=9), leakage=True)["dne"].set_callbacks(callback)
    dne.fit(X, y, sensitive_features=a)
    assert (dne.n_iter_, dne.stop_reason_) == (2, "callback")
    assert callback.seen == [(40, 40, (40, 16))] * 2  # the selection set: 20%


@pytest.mark.parametrize("solver", [None, Adam(max_iter=2), SPSA(max_iter=2)])
def test_progress_bar_through_search_and_pipeline(data, solver, capsys):
    X, y, a = data
    search = GridSearchCV(make_pipe(solver=solver), {"dne__reg_lambda": [0.1, 1.0]}, cv=2)
    search.set_callbacks(ProgressBar(max_propagation_depth=None))
    search.fit(X, y, sensitive_features=a)
    assert "DebiasedNoiseTransformer" in capsys.readouterr().out


@pytest.mark.parametrize("solver", [Adam(max_iter=1), BlockErasure(block_size=64, n_images=16)])
def test_skops_keeps_a_pipeline_whose_encoder_is_a_spec(tmp_path, solver):
    import skops.io

    X, y, a = small_images(60)
    pipe = make_pipe().set_params(dne__encoder=None, dne__solver=solver, dne__leakage=True)
    pipe.fit(X, y, sensitive_features=a)
    skops.io.dump(pipe, tmp_path / "pipe.skops")
    unknown = skops.io.get_untrusted_types(file=tmp_path / "pipe.skops")
    assert all(name.startswith("skdne.") for name in unknown)
    loaded = skops.io.load(tmp_path / "pipe.skops", trusted=unknown)
    np.testing.assert_array_equal(loaded.predict_proba(X), pipe.predict_proba(X))
    assert loaded["dne"].verdict_ == pipe["dne"].verdict_
    assert (loaded["dne"].blocks_ is None) == isinstance(solver, Adam)
