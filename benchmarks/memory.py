"""Peak memory of fit and transform over the number of image files.

    python benchmarks/memory.py [--n 1000 10000 100000] [--out benchmarks/results/memory.txt]

Each point is a process of its own: a few small PNG files, their paths repeated to n, and an encoder
of no size, so that what grows with n shows. Printed is the peak of anonymous memory (RssAnon, read
every 10 ms) above what the process held after a warm-up on 256 files. Pages of the memory map that
fit decodes to are left out: the system takes them back when it needs them. What has to grow is
printed beside it: embeddings, n x d x 4 bytes, and for fit, which takes 10,000 images at most, the
decoded images up to its limit of 2 GiB; "fit, mapped" sets that limit to 1 MiB.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import warnings
from functools import partialmethod
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import skdne
from skdne import Adam, DebiasedNoiseTransformer, TorchEncoder
from skdne.images._file_batches import FileImages

SIDE, N_FEATURES, N_FILES = 32, 64, 500
SUBSAMPLE = DebiasedNoiseTransformer().subsample
TASKS = ("transform", "fit", "fit, mapped")


def make_files(folder):
    rng = np.random.default_rng(0)
    for i in range(N_FILES):
        image = rng.integers(0, 200, (SIDE, SIDE), dtype=np.uint8)
        image[:8, :8] += np.uint8(50 * (i % 2))
        Image.fromarray(image).save(f"{folder}/{i}.png")


class Peak:
    """Largest RssAnon while it is entered, in MiB above that at the start."""

    def __enter__(self):
        self.start = self.peak = self.now()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    @staticmethod
    def now():
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1]) / 1024
        raise OSError("/proc/self/status has no RssAnon.")

    def watch(self):
        while not self.done.wait(0.01):
            self.peak = max(self.peak, self.now())

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()

    @property
    def above(self):
        return max(self.peak, self.now()) - self.start


def measure(task, n, folder):
    """One point; run in a process of its own."""
    warnings.simplefilter("ignore", skdne.DebiasingWarning)
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.AvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(64, N_FEATURES), torch.nn.Tanh()
    )
    encoder = TorchEncoder(net, input_size=(SIDE, SIDE), n_channels=1, precision="float32")

    def paths(n):
        return [f"{folder}/{i % N_FILES}.png" for i in range(n)]

    def labels(n):
        a = np.where(np.arange(n) % 2, "F", "M")
        return {"y": (np.arange(n) // 2) % 2, "sensitive_features": a}

    dne = DebiasedNoiseTransformer(
        encoder, solver=Adam(max_iter=1, step_size=1e-3), objective="confusion", random_state=0
    )
    if task == "fit, mapped":
        FileImages.decoded = partialmethod(FileImages.decoded, 2**20)
    dne.fit(paths(256), **labels(256)).transform(paths(256))
    X, given = paths(n), labels(n)
    with Peak() as peak:
        dne.transform(X) if task == "transform" else dne.fit(X, **given)
    print(json.dumps(peak.above))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--point", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        task, n, folder = options.point
        measure(task, int(n), folder)
        return
    lines = [f"peak MiB above the warm process; {SIDE} x {SIDE} PNG files, d = {N_FEATURES}",
             f"{'task':12} {'n':>8} {'peak':>8} {'embeddings':>11} {'decoded':>8}"]  # fmt: skip
    print("\n".join(lines))
    with tempfile.TemporaryDirectory() as folder:
        make_files(folder)
        for task in options.tasks:
            for n in options.n:
                command = [sys.executable, __file__, "--point", task, str(n), folder]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                used = n if task == "transform" else min(n, SUBSAMPLE)
                embeddings = used * N_FEATURES * 4 / 2**20
                decoded = used * SIDE * SIDE / 2**20 if task == "fit" else 0
                lines.append(f"{task:12} {n:8} {json.loads(done.stdout):8.1f} "
                             f"{embeddings:11.1f} {decoded:8.1f}")  # fmt: skip
                print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
