"""The examples run from end to end, and what they print is what they measured."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skdne.datasets import encoder_training_patients, make_biased_images

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
ARMS = [
    "ERM",
    "reweighed head",
    "DNE Adam, Eq. 2",
    "DNE Adam, confusion",
    "DNE GeZO, Eq. 2",
    "DNE erasure (default)",
]
FIGURES = ["accuracy", "disease AUC", "EO_p", "EO_n", "|1-DI|"]


def run(script: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        # one thread: beside other tests, two in each process cost many times more
        env={**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def check_quickstart(output: str, out: Path, n_seeds: int) -> None:
    """The printed means are those of the figures of each seed; the pictures hold something."""
    results = pd.read_csv(out / "results.csv")
    assert list(results["arm"]) == ARMS * n_seeds
    figures = results.drop(columns=["arm", "seed"])
    assert list(figures)[:5] == FIGURES
    assert figures.to_numpy().min() >= 0
    assert figures.to_numpy().max() <= 1
    table = output.split("seed(s):")[1].splitlines()
    for arm in ARMS:
        (line,) = [line for line in table if line.startswith(arm + " ")]
        printed = [float(cell) for cell in line.removeprefix(arm).split() if "±" not in cell]
        mean = figures[results["arm"] == arm].mean()
        np.testing.assert_allclose(printed, mean, atol=5.1e-4)
    # the reweighed head differs from ERM in the head alone: the attribute is as readable
    erm, reweighed = (figures[results["arm"] == arm].filter(like="probe") for arm in ARMS[:2])
    np.testing.assert_array_equal(erm, reweighed)
    assert "On these images" in output
    assert "A re-trained" in output
    pictures = list(out.glob("*.png"))
    assert len(pictures) == 9
    for path in pictures:
        assert f"wrote {path}" in output
        with Image.open(path) as picture:
            assert np.asarray(picture.convert("L")).std() > 5


def test_quickstart_on_synthetic_images(tmp_path):
    arguments = ["--seeds", 2, "--n", 120, "--quick", "--out", tmp_path]
    check_quickstart(run("plot_quickstart.py", *arguments), tmp_path, n_seeds=2)


def test_quickstart_on_real_images(tmp_path, nih_cxr):
    metadata = pd.read_csv(nih_cxr / "metadata.csv")
    new = ~metadata["patient_id"].isin(encoder_training_patients())
    assert 0 < new.sum() < len(metadata)
    part = pd.concat([metadata[~new].head(5), metadata[new].head(90)])
    part.to_csv(tmp_path / "metadata.csv", index=False)
    (tmp_path / "images").symlink_to((nih_cxr / "images").resolve())
    out = tmp_path / "out"
    output = run("plot_quickstart.py", "--images", tmp_path, "--seeds", 1, "--quick", "--out", out)
    assert output.startswith("90 images")  # the encoder has not seen them
    check_quickstart(output, out, n_seeds=1)


def test_quickstart_on_a_folder_and_csv(tmp_path):
    data = make_biased_images(80, image_size=32, correlation=0.2, random_state=0)
    for i, image in enumerate(data.images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    table = {
        "file": [f"{i}.png" for i in range(80)],
        "ill": data.target,
        "group": data.sensitive_features,
        "patient": np.arange(80) // 2,
    }
    pd.DataFrame(table).to_csv(tmp_path / "labels.csv", index=False)
    columns = ["--path-column", "file", "--label-column", "ill", "--positive", 1]
    columns += ["--attribute-column", "group", "--group-column", "patient"]
    where = ["--images", tmp_path, "--csv", tmp_path / "labels.csv", "--out", tmp_path / "out"]
    output = run("plot_quickstart.py", *where, *columns, "--seeds", 1, "--quick")
    assert output.startswith("80 images")
    check_quickstart(output, tmp_path / "out", n_seeds=1)


def test_lambda_search(tmp_path):
    output = run("plot_lambda_search.py", "--n", 120, "--epochs", 1, "--out", tmp_path)
    rows = [line.split() for line in output.splitlines() if line.startswith(("none", "Adam"))]
    assert [row[1] for row in rows] == ["-", "0.0001", "0.001", "0.01", "0.1"]
    assert sum("chosen" in row for row in rows) == 1
    utility = [float(row[2]) for row in rows]
    chosen = next(i for i, row in enumerate(rows) if "chosen" in row)
    assert utility[chosen] >= max(utility) - 0.05 - 1e-3
    assert output.count("threshold") >= 2
    assert "(tuned)" in output
    with Image.open(tmp_path / "lambda_search.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5


def check_erasure(output: str, out: Path) -> tuple[pd.DataFrame, list[int]]:
    """What is printed and drawn is what was measured; returns it, and how many blocks went."""
    results = pd.read_csv(out / "results.csv")
    cases = list(results["case"].unique())
    assert len(results) == len(cases) * 2 * 4
    assert results["auc"].between(0, 1).all()
    table = output.split("95% interval)")[1]
    for auc, low, high in results[["auc", "low", "high"]].to_numpy():
        assert f"{auc:.2f} ({low:.2f} to {high:.2f})" in table
    erased = [int(line.split()[0]) for line in output.splitlines() if "blocks erased" in line]
    assert len(erased) == len(cases) == 3
    assert erased[0] > 0
    pictures = sorted(path.stem for path in out.glob("*.png"))
    assert pictures == ["before_and_after", "blocks_1", "blocks_2", "blocks_3", "edits_2"]
    for name in pictures:
        assert f"wrote {out / name}.png" in output
        with Image.open(out / f"{name}.png") as picture:
            assert np.asarray(picture.convert("L")).std() > 5
    return results, erased


def test_erasure_on_synthetic_images(tmp_path):
    output = run("plot_erasure.py", "--quick", "--n", 160, "--out", tmp_path)
    results, erased = check_erasure(output, tmp_path)
    assert erased[1] > 0
    assert erased[2] == 0  # the texture is everywhere
    stamp = results[results["case"] == "site stamp"].set_index(["edit", "read"])["auc"]
    assert stamp["after", "linear"] < stamp["before", "linear"]


def test_erasure_on_real_images(tmp_path, nih_cxr):
    output = run("plot_erasure.py", "--quick", "--n", 160, "--images", nih_cxr, "--out", tmp_path)
    check_erasure(output, tmp_path)
    n_unseen = (
        ~pd.read_csv(nih_cxr / "metadata.csv")["patient_id"].isin(encoder_training_patients())
    ).sum()
    for name in ("site stamp", "sex"):  # the encoder has not seen them
        assert f"{name}: {n_unseen} images" in output


@pytest.mark.parametrize(
    "script", ["plot_quickstart.py", "plot_lambda_search.py", "plot_erasure.py"]
)
def test_examples_are_gallery_scripts(script):
    source = (EXAMPLES / script).read_text()
    assert source.startswith('"""\n===')
    assert source.count("\n# %%\n") >= 3
