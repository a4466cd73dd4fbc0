"""Images in files: formats, agreement with arrays, decoding once, errors."""

import builtins
import gc
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import PIL
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from skdne.images import PixelRangeWarning, check_images

RNG = np.random.default_rng(0)
NEEDS_PILLOW_13 = pytest.mark.xfail(
    int(PIL.__version__.partition(".")[0]) < 13,
    reason="Pillow could not read such a TIFF, its own among them",
    raises=ValueError,
)


def save(array, path, mode=None, **options):
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


def grey8(height=20, width=24):
    return RNG.integers(0, 256, (height, width), dtype=np.uint8)


def grey16(height=20, width=24):
    return RNG.integers(0, 65536, (height, width), dtype=np.uint16)


@given(
    dtype=st.sampled_from([np.uint8, np.uint16, bool]),
    sides=st.tuples(st.integers(5, 40), st.integers(5, 40)),
    colour=st.sampled_from([1, 3, 4]),
    size=st.none() | st.tuples(st.integers(3, 30), st.integers(3, 30)),
    n_channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_png_and_an_array_agree_to_the_bit(
    tmp_path, dtype, sides, colour, size, n_channels, seed
):
    if dtype is not np.uint8:
        colour = 1  # PNG of PIL
    rng = np.random.default_rng(seed)
    X = (rng.integers(0, 65536, (2, *sides, colour)) >> (8 if dtype is np.uint8 else 0)).astype(
        np.uint16 if dtype is np.uint16 else np.uint8
    )
    X[:, 0, 0], X[:, 0, 1] = 0, np.iinfo(X.dtype).max  # spans the range: no warning
    if dtype is bool:
        X = X > 127
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for image, path in zip(X, paths, strict=True):
        save(image.squeeze(-1) if colour == 1 else image, path)
    options = {"input_size": size, "n_channels": n_channels}
    files, array = check_images(paths, **options), check_images(X, **options)
    assert files.shape == array.shape == (n_channels, *(size or sides))
    np.testing.assert_array_equal(files.batch([1, 0]), array.batch([1, 0]))


@pytest.mark.parametrize("kind", [list, np.array, pd.Series, tuple, lambda p: np.array(p, object)])
def test_ways_to_give_paths(tmp_path, kind):
    X = np.stack([grey8(), grey8()])
    paths = [str(save(x, tmp_path / f"{i}.png")) for i, x in enumerate(X)]
    images = check_images(kind(paths))
    assert (len(images), images.layout, images.source_shape) == (2, "path", None)
    np.testing.assert_array_equal(images.restore(images.batch([0, 1])), X / np.float32(255))


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_16_bits_keep_all_their_levels(tmp_path, name):
    pixels = grey16()
    batch = check_images([save(pixels, tmp_path / name)]).batch([0])
    np.testing.assert_array_equal(batch[0, 0], pixels / np.float32(65535))


def test_12_bits_in_16_want_a_pixel_range(tmp_path):
    pixels = grey16() >> 4
    paths = [save(pixels, tmp_path / "x.png")]
    with pytest.warns(PixelRangeWarning, match=r"uint16.*sliver.*pixel_range=\(0, 4095\)"):
        check_images(paths)
    batch = check_images(paths, pixel_range=(0, 4095)).batch([0])
    np.testing.assert_array_equal(batch[0, 0], pixels / np.float32(4095))


def test_one_dark_file_is_no_reason_to_warn(tmp_path):
    dark = save(grey8() // 255, tmp_path / "dark.png")
    check_images([dark, save(grey8(), tmp_path / "x.png")])
    with pytest.warns(PixelRangeWarning, match="uint8.*sliver"):
        check_images([dark, dark])


def test_float_tiff(tmp_path):
    pixels = RNG.random((9, 9), dtype=np.float32)
    path = save(pixels, tmp_path / "x.tif")
    np.testing.assert_allclose(check_images([path]).batch([0])[0, 0], pixels, atol=0.51 / 65535)
    save(pixels * 255, path)
    images = check_images([path], pixel_range=(0, 255))
    np.testing.assert_allclose(images.batch([0])[0, 0], pixels, atol=0.51 / 65535)
    with pytest.raises(ValueError, match=r"x\.tif: .*float pixels outside of 0 to 1.*pixel_range"):
        check_images([path]).verify()


@pytest.mark.parametrize(
    ("mode", "n_channels", "tolerance"),
    [
        ("P", 3, 0),
        ("RGBA", 3, 0),
        ("LA", 1, 0),
        ("CMYK", 3, 0),
        ("1", 1, 0),
        pytest.param("YCbCr", 3, 0, marks=NEEDS_PILLOW_13),
    ],
)
def test_other_modes(tmp_path, mode, n_channels, tolerance):
    image = Image.fromarray(np.dstack([grey8()] * 3)).convert(mode)
    path = tmp_path / ("x.tif" if mode in ("CMYK", "YCbCr") else "x.png")
    image.save(path)
    expected = np.asarray(image.convert("L" if n_channels == 1 else "RGB"))
    expected = np.moveaxis(np.atleast_3d(expected), -1, 0) / np.float32(255)
    images = check_images([path])
    assert images.shape == (n_channels, 20, 24)
    np.testing.assert_allclose(images.batch([0])[0], expected, atol=tolerance)


def test_transparency_is_black(tmp_path):
    paths = []
    for i, mode in enumerate(["RGBA", "LA", "P"]):
        image = Image.fromarray(np.full((8, 8), 200, np.uint8)).convert(mode)
        options = {"transparency": 200} if mode == "P" else {}
        if mode != "P":
            image.putalpha(Image.fromarray(np.full((8, 8), 51, np.uint8)))
        image.save(tmp_path / f"{i}.png", **options)
        paths.append(tmp_path / f"{i}.png")
    batch = check_images(paths, n_channels=1).batch([0, 1, 2])
    assert [np.unique(x).tolist() for x in batch] == [[np.float32(40 / 255)]] * 2 + [[0.0]]


def test_the_exif_orientation_of_a_jpeg_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # show it turned by 90 degrees, clockwise
    upright = np.zeros((16, 32), np.uint8)
    upright[:, 16:] = 255
    path = save(upright, tmp_path / "x.jpg", exif=exif, quality=95)
    images = check_images([path])
    assert images.shape == (1, 32, 16)
    np.testing.assert_allclose(images.batch([0])[0, 0], np.rot90(upright, -1) / 255, atol=0.05)


def test_mixed_sizes(tmp_path):
    paths = [save(grey8(20, 20 + (i == 3)), tmp_path / f"{i}.png") for i in range(5)]
    with pytest.raises(
        ValueError, match=r"most are \(20, 20\).*1 file: .*3\.png \(20, 21\).*input_size"
    ):
        check_images(paths)
    assert check_images(paths, input_size=(10, 12)).batch(range(5)).shape == (5, 1, 10, 12)


def mixed_files(folder):
    return [
        save(grey8(), folder / "grey.png"),
        save(grey16(), folder / "deep.png"),
        save(np.dstack([grey8()] * 3), folder / "colour.png"),
        save(np.dstack([grey8()] * 4), folder / "rgba.png"),
    ]


@pytest.mark.parametrize("memory_limit", [0, 10**9])
@pytest.mark.parametrize("which", [slice(0, 1), slice(0, 2), slice(0, 4), slice(2, 4)])
@pytest.mark.parametrize(
    "options",
    [{}, {"input_size": (9, 11), "n_channels": 3}, {"n_channels": 1, "pixel_range": (0, 60000)}],
)
@pytest.mark.filterwarnings("ignore::skdne.images.PixelRangeWarning")  # range 60000
def test_decoded_equals_lazy_reading(tmp_path, monkeypatch, which, options, memory_limit):
    paths = mixed_files(tmp_path)[which] * 40  # several chunks
    lazy = check_images(paths, **options)
    spool = tmp_path / "spool"
    spool.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spool))
    stored = lazy.decoded(memory_limit)
    order = RNG.permutation(len(paths))
    expected = lazy.batch(order)
    for path in set(paths):
        path.unlink()
    np.testing.assert_array_equal(stored.batch(order), expected)
    assert (stored.shape, stored.layout, stored.source_shape, len(stored)) == (
        (lazy.shape, "path", None, len(lazy))
    )
    assert isinstance(stored._rows.planes, np.memmap) == (memory_limit == 0)
    stored.verify()
    del stored
    gc.collect()
    assert not list(spool.iterdir())


def test_decoded_files_take_no_more_room_than_needed(tmp_path):
    paths = mixed_files(tmp_path)
    kept = [check_images(paths[:n], n_channels=3).decoded()._rows.planes for n in (1, 2, 3)]
    assert [planes.dtype for planes in kept] == [np.uint8, np.uint16, np.uint16]
    assert [planes.shape[1] for planes in kept] == [1, 1, 3]  # grey is kept once


@pytest.mark.parametrize("memory_limit", [0, 10**9])
def test_only_some_files_are_decoded(tmp_path, memory_limit):
    paths = [mixed_files(tmp_path)[i] for i in (0, 2, 0, 2, 0)]
    lazy = check_images(paths, input_size=(9, 11), n_channels=3)
    rows = np.array([4, 0])
    expected = lazy.batch([0, 4, 4])
    stored = lazy.decoded(memory_limit, rows)
    paths[0].unlink()
    assert len(stored) == 5  # rows keep their numbers
    assert stored._rows.planes.shape == (2, 1, 9, 11)  # the colour file is not among them
    np.testing.assert_array_equal(stored.batch([0, 4, 4]), expected)
    with pytest.raises(IndexError, match="not decoded"):
        stored.batch([0, 1])


def test_arrays_are_decoded_already():
    images = check_images(RNG.random((2, 5, 5)))
    assert images.decoded() is images


def test_unread_files_pickle(tmp_path):
    images = check_images(mixed_files(tmp_path))
    copy = pickle.loads(pickle.dumps(images))
    np.testing.assert_array_equal(copy.batch([0, 3]), images.batch([0, 3]))


@pytest.mark.parametrize("call", ["check", "verify", "decoded", "batch"])
def test_all_unreadable_files_are_named(tmp_path, call):
    good = save(grey8(), tmp_path / "good.png")
    missing = tmp_path / "missing.png"
    text = tmp_path / "text.png"
    text.write_text("no image")
    truncated = tmp_path / "truncated.png"
    truncated.write_bytes(good.read_bytes()[:300])
    film = tmp_path / "film.tif"
    frames = [Image.fromarray(grey8()) for _ in range(2)]
    frames[0].save(film, save_all=True, append_images=frames[1:])
    dicom = tmp_path / "broken.dcm"
    dicom.write_text("no image")
    paths = [missing, good, text, *[good] * 70, truncated, film, dicom]
    images = check_images(paths, input_size=(8, 8), n_channels=1)
    calls = {
        "check": lambda: check_images(paths),
        "verify": images.verify,
        "decoded": images.decoded,
        "batch": lambda: images.batch(slice(None)),
    }
    with pytest.raises(ValueError, match=r"5 image file\(s\) of X cannot be read") as caught:
        calls[call]()
    message = str(caught.value)
    for path in (missing, text, truncated, film, dicom):
        assert message.count(str(path) + ":") == 1
    assert str(good) not in message
    assert "holds 2 frames" in message


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_one_corrupted_byte_of_a_png_is_an_error(tmp_path, place):
    path = save(grey8(64, 64), tmp_path / "x.png")
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.png"):
        check_images([path], input_size=(8, 8), n_channels=1).verify()


def test_files_that_changed_since_the_check_are_an_error(tmp_path):
    path = save(grey8(), tmp_path / "x.png")
    images = check_images([path])
    save(grey8(9, 9), path)
    with pytest.raises(ValueError, match=r"x\.png: .*\(9, 9\), was \(20, 24\).*change"):
        images.batch([0])
    save(grey16(), path)
    with pytest.raises(TypeError, match="Cannot cast"):  # never wrapped around
        images.decoded()


def test_integers_that_16_bits_cannot_hold_are_an_error(tmp_path):
    wide = save(grey16().astype(np.int32) - 66000, tmp_path / "wide.tif")
    white = save(grey16(), tmp_path / "white.tif", tiffinfo={262: 0})
    with pytest.raises(ValueError, match="2 image file") as caught:
        check_images([wide, white]).verify()
    assert "wide.tif: ValueError: holds integers that 16 bits cannot" in str(caught.value)
    assert "white.tif: ValueError: is a 16-bit TIFF in which 0 is white" in str(caught.value)
    wide = save(grey16().astype(np.int32), tmp_path / "wide.tif")
    assert check_images([wide]).batch([0]).max() > 0.9


def test_files_cannot_give_4_channels(tmp_path):
    with pytest.raises(ValueError, match="n_channels=4"):
        check_images(mixed_files(tmp_path), n_channels=4)


def dicom(path, pixels, bits=12, kind="MONOCHROME2", **tags):
    """Write a small uncompressed DICOM file."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta[0x00020002].value, meta[0x00020003].value
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = kind
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_dicom_without_a_window_fills_its_stored_bits(tmp_path):
    pixels = grey16() >> 4
    paths = [
        dicom(tmp_path / "a.dcm", pixels),
        dicom(tmp_path / "no_extension", pixels),
        dicom(tmp_path / "inverted.dcm", pixels, kind="MONOCHROME1"),
        dicom(tmp_path / "hu.dcm", pixels, RescaleSlope=2, RescaleIntercept=-1024),
        dicom(tmp_path / "signed.dcm", (pixels.astype(np.int32) - 2048).astype(np.int16)),
    ]
    images = check_images(paths, pixel_range=(0, 7))  # which says nothing about DICOM
    batch = images.batch(range(5))[:, 0]
    expected = pixels / 4095
    for got, want in zip(
        batch, [expected, expected, 1 - expected, expected, expected], strict=True
    ):
        np.testing.assert_allclose(got, want, atol=0.51 / 65535)
    np.testing.assert_array_equal(images.decoded().batch(range(5))[:, 0], batch)


def test_files_that_bring_their_own_range_do_not_warn(tmp_path):
    dark = RNG.random((9, 9), dtype=np.float32) / 20
    paths = [dicom(tmp_path / "a.dcm", grey16(9, 9) >> 8), save(dark, tmp_path / "x.tif")]
    assert check_images(paths).batch([0, 1]).max() < 1 / 8


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_dicom_window(tmp_path, kind):
    pixels = grey16() >> 4
    path = dicom(
        tmp_path / "a.dcm", pixels, kind=kind, WindowCenter=[2048, 9], WindowWidth=[1025, 9]
    )
    # PS3.3 C.11.2.1.2.1: from c - .5 - (w - 1) / 2 to c - .5 + (w - 1) / 2
    shown = np.clip((pixels - 2047.5) / 1024 + 0.5, 0, 1)
    expected = 1 - shown if kind == "MONOCHROME1" else shown
    np.testing.assert_allclose(check_images([path]).batch([0])[0, 0], expected, atol=0.51 / 65535)


def test_dicom_voi_lut(tmp_path):
    pixels = grey16() >> 4
    lut = Dataset()
    lut.add_new(0x00283002, "US", [4096, 0, 16])
    curve = np.round(65535 * (np.arange(4096) / 4095) ** 2).astype(np.uint16)
    lut.add_new(0x00283006, "US", curve.tolist())
    path = dicom(tmp_path / "a.dcm", pixels, VOILUTSequence=[lut])
    batch = check_images([path]).batch([0])
    np.testing.assert_array_equal(batch[0, 0], curve[pixels] / np.float32(65535))


def test_dicom_of_8_bits_and_of_colour(tmp_path):
    grey, colour = grey8(), RNG.integers(0, 256, (20, 24, 3), dtype=np.uint8)
    paths = [
        dicom(tmp_path / "grey.dcm", grey, bits=8),
        dicom(tmp_path / "colour.dcm", colour, bits=8, kind="RGB"),
    ]
    images = check_images(paths)
    assert images.shape == (3, 20, 24)
    batch = images.batch([0, 1])
    np.testing.assert_array_equal(batch[0], np.stack([grey] * 3) / np.float32(255))
    np.testing.assert_array_equal(batch[1], np.moveaxis(colour, -1, 0) / np.float32(255))


def test_dicom_of_several_frames_is_an_error(tmp_path):
    path = dicom(tmp_path / "a.dcm", grey8(), bits=8, NumberOfFrames=2)
    with pytest.raises(ValueError, match="holds 2 frames"):
        check_images([path])


def test_dicom_without_pydicom_says_what_to_install(tmp_path, monkeypatch):
    path = dicom(tmp_path / "a.dcm", grey8(), bits=8)
    real = builtins.__import__

    def without_pydicom(name, *args, **kwargs):
        if name.startswith("pydicom"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pydicom)
    with pytest.raises(ImportError, match=r'pip install "skdne\[dicom\]"'):
        check_images([path])


def test_real_radiographs(nih_cxr: Path):
    table = pd.read_csv(nih_cxr / "metadata.csv")
    paths = pd.Series([os.fspath(nih_cxr / "images" / name) for name in table["image"][:100]])
    lazy = check_images(paths, input_size=(64, 64), n_channels=1)
    stored = lazy.decoded()
    batch = lazy.batch(slice(None))
    np.testing.assert_array_equal(stored.batch(slice(None)), batch)
    assert batch.shape == (100, 1, 64, 64)
    assert 0.2 < batch.mean() < 0.8
    assert (batch.std(axis=(1, 2, 3)) > 0.05).all()
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    array = check_images(pixels, input_size=(64, 64), n_channels=1)
    np.testing.assert_array_equal(array.batch(slice(None)), batch)
