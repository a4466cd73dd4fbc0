"""HTTPEncoder: what it asks, sends and returns, and what is kept of it."""

import copy
import pickle
import sys
from types import SimpleNamespace

import httpx2
import joblib
import numpy as np
import pytest
import tenacity
from fake_service import (
    HEADER,
    IMAGES,
    URL,
    FakeService,
    answer_json_only,
    answer_vertex,
    embed,
    metadata,
    read_v2,
    read_vertex,
)
from sklearn.base import clone

from skdne import HTTPEncoder


def v2(**options):
    return HTTPEncoder(URL, **{"model": "m", "batch_size": 4, **options})


def vertex(**options):
    return HTTPEncoder(f"{URL}/predict", "vertex", **options)


# What is asked and sent -------------------------------------------------------------------------


def test_nothing_is_asked_before_load_and_the_model_s_input_is_filled_in_then(serve):
    service = serve(FakeService())
    encoder = v2(model_version="3")
    assert (encoder.input_size, service.gets) == (None, [])
    encoder.load()
    encoder.load()
    assert (encoder.input_size, encoder.n_channels, encoder.levels) == ((4, 6), 1, 255)
    assert [str(r.url) for r in service.gets] == [f"{URL}/v2/models/m/versions/3"]
    assert service.posts == []
    assert encoder == v2(model_version="3")
    assert (encoder.remote, encoder.differentiable, encoder.n_in_flight) == (True, False, 8)


@pytest.mark.parametrize("encoding", ["auto", "binary", "json"])
@pytest.mark.parametrize("datatype", ["UINT8", "UINT16", "FP16", "FP32"])
@pytest.mark.parametrize("last", [False, True])
def test_pixels_arrive_as_the_model_wants_them(serve, encoding, datatype, last):
    shape = (-1, 4, 6, 1) if last else (-1, 1, 4, 6)
    service = serve(FakeService(describe=metadata(shape, datatype)))
    encoder, images = v2(encoding=encoding), IMAGES + np.float32(0.3)
    levels = {"UINT8": 255, "UINT16": 65535}.get(datatype)
    assert encoder.levels == levels
    wire = encoder.on_wire(images)
    if levels is None:
        expected = images.astype(np.float16 if datatype == "FP16" else np.float32)
        np.testing.assert_array_equal(wire, images)  # not clipped: models of floats take anything
    else:
        expected = np.clip(np.rint(images * levels), 0, levels)
        assert (wire.dtype, wire.max()) == (f"uint{levels.bit_length()}", levels)
        np.testing.assert_array_equal(wire, expected)
    vectors = encoder.embed(images)
    pixels, header = read_v2(service.posts[0])
    assert header["outputs"][0]["name"] == "vectors"
    assert (HEADER in service.posts[0].headers) == (encoding != "json")
    np.testing.assert_array_equal(pixels.reshape(expected.shape), expected)
    np.testing.assert_array_equal(vectors, embed(expected))


def test_json_where_binary_is_refused_and_once_only(serve):
    service = serve(FakeService(answer_json_only))
    sent = []
    encoder = v2()
    np.testing.assert_array_equal(encoder.embed(IMAGES, sent.append), embed(IMAGES * 255))
    assert sent == [3, 3]  # the refused batch was on the wire
    encoder.embed(IMAGES, sent.append)
    v2().embed(IMAGES, sent.append)  # remembered by the process
    assert (sent, len(service.posts)) == ([3, 3, 3, 3], 4)
    with pytest.raises(ValueError, match=r"422 .*not JSON"):
        v2(encoding="binary").embed(IMAGES)


@pytest.mark.parametrize("n_broken", [1, 2])
def test_a_service_that_breaks_on_binary_twice_gets_json(serve, monkeypatch, n_broken):
    monkeypatch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=lambda seconds: None))
    broken = httpx2.Response(500, text="UnicodeDecodeError")  # MLServer, where bytes exceed 127
    service = serve(FakeService(plan=[broken] * n_broken))
    for _ in range(2):
        np.testing.assert_array_equal(v2().embed(IMAGES), embed(IMAGES * 255))
    last = service.posts[n_broken:]
    assert [HEADER in request.headers for request in last] == [n_broken == 1] * 2


def test_threads_wait_for_the_answer_to_the_first_binary_request(serve):
    service = serve(FakeService(answer_json_only))
    sent = []
    found = list(v2().embed_batches([IMAGES] * 6, sent.append))
    assert len(service.posts) == len(sent) == 7
    np.testing.assert_array_equal(np.concatenate(found), np.tile(embed(IMAGES * 255), (6, 1)))


def test_a_refusal_that_has_nothing_to_do_with_binary_is_no_reason_for_json(serve):
    service = serve(FakeService(plan=[httpx2.Response(413, text="too large")]))
    with pytest.raises(ValueError, match=r"413 .*too large.* Lower batch_size"):
        v2().embed(IMAGES)
    assert len(service.posts) == 1


@pytest.mark.parametrize("n_channels", [1, 3])
def test_vertex_gets_exact_pngs(serve, n_channels):
    service = serve(FakeService(answer_vertex, describe=httpx2.Response(405)))
    images = np.repeat(IMAGES, n_channels, axis=1)
    encoder = vertex()
    vectors = encoder.embed(images)
    (request,) = service.posts
    assert str(request.url) == f"{URL}/predict"
    sent = np.stack(read_vertex(request))
    expected = np.rint(images * 255)
    expected = expected[:, 0] if n_channels == 1 else np.moveaxis(expected, 1, -1)
    np.testing.assert_array_equal(sent, expected)
    np.testing.assert_array_equal(vectors, embed(expected))
    assert encoder.levels == 255


def test_wrong_numbers_of_rows_and_nan_are_errors_at_once(serve):
    def too_few(request):
        return httpx2.Response(
            200, json={"predictions": answer_vertex(request).json()["predictions"][:2]}
        )

    def not_a_number(request):
        predictions = answer_vertex(request).json()["predictions"]
        predictions[1]["general_img_emb"][0][0][0] = None
        return httpx2.Response(200, json={"predictions": predictions})

    service = serve(FakeService(answer_vertex, plan=[too_few, not_a_number]))
    with pytest.raises(ValueError, match=r"2 predictions .* 3 images; rows \[2\]"):
        vertex().embed(IMAGES)
    with pytest.raises(ValueError, match=r"NaN or infinity for rows \[1\]"):
        vertex().embed(IMAGES)
    assert len(service.posts) == 2


# What decides the embeddings, and what is kept --------------------------------------------------


def test_the_fingerprint_knows_the_model_but_not_the_host(serve, monkeypatch):
    monkeypatch.setenv("SKDNE_TEST_KEY", "s3cret")
    serve(FakeService(describe=metadata((-1, -1, -1, -1), "FP32", ("a", "b"))))
    options = {"output": "a", "channels": "first"}
    first = v2(**options).fingerprint
    moved = HTTPEncoder(
        "http://127.0.0.2:9", model="m", **options, concurrency=2, auth="SKDNE_TEST_KEY"
    )
    assert moved.fingerprint == first
    for change in (
        {"output": "b"},
        {"channels": "last"},
        {"model": "n"},
        {"model_version": "1"},
        {"input_size": (4, 4)},
        {"pixel_range": (0, 4095)},
    ):
        assert v2(**options | change).fingerprint != first
    elsewhere = HTTPEncoder(f"{URL}/eu", model="m", **options)
    assert elsewhere.fingerprint != first
    serve(FakeService(describe=metadata((-1, -1, -1, -1), "UINT8", ("a", "b"))))
    assert v2(**options).fingerprint != first  # what is sent has changed
    assert vertex().fingerprint == HTTPEncoder("http://localhost/predict", "vertex").fingerprint
    assert vertex(model="other").fingerprint != vertex().fingerprint


def test_it_pickles_as_what_was_given_and_clones_as_itself(serve, monkeypatch):
    monkeypatch.setenv("SKDNE_TEST_KEY", "s3cret")
    serve(FakeService())
    encoder = v2(concurrency=2, auth="SKDNE_TEST_KEY")
    before = pickle.dumps(encoder), joblib.hash(encoder)
    encoder.embed(IMAGES)
    assert (pickle.dumps(encoder), joblib.hash(encoder)) == before
    assert clone(encoder) is encoder
    for twin in (pickle.loads(before[0]), copy.copy(encoder), copy.deepcopy(encoder)):
        assert (twin, hash(twin)) == (encoder, hash(encoder))
        np.testing.assert_array_equal(twin.embed(IMAGES), embed(IMAGES * 255))
    assert encoder != v2(concurrency=3, auth="SKDNE_TEST_KEY")


def test_repr_shows_what_was_given(serve):
    serve(FakeService())
    encoder = v2(concurrency=2)
    encoder.load()
    assert repr(encoder) == f"HTTPEncoder({URL!r}, batch_size=4, model='m', concurrency=2)"
    assert repr(vertex()) == f"HTTPEncoder('{URL}/predict', protocol='vertex')"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"protocol": "grpc"}, "protocol must be one of"),
        ({"model": None}, "model must be the name"),
        ({"url": f"{URL}/v2/models/m"}, "without '/v2'"),
        ({"url": "localhost:8000"}, "must start with http"),
        ({"url": "http://host:port"}, "must be an address"),
        ({"encoding": "grpc"}, "encoding must be one of"),
        ({"channels": "middle"}, "channels must be one of"),
        ({"datatype": "BYTES"}, "datatype must be one of"),
        ({"concurrency": 0}, "concurrency must be a positive whole number"),
        ({"attempts": 2.5}, "attempts must be a positive whole number"),
        ({"timeout": float("nan")}, "timeout must be a positive number"),
        ({"retry_timeout": None}, "retry_timeout must be a positive number"),
        ({"output": ""}, "output must be a text"),
        ({"protocol": "vertex", "encoding": "json"}, "encoding is of protocol 'v2'"),
        ({"protocol": "vertex", "n_channels": 4}, "n_channels must be 1 or 3"),
    ],
)
def test_bad_parameters_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        HTTPEncoder(**{"url": URL, "model": "m", **options})


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "skdne.encoders._connection")
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(ImportError, match=r'httpx2: pip install "skdne\[http\]"'):
        v2()
