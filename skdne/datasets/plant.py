"""Plant a known attribute, or a known disease, into your own images: does the tool find it?"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from sklearn.utils import check_random_state

from skdne.datasets.synthetic import opacity


def plant_stamp(images: np.ndarray, letters: Any, *, random_state: Any = None) -> np.ndarray:
    """Write a letter into the upper left corner of each image, as a site or side marker is.

    Parameters
    ----------
    images : ndarray of shape (n, H, W), uint8
    letters : array-like of shape (n,), str
        The attribute: one letter for each image, such as "A" and "B".
    random_state : int, RandomState instance or None, default=None
        Seeds the jitter: the place moves by up to a 64th of the side, the opacity is 70 to 100%.

    Returns
    -------
    ndarray of shape (n, H, W), uint8
        The letter, an eighth of the side high, stands a 16th of the side from the edges.

    Examples
    --------
    >>> import numpy as np
    >>> from skdne.datasets import plant_stamp
    >>> stamped = plant_stamp(np.zeros((2, 128, 128), np.uint8), ["A", "B"], random_state=0)
    >>> (stamped > 0).any(axis=(1, 2)), bool(stamped[:, 40:].any())
    (array([ True,  True]), False)
    """
    if len(letters) != len(images):
        raise ValueError(
            f"letters has {len(letters)} rows, images has {len(images)}; give as many."
        )
    rng = check_random_state(random_state)
    side = min(images.shape[1:])
    font = ImageFont.load_default(size=max(1, round(3 * side / 16)))  # a capital takes two thirds
    stamped = []
    for image, letter in zip(images, letters, strict=True):
        stamp = Image.new("L", image.shape[::-1])
        corner = side // 16 + rng.randint(-(side // 64), side // 64 + 1, size=2)
        ImageDraw.Draw(stamp).text(tuple(corner.tolist()), letter, font=font, fill=255, anchor="lt")
        opaque = rng.uniform(0.7, 1) * np.asarray(stamp) / 255
        stamped.append(np.rint(image + opaque * (255 - image)).astype(np.uint8))
    return np.stack(stamped)


def plant_opacity(images: np.ndarray, target: Any, *, random_state: Any = None) -> np.ndarray:
    """Add a soft round opacity to one lower lung of each image with target 1.

    Parameters
    ----------
    images : ndarray of shape (n, H, W), uint8
        Frontal chest X-rays.
    target : array-like of shape (n,)
        1 for diseased, 0 for healthy.
    random_state : int, RandomState instance or None, default=None
        Seeds place, size and strength, which are those of :func:`make_biased_images`.

    Returns
    -------
    ndarray of shape (n, H, W), uint8
    """
    if images.ndim != 3 or images.shape[1] != images.shape[2]:
        raise ValueError(f"images must be square, of shape (n, H, H), got {images.shape}.")
    if np.shape(target) != images.shape[:1]:
        raise ValueError(
            f"target has shape {np.shape(target)}, images has {len(images)} rows; give as many."
        )
    rng = check_random_state(random_state)
    n, size = len(images), images.shape[1]
    radius = rng.uniform(0.09, 0.14, size=n)
    row = rng.uniform(0.44 + radius, 0.78 - radius)
    column = rng.uniform(0.09 + radius, 0.44 - radius)
    peak = 255 * 0.5 * rng.uniform(0.15, 1, size=n) * np.asarray(target)
    row, column, radius, peak = (v[:, None, None] for v in (row, column, radius, peak))
    diseased = images + peak * opacity(size, row, column, radius)
    return np.rint(np.clip(diseased, 0, 255)).astype(np.uint8)
