"""The Open Inference Protocol (V2): what a model takes, and requests and replies as bytes.

Sources: https://github.com/kserve/open-inference-protocol and, for tensors in binary form,
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from skdne.encoders._faults import CutOffError

HEADER_LENGTH = "Inference-Header-Content-Length"
DTYPES = {
    "BOOL": "?",
    **{f"UINT{8 * size}": f"<u{size}" for size in (1, 2, 4, 8)},
    **{f"INT{8 * size}": f"<i{size}" for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": f"<f{size}" for size in (2, 4, 8)},
}
LEVELS = {"UINT8": 255, "UINT16": 65535, "FP16": None, "FP32": None, "FP64": None}


@dataclasses.dataclass(frozen=True)
class Signature:
    """What a model takes and returns.

    Parameters
    ----------
    input : str
        Name of the tensor of images.
    datatype : str
        A key of ``LEVELS``.
    axes : {"bchw", "bhwc", "bhw"}
        Order of its axes: batch, channels, height, width.
    input_size : (int, int) or None
    n_channels : int or None
        None is any.
    output : str or None
        Name of the tensor of embeddings; None where the service does not tell, the only one then.
    """

    input: str
    datatype: str
    axes: str
    input_size: tuple[int, int] | None
    n_channels: int | None
    output: str | None

    @property
    def levels(self) -> int | None:
        return LEVELS[self.datatype]


def read_signature(metadata: Mapping[str, Any], given: Mapping[str, Any]) -> Signature:
    """Combine what the service says of its model with what the user gave.

    Parameters
    ----------
    metadata : mapping
        Reply to ``GET /v2/models/{model}``.
    given : mapping
        The user's ``input``, ``output``, ``datatype``, ``channels``, ``input_size``,
        ``n_channels`` (None is not given) and ``batch_size``.

    Raises
    ------
    ValueError
        If the two contradict each other, or both do not say enough.
    """
    name = metadata.get("name")
    tensor = _choose("input", metadata.get("inputs") or [], given["input"], name)
    output = _choose("output", metadata.get("outputs") or [], given["output"], name)
    datatype = tensor.get("datatype") or given["datatype"]
    if given["datatype"] not in (None, datatype):
        raise ValueError(
            f"datatype={given['datatype']!r}, but model {name!r} takes {datatype} by its metadata; "
            "leave datatype out."
        )
    if datatype not in LEVELS:
        raise ValueError(
            f"model {name!r} takes {datatype or 'a datatype it does not tell'}; images can be sent "
            f"as {', '.join(LEVELS)}; use a model that takes one of them."
            + ("" if datatype else " Its metadata tells none: give datatype, input and channels.")
        )
    if not tensor.get("name"):
        raise ValueError(f"the metadata of model {name!r} names no input; give input.")
    axes, sizes = _read_shape(tensor.get("shape"), given, name)
    known = {axis: size for axis, size in sizes.items() if size > 0}
    return Signature(
        input=tensor["name"],
        datatype=datatype,
        axes=axes,
        input_size=(known["h"], known["w"]) if {"h", "w"} <= set(known) else given["input_size"],
        n_channels=known.get("c", given["n_channels"]),
        output=output.get("name"),
    )


def _choose(kind: str, tensors: list[Any], wanted: str | None, model: Any) -> dict[str, Any]:
    """The tensor that is meant: the only one, or the one that was named."""
    names = [tensor["name"] for tensor in tensors]
    if not names:
        return {"name": wanted}
    if wanted is not None and wanted not in names:
        raise ValueError(
            f"{kind}={wanted!r}, but the {kind}s of model {model!r} are {names}; name one."
        )
    if kind == "input" and len(names) > 1:
        raise ValueError(
            f"model {model!r} takes several inputs, {names}; use one that takes images alone."
        )
    if wanted is None and len(names) > 1:
        raise ValueError(f"model {model!r} returns several outputs; give output, one of {names}.")
    return tensors[0] if wanted is None else tensors[names.index(wanted)]


def _read_shape(shape: Any, given: Mapping[str, Any], model: Any) -> tuple[str, dict[str, int]]:
    """Order of the axes and their sizes (-1 is any), where shape and user allow only one order."""
    shape = [int(size) for size in shape or ()]
    channels, n_channels, input_size = given["channels"], given["n_channels"], given["input_size"]
    orders = {"first": "bchw", "last": "bhwc", None: "bhw"}
    if not shape:  # not told
        if channels is None:
            raise ValueError(
                f"the metadata of model {model!r} tells no shape of its input; give channels."
            )
        return orders[channels], {}
    if shape[0] > 0 and (shape[0] > 1 or given["batch_size"] > 1):
        raise ValueError(
            f"model {model!r} takes an input of shape {shape}; its first axis must be that of the "
            "batch, and free (-1), or 1 with batch_size=1."
        )
    height, width = input_size or (-1, -1)
    wanted = {"b": -1, "c": n_channels or -1, "h": height, "w": width}
    fitting = {}
    for place, axes in orders.items():
        sizes = {"c": 1, **dict(zip(axes, shape, strict=False))}
        fits = all(
            size == wanted[axis] or -1 in (size, wanted[axis]) for axis, size in sizes.items()
        )
        fits = fits and len(axes) == len(shape) and sizes["c"] in (-1, 1, 3)
        if fits and channels in (None, place):
            fitting[axes] = sizes
    if len(fitting) > 1:  # [-1, 3, -1, -1] says which, [-1, -1, -1, -1] does not
        told = {axes: sizes for axes, sizes in fitting.items() if sizes["c"] > 0}
        fitting = told if len(told) == 1 else fitting
    if len(fitting) > 1:
        raise ValueError(
            f"model {model!r} takes an input of shape {shape}, which does not tell where the "
            "channels are; give channels='first' or 'last'."
        )
    if not fitting:
        raise ValueError(
            f"model {model!r} takes an input of shape {shape}, which does not fit images with "
            f"channels={channels!r}, n_channels={n_channels}, input_size={input_size}: expected "
            "(batch, channels, height, width) or (batch, height, width, channels)."
        )
    return next(iter(fitting.items()))


def encode_request(
    pixels: np.ndarray, signature: Signature, binary: bool
) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of a request for ``pixels`` (b, C, H, W)."""
    if signature.axes == "bhwc":
        pixels = pixels.transpose(0, 2, 3, 1)
    elif signature.axes == "bhw":
        if pixels.shape[1] != 1:
            raise ValueError(
                f"the model takes grey images, got {pixels.shape[1]} channels; set n_channels=1."
            )
        pixels = pixels[:, 0]
    pixels = np.ascontiguousarray(pixels, dtype=DTYPES[signature.datatype])
    tensor: dict[str, Any] = {
        "name": signature.input,
        "shape": list(pixels.shape),
        "datatype": signature.datatype,
    }
    request: dict[str, Any] = {"inputs": [tensor]}
    if signature.output is not None:
        request["outputs"] = [{"name": signature.output}]
    if not binary:
        tensor["data"] = pixels.ravel().tolist()
        return {"Content-Type": "application/json"}, json.dumps(request).encode()
    tensor["parameters"] = {"binary_data_size": pixels.nbytes}
    if signature.output is None:
        request["parameters"] = {"binary_data_output": True}
    else:
        request["outputs"][0]["parameters"] = {"binary_data": True}
    header = json.dumps(request).encode()
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(header))}
    return headers, header + pixels.tobytes()


def decode_reply(headers: Mapping[str, str], body: bytes, output: str | None) -> np.ndarray:
    """Return the embeddings in a reply, one row for each image.

    Raises
    ------
    CutOffError
        If the body ends too early.
    ValueError
        If it is no reply of this protocol, or the output is not in it.
    """
    length = headers.get(HEADER_LENGTH)
    reply = parse_json(body if length is None else body[: int(length)])
    tensors = reply.get("outputs") if isinstance(reply, dict) else None
    if not isinstance(tensors, list):
        raise ValueError(
            "the reply has no 'outputs', as of another protocol; check url and protocol."
        )
    data = memoryview(body)[int(length) :] if length else memoryview(b"")
    found = {}
    for tensor in tensors:  # in the order of their bytes
        size = (tensor.get("parameters") or {}).get("binary_data_size")
        if size is not None and int(size) > len(data):
            raise CutOffError("the reply ends before its tensors do")
        found[tensor["name"]] = tensor, None if size is None else data[: int(size)]
        data = data[int(size or 0) :]
    if len(data):
        raise ValueError(f"the reply has {len(data)} bytes more than its tensors; check the model.")
    if output is None and len(found) > 1:
        raise ValueError(f"the model returns several outputs; give output, one of {list(found)}.")
    if not found or output not in (None, *found):
        raise ValueError(f"the reply holds no output {output!r}, but {list(found)}; check output.")
    return _as_rows(*found[output if output is not None else next(iter(found))])


def _as_rows(tensor: Mapping[str, Any], raw: memoryview | None) -> np.ndarray:
    dtype = DTYPES.get(tensor["datatype"])
    if dtype is None:
        raise ValueError(
            f"output {tensor['name']!r} is {tensor['datatype']}, not numbers; give another."
        )
    shape = [int(size) for size in tensor["shape"]]
    # null is how some services write NaN
    values = np.asarray(tensor["data"], dtype=float) if raw is None else np.frombuffer(raw, dtype)
    if values.size != np.prod(shape):
        raise ValueError(
            f"output {tensor['name']!r} has {values.size} values for shape {shape}; check the "
            "model."
        )
    values = values.reshape(shape)
    return values.reshape(len(values), -1) if values.ndim > 2 and len(values) else values


def parse_json(body: bytes) -> Any:
    """Read JSON; an object without its end is :class:`CutOffError`, anything else ValueError."""
    try:
        return json.loads(body)
    except ValueError:
        text = bytes(body).decode(errors="replace").strip()
    if text[:1] in ("", "{", "["):
        raise CutOffError("the reply is not complete JSON")
    raise ValueError(f"the reply is not JSON, check url and protocol: {text!r}.")
