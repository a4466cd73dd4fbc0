"""Images in requests and vectors in replies, of all protocols that the servers speak."""

import hashlib
import json

import numpy as np

LENGTH = "inference-header-content-length"


def image_digests(body, headers):
    """One short digest for each image of a request, the same for the same pixels as sent."""
    head, binary = _split(body, headers)
    if "instances" in head:
        images = [json.dumps(instance, sort_keys=True).encode() for instance in head["instances"]]
    else:
        (tensor,) = head["inputs"]
        n = tensor["shape"][0]
        if "data" in tensor:
            pixels = np.asarray(tensor["data"], dtype=np.float64).reshape(n, -1)
            images = [image.tobytes() for image in pixels]
        else:
            size = len(binary) // n
            images = [binary[i * size : (i + 1) * size] for i in range(n)]
    return [hashlib.sha256(image).hexdigest()[:24] for image in images]


def change_reply(fault, body, headers):
    """A reply with something wrong in its (first) output: the body and the changed headers."""
    head, binary = _split(body, headers)
    if "predictions" in head:
        head["predictions"] = _change_predictions(fault, head["predictions"])
        return _joined(head, b"")
    tensor = head["outputs"][0]
    n_binary = tensor.get("parameters", {}).get("binary_data_size")
    rows = tensor["shape"][0]
    if n_binary is None:
        vectors = np.asarray(tensor["data"], dtype=np.float64).reshape(rows, -1)
        vectors = _change(fault, vectors)
        tensor["data"] = _as_json(fault, vectors.ravel())
    else:
        vectors = np.frombuffer(binary[:n_binary], dtype="<f4").reshape(rows, -1)
        vectors = _change(fault, vectors)
        binary = vectors.astype("<f4").tobytes() + binary[n_binary:]
        tensor["parameters"]["binary_data_size"] = vectors.size * 4
    tensor["shape"] = list(vectors.shape)
    return _joined(head, binary, with_length=n_binary is not None)


def _change(fault, vectors):
    vectors = vectors.copy()
    if fault in ("nan", "null"):
        vectors[-1, 0] = np.nan
        return vectors
    if fault == "precision":
        return vectors.astype(np.float16).astype(vectors.dtype)
    changed = {
        "few_rows": vectors[:-1],
        "dimension": vectors[:, :-1],
        "other_model": vectors[:, ::-1],
    }
    return changed[fault]


def _change_predictions(fault, predictions):
    if fault.startswith("item:"):
        error = {"code": int(fault.removeprefix("item:")), "message": "injected for one image"}
        return [{"error": error}, *predictions[1:]]
    ((key, _),) = predictions[0].items()
    vectors = _change(fault, np.asarray([row[key] for row in predictions]).squeeze(axis=1))
    return [{key: [_as_json(fault, vector)]} for vector in vectors]


def _as_json(fault, values):
    values = values.tolist()
    return [None if value != value else value for value in values] if fault == "null" else values


def _split(body, headers):
    n = int(headers.get(LENGTH, len(body)))
    return json.loads(body[:n]), body[n:]


def _joined(head, binary, with_length=False):
    text = json.dumps(head).encode()
    length = {"content-length": str(len(text) + len(binary))}
    if with_length:
        length[LENGTH] = str(len(text))
    return text + binary, length
