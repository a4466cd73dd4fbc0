"""Requests and replies by hand, with nothing of the package: what the servers are checked with."""

import base64
import io
import json

import numpy as np
from PIL import Image

from servers.models import Projection

INFER = "/v2/models/encoder/infer"
PREDICT = "/v1/endpoints/1:predict"
LENGTH = "Inference-Header-Content-Length"


def pixels(n=5, size=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 1, size, size)).astype(np.uint8)


def expected(images):
    return Projection().embed(images.astype(np.float32) / np.float32(255))


def v2_json(images, datatype="UINT8"):
    shape = list(images.shape)
    tensor = {"name": "images", "datatype": datatype, "shape": shape, "data": images.tolist()}
    return {"json": {"inputs": [tensor]}}


def v2_binary(images, datatype="UINT8", **more):
    size = {"parameters": {"binary_data_size": images.nbytes}}
    tensor = {"name": "images", "datatype": datatype, "shape": list(images.shape), **size}
    head = {"inputs": [tensor], "parameters": {"binary_data_output": True}, **more}
    text = json.dumps(head).encode()
    return {"content": text + images.tobytes(), "headers": {LENGTH: str(len(text))}}


def v2_vectors(reply, output=0):
    """Vectors of a reply, JSON or binary with one output."""
    n = int(reply.headers.get(LENGTH, len(reply.content)))
    tensor = json.loads(reply.content[:n])["outputs"][output]
    if "data" in tensor:
        return np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
    assert tensor["parameters"]["binary_data_size"] == len(reply.content) - n
    return np.frombuffer(reply.content[n:], "<f4").reshape(tensor["shape"])


def vertex(images):
    instances = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image[0]).save(file, "PNG")
        instances.append({"input_bytes": base64.b64encode(file.getvalue()).decode()})
    return {"json": {"instances": instances}}


def vertex_vectors(reply):
    return np.array([row["general_img_emb"][0] for row in reply.json()["predictions"]], "f4")
