"""Arrays as images: layouts, the scaling rule, channels, resizing, memory, bad input."""

import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skdne.images import PixelRangeWarning, check_images, is_paths

RNG = np.random.default_rng(0)
quiet = pytest.mark.filterwarnings("ignore::skdne.images.PixelRangeWarning")

DTYPES = ["bool", "uint8", "uint16", ">u2", "int64", "float16", "float32", "float64"]
CHANNELS = st.sampled_from([1, 3, 4])
SIDES = st.integers(5, 9)  # no side looks like a channel axis


@st.composite
def stacks(draw):
    """(n, C, H, W) of any dtype; floats in [0, 1], other integers 0 or 1."""
    shape = (draw(st.integers(1, 4)), draw(CHANNELS), draw(SIDES), draw(SIDES))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    if dtype.kind == "f":
        elements = st.floats(0, 1, width=8 * dtype.itemsize)
    elif dtype.kind == "i":
        elements = st.integers(0, 1)
    else:
        elements = None
    return draw(hnp.arrays(dtype, shape, elements=elements))


def full_scale(dtype):
    return {"bool": 1, "uint8": 255, "uint16": 65535}.get(np.dtype(dtype).name, 1)


@quiet
@given(stacks())
@settings(max_examples=60, deadline=None)
def test_layouts_agree_and_scaling_is_exact(chw):
    expected = (chw.astype(np.float64) / full_scale(chw.dtype)).astype(np.float32)
    images = check_images(chw)
    assert (images.layout, images.shape, images.source_shape) == ("CHW", *[chw.shape[1:]] * 2)
    batch = images.batch(slice(None))
    assert batch.dtype == np.float32
    assert batch.flags.c_contiguous
    assert batch.flags.writeable
    np.testing.assert_array_equal(batch, expected)

    hwc = np.moveaxis(chw, 1, -1)
    last = check_images(hwc)
    assert last.layout == "HWC"
    assert last.source_shape == hwc.shape[1:]
    np.testing.assert_array_equal(last.batch(slice(None)), expected)
    assert last.batch(slice(None)).flags.c_contiguous
    np.testing.assert_array_equal(last.restore(expected), np.moveaxis(expected, 1, -1))

    flat = check_images(chw.reshape(len(chw), -1), image_shape=chw.shape[1:])
    assert flat.layout == "flat"
    assert flat.source_shape == (chw[0].size,)
    np.testing.assert_array_equal(flat.batch(slice(None)), expected)

    grey = check_images(chw[:, 0])
    assert grey.layout == "HW"
    assert grey.shape == (1, *chw.shape[2:])
    np.testing.assert_array_equal(grey.batch(slice(None)), expected[:, :1])
    np.testing.assert_array_equal(grey.restore(expected[:, :1]), expected[:, 0])


@quiet
@given(stacks(), st.integers(1, 5), st.randoms())
@settings(max_examples=30, deadline=None)
def test_batches_are_the_rows_asked_for(chw, batch_size, random):
    images = check_images(chw)
    order = random.sample(range(len(chw)), len(chw))
    everything = images.batch(range(len(chw)))
    indices, batches = zip(*images.batches(batch_size, order), strict=True)
    assert np.concatenate(indices).tolist() == order
    assert all(len(batch) <= batch_size for batch in batches)
    np.testing.assert_array_equal(np.concatenate(batches), everything[order])
    images.batch([0])[:] = 7  # a fresh array: X keeps its values
    np.testing.assert_array_equal(images.batch(range(len(chw))), everything)


def test_flat_rows_without_image_shape_are_lines():
    X = RNG.random((3, 5))
    images = check_images(pd.DataFrame(X))
    assert (images.shape, images.layout) == ((1, 1, 5), "flat")
    np.testing.assert_array_equal(images.batch([2])[0, 0, 0], X[2].astype(np.float32))


def test_channels_first_wins_where_both_fit():
    assert check_images(RNG.random((2, 3, 8, 4))).shape == (3, 8, 4)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float64"])
def test_pixel_range_replaces_the_rule(dtype):
    X = np.linspace(10, 200, 2 * 6 * 6).astype(dtype).reshape(2, 6, 6)
    batch = check_images(X, pixel_range=(10, 200)).batch([0, 1])
    np.testing.assert_allclose(batch[:, 0], (X.astype(float) - 10) / 190, atol=1e-7)


def test_pixel_range_beyond_8_bits_leaves_8_bits_alone():
    X = RNG.integers(0, 256, (2, 6, 6), dtype=np.uint8)
    batch = check_images(X, pixel_range=(0, 4095)).batch([0])
    np.testing.assert_array_equal(batch, check_images(X).batch([0]))


def test_grey_is_repeated_and_colour_becomes_luma():
    grey = RNG.integers(0, 256, (2, 6, 7), dtype=np.uint8)
    rgb = check_images(grey, n_channels=3)
    assert rgb.shape == (3, 6, 7)
    assert (rgb.batch([0, 1]) == check_images(grey).batch([0, 1])).all()
    back = check_images(np.repeat(grey[..., None], 3, axis=-1), n_channels=1)
    np.testing.assert_array_equal(back.batch([0, 1])[:, 0], grey / np.float32(255))
    colour = RNG.random((2, 3, 6, 7))
    luma = 0.299 * colour[:, 0] + 0.587 * colour[:, 1] + 0.114 * colour[:, 2]
    np.testing.assert_allclose(check_images(colour, n_channels=1).batch([0, 1])[:, 0], luma, 1e-6)


@pytest.mark.parametrize(
    ("scale", "dtype"), [(1, np.float64), (1, np.int64), (255, np.uint8), (65535, np.uint16)]
)
def test_rgba_is_composited_on_black(scale, dtype):
    X = (RNG.random((2, 6, 7, 4)) * (scale + (dtype is np.int64))).astype(dtype)
    batch = check_images(X, n_channels=3).batch([0, 1])
    expected = X[..., :3].astype(float) * X[..., 3:] / scale**2
    np.testing.assert_allclose(
        batch, np.moveaxis(expected, -1, 1), atol=1e-7 if scale == 1 else 0.501 / scale
    )
    assert check_images(X).shape == (4, 6, 7)  # as they are where nothing is asked for


def test_opaque_rgba_of_12_bits_is_white():
    X = np.full((1, 6, 7, 4), 4095, dtype=np.uint16)
    batch = check_images(X, n_channels=3, pixel_range=(0, 4095)).batch([0])
    np.testing.assert_array_equal(batch, np.ones((1, 3, 6, 7)))


@pytest.mark.parametrize("side", [16, 300])  # 300: in threads
def test_resizing_antialiases_alike_in_all_dtypes(side):
    X = RNG.integers(0, 256, (3, side, side), dtype=np.uint8)
    size = (side // 2, side // 4)
    expected = torch.nn.functional.interpolate(
        torch.tensor(X[:, None] / 255.0), size=size, mode="bilinear", antialias=True
    ).numpy()
    for array in (X, X.astype(np.uint16) * 257, X / 255.0, (X / 255.0).astype(np.float32)):
        images = check_images(array, input_size=size)
        assert images.shape == (1, *size)
        atol = 1.01 / 255 if array.dtype == np.uint8 else 1e-5
        np.testing.assert_allclose(images.batch([0, 1, 2]), expected, atol=atol)
    black_and_white = check_images(X > 127, input_size=size).batch([1])
    same = check_images((X > 127).astype(np.uint8) * 255, input_size=size).batch([1])
    np.testing.assert_array_equal(black_and_white, same)


def test_a_memory_map_is_read_row_by_row(tmp_path):
    n, side = 4000, 128  # 65 MB
    X = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (n, side, side))
    X[-1] = np.arange(side, dtype=np.uint8)
    X.flush()
    X = np.load(tmp_path / "x.npy", mmap_mode="r")
    tracemalloc.start()
    images = check_images(X)
    images.verify()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = torch.from_numpy(images.batch([0, n - 1]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2e6
    assert float(tensor[1].max()) == np.float32(127 / 255)


def test_nan_rows_are_found_in_small_chunks():
    X = RNG.random((1500, 64, 64))
    X[7, 3, 3], X[9, 0, 1], X[1400, 0, 0] = np.nan, 1e300, np.inf
    images = check_images(X)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"NaN, infinity .* 3 rows: 7, 9, 1400"):
        images.verify()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < X.nbytes / 5
    check_images(X[10:1400]).verify()


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (RNG.integers(0, 4096, (3, 6, 6)).astype(np.uint16), r"sliver.*pixel_range=\(0, 4095\)"),
        (RNG.integers(0, 256, (3, 6, 6)).astype(np.uint16), r"sliver.*pixel_range=\(0, 255\)"),
        (RNG.integers(0, 2, (3, 6, 6)).astype(np.uint8), "sliver.*divided twice"),
        (RNG.random((3, 6, 6)) / 255, "sliver.*divided twice"),
        (RNG.random((3, 6, 6)) * 255, r"leave \[0, 1\].*pixel_range"),
        (RNG.random((3, 6, 6)) - 0.5, r"leave \[0, 1\].*pixel_range"),
        (RNG.integers(0, 256, (3, 6, 6)), r"int64.*leave \[0, 1\].*uint8"),
    ],
)
def test_odd_pixel_ranges_warn_once(X, message):
    with pytest.warns(PixelRangeWarning, match=message) as caught:
        images = check_images(X)
    images.batch([0, 1])
    assert len(caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize("X", [np.zeros((2, 6, 6), np.uint16), np.full((2, 6, 6), 9.0)])
def test_constant_images_do_not_warn(X):
    assert check_images(X).batch([0]).shape == (1, 1, 6, 6)


@pytest.mark.parametrize(
    "X", [RNG.random((2, 6, 6)).tolist(), list(RNG.random((2, 6, 6))), torch.rand(2, 6, 6)]
)
def test_lists_and_tensors(X):
    expected = np.asarray(X, dtype=np.float32)
    np.testing.assert_array_equal(check_images(X).batch([0, 1])[:, 0], expected)


def test_object_arrays_of_numbers():
    X = RNG.random((2, 6, 6))
    np.testing.assert_array_equal(
        check_images(X.astype(object)).batch([1]), check_images(X).batch([1])
    )


IMAGES = np.tile(np.linspace(0, 1, 36).reshape(6, 6), (2, 1, 1))


@pytest.mark.parametrize(
    ("X", "options", "error", "message"),
    [
        (scipy.sparse.eye_array(3, format="csr"), {}, TypeError, "Sparse.*toarray"),
        (np.zeros((0, 6, 6)), {}, ValueError, r"empty.*0 sample\(s\)"),
        ([], {}, ValueError, r"empty.*0 sample\(s\)"),
        (np.zeros((2, 0)), {}, ValueError, r"0 feature\(s\)"),
        (np.zeros((2, 6, 0)), {}, ValueError, r"0 feature\(s\)"),
        (np.arange(4), {}, ValueError, "1-D array of int64.*Reshape your data"),
        (np.float64(3), {}, ValueError, "Expected an array of images"),
        (None, {}, ValueError, "Expected an array of images"),
        ({"a": 1}, {}, ValueError, "Expected an array of images.*got dict"),
        (np.zeros((2, 1, 3, 6, 6)), {}, ValueError, "X has 5 dimensions"),
        (np.zeros((2, 5, 6, 6)), {}, ValueError, r"no channel axis.*size 1, 3 or 4"),
        (IMAGES + 1j, {}, ValueError, "Complex data not supported"),
        (np.array([[{}, {}]]), {}, TypeError, "objects that are no numbers"),
        (pd.DataFrame({"path": ["a.png"]}), {}, TypeError, "the one column"),
        (np.array([["a.png"]]), {}, TypeError, "the one column"),
        (np.array(["a.png", None], dtype=object), {}, TypeError, "1 row: 1.*NoneType"),
        ("a.png", {}, TypeError, "single path, 'a.png'"),
        ([np.zeros((6, 6)), np.zeros((6, 7))], {}, ValueError, "images of different shapes"),
        (IMAGES.reshape(2, -1), {"image_shape": (5, 5)}, ValueError, "25 pixels, X has 36"),
        (IMAGES, {"image_shape": (5, 5)}, ValueError, r"image_shape=\(5, 5\).*\(6, 6\)"),
        (IMAGES, {"image_shape": 6}, ValueError, "image_shape must be two or three .* got 6"),
        (IMAGES, {"input_size": (6, 0)}, ValueError, r"input_size must be .* got \(6, 0\)"),
        (IMAGES, {"input_size": (6.5, 6)}, ValueError, "input_size"),
        (IMAGES, {"n_channels": 0}, ValueError, "n_channels"),
        (IMAGES, {"pixel_range": (1, 1)}, ValueError, r"pixel_range must be .* got \(1, 1\)"),
        (IMAGES, {"pixel_range": (0, np.nan)}, ValueError, "pixel_range"),
        (IMAGES, {"pixel_range": 255}, ValueError, "pixel_range"),
        (np.zeros((2, 3, 6, 6)), {"n_channels": 4}, ValueError, "3 channels.*n_channels=4"),
        (np.zeros((2, 4, 6, 6)), {"n_channels": 2}, ValueError, "4 channels.*n_channels=2"),
    ],
)
def test_bad_input_has_one_clear_error(X, options, error, message):
    with pytest.raises(error, match=message):
        check_images(X, **options)


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        ("a.png", True),
        (["a.png"], True),
        (np.array(["a.png"]), True),
        (pd.Series(["a.png"], index=[7]), True),
        ([], False),
        ([[1.0]], False),
        (IMAGES, False),
        (pd.DataFrame(IMAGES[0]), False),
        (None, False),
    ],
)
def test_is_paths(X, expected):
    assert is_paths(X) is expected
