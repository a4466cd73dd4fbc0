"""DebiasedNoiseTransformer: what it learns, keeps, returns and counts."""

import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import small_encoder, small_images
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from skdne import (
    SPSA,
    Adam,
    CallableEncoder,
    DebiasedNoiseTransformer,
    DebiasingWarning,
    GeZO,
    TorchEncoder,
)

pytestmark = pytest.mark.filterwarnings("ignore::skdne.DebiasingWarning")


def make_dne(**kwargs):
    options = {
        "encoder": small_encoder(),
        "solver": Adam(max_iter=3),
        "leakage": False,  # the probes take most of the time
        "random_state": 0,
    }
    return DebiasedNoiseTransformer(**{**options, **kwargs})


@pytest.fixture(scope="module")
def data():
    return small_images()


def test_fitted_attributes(data):
    X, y, a = data
    dne = make_dne(leakage=True).fit(X, y, sensitive_features=a)
    assert dne.noise_.shape == (8, 8)
    assert dne.noise_.dtype == np.float32
    assert dne.noise_.any()
    assert list(dne.classes_) == ["F", "M"]
    assert dne.n_iter_ == len(dne.loss_curve_) == 3
    assert dne.stop_reason_ == "max_iter"
    assert dne.clip_ is False
    assert dne.objective_["noise"] < dne.objective_["zero"]
    assert set(dne.leakage_) == {"linear", "rbf", "mlp"}
    for found in dne.leakage_.values():
        for auc, low, high in found.values():
            assert 0 <= low <= auc <= high <= 1
    assert dne.leakage_["linear"]["before"].auc > 0.9
    assert dne.attribute_auc_ > 0.9
    assert dne.noise_size_["l2"] == pytest.approx(np.linalg.norm(dne.noise_), rel=1e-6)
    # clean embeddings of all, 3 epochs over the half that the noise is fitted on, edited of all
    assert dne.n_queries_ == 160 + 3 * 80 + 160


def test_transform_embeds_the_edited_images(data):
    X, y, a = data
    dne = make_dne(solver=Adam(max_iter=3, clip=True, step_size=0.3)).fit(
        X, y, sensitive_features=a
    )
    edited = np.clip(X / np.float32(255) + dne.noise_, 0, 1)
    assert (edited == 1).any()
    np.testing.assert_allclose(dne.edit(X), edited, atol=1e-6)
    Z = dne.transform(X)
    assert Z.dtype == np.float32
    np.testing.assert_allclose(Z, dne.encoder.embed(edited[:, None]), atol=1e-5)


def test_no_solver_is_the_plain_embedding(data):
    X, y, a = data
    dne = make_dne(solver=None).fit(X)
    assert not dne.noise_.any()
    assert (dne.stop_reason_, dne.n_queries_, dne.leakage_) == ("no solver", 1, {})
    np.testing.assert_allclose(dne.transform(X), dne.encoder.embed(X[:, None] / np.float32(255)))
    measured = make_dne(solver=None, leakage=True).fit(X, y, sensitive_features=a)
    assert measured.leakage_["rbf"]["before"] == measured.leakage_["rbf"]["after"]
    assert measured.leakage_["rbf"]["before"].auc > 0.9


@pytest.mark.parametrize("solver", [Adam(max_iter=2), GeZO(max_iter=2), SPSA(max_iter=1)])
def test_same_random_state_repeats_to_the_bit(data, solver):
    X, y, a = data
    first, second, other = (
        make_dne(solver=solver, random_state=seed, leakage=True).fit(X, y, sensitive_features=a)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.noise_, second.noise_)
    assert first.leakage_ == second.leakage_
    assert not np.array_equal(first.noise_, other.noise_)


def test_cells_of_y_and_attribute_weigh_the_same():
    # a correlated with y: with y given, g is trained as on balanced cells
    X, y, a = small_images(400, correlation=0.8)
    X[:, :3, :3] = 128  # only y can be read from these images, a only through y
    with_y, without = (
        make_dne(solver=None, leakage=True).fit(X, labels, sensitive_features=a)
        for labels in (y, None)
    )
    with pytest.warns(DebiasingWarning, match="without classes of y"):
        make_dne(solver=None, leakage=True).fit(X, sensitive_features=a)
    assert without.leakage_["linear"]["before"].auc > 0.8
    assert with_y.leakage_["linear"]["before"].low < 0.5
    assert without.attribute_auc_ > 0.8 > with_y.attribute_auc_


def test_missing_attributes_are_left_out_of_the_fit_only(data):
    X, y, a = data
    labels = pd.Series(a, dtype=object)
    labels.iloc[[0, 5]] = [None, np.nan]
    with pytest.warns(DebiasingWarning, match="missing in 2 of 160 rows"):
        some = make_dne().fit(X, y, sensitive_features=labels)
    keep = labels.notna().to_numpy()
    rest = make_dne().fit(X[keep], y[keep], sensitive_features=a[keep])
    np.testing.assert_array_equal(some.noise_, rest.noise_)
    assert len(some.transform(X)) == 160


def test_several_attributes_are_intersected(data):
    X, y, a = data
    frame = pd.DataFrame({"sex": a, "old": np.arange(160) % 5 < 2})
    dne = make_dne().fit(X, y, sensitive_features=frame)
    assert list(dne.classes_) == ["F, False", "F, True", "M, False", "M, True"]
    assert dne.leakage_ == {}


def test_patients_are_never_parted(data, monkeypatch):
    X, y, a = data
    seen = {}

    def spy(cells, codes, groups, report, seed):
        sets = three_sets(cells, codes, groups, report, seed)
        for name in ("fit", "select", "report"):
            seen[name] = set(groups[getattr(sets, name)])
        return sets

    from skdne import noise_fit

    three_sets = noise_fit.three_sets
    monkeypatch.setattr(noise_fit, "three_sets", spy)
    make_dne(leakage=True).fit(X, y, sensitive_features=a, groups=np.arange(160) // 4)
    assert len(set.union(*seen.values())) == sum(map(len, seen.values())) == 40


@pytest.mark.parametrize(
    "g", [LogisticRegression(C=0.1), make_pipeline(LogisticRegression()), KNeighborsClassifier()]
)
def test_any_classifier_can_be_g(data, g):
    X, y, a = data
    solver = GeZO(max_iter=1) if isinstance(g, KNeighborsClassifier) else Adam(max_iter=2)
    dne = make_dne(attribute_classifier=g, solver=solver).fit(X, y, sensitive_features=a)
    assert type(dne.attribute_classifier_) is type(g)
    assert dne.attribute_classifier_ is not g
    assert dne.attribute_auc_ > 0.75


def test_a_frozen_classifier_is_used_as_it_is(data):
    X, y, a = data
    encoder = small_encoder()
    fitted = LogisticRegression().fit(encoder.embed(X[:, None] / np.float32(255)), a)
    dne = clone(make_dne(encoder=encoder, attribute_classifier=FrozenEstimator(fitted)))
    dne.fit(X, y, sensitive_features=a)
    assert dne.attribute_classifier_.estimator is fitted


def test_budget_is_hard_and_said(data):
    X, y, a = data
    dne = make_dne(max_queries=700, solver=Adam(max_iter=50), leakage=True)
    with pytest.warns(DebiasingWarning, match="max_queries=700 ended the noise fit"):
        dne.fit(X, y, sensitive_features=a)
    assert dne.n_queries_ <= 700
    assert dne.stop_reason_ == "max_queries"
    assert dne.noise_.any()
    assert dne.leakage_  # the final measurements were kept back for


def test_budget_holds_for_what_a_callable_really_gets(data):
    X, y, a = data
    sent = []

    def function(images):
        sent.append(len(images))
        return images.reshape(len(images), -1)[:, :20]

    encoder = CallableEncoder(function, input_size=(8, 8), n_channels=1, batch_size=33)
    dne = make_dne(encoder=encoder, solver=SPSA(max_iter=9), max_queries=5000)
    dne.fit(X, y, sensitive_features=a)
    assert sum(sent) == dne.n_queries_ <= 5000
    assert max(sent) <= 33


def test_noise_that_does_not_help_is_set_to_zero(data):
    X, y, a = data
    dne = make_dne(reg_lambda=1e6, solver=Adam(max_iter=1), leakage=True)
    with pytest.warns(DebiasingWarning, match="the noise is set to zero"):
        dne.fit(X, y, sensitive_features=a)
    assert not dne.noise_.any()
    assert dne.objective_["noise"] > dne.objective_["zero"]
    assert dne.leakage_["mlp"]["before"] == dne.leakage_["mlp"]["after"]


def test_affine_encoder_is_said(data):
    X, y, a = data
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 12))
    encoder = TorchEncoder(net, input_size=(8, 8), n_channels=1, precision="float32")
    with pytest.warns(DebiasingWarning, match=r"\(almost\) affine"):
        make_dne(encoder=encoder).fit(X, y, sensitive_features=a)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clipped = Adam(max_iter=8, clip=True, step_size=0.2)
        make_dne(encoder=encoder, solver=clipped).fit(X, y, sensitive_features=a)
    assert not any("affine" in str(w.message) for w in caught)


def test_per_channel_noise_and_layouts():
    X, y, a = small_images(60)
    rgb = np.repeat(X[..., None], 3, axis=3)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 12), torch.nn.Tanh())
    encoder = TorchEncoder(net, n_channels=3, precision="float32")
    dne = make_dne(encoder=encoder, solver=Adam(max_iter=2, per_channel=True))
    dne.fit(rgb, y, sensitive_features=a)
    assert dne.noise_.shape == (3, 8, 8)
    assert dne.edit(rgb).shape == (60, 8, 8, 3)
    np.testing.assert_allclose(
        dne.edit(rgb), rgb / np.float32(255) + dne.noise_.transpose(1, 2, 0), atol=1e-6
    )


def test_flat_rows_with_and_without_image_shape(data):
    X, y, a = data
    images = make_dne().fit(X, y, sensitive_features=a)
    rows = make_dne(image_shape=(8, 8)).fit(X.reshape(160, -1), y, sensitive_features=a)
    np.testing.assert_array_equal(images.noise_, rows.noise_)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5), torch.nn.Tanh())
    line = make_dne(encoder=TorchEncoder(net)).fit(X.reshape(160, -1), y, sensitive_features=a)
    assert line.noise_.shape == (1, 64)


def test_pickle_joblib_and_clone(data, tmp_path):
    X, y, a = data
    dne = make_dne().fit(X, y, sensitive_features=a)
    Z = dne.transform(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(dne)).transform(X), Z)
    joblib.dump(dne, tmp_path / "dne.joblib")
    np.testing.assert_array_equal(joblib.load(tmp_path / "dne.joblib").transform(X), Z)
    assert clone(dne).encoder is dne.encoder


def test_solver_object_is_cloned_and_searchable(data):
    X, y, a = data
    solver = Adam(max_iter=2)
    dne = make_dne(solver=solver).set_params(solver__max_iter=1)
    assert dne.fit(X, y, sensitive_features=a).n_iter_ == 1
    assert clone(dne).solver is not solver


def test_memory_map_is_read_in_batches(data, tmp_path):
    X, y, a = data
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    in_memory = make_dne().fit(X, y, sensitive_features=a)
    np.testing.assert_array_equal(
        make_dne().fit(mapped, y, sensitive_features=a).noise_, in_memory.noise_
    )
    np.testing.assert_array_equal(in_memory.transform(mapped), in_memory.transform(X))


def test_file_paths(data, tmp_path):
    from PIL import Image

    X, y, a = data
    paths = [tmp_path / f"{i}.png" for i in range(len(X))]
    for path, image in zip(paths, X, strict=True):
        Image.fromarray(image).save(path)
    from_files = make_dne().fit(paths, y, sensitive_features=a)
    from_array = make_dne().fit(X, y, sensitive_features=a)
    np.testing.assert_array_equal(from_files.noise_, from_array.noise_)
    np.testing.assert_array_equal(from_files.transform(paths), from_array.transform(X))
    np.testing.assert_array_equal(from_files.edit(pd.Series(paths)), from_array.edit(X))


def test_noise_file_gives_a_fitted_transformer_back(data, tmp_path):
    X, y, a = data
    dne = make_dne(solver=Adam(max_iter=2, clip=True)).fit(X, y, sensitive_features=a)
    dne.save_noise(tmp_path / "noise.safetensors")
    loaded = DebiasedNoiseTransformer.load_noise(tmp_path / "noise.safetensors", dne.encoder)
    np.testing.assert_array_equal(loaded.transform(X), dne.transform(X))
    assert loaded.clip_ is True
    np.testing.assert_array_equal(loaded.get_feature_names_out(), dne.get_feature_names_out())
    with pytest.raises(ValueError, match=r"is clipped.*safetensors"):
        dne.save_noise(tmp_path / "noise.pt")


def test_the_authors_file_is_read_and_written(data, tmp_path):
    X, y, a = data
    dne = make_dne().fit(X, y, sensitive_features=a)
    dne.save_noise(tmp_path / "noise.pt")
    state = torch.load(tmp_path / "noise.pt", weights_only=True)
    assert list(state) == ["noise"]
    np.testing.assert_array_equal(state["noise"].numpy(), dne.noise_)
    loaded = DebiasedNoiseTransformer.load_noise(tmp_path / "noise.pt", dne.encoder)
    np.testing.assert_array_equal(loaded.transform(X), dne.transform(X))
    assert loaded.set_output(transform="pandas").transform(X).shape == (160, 16)


def test_with_retraining_the_noise_is_judged_held_out_by_the_retrained_classifier(
    data, monkeypatch
):
    from skdne import noise_fit

    X, y, a = data
    found = []
    three_sets = noise_fit.three_sets
    monkeypatch.setattr(
        noise_fit, "three_sets", lambda *args: found.append(three_sets(*args)) or found[0]
    )
    solver = Adam(max_iter=4, refit_every=1, step_size=0.05, clip=True)
    dne = make_dne(solver=solver, objective="confusion", reg_lambda=0.0)
    dne.fit(X, y, sensitive_features=a)
    assert dne.noise_.any()
    (sets,), Z = found, dne.transform(X)
    g = clone(dne.attribute_classifier_).fit(
        Z[sets.fit], a[sets.fit]
    )  # cells are equal: no weights
    confusion = -np.log(g.predict_proba(Z[sets.select])).mean()
    assert dne.objective_["noise"] == pytest.approx(confusion, rel=1e-2)
    assert dne.objective_["noise"] < dne.objective_["zero"]
