"""Small encoders and data that several tests share."""

import numpy as np
import torch

from skdne import TorchEncoder


def small_encoder(seed: int = 0, n_features: int = 16, size: int = 8) -> TorchEncoder:
    """A nonlinear encoder of (1, size, size) images with fixed random weights."""
    generator = torch.Generator().manual_seed(seed)
    net = torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(size * size, 32),
        torch.nn.Tanh(),
        torch.nn.Linear(32, n_features),
    )
    for parameter in net.parameters():
        scale = 0.5 if parameter.ndim > 1 else 0.1
        parameter.data = torch.randn(parameter.shape, generator=generator) * scale
    return TorchEncoder(net, input_size=(size, size), n_channels=1, precision="float32")


def small_images(n: int = 160, seed: int = 0, size: int = 8, correlation: float = 0.0):
    """uint8 images whose upper left corner tells a and lower right y; also y and a."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    agrees = rng.random(n) < (1 + correlation) / 2
    if correlation == 0:
        agrees = (np.arange(n) // 2) % 2 == 0
    a = np.where(np.where(agrees, y, 1 - y) == 1, "M", "F")
    images = rng.integers(60, 160, (n, size, size))
    images[:, :3, :3] += 60 * (a == "M")[:, None, None]
    images[:, -3:, -3:] += 60 * y[:, None, None]
    return images.astype(np.uint8), y, a
