"""A row of the experiments' table says what it says: figures by hand, labels in their places."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.stats import rankdata

from skdne import DebiasedNoiseTransformer, EmbeddingEraser
from skdne.baselines import (
    BatchSamplingClassifier,
    CorrelationRemoverTransformer,
    ExponentiatedGradientClassifier,
    GroupDROClassifier,
    ReweighedClassifier,
    ThresholdOptimizerClassifier,
)
from skdne.experiments import _run
from skdne.experiments._encoders import encoder_named
from skdne.experiments._systems import SYSTEMS, Setting, predict
from skdne.experiments._tables import against_erm, table
from skdne.experiments._tasks import Part, Task, synthetic_tasks


def part(n, seed):
    """Images of 8 x 8 with labels in no order."""
    rng = np.random.default_rng(seed)
    y, a = rng.integers(0, 2, n), rng.choice(["F", "M"], n)
    images = (
        rng.integers(0, 200, (n, 8, 8)) + 30 * y[:, None, None] + 20 * (a == "M")[:, None, None]
    )
    return Part(images.astype(np.uint8), y, a, np.arange(n))


def test_the_figures_of_a_row_by_hand(tmp_path, monkeypatch):
    # of 8, 4, 5 and 10 images of a cell so many are predicted positive
    sizes = {(1, "F"): (8, 6), (0, "F"): (4, 1), (1, "M"): (5, 2), (0, "M"): (10, 4)}
    y = np.concatenate([np.full(n, y) for (y, _), (n, _) in sizes.items()])
    a = np.concatenate([np.full(n, a) for (_, a), (n, _) in sizes.items()])
    labels = np.concatenate([np.arange(n) < hits for n, hits in sizes.values()]).astype(int)
    scores = np.random.default_rng(0).normal(size=27)
    train = part(30, 0)
    test = Part(part(27, 1).X, y, a, np.arange(27))
    monkeypatch.setattr(_run, "predict", lambda *_: (labels, scores))
    (row,) = _run.run(
        [Task("t", lambda seed: (train, test), False)],
        {"ERM": SYSTEMS["ERM"]},
        encoder_named("linear"),
        n_seeds=1,
        heads=["papers"],
        mode="as-printed",
        out=tmp_path,
    ).to_dict("records")
    true_positive = {"F": 6 / 8, "M": 2 / 5}
    true_negative = {"F": 3 / 4, "M": 6 / 10}
    selected = {"F": 7 / 12, "M": 6 / 15}
    n_pos = 13
    auc = (rankdata(scores)[y == 1].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * 14)
    expected = {
        "accuracy": (6 + 3 + 2 + 6) / 27,
        "balanced accuracy": (8 / 13 + 9 / 14) / 2,
        "AUC": auc,
        "EO_p": true_positive["F"] - true_positive["M"],
        "EO_n": true_negative["F"] - true_negative["M"],
        "|1-DI|": 1 - selected["M"] / selected["F"],
        "|1-DI| as coded": 1 - true_positive["M"] / true_positive["F"],
        "worst group": 2 / 5,
        "n_train": 30,
        "n_test": 27,
    }
    assert len(set(expected.values())) == len(expected)  # none can stand for another
    assert {name: row[name] for name in expected} == pytest.approx(expected)


NEEDS_ATTRIBUTE = {
    "Group DRO": GroupDROClassifier,
    "Batch Sampling (a)": BatchSamplingClassifier,
    "Batch Sampling (y, a)": BatchSamplingClassifier,
    "DNE, Adam": DebiasedNoiseTransformer,
    "DNE, GeZO": DebiasedNoiseTransformer,
    "DNE, erasure (default)": DebiasedNoiseTransformer,
    "reweighing": ReweighedClassifier,
    "LEACE": EmbeddingEraser,
    "PLS 8 + LEACE": EmbeddingEraser,
    "exponentiated gradient": ExponentiatedGradientClassifier,
    "threshold optimizer *": ThresholdOptimizerClassifier,
    "correlation remover *": CorrelationRemoverTransformer,
}
NO_ATTRIBUTE = {"ERM", "Sketch (XDoG)", "BiasAdv"}


def setting():
    """Embeddings are the pixels, so that a row tells which image it is of."""
    train, test = part(60, 0), part(40, 1)
    flat = [p.X.reshape(len(p.y), -1).astype(float) for p in (train, test)]
    return Setting(encoder_named("linear"), train, test, 0, "as-printed", lambda edit: flat)


def test_all_systems_are_known():
    assert set(NEEDS_ATTRIBUTE) | NO_ATTRIBUTE == set(SYSTEMS)


@pytest.mark.parametrize("name", NEEDS_ATTRIBUTE)
def test_each_system_is_fitted_with_the_attribute_of_its_own_images(name, monkeypatch):
    s, got = setting(), {}

    def fit(self, X, y=None, *, sensitive_features=None, **others):
        got.update(X=X, y=y, a=sensitive_features)
        raise InterruptedError

    kind, system = NEEDS_ATTRIBUTE[name], SYSTEMS[name]
    monkeypatch.setattr(kind, "fit", fit)
    with pytest.raises(InterruptedError):
        predict(system, system.edit(s), s, "converged")
    np.testing.assert_array_equal(got["a"], s.train.a)
    if name != "correlation remover *":  # takes none
        np.testing.assert_array_equal(got["y"], s.train.y)
    X = np.asarray(got["X"], dtype=float).reshape(60, -1)
    pixels = s.train.X.reshape(60, -1).astype(float)
    own = np.corrcoef(X, pixels)[:60, 60:]  # standardised or not
    np.testing.assert_array_equal(own.argmax(axis=1), np.arange(60))


@pytest.mark.parametrize(
    ("name", "kind", "method"),
    [
        ("threshold optimizer *", ThresholdOptimizerClassifier, "predict"),
        ("correlation remover *", CorrelationRemoverTransformer, "transform"),
    ],
)
def test_who_needs_it_gets_the_attribute_of_new_images(name, kind, method, monkeypatch):
    s, seen, real = setting(), [], getattr(kind, method)

    def spy(self, Z, *, sensitive_features=None):
        seen.append((len(Z), sensitive_features))
        return real(self, Z, sensitive_features=sensitive_features)

    monkeypatch.setattr(kind, method, spy)
    labels, _ = predict(SYSTEMS[name], SYSTEMS[name].edit(s), s, "converged")
    assert len(labels) == 40
    n, a = seen[-1]
    assert n == 40
    np.testing.assert_array_equal(a, s.test.a)


@pytest.mark.parametrize("name", ["linear probe", "rbf probe", "mlp probe"])
def test_probes_read_the_attribute_of_the_test_images(tmp_path, name):
    """Embeddings that tell a and nothing else."""
    train, test = part(60, 0), part(60, 1)
    shade = 100 + 100 * (test.a == "M")[:, None, None] + np.zeros((1, 8, 8))
    test = Part(shade.astype(np.uint8), test.y, test.a, test.groups)
    found = _run.run(
        [Task("t", lambda seed: (train, test), False)],
        {"ERM": SYSTEMS["ERM"]},
        encoder_named("linear"),
        n_seeds=1,
        heads=["converged"],
        mode="as-printed",
        out=tmp_path,
    )
    assert found[name].to_list() == [1.0]


def test_labels_of_synthetic_images_are_theirs():
    """The stripes rise in one group and fall in the other; the opacity is bright."""
    task = synthetic_tasks(240)[0]
    for drawn in task.draw(0):
        images = np.asarray(drawn.X, dtype=float)
        size = images.shape[1]
        patch = images[:, size // 8 : 3 * size // 8, 5 * size // 8 : 7 * size // 8]
        down, across = np.gradient(patch, axis=(1, 2))
        rising = (down * across).mean(axis=(1, 2))
        assert stats.mannwhitneyu(rising[drawn.a == "M"], rising[drawn.a == "F"]).pvalue < 1e-6
        clear = np.abs(rising) > np.median(np.abs(rising))
        agree = np.mean((rising > 0)[clear] == (drawn.a == "M")[clear])
        assert max(agree, 1 - agree) > 0.95
        zone = images[:, 28 * size // 64 : 50 * size // 64, 6 * size // 64 : 28 * size // 64]
        bright = zone.mean(axis=(1, 2))
        for k in "FM":
            here = drawn.a == k
            assert bright[here & (drawn.y == 1)].mean() > bright[here & (drawn.y == 0)].mean() + 2


def found_rows(n_train, n_test):
    values = {"ERM": [0.5, 0.6, 0.8], "LEACE": [0.7, 0.65, 0.9]}
    index = pd.MultiIndex.from_tuples(
        [("t", seed, name, "papers") for name in values for seed in range(3)],
        names=["task", "seed", "system", "head"],
    )
    accuracy = np.concatenate(list(values.values()))
    return pd.DataFrame({"accuracy": accuracy, "n_train": n_train, "n_test": n_test}, index=index)


def test_intervals_of_the_tables_by_hand():
    """The t-interval for fresh data, the wider one of Nadeau and Bengio for re-splits."""
    found = found_rows(n_train=300, n_test=100)
    t = stats.t.ppf(0.975, 2)
    for resplits, factor in ((False, 1 / 3), (True, 1 / 3 + 100 / 300)):
        half = {
            name: t * np.sqrt(factor * np.var(values, ddof=1))
            for name, values in {"erm": [0.5, 0.6, 0.8], "difference": [0.2, 0.05, 0.1]}.items()
        }
        assert table(found, resplits).loc["ERM", "accuracy"] == f"0.633 ±{half['erm']:.3f}"
        difference = against_erm(found, resplits)
        assert list(difference.index) == ["LEACE"]
        assert difference.loc["LEACE", "accuracy"] == f"0.117 ±{half['difference']:.3f}"
