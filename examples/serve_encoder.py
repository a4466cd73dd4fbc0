"""
=======================================
A stand-in for an embedding service
=======================================

Serves the encoder of the package as a service that one cannot open would be served: by the Open
Inference Protocol with binary tensors, on this machine only. It is what the guide "Debiasing a
model you can't open" and its example are run against, with nothing to install::

    python examples/serve_encoder.py

It prints its address once it is ready; ctrl-c ends it. ``--encoder`` serves a timm model instead,
``--random-weights`` without downloading its weights.
"""

import argparse
import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from skdne import TorchEncoder, bundled_encoder

LENGTH = "Inference-Header-Content-Length"

parser = argparse.ArgumentParser(description="Serve an encoder on 127.0.0.1.")
parser.add_argument("--port", type=int, default=8000, help="0 takes any free one")
parser.add_argument("--encoder", help="timm name; default: the bundled encoder")
parser.add_argument("--random-weights", action="store_true", help="download nothing")


def load(name, random_weights):
    """The encoder, in units of [0, 1], of grey images."""
    if name is None:
        return bundled_encoder()
    import timm

    model = timm.create_model(name, pretrained=not random_weights, in_chans=1, num_classes=0)
    config = timm.data.resolve_model_data_config(model)
    mean, std = (sum(config[key]) / len(config[key]) for key in ("mean", "std"))
    size = tuple(config["input_size"][1:])
    options = {"mean": mean, "std": std, "precision": "float32"}
    return TorchEncoder(model, input_size=size, n_channels=1, **options)


class Service(BaseHTTPRequestHandler):
    """Tells what the model takes, and embeds; one request computes at a time."""

    protocol_version = "HTTP/1.1"  # connections stay open
    disable_nagle_algorithm = True  # a reply is not held back
    encoder = None
    metadata = None
    turn = threading.Lock()

    def do_GET(self):
        known = self.path == "/v2/models/encoder"
        self.reply(200, self.metadata) if known else self.reply(404, {"error": "unknown model"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/v2/models/encoder/infer":
            return self.reply(404, {"error": "unknown model"})
        n_json = int(self.headers.get(LENGTH, len(body)))
        try:
            (tensor,) = json.loads(body[:n_json])["inputs"]
            data = tensor.get("data", np.frombuffer(body[n_json:], np.uint8))
            pixels = np.asarray(data, np.uint8).reshape(
                -1, *self.metadata["inputs"][0]["shape"][1:]
            )
        except (KeyError, TypeError, ValueError) as error:
            return self.reply(400, {"error": f"not a tensor of images: {error}"})
        with self.turn:
            vectors = self.encoder.embed(pixels.astype(np.float32) / np.float32(255))
        output = {"name": "embedding", "datatype": "FP32", "shape": list(vectors.shape)}
        output["parameters"] = {"binary_data_size": vectors.nbytes}
        return self.reply(200, {"model_name": "encoder", "outputs": [output]}, vectors.tobytes())

    def reply(self, status, header, binary=b""):
        text = json.dumps(header).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text) + len(binary)))
        if binary:
            self.send_header(LENGTH, str(len(text)))
        self.end_headers()
        self.wfile.write(text + binary)

    def log_message(self, *args):
        """Nothing is logged: what comes in may be of patients."""


class Server(ThreadingHTTPServer):
    request_queue_size = 64  # clients come with several connections at once


def main():
    args = parser.parse_args()
    Service.encoder = load(args.encoder, args.random_weights)
    shape = [-1, 1, *Service.encoder.input_size]
    n_features = Service.encoder.embed(np.zeros((1, *shape[1:]), np.float32)).shape[1]
    Service.metadata = {
        "name": "encoder",
        "inputs": [{"name": "images", "datatype": "UINT8", "shape": shape}],
        "outputs": [{"name": "embedding", "datatype": "FP32", "shape": [-1, n_features]}],
    }
    with Server(("127.0.0.1", args.port), Service) as server:
        print(f"Ready: http://127.0.0.1:{server.server_port}, model 'encoder'.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
