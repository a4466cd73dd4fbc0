"""FrontierDisplay: systems where their figures are, and the Pareto-optimal ones by definition."""

import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from skdne import FrontierDisplay
from skdne.audit import FairnessAudit
from skdne.metrics import constrained_refit, eo_scorer, equal_opportunity_difference

mpl.use("Agg")
import matplotlib.pyplot as plt

FIGURES = {"utility_name": "accuracy", "fairness_name": "EO_p"}


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def points_of(pairs):
    frame = pd.DataFrame(pairs, columns=["utility", "fairness"])
    return frame.set_axis([f"s{i}" for i in range(len(frame))])


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y, a = rng.integers(0, 2, (2, 300))
    sex = np.array(["F", "M"])[a]
    Z = np.column_stack([y + rng.normal(size=300), a + 0.5 * y, rng.normal(size=(300, 3))])
    return Z, y, sex


@pytest.fixture(scope="module")
def search(data):
    Z, y, sex = data
    cells = np.char.add(y.astype(str), sex)
    folds = list(StratifiedKFold(3, shuffle=True, random_state=0).split(Z, cells))
    refit = constrained_refit(fairness="eo_p", utility="accuracy", tolerance=0.05)
    scoring = {"accuracy": "accuracy", "eo_p": eo_scorer()}
    with sklearn.config_context(enable_metadata_routing=True):
        return GridSearchCV(
            LogisticRegression(), {"C": [1e-4, 0.01, 1]}, scoring=scoring, refit=refit, cv=folds
        ).fit(Z, y, sensitive_features=sex)


def test_pareto_by_hand():
    #      best utility  lowest gap  between    beaten      equal to s0, more gap
    pairs = [(0.9, 0.3), (0.7, 0.1), (0.8, 0.2), (0.75, 0.25), (0.9, 0.35)]
    display = FrontierDisplay(points_of(pairs), **FIGURES).plot()
    assert display.pareto().tolist() == [True, True, True, False, False]
    np.testing.assert_array_equal(display.frontier_.get_xdata(), [0.7, 0.8, 0.9])
    np.testing.assert_array_equal(display.frontier_.get_ydata(), [0.1, 0.2, 0.3])
    for pair, line, optimal in zip(pairs, display.lines_, display.pareto(), strict=True):
        assert (*line.get_xdata(), *line.get_ydata()) == pair
        assert (line.get_markerfacecolor() != "none") == optimal
    higher = FrontierDisplay(points_of(pairs), **FIGURES, greater_is_better=(True, True))
    assert higher.pareto().tolist() == [False, False, False, False, True]


@given(
    pairs=st.lists(st.tuples(*[st.sampled_from([0.0, 0.1, 0.2, 0.3, np.nan])] * 2), min_size=1),
    greater=st.tuples(st.booleans(), st.booleans()),
)
def test_pareto_by_definition(pairs, greater):
    display = FrontierDisplay(points_of(pairs), **FIGURES, greater_is_better=greater)

    def beats(other, one):
        good = [(o, p) if up else (p, o) for o, p, up in zip(other, one, greater, strict=True)]
        return all(o >= p for o, p in good) and any(o > p for o, p in good)

    for one, optimal in zip(pairs, display.pareto(), strict=True):
        expected = not np.isnan(one).any() and not any(beats(other, one) for other in pairs)
        assert optimal == expected


def test_from_predictions_are_the_figures_of_an_audit(data):
    _, y, sex = data
    rng = np.random.default_rng(1)
    y_pred = {
        "ERM": np.where((sex == "F") & (rng.random(300) < 0.4), 0, y),
        "other": np.where(rng.random(300) < 0.2, 1 - y, y),
    }
    patients = np.arange(300) // 2
    options = {"sensitive_features": sex, "groups": patients, "random_state": 0}
    display = FrontierDisplay.from_predictions(
        y, y_pred, utility="accuracy", fairness="EO_p", **options
    )
    for name, row in display.points.iterrows():
        assert row["utility"] == pytest.approx(accuracy_score(y, y_pred[name]))
        gap = equal_opportunity_difference(y, y_pred[name], sensitive_features=sex)
        assert row["fairness"] == pytest.approx(gap)
        frame = FairnessAudit.from_predictions(y, y_pred=y_pred[name], **options).to_frame()
        of_all = frame[frame["group"] == "all"].set_index("figure")
        for side, figure in {"utility": "accuracy", "fairness": "EO_p"}.items():
            ends = row[[f"{side}_low", f"{side}_high"]].to_numpy(float)
            np.testing.assert_allclose(ends, of_all.loc[figure, ["low", "high"]].to_numpy(float))
    horizontal, vertical = display.ax_.collections[:2]
    row = display.points.iloc[0]
    drawn = np.concatenate([horizontal.get_segments()[0][:, 0], vertical.get_segments()[0][:, 1]])
    names = ["utility_low", "utility_high", "fairness_low", "fairness_high"]
    np.testing.assert_allclose(drawn, row[names].to_numpy(float))
    assert display.ax_.get_xlabel() == "accuracy (higher is better)"
    assert display.ax_.get_ylabel() == "EO_p (lower is better)"
    display.figure_.canvas.draw()


def test_the_worst_group_is_better_when_higher(data):
    _, y, sex = data
    systems = {"right": y, "wrong": 1 - y}
    display = FrontierDisplay.from_predictions(
        y, systems, sensitive_features=sex, fairness="worst group accuracy", n_bootstrap=20
    )
    assert display.pareto().tolist() == [True, False]
    assert display.greater_is_better == (True, True)


def test_candidates_of_a_search(search):
    display = FrontierDisplay.from_estimator(search)  # by the scorers of its own rule
    found = search.cv_results_
    assert list(display.points.index) == ["C=0.0001", "C=0.01", "C=1"]
    np.testing.assert_allclose(display.points["utility"], found["mean_test_accuracy"])
    np.testing.assert_allclose(display.points["fairness"], -found["mean_test_eo_p"])
    spread = found["std_test_eo_p"] * np.sqrt(3 / 2)
    width = display.points["fairness_high"] - display.points["fairness_low"]
    np.testing.assert_allclose(width, 2 * spread)
    assert display.chosen == f"C={search.best_params_['C']:g}"
    assert display.greater_is_better == (True, False)
    assert "standard deviation over 3 folds" in display.ax_.get_legend().get_title().get_text()
    swapped = FrontierDisplay.from_estimator(search, utility="eo_p", fairness="accuracy")
    np.testing.assert_array_equal(swapped.pareto(), display.pareto())


def test_fitted_classifiers(data):
    Z, y, sex = data
    models = {
        "all columns": LogisticRegression().fit(Z, y),
        "strong penalty": LogisticRegression(C=1e-3).fit(Z, y),
    }
    display = FrontierDisplay.from_estimator(
        models, Z, y, sensitive_features=sex, utility="AUC", fairness="EO_n", n_bootstrap=50
    )
    for name, model in models.items():
        row = display.points.loc[name]
        assert row["utility"] == pytest.approx(roc_auc_score(y, model.predict_proba(Z)[:, 1]))
        by = {"sensitive_features": sex, "positive_label": 0}
        gap = equal_opportunity_difference(y, model.predict(Z), **by)
        assert row["fairness"] == pytest.approx(gap)


def test_an_undefined_figure_is_said():
    display = FrontierDisplay(points_of([(0.9, np.nan), (0.8, 0.1)]), **FIGURES).plot()
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["s0 (undefined)", "s1"]
    assert display.pareto().tolist() == [False, True]


def test_of_many_systems_those_on_the_frontier_are_named():
    pairs = [(0.5 + 0.01 * i, 0.2) for i in range(30)]
    display = FrontierDisplay(points_of(pairs), **FIGURES, chosen="s3").plot()
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["s3", "s29", "chosen"]
    ring = display.ax_.lines[-1]
    assert (*ring.get_xdata(), *ring.get_ydata()) == pairs[3]


def test_bad_calls_say_what_to_do(data, search):
    Z, y, sex = data
    by = {"sensitive_features": sex}
    with pytest.raises(ValueError, match=r"y_pred must be a dict .* got ndarray"):
        FrontierDisplay.from_predictions(y, y, **by)
    with pytest.raises(ValueError, match=r"fairness='EO' is no figure of the system 'ERM'.*'EO_p'"):
        FrontierDisplay.from_predictions(y, {"ERM": y}, fairness="EO", **by)
    with pytest.raises(ValueError, match=r"system 'short': y_pred has 299 rows, y has 300"):
        FrontierDisplay.from_predictions(y, {"ERM": y, "short": y[1:]}, **by)
    with pytest.raises(ValueError, match="n_bootstrap must be 20 or more"):
        FrontierDisplay.from_predictions(y, {"ERM": y}, n_bootstrap=1, **by)
    with pytest.raises(ValueError, match="X and y are for a dict of classifiers"):
        FrontierDisplay.from_estimator(search, Z, y)
    with pytest.raises(ValueError, match="X and y are missing"):
        FrontierDisplay.from_estimator({"search": search})
    with pytest.raises(ValueError, match=r"fairness='eo' is not a scorer .*\['accuracy', 'eo_p'\]"):
        FrontierDisplay.from_estimator(search, fairness="eo")
    plain = GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=2).fit(Z, y)
    with pytest.raises(ValueError, match=r"utility is missing: name a scorer .*\['score'\]"):
        FrontierDisplay.from_estimator(plain)
    with pytest.raises(ValueError, match=r"points has no column \['fairness'\]"):
        FrontierDisplay(points_of([(1, 1)])[["utility"]], **FIGURES)
    with pytest.raises(ValueError, match="must name each system once, chosen='s9'"):
        FrontierDisplay(points_of([(1, 1)]), **FIGURES, chosen="s9")


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'FrontierDisplay.plot .*pip install "skdne\[plot\]"'):
        FrontierDisplay(points_of([(1, 1)]), **FIGURES).plot()
