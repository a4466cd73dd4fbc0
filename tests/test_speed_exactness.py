"""What makes embedding and fitting fast changes no result: to the bit in float32 on a CPU."""

import dataclasses
import threading
import time

import numpy as np
import pytest
import torch
from helpers import small_encoder, small_images
from PIL import Image

from skdne import CallableEncoder, TorchEncoder
from skdne.embedding import N_AHEAD, embed_edits, embed_images
from skdne.images import check_images
from skdne.noise import add_noise

RNG = np.random.default_rng(0)
NOISE = torch.from_numpy(RNG.normal(0, 0.2, (1, 8, 8)).astype(np.float32))

ARRAYS = {
    "grey uint8": (RNG.integers(0, 256, (23, 8, 8), dtype=np.uint8), {}),
    "colour uint8, channels last": (RNG.integers(0, 256, (23, 8, 8, 3), dtype=np.uint8), {}),
    "resized": (RNG.integers(0, 256, (23, 11, 13), dtype=np.uint8), {}),
    "12 bits": (RNG.integers(9, 4096, (23, 8, 8), dtype=np.uint16), {"pixel_range": (9, 4095)}),
    "big endian": (RNG.integers(0, 65536, (23, 8, 8)).astype(">u2"), {}),
    "float64": (RNG.random((23, 3, 8, 8)), {}),
    "bool": (RNG.random((23, 8, 8)) < 0.5, {}),
    "float32 rows": (RNG.random((23, 64), dtype=np.float32), {"image_shape": (8, 8)}),
}


def encoder_of(n_channels, precision="float32", **options):
    generator = torch.Generator().manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(n_channels, 6, 3), torch.nn.GELU(), torch.nn.Flatten()
    )
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    mean = tuple(0.4 + 0.05 * k for k in range(n_channels))
    return TorchEncoder(
        net, input_size=(8, 8), n_channels=n_channels, batch_size=7, mean=mean, std=0.25,
        precision=precision, device="cpu", **options,
    )  # fmt: skip


def images_for(encoder, X, options):
    return check_images(X, input_size=(8, 8), n_channels=encoder.n_channels, **options)


def plain_loop(encoder, images, noise, clip):
    """Batch after batch, floats from the start, no thread."""
    found = []
    for _, batch in images.batches(encoder.batch_size):
        x = torch.from_numpy(batch)
        with torch.no_grad():
            found.append(encoder.forward(x if noise is None else add_noise(x, noise, clip)))
    return torch.cat(found).numpy()


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("n_channels", [1, 3])
def test_pixels_that_travel_as_stored_are_those_of_a_batch(name, n_channels):
    X, options = ARRAYS[name]
    encoder = encoder_of(n_channels)
    images = images_for(encoder, X, options)
    x = encoder.on_device(images.stored([4, 2, 2]), n_channels)
    assert x.dtype == torch.float32
    assert x.is_contiguous()
    np.testing.assert_array_equal(x.numpy(), images.batch([4, 2, 2]))


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize(("noise", "clip"), [(None, False), (NOISE, False), (NOISE, True)])
def test_embeddings_are_those_of_a_plain_loop(name, noise, clip):
    X, options = ARRAYS[name]
    encoder = encoder_of(3)
    images = images_for(encoder, X, options)
    found = embed_images(encoder, images, noise, clip)
    np.testing.assert_array_equal(found, plain_loop(encoder, images, noise, clip))


def test_bfloat16_differs_by_its_rounding_alone():
    """Its tolerance: 2% of the embeddings' norm; its 8 bits round by .4% each time."""
    X, options = ARRAYS["grey uint8"]
    exact, rounded = (
        embed_images(encoder, images_for(encoder, X, options), NOISE, True)
        for encoder in (encoder_of(1), encoder_of(1, "bfloat16"))
    )
    error = np.linalg.norm(rounded - exact) / np.linalg.norm(exact)
    assert 0 < error < 0.02


def test_a_store_and_batches_in_flight_change_nothing(tmp_path):
    class InFlight(TorchEncoder):
        @property
        def n_in_flight(self):  # as on a GPU
            return 2

    X, options = ARRAYS["resized"]
    encoder = encoder_of(3)
    fields = {f.name: getattr(encoder, f.name) for f in dataclasses.fields(encoder)}
    images = images_for(encoder, X, options)
    expected = embed_images(encoder, images, NOISE, True)
    for other in (
        InFlight(fields.pop("module"), **fields),
        dataclasses.replace(encoder, store=tmp_path / "s"),
    ):
        np.testing.assert_array_equal(embed_images(other, images, NOISE, True), expected)


def test_an_encoder_that_changes_the_pixels_gets_them_as_arrays():
    class Rounding(TorchEncoder):
        def on_wire(self, images):
            assert isinstance(images, np.ndarray)
            return np.round(images)

    X = ARRAYS["grey uint8"][0]
    encoder = Rounding(torch.nn.Flatten(), input_size=(8, 8), n_channels=1, precision="float32")
    images = images_for(encoder, X, {})
    expected = np.round(images.batch(slice(None))).reshape(len(X), -1)
    np.testing.assert_array_equal(embed_images(encoder, images, None, False), expected)


def test_the_gradient_is_that_of_plain_autograd():
    from skdne.attribute_classifier import AttributeClassifier
    from skdne.budget import QueryBudget
    from skdne.noise import NoiseSpace
    from skdne.objective import Objective

    X, _, a = small_images(40)
    encoder = small_encoder()
    images = check_images(X, input_size=(8, 8), n_channels=1)
    codes = (a == "M").astype(int)
    g = AttributeClassifier(None, np.array(["F", "M"]))
    g.fit(encoder.embed(images.batch(slice(None))), codes, np.ones(40))
    L = Objective(
        encoder, images, np.arange(40), codes, np.ones(40), g, NoiseSpace(images.shape),
        objective="cross_entropy", reg_lambda=0.0, clip=True, budget=QueryBudget(),
    )  # fmt: skip
    rows = np.array([3, 9, 4, 30])
    value, gradient = L.value_and_gradient(torch.zeros(1, 8, 8), rows)
    noise = torch.zeros(1, 8, 8, requires_grad=True)
    log_p = g.log_proba(encoder.forward((torch.from_numpy(images.batch(rows)) + noise).clamp(0, 1)))
    expected = (0.25 * log_p[range(4), codes[rows]]).sum()
    expected.backward()
    assert value == expected.item()
    np.testing.assert_array_equal(gradient.numpy(), noise.grad.numpy())


def png(path, seed):
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    return str(path)


def readers_left(before, patience=5.0):
    """Threads that were not there; those of a pool end a moment after it is told to."""
    deadline = time.monotonic() + patience
    while (new := set(threading.enumerate()) - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    return new


def test_reading_ahead_is_bounded_and_ends_where_the_consumer_does(tmp_path):
    paths = [png(tmp_path / f"{i}.png", i) for i in range(20)]
    encoder = CallableEncoder(lambda x: x.reshape(len(x), -1), input_size=(8, 8), batch_size=2)
    images = check_images(paths, input_size=(8, 8), n_channels=1)
    read, stored = [], images.stored
    images.stored = lambda rows: read.append(len(rows)) or stored(rows)
    before = set(threading.enumerate())
    edits = [(None, np.arange(2 * i, 2 * i + 2)) for i in range(10)]
    found = embed_edits(encoder, images, edits, False)
    for i in range(3):
        np.testing.assert_array_equal(next(found)[0], images.batch([2 * i])[0].ravel())
    del read[:]
    next(found)
    time.sleep(0.2)  # time enough to run away
    assert sum(read) <= 2 * (N_AHEAD + 1)
    found.close()
    assert not readers_left(before)


@pytest.mark.parametrize("elsewhere", [True, False])
def test_images_are_read_ahead_for_encoders_that_leave_the_cores_alone(tmp_path, elsewhere):
    paths = [png(tmp_path / f"{i}.png", i) for i in range(8)]
    flat = CallableEncoder(lambda x: x.reshape(len(x), -1), input_size=(8, 8), batch_size=2)
    encoder = flat if elsewhere else dataclasses.replace(small_encoder(), batch_size=2)
    images = check_images(paths, input_size=(8, 8), n_channels=1)
    threads, stored = set(), images.stored
    images.stored = lambda rows: threads.add(threading.current_thread()) or stored(rows)
    Z = embed_images(encoder, images, None, False)
    assert len(threads) == 1  # several would share the cores, and the first batch come late
    assert (threading.current_thread() not in threads) == elsewhere
    np.testing.assert_array_equal(Z[:2], encoder.embed(images.batch([0, 1])))


def test_a_file_that_cannot_be_read_is_named_and_leaves_no_thread(tmp_path):
    paths = [png(tmp_path / f"{i}.png", i) for i in range(12)]
    encoder = CallableEncoder(lambda x: x.reshape(len(x), -1), input_size=(8, 8), batch_size=2)
    images = check_images(paths, input_size=(8, 8), n_channels=1)
    (tmp_path / "7.png").write_bytes(b"no image")
    before = set(threading.enumerate())
    edits = [(None, np.arange(6)), (None, np.arange(6, 12))]
    found = embed_edits(encoder, images, edits, False)
    assert next(found).shape == (6, 64)  # what came before it is not lost
    with pytest.raises(ValueError, match=r"7\.png"):
        next(found)
    assert not readers_left(before)
    with pytest.raises(ValueError, match=r"1 image file"):
        embed_images(encoder, images, None, False)


def test_an_encoder_that_fails_stops_the_reading(tmp_path):
    def fails(x):
        raise RuntimeError("out of order")

    paths = [png(tmp_path / f"{i}.png", i) for i in range(12)]
    encoder = CallableEncoder(fails, input_size=(8, 8), batch_size=2)
    images = check_images(paths, input_size=(8, 8), n_channels=1)
    before = set(threading.enumerate())
    with pytest.raises(RuntimeError, match="out of order"):
        embed_images(encoder, images, None, False)
    assert not readers_left(before)
