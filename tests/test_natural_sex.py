"""benchmarks/natural_sex.py: its parts, and a run on a tiny folder of synthetic radiographs."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats
from sklearn.utils import Bunch

from skdne.datasets import encoder_training_patients

pytest.importorskip("concept_erasure")
SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "natural_sex.py"
pytestmark = pytest.mark.filterwarnings("ignore::skdne.DebiasingWarning")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("natural_sex", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["natural_sex"] = module  # joblib looks functions up by module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["natural_sex"]


def test_blocks_that_tell_are_erased_first(script):
    n, telling = 80, [9, 33]
    rng = np.random.default_rng(0)
    data = Bunch(X=np.arange(n), a=np.array(["F", "M"])[np.arange(n) % 2])
    data.Y = (np.arange(n) // 2 % 2)[:, None]

    def embed(paths, noise, planted):
        shown = [b for b in range(64) if noise[0, 16 * (b // 8), 16 * (b % 8)] == 0]
        return rng.normal(size=(n, 4)) + 3 * (shown[0] in telling) * (data.a == "M")[:, None]

    noise = script.block_noise(data, np.arange(n), 0, 2, embed)
    erased = [b for b in range(64) if noise[0, 16 * (b // 8), 16 * (b % 8)] == -1]
    assert erased == telling
    assert (noise == -1).mean() == 2 / 64


def test_random_blocks_cover_as_much(script):
    noise = script.random_noise(None, None, 3, 24)
    assert noise.shape == (1, 128, 128)
    assert (noise == -1).mean() == 24 / 64
    assert set(np.unique(noise)) == {-1.0, 0.0}


def test_interval_is_that_of_nadeau_and_bengio(script):
    values = pd.Series([0.5, 0.6, 0.8, 0.7])
    error = np.sqrt((1 / 4 + 1) * np.var(values, ddof=1))
    assert script.half_width(values) == pytest.approx(stats.t.ppf(0.975, 3) * error)


def test_inlp_leaves_nothing_linear(script):
    rng = np.random.default_rng(0)
    a = np.arange(100) % 2
    Z = rng.normal(size=(100, 6)) + np.outer(a, [2, 1, 0, 0, 0, 0])
    erased = script.inlp(Z, np.arange(100), None, a, 0, n_directions=3)
    assert np.linalg.matrix_rank(erased, tol=1e-8) < 6
    before, after = (
        np.linalg.norm(X[a == 1].mean(axis=0) - X[a == 0].mean(axis=0)) for X in (Z, erased)
    )
    assert after < 0.1 * before


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """64 images: the lower half is brighter for M, the middle for Effusion."""
    root = tmp_path_factory.mktemp("nih")
    (root / "images").mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for i in range(66):
        male, ill = i % 2, i // 2 % 2
        pixels = rng.integers(60, 100, (64, 64))
        pixels[32:] += 60 * male
        pixels[16:24, 16:48] += 60 * ill
        name = f"{i}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(root / "images" / name)
        findings = ["Effusion"] * ill + ["Hernia"] * (i < 8)
        known = encoder_training_patients()[0] if i >= 64 else 10**6 + i
        sex = "FM"[male]
        rows.append((name, known, 60, sex, "PA", "|".join(findings) or "No Finding"))
    columns = ["image", "patient_id", "age", "sex", "view", "findings"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "metadata.csv", index=False)
    return root


def test_it_prints_the_frontier_by_one_command(script, folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "result.txt"
    arguments = ["--data", folder, "--quick", "--out", out, "--cache", tmp_path / "cache"]
    monkeypatch.setattr(sys, "argv", ["natural_sex.py", *map(str, arguments)])
    script.main()
    text = out.read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    assert text.startswith("64 images of patients the bundled encoder has not seen.")
    assert "Effusion 32" in text
    assert "Hernia" not in text  # 8 cases are too few
    frontier = text.partition("Frontier")[2].partition("Change against")[0]
    found = re.findall(r"^(\S.*?) +([\d.]+) ±", frontier, flags=re.MULTILINE)
    linear = {arm: float(auc) for arm, auc in found}
    assert len(linear) == 11
    assert linear["no edit"] > 0.95
    assert linear["no edit, PLS 4 + LEACE"] < linear["no edit"] - 0.1
    for title in ("AUC of each finding", "A planted disease"):
        assert title in text
