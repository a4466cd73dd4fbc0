"""Audit of fitted pipelines: one pass of the encoder, leakage, findings, fidelity, warnings."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers import small_encoder, small_images
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skdne import CallableEncoder, DebiasedNoiseTransformer
from skdne.audit import FairnessAudit, _probes, attribute_leakage, choose_threshold
from skdne.audit._warnings import check_change, check_leakage, check_transformer

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
    assert "EO_p (threshold 0.5) fell from" in said
    assert "by levelling down: the worst group's true positive rate did not rise" in said
    assert "AUC of the disease went to chance" in said
    assert "worse than the" in said  # forecasting the prevalence
    up = FairnessAudit.from_predictions(
        y, y_score=y * 0.8 + 0.1, baseline_score=before, sensitive_features=a, random_state=0
    )
    assert not any(check_change(up.to_frame(), 2))


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
