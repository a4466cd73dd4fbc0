"""The real MLServer: Open Inference Protocol, JSON only over HTTP.

Options: ``datatype`` ("UINT8" or "FP32") of the input, the model's.
"""

import asyncio

import numpy as np
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.settings import ModelParameters
from mlserver.types import InferenceResponse, MetadataTensor

from servers.models import from_wire, make_model


class EmbeddingRuntime(MLModel):
    """The runtime MLServer loads by its import path; the model's options come in its settings."""

    async def load(self):
        self.model = make_model(**self.settings.parameters.extra)
        return True

    async def predict(self, payload):
        (tensor,) = payload.inputs
        pixels = self.decode(tensor, default_codec=NumpyCodec)
        vectors = await asyncio.to_thread(self.model.embed, from_wire(np.asarray(pixels)))
        return InferenceResponse(
            model_name=self.name,
            outputs=[NumpyCodec.encode_output("embedding", vectors)],
        )


def run(announce, datatype="UINT8", **model):
    asyncio.run(_run(announce, datatype, model))


async def _run(announce, datatype, model):
    shapes = make_model(**model)  # its shapes are part of the metadata, told before it is loaded
    server = MLServer(
        # One process, no metrics; gRPC cannot be switched off. Port 0 takes any free one.
        Settings(
            host="127.0.0.1",
            http_port=0,
            grpc_port=0,
            metrics_endpoint=None,
            parallel_workers=0,
            debug=False,
        )
    )
    settings = ModelSettings(
        name="encoder",
        implementation=EmbeddingRuntime,
        versions=["1"],
        inputs=[MetadataTensor(name="images", datatype=datatype, shape=[-1, *shapes.input_shape])],
        outputs=[MetadataTensor(name="embedding", datatype="FP32", shape=[-1, shapes.n_features])],
        parameters=ModelParameters(extra=model),
    )
    running = asyncio.create_task(server.start([settings]))
    while not await _ready(server):
        if running.done():
            running.result()
            raise SystemExit("MLServer ended before it was ready.")
        await asyncio.sleep(0.02)
    # The port is known to uvicorn alone, which MLServer keeps to itself.
    (listener,) = server._rest_server._server.servers
    announce(listener.sockets[0].getsockname()[1])
    await running


async def _ready(server):
    http = getattr(server._rest_server, "_server", None)
    try:
        return http is not None and http.started and await server._data_plane.model_ready("encoder")
    except Exception:  # not known yet
        return False
