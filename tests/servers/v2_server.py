"""The Open Inference Protocol (V2) with its binary tensor extension, from the specification.

Options: ``datatype`` ("UINT8" or "FP32") of the input, ``channels_last``, ``extra_output`` (two
outputs, clients must choose), ``token`` and ``expires_after`` (see bearer.py), the model's.
"""

import json

import numpy as np
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from servers.bearer import BearerToken
from servers.models import from_wire, make_model

DTYPES = {"UINT8": np.dtype(np.uint8), "FP32": np.dtype("<f4")}
LENGTH = "Inference-Header-Content-Length"


def make_app(
    datatype="UINT8",
    channels_last=False,
    extra_output=False,
    token=None,
    expires_after=None,
    **model,
):
    model = make_model(**model)
    app = FastAPI()
    channels, *size = model.input_shape
    shape = [-1, *size, channels] if channels_last else [-1, channels, *size]
    outputs = [{"name": "embedding", "datatype": "FP32", "shape": [-1, model.n_features]}]
    if extra_output:
        outputs.append({"name": "norm", "datatype": "FP32", "shape": [-1, 1]})
    metadata = {
        "name": "encoder",
        "versions": ["1"],
        "platform": "numpy",
        "inputs": [{"name": "images", "datatype": datatype, "shape": shape}],
        "outputs": outputs,
    }

    def compute(pixels):
        images = from_wire(pixels.transpose(0, 3, 1, 2) if channels_last else pixels)
        vectors = model.embed(images)
        return {
            "embedding": vectors,
            "norm": np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float32),
        }

    @app.exception_handler(ValueError)
    async def refuse(request: Request, error: ValueError):
        return JSONResponse({"error": str(error)}, 400)

    @app.exception_handler(HTTPException)
    async def not_found(request: Request, error: HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code)

    @app.get("/v2/health/{what}")
    async def health(what: str):
        return {}

    def check_name(name, version):
        if name != "encoder" or version != "1":
            raise HTTPException(404, f"Request for unknown model: '{name}' is not found")

    @app.get("/v2/models/{name}")
    @app.get("/v2/models/{name}/versions/{version}")
    async def describe(name: str, version: str = "1"):
        check_name(name, version)
        return metadata

    @app.post("/v2/models/{name}/infer")
    @app.post("/v2/models/{name}/versions/{version}/infer")
    async def infer(request: Request, name: str, version: str = "1"):
        check_name(name, version)
        head, pixels = read_request(await request.body(), request.headers.get(LENGTH), metadata)
        vectors = await run_in_threadpool(compute, pixels)
        return write_reply(head, vectors, outputs)

    return BearerToken(app, token, expires_after)


def read_request(body, length, metadata):
    """The JSON part of an inference request and the pixels of its one input."""
    n_json = len(body) if length is None else int(length)
    head, binary = json.loads(body[:n_json]), body[n_json:]
    (expected,) = metadata["inputs"]
    if [tensor["name"] for tensor in head["inputs"]] != [expected["name"]]:
        raise ValueError(f"expected the one input '{expected['name']}'")
    (tensor,) = head["inputs"]
    if tensor["datatype"] != expected["datatype"]:
        raise ValueError(f"expected datatype {expected['datatype']}, got {tensor['datatype']}")
    shape = tensor["shape"]
    if len(shape) != 4 or shape[1:] != expected["shape"][1:]:
        raise ValueError(f"unexpected shape {shape} for input, expecting {expected['shape']}")
    dtype = DTYPES[tensor["datatype"]]
    if "data" in tensor:
        return head, np.asarray(tensor["data"], dtype=dtype).reshape(shape)
    n_binary = tensor.get("parameters", {}).get("binary_data_size")
    if n_binary != len(binary) or n_binary != dtype.itemsize * int(np.prod(shape)):
        raise ValueError(f"binary_data_size {n_binary} does not fit {len(binary)} bytes, {shape}")
    return head, np.frombuffer(binary, dtype=dtype).reshape(shape)


def write_reply(head, vectors, outputs):
    """The reply; each output binary where the request asks so for it, or for all."""
    all_binary = head.get("parameters", {}).get("binary_data_output", False)
    wanted = head.get("outputs") or [{"name": output["name"]} for output in outputs]
    tensors, parts = [], []
    for output in wanted:
        if output["name"] not in [known["name"] for known in outputs]:
            raise ValueError(f"unexpected inference output '{output['name']}'")
        values = vectors[output["name"]]
        tensor = {"name": output["name"], "datatype": "FP32", "shape": list(values.shape)}
        if output.get("parameters", {}).get("binary_data", all_binary):
            parts.append(values.astype("<f4").tobytes())
            tensor["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            tensor["data"] = values.ravel().tolist()
        tensors.append(tensor)
    reply = {"model_name": "encoder", "model_version": "1", "outputs": tensors}
    if "id" in head:
        reply["id"] = head["id"]
    text = json.dumps(reply).encode()
    if not parts:
        return Response(text, media_type="application/json")
    length = {LENGTH: str(len(text))}
    return Response(text + b"".join(parts), 200, length, "application/octet-stream")
