"""Numbers that a user gives, or an error that names them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def as_numbers(values: Any, name: str, dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """Return an array of floats.

    Raises
    ------
    ValueError
        If ``values`` are no numbers, or rows of several lengths.
    """
    try:
        return np.asarray(values, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers in rows of one length: {error}.") from error
