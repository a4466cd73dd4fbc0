"""Fidelity of an edit against direct computations."""

import numpy as np
import pytest

from skdne.audit import edit_sizes, structural_similarity


def direct_ssim(x, y):
    """Wang et al. 2004, window by window."""
    at = np.arange(-5, 6)
    window = np.exp(-(at[:, None] ** 2 + at[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for i in range(5, x.shape[0] - 5):
        for j in range(5, x.shape[1] - 5):
            p, q = (image[i - 5 : i + 6, j - 5 : j + 6] for image in (x, y))
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            cov = (window * (p - mp) * (q - mq)).sum()
            values.append(
                (2 * mp * mq + 0.01**2)
                * (2 * cov + 0.03**2)
                / ((mp**2 + mq**2 + 0.01**2) * (vp + vq + 0.03**2))
            )
    return np.mean(values)


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    x = rng.random((3, 17, 20))
    return x, np.clip(x + rng.normal(0, 0.2, x.shape), 0, 1)


def test_ssim_window_by_window(pair):
    x, y = pair
    expected = [direct_ssim(u, v) for u, v in zip(x, y, strict=True)]
    np.testing.assert_allclose(structural_similarity(x, y), expected, rtol=1e-10)
    colour = structural_similarity(np.stack([x, x], -1), np.stack([y, x], -1))
    np.testing.assert_allclose(colour, (np.array(expected) + 1) / 2, rtol=1e-10)
    assert (structural_similarity(x, 1 - x) < 0).all()  # inverted structure


def test_sizes_by_hand():
    x = np.zeros((2, 4, 4))
    e = x.copy()
    e[1, 0, 0], e[1, 2, 2] = 0.3, -0.4
    found = edit_sizes(x, e)
    np.testing.assert_allclose(found["L2"], [0, 0.5])
    np.testing.assert_allclose(found["L-infinity"], [0, 0.4])
    np.testing.assert_allclose(found["MSE"], [0, 0.25 / 16])
    assert np.isnan(found["SSIM"]).all()  # smaller than the window


def test_bad_images(pair):
    x, y = pair
    with pytest.raises(ValueError, match="one shape"):
        structural_similarity(x, y[:, :-1])
    with pytest.raises(ValueError, match="one shape"):
        edit_sizes(x, y[:2])
    with pytest.raises(ValueError, match="11 x 11 or more"):
        structural_similarity(x[:, :9], y[:, :9])
