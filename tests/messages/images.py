"""Images and files that cannot be read, and noise files."""

import builtins
from unittest.mock import patch

import numpy as np
import pydicom
import torch
from helpers import small_encoder, small_images
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from safetensors.numpy import save_file

from skdne import DebiasedNoiseTransformer, TorchEncoder
from skdne.images import check_images

GREY = np.arange(400, dtype=np.uint8).reshape(20, 20)
PIXELS = small_images(8)[0]


def saved(world, name, pixels=GREY, **options):
    path = world.path / name
    Image.fromarray(pixels).save(path, **options)
    return path


def read(world, name, pixels=GREY, **options):
    check_images([saved(world, name, pixels, **options)]).verify()


def changed(world):
    images = check_images([saved(world, "x.png")])
    saved(world, "x.png", GREY[:9])
    images.batch([0])


def dicom(world, n_frames=1):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 20, 20, 1
    dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.NumberOfFrames = n_frames
    dataset.PixelData = GREY.tobytes()
    dataset.save_as(path := world.path / "x.dcm", enforce_file_format=True)
    return path


def without_pydicom(world):
    path, real = dicom(world), builtins.__import__

    def import_(name, *args, **kwargs):
        if name.startswith("pydicom"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    with patch.object(builtins, "__import__", import_):
        check_images([path])


def written(world, name, content):
    path = world.path / name
    if name.endswith(".pt"):
        torch.save(content, path)
    elif isinstance(content, dict):
        save_file(content, path)
    else:
        path.write_bytes(content)
    return path


def load(path, encoder=None):
    return DebiasedNoiseTransformer.load_noise(path, encoder or small_encoder())


def load_written(world, name, content, encoder=None):
    return load(written(world, name, content), encoder)


def fitted(**options):
    return DebiasedNoiseTransformer(small_encoder(), solver=None, **options).fit(PIXELS)


def junk(world):
    path = world.path / "noise.pt"
    path.write_bytes(b"no noise")
    load(path)


def of_another_encoder(world):
    fitted().save_noise(path := world.path / "noise.safetensors")
    load(path, small_encoder(seed=1))


def of_another_shape(world):
    net = TorchEncoder(torch.nn.Flatten(), n_channels=1)
    load_written(world, "noise.pt", {"noise": torch.zeros(8, 8)}, net).transform(PIXELS[:, :7])


def clipped_as_pt(world):
    dne = fitted()
    dne.clip_ = True
    dne.save_noise(world.path / "noise.pt")


FLAT = PIXELS.reshape(8, 64)
OBJECTS = np.array([["a", "b"]], dtype=object)
INT32 = (GREY.astype(np.int32) + 1) * 70000
CASES = [
    # arrays
    lambda world: check_images(PIXELS[:0]),
    lambda world: check_images(PIXELS[:, :0]),
    lambda world: check_images(PIXELS[:, None, None]),
    lambda world: check_images(np.repeat(PIXELS[:, None], 5, axis=1)),
    lambda world: check_images(np.zeros(5)),
    lambda world: check_images(np.array(3.0)),
    lambda world: check_images(PIXELS.astype(complex)),
    lambda world: check_images(PIXELS.astype("datetime64[s]")),
    lambda world: check_images(OBJECTS),
    lambda world: check_images([PIXELS[0], PIXELS[0, :5]]),
    lambda world: check_images(__import__("scipy.sparse").sparse.eye(4)),
    lambda world: check_images(np.full((2, 4, 4), np.nan)).verify(),
    lambda world: check_images(PIXELS, image_shape=(4, 4)),
    lambda world: check_images(FLAT, image_shape=(4, 4)),
    lambda world: check_images(FLAT, image_shape="8x8"),
    lambda world: check_images(PIXELS, input_size=(8,)),
    lambda world: check_images(PIXELS, n_channels=0),
    lambda world: check_images(PIXELS, pixel_range=(1, 0)),
    lambda world: check_images(np.repeat(PIXELS[..., None], 3, axis=3), n_channels=4),
    lambda world: check_images(PIXELS.astype(np.uint16)),
    lambda world: check_images(PIXELS.astype(float)),
    lambda world: check_images(PIXELS // 200),
    lambda world: fitted().transform(PIXELS[:, :7]),
    lambda world: fitted().transform(PIXELS[0]),
    # files
    lambda world: check_images("x.png"),
    lambda world: check_images(["x.png", 3]),
    lambda world: check_images(np.array(["x.png", 3], dtype=object)),
    lambda world: check_images([world.path / "missing.png"]),
    lambda world: read(world, "x.gif", save_all=True, append_images=[Image.new("L", (20, 20))]),
    lambda world: read(world, "x.tif", GREY.astype(np.uint16), tiffinfo={262: 0}),
    lambda world: read(world, "x.tif", INT32),
    lambda world: read(world, "x.tif", GREY.astype(np.float32)),
    lambda world: check_images([saved(world, "x.png")], n_channels=4),
    lambda world: check_images([saved(world, "a.png"), saved(world, "b.png", GREY[:9])]),
    lambda world: check_images([dicom(world, n_frames=2)]),
    without_pydicom,
    changed,
    # noise files
    lambda world: load("noise.npy"),
    lambda world: load("missing.pt"),
    lambda world: load_written(world, "noise.pt", {"mask": torch.zeros(8, 8)}),
    lambda world: load_written(world, "noise.pt", {"noise": torch.zeros(9, 9)}),
    lambda world: load_written(world, "noise.pt", {"noise": torch.full((8, 8), torch.nan)}),
    lambda world: load_written(world, "noise.safetensors", b"no tensors"),
    junk,
    of_another_encoder,
    of_another_shape,
    clipped_as_pt,
    lambda world: fitted().save_noise(world.path / "noise"),
    lambda world: fitted().save_noise(world.path / "nowhere" / "noise.pt"),
    lambda world: load_written(world, "n.pt", {"noise": torch.zeros(8, 8)}).transform(PIXELS[0]),
]
