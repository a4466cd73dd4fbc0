"""Fidelity of an edit: how far the edited images are from the originals."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

_SIGMA, _RADIUS = 1.5, 5  # an 11 x 11 window, as published
_C1, _C2 = 0.01**2, 0.03**2  # for pixels in [0, 1]


def structural_similarity(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    r"""Mean structural similarity (SSIM) of pairs of images.

    Parameters
    ----------
    first, second : array-like of shape (n, H, W) or (n, H, W, C)
        Images in units of [0, 1], at least 11 x 11. Channels are averaged.

    Returns
    -------
    ndarray of shape (n,)
        In [-1, 1]; 1 for equal images.

    Raises
    ------
    ValueError
        If shapes differ or the images are smaller than the window.

    Notes
    -----
    With means, variances and covariance in a Gaussian window of 11 x 11 pixels and sd 1.5:

    .. math:: \frac{(2 \mu_x \mu_y + C_1)(2 \sigma_{xy} + C_2)}
                   {(\mu_x^2 + \mu_y^2 + C_1)(\sigma_x^2 + \sigma_y^2 + C_2)}

    averaged over the windows that lie within the image; :math:`C_1 = .01^2, C_2 = .03^2`.

    References
    ----------
    Wang, Bovik, Sheikh, Simoncelli 2004, "Image Quality Assessment: From Error Visibility to
    Structural Similarity".

    Examples
    --------
    >>> import numpy as np
    >>> from skdne.audit import structural_similarity
    >>> grey = np.full((1, 16, 16), 0.5)
    >>> structural_similarity(grey, grey)
    array([1.])
    """
    x, y = (np.asarray(images, dtype=float) for images in (first, second))
    if x.shape != y.shape or x.ndim not in (3, 4):
        raise ValueError(
            "first and second must be of one shape, (n, H, W) or (n, H, W, C); got "
            f"{x.shape} and {y.shape}."
        )
    window = 2 * _RADIUS + 1
    if min(x.shape[1:3]) < window:
        raise ValueError(f"SSIM needs images of {window} x {window} or more, got {x.shape[1:3]}.")

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        sigma = (0, _SIGMA, _SIGMA) + (0,) * (x.ndim - 3)
        smooth = gaussian_filter(values, sigma, radius=[_RADIUS if s else 0 for s in sigma])
        inner = slice(_RADIUS, -_RADIUS)
        return smooth[:, inner, inner]

    mu_x, mu_y = mean(x), mean(y)
    var_x, var_y = mean(x * x) - mu_x**2, mean(y * y) - mu_y**2
    covariance = mean(x * y) - mu_x * mu_y
    ssim = (2 * mu_x * mu_y + _C1) * (2 * covariance + _C2)
    ssim /= (mu_x**2 + mu_y**2 + _C1) * (var_x + var_y + _C2)
    return ssim.reshape(len(x), -1).mean(axis=1)


def edit_sizes(originals: ArrayLike, edited: ArrayLike) -> dict[str, NDArray[np.float64]]:
    """Size of the edit of each image.

    Parameters
    ----------
    originals, edited : array-like of shape (n, H, W) or (n, H, W, C)
        In units of [0, 1].

    Returns
    -------
    dict of str to ndarray of shape (n,)
        ``"L2"`` and ``"L-infinity"`` norms of the difference, its mean square ``"MSE"``, and
        ``"SSIM"``, nan where the images are smaller than its window.
    """
    x, e = (np.asarray(images, dtype=float) for images in (originals, edited))
    if x.shape != e.shape or x.ndim not in (3, 4):
        raise ValueError(
            "originals and edited must be of one shape, (n, H, W) or (n, H, W, C); got "
            f"{x.shape} and {e.shape}."
        )
    difference = (e - x).reshape(len(x), -1)
    small = min(x.shape[1:3]) < 2 * _RADIUS + 1
    return {
        "L2": np.linalg.norm(difference, axis=1),
        "L-infinity": np.abs(difference).max(axis=1),
        "MSE": np.square(difference).mean(axis=1),
        "SSIM": np.full(len(x), np.nan) if small else structural_similarity(x, e),
    }
