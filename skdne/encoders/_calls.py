"""The requests of HTTPEncoder: what a model takes, and embeddings by both protocols."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from skdne.encoders import _v2, _vertex
from skdne.encoders._connection import Connection, connection_to, httpx2
from skdne.encoders._faults import MayHealError, RefusedError
from skdne.encoders._requests import OnSend

if TYPE_CHECKING:
    from skdne.encoders._http import HTTPEncoder

# How services refuse a body that is not JSON. MLServer says 422, or breaks: 500, and says it again.
BROKEN = 500
NO_BINARY = (400, 406, 415, 422, BROKEN)


def learn(encoder: HTTPEncoder, url: str, given: dict[str, Any]) -> _v2.Signature | None:
    """Reach the service, once in a process, and return what its model takes (None: not told)."""
    connection = connection_to(encoder)
    with connection.lock:
        if "signature" not in connection.learnt:
            connection.credentials.headers()  # a key that is missing is missed now
            if encoder.protocol == "vertex":
                connection.reach()
                connection.learnt["signature"] = None
            else:
                connection.learnt["signature"] = _ask_signature(connection, url, given)
        return connection.learnt["signature"]


def _ask_signature(connection: Connection, url: str, given: dict[str, Any]) -> _v2.Signature:
    def read(response: httpx2.Response) -> _v2.Signature:
        metadata = _v2.parse_json(response.content)
        if not isinstance(metadata, dict) or "name" not in metadata:
            raise ValueError("the reply describes no model; check url and protocol.")
        return _v2.read_signature(metadata, given)

    return connection.call("GET", url, read, connecting=True)


def infer(
    encoder: HTTPEncoder, url: str, signature: _v2.Signature, pixels: np.ndarray, on_send: OnSend
) -> np.ndarray:
    """Embed by the Open Inference Protocol, in binary or JSON."""
    connection = connection_to(encoder)

    def send(binary: bool, lasting: int | None = None) -> np.ndarray:
        return connection.call(
            "POST",
            f"{url}/infer",
            lambda reply: _v2.decode_reply(reply.headers, reply.content, signature.output),
            make=lambda: _v2.encode_request(pixels, signature, binary),
            on_attempt=lambda: on_send(len(pixels)),
            lasting=lasting,
        )

    if encoder.encoding != "auto":
        return send(encoder.encoding == "binary")
    if "binary" not in connection.learnt:
        with connection.lock:  # the others wait for what the first request finds out
            if "binary" not in connection.learnt:
                try:
                    vectors, binary = send(True, BROKEN), True
                except RefusedError as error:
                    if error.status not in NO_BINARY:
                        raise
                    vectors, binary = send(False), False
                connection.learnt["binary"] = binary
                return vectors
    return send(connection.learnt["binary"])


def predict(
    encoder: HTTPEncoder, pixels: np.ndarray, on_send: OnSend
) -> list[np.ndarray | _vertex.ItemError]:
    """Embed by the predict JSON; images whose own error may heal are sent again alone."""
    connection = connection_to(encoder)
    input_key, output_key = encoder.input or _vertex.INPUT, encoder.output or _vertex.OUTPUT
    vectors: dict[int, Any] = {}
    waiting = list(range(len(pixels)))

    def read(reply: httpx2.Response) -> list[Any]:
        nonlocal waiting
        found = _vertex.read_predictions(_v2.parse_json(reply.content), output_key)
        if len(found) != len(waiting):
            raise ValueError(
                f"{len(found)} predictions came back for {len(waiting)} images; rows "
                f"{waiting[len(found) :][:10]} of the batch have none. Check the "
                "service, or lower batch_size."
            )
        answers = dict(zip(waiting, found, strict=True))
        errors = {k: v for k, v in answers.items() if isinstance(v, _vertex.ItemError)}
        vectors.update((k, v) for k, v in answers.items() if k not in errors)
        waiting = list(errors)
        lasting = [row for row, error in errors.items() if not error.may_heal]
        if errors:
            rows = lasting or waiting
            words = connection.words(errors[rows[0]].words)
            message = (
                f"the service failed on rows {rows[:10]} of a batch of {len(pixels)}: {words}."
            )
            raise ValueError(message) if lasting else MayHealError(message)
        return [vectors[row] for row in range(len(pixels))]

    return connection.call(
        "POST",
        encoder.url,
        read,
        make=lambda: _vertex.encode_instances(pixels[waiting], input_key),
        on_attempt=lambda: on_send(len(waiting)),
    )
