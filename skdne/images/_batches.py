"""Batches of images: the interface, and images of an array."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skdne.images._pixels import (
    Range,
    range_problem,
    reduce_channels,
    resize,
    stored_range,
    threaded,
)

Shape = tuple[int, ...]


class Rows(NamedTuple):
    """Some images as stored: planes (b, C, H, W), and what becomes 0 and 1."""

    planes: NDArray
    low: Any  # a number, or one for each image
    high: Any

    def scale(self) -> tuple[NDArray[np.float32] | None, NDArray[np.float32]]:
        """What to subtract (None: nothing) and then to divide by, for planes as float32."""
        low, high = (np.reshape(ends, (-1, 1, 1, 1)) for ends in (self.low, self.high))
        return low.astype(np.float32) if np.any(low) else None, (high - low).astype(np.float32)


class Images:
    """Images read in batches; made by :func:`skdne.images.check_images`.

    Attributes
    ----------
    shape : tuple of int
        (C, H, W) of the images in a batch.
    source_shape : tuple of int or None
        Shape of one image in X; None for files.
    layout : {"HW", "CHW", "HWC", "flat", "path"}
        How X held them.
    """

    def __init__(self, n_images: int, shape: Shape, source_shape: Shape | None, layout: str):
        self._n_images = n_images
        self.shape = shape
        self.source_shape = source_shape
        self.layout = layout

    def __len__(self) -> int:
        return self._n_images

    def batch(self, indices: Any) -> NDArray[np.float32]:
        """Read some images.

        Parameters
        ----------
        indices : array-like of int or bool, or slice
            Which images, in this order.

        Returns
        -------
        batch : ndarray of shape (b, C, H, W), float32
            Pixels scaled to [0, 1]; a fresh array, C-contiguous and writable.

        Raises
        ------
        ValueError
            Files cannot be read; all of the batch are named.
        """
        return self.scaled(self.stored(indices))

    def scaled(self, rows: Rows) -> NDArray[np.float32]:
        """Scale what :meth:`stored` gives, and repeat grey: a :meth:`batch`."""
        batch = rows.planes.astype(np.float32, order="C")
        low, span = rows.scale()
        if low is not None:
            batch -= low
        batch /= span
        if batch.shape[1] != self.shape[0]:
            batch = np.repeat(batch, self.shape[0], axis=1)
        return batch

    def stored(self, indices: Any) -> Rows:
        """Read some images as :meth:`batch` does, but not yet scaled, nor grey repeated.

        The planes are a fresh array.
        """
        return self._load(np.arange(len(self))[indices])

    def batches(
        self, batch_size: int, indices: Any = None
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
        """Iterate over batches.

        Parameters
        ----------
        batch_size : int
            Images in a batch; the last one may have fewer.
        indices : array-like of int or bool, default=None
            Which images, in this order; None for all.

        Yields
        ------
        indices : ndarray of shape (b,)
            Which images these are.
        batch : ndarray of shape (b, C, H, W), float32
            As of :meth:`batch`.
        """
        order = np.arange(len(self)) if indices is None else np.arange(len(self))[indices]
        for start in range(0, len(order), batch_size):
            part = order[start : start + batch_size]
            yield part, self.batch(part)

    def verify(self) -> None:
        """Look at every pixel once, in small chunks; integer arrays need none.

        Raises
        ------
        ValueError
            Rows with NaN or infinity, or files that cannot be read, all of them named.
        """

    def decoded(self, memory_limit: int = 2 * 1024**3, rows: Any = None) -> "Images":
        """Decode and resize files once; arrays return themselves.

        Parameters
        ----------
        memory_limit : int, default=2 GiB
            Bytes to keep in memory; more go to a temporary file that vanishes with the object. It
            lies where :mod:`tempfile` puts it: set ``TMPDIR`` to a disk with room.
        rows : array-like of int or bool, default=None
            The images that will be asked for; None for all.

        Returns
        -------
        images : Images
            The same images, to the bit, kept as uint8 if all files have 8 bits, else as uint16.

        Raises
        ------
        ValueError
            Files cannot be read; all of them are named.
        """
        return self

    def restore(self, batch: NDArray) -> NDArray:
        """Bring a batch back to the layout of X.

        Parameters
        ----------
        batch : ndarray of shape (b, C, H, W)
            Images as :meth:`batch` gives them.

        Returns
        -------
        images : ndarray
            (b, H, W, C) where X had the channels last; (b, H, W) where there is one channel and X
            had no channel axis; else (b, C, H, W).
        """
        if self.layout == "HWC":
            return np.ascontiguousarray(np.moveaxis(batch, 1, -1))
        if self.layout != "CHW" and batch.shape[1] == 1:
            return batch[:, 0]
        return batch

    def range_problem(self) -> str | None:
        """Say what is odd about the pixel range of the first images; None if nothing is."""
        return None

    def _load(self, indices: NDArray[np.intp]) -> Rows:
        raise NotImplementedError


class ArrayImages(Images):
    """Images of an array or a memory map, of which only the rows of a batch are copied."""

    def __init__(
        self,
        array: NDArray,
        image_shape: Shape,
        layout: str,
        *,
        input_size: tuple[int, int] | None,
        n_channels: int | None,
        pixel_range: Range | None,
    ):
        self._array, self._n_channels = array, n_channels
        self._image_shape = image_shape
        self._channel_axis = None if len(image_shape) == 2 else channel_axis(image_shape)
        found = 1 if self._channel_axis is None else image_shape[self._channel_axis]
        fewer = {3: (1,), 4: (1, 3)}.get(found, ())
        if found != 1 and n_channels not in (None, found, *fewer):
            raise ValueError(
                f"X holds images of {found} channels, the encoder takes n_channels={n_channels}; "
                "convert the images, or choose another encoder."
            )
        size = tuple(s for axis, s in enumerate(image_shape) if axis != self._channel_axis)
        super().__init__(
            len(array), (n_channels or found, *(input_size or size)), array.shape[1:], layout
        )
        self._n_kept = n_channels if n_channels is not None and n_channels < found else found
        # bool images are read as 0 and 255, like the 1-bit files that they are.
        self._dtype = array.dtype.newbyteorder("=")
        is_bool = array.dtype == bool
        self._range = (0.0, 255.0) if is_bool else stored_range(self._dtype, pixel_range)

    def _load(self, indices: NDArray[np.intp]) -> Rows:
        rows = self._array[indices].astype(self._dtype, copy=False)
        planes = rows.reshape(len(rows), *self._image_shape)
        if planes.dtype == bool:
            planes = planes.astype(np.uint8) * np.uint8(255)
        if self._channel_axis is None:
            planes = planes[:, None]
        elif self._channel_axis == 2:
            planes = np.moveaxis(planes, -1, 1)
        # Image by image where there is something to do, to keep the temporary arrays small.
        if len(planes) and planes.shape[1:] != (self._n_kept, *self.shape[1:]):
            planes = np.stack(list(self._map(planes)))
        return Rows(planes, *self._range)

    def _map(self, planes: NDArray) -> Iterable[NDArray]:
        _, height, width = self.shape

        def prepare(image: NDArray) -> NDArray:
            return resize(reduce_channels(image, self._n_channels, self._range), (height, width))

        small = planes[0].size < 128 * 128  # a thread costs more than the work
        return map(prepare, planes) if small else threaded(prepare, planes)

    def verify(self) -> None:
        if self._array.dtype.kind != "f":
            return
        step = max(1, 2**20 // self._array[0].size)
        bad: list[int] = []
        for start in range(0, len(self), step):
            chunk = self._array[start : start + step]
            with np.errstate(over="ignore"):
                finite = np.isfinite(chunk.astype(np.float32)).reshape(len(chunk), -1)
            bad.extend(start + np.flatnonzero(~finite.all(axis=1)))
        if bad:
            raise ValueError(
                f"X contains NaN, infinity or a value too large for float32 in {listed(bad)}; "
                "leave these images out or repair them."
            )

    def range_problem(self) -> str | None:
        sample = self._array[:8]
        if sample.dtype == bool:
            return None
        return range_problem(float(sample.min()), float(sample.max()), self._dtype, self._range)


def channel_axis(image_shape: Shape) -> int:
    """Find the channel axis of one image of three axes: 0 or 2; the first wins."""
    for axis in (0, 2):
        if image_shape[axis] in (1, 3, 4):
            return axis
    raise ValueError(
        f"Images of shape {image_shape} have no channel axis: neither the first nor the last axis "
        "has size 1, 3 or 4. Give X as (n, H, W), (n, C, H, W) or (n, H, W, C)."
    )


def listed(items: list, kind: str = "row", at_most: int = 20) -> str:
    """Name some of the items, and count them all."""
    more = f" and {len(items) - at_most} more" if len(items) > at_most else ""
    return (
        f"{len(items)} {kind}{'s' * (len(items) > 1)}: {', '.join(map(str, items[:at_most]))}{more}"
    )
