"""Speed against the bare encoder: images/s of transform and fit, and what a search costs.

    python benchmarks/speed.py [--encoder bundled] [--device auto] [--precision auto] [--quick]
        [--parts bound files search samples] [--n N] [--rounds N] [--out benchmarks/results/speed]
    python benchmarks/speed.py --compare a.json b.json

The arms of a part are run one after the other, again and again, so that what else the machine does
hits all alike; a ratio is taken within a round. Printed are medians over the rounds, and the
smallest and largest. PREFIX.json keeps every round beside a description of the machine, PREFIX.txt
the tables; ``--compare`` shows two such files side by side.

bound   The bare encoder is the module alone on float32 batches that are normalised and on the
        device already, same precision, same batch size. A fit is compared with the seconds that
        its image passes take there (forward for embeddings, forward and backward to the input for
        gradients): splits, g, checks and copies are what it loses.
files   PNG paths: decoder alone, encoder alone, transform. On a CPU the two share the cores, so no
        pipeline can reach the slower of them; "device stand-in" waits as long as a device of the
        decoder's own speed would take, and leaves the cores alone.
search  A 5 x 5 grid search, against a naive loop and the authors' settings: benchmarks/_search.py.
samples What the number of SA images buys.
"""

import argparse
import dataclasses
import functools
import json
import os
import platform
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import timm
import torch
from _search import samples, search
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

import skdne
from skdne import (
    SPSA,
    Adam,
    CallableEncoder,
    DebiasedNoiseTransformer,
    TorchEncoder,
    bundled_encoder,
)
from skdne.encoders._torch import runs_in_bfloat16
from skdne.images import check_images


def make_encoder(name, device, precision, batch_size):
    options = {"device": device, "precision": precision, "batch_size": batch_size}
    if name == "bundled":
        return dataclasses.replace(bundled_encoder(), **options)
    module = timm.create_model(name, pretrained=False, num_classes=0)
    size = module.pretrained_cfg["input_size"][1:]
    return TorchEncoder(module, input_size=size, n_channels=3, mean=0.5, std=0.25, **options)


def make_images(n, size, seed=0):
    """Grey uint8 images, smooth with some grain, as PNGs of radiographs are."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 200, (n, 8, 8), dtype=np.uint8)
    smooth = [np.asarray(Image.fromarray(c).resize((size, size), 2), dtype=int) for c in coarse]
    return (np.array(smooth) + rng.integers(-3, 4, (n, size, size))).astype(np.uint8)


class Bare:
    """The encoder's module alone, fed with what is ready on the device."""

    def __init__(self, encoder):
        encoder.load()
        self.encoder, self.device = encoder, encoder.torch_device
        self.module = encoder._module()
        shape = (encoder.batch_size, encoder.n_channels, *encoder.input_size)
        self.batch = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(self.device)

    def _run(self, n, gradient):
        bfloat16 = runs_in_bfloat16(self.encoder.precision, self.device)
        for start in range(0, n, len(self.batch)):
            x = self.batch[: n - start]
            if gradient:
                x = x.clone().requires_grad_(True)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
                z = self.encoder._vectors(self.module, x)
            if gradient:
                z.float().sum().backward()
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    @torch.inference_mode()
    def forward(self, n):
        self._run(n, gradient=False)

    @torch.enable_grad()
    def backward(self, n):
        self._run(n, gradient=True)


def matrix_rate(device, dtype, size=2048):
    """FLOP/s of a matrix product of the device, the best of ten: what no encoder can pass."""
    A = torch.rand(size, size, device=device).to(dtype)

    def product():
        A @ A
        if device.type == "cuda":
            torch.cuda.synchronize()

    return 2 * size**3 / min(seconds(product)[0] for _ in range(10))


def flop_of_an_image(bare):
    """FLOP of a forward pass, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        bare.forward(len(bare.batch))
    return counter.get_total_flops() / len(bare.batch)


def seconds(function):
    """Wall-clock seconds of a call, and CPU seconds of all its threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def rounds(arms, n_rounds):
    """Seconds of each arm in each round; the first, untimed round warms up."""
    found = {name: [] for name in arms}
    for i in range(n_rounds + 1):
        order = list(arms)[i % len(arms) :] + list(arms)[: i % len(arms)]
        for name in order:
            taken = seconds(arms[name])
            if i:
                found[name].append(taken)
    return found


def labelled(n):
    a = np.where(np.arange(n) % 2, "F", "M")
    return {"y": (np.arange(n) // 2) % 2, "sensitive_features": a}


def transformer(encoder, solver=None):
    return DebiasedNoiseTransformer(
        encoder, solver=solver, objective="confusion", leakage=False, random_state=0
    )


def with_noise(encoder, X):
    """A transformer as a fit leaves it, with some noise."""
    dne = transformer(encoder).fit(X[:2])
    dne.noise_ = np.full(encoder.input_size, 0.02, np.float32)
    dne.clip_ = True
    return dne


def bound(encoder, n, n_rounds):
    """transform and fit against the bare encoder, on uint8 arrays in memory."""
    rates, ratios = {}, {}
    for size in sorted({64, encoder.input_size[0]}):
        X = make_images(n, size)
        bare, dne = Bare(encoder), with_noise(encoder, X)
        sent = {}

        def fit(name, solver, X=X, sent=sent):
            sent[name] = transformer(encoder, solver).fit(X, **labelled(n)).n_queries_

        arms = {
            "bare forward": lambda bare=bare: bare.forward(n),
            "transform": lambda dne=dne, X=X: dne.transform(X),
        }
        if size == encoder.input_size[0]:
            arms |= {
                "bare forward + backward": lambda bare=bare: bare.backward(n),
                "white-box fit": lambda: fit("white-box fit", Adam(max_iter=3, step_size=1e-3)),
                "black-box fit": lambda: fit(
                    "black-box fit", SPSA(max_iter=1, n_local_iter=4, batch_size=encoder.batch_size)
                ),
            }
        found = rounds(arms, n_rounds)
        label = f"{size} x {size} uint8"
        for name, taken in found.items():
            passes = sent.get(name, n)
            rates[f"{name}, {label}"] = [passes / wall for wall, _ in taken]
        if size == encoder.input_size[0]:
            precision = torch.bfloat16 if runs_in_bfloat16(encoder.precision, bare.device) else None
            large = 8192 if bare.device.type == "cuda" else 2048
            rate = matrix_rate(bare.device, precision or torch.float32, large)
            rates["TFLOP/s of a matrix product, same precision"] = [rate / 1e12]
            flop = flop_of_an_image(bare)
            for name in ("bare forward", "transform"):
                ratios[f"{name}, FLOP/s / those of a matrix product"] = [
                    flop * each / rate for each in rates[f"{name}, {label}"]
                ]
        of = {name: np.array(taken) / n for name, taken in found.items()}
        expected = {"transform": of["bare forward"] * n}
        if sent:
            gradients = sent["white-box fit"] - 2 * n
            back = of["bare forward + backward"]
            expected["white-box fit"] = of["bare forward"] * 2 * n + back * gradients
            expected["black-box fit"] = of["bare forward"] * sent["black-box fit"]
        for name, bare_seconds in expected.items():
            ratio = bare_seconds / np.array(found[name])
            for column, clock in enumerate(("wall", "CPU time")):
                ratios[f"{name} / bare, {label}, {clock}"] = ratio[:, column].tolist()
    return rates, ratios


class Waits:
    """A device of a given speed: it takes its time and no core."""

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, x):
        time.sleep(len(x) / self.rate)
        return x.mean(axis=(2, 3))


def files(encoder, n, n_rounds, size=512):
    """Transform of PNG files against the decoder alone and the encoder alone."""
    n *= 2  # the first batch is waited for, however many follow
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{i}.png" for i in range(n)]
        for path, image in zip(paths, make_images(n, size), strict=True):
            Image.fromarray(image).save(path)

        def decode():
            images = check_images(paths, input_size=encoder.input_size, n_channels=1)
            for start in range(0, n, encoder.batch_size):
                images.stored(slice(start, start + encoder.batch_size))

        bare, dne = Bare(encoder), with_noise(encoder, paths)
        decode()
        rate = n / seconds(decode)[0]
        device = CallableEncoder(Waits(rate), name="device", input_size=encoder.input_size,
                                 n_channels=1, batch_size=encoder.batch_size)  # fmt: skip
        standing_in = with_noise(device, paths)
        arms = {
            "decoder": decode,
            "encoder": lambda: bare.forward(n),
            "transform of paths": lambda: dne.transform(paths),
            "device stand-in": lambda: time.sleep(n / rate),
            "transform of paths, device stand-in": lambda: standing_in.transform(paths),
        }
        found = {name: np.array(taken)[:, 0] for name, taken in rounds(arms, n_rounds).items()}
    rates = {f"{name}, {size} x {size} PNG": (n / s).tolist() for name, s in found.items()}
    d, e, ours, device, waited = found.values()
    ratios = {
        "paths / the slower of decoder and encoder": np.maximum(d, e) / ours,
        "paths / decoder and encoder on the same cores": (d + e) / ours,
        "paths, device stand-in / the slower of the two": np.maximum(d, device) / waited,
    }
    return rates, {name: ratio.tolist() for name, ratio in ratios.items()}


def machine(encoder):
    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), cpu)
    device = encoder.torch_device
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load before": os.getloadavg()[0],
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else device.type,
        "precision": "bfloat16" if runs_in_bfloat16(encoder.precision, device) else "float32",
        "batch size": encoder.batch_size,
        "torch": torch.__version__,
        "skdne": skdne.__version__,
        "python": platform.python_version(),
    }


def table(figures):
    width = max(map(len, figures), default=0)
    return "\n".join(
        f"{name:{width}}  {statistics.median(v):9.3g}   {min(v):.3g} to {max(v):.3g}"
        for name, v in figures.items()
    )


def compare(first, second):
    """Two results side by side; marked is what moved out of the spread of both."""
    for path in (first, second):
        print(path, json.loads(Path(path).read_text())["machine"])
    old, new = (json.loads(Path(path).read_text()) for path in (first, second))
    for kind in ("images/s", "ratios"):
        for name in [n for n in old[kind] if n in new[kind]]:
            a, b = old[kind][name], new[kind][name]
            mark = "SLOWER" if max(b) < min(a) else "faster" if min(b) > max(a) else ""
            change = statistics.median(b) / statistics.median(a)
            print(f"{name:72} {statistics.median(a):9.3g} {statistics.median(b):9.3g} "
                  f"x{change:.2f} {mark}")  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--encoder", default="bundled", help="bundled, or a timm name")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--quick", action="store_true", help="few images and rounds")
    parser.add_argument("--n", type=int, help="images of a round")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--parts", nargs="+", default=["bound", "files", "search", "samples"])
    parser.add_argument("--out", type=Path, help="prefix of .json and .txt")
    parser.add_argument("--compare", nargs=2, metavar="JSON")
    options = parser.parse_args()
    if options.compare:
        compare(*options.compare)
        return
    warnings.simplefilter("ignore", skdne.DebiasingWarning)
    encoder = make_encoder(options.encoder, options.device, options.precision, options.batch_size)
    n, n_rounds = (128, 3) if options.quick else (1024, 5)
    n, n_rounds = options.n or n, options.rounds or n_rounds
    arguments = {name: str(value) for name, value in vars(options).items()}
    result = {"machine": machine(encoder), "arguments": arguments, "images/s": {}, "ratios": {}}
    print(result["machine"])
    text = [str(result["machine"]), str(result["arguments"])]
    parts = {
        "bound": bound,
        "files": files,
        "search": functools.partial(search, options.quick),
        "samples": functools.partial(samples, options.quick),
    }
    for part in options.parts:
        rates, ratios = parts[part](encoder, n, n_rounds)
        result["images/s"] |= rates
        result["ratios"] |= ratios
        text += [f"\n{part}: images/s, median, smallest to largest", table(rates),
                 "ratios", table(ratios)]  # fmt: skip
        print("\n".join(text[-4:]), flush=True)
    if options.out:
        options.out.with_suffix(".json").write_text(json.dumps(result, indent=1))
        options.out.with_suffix(".txt").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
