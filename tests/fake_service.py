"""A service in the process, for tests of HTTPEncoder: it keeps what it got, and fails on plan."""

import base64
import contextlib
import io
import json

import httpx2
import numpy as np
from PIL import Image

from skdne.encoders import _connection

URL = "http://127.0.0.1:8000"
HEADER = "Inference-Header-Content-Length"
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 1, 4, 6)).astype(np.float32) / 255


def metadata(shape=(-1, 1, 4, 6), datatype="UINT8", outputs=("vectors",)):
    return {
        "name": "m",
        "platform": "",
        "inputs": [{"name": "images", "shape": list(shape), "datatype": datatype}],
        "outputs": [{"name": name, "shape": [-1, 5], "datatype": "FP32"} for name in outputs],
    }


def embed(pixels):
    """First five values of each image as they arrived."""
    return np.asarray(pixels, dtype=np.float32).reshape(len(pixels), -1)[:, :5]


def read_v2(request):
    """Pixels of a V2 request, in binary or JSON, and the JSON; written from the specification."""
    body, length = request.content, request.headers.get(HEADER)
    header = json.loads(body if length is None else body[: int(length)])
    (tensor,) = header["inputs"]
    dtype = {"UINT8": "u1", "UINT16": "<u2", "FP16": "<f2", "FP32": "<f4"}[tensor["datatype"]]
    if length is None:
        return np.array(tensor["data"], dtype).reshape(tensor["shape"]), header
    raw = body[int(length) :]
    assert tensor["parameters"] == {"binary_data_size": len(raw)}
    return np.frombuffer(raw, dtype).reshape(tensor["shape"]), header


def reply_v2(vectors, binary, name="vectors"):
    vectors = np.asarray(vectors, dtype="<f4")
    tensor = {"name": name, "shape": list(vectors.shape), "datatype": "FP32"}
    if not binary:
        tensor["data"] = vectors.ravel().tolist()
        return httpx2.Response(200, json={"model_name": "m", "outputs": [tensor]})
    tensor["parameters"] = {"binary_data_size": vectors.nbytes}
    header = json.dumps({"model_name": "m", "outputs": [tensor]}).encode()
    content = header + vectors.tobytes()
    return httpx2.Response(200, content=content, headers={HEADER: str(len(header))})


def answer_v2(request):
    pixels, _ = read_v2(request)
    return reply_v2(embed(pixels), HEADER in request.headers)


def answer_json_only(request):
    """Answer as MLServer does."""
    if HEADER in request.headers:
        return httpx2.Response(422, json={"detail": "not JSON"})
    return answer_v2(request)


def read_vertex(request, key="input_bytes"):
    """The images of a predict request, as arrays (H, W) or (H, W, C)."""
    pngs = [base64.b64decode(item[key]) for item in json.loads(request.content)["instances"]]
    images = [Image.open(io.BytesIO(png)) for png in pngs]
    assert all(image.format == "PNG" for image in images)
    return [np.asarray(image) for image in images]


def item_vertex(image):
    return {"general_img_emb": [embed(image[None]).tolist()]}  # nested, as CXR Foundation's


def answer_vertex(request):
    return httpx2.Response(200, json={"predictions": [*map(item_vertex, read_vertex(request))]})


class FakeService:
    """Gives the planned replies first (a response, an exception or a function), then answers."""

    def __init__(self, answer=answer_v2, describe=None, plan=()):
        self.answer, self.plan = answer, list(plan)
        self.describe = metadata() if describe is None else describe
        self.gets, self.posts = [], []

    def __call__(self, request):
        if request.method == "GET":
            self.gets.append(request)
            described = self.describe
        else:
            self.posts.append(request)
            described = self.plan.pop(0) if self.plan else self.answer
        if isinstance(described, Exception):
            raise described
        if isinstance(described, dict):
            return httpx2.Response(200, json=described)
        return described(request) if callable(described) else described


@contextlib.contextmanager
def serving(monkeypatch):
    """Yield a function that puts a service in the place of the network, for new connections."""

    def serve(service):
        def make_client(*args):
            return httpx2.Client(transport=httpx2.MockTransport(service))

        monkeypatch.setattr(_connection, "make_client", make_client)
        _connection._connections.cache_clear()
        return service

    yield serve
    _connection._connections.cache_clear()
