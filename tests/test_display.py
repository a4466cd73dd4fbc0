"""NoiseDisplay: what is drawn is the noise, in the shape and at the place it has."""

import sys

import matplotlib as mpl
import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skdne import Adam, DebiasedNoiseTransformer, TorchEncoder
from skdne.display import NoiseDisplay

mpl.use("Agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def small_encoder(**options):
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(1, 4, 4, 4), torch.nn.ReLU(), torch.nn.Flatten()
    return TorchEncoder(torch.nn.Sequential(*layers), input_size=(16, 16), n_channels=1, **options)


@pytest.fixture(scope="module")
def data():
    """Images whose lower left corner is bright in one group."""
    rng = np.random.default_rng(0)
    y, a = rng.integers(0, 2, (2, 120))
    X = rng.uniform(0.3, 0.5, (120, 16, 16))
    X[:, 10:14, 2:6] += 0.3 * a[:, None, None]
    X[:, 2:6, 10:14] += 0.3 * y[:, None, None]
    return X, y, a


@pytest.fixture(scope="module")
def dne(data):
    X, y, a = data
    fitted = DebiasedNoiseTransformer(
        small_encoder(),
        solver=Adam(max_iter=3, clip=True),
        objective="confusion",
        leakage=False,
        random_state=0,
    ).fit(X, y, sensitive_features=a)
    assert fitted.noise_.any()
    return fitted


def test_noise_panels_hold_the_noise(dne, data):
    display = NoiseDisplay.from_estimator(dne, data[0][:1])
    raw, smooth, _ = display.im_
    np.testing.assert_array_equal(raw.get_array(), dne.noise_)
    low, high = raw.get_clim()
    assert low == -high
    assert high == np.abs(dne.noise_).max()
    assert smooth.get_array().max() == 1
    assert display.axes_.shape == (3,)
    assert all(ax.figure is display.figure_ for ax in display.axes_)
    labels = [ax.get_ylabel() for ax in display.figure_.axes]
    assert "pixel units of [0, 1]" in labels
    background = display.axes_[2].images[0].get_array()
    np.testing.assert_allclose(background, data[0][0], rtol=1e-6)


def test_top_mask_is_where_the_noise_is():
    noise = np.zeros((40, 40))
    noise[5:15, 20:30] = -0.2
    display = NoiseDisplay(noise)
    mask = display.top_mask(sigma=0, top=1)
    np.testing.assert_array_equal(mask, noise != 0)
    rng = np.random.default_rng(0)
    share = NoiseDisplay(rng.normal(size=(50, 50))).top_mask().mean()
    assert share == pytest.approx(0.2, abs=0.001)
    with pytest.raises(ValueError, match=r"top must be a share in \(0, 1\], got 20"):
        display.top_mask(top=20)


def test_smoothing_agrees_with_a_gaussian():
    noise = np.zeros((41, 41))
    noise[20, 20] = 1.0
    at = np.arange(41) - 20
    expected = np.exp(-(at**2) / (2 * 3.0**2))
    smooth = NoiseDisplay(noise).smoothed(sigma=3.0)
    near = np.abs(at) <= 10
    np.testing.assert_allclose(smooth[20, near], expected[near], rtol=1e-3)


def test_edits_are_original_edited_difference(dne, data):
    X = data[0][:3]
    display = NoiseDisplay.from_estimator(dne, X, kind="edits")
    assert display.axes_.shape == (3, 3)
    for row in range(3):
        original, edited, difference = (im.get_array() for im in display.im_[row])
        np.testing.assert_allclose(original, X[row], rtol=1e-6)
        np.testing.assert_array_equal(edited, dne.edit(X)[row])
        np.testing.assert_allclose(difference, dne.edit(X)[row] - X[row], atol=1e-6)
    assert dne.noise_.any()  # drawing changed nothing
    assert dne.clip_


def test_found_in_pipeline_frozen_estimator_and_behind_a_step(dne, data):
    X, y, _ = data
    frozen = make_pipeline(FrozenEstimator(dne), LogisticRegression()).fit(X, y)
    flip = FunctionTransformer(lambda images: images[:, ::-1])
    behind = Pipeline([("flip", flip), ("dne", dne), ("clf", LogisticRegression())])
    for estimator, expected in ((frozen, X[0]), (behind, X[0, ::-1])):
        display = NoiseDisplay.from_estimator(estimator, X[:1], kind="edits")
        np.testing.assert_allclose(display.im_[0, 0].get_array(), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="holds no DebiasedNoiseTransformer: LogisticRegression"):
        NoiseDisplay.from_estimator(LogisticRegression())


def test_no_noise_says_so(data):
    X = data[0]
    control = DebiasedNoiseTransformer(small_encoder(), solver=None).fit(X)
    noise = NoiseDisplay.from_estimator(control, X[:1])
    edits = NoiseDisplay.from_estimator(control, X[:2], kind="edits")
    for axes in (noise.axes_, edits.axes_[:, 2]):
        assert [ax.texts[0].get_text() for ax in axes] == ["no noise"] * len(axes)
    for display in (noise, edits):  # warnings are errors here, in drawing too
        display.figure_.canvas.draw()


@pytest.mark.parametrize("shape", [(16, 16, 3), (3, 16, 16)])
def test_colour_images(shape):
    encoder = TorchEncoder(torch.nn.Flatten(), n_channels=3)
    X = np.random.default_rng(0).uniform(size=(4, *shape))
    control = DebiasedNoiseTransformer(encoder, solver=None).fit(X)
    rng = np.random.default_rng(0)
    control.noise_ = rng.normal(scale=0.1, size=(3, 16, 16)).astype(np.float32)
    display = NoiseDisplay.from_estimator(control, X[:2], kind="edits")
    assert display.im_[0, 0].get_array().shape == (16, 16, 3)
    difference = control.noise_.mean(axis=0)
    np.testing.assert_allclose(display.im_[0, 2].get_array(), difference, atol=1e-6)
    raw = display.plot().im_[0].get_array()
    np.testing.assert_allclose(raw, control.noise_.mean(axis=0))
    assert "3 channels" in display.axes_[0].get_title()


def test_axes_that_are_given(dne, data):
    _, axes = plt.subplots(1, 3)
    assert NoiseDisplay.from_estimator(dne, axes=axes).figure_ is axes[0].figure
    with pytest.raises(ValueError, match=r"axes must have shape \(2, 3\) for kind='edits'"):
        NoiseDisplay.from_estimator(dne, data[0][:2], kind="edits", axes=axes)


def test_bad_calls_say_what_to_do(dne):
    with pytest.raises(ValueError, match="needs images: give X"):
        NoiseDisplay.from_estimator(dne, kind="edits")
    with pytest.raises(ValueError, match="kind must be one of"):
        NoiseDisplay.from_estimator(dne, kind="rows")
    with pytest.raises(ValueError, match=r"noise must have shape \(H, W\)"):
        NoiseDisplay(np.zeros(4))


def test_without_matplotlib(dne, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "skdne\[plot\]"'):
        NoiseDisplay.from_estimator(dne)
