"""The transformer is found in whatever holds it, by the audit and by the displays alike."""

import numpy as np
import pytest
from helpers import small_encoder, small_images
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skdne import DebiasedNoiseTransformer
from skdne.audit import FairnessAudit, _probes
from skdne.display._find import find_transformer
from skdne.fitted_parts import find_parts

FAST = {"n_bootstrap": 20, "n_permutations": 20, "random_state": 0}
X, y, a = small_images(60)
FLIP = FunctionTransformer(lambda images: images[:, ::-1])
HEAD = LogisticRegression(max_iter=1000)


def transformer():
    """Erase the corner that tells a, with a count of the images that were embedded."""
    dne = DebiasedNoiseTransformer(small_encoder(), solver=None).fit(X[:2])
    dne.noise_, dne.clip_ = np.zeros((8, 8), dtype=np.float32), True
    dne.noise_[:3, :3] = -1
    return dne


DNE = transformer()
EDIT = FrozenEstimator(DNE)


def pipeline(*steps):
    return make_pipeline(*steps, clone(HEAD))


class Pair(ClassifierMixin, BaseEstimator):
    """A meta-estimator of a user, which looks at the images itself."""

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, X, y):
        self.estimator_ = clone(self.estimator).fit(X, y)
        self.classes_ = self.estimator_.classes_
        return self

    def predict(self, X):
        odd = X[:, 4, 4] % 2 == 1
        return np.where(odd, 1 - self.estimator_.predict(X), self.estimator_.predict(X))


HOLDERS = {
    "pipeline": pipeline(EDIT),
    "steps around": pipeline(FLIP, "passthrough", EDIT, StandardScaler()),
    "nested, in front": make_pipeline(make_pipeline(FLIP, EDIT), make_pipeline(HEAD)),
    "nested, behind": make_pipeline(FLIP, make_pipeline(EDIT, StandardScaler(), HEAD)),
    "frozen pipeline as a step": make_pipeline(
        FrozenEstimator(make_pipeline(EDIT, StandardScaler()).fit(X)), HEAD
    ),
    "search": GridSearchCV(pipeline(EDIT), {"logisticregression__C": [0.1, 1]}, cv=2),
    "tuned threshold": TunedThresholdClassifierCV(pipeline(EDIT, StandardScaler()), cv=2),
    "fixed threshold": FixedThresholdClassifier(pipeline(EDIT), threshold=0.05),
    "prefit threshold": FixedThresholdClassifier(
        FrozenEstimator(pipeline(EDIT).fit(X, y)), threshold=0.05
    ),
    "threshold in a pipeline": make_pipeline(
        FLIP, FixedThresholdClassifier(pipeline(EDIT), threshold=0.05)
    ),
    "threshold around a search": TunedThresholdClassifierCV(
        GridSearchCV(pipeline(EDIT), {"logisticregression__C": [0.1, 1]}, cv=2), cv=2
    ),
    "search over thresholds": GridSearchCV(
        FixedThresholdClassifier(pipeline(EDIT)), {"threshold": [0.05]}, cv=2
    ),
    "own meta-estimator": Pair(pipeline(EDIT)),
    "calibrated": CalibratedClassifierCV(pipeline(EDIT), cv=2),
    "calibrated once": CalibratedClassifierCV(pipeline(EDIT), ensemble=False, cv=2),
    "votes": VotingClassifier([("u", pipeline(EDIT)), ("v", pipeline(EDIT))], voting="soft"),
}
FLIPPED = ("steps around", "nested, in front", "nested, behind", "threshold in a pipeline")


@pytest.fixture(scope="module", params=HOLDERS)
def case(request):
    """Name and fitted estimator."""
    holder = HOLDERS[request.param]
    prefit = request.param == "prefit threshold"
    return request.param, holder if prefit else clone(holder).fit(X, y)


@pytest.fixture
def probe(monkeypatch):
    """One probe is enough to see that there are embeddings."""
    found = _probes.probes
    monkeypatch.setattr(_probes, "probes", lambda seed: {"linear": found(seed)["linear"]})


def test_an_audit_sees_the_transformer_and_the_labels_of_the_whole(case, probe):
    name, holder = case
    frame = FairnessAudit.from_estimator(holder, X, y, sensitive_features=a, **FAST).to_frame()
    assert {"leakage", "finding", "fidelity"} <= set(frame["section"])
    (accuracy,) = frame.query("section == 'performance' and figure == 'accuracy'")["value"]
    assert accuracy == pytest.approx((holder.predict(X) == y).mean())
    if name in ("fixed threshold", "prefit threshold", "own meta-estimator"):  # are they unlike?
        inner = getattr(holder, "estimator_", holder.estimator)
        assert abs(accuracy - inner.score(X, y)) > 0.05


def test_a_display_finds_the_transformer_and_its_images(case):
    name, holder = case
    found, there = find_transformer(holder, X[:2])
    np.testing.assert_array_equal(found.noise_, DNE.noise_)
    np.testing.assert_array_equal(there, X[:2, ::-1] if name in FLIPPED else X[:2])


def test_a_head_predicts_from_embeddings_what_the_whole_predicts_from_images(case):
    name, holder = case
    (cut,) = find_parts(holder)
    cannot = {"own meta-estimator", "calibrated", "calibrated once", "votes"}
    assert (cut.head is None) == (name in cannot)
    if cut.head is not None:
        Z = cut.transformer.transform(X[:, ::-1] if name in FLIPPED else X)
        np.testing.assert_array_equal(cut.head.predict(Z), holder.predict(X))
        np.testing.assert_allclose(cut.head.predict_proba(Z), holder.predict_proba(X))


def test_members_with_a_noise_each_are_no_one_transformer(probe):
    other = transformer()
    other.noise_[:] = 0.1
    members = [("u", pipeline(EDIT)), ("v", pipeline(FrozenEstimator(other)))]
    votes = VotingClassifier(members).fit(X, y)
    audit = FairnessAudit.from_estimator(votes, X, y, sensitive_features=a, **FAST)
    assert not {"leakage", "fidelity"} & set(audit.to_frame()["section"])
    assert any("VotingClassifier holds 2 fitted transformers" in said for said in audit.warnings)
    with pytest.raises(ValueError, match=r"VotingClassifier, holds 2 .*one of its members"):
        find_transformer(votes, None)


def test_members_that_see_other_images_are_not_one_transformer():
    """They share it, but one of them turns the images upside down."""
    votes = VotingClassifier([("u", pipeline(EDIT)), ("v", pipeline(FLIP, EDIT))]).fit(X, y)
    assert len(find_parts(votes)) == 2


def test_members_that_do_other_things_with_embeddings_share_those_of_the_transformer():
    members = [(name, pipeline(EDIT, StandardScaler())) for name in "uv"]
    (cut,) = find_parts(VotingClassifier(members).fit(X, y))
    assert [type(step) for step in cut.after] == [LogisticRegression]


def test_leakage_is_of_what_the_classifier_is_given(probe):
    """A step behind the transformer takes everything away."""
    plain = transformer()
    plain.noise_[:] = 0
    blind = FunctionTransformer(lambda Z: 0 * Z)
    for holder in (lambda model: model, lambda model: FixedThresholdClassifier(model)):
        model = holder(pipeline(FrozenEstimator(plain), blind)).fit(X, y)
        audit = FairnessAudit.from_estimator(model, X, y, sensitive_features=a, **FAST)
        (row,) = audit.to_frame().query("section == 'leakage'").to_dict("records")
        assert row["value"] == 0.5
        assert row["baseline"] > 0.8


def test_bagged_pipelines_are_several_and_their_template_is_none():
    dne = DebiasedNoiseTransformer(small_encoder(), solver=None)
    bags = BaggingClassifier(pipeline(dne), n_estimators=3, random_state=0)
    flat = X.reshape(60, -1)
    found = [cut.transformer for cut in find_parts(bags.fit(flat, y))]
    assert found == [one.steps[0][1] for one in bags.estimators_]


def test_nothing_is_found_where_there_is_none():
    flat = X.reshape(60, -1)
    for holder in (HEAD, make_pipeline(StandardScaler(), HEAD), BaggingClassifier(HEAD)):
        assert find_parts(clone(holder).fit(flat, y)) == []
    assert find_parts(Pipeline([("none", "passthrough"), ("head", HEAD)])) == []
