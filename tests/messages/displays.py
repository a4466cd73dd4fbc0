"""Pictures: of a noise, of leakage, of a search, of several systems."""

import sys

import numpy as np
import pandas as pd
from helpers import small_encoder, small_images
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skdne import (
    DebiasedNoiseTransformer,
    FrontierDisplay,
    LeakageDisplay,
    NoiseDisplay,
    SearchDisplay,
)

X, y, a = small_images(40)
PLAIN = DebiasedNoiseTransformer(small_encoder(), solver=None).fit(X)
Z = X.reshape(40, -1) / 255
GRID = {"C": [0.1, 1.0], "max_iter": [90, 99]}
SEARCH = GridSearchCV(LogisticRegression(), GRID, cv=2).fit(Z, y)
PIPELINES = [(name, make_pipeline(PLAIN, LogisticRegression())) for name in "uv"]
HEADS = {"ERM": LogisticRegression().fit(Z, y)}


def show(dne, X=None, **options):
    return NoiseDisplay.from_estimator(dne, X, **options)


def without_matplotlib(world):
    world.patch.setitem(sys.modules, "matplotlib.pyplot", None)
    show(PLAIN)


def search(param="C", estimator=SEARCH, **options):
    return SearchDisplay.from_estimator(estimator, param, **options)


def points(columns=("utility", "fairness"), index=("ERM", "DNE"), **options):
    table = pd.DataFrame(0.5, index=list(index), columns=list(columns))
    return FrontierDisplay(table, utility_name="AUC", fairness_name="EO", **options)


def frontier(y_pred, a=a, **options):
    return FrontierDisplay.from_predictions(y, y_pred, sensitive_features=a, **options)


def frontier_of(estimator, X=None, y=None, **options):
    return FrontierDisplay.from_estimator(estimator, X, y, sensitive_features=a, **options)


def leakage(**scores):
    return LeakageDisplay.from_predictions(a, **scores)


CASES = [
    # NoiseDisplay
    lambda world: NoiseDisplay(np.zeros(4)),
    lambda world: NoiseDisplay(np.zeros((4, 4))).top_mask(top=20),
    lambda world: show(LogisticRegression()),
    lambda world: show(VotingClassifier(PIPELINES).fit(X, y)),
    lambda world: show(PLAIN, kind="rows"),
    lambda world: show(PLAIN, kind="edits"),
    lambda world: show(PLAIN, X[:1], kind="blocks"),
    lambda world: show(PLAIN, X[:2], kind="edits", axes=np.array([None])),
    without_matplotlib,
    # LeakageDisplay
    lambda world: LeakageDisplay.from_estimator(PLAIN),
    lambda world: leakage(),
    lambda world: leakage(before=np.zeros(3)),
    lambda world: leakage(before=np.full(40, np.nan)),
    # SearchDisplay
    lambda world: SearchDisplay([1, 2], {"AUC": [[0.5]]}, param_name="C"),
    lambda world: search(estimator=PLAIN),
    lambda world: search("gamma"),
    lambda world: search(scoring="eo"),
    lambda world: search(fixed={"max_iter": 7}),
    lambda world: search(fixed={}),
    # FrontierDisplay
    lambda world: points(columns=["utility"]),
    lambda world: points(index=["ERM", "ERM"]),
    lambda world: frontier(y),
    lambda world: frontier({"ERM": y[1:]}),
    lambda world: frontier({"ERM": y}, n_bootstrap=3),
    lambda world: frontier({"ERM": y}, fairness="luck"),
    lambda world: frontier_of(HEADS),
    lambda world: frontier_of(SEARCH, Z, y),
    lambda world: frontier_of(SEARCH, utility="score"),
]
