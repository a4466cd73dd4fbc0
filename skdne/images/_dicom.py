"""Read one DICOM radiograph as it is meant to be looked at. Needs pydicom (the extra ``dicom``)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_dicom_header(path: str) -> tuple[int, int, int, int]:
    """Height, width, channels and bits of what :func:`read_dicom` returns."""
    dataset = _pydicom().dcmread(path, stop_before_pixels=True)
    _refuse_frames(dataset)
    grey = dataset.PhotometricInterpretation in ("MONOCHROME1", "MONOCHROME2")
    return dataset.Rows, dataset.Columns, 1 if grey else 3, 8 if dataset.BitsStored <= 8 else 16


def read_dicom(path: str) -> NDArray:
    """Decode to planes (1 or 3, H, W), uint8 where 8 bits are stored, else uint16, full range.

    Grey: modality LUT or rescale slope, then the VOI LUT or the first window where the file has
    one, else the whole range of the stored bits; MONOCHROME1 is inverted. Colour becomes RGB.
    """
    pydicom = _pydicom()
    from pydicom import pixels as dicom_pixels

    dataset = pydicom.dcmread(path)
    _refuse_frames(dataset)
    stored = dicom_pixels.pixel_array(dataset)  # YBR becomes RGB here
    kind = dataset.PhotometricInterpretation
    if kind == "PALETTE COLOR":
        stored = dicom_pixels.apply_color_lut(stored, dataset)
        scaled = stored / (255 if stored.dtype == np.uint8 else 65535)
    elif kind in ("MONOCHROME1", "MONOCHROME2"):
        values = dicom_pixels.apply_modality_lut(stored, dataset)
        values = dicom_pixels.apply_voi_lut(values, dataset)
        low, high = _display_range(dataset)
        scaled = (values - low) / (high - low)
    else:
        scaled = stored / (2**dataset.BitsStored - 1)
    scaled = np.clip(scaled, 0, 1)
    if kind == "MONOCHROME1":  # 0 is white there
        scaled = 1 - scaled
    dtype = np.uint8 if dataset.BitsStored <= 8 else np.uint16
    planes = scaled[None] if scaled.ndim == 2 else np.moveaxis(scaled, -1, 0)
    return np.rint(planes * np.iinfo(dtype).max).astype(dtype)


def _display_range(dataset: Any) -> tuple[float, float]:
    """Smallest and largest value that the LUTs or the window can give (DICOM PS3.3 C.11)."""
    for name in ("VOILUTSequence", "ModalityLUTSequence"):
        if dataset.get(name) and "LUTData" in dataset[name][0]:
            return 0.0, 2.0 ** dataset[name][0].LUTDescriptor[2] - 1
    low = -(2.0 ** (dataset.BitsStored - 1)) if dataset.PixelRepresentation else 0.0
    high = low + 2.0**dataset.BitsStored - 1
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope is not None and intercept is not None:
        low, high = low * float(slope) + float(intercept), high * float(slope) + float(intercept)
    return min(low, high), max(low, high)


def _refuse_frames(dataset: Any) -> None:
    n_frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if n_frames > 1:
        raise ValueError(f"holds {n_frames} frames; save the one that is meant as a file")


def _pydicom() -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise ImportError('DICOM files need pydicom: pip install "skdne[dicom]".') from error
    return pydicom
