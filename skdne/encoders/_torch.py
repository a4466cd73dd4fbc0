"""Encoders that are torch modules: device, precision and normalisation live here."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any, ClassVar

import cloudpickle
import numpy as np
import torch
from torch import nn

from skdne.encoders._base import Encoder
from skdne.images import Rows

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class TorchBackend(Encoder):
    """What encoders built on a torch module share; subclasses say which module.

    Parameters
    ----------
    input_size, n_channels, batch_size, pixel_range, store
        See :class:`~skdne.encoders.Encoder`.
    mean, std : float, tuple of float or None, default=None
        Per channel, in units of [0, 1]; the module sees ``(image - mean) / std``. Applied after
        the noise was added, so the noise lives in pixel units.
    device : str, default="auto"
        A torch device; ``"auto"`` takes a GPU when there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        ``"bfloat16"`` runs under autocast; ``"auto"`` does so where the hardware has it.
    """

    mean: float | tuple[float, ...] | None = None
    std: float | tuple[float, ...] | None = None
    device: str = "auto"
    precision: str = "auto"

    differentiable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}, got {self.precision!r}.")
        try:
            _ = self.device == "auto" or torch.device(self.device)
        except (RuntimeError, TypeError) as error:
            raise ValueError(
                "device must be 'auto' or that of torch, such as 'cpu' or 'cuda:0', got "
                f"{self.device!r}."
            ) from error
        for name in ("mean", "std"):
            if (given := getattr(self, name)) is not None:
                value: Any = _numbers(given)  # one form, so that equal ones hash alike
                if value.ndim > 1 or not np.isfinite(value).all():
                    raise ValueError(
                        f"{name} must be a number or one for each channel, got {given!r}."
                    )
                if name == "std" and not (value > 0).all():
                    raise ValueError(f"std must be positive, got {self.std!r}.")
                value = float(value) if value.ndim == 0 else tuple(value.tolist())
                object.__setattr__(self, name, value)

    def _module(self) -> nn.Module:
        """Return the frozen module in eval mode on :attr:`torch_device`; loaded once."""
        raise NotImplementedError

    def load(self) -> None:
        self._module()

    @property
    def torch_device(self) -> torch.device:
        """Device that ``device`` stands for on this machine."""
        if self.device != "auto":
            return torch.device(self.device)
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")

    @property
    def n_in_flight(self) -> int:
        """On a GPU two: one batch is computed while the result of the other is fetched."""
        return 2 if self.torch_device.type == "cuda" else 1

    @property
    def takes_tensors(self) -> bool:
        """Whether batches may come as tensors on the device: nobody looks at the pixels before."""
        return self.store is None and type(self).on_wire is TorchBackend.on_wire

    def on_wire(self, images: Any) -> Any:
        return images if isinstance(images, torch.Tensor) else super().on_wire(images)

    def on_device(self, stored: Rows, n_channels: int) -> torch.Tensor:
        """Put images on :attr:`torch_device`: bytes travel, and become floats in [0, 1] there.

        Parameters
        ----------
        stored : Rows
            Images as they are kept, of :meth:`skdne.images.Images.stored`.
        n_channels : int
            Channels of the result; grey is repeated.

        Returns
        -------
        Tensor of shape (b, n_channels, H, W), float32
            To the bit what :meth:`skdne.images.Images.batch` gives, on a CPU.
        """
        device, planes = self.torch_device, stored.planes
        if planes.dtype != np.uint8:
            planes = planes.astype(np.float32, copy=False)
        x = torch.from_numpy(np.ascontiguousarray(planes))
        if device.type == "cuda":
            x = x.pin_memory()
        x = x.to(device, non_blocking=True).float()
        low, span = stored.scale()
        if low is not None:
            x -= torch.from_numpy(low).to(device)
        x /= torch.from_numpy(span).to(device)
        return x.expand(-1, n_channels, -1, -1).contiguous()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embed a batch with gradients to the images.

        Parameters
        ----------
        images : Tensor of shape (b, C, H, W), float32, on :attr:`torch_device`
            Pixels in units of [0, 1].

        Returns
        -------
        Tensor of shape (b, d), float32
        """
        device = self.torch_device
        module = self._module()
        for name, operation in (("mean", torch.sub), ("std", torch.div)):
            if (constant := getattr(self, name)) is not None:
                values = torch.tensor(constant, dtype=torch.float32, device=device).reshape(
                    -1, 1, 1
                )
                if len(values) not in (1, images.shape[1]):  # else grey would turn to colour here
                    raise ValueError(
                        f"{name} has {len(values)} values, the images have {images.shape[1]} "
                        f"channels; give n_channels={len(values)}, or one value."
                    )
                images = operation(images, values)
        with torch.autocast(
            device.type, torch.bfloat16, enabled=runs_in_bfloat16(self.precision, device)
        ):
            vectors = self._vectors(module, images)
        return vectors.float()

    def _vectors(self, module: nn.Module, images: torch.Tensor) -> torch.Tensor:
        vectors = module(images)
        if not isinstance(vectors, torch.Tensor):
            raise TypeError(
                f"the module of {type(self).__name__} returned {type(vectors).__name__}; wrap it "
                "in a module whose forward returns one tensor of shape (b, d)."
            )
        return vectors

    def _embed(self, images: np.ndarray | torch.Tensor) -> np.ndarray:
        self.load()  # weights made in inference mode could never serve a gradient
        with torch.inference_mode():
            return self.forward(torch.as_tensor(images).to(self.torch_device)).cpu().numpy()

    def _identity(self) -> tuple[Any, ...]:
        tensors = dict(_named_tensors(self._module()))
        weights = [tensor.detach().cpu().contiguous() for tensor in tensors.values()]
        # bfloat16 has no numpy type: hash the raw bytes, whatever the type
        arrays = [w.reshape(-1).view(torch.uint8).numpy() for w in weights]
        return (*super()._identity(), self.mean, self.std, *tensors, *arrays)


def _numbers(values: Any) -> np.ndarray:
    """Floats, or NaN for what is no number."""
    try:
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        return np.array(np.nan)


def runs_in_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether ``precision`` means bfloat16 on ``device``: "auto" asks the hardware."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":  # emulated bfloat16 is slower than float32
        return "bf16" in " ".join(k for k, has in _cpu_capabilities().items() if has)
    return False


def _cpu_capabilities() -> dict[str, Any]:
    capabilities = getattr(torch.cpu, "get_capabilities", dict)  # torch >= 2.7
    return dict(capabilities())


def frozen(module: nn.Module) -> nn.Module:
    """Put a module in eval mode and freeze its weights: gradients go to the noise alone."""
    return module.eval().requires_grad_(False)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TorchEncoder(TorchBackend):
    """Encoder made of any torch module that maps images to one vector each.

    The module is put in eval mode and frozen. Pickles hold its weights once; a clone shares them.

    Parameters
    ----------
    module : torch.nn.Module
        Maps a float32 tensor (b, C, H, W) to (b, d).
    input_size, n_channels, batch_size, pixel_range, store
        See :class:`~skdne.encoders.Encoder`.
    mean, std, device, precision
        See :class:`~skdne.encoders.TimmEncoder`.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from skdne import TorchEncoder
    >>> encoder = TorchEncoder(torch.nn.Flatten(), input_size=(8, 8))
    >>> encoder.embed(np.zeros((2, 1, 8, 8), dtype=np.float32)).shape
    (2, 64)
    """

    module: nn.Module

    # without these, the base class would compare all fields but the module
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.module, nn.Module):
            raise TypeError(f"module must be a torch.nn.Module, got {self.module!r}.")
        frozen(self.module)

    def _module(self) -> nn.Module:
        if self.module.training:  # its owner may have called train() since
            self.module.eval()
        return self.module.to(self.torch_device)

    def _identity(self) -> tuple[Any, ...]:
        return (*super()._identity(), repr(self.module))  # layers and what they print of themselves

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickled tensor embeds memory addresses, so the same encoder would hash differently
        # each time. The structure on the meta device and the weights as arrays do not.
        if "_skeleton" not in self.__dict__:
            # cloudpickle carries classes of a notebook (of __main__) to other processes
            skeleton = cloudpickle.dumps(copy.deepcopy(self.module).cpu().to("meta"))
            object.__setattr__(self, "_skeleton", skeleton)
        tensors = {
            name: (t.float() if t.dtype == torch.bfloat16 else t).detach().cpu().numpy()
            for name, t in _named_tensors(self.module)
        }
        options = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "module"
        }
        return _rebuild, (self.__dict__["_skeleton"], tensors, options)


def _named_tensors(module: nn.Module) -> list[tuple[str, torch.Tensor]]:
    # tied weights under each of their names: the skeleton on the meta device is no longer tied
    return [
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ]


def _rebuild(skeleton: bytes, tensors: dict[str, np.ndarray], options: dict) -> TorchEncoder:
    module = pickle.loads(skeleton).to_empty(device="cpu")
    with torch.no_grad():
        for name, tensor in _named_tensors(module):
            tensor.copy_(torch.from_numpy(np.array(tensors[name])))
    encoder = TorchEncoder(module, **options)
    object.__setattr__(encoder, "_skeleton", skeleton)  # so that it hashes like the original
    return encoder
