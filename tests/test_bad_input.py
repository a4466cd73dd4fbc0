"""Bad input: one clear error that names the argument, before the encoder is called."""

import numpy as np
import pytest
import torch
from helpers import small_encoder, small_images
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from skdne import (
    SPSA,
    Adam,
    CallableEncoder,
    DebiasedNoiseTransformer,
    DebiasingWarning,
    TorchEncoder,
)

N = 40


def never(images):
    raise AssertionError("the encoder was called")


def black_box(**kwargs):
    encoder = CallableEncoder(never, input_size=(8, 8), n_channels=1)
    return DebiasedNoiseTransformer(**{"encoder": encoder, "solver": SPSA(max_iter=1), **kwargs})


@pytest.fixture
def data():
    return small_images(N)


def with_nan(X):
    X = X / 255.0
    X[3, 2, 2] = np.nan
    return X


BAD_FITS = {
    "no attribute": (lambda X, y, a: (X, y, {}), "sensitive_features is missing"),
    "one class": (lambda X, y, a: (X, y, {"sensitive_features": ["F"] * N}), "one class, 'F'"),
    "all missing": (
        lambda X, y, a: (X, y, {"sensitive_features": [None] * N}),
        "sensitive_features holds no labels at all",
    ),
    "a number for an attribute": (
        lambda X, y, a: (np.repeat(X, 2, axis=0), None, {"sensitive_features": np.arange(2 * N)}),
        "80 distinct values.*pandas.cut",
    ),
    "short attribute": (
        lambda X, y, a: (X, y, {"sensitive_features": a[:-1]}),
        "sensitive_features has 39 rows, X has 40 images",
    ),
    "short y": (lambda X, y, a: (X, y[1:], {"sensitive_features": a}), "y has 39 rows"),
    "short groups": (
        lambda X, y, a: (X, y, {"sensitive_features": a, "groups": np.arange(3)}),
        "groups has 3 rows",
    ),
    "NaN pixels": (lambda X, y, a: (with_nan(X), y, {"sensitive_features": a}), "NaN"),
    "empty": (lambda X, y, a: (X[:0], y[:0], {"sensitive_features": a[:0]}), "0 sample"),
    "one image": (lambda X, y, a: (X[0, 0], y, {"sensitive_features": a}), "Reshape your data"),
    "five dimensions": (
        lambda X, y, a: (X[:, None, None], y, {"sensitive_features": a}),
        "5 dimensions",
    ),
    "no channel axis": (
        lambda X, y, a: (np.repeat(X[:, None], 5, axis=1), y, {"sensitive_features": a}),
        "no channel axis",
    ),
}


@pytest.mark.parametrize("case", BAD_FITS)
def test_fit_refuses(data, case):
    make, message = BAD_FITS[case]
    X, y, kwargs = make(*data)
    with pytest.raises(ValueError, match=message):
        black_box().fit(X, y, **kwargs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "sgd"}, "solver must be one of"),
        ({"solver": SPSA(n_pairs=0)}, "'n_pairs' parameter of SPSA"),
        ({"solver": "adam"}, "Adam needs gradients, which CallableEncoder does not give"),
        ({"reg_lambda": -1}, "'reg_lambda' parameter"),
        ({"objective": "hinge"}, "'objective' parameter"),
        ({"max_queries": 0}, "'max_queries' parameter"),
        ({"max_queries": 100}, r"(?s)max_queries=100 cannot pay for this fit.*embeddings +40\n"),
        ({"image_shape": (4, 4)}, r"image_shape=\(4, 4\)"),
        ({"encoder": "resnet1800"}, "timm knows no model 'resnet1800'"),
        ({"attribute_classifier": SVC()}, "predict_proba"),
        ({"attribute_classifier": "logistic"}, "attribute_classifier must be"),
    ],
)
def test_fit_refuses_parameters(data, options, message):
    X, y, a = data
    with pytest.raises(ValueError, match=message):
        black_box(**options).fit(X, y, sensitive_features=a)


@pytest.mark.parametrize("encoder", [torch.nn.Flatten(), lambda images: images, 3])
def test_encoder_of_another_kind_says_how_to_wrap_it(data, encoder):
    X, y, a = data
    with pytest.raises(TypeError, match=r"TorchEncoder\(module\).*CallableEncoder\(function\)"):
        DebiasedNoiseTransformer(encoder).fit(X, y, sensitive_features=a)


def test_gradient_solver_refuses_a_classifier_without_gradients(data):
    X, y, a = data
    dne = DebiasedNoiseTransformer(
        small_encoder(), solver="adam", attribute_classifier=RandomForestClassifier()
    )
    with pytest.raises(ValueError, match="attribute_classifier with gradients"):
        dne.fit(X, y, sensitive_features=a)


def test_unreadable_files_are_all_named(data, tmp_path):
    from PIL import Image

    X, y, a = data
    paths = [str(tmp_path / f"{i}.png") for i in range(N)]
    for path, image in zip(paths, X, strict=True):
        Image.fromarray(image).save(path)
    (tmp_path / "3.png").unlink()
    (tmp_path / "7.png").write_bytes((tmp_path / "7.png").read_bytes()[:60])
    dne = fitted()
    object.__setattr__(dne.encoder, "batch_size", 4)  # the two in different batches
    for call in (
        lambda: black_box().fit(paths, y, sensitive_features=a),
        lambda: dne.transform(paths),
    ):
        with pytest.raises(ValueError, match="2 image file") as caught:
            call()
        assert paths[3] in str(caught.value)
        assert paths[7] in str(caught.value)


def fitted(**kwargs):
    X, y, _ = small_images(N)
    dne = DebiasedNoiseTransformer(small_encoder(), solver=None, **kwargs)
    return dne.fit(X, y)


def test_shape_that_differs_from_fit():
    with pytest.raises(ValueError, match=r"shape \(9, 8\); fit saw shape \(8, 8\)"):
        fitted().transform(np.zeros((2, 9, 8), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"shape \(1, 8, 4\); fit saw shape"):
        fitted().transform(np.zeros((2, 1, 8, 8), dtype=np.uint8)[..., :4])


def test_one_image_is_not_taken_for_flat_rows(tmp_path):
    dne = fitted()
    with pytest.raises(ValueError, match=r"one image is X\[None\]"):
        dne.transform(np.zeros((8, 8), dtype=np.uint8))
    dne.save_noise(tmp_path / "noise.safetensors")
    loaded = DebiasedNoiseTransformer.load_noise(tmp_path / "noise.safetensors", small_encoder())
    with pytest.raises(ValueError, match=r"One image is X\[None\]"):
        loaded.transform(np.zeros((8, 8), dtype=np.uint8))
    assert loaded.set_params(image_shape=(8, 8)).transform(np.zeros((2, 64))).shape == (2, 16)


def test_text_that_numpy_made_of_missing_values_is_missing(data):
    X, y, a = data
    labels = np.array([np.nan, *a[1:]])
    assert labels[0] == "nan"
    dne = DebiasedNoiseTransformer(small_encoder(), solver=None, leakage=False)
    with pytest.warns(DebiasingWarning):
        dne.fit(X, y, sensitive_features=labels)
    assert list(dne.classes_) == ["F", "M"]


def test_retraining_a_fitted_classifier_is_refused(data):
    X, y, a = data
    encoder = small_encoder()
    g = LogisticRegression().fit(encoder.embed(X[:, None] / np.float32(255)), a)
    dne = DebiasedNoiseTransformer(encoder, solver=Adam(refit_every=1), attribute_classifier=g)
    with pytest.raises(ValueError, match="refit_every trains the attribute classifier anew"):
        dne.fit(X, y, sensitive_features=a)


class NoGradient(torch.nn.Flatten):
    @torch.no_grad()
    def forward(self, images):
        return 2 * super().forward(images)


@pytest.mark.filterwarnings("ignore::skdne.DebiasingWarning")
def test_a_module_that_breaks_the_gradient_is_refused_but_no_grad_around_fit_is_not(data):
    X, y, a = data
    encoder = TorchEncoder(NoGradient(), n_channels=1)
    with pytest.raises(ValueError, match="returns none"):
        DebiasedNoiseTransformer(encoder, solver="adam").fit(X, y, sensitive_features=a)
    dne = DebiasedNoiseTransformer(small_encoder(), solver=Adam(max_iter=1), leakage=False)
    with torch.no_grad():
        dne.fit(X, y, sensitive_features=a)
    assert dne.n_iter_ == 1


def test_channels_the_encoder_cannot_take():
    net = TorchEncoder(torch.nn.Flatten(), n_channels=4)
    X, y, a = small_images(N)
    rgb = np.repeat(X[..., None], 3, axis=3)
    with pytest.raises(ValueError, match="3 channels, the encoder takes n_channels=4"):
        DebiasedNoiseTransformer(net).fit(rgb, y, sensitive_features=a)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda images: np.zeros((len(images) - 1, 3)), "shape .39, 3. for 40 images"),
        (lambda images: np.zeros(len(images)), "one vector per image"),
        (lambda images: np.full((len(images), 3), np.nan), "NaN or infinity for rows .0, 1"),
        (lambda images: [["a"]] * len(images), "expected numbers"),
    ],
)
def test_encoder_that_returns_rubbish(data, function, message):
    X, y, a = data
    encoder = CallableEncoder(function, n_channels=1)
    with pytest.raises(ValueError, match=message):
        DebiasedNoiseTransformer(encoder, solver="spsa").fit(X, y, sensitive_features=a)


def test_noise_of_another_encoder_is_refused(tmp_path):
    dne = fitted()
    dne.save_noise(tmp_path / "noise.safetensors")
    with pytest.raises(ValueError, match="learned for another encoder"):
        DebiasedNoiseTransformer.load_noise(tmp_path / "noise.safetensors", small_encoder(seed=1))


def test_noise_of_another_size_is_refused(tmp_path):
    torch.save({"noise": torch.zeros(224, 224)}, tmp_path / "noise.pt")
    with pytest.raises(
        ValueError, match=r"shape \(224, 224\), the encoder takes images of \(8, 8\)"
    ):
        DebiasedNoiseTransformer.load_noise(tmp_path / "noise.pt", small_encoder())


SHAPES = st.sampled_from(["HW", "CHW", "HWC", "flat"])
DTYPES = st.sampled_from([np.uint8, np.uint16, np.float32, np.float64, bool])


@pytest.mark.filterwarnings("ignore::skdne.DebiasingWarning")
@pytest.mark.filterwarnings("ignore::skdne.PixelRangeWarning")
@settings(max_examples=25, deadline=None)
@given(
    layout=SHAPES,
    dtype=DTYPES,
    height=st.integers(2, 9),
    width=st.integers(2, 9),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 10),
)
def test_any_layout_and_dtype_goes_through(layout, dtype, height, width, channels, seed):
    rng = np.random.default_rng(seed)
    shape = {
        "HW": (height, width),
        "CHW": (channels, height, width),
        "HWC": (height, width, channels),
        "flat": (height * width,),
    }[layout]
    X = rng.random((24, *shape))
    if np.issubdtype(dtype, np.integer):
        X = X * np.iinfo(dtype).max
    X = (X > 0.5) if dtype is bool else X.astype(dtype)
    encoder = small_encoder()
    dne = DebiasedNoiseTransformer(encoder, solver=Adam(max_iter=1), leakage=False, random_state=0)
    Z = dne.fit(X, sensitive_features=np.arange(24) % 2).transform(X)
    assert Z.shape == (24, 16)
    assert Z.dtype == np.float32
    assert np.isfinite(Z).all()
    assert np.isfinite(dne.edit(X)).all()
    assert dne.noise_.shape == (8, 8)
    one_by_one = np.concatenate([dne.transform(X[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(one_by_one, Z[:3], rtol=1e-4, atol=1e-5)


def test_a_list_of_images_of_different_shapes_is_named(data):
    X = [np.zeros((8, 8)), np.zeros((9, 9))]
    dne = DebiasedNoiseTransformer(small_encoder(), solver=None)
    with pytest.raises(ValueError, match="X is a list of images of different shapes; resize them"):
        dne.fit(X, sensitive_features=["F", "M"])
