"""What the servers compute: float32 images in [0, 1] to float32 vectors."""

import functools

import numpy as np


class Projection:
    """A fixed random projection, the same to the last bit however images are batched.

    Pixels are whole multiples of 2^-24 and weights small integers, so the sums are exact in
    float64 and no order of summation can change them.
    """

    def __init__(self, size=16, n_channels=1, n_features=32, seed=0):
        self.input_shape = (n_channels, size, size)
        self.n_features = n_features
        n_pixels = n_channels * size * size
        weights = np.random.default_rng(seed).integers(-8, 9, (n_pixels, n_features))
        self.weights = weights.astype(np.float64)

    def embed(self, images):
        fixed = np.rint(images.astype(np.float64) * 2**24).reshape(len(images), -1)
        return (fixed @ self.weights / (2**24 * np.sqrt(fixed.shape[1]))).astype(np.float32)


class Bundled:
    """The encoder that comes with the package, in float32."""

    def __init__(self):
        from skdne import bundled_encoder  # imports torch

        self.encoder = bundled_encoder()
        self.input_shape = (self.encoder.n_channels, *self.encoder.input_size)
        self.n_features = len(self.embed(np.zeros((1, *self.input_shape), np.float32))[0])

    def embed(self, images):
        size = self.encoder.batch_size
        parts = [self.encoder.embed(images[i : i + size]) for i in range(0, len(images), size)]
        return np.concatenate(parts)


@functools.cache
def make_model(model="projection", **options):
    return {"projection": Projection, "bundled": Bundled}[model](**options)


def from_wire(pixels):
    """Images in [0, 1] of the pixels that were sent: bytes are 0 to 255, floats 0 to 1."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.float32) / np.float32(255)
    return pixels.astype(np.float32)
