"""What the HTTP path costs beside the model itself: ViT-tiny behind the server of the examples.

    OMP_NUM_THREADS=1 python benchmarks/http_overhead.py [--images 256] [--repeats 7] [--out FILE]

Three ways to embed the same 224 x 224 grey images, one after another in each repeat, so that what
else the machine does hits all of them:

- model: the bare network in this process, in batches, on as many threads as the server has;
- bare service: requests that were made before the clock started, posted by as many threads as
  HTTPEncoder uses, replies left as they come;
- HTTPEncoder: from float32 images in [0, 1] to float32 vectors, uint8 in binary on the wire.

The last two go to the same server, a process of its own with one thread for the network. Overhead
is the median over the repeats of the ratio of seconds, minus 1; beside it the smallest and largest.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import numpy as np
import torch

from skdne import HTTPEncoder
from skdne.encoders import _v2

SERVER = Path(__file__).resolve().parents[1] / "examples" / "serve_encoder.py"
MODEL = "vit_tiny_patch16_224"
WAYS = ("model", "bare service", "HTTPEncoder")


def start_server():
    """The server with its network on one thread, and its address."""
    command = [sys.executable, str(SERVER), "--encoder", MODEL, "--random-weights", "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    return server, server.stdout.readline().split()[1].rstrip(",")


def bare_model():
    spec = importlib.util.spec_from_file_location("serve_encoder", SERVER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)  # any weights take as long
    return module.load(MODEL, random_weights=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--concurrency", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, help="file that the report is written to")
    args = parser.parse_args()
    torch.set_num_threads(1)  # as the server

    model = bare_model()
    server, url = start_server()
    try:
        seconds = measure(model, url, args)
    finally:
        server.terminate()
        server.wait()
    text = report(seconds, args)
    print(text)
    if args.out is not None:
        args.out.write_text(text + "\n")


def measure(model, url, args):
    """Seconds of each way, (repeats, 3)."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (args.images, 1, 224, 224), dtype=np.uint8)
    batches = np.array_split(pixels, -(-args.images // args.batch_size))
    images = [batch.astype(np.float32) / 255 for batch in batches]
    encoder = HTTPEncoder(
        url, model="encoder", batch_size=args.batch_size, concurrency=args.concurrency
    )
    requests = [_v2.encode_request(batch, encoder._signature(), True) for batch in batches]

    with (
        httpx2.Client(trust_env=False, timeout=600) as client,
        ThreadPoolExecutor(args.concurrency) as pool,
    ):

        def post(request):
            headers, body = request
            reply = client.post(f"{url}/v2/models/encoder/infer", content=body, headers=headers)
            reply.raise_for_status()

        ways = {
            "model": lambda: [model.embed(batch) for batch in images],
            "bare service": lambda: list(pool.map(post, requests)),
            "HTTPEncoder": lambda: list(encoder.embed_batches(images)),
        }
        seconds = np.empty((args.repeats, len(WAYS)))
        for repeat in range(-1, args.repeats):  # the first one warms up
            for way, name in enumerate(WAYS):
                start = time.perf_counter()
                ways[name]()
                seconds[repeat, way] = time.perf_counter() - start
    return seconds


def report(seconds, args):
    options = f"--images {args.images} --batch-size {args.batch_size} --repeats {args.repeats}"
    lines = [
        f"$ OMP_NUM_THREADS=1 python benchmarks/http_overhead.py {options}",
        f"({os.cpu_count()} CPU cores, {MODEL} with random weights on one thread, float32; batches "
        f"of {args.batch_size},",
        f"{args.concurrency} in flight; load {os.getloadavg()[0]:.1f} at the end; "
        f"{time.strftime('%Y-%m-%d')})",
        "",
        f"{'':<14}{'images/s, median (smallest to largest)'}",
    ]
    for name, of_way in zip(WAYS, (args.images / seconds).T, strict=True):
        lines.append(
            f"{name:<14}{np.median(of_way):.1f} ({of_way.min():.1f} to {of_way.max():.1f})"
        )
    lines.append("")
    for way, base in ((2, 1), (2, 0), (1, 0)):
        ratio = 100 * (seconds[:, way] / seconds[:, base] - 1)
        lines.append(
            f"overhead of {WAYS[way]} over {WAYS[base]}: {np.median(ratio):+.1f}% "
            f"({ratio.min():+.1f}% to {ratio.max():+.1f}%)"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
