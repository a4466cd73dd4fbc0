"""Checking X against the encoder, and against what fit saw."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from skdne.encoders import Encoder
from skdne.images import Images, check_images, is_paths


class ImageInputMixin:
    """What DebiasedNoiseTransformer does with X first."""

    image_shape: Any
    noise_: np.ndarray

    def _images(self, X: Any, encoder: Encoder, *, reset: bool) -> Images:
        """Check X against the encoder and, after fit, against the shape seen there."""
        if not is_paths(X):
            shape = getattr(X, "shape", ())[1:]
            if not reset and len(shape) > 1:
                self._check_shape(shape)
            try:
                X = validate_data(self, X, reset=reset, dtype="numeric", allow_nd=True)
            except ValueError as error:
                if "inhomogeneous" in str(error):
                    check_images(X)  # says it in our words
                raise
        images = check_images(
            X,
            image_shape=self.image_shape,
            input_size=encoder.input_size,
            n_channels=encoder.n_channels,
            pixel_range=encoder.pixel_range,
        )
        if reset:
            self._image_shape_in = images.source_shape
            return images
        if images.source_shape is not None:
            self._check_shape(images.source_shape)
        planes = self.noise_.shape[0] if self.noise_.ndim == 3 else 1
        if images.shape[1:] != self.noise_.shape[-2:] or planes not in (1, images.shape[0]):
            raise ValueError(
                f"X has images of shape {images.shape}, which the noise of shape "
                f"{self.noise_.shape} does not fit; set input_size on the encoder to have images "
                "resized."
            )
        return images

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        """Refuse another shape than in fit; one image passed as X looks like flat rows."""
        seen = getattr(self, "_image_shape_in", None)
        if seen is None and len(shape) == 1 and self.image_shape is None:
            raise ValueError(
                f"X is two-dimensional. One image is X[None]; flat rows of {shape[0]} pixels need "
                "image_shape."
            )
        if seen not in (None, shape):
            raise ValueError(
                f"X has images of shape {shape}; fit saw shape {seen}. Give images of that shape "
                "(one image is X[None]), or file paths."
            )
