"""The two wire formats of HTTPEncoder, without a client: bytes in, bytes out."""

import base64
import io
import json

import numpy as np
import pytest
from fake_service import metadata
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from skdne.encoders import _v2, _vertex
from skdne.encoders._faults import CutOffError

NOT_GIVEN = dict.fromkeys(
    ("input", "output", "datatype", "channels", "input_size", "n_channels"), None
) | {"batch_size": 64}


def signature_of(described, **given_):
    return _v2.read_signature(described, NOT_GIVEN | given_)


def a_signature(datatype="UINT8", axes="bchw", output="out"):
    return _v2.Signature("images", datatype, axes, None, None, output)


def split(headers, body):
    length = int(headers[_v2.HEADER_LENGTH])
    return json.loads(body[:length]), body[length:]


# Requests and replies ---------------------------------------------------------------------------


def test_a_binary_request_is_the_specification_s_by_hand():
    pixels = np.array([[[[1, 2], [3, 4]]], [[[5, 6], [7, 255]]]], dtype=np.uint8)
    headers, body = _v2.encode_request(pixels, a_signature(), binary=True)
    header, raw = split(headers, body)
    assert header == {
        "inputs": [
            {
                "name": "images",
                "shape": [2, 1, 2, 2],
                "datatype": "UINT8",
                "parameters": {"binary_data_size": 8},
            }
        ],
        "outputs": [{"name": "out", "parameters": {"binary_data": True}}],
    }
    assert raw == bytes([1, 2, 3, 4, 5, 6, 7, 255])
    assert headers["Content-Type"] == "application/octet-stream"


def test_a_binary_reply_by_hand():
    # the example of the specification: a [3, 2] tensor of FP32, 24 bytes, little-endian
    header = (
        b'{"outputs":[{"name":"output0","shape":[3,2],"datatype":"FP32",'
        b'"parameters":{"binary_data_size":24}}]}'
    )
    raw = bytes.fromhex("0000803f 00000040 00004040 00008040 0000a040 0000c0bf")
    found = _v2.decode_reply({_v2.HEADER_LENGTH: str(len(header))}, header + raw, "output0")
    np.testing.assert_array_equal(found, [[1, 2], [3, 4], [5, -1.5]])


def test_a_reply_may_mix_binary_and_json_and_hold_more_outputs():
    header = json.dumps(
        {
            "outputs": [
                {
                    "name": "a",
                    "shape": [1],
                    "datatype": "BOOL",
                    "parameters": {"binary_data_size": 1},
                },
                {"name": "b", "shape": [1, 2], "datatype": "FP64", "data": [0.5, None]},
                {
                    "name": "c",
                    "shape": [1, 2],
                    "datatype": "FP16",
                    "parameters": {"binary_data_size": 4},
                },
            ]
        }
    ).encode()
    headers = {_v2.HEADER_LENGTH: str(len(header))}
    body = header + b"\x01" + np.array([1.5, -2], "<f2").tobytes()
    np.testing.assert_array_equal(_v2.decode_reply(headers, body, "c"), [[1.5, -2]])
    np.testing.assert_array_equal(_v2.decode_reply(headers, body, "b"), [[0.5, np.nan]])
    with pytest.raises(ValueError, match=r"several outputs; give output, one of \['a', 'b', 'c'\]"):
        _v2.decode_reply(headers, body, None)
    with pytest.raises(ValueError, match="no output 'd'"):
        _v2.decode_reply(headers, body, "d")
    for cut in (1, 4, len(body) - len(header) + 3):
        with pytest.raises(CutOffError):
            _v2.decode_reply(headers, body[:-cut], "c")
    with pytest.raises(ValueError, match="2 bytes more"):
        _v2.decode_reply(headers, body + b"xx", "c")


@pytest.mark.parametrize("axes", ["bchw", "bhwc", "bhw"])
@pytest.mark.parametrize("binary", [True, False])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_is_encoded_arrives(axes, binary, data):
    datatype, dtype = data.draw(
        st.sampled_from([("UINT8", "u1"), ("UINT16", "<u2"), ("FP16", "<f2"), ("FP32", "<f4")])
    )
    n_channels = 1 if axes == "bhw" else data.draw(st.sampled_from([1, 3]))
    b, h, w = (data.draw(st.integers(1, 4)) for _ in range(3))
    pixels = data.draw(hnp.arrays(dtype, (b, n_channels, h, w)))
    headers, body = _v2.encode_request(pixels, a_signature(datatype, axes), binary)
    header, raw = split(headers, body) if binary else (json.loads(body), b"")
    (tensor,) = header["inputs"]
    values = np.frombuffer(raw, dtype) if binary else np.array(tensor["data"], dtype)
    images = values.reshape(tensor["shape"])
    expected = {"bchw": pixels, "bhwc": np.moveaxis(pixels, 1, 3), "bhw": pixels[:, 0]}[axes]
    np.testing.assert_array_equal(images, expected)  # NaN equals NaN here
    # the same bytes as an output come back as they went
    reply = {"outputs": [tensor | {"name": "out"}]}
    back = json.dumps(reply).encode()
    back_headers = {_v2.HEADER_LENGTH: str(len(back))} if binary else {}
    vectors = _v2.decode_reply(back_headers, back + raw, "out")
    np.testing.assert_array_equal(vectors, expected.reshape(b, -1))


def test_json_that_is_no_reply():
    for body in (b"", b'{"outputs": [', b"[1, 2"):
        with pytest.raises(CutOffError):
            _v2.decode_reply({}, body, None)
    for body, words in {
        b"<html>Sign in</html>": "not JSON.*Sign in",
        b'{"predictions": []}': "no 'outputs'",
        b'{"outputs": [{"name": "o", "shape": [3], "datatype": "FP32", "data": [1]}]}': "1 values",
        b'{"outputs": [{"name": "o", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}': "BYTES",
    }.items():
        with pytest.raises(ValueError, match=words):
            _v2.decode_reply({}, body, None)


# What a model takes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "given_", "expected"),
    [
        ((-1, 1, 224, 200), {}, ("bchw", (224, 200), 1)),
        ((-1, 224, 200, 3), {}, ("bhwc", (224, 200), 3)),
        ((-1, 224, 200), {}, ("bhw", (224, 200), 1)),
        ((-1, 3, -1, -1), {}, ("bchw", None, 3)),
        ((-1, -1, -1, 3), {"input_size": (8, 9)}, ("bhwc", (8, 9), 3)),
        ((-1, -1, 8, 9), {}, ("bchw", (8, 9), None)),
        ((-1, -1, -1, -1), {"channels": "last", "n_channels": 1}, ("bhwc", None, 1)),
        ((-1, -1, -1, -1), {"channels": "first"}, ("bchw", None, None)),
        ((-1, 3, 4, 3), {"input_size": (4, 3)}, ("bchw", (4, 3), 3)),
        ((1, 3, 8, 8), {"batch_size": 1}, ("bchw", (8, 8), 3)),
    ],
)
def test_shapes_that_tell_the_axes(shape, given_, expected):
    signature = signature_of(metadata(shape), **given_)
    assert (signature.axes, signature.input_size, signature.n_channels) == expected
    assert (signature.input, signature.output, signature.levels) == ("images", "vectors", 255)


@pytest.mark.parametrize(
    ("described", "given_", "words"),
    [
        (metadata((-1, -1, -1, -1)), {}, "channels='first' or 'last'"),
        (metadata((-1, 3, 8, 3)), {}, "channels='first' or 'last'"),
        (metadata((-1, 1, 8, 8)), {"n_channels": 3}, "n_channels=3"),
        (metadata((-1, 8, 8)), {"n_channels": 3}, "n_channels=3"),
        (metadata((-1, 1, 8, 8)), {"input_size": (8, 9)}, r"input_size=\(8, 9\)"),
        (metadata((-1, 1, 8, 8)), {"channels": "last"}, "channels='last'"),
        (metadata((-1, 784)), {}, "does not fit images"),
        (metadata((3, 8, 8)), {}, "first axis"),
        (metadata((1, 3, 8, 8)), {}, "batch_size=1"),
        (metadata(), {"datatype": "FP32"}, "datatype='FP32', but model 'm' takes UINT8"),
        (metadata(datatype="INT64"), {}, "takes INT64"),
        (metadata(outputs=("a", "b")), {}, r"give output, one of \['a', 'b'\]"),
        (metadata(outputs=("a", "b")), {"output": "c"}, r"output='c', but the outputs .*'a', 'b'"),
        (metadata(), {"input": "pixels"}, r"input='pixels', but .*'images'"),
        ({**metadata(), "inputs": metadata()["inputs"] * 2}, {}, "several inputs"),
        ({"name": "m"}, {}, "give datatype, input and channels"),
        ({"name": "m"}, {"datatype": "UINT8", "channels": "first"}, "give input"),
        ({"name": "m"}, {"datatype": "UINT8", "input": "x"}, "give channels"),
    ],
)
def test_contradictions_and_gaps_are_errors(described, given_, words):
    with pytest.raises(ValueError, match=words):
        signature_of(described, **given_)


def test_a_service_that_tells_nothing_is_told_all():
    found = signature_of({"name": "m"}, datatype="FP32", input="x", channels="last")
    assert found == _v2.Signature("x", "FP32", "bhwc", None, None, None)
    header, _ = split(*_v2.encode_request(np.zeros((1, 1, 2, 2), np.float32), found, binary=True))
    assert header["parameters"] == {"binary_data_output": True}
    assert "outputs" not in header


# The predict JSON -------------------------------------------------------------------------------


@pytest.mark.parametrize("n_channels", [1, 3])
def test_pngs_hold_every_grey_level_exactly(n_channels):
    pixels = np.arange(2 * n_channels * 16 * 24, dtype=np.int64).astype(np.uint8)
    pixels = pixels.reshape(2, n_channels, 16, 24)
    headers, body = _vertex.encode_instances(pixels, "x")
    assert headers["Content-Type"] == "application/json"
    for item, sent in zip(json.loads(body)["instances"], pixels, strict=True):
        image = Image.open(io.BytesIO(base64.b64decode(item["x"])))
        assert (image.format, image.mode) == ("PNG", "L" if n_channels == 1 else "RGB")
        expected = sent[0] if n_channels == 1 else np.moveaxis(sent, 0, -1)
        np.testing.assert_array_equal(np.asarray(image), expected)
    with pytest.raises(ValueError, match="1 or 3 channels"):
        _vertex.encode_png(np.zeros((2, 4, 4), np.uint8))


def test_predictions_are_flat_vectors_or_errors():
    items = [
        {"e": [[1, 2], [3, None]], "error": None},
        [5.0, 6.0],
        {"error": {"code": 14, "message": "busy"}},
        {"error": {"code": "503", "message": "busy"}},
        {"error": {"code": 3, "message": "no X-ray"}},
        {"error": {"description": "Internal error getting prediction for instance."}},
        {"error": "bad PNG"},
    ]
    found = _vertex.read_predictions({"predictions": items}, "e")
    np.testing.assert_array_equal(found[0], [1, 2, 3, np.nan])
    np.testing.assert_array_equal(found[1], [5, 6])
    assert [(error.words, error.may_heal) for error in found[2:]] == [
        ("14: busy", True),
        ("503: busy", True),
        ("3: no X-ray", False),
        ("Internal error getting prediction for instance.", False),
        ("bad PNG", False),
    ]
    with pytest.raises(ValueError, match=r"no 'f' but \['e', 'error'\]; give one as output"):
        _vertex.read_predictions({"predictions": items[:1]}, "f")
    with pytest.raises(ValueError, match="error: quota"):
        _vertex.read_predictions({"error": {"message": "quota"}}, "e")
    with pytest.raises(ValueError, match="no list of 'predictions'"):
        _vertex.read_predictions({"outputs": []}, "e")
