"""SearchDisplay: means and spreads of the folds at the values of a parameter."""

import sys

import matplotlib as mpl
import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from skdne import SearchDisplay
from skdne.display._cv_results import candidate_labels

mpl.use("Agg")
import matplotlib.pyplot as plt

SCORING = {"accuracy": "accuracy", "loss": "neg_log_loss"}
C = [1.0, 0.01, 0.1]


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def search_of(grid, **options):
    X, y = make_classification(120, random_state=0)
    model = Pipeline([("scale", StandardScaler()), ("clf", LogisticRegression())])
    options = {"scoring": SCORING, "refit": "loss", "cv": 4} | options
    return GridSearchCV(model, grid, **options).fit(X, y)


@pytest.fixture(scope="module")
def search():
    return search_of([{"clf__C": C}, {"scale": ["passthrough"]}], refit=lambda results: 1)


def ticks(ax):
    return dict(
        zip([t.get_text() for t in ax.get_xticklabels()], ax.get_xticks().tolist(), strict=True)
    )


def test_means_and_spreads_of_the_folds(search):
    display = SearchDisplay.from_estimator(search, "clf__C", scoring="accuracy")
    line = display.lines_["accuracy"]
    found = np.column_stack(
        [search.cv_results_[f"split{k}_test_accuracy"][[1, 2, 0]] for k in range(4)]
    )
    np.testing.assert_allclose(line.get_xdata(), [0.01, 0.1, 1])
    np.testing.assert_allclose(line.get_ydata(), found.mean(axis=1))
    bars = np.array(display.ax_.collections[0].get_segments())[:, :, 1]
    spread = found.std(axis=1) * np.sqrt(4 / 3)
    np.testing.assert_allclose(bars.mean(axis=1), found.mean(axis=1))
    np.testing.assert_allclose(np.ptp(bars, axis=1), 2 * spread)
    assert display.ax_.get_xscale() == "log"
    assert display.ax_.get_xlabel() == "C"
    assert display.ax_.get_ylabel() == "mean and sd over 4 folds"
    display.figure_.canvas.draw()


def test_a_loss_has_its_sign_back(search):
    display = SearchDisplay.from_estimator(search, "clf__C")
    assert list(display.lines_) == ["accuracy", "loss, lower is better"]
    expected = -search.cv_results_["mean_test_loss"][[1, 2, 0]]
    np.testing.assert_allclose(display.lines_["loss, lower is better"].get_ydata(), expected)
    assert (expected > 0).all()


def test_a_search_with_one_scorer_names_it():
    search = search_of({"clf__C": C}, scoring="neg_log_loss", refit=True)
    (name,) = SearchDisplay.from_estimator(search, "clf__C").lines_
    assert name == "log_loss, lower is better"


def test_candidates_without_the_parameter_stand_apart(search):
    display = SearchDisplay.from_estimator(search, "clf__C", scoring="accuracy")
    assert display.values == ["scale=passthrough", *C]
    at = ticks(display.ax_)
    assert list(at) == ["scale=passthrough", "0.01", "0.1", "1"]
    assert at["scale=passthrough"] < 0.01
    apart = display.ax_.lines[1]
    control = search.cv_results_["mean_test_accuracy"][3]
    assert apart.get_ydata() == [control]
    assert apart.get_markerfacecolor() == "white"
    dashed = [line for line in display.ax_.lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in dashed] == [control]


def test_the_chosen_value_is_marked(search):
    display = SearchDisplay.from_estimator(search, "clf__C")
    assert display.values[display.chosen] == search.best_params_["clf__C"] == 0.01
    (mark,) = [line for line in display.ax_.lines if line.get_label() == "chosen"]
    np.testing.assert_allclose(mark.get_xdata(), search.best_params_["clf__C"])


def test_zero_has_no_place_on_a_log_axis_and_no_line():
    scores = {"s": np.arange(8.0).reshape(4, 2)}
    display = SearchDisplay([0, 0.1, 1, 10], scores, param_name="lambda", repeats="seeds").plot()
    np.testing.assert_allclose(display.lines_["s"].get_xdata(), [0.1, 1, 10])
    assert ticks(display.ax_)["0"] == pytest.approx(0.01)
    assert not [line for line in display.ax_.lines if line.get_linestyle() == "--"]


def test_near_values_have_a_linear_axis():
    display = SearchDisplay([2, 5, 3], {"s": [[1.0], [2.0], [3.0]]}, param_name="R").plot()
    assert display.ax_.get_xscale() == "linear"
    np.testing.assert_array_equal(display.lines_["s"].get_xdata(), [2, 3, 5])
    np.testing.assert_array_equal(display.lines_["s"].get_ydata(), [1, 3, 2])


def test_values_that_are_no_numbers_are_classes():
    search = search_of({"scale": [StandardScaler(), MinMaxScaler(), None]})
    display = SearchDisplay.from_estimator(search, "scale", scoring="accuracy")
    assert list(ticks(display.ax_)) == ["StandardScaler", "MinMaxScaler", "none"]
    expected = search.cv_results_["mean_test_accuracy"]
    np.testing.assert_array_equal(display.lines_["accuracy"].get_ydata(), expected)
    assert display.lines_["accuracy"].get_linestyle() == "None"


def test_many_values_have_few_ticks():
    values = np.logspace(-3, 2, 30)
    display = SearchDisplay(values, {"s": np.ones((30, 2))}, param_name="lambda").plot()
    at = ticks(display.ax_)
    assert 4 <= len(at) <= 8
    assert at["0.1"] == pytest.approx(0.1)
    display.figure_.canvas.draw()


def test_other_parameters_are_held():
    grid = {"clf__C": C, "scale": [StandardScaler(), MinMaxScaler()]}
    search = search_of(grid)
    chosen, held = search.cv_results_["params"], search.best_params_["scale"]
    rows = [i for i, p in enumerate(chosen) if str(p["scale"]) == str(held)]
    display = SearchDisplay.from_estimator(search, "clf__C", scoring="accuracy")
    expected = search.cv_results_["mean_test_accuracy"][rows][[1, 2, 0]]
    np.testing.assert_array_equal(display.lines_["accuracy"].get_ydata(), expected)
    other = next(s for s in grid["scale"] if str(s) != str(held))
    display = SearchDisplay.from_estimator(search, "clf__C", fixed={"scale": other})
    assert display.chosen is None
    assert len(display.values) == 3
    with pytest.raises(ValueError, match=r"differ in \['scale'\]: hold those with fixed="):
        SearchDisplay.from_estimator(search, "clf__C", fixed={})
    with pytest.raises(ValueError, match="no candidate with clf__C has fixed="):
        SearchDisplay.from_estimator(search, "clf__C", fixed={"scale": "passthrough"})


def test_bad_calls_say_what_to_do(search):
    with pytest.raises(ValueError, match=r"param='C' is not a .* it has \['clf__C', 'scale'\]"):
        SearchDisplay.from_estimator(search, "C")
    with pytest.raises(ValueError, match=r"scoring='auc' is not .* it has \['accuracy', 'loss'\]"):
        SearchDisplay.from_estimator(search, "clf__C", scoring="auc")
    with pytest.raises(ValueError, match=r"must be a fitted search.*got LogisticRegression"):
        SearchDisplay.from_estimator(LogisticRegression(), "C")
    with pytest.raises(ValueError, match="not fitted"):
        SearchDisplay.from_estimator(GridSearchCV(LogisticRegression(), {"C": C}), "C")
    with pytest.raises(ValueError, match=r"scores\['s'\] must have shape \(2, n_repeats\)"):
        SearchDisplay([1, 2], {"s": [1.0, 2.0]}, param_name="R")


def test_without_matplotlib(search, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'SearchDisplay.plot .*pip install "skdne\[plot\]"'):
        SearchDisplay.from_estimator(search, "clf__C")


@pytest.mark.parametrize(
    ("params", "labels"),
    [
        ([{"a__C": 1}, {"a__C": 2.5}], ["C=1", "C=2.5"]),
        ([{"a": 1, "b": 2}, {"a": 1, "b": 3}], ["b=2", "b=3"]),
        ([{"s": None}, {"s": 1, "o": 2, "C": 3}, {"s": 1, "o": 2, "C": 4}],
         ["s=none", "s=1, C=3", "s=1, C=4"]),
        ([{"C": 1}, {"C": 2}, {}], ["C=1", "C=2", "as it is"]),
        ([{"a": 1}, {"b": 1}], ["a=1", "b=1"]),
        ([{"a": 1}, {"a": 1}], ["as it is (0)", "as it is (1)"]),
    ],
)  # fmt: skip
def test_candidates_are_named_by_what_differs(params, labels):
    assert candidate_labels(params) == labels
