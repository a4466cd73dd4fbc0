"""Batches of images from files: read as they are needed, or decoded once and kept."""

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdne.images._batches import Images, Rows, Shape, listed
from skdne.images._files import Header, Picture, read_header, read_image
from skdne.images._pixels import Range, range_problem, reduce_channels, resize, threaded


class FileImages(Images):
    """Images in files, decoded when a batch needs them."""

    def __init__(
        self,
        paths: list[str],
        *,
        input_size: tuple[int, int] | None,
        n_channels: int | None,
        pixel_range: Range | None,
    ):
        if n_channels not in (None, 1, 3):
            raise ValueError(
                f"Image files give 1 or 3 channels, the encoder takes n_channels={n_channels}; "
                "read them yourself and give X as an array."
            )
        self._paths, self._pixel_range, self._n_channels = paths, pixel_range, n_channels
        self._input_size = input_size
        self._headers: NDArray[np.int32] | None = None
        if input_size is None:
            input_size = self._common_size()
        if n_channels is None:
            n_channels = int(self._scan()[:, 2].max())
        super().__init__(len(paths), (n_channels, *input_size), None, "path")

    def _scan(self, indices: NDArray[np.intp] | None = None) -> NDArray[np.int32]:
        """Headers of these files, or of all, which are kept: height, width, channels, bits."""
        if self._headers is not None:
            return self._headers if indices is None else self._headers[indices]
        order = np.arange(len(self._paths)) if indices is None else indices
        headers = np.empty((len(order), len(Header._fields)), dtype=np.int32)
        errors: list[tuple[str, str]] = []
        for part in _parts(len(order), 1024):
            read, failed = self._try_all(read_header, order[part])
            errors += failed
            if not errors:
                headers[part] = read
        if errors:
            self._raise_all(read_image, order)  # bad pixels behind a good header are named too
        _raise_unreadable(errors)
        if indices is None:
            self._headers = headers
        return headers

    def _common_size(self) -> tuple[int, int]:
        sizes, which, counts = np.unique(
            self._scan()[:, :2], axis=0, return_inverse=True, return_counts=True
        )
        usual = int(counts.argmax())
        odd = np.flatnonzero(which.ravel() != usual)
        if len(odd):
            names = [f"{self._paths[i]} {tuple(sizes[which.ravel()[i]].tolist())}" for i in odd]
            raise ValueError(
                f"The files of X hold images of different sizes: most are "
                f"{tuple(sizes[usual].tolist())}, but {listed(names, 'file')}. Set input_size="
                "(H, W) on the encoder, so that all are resized to it."
            )
        return int(sizes[usual][0]), int(sizes[usual][1])

    def _read(self, path: str) -> Picture:
        planes, value_range, _ = read_image(path, self._pixel_range)
        planes = reduce_channels(planes, self._n_channels, value_range)
        if self._input_size is not None:
            planes = resize(planes, self._input_size)
        elif planes.shape[1:] != self.shape[1:]:
            raise ValueError(f"is {planes.shape[1:]}, was {self.shape[1:]}: did the file change?")
        return Picture(planes, value_range)

    def _try_all(self, read: Any, indices: NDArray[np.intp]) -> tuple[list, list[tuple[str, str]]]:
        """Read some files in threads: what was read, and (path, error) where it failed."""
        paths = [self._paths[i] for i in indices]
        results = list(zip(paths, threaded(_or_error(read), paths), strict=True))
        good = [result for _, result in results if not isinstance(result, str)]
        return good, [(path, result) for path, result in results if isinstance(result, str)]

    def _load(self, indices: NDArray[np.intp]) -> Rows:
        pictures, errors = self._try_all(self._read, indices)
        _raise_unreadable(errors)
        deep = any(picture.planes.dtype == np.uint16 for picture in pictures)
        n_planes = max((len(picture.planes) for picture in pictures), default=1)
        return _stack(pictures, (n_planes, *self.shape[1:]), np.uint16 if deep else np.uint8)

    def verify(self) -> None:
        self._raise_all(self._read, np.arange(len(self)))

    def _raise_all(self, read: Any, order: NDArray[np.intp]) -> None:
        errors: list[tuple[str, str]] = []
        for part in _parts(len(order)):
            errors += self._try_all(read, order[part])[1]
        _raise_unreadable(errors)

    def decoded(self, memory_limit: int = 2 * 1024**3, rows: Any = None) -> Images:
        order = np.arange(len(self)) if rows is None else np.unique(np.arange(len(self))[rows])
        headers = self._scan(order)
        n_planes = 1 if self._n_channels == 1 else int(headers[:, 2].max())
        dtype = np.dtype(np.uint8 if headers[:, 3].max() == 8 else np.uint16)
        shape = (len(order), n_planes, *self.shape[1:])
        n_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if n_bytes <= memory_limit:
            planes = np.empty(shape, dtype)
            ranges = self._decode_to(order, planes.__setitem__, shape[1:], dtype)
        else:
            # Without a name where the system allows it, so that not even a killed process leaves
            # it. Written, not filled as a map: a full disk is an error, and not a crash.
            with tempfile.TemporaryFile(prefix="skdne-") as file:
                ranges = self._decode_to(
                    order, lambda _, planes: file.write(planes.tobytes()), shape[1:], dtype
                )
                file.flush()
                planes = np.memmap(file, dtype=dtype, mode="r", shape=shape)
        return _StoredImages(Rows(planes, *ranges), self.shape, order, len(self))

    def _decode_to(
        self,
        order: NDArray[np.intp],
        keep: Callable[[slice, NDArray], Any],
        shape: Shape,
        dtype: np.dtype,
    ) -> NDArray:
        """Hand over the planes of these files, in order; return their low and high, (2, n)."""
        ranges = np.zeros((2, len(order)))
        errors: list[tuple[str, str]] = []
        for part in _parts(len(order)):
            pictures, failed = self._try_all(self._read, order[part])
            errors += failed
            if not errors:  # else only to name the rest
                rows = _stack(pictures, shape, dtype)
                ranges[:, part] = rows.low, rows.high
                keep(part, rows.planes)
        _raise_unreadable(errors)
        return ranges

    def range_problem(self) -> str | None:
        sample = np.arange(min(4, len(self)))
        pictures, _ = self._try_all(lambda path: read_image(path, self._pixel_range), sample)
        seen: dict[tuple[np.dtype, Range], list[float]] = {}
        for planes, value_range, as_stored in pictures:
            if as_stored:
                ends = seen.setdefault((planes.dtype, value_range), [])
                ends += [float(planes.min()), float(planes.max())]
        problems = (range_problem(min(ends), max(ends), *kind) for kind, ends in seen.items())
        return next(filter(None, problems), None)


class _StoredImages(Images):
    """Files decoded once: their planes in an array or a map of a temporary file."""

    def __init__(self, rows: Rows, shape: Shape, order: NDArray[np.intp], n_images: int):
        super().__init__(n_images, shape, None, "path")
        self._rows = rows
        self._place = np.full(n_images, -1)  # of each image among those that are kept
        self._place[order] = np.arange(len(order))

    def _load(self, indices: NDArray[np.intp]) -> Rows:
        places = self._place[indices]
        if (places < 0).any():
            raise IndexError("images that were not decoded were asked for.")
        return Rows(*(part[places] for part in self._rows))


def _stack(pictures: list[Picture], shape: Shape, dtype: Any) -> Rows:
    """Put pictures of 8 and 16 bits, grey and colour, into one array, values unchanged."""
    planes = np.empty((len(pictures), *shape), dtype)
    for row, picture in zip(planes, pictures, strict=True):
        np.copyto(row, picture.planes, casting="safe")  # grey among colour fills all channels
    ranges = np.array([picture.value_range for picture in pictures]).reshape(-1, 2)
    return Rows(planes, ranges[:, 0], ranges[:, 1])


def _parts(n: int, step: int = 64) -> Iterator[slice]:
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def _or_error(function: Any) -> Any:
    """Return what is wrong with a file instead of raising it, so that all bad ones are named."""

    def call(*args: Any) -> Any:
        try:
            return function(*args)
        except (ImportError, MemoryError):
            raise
        except Exception as error:  # decoders raise all kinds
            return f"{type(error).__name__}: {error}"

    return call


def _raise_unreadable(errors: list[tuple[str, str]]) -> None:
    if errors:
        lines = "\n".join(f"  {path}: {error}" for path, error in errors)
        raise ValueError(
            f"{len(errors)} image file(s) of X cannot be read; repair or remove them:\n{lines}"
        )
