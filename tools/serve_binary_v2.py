"""Serve an encoder by a real Triton server, on 127.0.0.1: ``make serve-binary``.

It speaks the Open Inference Protocol with binary tensors. The model is a fixed random projection of
grey images: with x the pixels in [0, 1] (those sent as bytes divided by 255, in float32)

    W = numpy.random.default_rng(0).integers(-8, 9, (n_pixels, 32))
    embedding = float32(rint(x * 2**24) @ W / (2**24 * sqrt(n_pixels)))    computed in float64

where every sum is exact, so that a client can compare to the last bit. ``--model bundled`` serves
the encoder of the package instead, where that is installed beside nvidia-pytriton.
"""

import argparse
import contextlib
import functools
import logging
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile

import numpy as np

N_FEATURES = 32


@functools.cache
def weights(n_pixels):
    return np.random.default_rng(0).integers(-8, 9, (n_pixels, N_FEATURES)).astype(np.float64)


def project(images):
    """Vectors of float32 images in [0, 1]: the formula above."""
    fixed = np.rint(images.astype(np.float64) * 2**24).reshape(len(images), -1)
    n_pixels = fixed.shape[1]
    return (fixed @ weights(n_pixels) / (2**24 * np.sqrt(n_pixels))).astype(np.float32)


def free_ports(n):
    """Ports that nobody listens at now; Triton cannot choose one itself and tell."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def serve(model, size, datatype, port, max_batch_size):
    from pytriton.decorators import batch
    from pytriton.model_config import ModelConfig, Tensor
    from pytriton.triton import Triton, TritonConfig

    embed = project
    if model == "bundled":
        from skdne import bundled_encoder

        encoder = bundled_encoder()
        embed, size = encoder.embed, encoder.input_size[0]
    n_features = len(embed(np.zeros((1, 1, size, size), np.float32))[0])

    @batch
    def infer(images):
        if images.dtype == np.uint8:
            images = images.astype(np.float32) / np.float32(255)
        return {"embedding": embed(images)}

    grpc_port, metrics_port = free_ports(2)
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=port,
        grpc_address="127.0.0.1",
        grpc_port=grpc_port,
        metrics_address="127.0.0.1",
        metrics_port=metrics_port,
        allow_gpu_metrics=False,
        exit_timeout_secs=2,
    )
    with (
        tempfile.TemporaryDirectory() as workspace,
        Triton(config=config, workspace=pathlib.Path(workspace) / "triton") as triton,
    ):
        triton.bind(
            model_name="encoder",
            infer_func=infer,
            inputs=[Tensor(name="images", dtype=np.dtype(datatype), shape=(1, size, size))],
            outputs=[Tensor(name="embedding", dtype=np.float32, shape=(n_features,))],
            config=ModelConfig(max_batch_size=max_batch_size),
        )
        triton.run()
        print(f"Ready: http://127.0.0.1:{port}, model 'encoder'. Ctrl-C ends it.", flush=True)
        sys.stdin.read()  # until the supervisor ends


def supervise(arguments):
    """Serve in a process group of its own and end all of it: Triton leaves children behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    command = [sys.executable, __file__, *arguments, "--child"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as server:
        try:
            return server.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            server.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                server.wait(timeout=15)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=["projection", "bundled"], default="projection")
    parser.add_argument("--size", type=int, default=224, help="side of the projection's images")
    parser.add_argument("--datatype", choices=["uint8", "float32"], default="uint8")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--max-batch-size", type=int, default=256)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = vars(parser.parse_args())
    if not arguments.pop("child"):
        sys.exit(supervise(sys.argv[1:]))
    logging.basicConfig(level=logging.WARNING)
    serve(**arguments)


if __name__ == "__main__":
    main()
