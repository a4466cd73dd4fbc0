"""The guide to black boxes and its example run as printed, against the server of the guide."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_examples import run

import skdne
from skdne import DebiasedNoiseTransformer

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "black_box.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMAND = "python examples/serve_encoder.py"
ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def url():
    """The address of the server, started by the command of the guide but for the port."""
    command = [sys.executable, *COMMAND.split()[1:], "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            line = server.stdout.readline()
            assert line.startswith("Ready: http://127.0.0.1:"), line
            yield line.split()[1].rstrip(",")
        finally:
            server.terminate()


@pytest.mark.filterwarnings("ignore::skdne.DebiasingWarning")
def test_the_guide_runs_as_printed(url, tmp_path, monkeypatch, capsys):
    assert f"\n{COMMAND} " in PAGE
    assert sum(ADDRESS in block for block in BLOCKS) == 1
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in BLOCKS:
        exec(compile(block.replace(ADDRESS, url), "block", "exec"), names)
    printed = capsys.readouterr()
    assert printed.out.startswith("(128, 128) 1 255\n")
    dne = names["dne"]
    assert dne.n_queries_ <= 2000
    assert f"{dne.n_queries_} asked for, 4 sent" in printed.out
    assert "in all" in printed.err  # the plan
    assert [path.name for path in tmp_path.iterdir()] == ["noise.safetensors"]


def test_the_table_of_costs_is_what_is_estimated(url):
    rows = re.findall(r"\n\| `(.+?)` \| ([\d,]+) \| ([\d,]+) \| ([\d.]+) to ([\d.]+) \|", PAGE)
    assert len(rows) == 5
    encoder = skdne.HTTPEncoder(url, model="encoder")
    for solver, *told in rows:
        dne = DebiasedNoiseTransformer(encoder, solver=eval(solver, vars(skdne).copy()))
        plan = dne.estimate_queries(1000)
        price = [f"{price:.2f}" for price in plan.cost(0.50)]
        assert told == [f"{plan.least:,}", f"{plan.most:,}", *price]


def test_the_example(url, tmp_path):
    options = ["--url", url, "--n", 100, "--block-size", 64, "--n-images", 30]
    output = run("plot_black_box.py", *options, "--out", tmp_path)
    ledger = pd.read_csv(tmp_path / "ledger.csv").set_index("run")
    failed, resumed, again = ledger["sent"]
    assert failed > 0 < resumed - 4
    assert again == 4
    assert ledger["asked for"].iloc[1] == ledger["asked for"].iloc[2]
    assert failed + resumed <= ledger["asked for"].iloc[1] + 4  # hardly anything is paid twice
    np.testing.assert_allclose(ledger["paid"], ledger["sent"] * 0.5 / 1000)
    assert "at most" in output
    assert f"wrote {tmp_path / 'black_box.png'}" in output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["black_box.png", "ledger.csv"]
    with Image.open(tmp_path / "black_box.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5
