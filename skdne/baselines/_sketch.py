"""SketchTransformer: replace images by line drawings, which show shape and little else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import validate_data

from skdne.baselines._line_drawings import canny, sobel, xdog
from skdne.images import Images, check_images, is_paths

METHODS: dict[str, Callable[..., np.ndarray]] = {"xdog": xdog, "canny": canny, "sobel": sobel}


class SketchTransformer(TransformerMixin, BaseEstimator):
    """Turn images into line drawings, to go before an encoder; re-implemented.

    The original draws with a learned network (Informative Drawings), whose weights you can bring as
    a callable; ``"xdog"`` stands in for it. The original's "fair loss" is left out: it counts
    predicted classes, which has no gradient.

    Parameters
    ----------
    method : {"xdog", "canny", "sobel"} or callable, default="xdog"
        How to draw: :func:`~skdne.baselines.xdog`, :func:`~skdne.baselines.canny`,
        :func:`~skdne.baselines.sobel`. A callable gets images (b, H, W), float32 in [0, 1], b at
        most 64, and returns drawings of that shape in [0, 1].
    method_params : dict or None, default=None
        Keyword arguments for ``method``, such as ``{"sigma": 2.0}``.
    input_size : (int, int) or None, default=None
        Height and width that images are resized to before they are drawn: the encoder's, as a line
        has a width in pixels. None keeps the size, which must be one for all.
    image_shape : tuple of int or None, default=None
        Shape of an image where X holds flat rows.
    pixel_range : (float, float) or None, default=None
        Stored values that mean 0 and 1, see :mod:`skdne.images`.

    Attributes
    ----------
    n_features_in_ : int
        Size of the second axis of X, where X is an array.

    References
    ----------
    Yao et al. 2022, "Improving fairness in image classification via sketching".

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from skdne import DebiasedNoiseTransformer
    >>> from skdne.baselines import SketchTransformer
    >>> from skdne.datasets import make_biased_images
    >>> X = make_biased_images(2, random_state=0).images
    >>> drawings = SketchTransformer().fit_transform(X)
    >>> drawings.shape, drawings.dtype
    ((2, 128, 128), dtype('uint8'))
    >>> sketch_row = make_pipeline(
    ...     SketchTransformer(), DebiasedNoiseTransformer(solver=None), LogisticRegression()
    ... )
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "method": [StrOptions(set(METHODS)), callable],
        "method_params": [dict, None],
    }

    def __init__(
        self,
        method="xdog",
        *,
        method_params=None,
        input_size=None,
        image_shape=None,
        pixel_range=None,
    ):
        self.method = method
        self.method_params = method_params
        self.input_size = input_size
        self.image_shape = image_shape
        self.pixel_range = pixel_range

    def fit(self, X, y=None) -> Self:
        """Check the parameters and X; there is nothing to learn.

        Parameters
        ----------
        X : array of images, of flat rows, or file paths
        y : ignored

        Returns
        -------
        self
        """
        self._validate_params()
        self._images(X, reset=True)
        return self

    def transform(self, X) -> np.ndarray:
        """Draw the images.

        Parameters
        ----------
        X : array of images, of flat rows, or file paths, n of them

        Returns
        -------
        ndarray of shape (n, H, W), (n, 1, H, W), (n, H, W, 1) or (n, n_features), uint8
            Laid out like X, with one channel where X has a channel axis; (n, H, W) for files. 255
            is paper.
        """
        images = self._images(X, reset=False)
        images.verify()
        drawings = []
        for _, batch in images.batches(64):
            drawn = np.rint(255 * self._draw(batch[:, 0])).astype(np.uint8)[:, None]
            flat = images.layout == "flat"
            drawings.append(drawn.reshape(len(drawn), -1) if flat else images.restore(drawn))
        return np.concatenate(drawings)

    def _draw(self, batch: np.ndarray) -> np.ndarray:
        params = self.method_params or {}
        if isinstance(self.method, str):
            return np.stack([METHODS[self.method](image, **params) for image in batch])
        drawn = np.asarray(self.method(batch, **params))
        if drawn.shape != batch.shape:
            raise ValueError(
                f"method returned an array of shape {drawn.shape} for images of shape "
                f"{batch.shape}; expected the same."
            )
        if not (drawn.min() >= 0 and drawn.max() <= 1):
            raise ValueError("method returned values outside of [0, 1], or NaN; expected pixels.")
        return drawn

    def _images(self, X: Any, *, reset: bool) -> Images:
        if not is_paths(X):
            X = validate_data(self, X, reset=reset, dtype="numeric", allow_nd=True)
        return check_images(
            X,
            image_shape=self.image_shape,
            input_size=self.input_size,
            n_channels=1,
            pixel_range=self.pixel_range,
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []
        return tags
