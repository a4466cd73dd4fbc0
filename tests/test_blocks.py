"""Blocks of the image and the noise that saturates them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skdne.blocks import MOST_BLOCKS, BlockGrid, default_block_size
from skdne.noise import add_noise


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(1, 12),
    st.sampled_from(["black", "white", "checkerboard"]),
    st.integers(0, 2**32 - 1),
)
def test_an_erased_block_is_the_same_whatever_the_image(image_size, size, fill, seed):
    rng = np.random.default_rng(seed)
    grid = BlockGrid(image_size, size, fill)
    erased = rng.random(len(grid)) < 0.5
    images = torch.from_numpy(rng.random((3, 1, *image_size), dtype=np.float32))
    edited = add_noise(images, grid.noise(erased), clip=True).numpy()
    where = grid.pixels(erased)
    assert (edited[..., where] == grid.filled().numpy()[where]).all()
    np.testing.assert_array_equal(edited[..., ~where], images.numpy()[..., ~where])
    assert grid.area(erased) == pytest.approx(where.mean())


@given(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.integers(1, 12))
def test_each_block_is_its_corner_and_size(image_size, size):
    grid = BlockGrid(image_size, size, "black")
    for block, (top, left) in enumerate(grid.corners()):
        alone = np.arange(len(grid)) == block
        expected = np.zeros(image_size, dtype=bool)
        expected[top : top + size, left : left + size] = True
        np.testing.assert_array_equal(grid.pixels(alone), expected)


def test_window_is_the_block_and_its_neighbours():
    grid = BlockGrid((12, 16), 4, "black")
    assert grid.shape == (3, 4)
    np.testing.assert_array_equal(np.flatnonzero(grid.window(0)), [0, 1, 4, 5])
    assert grid.window(5).sum() == 9


@pytest.mark.parametrize(
    ("image_size", "patch", "expected"),
    [
        ((128, 128), 16, 16),  # 8 x 8 blocks of one patch
        ((224, 224), 16, 32),  # 7 x 7 blocks of two patches a side
        ((224, 224), None, 28),
        ((518, 518), 14, 70),
        ((1, 4), None, 1),
    ],
)
def test_default_block_size_is_the_smallest_that_cuts_no_patch(image_size, patch, expected):
    size = default_block_size(image_size, patch)
    assert size == expected
    assert len(BlockGrid(image_size, size, "black")) <= MOST_BLOCKS
