"""Encoders by their timm name."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import torch
from torch import nn

from skdne.encoders._timm_weights import build_model, config_of, known_config
from skdne.encoders._torch import TorchBackend


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TimmEncoder(TorchBackend):
    """Encoder from timm: pretrained weights by name, or a local checkpoint.

    The model is built on first use, kept once per process and shared by every equal encoder; a
    pickle holds this specification only.

    Parameters
    ----------
    model_name : str
        A timm name such as ``"vit_base_patch16_224.mae"``, or ``"hf-hub:..."``.
    checkpoint : path or None, default=None
        Local weights (``.safetensors``, ``.pt``, ``.pth``) instead of the pretrained ones. Read
        without running code from it. A dictionary with the key ``"model"`` and no classifier in
        it is taken as a masked autoencoder (the format of Medical_MAE): its decoder is left out
        and, under ``pooling="avg"``, a fresh layer norm follows the pooling, as its authors do.
    pooling : {"avg", "token"} or (int, int), default="avg"
        Mean over the patches, the class token, or a grid of patch means, concatenated.
    model_kwargs : dict or None, default=None
        Further arguments of :func:`timm.create_model`, such as ``{"in_chans": 1}``.
    input_size, n_channels, batch_size, pixel_range, store
        See :class:`~skdne.encoders.Encoder`; the first two default to what the model was
        trained with.
    mean, std : float, tuple of float or None, default=None
        Normalisation, in units of [0, 1], applied after the noise is added. None takes the
        model's own for pretrained weights (their averages for one channel) and no normalisation
        for a checkpoint.
    device : str, default="auto"
        A torch device; ``"auto"`` takes a GPU when there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        ``"auto"`` uses bfloat16 autocast where the hardware has it.

    Raises
    ------
    ValueError
        On first use: an unknown name, a checkpoint that does not fit the model, or a pooling the
        model has not.
    OSError
        On first use: weights that cannot be read or downloaded.

    Examples
    --------
    >>> from skdne import TimmEncoder
    >>> TimmEncoder("vit_base_patch16_224.mae", pooling="token").pooling
    'token'
    """

    model_name: str
    checkpoint: str | os.PathLike[str] | None = dataclasses.field(default=None, kw_only=True)
    pooling: str | tuple[int, int] = dataclasses.field(default="avg", kw_only=True)
    model_kwargs: Any = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pooling not in ("avg", "token"):
            grid = tuple(self.pooling) if isinstance(self.pooling, (tuple, list)) else ()
            if len(grid) != 2 or not all(isinstance(k, int) and k > 0 for k in grid):
                raise ValueError(
                    f"pooling must be 'avg', 'token' or two positive integers, got "
                    f"{self.pooling!r}."
                )
            object.__setattr__(self, "pooling", grid)
        if self.checkpoint is not None:
            object.__setattr__(self, "checkpoint", os.fspath(self.checkpoint))
        # hashable and in one order, so that equal specifications are equal encoders
        kwargs = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in dict(self.model_kwargs or {}).items()
        }
        object.__setattr__(self, "model_kwargs", tuple(sorted(kwargs.items())))
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        object.__setattr__(self, "_given", given)
        if not self.model_name.startswith("hf-hub:"):  # those say only once they are loaded
            self._fill_in(known_config(self.model_name))

    def __eq__(self, other: object) -> bool:
        # what was given, not what hf-hub: names learn when they are loaded
        same_kind = isinstance(other, TimmEncoder)
        return same_kind and self.__dict__["_given"] == other.__dict__["_given"]

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__["_given"].values()))

    def _fill_in(self, config: Any) -> None:
        """Take sizes and normalisation that were not given from what timm knows of the model."""
        if config is None:
            return
        kwargs = dict(self.model_kwargs)
        channels, *size = config.input_size
        size = kwargs.get("img_size", size)
        n_channels = kwargs.get("in_chans", channels)
        defaults = {
            "n_channels": n_channels,
            "input_size": (size, size) if isinstance(size, int) else tuple(size),
        }
        if self.checkpoint is None:
            # timm sums the colour weights for one grey channel, so their averages fit there
            average = n_channels == 1 and channels > 1
            for name in ("mean", "std"):
                values = tuple(getattr(config, name))
                defaults[name] = (sum(values) / len(values),) if average else values
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.__dict__["_given"],)

    def _module(self) -> nn.Module:
        module: Any = build_model(
            self.model_name,
            None if self.checkpoint is None else os.fspath(self.checkpoint),
            self.model_kwargs,
            self.pooling == "avg",
            str(self.torch_device),
        )
        if self.model_name.startswith("hf-hub:"):
            self._fill_in(config_of(module))
        return module

    @property
    def patch_size(self) -> int | None:
        size: Any = getattr(getattr(self._module(), "patch_embed", None), "patch_size", None)
        square = isinstance(size, tuple) and len(set(size)) == 1
        return int(size[0]) if square else None

    def _identity(self) -> tuple[Any, ...]:
        return (*super()._identity(), self.pooling)

    def _vectors(self, module: Any, images: torch.Tensor) -> torch.Tensor:
        # convolutions are faster so, on CPU and GPU; timm's models take either layout
        images = images.contiguous(memory_format=torch.channels_last)
        features = module.forward_features(images)
        prefix = getattr(module, "num_prefix_tokens", 0)
        if self.pooling == "token":
            if features.ndim != 3 or not prefix:
                raise ValueError(f"{self.model_name} has no class token; use pooling='avg'.")
            return features[:, 0]
        if features.ndim == 3:  # tokens (b, n, d) -> map (b, d, h, w)
            patches = features[:, prefix:].transpose(1, 2)
            if self.pooling == "avg":
                return getattr(module, "fc_norm", nn.Identity())(patches.mean(dim=-1))
            size = module.patch_embed.dynamic_feat_size(images.shape[-2:])
            features = patches.unflatten(-1, size)
        elif features.shape[-1] == module.num_features:  # channels last, as in Swin
            features = features.permute(0, 3, 1, 2)
        grid: Any = (1, 1) if self.pooling == "avg" else self.pooling
        return nn.functional.adaptive_avg_pool2d(features, grid).flatten(1)


def _rebuild(state: dict[str, Any]) -> TimmEncoder:
    return TimmEncoder(**state)
