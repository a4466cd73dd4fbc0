"""Line drawings without a learned model: XDoG, Canny and Sobel, dark lines on white."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def xdog(
    image: np.ndarray,
    *,
    sigma: float = 1.0,
    k: float = 1.6,
    tau: float = 0.995,
    epsilon: float = 0.0,
    phi: float = 100.0,
) -> np.ndarray:
    """Soft-line drawing by extended difference of Gaussians.

    Parameters
    ----------
    image : ndarray of shape (H, W)
        In units of [0, 1].
    sigma : float, default=1.0
        Width in pixels of the narrow Gaussian: thickness of the lines.
    k : float, default=1.6
        The wide Gaussian has ``k * sigma``.
    tau : float, default=0.995
        Weight of the wide Gaussian. 1 draws the faintest edges, noise among them; less leaves out
        those of low contrast, most of all where the image is bright.
    epsilon : float, default=0.0
        Level of the difference, at and above which the paper stays white.
    phi : float, default=100.0
        How fast lines darken below ``epsilon``; large is black and white.

    Returns
    -------
    ndarray of shape (H, W)
        1 is paper, 0 is ink.

    Notes
    -----
    With :math:`D = G_\\sigma * x - \\tau\\, G_{k \\sigma} * x`, the drawing is 1 where
    :math:`D \\ge \\epsilon`, else :math:`1 + \\tanh(\\phi (D - \\epsilon))`. The defaults were
    chosen by eye on chest X-rays of 224 x 224 pixels.

    References
    ----------
    Winnemöller, Kyprianidis, Olsen 2012, "XDoG: an extended difference-of-Gaussians compendium
    including advanced image stylization", Eq. 5 and 7.
    """
    narrow = ndimage.gaussian_filter(image, sigma)
    wide = ndimage.gaussian_filter(image, k * sigma)
    difference = narrow - tau * wide
    return 1 + np.tanh(phi * np.minimum(difference - epsilon, 0))


def sobel(image: np.ndarray, *, sigma: float = 1.0, quantile: float = 0.97) -> np.ndarray:
    """Strength of the gradient, dark where it is steep.

    Parameters
    ----------
    image : ndarray of shape (H, W)
        In units of [0, 1].
    sigma : float, default=1.0
        Width in pixels of the Gaussian that smooths first.
    quantile : float, default=0.97
        The gradient at this quantile of the image, and any steeper, is black.

    Returns
    -------
    ndarray of shape (H, W)
        1 is paper, 0 is ink.
    """
    smooth = ndimage.gaussian_filter(image, sigma)
    steepness = np.hypot(ndimage.sobel(smooth, axis=0), ndimage.sobel(smooth, axis=1))
    # rounding errors of a plain image are no edges
    black = max(float(np.quantile(steepness, quantile)), 1e-5)
    return 1 - np.minimum(steepness / black, 1)


def canny(
    image: np.ndarray, *, sigma: float = 1.5, low: float = 0.8, high: float = 0.92
) -> np.ndarray:
    """Edges one pixel wide, black on white.

    Binary, so an encoder trained on images sees less in it than in :func:`xdog`.

    Parameters
    ----------
    image : ndarray of shape (H, W)
        In units of [0, 1].
    sigma : float, default=1.5
        Width in pixels of the Gaussian whose derivative is the gradient.
    low, high : float, default=0.8 and 0.92
        Quantiles of the image's gradient. An edge is kept where it is steeper than ``low``, if it
        is connected to a place steeper than ``high``.

    Returns
    -------
    ndarray of shape (H, W)
        1 is paper, 0 is ink.

    References
    ----------
    Canny 1986, "A computational approach to edge detection".
    """
    gradient = np.array([ndimage.gaussian_filter(image, sigma, order=o) for o in ((1, 0), (0, 1))])
    steepness = np.hypot(*gradient)
    steepness[steepness < 1e-5] = 0  # rounding errors of a plain image are no edges
    direction = gradient / np.where(steepness > 0, steepness, 1)
    here = np.indices(image.shape)
    ahead, behind = (
        ndimage.map_coordinates(steepness, here + step, order=1, mode="nearest")
        for step in (direction, -direction)
    )
    ridge = (steepness > behind) & (steepness >= ahead)
    weak, strong = (ridge & (steepness >= np.quantile(steepness, q)) for q in (low, high))
    edges, _ = ndimage.label(weak, structure=np.ones((3, 3)))
    kept = np.unique(edges[strong])
    return 1.0 - np.isin(edges, kept[kept > 0])
