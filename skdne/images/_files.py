"""Read one image file: PNG, JPEG, TIFF and whatever else Pillow opens, DICOM through pydicom."""

import os
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from skdne.images._pixels import Range, on_black, stored_range

_GREY_MODES = ("1", "L", "LA", "La", "I", "F")


class Header(NamedTuple):
    """What is known before the pixels are decoded."""

    height: int
    width: int
    n_channels: int  # 1 grey, 3 colour
    n_bits: int  # 8 or 16 of the pixels that read_image returns


class Picture(NamedTuple):
    """Decoded planes and the stored values that become 0 and 1."""

    planes: NDArray  # (1 or 3, H, W), uint8 or uint16
    value_range: Range
    as_stored: bool = True  # False: the file was scaled to all its bits on reading


def read_header(path: str) -> Header:
    """Size and kind of an image, pixels not decoded."""
    if _is_dicom(path):
        from ._dicom import read_dicom_header

        return Header(*read_dicom_header(path))
    with Image.open(path) as image:
        _refuse_frames(image)
        width, height = image.size
        if image.format == "JPEG" and image.getexif().get(0x0112, 1) >= 5:  # turned by 90 degrees
            width, height = height, width
        grey = image.mode in _GREY_MODES or image.mode.startswith("I;16")
        deep = image.mode in ("I", "F") or image.mode.startswith("I;16")
        return Header(height, width, 1 if grey else 3, 16 if deep else 8)


def read_image(path: str, pixel_range: Range | None = None) -> Picture:
    """Decode one file; see :mod:`skdne.images` for what becomes of each kind."""
    if _is_dicom(path):
        from ._dicom import read_dicom

        planes = read_dicom(path)
        return Picture(planes, stored_range(planes.dtype, None), as_stored=False)
    with Image.open(path) as file:
        _refuse_frames(file)
        image: Image.Image = file
        if file.format == "JPEG":
            image = ImageOps.exif_transpose(file)
        if image.mode == "F":
            planes = _float_planes(np.asarray(image), pixel_range)
            return Picture(planes, stored_range(planes.dtype, None), as_stored=False)
        if image.mode == "I" or image.mode.startswith("I;16"):
            planes = _deep_planes(image)
        else:
            planes = _byte_planes(image)
    return Picture(planes, stored_range(planes.dtype, pixel_range))


def _is_dicom(path: str) -> bool:
    if os.path.splitext(path)[1].lower() in (".dcm", ".dicom"):
        return True
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def _refuse_frames(image: Image.Image) -> None:
    n_frames = getattr(image, "n_frames", 1)
    if n_frames > 1:
        raise ValueError(f"holds {n_frames} frames; save the one that is meant as a file")


def _byte_planes(image: Image.Image) -> NDArray:
    grey = image.mode in _GREY_MODES
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or image.has_transparency_data:
        pixels = np.asarray(image.convert("LA" if grey else "RGBA"))
        return on_black(np.moveaxis(pixels, -1, 0), (0.0, 255.0))
    if grey:
        return np.asarray(image.convert("L"))[None]
    return np.ascontiguousarray(np.moveaxis(np.asarray(image.convert("RGB")), -1, 0))


def _deep_planes(image: Image.Image) -> NDArray:
    # Never convert("L"): it saturates everything above 255.
    if image.format == "TIFF" and getattr(image, "tag_v2", {}).get(262) == 0:
        raise ValueError("is a 16-bit TIFF in which 0 is white; invert it and save it again")
    pixels = np.asarray(image)
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError("holds integers that 16 bits cannot; save it as 16-bit PNG or TIFF")
    return pixels.astype(np.uint16)[None]


def _float_planes(pixels: NDArray, pixel_range: Range | None) -> NDArray:
    low, high = stored_range(pixels.dtype, pixel_range)
    scaled = (pixels.astype(np.float64) - low) / (high - low)
    if not (scaled.min() >= 0 and scaled.max() <= 1):  # also catches NaN
        raise ValueError(
            f"holds float pixels outside of {low:g} to {high:g}, or NaN; set pixel_range on the "
            "encoder"
        )
    return np.rint(scaled * 65535).astype(np.uint16)[None]
