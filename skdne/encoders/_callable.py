"""An encoder of which only the vectors are known: any function, any service."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from skdne.encoders._base import Encoder


@dataclasses.dataclass(frozen=True, repr=False)
class CallableEncoder(Encoder):
    """Encoder made of a function that maps a batch of images to vectors, without gradients.

    Use it for an embedding service, a model of another framework, or anything else. Only the
    black-box solvers (``"gezo"``, ``"spsa"``) can learn a noise for it.

    Parameters
    ----------
    function : callable
        Takes a float32 array of shape (b, C, H, W), pixels in [0, 1] plus the noise, and returns
        an array of shape (b, d). A function defined at module level can be pickled.
    input_size, n_channels, batch_size, pixel_range, store
        See :class:`~skdne.encoders.Encoder`. ``batch_size`` is the most images of one call.
    name : str or None, default=None
        Name and version of the model behind the function, part of the ``fingerprint``; default is
        the function's qualified name.

    Examples
    --------
    >>> import numpy as np
    >>> from skdne import CallableEncoder
    >>> encoder = CallableEncoder(lambda images: images.mean(axis=(1, 3)), name="row means")
    >>> encoder.embed(np.ones((2, 1, 4, 4), dtype=np.float32)).shape
    (2, 4)
    """

    function: Callable[[np.ndarray], Any]
    name: str | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.function):
            raise TypeError(f"function must be callable, got {self.function!r}.")

    def _embed(self, images: np.ndarray) -> Any:
        return self.function(images)

    def _identity(self) -> tuple[Any, ...]:
        function: Any = self.function
        module = getattr(function, "__module__", None)
        qualified = f"{module}.{getattr(function, '__qualname__', type(function))}"
        code = getattr(function, "__code__", None)  # two lambdas have one name
        body = (code.co_code.hex(), repr(code.co_consts), code.co_names) if code else None
        return (*super()._identity(), self.name or (qualified, body))
