"""Line drawings: the formulas, what they draw of known shapes, and the layouts of X."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.pipeline import make_pipeline

from skdne import DebiasedNoiseTransformer
from skdne.baselines import SketchTransformer, canny, sobel, xdog
from skdne.datasets import make_biased_images


def gaussian(image, sigma):
    """Direct sum over a 4-sigma window; the edge repeats mirrored, as d c b a | a b c d."""
    radius = int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(image, radius, mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (len(kernel), len(kernel)))
    return np.einsum("hwij,i,j->hw", windows, kernel, kernel)


def test_xdog_is_its_formula():
    image = np.random.default_rng(0).random((12, 10))
    sigma, k, tau, epsilon, phi = 0.8, 1.7, 0.9, 0.03, 5.0
    D = gaussian(image, sigma) - tau * gaussian(image, k * sigma)
    expected = np.where(epsilon <= D, 1, 1 + np.tanh(phi * (D - epsilon)))
    assert 0.1 < (epsilon <= D).mean() < 0.9
    drawn = xdog(image, sigma=sigma, k=k, tau=tau, epsilon=epsilon, phi=phi)
    np.testing.assert_allclose(drawn, expected, atol=1e-12)


def test_sobel_is_its_formula():
    image = np.random.default_rng(0).random((9, 11))
    p = np.pad(gaussian(image, 1.0), 1, mode="symmetric")
    weights, shifts = (1, 2, 1), (0, 1, 2)
    gy, gx = np.zeros((2, 9, 11))
    for w, s in zip(weights, shifts, strict=True):
        gy += w * (p[2:, s : s + 11] - p[:-2, s : s + 11])
        gx += w * (p[s : s + 9, 2:] - p[s : s + 9, :-2])
    steepness = np.sqrt(gx**2 + gy**2)
    expected = 1 - np.minimum(steepness / np.quantile(steepness, 0.9), 1)
    np.testing.assert_allclose(sobel(image, quantile=0.9), expected, atol=1e-12)


def test_canny_draws_thin_lines_at_the_edges():
    disc = np.hypot(*(np.indices((64, 64)) - 31.5)) < 20
    drawn = canny(disc.astype(float))
    rows, cols = np.nonzero(drawn == 0)
    distance = np.hypot(rows - 31.5, cols - 31.5)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    assert np.abs(distance - 20).max() < 1.5
    assert 0.7 * 2 * np.pi * 20 < len(rows) < 1.3 * 2 * np.pi * 20  # one pixel wide, all around
    step = np.repeat([[0.0] * 10 + [1.0] * 10], 20, axis=0)
    lines = np.flatnonzero((canny(step) == 0).all(axis=0))
    assert lines.tolist() in ([9], [10])


def test_canny_keeps_weak_edges_only_where_they_meet_strong_ones():
    image = np.zeros((60, 60))
    image[:20, 30:] = 1.0  # strong above
    image[20:40, 30:] = np.linspace(1.0, 0.25, 20)[:, None]  # fading below, connected
    image[50:, :15] = 0.25  # weak, apart
    both = canny(image, low=0.5, high=0.5) == 0
    strict = canny(image, low=0.5, high=0.97) == 0
    assert both[48:52, :10].any()
    assert not strict[46:, :12].any()
    assert strict[10, 28:32].any()
    assert strict[35, 28:32].any()


@pytest.mark.parametrize("method", ["xdog", "canny", "sobel"])
def test_plain_images_are_plain_paper(method):
    plain = np.full((2, 16, 16), 90, dtype=np.uint8)
    assert (SketchTransformer(method).fit_transform(plain) == 255).all()


@pytest.mark.parametrize("method", ["xdog", "canny", "sobel"])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99), brightness=st.integers(0, 100))
def test_drawings_are_mostly_paper_and_mirror_with_the_image(method, seed, brightness):
    images = make_biased_images(1, image_size=32, random_state=seed).images // 2 + brightness
    drawn = SketchTransformer(method).fit_transform(images)
    assert drawn.dtype == np.uint8
    assert np.mean(drawn > 127) > 0.5
    if method != "canny":  # there, one of two equal neighbours is kept
        mirrored = SketchTransformer(method).transform(images[..., ::-1])
        np.testing.assert_allclose(mirrored[..., ::-1].astype(int), drawn, atol=1)


def test_layouts_follow_those_of_x(tmp_path):
    grey = make_biased_images(3, image_size=32, random_state=0).images
    drawn = SketchTransformer().fit_transform(grey)
    colour = np.repeat(grey[..., None], 3, axis=-1)
    np.testing.assert_array_equal(SketchTransformer().transform(colour), drawn[..., None])
    first = np.moveaxis(colour, -1, 1)
    np.testing.assert_array_equal(SketchTransformer().transform(first), drawn[:, None])
    flat = SketchTransformer(image_shape=(32, 32)).transform(grey.reshape(3, -1))
    np.testing.assert_array_equal(flat, drawn.reshape(3, -1))
    paths = [str(tmp_path / f"{i}.png") for i in range(3)]
    for image, path in zip(grey, paths, strict=True):
        Image.fromarray(image).save(path)
    np.testing.assert_array_equal(SketchTransformer().fit_transform(paths), drawn)
    assert SketchTransformer(input_size=(16, 16)).transform(paths).shape == (3, 16, 16)


def test_a_callable_draws_and_goes_before_the_encoder():
    grey = make_biased_images(3, random_state=0).images

    def learned(images, ink):
        return 1 - ink * images

    drawn = SketchTransformer(learned, method_params={"ink": 0.5}).fit_transform(grey)
    np.testing.assert_array_equal(drawn, np.rint(255 * (1 - 0.5 * (grey / np.float32(255)))))
    pipe = make_pipeline(SketchTransformer(), DebiasedNoiseTransformer(solver=None))
    embedded = pipe.fit(grey).transform(grey)
    alone = DebiasedNoiseTransformer(solver=None).fit(grey)
    np.testing.assert_array_equal(
        embedded, alone.transform(SketchTransformer().fit_transform(grey))
    )


def test_bad_input_is_named():
    X = np.zeros((2, 8, 8), dtype=np.uint8)
    with pytest.raises(ValueError, match="'method' parameter"):
        SketchTransformer("pencil").fit(X)
    with pytest.raises(ValueError, match=r"method returned an array of shape \(2, 8\)"):
        SketchTransformer(lambda images: images[:, 0]).transform(X)
    with pytest.raises(ValueError, match=r"outside of \[0, 1\]"):
        SketchTransformer(lambda images: images - 1).transform(X)
