"""The predict JSON of Vertex AI with images as base64 PNG, in the shape of Google's CXR Foundation.

Source: https://github.com/Google-Health/cxr-foundation (python/serving/predictor.py).
"""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from typing import Any

import numpy as np
from PIL import Image

INPUT, OUTPUT = "input_bytes", "general_img_emb"
MAY_HEAL = frozenset({429, *range(500, 600), 4, 8, 10, 13, 14})  # HTTP and gRPC codes of one item


@dataclasses.dataclass(frozen=True)
class ItemError:
    """The error of one image inside a reply of status 200."""

    words: str
    may_heal: bool


def encode_png(pixels: np.ndarray) -> bytes:
    """Return uint8 pixels (C, H, W), grey or RGB, as a PNG: every pixel arrives as it is."""
    if len(pixels) not in (1, 3):
        raise ValueError(f"images must have 1 or 3 channels for a PNG, got {len(pixels)}.")
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)  # noise does not get smaller by trying longer
    return file.getvalue()


def encode_instances(pixels: np.ndarray, key: str) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of a request for uint8 ``pixels`` (b, C, H, W)."""
    instances = [{key: base64.b64encode(encode_png(image)).decode()} for image in pixels]
    body = json.dumps({"instances": instances}).encode()
    return {"Content-Type": "application/json"}, body


def read_predictions(reply: Any, key: str) -> list[np.ndarray | ItemError]:
    """Return a flat vector, or an error, for each instance of the request.

    Raises
    ------
    ValueError
        If this is no such reply, or ``key`` is not in it.
    """
    if isinstance(reply, dict) and "error" in reply and "predictions" not in reply:
        raise ValueError(f"the service returned an error: {_item_error(reply['error']).words}.")
    predictions = reply.get("predictions") if isinstance(reply, dict) else None
    if not isinstance(predictions, list):
        raise ValueError("the reply has no list of 'predictions'; check url and protocol.")
    return [_read_prediction(prediction, key) for prediction in predictions]


def _read_prediction(prediction: Any, key: str) -> np.ndarray | ItemError:
    if isinstance(prediction, dict):
        if prediction.get("error"):  # an embedding beside "error": null is an embedding
            return _item_error(prediction["error"])
        if key not in prediction:
            raise ValueError(
                f"the predictions have no {key!r} but {sorted(prediction)}; give one as output."
            )
        prediction = prediction[key]  # else a bare list, as models with one output return
    return np.asarray(prediction, dtype=float).ravel()  # null is how some services write NaN


def _item_error(error: Any) -> ItemError:
    if not isinstance(error, dict):
        return ItemError(str(error), False)
    words = error.get("message") or error.get("description") or json.dumps(error)
    code = error.get("code")
    if isinstance(code, str) and code.isdigit():
        code = int(code)
    named = "" if code is None else f"{code}: "
    return ItemError(f"{named}{words}", isinstance(code, int) and code in MAY_HEAL)
