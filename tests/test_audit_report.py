"""The report and the JSON: complete, escaped, self-contained."""

import base64
import json
import re
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from skdne.audit import FairnessAudit

FAST = {"n_bootstrap": 30, "n_permutations": 30, "random_state": 0}


@pytest.fixture(scope="module")
def audit():
    rng = np.random.default_rng(0)
    y, a = rng.integers(0, 2, 300), rng.choice(["<b>F</b>", "M & more"], 300)
    y_score = np.clip(0.25 + 0.5 * y + rng.normal(0, 0.3, 300) - 0.3 * (a == "M & more"), 0, 1)
    images = rng.random((300, 12, 12))
    return FairnessAudit.from_predictions(
        y,
        y_score=y_score,
        threshold=0.4,
        baseline_score=np.clip(y_score - 0.1, 0, 1),
        baseline_threshold=0.3,
        sensitive_features=a,
        originals=images,
        edited=np.clip(images + 0.1, 0, 1),
        **FAST,
    )


class Page(HTMLParser):
    """Collect tags that are left open, addresses and texts."""

    VOID = ("meta", "img", "br")

    def __init__(self):
        super().__init__()
        self.stack, self.addresses, self.texts, self.tags = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "srcset", "action")]
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def page(audit, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    audit.to_html(path, title="A <script>alert(1)</script> & B")
    parsed = Page()
    parsed.feed(path.read_text(encoding="utf-8"))
    return parsed


def test_well_formed_and_self_contained(page):
    assert page.stack == []
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not re.search(r"url\(|@import|https?:", " ".join(page.texts))


def test_text_is_escaped(page):
    text = " ".join(page.texts)
    assert "<b>F</b>" in text
    assert "A <script>alert(1)</script> & B" in text  # as text, not as a tag
    assert "M & more" in text


def test_pictures_open_and_are_not_blank(page):
    assert len(page.addresses) == 6  # gaps and rates at two thresholds, calibration, edits
    for address in page.addresses:
        picture = Image.open(BytesIO(base64.b64decode(address.partition(",")[2])))
        pixels = np.asarray(picture.convert("L"))
        assert min(pixels.shape) > 200
        assert 0.005 < (pixels < 200).mean() < 0.9


def test_everything_is_said(audit, page):
    text = " ".join(page.texts)
    for sentence in audit.warnings + audit.summary:
        assert sentence in text
    for figure in set(audit.to_frame()["figure"]):
        assert figure in text
    flagged = audit.to_frame()["flagged"].fillna(False).sum()
    assert page.texts.count("flagged") == flagged > 0


def test_json_holds_the_frame(audit, tmp_path):
    audit.to_json(tmp_path / "audit.json")
    text = (tmp_path / "audit.json").read_text(encoding="utf-8")
    found = json.loads(text, parse_constant=lambda name: pytest.fail(name))  # no NaN, no Infinity
    frame = audit.to_frame()
    assert len(found["figures"]) == len(frame)
    for record, (_, row) in zip(found["figures"], frame.iterrows(), strict=True):
        assert record["figure"] == row["figure"]
        value = np.nan if record["value"] is None else record["value"]
        np.testing.assert_equal(value, row["value"])
    assert found["groups"] == audit.groups
    assert found["warnings"] == audit.warnings
    assert {r["flagged"] for r in found["figures"]} == {True, False, None}


def test_a_report_without_scores_or_a_flag(tmp_path):
    y, a = np.arange(80) % 2, np.arange(80) // 2 % 2
    audit = FairnessAudit.from_predictions(y, y_pred=y, sensitive_features=a, **FAST)
    audit.to_html(tmp_path / "plain.html")
    text = (tmp_path / "plain.html").read_text(encoding="utf-8")
    assert "Calibration" not in text
    assert "Leakage" not in text
    assert "None of the 4 gaps" in text
    assert "no proof of fairness" in text
