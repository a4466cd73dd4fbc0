"""Checks of X: which kind of images it holds, and what is wrong with it."""

import operator
import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from skdne.images._batches import ArrayImages, Images, channel_axis, listed
from skdne.images._file_batches import FileImages
from skdne.images._pixels import PixelRangeWarning, Range


def check_images(
    X: Any,
    *,
    image_shape: Sequence[int] | None = None,
    input_size: Sequence[int] | None = None,
    n_channels: int | None = None,
    pixel_range: Sequence[float] | None = None,
) -> Images:
    """Check X and give its images in batches; pixels are read when a batch asks for them.

    Parameters
    ----------
    X : array-like of images, of rows, or of file paths
        See :mod:`skdne.images`.
    image_shape : tuple of int, default=None
        Shape (H, W), (C, H, W) or (H, W, C) of an image where X is flat, of shape
        (n, n_features); else it must be that of X, and for files it is not used.
    input_size : (int, int), default=None
        Height and width to resize to; None keeps the size of the images, which must be the same.
    n_channels : int, default=None
        Channels of the batches; None keeps those of an array, and gives files 1 channel if all
        are grey, else 3.
    pixel_range : (float, float), default=None
        Stored values that become 0 and 1; None takes them from the data type.

    Returns
    -------
    images : Images
        With `len`, `shape`, `batch`, `batches`, `verify`, `decoded` and `restore`.

    Raises
    ------
    TypeError
        X is sparse, or holds neither numbers nor paths.
    ValueError
        X is empty or has another shape than those above, an argument does not fit to it, or files
        differ in size while `input_size` is None.

    Warns
    -----
    PixelRangeWarning
        The first images fill only a sliver of [0, 1], or leave it.

    Examples
    --------
    >>> import numpy as np
    >>> from skdne.images import check_images
    >>> X = np.arange(32, dtype=np.uint8).reshape(2, 4, 4) * 8
    >>> images = check_images(X, n_channels=3)
    >>> len(images), images.shape, images.layout
    (2, (3, 4, 4), 'HW')
    >>> batch = images.batch([1])
    >>> batch.shape, round(float(batch.max()), 4)
    ((1, 3, 4, 4), 0.9725)
    """
    size = None if input_size is None else _integers("input_size", input_size, (2,))
    if n_channels is not None:
        (n_channels,) = _integers("n_channels", [n_channels], (1,))
    options: dict[str, Any] = {
        "input_size": size,
        "n_channels": n_channels,
        "pixel_range": None if pixel_range is None else _check_range(pixel_range),
    }
    array = _as_array(X)
    images: Images
    if isinstance(array, list):
        images = FileImages(array, **options)
    else:
        shape = None if image_shape is None else _integers("image_shape", image_shape, (2, 3))
        images = ArrayImages(array, *_image_shape(array, shape), **options)
    problem = images.range_problem()
    if problem is not None:
        warnings.warn(f"X: {problem}", PixelRangeWarning, stacklevel=2)
    return images


def _as_array(X: Any) -> NDArray | list[str]:
    """Turn X into a numeric array, not copied where it is one, or into a list of paths."""
    if scipy.sparse.issparse(X):
        raise TypeError("Sparse data was passed for X; images are dense: use X.toarray().")
    if isinstance(X, str | bytes | os.PathLike):
        raise TypeError(f"X is a single path, {X!r}; give a list of paths.")
    if hasattr(X, "detach"):  # a torch tensor, perhaps on a device
        X = X.detach().cpu()
    if _is_path_list(X):
        return [os.fspath(path) for path in X]
    try:
        array = np.asarray(X)
    except ValueError as error:
        raise ValueError(
            "X is a list of images of different shapes; resize them to one, or save them as files "
            "and give their paths."
        ) from error
    if array.ndim == 0:
        raise ValueError(
            f"Expected an array of images or a list of paths for X, got {type(X).__name__}."
        )
    if len(array) == 0:
        raise ValueError("X is empty: found array with 0 sample(s), a minimum of 1 is required.")
    if array.dtype.kind == "O" and array.ndim > 1:
        array = _numbers(array)
    if array.ndim == 1:
        if array.dtype.kind in "OU":
            return _check_paths(array)
        raise ValueError(
            f"X is a 1-D array of {array.dtype}; expected images, rows of pixels or file paths. "
            "Reshape your data: X[None] if it is one row."
        )
    if array.dtype.kind == "c":
        raise ValueError("Complex data not supported: X must hold real pixel values.")
    if array.dtype.kind not in "buif":
        raise TypeError(
            f"X holds {array.dtype}; expected numbers, or file paths in a 1-D array or list "
            "(of a DataFrame, give the one column that holds them)."
        )
    if 0 in array.shape:
        raise ValueError(
            f"X has shape {array.shape}: found array with 0 feature(s), a minimum of 1 is required."
        )
    return array


def is_paths(X: Any) -> bool:
    """Whether X is meant as file paths: its first item, or X itself, is a str or PathLike."""
    if isinstance(X, str | bytes | os.PathLike):
        return True
    if not isinstance(X, list | tuple) and getattr(X, "ndim", 0) != 1:
        return False
    return len(X) > 0 and isinstance(next(iter(X)), str | os.PathLike)


def _is_path_list(X: Any) -> bool:
    if not isinstance(X, list | tuple):
        return False
    return len(X) > 0 and all(isinstance(item, str | os.PathLike) for item in X)


def _check_paths(array: NDArray) -> list[str]:
    bad = [i for i, item in enumerate(array) if not isinstance(item, str | os.PathLike)]
    if bad:
        first = type(array[bad[0]]).__name__
        raise TypeError(
            f"X must hold images or file paths, str or PathLike; {listed(bad)}, the first is "
            f"{first}."
        )
    return [str(os.fspath(item)) for item in array]  # not NumPy's str, which prints otherwise


def _numbers(array: NDArray) -> NDArray:
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"X is a {array.ndim}-D array of objects that are no numbers ({error}). Give file "
            "paths as a 1-D array or list: of a DataFrame, the one column that holds them."
        ) from error


def _image_shape(array: NDArray, asked: tuple[int, ...] | None) -> tuple[tuple[int, ...], str]:
    """Shape of one image and the layout of X."""
    found = array.shape[1:]
    if array.ndim == 2:
        if asked is None:
            return (1, *found), "flat"
        if np.prod(asked) != found[0]:
            raise ValueError(
                f"image_shape={asked} makes {np.prod(asked)} pixels, X has {found[0]} features; "
                "give the shape of one row, (H, W), (C, H, W) or (H, W, C)."
            )
        return asked, "flat"
    if asked is not None and asked != found:
        raise ValueError(
            f"image_shape={asked}, but the images of X have shape {found}; leave image_shape out, "
            "it is for flat rows."
        )
    if array.ndim == 3:
        return found, "HW"
    if array.ndim == 4:
        return found, "CHW" if channel_axis(found) == 0 else "HWC"
    raise ValueError(
        f"X has {array.ndim} dimensions, shape {array.shape}; expected (n, H, W), (n, C, H, W), "
        "(n, H, W, C) or rows (n, n_features)."
    )


_LENGTHS = {
    (1,): "a positive integer",
    (2,): "two positive integers",
    (2, 3): "two or three positive integers",
}


def _integers(name: str, values: Any, lengths: tuple[int, ...]) -> tuple[int, ...]:
    try:
        checked = tuple(operator.index(value) for value in values)
    except TypeError:
        checked = ()
    if len(checked) not in lengths or min(checked) < 1:
        raise ValueError(
            f"{name} must be {_LENGTHS[lengths]}, got {values[0] if lengths == (1,) else values!r}."
        )
    return checked


def _check_range(pixel_range: Any) -> Range:
    try:
        low, high = (float(end) for end in pixel_range)
    except (TypeError, ValueError):
        low, high = 0.0, 0.0
    if not -np.inf < low < high < np.inf:
        raise ValueError(
            "pixel_range must be (low, high), two finite numbers with low < high, got "
            f"{pixel_range!r}."
        )
    return low, high
