"""A fit shared by processes under torchrun equals that of one process."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = """
import dataclasses, os, sys, warnings
import numpy as np
from torch import distributed

from skdne import Adam, DebiasedNoiseTransformer, bundled_encoder
from skdne.datasets import make_biased_images

if "RANK" in os.environ:
    distributed.init_process_group("gloo")
rank = int(os.environ.get("RANK", 0))
data = make_biased_images(60, correlation=0.4, random_state=0)  # cells of unequal weight
same = sys.argv[2] == "same"
dne = DebiasedNoiseTransformer(
    dataclasses.replace(bundled_encoder(), precision="float32"),
    solver=Adam(step_size=0.01, max_iter=2, batch_size=11, grid_size=8),
    objective="confusion",
    leakage=False,
    random_state=0 if same else rank,
)
warnings.simplefilter("ignore")
try:
    dne.fit(data.images, data.target, sensitive_features=data.sensitive_features)
    np.savez(f"{sys.argv[1]}/{rank}.npz", noise=dne.noise_, loss=dne.loss_curve_, sent=dne.n_sent_)
except ValueError as error:
    with open(f"{sys.argv[1]}/{rank}.txt", "w") as file:
        file.write(str(error))
if distributed.is_initialized():
    distributed.destroy_process_group()
"""


def run(folder, launcher, kind):
    folder.mkdir()
    script = folder / "fit.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, script, folder, kind]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="gloo over local sockets")
def test_two_processes_fit_the_noise_of_one(tmp_path):
    one = np.load(run(tmp_path / "one", [], "same") / "0.npz")
    folder = run(tmp_path / "two", TORCHRUN, "same")
    two = [np.load(folder / f"{rank}.npz") for rank in (0, 1)]
    np.testing.assert_array_equal(two[0]["noise"], two[1]["noise"])
    scale = np.linalg.norm(one["noise"])
    assert scale > 0
    assert np.linalg.norm(two[0]["noise"] - one["noise"]) < 1e-5 * scale
    np.testing.assert_allclose(two[0]["loss"], one["loss"], rtol=1e-5)
    fit = int(one["sent"]) - 2 * 60  # without clean and edited embeddings: the gradients
    parts = [int(part["sent"]) - 2 * 60 for part in two]
    assert sum(parts) == fit
    assert max(parts) < 0.6 * fit


def test_processes_that_fit_different_things_are_refused(tmp_path):
    folder = run(tmp_path / "other", TORCHRUN, "other")
    for rank in (0, 1):
        message = Path(folder / f"{rank}.txt").read_text()
        assert "they do not fit the same" in message
        assert "int as random_state" in message
