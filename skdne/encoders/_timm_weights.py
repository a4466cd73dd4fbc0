"""Building timm models and reading their weights: pretrained, from a file, or the bundled ones.

timm, with torchvision behind it, takes longer to import than all else together; so it is imported
when a model of it is first asked for.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import functools
import pickle
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import nn

from skdne.encoders._torch import frozen

BUNDLED = "skdne:bundled"  # instead of a path, which would differ between machines


@functools.lru_cache(maxsize=4)
def build_model(
    model_name: str,
    checkpoint: str | None,
    model_kwargs: tuple[tuple[str, Any], ...],
    norm_after_pooling: bool,
    device: str,
) -> nn.Module:
    """Build and load one model; the cache is what makes clones and grid points share it."""
    kwargs = {"num_classes": 0, **dict(model_kwargs)}
    if checkpoint is None:
        return frozen(_pretrained(model_name, kwargs)).to(device)
    weights, is_mae = _read_checkpoint(checkpoint)
    if norm_after_pooling and (is_mae or "fc_norm.weight" in weights):
        kwargs["global_pool"] = "avg"  # timm then has fc_norm after the pooling, no norm before
    model = _create(model_name, pretrained=False, **kwargs)
    try:
        found = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # shapes differ
        first = str(error).partition("\n")[2].strip().partition("\n")[0]
        raise ValueError(
            f"checkpoint {checkpoint!r} does not fit {model_name!r}: {first} Check model_name and "
            "model_kwargs (img_size, in_chans)."
        ) from None
    fresh = ("fc_norm.",) if is_mae else ()
    classifier = model.default_cfg.get("classifier") or "head"
    names = (classifier,) if isinstance(classifier, str) else classifier
    left_out = (
        *(f"{name}." for name in names),
        *(("decoder", "mask_token", "norm.") if is_mae else ()),
    )
    missing = [k for k in found.missing_keys if not k.startswith(fresh)]
    unexpected = [k for k in found.unexpected_keys if not k.startswith(left_out)]
    if missing or unexpected:
        raise ValueError(
            f"checkpoint {checkpoint!r} does not fit {model_name!r}: missing {missing[:5]}, "
            f"unexpected {unexpected[:5]}; check model_name and model_kwargs."
        )
    return frozen(model).to(device)


def known_config(model_name: str) -> Any:
    """What timm knows of a model by its name, without a network; None for an unknown model."""
    import timm

    try:
        return timm.models.get_pretrained_cfg(model_name)
    except RuntimeError:  # a known model, an unknown tag
        return None


def config_of(module: Any) -> Any:
    """What a model of a hub says about itself."""
    import timm

    known = {field.name for field in dataclasses.fields(timm.models.PretrainedCfg)}
    return timm.models.PretrainedCfg(
        **{k: v for k, v in module.pretrained_cfg.items() if k in known}
    )


def _create(model_name: str, **kwargs: Any) -> Any:
    import timm

    try:
        return timm.create_model(model_name, **kwargs)
    except RuntimeError as error:
        if not any(said in str(error) for said in ("Unknown model", "Invalid pretrained tag")):
            raise
        names = timm.list_models() + timm.list_models(pretrained=True)
        close = difflib.get_close_matches(model_name, names, n=3)
        hint = f"did you mean one of {close}?" if close else "timm.list_models() lists the names."
        raise ValueError(f"encoder: timm knows no model {model_name!r}; {hint}") from None


def _pretrained(model_name: str, kwargs: dict[str, Any]) -> Any:
    try:
        return _create(model_name, pretrained=True, **kwargs)
    except (OSError, RuntimeError) as error:  # hub and http errors are OSErrors, offline too
        reason = f"{type(error).__name__}: {str(error).strip()}".partition("\n")[0].rstrip(".")
        raise OSError(
            f"the weights of {model_name!r} could not be loaded ({reason}). "
            "Run once where there is a network (timm keeps them in its cache), or download them "
            f"and give TimmEncoder({model_name!r}, checkpoint='/path/to/weights.safetensors'). "
            "encoder=None uses the small encoder that comes with skdne."
        ) from error


def _read_checkpoint(path: str) -> tuple[dict[str, torch.Tensor], bool]:
    """Read weights; also whether they are a masked autoencoder's, as its code saves them."""
    if path == BUNDLED:
        return load((files("skdne.encoders") / "bundled.safetensors").read_bytes()), False
    if not Path(path).is_file():
        raise FileNotFoundError(f"checkpoint {path!r} does not exist, or is a folder; give a file.")
    try:
        if path.endswith(".safetensors"):
            return load_file(path), False
        # MAE code keeps its command line beside the weights: plain data, but not known to torch
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(
            f"checkpoint {path!r} does not hold weights that can be read safely: it must be "
            "safetensors, or a state_dict saved by torch.save."
        ) from error
    wrapped = isinstance(content, dict) and "model" in content
    weights = content["model"] if wrapped else content
    named = weights.values() if isinstance(weights, dict) else [None]
    if not all(isinstance(tensor, torch.Tensor) for tensor in named):
        raise ValueError(
            f"checkpoint {path!r} holds no state_dict: expected names and tensors, or the key "
            "'model' with them."
        )
    return weights, wrapped and not any(name.startswith("head.") for name in weights)
