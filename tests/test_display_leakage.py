"""LeakageDisplay: the AUCs drawn are those that were measured, at their rows."""

import sys
import warnings

import matplotlib as mpl
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from skdne import (
    Adam,
    DebiasedNoiseTransformer,
    DebiasingWarning,
    LeakageDisplay,
    TorchEncoder,
)
from skdne.auc import Auc
from skdne.verdict import Verdict

mpl.use("Agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def dne():
    """Fitted on images whose corner is bright in one group."""
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(1, 4, 4, 4), torch.nn.ReLU(), torch.nn.Flatten()
    encoder = TorchEncoder(torch.nn.Sequential(*layers), input_size=(16, 16), n_channels=1)
    rng = np.random.default_rng(0)
    y, a = rng.integers(0, 2, (2, 160))
    X = rng.uniform(0.3, 0.5, (160, 16, 16))
    X[:, 10:14, 2:6] += 0.3 * a[:, None, None]
    X[:, 2:6, 10:14] += 0.3 * y[:, None, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DebiasingWarning)
        fitted = DebiasedNoiseTransformer(encoder, solver=Adam(max_iter=2), random_state=0)
        return fitted.fit(X, y, sensitive_features=a), X, y


def segments(display):
    """Ends of the bars, by row."""
    (before, after) = (c.get_segments() for c in display.ax_.collections)
    return np.array(before)[:, :, 0], np.array(after)[:, :, 0]


def test_from_estimator_draws_what_was_measured(dne):
    fitted, X, y = dne
    pipeline = make_pipeline(fitted, LogisticRegression())
    pipeline[-1].fit(fitted.transform(X), y)
    display = LeakageDisplay.from_estimator(pipeline)
    rows = [*fitted.leakage_.values(), *fitted.findings_.values()]
    assert len(rows) == 4
    for side, ends in zip(("before", "after"), segments(display), strict=True):
        line = display.lines_[side]
        np.testing.assert_array_equal(line.get_xdata(), [row[side].auc for row in rows])
        np.testing.assert_array_equal(ends, [row[side][1:] for row in rows])
        np.testing.assert_array_equal(np.rint(line.get_ydata()), range(4))
    labels = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert labels[0] == "attribute, linear probe"
    assert labels[3] == "y, linear probe"
    assert fitted.verdict_.outcome.split()[0] in display.ax_.get_title()
    assert display.figure_ is display.ax_.figure
    display.figure_.canvas.draw()


def test_chance_and_the_bound_of_removed_are_marked():
    leakage = {"linear": {"after": Auc(0.3, 0.2, 0.4)}}
    verdict = Verdict("removed", "because")
    display = LeakageDisplay(leakage, verdict=verdict).plot()
    vertical = {tuple(line.get_xdata()) for line in display.ax_.lines}
    assert {(0.5, 0.5), (0.6, 0.6)} <= vertical
    assert display.ax_.get_xlim()[0] < 0.2  # all of the interval is seen
    assert list(display.lines_) == ["after"]
    assert display.ax_.get_title() == "removed"
    _, ax = plt.subplots()
    assert display.plot(ax).ax_ is ax


def test_an_interval_may_miss_its_estimate():
    """``errorbar`` would refuse: percentiles of a bootstrap need not hold the estimate."""
    display = LeakageDisplay({"mlp": {"before": (0.99, 0.9, 0.98), "after": (0.5, 0.4, 0.6)}})
    np.testing.assert_array_equal(segments(display.plot())[0], [[0.9, 0.98]])


def test_from_predictions_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    a = np.array(["F", "M"])[np.arange(120) % 2]
    before = rng.normal(size=120) + (a == "M")
    after = rng.normal(size=120)
    display = LeakageDisplay.from_predictions(a, before=before, after=after, random_state=0)
    for side, scores in {"before": before, "after": after}.items():
        auc = display.leakage["probe"][side]
        assert auc.auc == pytest.approx(roc_auc_score(a == "M", scores))
        assert auc.low < auc.auc < auc.high
        # width of a 95% interval by Hanley and McNeil 1982
        q1, q2 = auc.auc / (2 - auc.auc), 2 * auc.auc**2 / (1 + auc.auc)
        variance = auc.auc * (1 - auc.auc) + 59 * (q1 + q2 - 2 * auc.auc**2)
        width = 2 * 1.96 * np.sqrt(variance) / 60
        assert auc.high - auc.low == pytest.approx(width, rel=0.15)
    again = LeakageDisplay.from_predictions(a, before=before, after=after, random_state=0)
    assert again.leakage == display.leakage


def test_images_of_a_patient_stay_together():
    """Each patient three times: the interval is that of the patients, not of thrice as many."""
    rng = np.random.default_rng(1)
    a = np.arange(60) % 2
    scores = rng.normal(size=60) + 0.5 * a
    few = LeakageDisplay.from_predictions(a, before=scores, random_state=0)
    tripled = {"before": np.tile(scores, 3), "random_state": 0}
    many = LeakageDisplay.from_predictions(np.tile(a, 3), **tripled)
    grouped = LeakageDisplay.from_predictions(
        np.tile(a, 3), groups=np.tile(np.arange(60), 3), **tripled
    )
    width = [
        d.leakage["probe"]["before"].high - d.leakage["probe"]["before"].low
        for d in (few, grouped, many)
    ]
    assert width[1] == pytest.approx(width[0], rel=0.02)
    assert width[2] < 0.75 * width[0]


def test_rows_without_the_attribute_are_left_out():
    a = np.array(["F", "M", None] * 30, dtype=object)
    scores = np.random.default_rng(0).normal(size=90)
    known = np.arange(90) % 3 < 2
    with pytest.warns(DebiasingWarning, match="30 of 90"):
        display = LeakageDisplay.from_predictions(a, after=scores, random_state=0)
    expected = roc_auc_score(a[known] == "M", scores[known])
    assert display.leakage["probe"]["after"].auc == pytest.approx(expected)


def test_bad_calls_say_what_to_do(dne):
    a = np.arange(20) % 2
    with pytest.raises(ValueError, match="before and after are missing"):
        LeakageDisplay.from_predictions(a)
    with pytest.raises(ValueError, match=r"before, 'linear', must have shape \(20,\) or \(20, 2\)"):
        LeakageDisplay.from_predictions(a, before={"linear": np.zeros(19)})
    with pytest.raises(ValueError, match=r"after, 'probe', must have shape \(21, 3\)"):
        LeakageDisplay.from_predictions(np.arange(21) % 3, after=np.zeros(21))
    with pytest.raises(ValueError, match="after, 'probe', has nan"):
        LeakageDisplay.from_predictions(a, after=np.full(20, np.nan))
    with pytest.raises(ValueError, match="holds no DebiasedNoiseTransformer: LogisticRegression"):
        LeakageDisplay.from_estimator(LogisticRegression())
    control = DebiasedNoiseTransformer(dne[0].encoder, solver=None).fit(dne[1])
    with pytest.raises(ValueError, match=r"no leakage_ to draw.*leakage=True"):
        LeakageDisplay.from_estimator(control)


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'LeakageDisplay.plot .*pip install "skdne\[plot\]"'):
        LeakageDisplay({"linear": {"after": (0.5, 0.4, 0.6)}}).plot()
