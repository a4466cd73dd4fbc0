"""Audit of fitted pipelines: one pass of the encoder, leakage, findings, fidelity, warnings."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers import small_encoder, small_images
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skdne import CallableEncoder, DebiasedNoiseTransformer
from skdne.audit import FairnessAudit, _probes, attribute_leakage, choose_threshold
from skdne.audit._warnings import check_change, check_leakage, check_transformer
from skdne.baselines import ExponentiatedGradientClassifier
from skdne.metrics import equal_opportunity_difference

FAST = {"n_bootstrap": 40, "n_permutations": 40, "random_state": 0}


def edit(noise, clip=True, encoder=None, size=8):
    """Return a fitted transformer with a noise of our own."""
    encoder = small_encoder(size=size) if encoder is None else encoder
    X = np.zeros((2, size, size), dtype=np.uint8)
    dne = DebiasedNoiseTransformer(encoder, solver=None).fit(X)
    dne.noise_, dne.clip_ = np.asarray(noise, dtype=np.float32), clip
    return dne


def corner():
    """Erase the corner that tells a."""
    noise = np.zeros((8, 8))
    noise[:3, :3] = -1
    return noise


def pipeline(noise, X, y, *steps):
    pipe = make_pipeline(
        FrozenEstimator(edit(noise)), *steps, LogisticRegression(C=10, max_iter=5000)
    )
    return pipe.fit(X, y)


@pytest.fixture
def linear_only(monkeypatch):
    """One probe is enough where the probes are not the point, and much faster."""
    all_probes = _probes.probes
    monkeypatch.setattr(_probes, "probes", lambda seed: {"linear": all_probes(seed)["linear"]})


@pytest.fixture(scope="module")
def case():
    train = small_images(200, seed=0, correlation=0.6)
    X, y, a = small_images(160, seed=1)
    erased, plain = (pipeline(n, *train[:2]) for n in (corner(), np.zeros((8, 8))))
    return erased, plain, X, y, a


def column(audit, section, name="value"):
    frame = audit.to_frame()
    return frame[frame["section"] == section].set_index("figure")[name]


def test_what_a_pipeline_tells(case):
    erased, plain, X, y, a = case
    validation = small_images(100, seed=2)[:2]
    audit = FairnessAudit.from_estimator(
        erased, X, y, sensitive_features=a, baseline=plain, validation=validation, **FAST
    )
    frame = audit.to_frame()
    auc = frame[(frame["section"] == "performance") & (frame["figure"] == "AUC")].iloc[0]
    assert auc["value"] == pytest.approx(roc_auc_score(y, erased.predict_proba(X)[:, 1]))
    assert auc["baseline"] == pytest.approx(roc_auc_score(y, plain.predict_proba(X)[:, 1]))
    chosen = choose_threshold(validation[1], erased.predict_proba(validation[0])[:, 1])
    assert audit.thresholds["validation"] == chosen
    at = frame[(frame["threshold"] == "validation") & (frame["figure"] == "accuracy")]
    pred = erased.predict_proba(X)[:, 1] >= chosen
    assert at[at["group"] == "all"]["value"].iloc[0] == pytest.approx((pred == y).mean())

    leakage = frame[frame["section"] == "leakage"].set_index("figure")
    assert (leakage["baseline_low"] > 0.8).all()
    assert (leakage["value"] < 0.65).all()
    assert (leakage["difference_high"] < 0).all()
    direct = attribute_leakage(erased[0].transform(X), sensitive_features=a, y=y, random_state=5)
    assert leakage.loc["linear probe", "value"] == pytest.approx(direct["linear"].auc, abs=0.1)

    fidelity = column(audit, "fidelity")
    before, after = X / 255.0, np.clip(X / 255.0 + corner(), 0, 1)
    norms = np.linalg.norm((after - before).reshape(len(X), -1), axis=1)
    assert fidelity["L2"] == pytest.approx(norms.mean(), rel=1e-5)
    assert fidelity["PSNR (dB)"] == pytest.approx(
        -10 * np.log10(((after - before) ** 2).mean()), rel=1e-5
    )
    assert any("large against the pixel range" in sentence for sentence in audit.warnings)


def test_without_a_baseline_leakage_is_compared_with_no_noise(case, linear_only):
    erased, plain, X, y, a = case
    with_plain = FairnessAudit.from_estimator(
        erased, X, y, sensitive_features=a, baseline=plain, **FAST
    )
    alone = FairnessAudit.from_estimator(erased, X, y, sensitive_features=a, **FAST)
    pd.testing.assert_series_equal(
        column(alone, "leakage", "baseline"), column(with_plain, "leakage", "baseline")
    )
    assert column(alone, "performance", "baseline").isna().all()


def test_findings(case, linear_only):
    erased, _, X, y, a = case
    findings = pd.DataFrame({"same": y.astype(float), "rare": (np.arange(160) < 4) * 1.0})
    findings.loc[:9, "same"] = np.nan
    audit = FairnessAudit.from_estimator(
        erased, X, y, sensitive_features=a, findings=findings, **FAST
    )
    aucs = column(audit, "finding")
    assert set(aucs.index) == {"y", "same"}
    assert (aucs > 0.8).all()
    assert any("left out: rare" in sentence for sentence in audit.warnings)
    rows = audit.to_frame().query("figure == 'same'")
    assert rows["n"].iloc[0] == 150


def test_the_encoder_is_asked_once_for_each_kind_of_image(linear_only):
    seen = []

    def embed(images):
        seen.append(len(images))
        return images.reshape(len(images), -1)

    encoder = CallableEncoder(embed, input_size=(8, 8), n_channels=1)
    X, y, a = small_images(60)
    dne = edit(corner(), encoder=encoder)
    pipe = make_pipeline(FrozenEstimator(dne), StandardScaler(), LogisticRegression())
    pipe.fit(X, y)
    seen.clear()
    FairnessAudit.from_estimator(pipe, X, y, sensitive_features=a, **FAST)
    assert sum(seen) == 120  # edited and plain
    seen.clear()
    FairnessAudit.from_estimator(pipe, X, y, sensitive_features=a, leakage=False, **FAST)
    assert sum(seen) == 60


def test_a_tuned_threshold_around_a_pipeline_costs_no_pass_more(linear_only):
    seen = []

    def embed(images):
        seen.append(len(images))
        return images.reshape(len(images), -1)

    encoder = CallableEncoder(embed, input_size=(8, 8), n_channels=1)
    X, y, a = small_images(60)
    plain, erased = (
        TunedThresholdClassifierCV(
            make_pipeline(FrozenEstimator(edit(noise, encoder=encoder)), LogisticRegression()), cv=2
        ).fit(X, y)
        for noise in (np.zeros((8, 8)), corner())
    )
    seen.clear()
    FairnessAudit.from_estimator(erased, X, y, sensitive_features=a, baseline=plain, **FAST)
    assert sum(seen) == 120  # one pass each; the baseline's embeddings are those without the edit
    seen.clear()
    FairnessAudit.from_estimator(
        plain, X, y, sensitive_features=a, validation=(X[:20], y[:20]), leakage=False, **FAST
    )
    assert sum(seen) == 80
    whole = CalibratedClassifierCV(plain.estimator_, ensemble=False, cv=2).fit(X, y)
    seen.clear()
    FairnessAudit.from_estimator(whole, X, y, sensitive_features=a, leakage=False, **FAST)
    assert sum(seen) == 120  # predict_proba and predict of what cannot be cut, and no more


def gradient(random_state=0):
    return ExponentiatedGradientClassifier(max_iter=5, random_state=random_state)


HEADS = {
    "plain": LogisticRegression(),
    "tuned": TunedThresholdClassifierCV(LogisticRegression(), cv=2),
    "fixed": FixedThresholdClassifier(LogisticRegression(), threshold=0.05),
    "mixture": gradient(),
}


@pytest.mark.parametrize("around", ["nothing", "pipeline", "pipeline in a search"])
@pytest.mark.parametrize("name", HEADS)
def test_audited_labels_are_those_of_predict(name, around):
    rng = np.random.default_rng(0)
    y = (rng.random(300) < 0.3).astype(int)
    a = np.where(rng.random(300) < 0.3 + 0.4 * y, "M", "F")
    Z = rng.normal(size=(300, 3)) + np.column_stack([y, a == "M", y])
    model = clone(HEADS[name])
    if "pipeline" in around:
        model = make_pipeline(StandardScaler(), model)
    if "search" in around:
        model = GridSearchCV(model, {}, cv=2, scoring="accuracy")
    with config_context(enable_metadata_routing=True):
        model.fit(Z, y, **({"sensitive_features": a} if name == "mixture" else {}))
    audit = FairnessAudit.from_estimator(model, Z, y, sensitive_features=a, **FAST)
    predicted = model.predict(Z)
    assert column(audit, "performance")["accuracy"] == pytest.approx(accuracy_score(y, predicted))
    frame = audit.to_frame().set_index(["figure", "group"])
    assert set(frame["threshold"]) == {"", "as predicted"}
    assert frame.loc[("EO_p", "all"), "value"] == pytest.approx(
        equal_opportunity_difference(y, predicted, sensitive_features=a)
    )
    if name in ("tuned", "fixed", "mixture"):  # else the test would prove nothing
        half = model.predict_proba(Z)[:, 1] >= 0.5
        assert accuracy_score(y, half) != pytest.approx(accuracy_score(y, predicted))
    score = model.predict_proba(Z)[:, 1]
    assert frame.loc[("AUC", "all"), "value"] == pytest.approx(roc_auc_score(y, score))
    assert frame.loc[("Brier score", "all"), "value"] == pytest.approx(((score - y) ** 2).mean())
    assert audit.summary[0].startswith("Performance (as predicted): ")
    assert not any("threshold" in sentence for sentence in audit.summary)


def test_a_validation_threshold_stands_beside_the_labels_of_predict(tmp_path):
    rng = np.random.default_rng(0)
    y = (rng.random(400) < 0.3).astype(int)
    Z = rng.normal(size=(400, 2)) + y[:, None]
    a = rng.choice(["F", "M"], 400)
    tuned = TunedThresholdClassifierCV(LogisticRegression(), cv=2).fit(Z[:200], y[:200])
    audit = FairnessAudit.from_estimator(
        tuned, Z[200:], y[200:], sensitive_features=a[200:], validation=(Z[:200], y[:200]), **FAST
    )
    chosen = choose_threshold(y[:200], tuned.predict_proba(Z[:200])[:, 1])
    assert audit.thresholds == {"validation": chosen}
    frame = audit.to_frame().query("figure == 'accuracy' and group == 'all'")
    found = frame.set_index("threshold")["value"]
    score = tuned.predict_proba(Z[200:])[:, 1]
    assert found["validation"] == pytest.approx(((score >= chosen) == y[200:]).mean())
    assert found["as predicted"] == pytest.approx(tuned.score(Z[200:], y[200:]))
    audit.to_html(tmp_path / "audit.html")
    page = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert "Labels as predicted" in page
    assert f"Threshold: validation ({chosen:.3f})" in page


def test_steps_before_and_after_and_scores_without_probabilities():
    X, y, a = small_images(80)
    pipe = Pipeline(
        [
            ("dne", FrozenEstimator(edit(corner()))),
            ("scale", StandardScaler()),
            ("svm", LinearSVC()),
        ]
    ).fit(X, y)
    audit = FairnessAudit.from_estimator(pipe, X, y, sensitive_features=a, leakage=False, **FAST)
    frame = audit.to_frame()
    assert set(frame["threshold"]) == {"", "as predicted"}
    assert not len(frame[frame["section"] == "calibration"])
    accuracy = column(audit, "performance")["accuracy"]
    assert accuracy == pytest.approx(pipe.score(X, y))
    assert column(audit, "performance")["AUC"] == pytest.approx(
        roc_auc_score(y, pipe.decision_function(X))
    )


def test_no_edit_and_no_transformer(case, linear_only):
    _, plain, X, y, a = case
    audit = FairnessAudit.from_estimator(plain, X, y, sensitive_features=a, **FAST)
    assert any("the noise is zero" in sentence for sentence in audit.warnings)
    assert any("still readable" in sentence for sentence in audit.warnings)
    assert np.isinf(column(audit, "fidelity")["PSNR (dB)"])
    Z = plain[0].transform(X)
    head = LogisticRegression(max_iter=1000).fit(Z, y)
    without = FairnessAudit.from_estimator(head, Z, y, sensitive_features=a, **FAST)
    assert not len(column(without, "leakage"))
    given = FairnessAudit.from_predictions(
        y, y_score=head.predict_proba(Z), sensitive_features=a, embeddings=Z, **FAST
    )
    assert (column(given, "leakage") > 0.8).all()


def test_an_affine_encoder_is_noticed(linear_only):
    encoder = CallableEncoder(
        lambda images: images.reshape(len(images), -1), input_size=(8, 8), n_channels=1
    )
    X, y, a = small_images(80)
    pipe = make_pipeline(FrozenEstimator(edit(corner() / 9, False, encoder)), LogisticRegression())
    audit = FairnessAudit.from_estimator(pipe.fit(X, y), X, y, sensitive_features=a, **FAST)
    assert any("(almost) affine" in sentence for sentence in audit.warnings)


def test_leakage_that_did_not_generalise(case, linear_only):
    _, _, X, y, a = case
    dne = edit(np.full((8, 8), 0.01))
    dne.leakage_ = {"linear": {"before": (0.9, 0.8, 1), "after": type("Auc", (), {"auc": 0.5})()}}
    pipe = make_pipeline(FrozenEstimator(dne), LogisticRegression(max_iter=5000)).fit(X, y)
    audit = FairnessAudit.from_estimator(pipe, X, y, sensitive_features=a, **FAST)
    assert any("does not generalise" in sentence for sentence in audit.warnings)


def test_levelling_down_and_auc_at_chance():
    rng = np.random.default_rng(0)
    a, y = np.repeat(["F", "M"], 400), np.arange(800) % 2
    before = np.where(rng.random(800) < np.where(a == "F", 0.6, 0.95), y, 1 - y) * 0.8 + 0.1
    after = np.where(rng.random(800) < 0.5, y, 1 - y) * 0.8 + 0.1
    audit = FairnessAudit.from_predictions(
        y, y_score=after, baseline_score=before, sensitive_features=a, random_state=0
    )
    said = " ".join(audit.warnings)
    assert "EO_p at threshold 0.5 fell from" in said
    assert "by levelling down: the worst group's true positive rate did not rise" in said
    assert "AUC of the disease went to chance" in said
    assert "worse than the" in said  # forecasting the prevalence
    up = FairnessAudit.from_predictions(
        y, y_score=y * 0.8 + 0.1, baseline_score=before, sensitive_features=a, random_state=0
    )
    assert not any(check_change(up.to_frame(), 2))
    between = np.where(rng.random(800) < np.where(a == "F", 0.75, 0.8), y, 1 - y) * 0.8 + 0.1
    met = FairnessAudit.from_predictions(
        y, y_score=between, baseline_score=before, sensitive_features=a, random_state=0
    )
    assert (met.to_frame().query("figure == 'EO_p'")["difference_high"] < 0).all()
    assert not any(check_change(met.to_frame(), 2))  # the better got worse, and the worse better


def test_collapsed_predictions():
    y, a = np.arange(100) % 2, np.repeat(["F", "M"], 50)
    audit = FairnessAudit.from_predictions(
        y, y_pred=np.ones(100, int), sensitive_features=a, **FAST
    )
    assert any("predicts 1 for 100%" in sentence for sentence in audit.warnings)


def test_nothing_to_hide():
    frame = pd.DataFrame(
        {
            "section": "leakage",
            "figure": ["linear probe", "rbf probe"],
            "value": [0.52, 0.5],
            "low": [0.45, 0.4],
            "high": [0.6, 0.6],
            "baseline": [0.53, 0.5],
            "baseline_low": [0.46, 0.4],
        }
    )
    assert "nothing to hide" in check_leakage(frame)[0]


def test_attribute_leakage_of_given_embeddings():
    rng = np.random.default_rng(0)
    a, patients = np.repeat(["u", "v"], 60), np.repeat(np.arange(60), 2)
    Z = rng.normal(size=(120, 6))
    none = attribute_leakage(Z, sensitive_features=a, groups=patients, random_state=0)
    assert all(low < 0.5 < high for _, low, high in none.values())
    Z[:, 0] += 5 * (a == "u")
    found = attribute_leakage(Z, sensitive_features=a, groups=patients, random_state=0)
    assert all(auc > 0.95 for auc, _, _ in found.values())
    with pytest.raises(ValueError, match="fewer than 5 patients"):
        attribute_leakage(Z, sensitive_features=a, groups=patients // 10, random_state=0)
    # what a patient's own look tells is no leakage: y known, and images of one patient together
    look = rng.normal(size=(60, 40))[patients] * 3
    own = attribute_leakage(look, sensitive_features=a, groups=patients, random_state=0)
    parted = attribute_leakage(look, sensitive_features=a, random_state=0)
    assert parted["rbf"].auc > 0.9 > own["rbf"].auc


def test_a_baseline_that_shares_the_head_is_refused_and_a_frozen_one_is_not():
    X, y, a = small_images(60)
    head = LogisticRegression()
    ours = make_pipeline(StandardScaler(), head).fit(X.reshape(60, -1), y)
    before = make_pipeline(head).fit(X.reshape(60, -1), y)
    options = {"sensitive_features": a, "n_bootstrap": 20, "n_permutations": 20}
    with pytest.raises(ValueError, match="share one LogisticRegression object"):
        FairnessAudit.from_estimator(ours, X.reshape(60, -1), y, baseline=before, **options)
    frozen = make_pipeline(FrozenEstimator(head))
    FairnessAudit.from_estimator(frozen, X.reshape(60, -1), y, baseline=frozen, **options)


def test_an_edit_that_no_objective_asked_for_is_not_said_to_be_undone():
    """Blocks are erased though the objective of g is then higher."""
    erased = SimpleNamespace(
        noise_=np.ones((8, 8)), leakage_={}, objective_={"zero": -0.04, "noise": 0.17}
    )
    frame = pd.DataFrame(columns=["section", "figure", "value"])
    assert check_transformer(erased, frame) == []
