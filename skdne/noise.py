"""The noise eps: its shape and parametrisation, how it is added, and the files it lives in."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch.nn.functional import interpolate


@dataclasses.dataclass(frozen=True)
class NoiseSpace:
    """The linear map from the parameters theta that a solver moves to the noise eps.

    Parameters
    ----------
    image_shape : (int, int, int)
        Channels, height and width of what the encoder sees.
    per_channel : bool
        One plane for each channel; else one plane shared by all.
    grid_size : int or None
        theta is a grid of this size a side, bilinearly upsampled to eps; None: theta is eps.
    """

    image_shape: tuple[int, ...]
    per_channel: bool = False
    grid_size: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of theta: (planes, height, width)."""
        channels, height, width = self.image_shape
        planes = channels if self.per_channel else 1
        if self.grid_size is None:
            return planes, height, width
        return planes, min(self.grid_size, height), min(self.grid_size, width)

    def zeros(self) -> torch.Tensor:
        """theta of the zero noise."""
        return torch.zeros(self.shape)

    def expand(self, theta: torch.Tensor) -> torch.Tensor:
        """eps, of shape (planes, H, W), from theta."""
        size = self.image_shape[1:]
        if theta.shape[1:] == size:
            return theta
        return interpolate(theta[None], size, mode="bilinear", align_corners=False)[0]

    def project(self, theta: torch.Tensor, radius: float | None) -> torch.Tensor:
        """Nearest multiple of theta with ||eps||_2 <= radius (Eq. 1's ``th``)."""
        if radius is None:
            return theta
        norm = float(torch.linalg.vector_norm(self.expand(theta)))
        return theta if norm <= radius else theta * (radius / norm)


def add_noise(images: torch.Tensor, noise: torch.Tensor, clip: bool) -> torch.Tensor:
    """x + eps, for images (b, C, H, W) and eps (1 or C, H, W); clipped to [0, 1] if asked."""
    edited = images + noise
    return edited.clamp(0.0, 1.0) if clip else edited


@dataclasses.dataclass(frozen=True)
class StoredNoise:
    """What a noise file holds: the array and what is needed to apply it again."""

    noise: np.ndarray
    clip: bool = False
    fingerprint: str | None = None
    n_features: int | None = None
    canary: np.ndarray | None = None


def save_noise_file(path: str | os.PathLike[str], stored: StoredNoise) -> None:
    """Write a ``.safetensors`` file, or the authors' ``.pt``: a state_dict with the key ``noise``.

    Raises
    ------
    ValueError
        For another suffix, and where the authors' format cannot carry the noise: it has one plane
        and no clipping.
    FileNotFoundError
        If the folder does not exist.
    """
    suffix = Path(path).suffix
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(f"the folder of {os.fspath(path)!r} does not exist; make it first.")
    if suffix == ".safetensors":
        meta = {"clip": str(stored.clip), "encoder": stored.fingerprint or ""}
        meta["n_features"] = str(stored.n_features or "")
        tensors = {"noise": stored.noise, "canary": stored.canary}
        arrays = {name: np.ascontiguousarray(t) for name, t in tensors.items() if t is not None}
        save_file(arrays, os.fspath(path), metadata=meta)
    elif suffix == ".pt":
        if stored.clip or stored.noise.ndim != 2:
            reason = "is clipped" if stored.clip else "has one plane for each channel"
            raise ValueError(
                f"path {os.fspath(path)!r}: this noise {reason}, which the .pt format of the DNE "
                "authors cannot say; save it as .safetensors."
            )
        torch.save({"noise": torch.from_numpy(stored.noise.copy())}, path)
    else:
        raise ValueError(f"path must end in .safetensors or .pt, got {os.fspath(path)!r}.")


def load_noise_file(path: str | os.PathLike[str]) -> StoredNoise:
    """Read a file that :func:`save_noise_file` or the authors' code wrote; runs no code from it."""
    name = os.fspath(path)
    suffix = Path(path).suffix
    if suffix not in (".safetensors", ".pt"):
        raise ValueError(f"path must end in .safetensors or .pt, got {name!r}.")
    if not Path(path).is_file():
        raise FileNotFoundError(f"noise file {name!r} does not exist, or is a folder; check path.")
    try:
        if suffix == ".safetensors":
            with safe_open(name, framework="np") as file:
                meta = file.metadata() or {}
                stored = StoredNoise(
                    file.get_tensor("noise"),
                    clip=meta.get("clip") == "True",
                    fingerprint=meta.get("encoder") or None,
                    n_features=int(meta["n_features"]) if meta.get("n_features") else None,
                    canary=file.get_tensor("canary") if "canary" in file.keys() else None,  # noqa: SIM118
                )
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
            stored = StoredNoise(content["noise"].detach().float().numpy())
    except OSError:
        raise  # a folder, or no permission: the system's own message is clear
    except (SafetensorError, KeyError, TypeError, RuntimeError, ValueError, EOFError) as error:
        raise ValueError(f"{name!r} is not a noise file: it needs one tensor 'noise'.") from error
    except Exception as error:  # torch wraps unpickling errors in its own and pickle's classes
        raise ValueError(
            f"{name!r} is not a noise file that can be read safely; use one of save_noise."
        ) from error
    if stored.noise.ndim not in (2, 3) or not np.isfinite(stored.noise).all():
        raise ValueError(
            f"the noise in {name!r} must be finite, of shape (H, W) or (C, H, W); its shape is "
            f"{stored.noise.shape}."
        )
    return stored
