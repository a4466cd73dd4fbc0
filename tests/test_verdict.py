"""The verdict's rules, and the AUC of findings before and after the edit."""

import numpy as np
import pandas as pd
import pytest
from helpers import small_encoder, small_images
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from skdne import BlockErasure, DebiasedNoiseTransformer
from skdne.attribute import check_sensitive_data
from skdne.auc import Auc, Change
from skdne.findings import measure_findings
from skdne.splits import ThreeSets
from skdne.verdict import judge

pytestmark = pytest.mark.filterwarnings("ignore::skdne.DebiasingWarning")

CLEAR, CHANCE, WIDE = Auc(0.95, 0.9, 0.99), Auc(0.5, 0.42, 0.58), Auc(0.55, 0.42, 0.68)
HALF = Auc(0.75, 0.7, 0.8)


def leaking(before, *after):
    return {
        name: {"before": before, "after": now}
        for name, now in zip(("linear", "rbf", "mlp"), after, strict=True)
    }


@pytest.mark.parametrize(
    ("before", "after", "stop", "outcome"),
    [
        (CLEAR, (CHANCE, CHANCE, CHANCE), "converged", "removed"),
        (CLEAR, (CHANCE, CHANCE, Auc(0.5, 0.4, 0.60)), "converged", "reduced"),  # not below .60
        (CLEAR, (CHANCE, CHANCE, HALF), "converged", "reduced"),
        (CLEAR, (CHANCE, CHANCE, WIDE), "converged", "reduced"),
        (HALF, (CHANCE, CHANCE, Auc(0.6, 0.45, 0.75)), "converged", "undetermined"),
        (CLEAR, (CHANCE, CHANCE, CLEAR), "max_iter", "not removed"),
        (Auc(1, 1, 1), (Auc(1, 1, 1),) * 3, "max_iter", "not removed"),
        (CLEAR, (CLEAR, CLEAR, CLEAR), "max_area", "not removable without losing content"),
        (CHANCE, (CHANCE, CHANCE, CHANCE), "converged", "nothing to remove"),
        (WIDE, (WIDE, WIDE, WIDE), "converged", "undetermined"),
    ],
)
def test_outcome(before, after, stop, outcome):
    verdict = judge(leaking(before, *after), {}, 90, stop)
    assert verdict.outcome == outcome
    assert "90 held-out images" in verdict.reason
    assert str(verdict).startswith(outcome + ": ")


def test_the_worst_probe_counts_and_is_named():
    verdict = judge(leaking(CLEAR, CHANCE, HALF, CHANCE), {}, 90, "converged")
    assert "the worst (rbf) reads the attribute at AUC 0.75 (95% interval 0.70 to 0.80)" in (
        verdict.reason
    )


def finding(after, low, high):
    change = Change(after - HALF.auc, low, high)
    return {"before": HALF, "after": Auc(after, after - 0.05, after + 0.05), "change": change}


@pytest.mark.parametrize("left", [CHANCE, HALF])  # gone, and less than before
def test_a_lost_finding_is_named_and_decides(left):
    findings = {"Nodule": finding(0.5, -0.3, -0.2), "y": finding(0.75, -0.02, 0.02)}
    verdict = judge(leaking(CLEAR, left, left, left), findings, 90, "converged")
    assert verdict.outcome == "not removable without losing content"
    assert "Content was lost: Nodule." in verdict.reason
    assert "AUC of y within groups of the attribute: 0.75 before, 0.75 after" in verdict.reason


@pytest.mark.parametrize(
    "change",
    [
        (0.7, -0.12, 0.02),  # may be luck
        (0.745, -0.009, -0.001),  # no luck, and too little to matter
        (0.8, 0.02, 0.08),
    ],
)
def test_a_finding_is_lost_only_beyond_luck_and_by_a_hundredth(change):
    verdict = judge(
        leaking(CLEAR, CHANCE, CHANCE, CHANCE), {"y": finding(*change)}, 90, "converged"
    )
    assert verdict.outcome == "removed"
    assert "lost" not in verdict.reason


def test_a_loss_where_the_attribute_stays_is_told_but_does_not_decide():
    lost = {"y": finding(0.5, -0.3, -0.2)}
    verdict = judge(leaking(CLEAR, CLEAR, CLEAR, CLEAR), lost, 90, "max_iter")
    assert verdict.outcome == "not removed"
    assert "Content was lost: y." in verdict.reason


def test_no_figure_is_nan_to_the_reader():
    nothing = Auc(np.nan, np.nan, np.nan)
    verdict = judge(leaking(nothing, nothing, nothing, nothing), {}, 30, "converged")
    assert verdict.outcome == "undetermined"
    assert "nan" not in str(verdict)
    assert "no two have the same y and another attribute" in verdict.reason


def test_nothing_measured():
    assert judge({}, {}, 0, "converged").outcome == "undetermined"


@pytest.fixture(scope="module")
def fitted():
    images, y, a = small_images(400, seed=1)
    rng = np.random.default_rng(0)
    hidden = rng.integers(0, 2, 400)  # shows under the cue, whatever the group
    images[:, :3, :3] += (30 * hidden[:, None, None]).astype(np.uint8)
    findings = pd.DataFrame(
        {
            "under the cue": hidden.astype(float),
            "coin": rng.integers(0, 2, 400),
            "rare": (np.arange(400) % 100 == 0).astype(int),
        }
    )
    findings.loc[::7, "under the cue"] = np.nan
    dne = DebiasedNoiseTransformer(
        small_encoder(),
        solver=BlockErasure(block_size=2, n_images=80, n_permutations=199),
        random_state=0,
    )
    return dne.fit(images, y, sensitive_features=a, findings=findings), images, y


def test_findings_of_y_and_of_other_labels(fitted):
    dne, _, _ = fitted
    assert set(dne.findings_) == {"y", "under the cue", "coin"}  # too few cases of the rare one
    lost = dne.findings_["under the cue"]
    assert lost["before"].auc > 0.75
    assert lost["after"].auc < 0.65  # the erased blocks held it
    assert dne.findings_["y"]["after"].auc > dne.findings_["y"]["before"].auc - 0.05
    assert "Content was lost: under the cue" in dne.verdict_.reason


def test_auc_of_a_finding_is_that_of_a_probe_within_groups(fitted):
    """By hand: groups centred on the training rows, balanced cells, pairs of one group."""
    dne, images, y = fitted
    Z = dne.transform(images)
    a = np.arange(400) // 2 % 2
    y = np.where(np.random.default_rng(0).random(400) < 0.8, a, y)  # so that cells differ
    data = check_sensitive_data(a, y, None, 400)
    fold, rest = np.arange(300, 400), np.arange(300)
    sets = ThreeSets(rest, np.arange(0), [fold])
    found = measure_findings(Z, Z, {"y": y}, data, sets, 0)["y"]
    cells = 2 * y + a
    weights = 1 / np.bincount(cells)[cells]
    Z = Z.astype(float)
    for group in (0, 1):
        mean = np.average(
            Z[rest][a[rest] == group], axis=0, weights=weights[rest][a[rest] == group]
        )
        Z[a == group] -= mean
    head = LogisticRegression(C=0.1, max_iter=1000)
    scaled = StandardScaler().fit(Z[rest], sample_weight=None)
    head.fit(
        scaled.transform(Z[rest]),
        y[rest],
        sample_weight=weights[rest] * 400 / weights.sum(),
    )
    scores = head.decision_function(scaled.transform(Z[fold]))
    won = pairs = 0
    for group in (0, 1):
        of_group = a[fold] == group
        n_pairs = y[fold][of_group].sum() * (1 - y[fold][of_group]).sum()
        won += roc_auc_score(y[fold][of_group], scores[of_group]) * n_pairs
        pairs += n_pairs
    assert found["before"].auc == pytest.approx(won / pairs, abs=1e-3)
    assert found["change"] == (0, 0, 0)


@pytest.mark.parametrize(
    ("findings", "message"),
    [
        (np.zeros((3, 2)), "findings has 3 rows, X has 60 images"),
        (pd.DataFrame({"size": np.linspace(0, 1, 60)}), "column 'size' of findings holds 60"),
    ],
)
def test_bad_findings_are_named(findings, message):
    images, y, a = small_images(60)
    dne = DebiasedNoiseTransformer(small_encoder(), solver=None)
    with pytest.raises(ValueError, match=message):
        dne.fit(images, y, sensitive_features=a, findings=findings)


def scored_findings(n_findings=1, select=True):
    """Findings of Gaussian embeddings, all the same column."""
    rng = np.random.default_rng(3)
    y, a = np.arange(300) % 2, np.arange(300) // 2 % 2
    Z = rng.normal(size=(300, 6)).astype(np.float32)
    Z[:, 0] += y
    after = Z.copy()
    after[:, 0] = rng.normal(size=300)
    data = check_sensitive_data(a, y, None, 300)
    rows = np.arange(300)
    sets = ThreeSets(rows[:150], rows[150:210] if select else rows[:0], [rows[210:255], rows[255:]])
    codes = {f"f{i}": y for i in range(n_findings)}
    return measure_findings(Z, after, codes, data, sets, 0)["f0"]


def test_the_selection_set_is_scored_too():
    """The attribute alone decides by it, so that a finding may be measured on it."""
    with_it, without = (scored_findings(select=s)["change"] for s in (True, False))
    assert with_it.high - with_it.low < 0.9 * (without.high - without.low)


def test_more_findings_widen_the_interval_of_a_change_so_that_no_loss_is_found_by_luck():
    one, ten = (scored_findings(n)["change"] for n in (1, 10))
    assert one.change == ten.change < -0.1
    ratio = (ten.high - ten.low) / (one.high - one.low)
    assert ratio == pytest.approx(2.576 / 1.645, rel=1e-3)  # of normal quantiles, .995 and .95
