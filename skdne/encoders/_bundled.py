"""The small encoder that comes with the package."""

from __future__ import annotations

import functools
import json
from importlib.resources import as_file, files

from safetensors import safe_open

from skdne.encoders._timm import TimmEncoder
from skdne.encoders._timm_weights import BUNDLED


@functools.cache
def bundled_encoder() -> TimmEncoder:
    """Return the default encoder: a small vision transformer that comes in the wheel.

    128 x 128 grey images to 512 features; see its model card in the documentation. It exists so
    that everything runs without a network, and it is no foundation model.

    Returns
    -------
    TimmEncoder

    Examples
    --------
    >>> from skdne import bundled_encoder
    >>> bundled_encoder().input_size
    (128, 128)
    """
    resource = files("skdne.encoders") / "bundled.safetensors"
    with as_file(resource) as path, safe_open(path, framework="np") as weights:
        recipe = json.loads(weights.metadata()["skdne"])
    return TimmEncoder(
        recipe["model_name"],
        checkpoint=BUNDLED,
        model_kwargs={**recipe["model_kwargs"], "img_size": recipe["img_size"]},
        pooling=(2, 2),
        mean=recipe["mean"],
        std=recipe["std"],
        precision="float32",  # the same figures on every machine; it is small enough
    )
