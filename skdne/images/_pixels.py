"""Pixel arithmetic shared by arrays and files: range, channels, resizing.

Arrays and files go through the same three functions, so that the same pixels give the same batch.
Everything here works on stacks of planes, channels first, in their stored precision.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from joblib import cpu_count
from numpy.typing import NDArray
from PIL import Image

Range = tuple[float, float]
_Result = TypeVar("_Result")

# ITU-R BT.601, the weights of PIL and of the DICOM standard.
# In thousandths and summed one by one: exact for integers in any memory order, unlike BLAS.
_LUMA = (299.0, 587.0, 114.0)


class PixelRangeWarning(UserWarning):
    """Pixel values do not fill [0, 1] after scaling, or lie outside of it."""


def stored_range(dtype: np.dtype, pixel_range: Range | None) -> Range:
    """Stored values that become 0 and 1: the one scaling rule (see :mod:`skdne.images`)."""
    if dtype == np.uint8:
        # A range that 8 bits cannot hold, as (0, 4095), speaks about other images of the set.
        fits = pixel_range is not None and pixel_range[0] >= 0 and pixel_range[1] <= 255
        return pixel_range if pixel_range is not None and fits else (0.0, 255.0)
    if pixel_range is not None:
        return pixel_range
    return (0.0, 65535.0) if dtype == np.uint16 else (0.0, 1.0)


def range_problem(
    smallest: float, largest: float, dtype: np.dtype, value_range: Range
) -> str | None:
    """Say what is odd about the values of some images, and what to do; None if nothing is."""
    if smallest == largest or not np.isfinite([smallest, largest]).all():
        return None  # constant images prove nothing; verify() speaks about NaN
    low, high = value_range
    bottom, top = (smallest - low) / (high - low), (largest - low) / (high - low)
    found = f"the first {dtype} images hold values from {smallest:g} to {largest:g}"
    if bottom < -1e-3 or top > 1 + 1e-3:
        return (
            f"{found}, outside of the expected {low:g} to {high:g}: they leave [0, 1]. Scale them "
            "to [0, 1], store them as uint8 or uint16, or set pixel_range=(low, high) on the "
            "encoder."
        )
    if top >= (1 / 8 if dtype == np.uint16 else 1 / 128):
        return None
    guess = next((g for g in (1, 255, 1023, 4095, 8191) if largest <= g), 65535)
    if dtype == np.uint16:
        hint = f"If that is all they can hold, set pixel_range=(0, {guess}) on the encoder."
    else:
        hint = "Were they divided twice, or by too much? Scale them again, or set pixel_range."
    return f"{found}, a sliver of the expected {low:g} to {high:g}: nearly black images. {hint}"


def reduce_channels(planes: NDArray, n_channels: int | None, value_range: Range) -> NDArray:
    """Bring planes (C, H, W) down to ``n_channels``: RGBA on black, then RGB to luma.

    Grey is not replicated here, but in the batch, so that it is resized and kept only once.
    """
    if n_channels in (1, 3) and len(planes) == 4:
        planes = on_black(planes, value_range)
    if n_channels == 1 and len(planes) == 3:
        luma = sum(w * plane for w, plane in zip(_LUMA, planes.astype(float), strict=True)) / 1000
        planes = _rounded(luma[None], planes.dtype)
    return planes


def on_black(planes: NDArray, value_range: Range) -> NDArray:
    """Composite planes (C + alpha, H, W) on black; alpha has the range of the colours."""
    low, high = value_range
    colour, alpha = planes[:-1].astype(np.float64), planes[-1:].astype(np.float64)
    return _rounded(low + (colour - low) * ((alpha - low) / (high - low)), planes.dtype)


def resize(planes: NDArray, size: tuple[int, int]) -> NDArray:
    """Resize planes (C, H, W): Pillow, bilinear with antialiasing, aspect ratio not kept.

    Bilinear weights never overshoot, so the values stay in their range. uint8 and uint16 stay so,
    all else becomes float32.
    """
    if planes.shape[-2:] == size:
        return planes
    dtype = planes.dtype if planes.dtype in (np.uint8, np.uint16) else np.float32
    return np.array([_resize_plane(plane, size) for plane in planes], dtype=dtype)


def _resize_plane(plane: NDArray, size: tuple[int, int]) -> NDArray:
    # Pillow's own 16-bit resizing truncates; float32 holds every 16-bit value.
    source = plane if plane.dtype == np.uint8 else plane.astype(np.float32)
    image = Image.fromarray(np.ascontiguousarray(source))
    resized = np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    return np.rint(resized) if plane.dtype == np.uint16 else resized


def _rounded(values: NDArray, dtype: np.dtype) -> NDArray:
    if dtype in (np.uint8, np.uint16):
        return np.rint(values).astype(dtype)
    return values.astype(np.float32)


def threaded(function: Callable[[Any], _Result], items: Iterable[Any]) -> Iterator[_Result]:
    """Map over ``items``, in order, in threads: Pillow releases the GIL."""
    with ThreadPoolExecutor(max_workers=min(cpu_count(), 16)) as pool:
        yield from pool.map(function, items)
