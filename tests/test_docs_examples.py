"""The gallery's examples: what they print and draw is what they measured."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from test_examples import EXAMPLES, run


def check_picture(path, output):
    assert f"wrote {path}" in output
    with Image.open(path) as picture:
        assert np.asarray(picture.convert("L")).std() > 5


def test_audit_report(tmp_path):
    output = run("plot_audit_report.py", "--n", 120, "--resamples", 100, "--out", tmp_path)
    check_picture(tmp_path / "audit.png", output)
    written = json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))
    assert written["n_images"] == 120
    assert "<table" in (tmp_path / "audit.html").read_text(encoding="utf-8")
    (table,) = re.findall(r"^ +figure +value.*?(?=^wrote)", output, re.DOTALL | re.MULTILINE)
    gaps = {row["figure"]: row for row in written["figures"] if row["section"] == "fairness"}
    assert {"EO_p", "EO_n", "|1-DI|"} <= set(gaps)
    for name in ("EO_p", "EO_n"):
        (line,) = [line for line in table.splitlines() if line.split()[:1] == [name]]
        value, low, high, baseline = map(float, line.split()[1:5])
        shown = [gaps[name][key] for key in ("value", "low", "high", "baseline")]
        np.testing.assert_allclose([value, low, high, baseline], shown, atol=5.1e-4)
        assert value < baseline  # the texture at one place is erased


def test_intersectional(tmp_path):
    output = run("plot_intersectional.py", "--n", 160, "--out", tmp_path)
    check_picture(tmp_path / "intersectional.png", output)
    found = re.findall(
        r"^(no edit|edited for sex|edited for sex and age) +([\d.]+) +([\d.]+) +([\d.]+)$",
        output,
        re.MULTILINE,
    )
    assert len(found) == 3
    for _, *by in found:
        sex, age, both = map(float, by)
        assert both >= max(sex, age)
    aucs = {
        (arm.strip(), column): float(auc)
        for arm, column, auc in re.findall(
            r"^(.+?) +linear probe of (\w+): AUC ([\d.]+)", output, re.MULTILINE
        )
    }
    assert len(aucs) == 6
    assert aucs["edited for sex", "sex"] < aucs["no edit", "sex"] - 0.1
    assert aucs["edited for sex and age", "age"] < aucs["edited for sex", "age"] - 0.1


def test_real_xrays(tmp_path, nih_cxr):
    arguments = ["--n", 120, "--block-size", 64, "--out", tmp_path]
    output = run("plot_real_xrays.py", nih_cxr, *arguments)
    assert output.startswith("120 images of ")
    check_picture(tmp_path / "real_xrays.png", output)
    rows = re.findall(r"^(.+?) +linear ([\d.]+) .*rbf ([\d.]+) .*mlp ([\d.]+)", output, re.M)
    assert [row[0] for row in rows] == [
        "no edit",
        "block erasure",
        "LEACE",
        "LEACE on 8 directions",
    ]
    aucs = np.array([row[1:] for row in rows], dtype=float)
    assert ((aucs > 0) & (aucs < 1)).all()
    assert aucs[0].max() > 0.6  # sex is read without an edit


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("plot_*.py")), ids=lambda path: path.stem)
def test_a_page_of_the_gallery(path):
    """A title that sphinx-gallery takes, sections, and a picture at the end."""
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    assert lines[0] == '"""'
    assert lines[1] == lines[3]
    assert set(lines[1]) == {"="}
    assert len(lines[1]) >= len(lines[2])
    assert source.count("\n# %%\n") >= 3
    assert "savefig" in source
