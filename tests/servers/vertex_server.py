"""A service of the Vertex AI shape, as Google's CXR Foundation has it.

POST any path that ends in ``predict`` with ``{"instances": [{"input_bytes": base64 PNG}]}``.
An image that cannot be read is an error of its own inside the reply of status 200.
"""

import base64
import binascii
import io

import numpy as np
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from PIL import Image

from servers.bearer import BearerToken
from servers.models import from_wire, make_model


def make_app(token=None, expires_after=None, **model):
    model = make_model(**model)
    app = FastAPI()

    @app.post("/{path:path}")
    async def predict(path: str, request: Request):
        if not path.endswith("predict"):
            raise HTTPException(404)
        body = await request.json()
        if not isinstance(body.get("instances"), list):
            raise HTTPException(400, 'The body needs the key "instances": a list.')
        return {"predictions": await run_in_threadpool(embed_all, model, body["instances"])}

    return BearerToken(app, token, expires_after)


def embed_all(model, instances):
    images = [read_image(instance, model.input_shape) for instance in instances]
    good = [image for image in images if not isinstance(image, str)]
    vectors = iter(model.embed(np.stack(good)) if good else ())
    return [
        {"error": {"code": 3, "message": image}}
        if isinstance(image, str)
        else {"general_img_emb": [next(vectors).tolist()]}
        for image in images
    ]


def read_image(instance, input_shape):
    """Pixels in [0, 1] of shape (C, H, W), or a string that says what is wrong."""
    try:
        picture = Image.open(io.BytesIO(base64.b64decode(instance["input_bytes"], validate=True)))
        pixels = np.asarray(picture)
    except (KeyError, TypeError, binascii.Error, OSError) as error:
        return f"no readable image: {error!r}"
    if picture.format != "PNG" or pixels.dtype != np.uint8:
        return f"expected an 8-bit PNG, got {picture.format} with {pixels.dtype} pixels"
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if pixels.shape != input_shape:
        return f"expected an image of shape {input_shape}, got {pixels.shape}"
    return from_wire(pixels)
