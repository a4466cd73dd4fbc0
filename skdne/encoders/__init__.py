"""Frozen encoders phi: images in [0, 1] to vectors."""

from __future__ import annotations

from typing import Any

from skdne.encoders._base import Encoder
from skdne.encoders._bundled import bundled_encoder
from skdne.encoders._callable import CallableEncoder
from skdne.encoders._http import HTTPEncoder
from skdne.encoders._timm import TimmEncoder
from skdne.encoders._torch import TorchBackend, TorchEncoder

__all__ = [
    "CallableEncoder",
    "Encoder",
    "HTTPEncoder",
    "TimmEncoder",
    "TorchBackend",
    "TorchEncoder",
    "as_encoder",
    "bundled_encoder",
]


def as_encoder(encoder: Any) -> Encoder:
    """Return the encoder that the ``encoder`` parameter stands for.

    Parameters
    ----------
    encoder : None, str or Encoder
        None is the bundled encoder, a string a timm name.

    Returns
    -------
    Encoder

    Raises
    ------
    TypeError
        For anything else; the message says how to wrap modules and functions.
    """
    if encoder is None:
        return bundled_encoder()
    if isinstance(encoder, str):
        return TimmEncoder(encoder)
    if isinstance(encoder, Encoder):
        return encoder
    raise TypeError(
        "encoder must be None, a timm name or an encoder object, got one of type "
        f"{type(encoder).__name__}. Wrap a torch module as TorchEncoder(module) and any other "
        "function as CallableEncoder(function)."
    )
