"""Every Python block of the README and the docs runs as printed, each on its own.

A block that needs weights or a network has ``<!-- not run: why -->`` on the line before. It is
compiled, and counted below, so that it is seen how many are not run. The blocks of the guide to
black boxes need a server: they are run by test_black_box_guide.py.
"""

import re
from pathlib import Path

import pytest
import sklearn

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    *(
        page
        for page in sorted((ROOT / "docs").rglob("*.md"))
        if "_build" not in page.parts and page.name != "black_box.md"
    ),
]
BLOCK = re.compile(r"(?:<!-- not run: ([^\n]+) -->\n)?```python\n(.*?)```", re.DOTALL)
FOUND = [
    (f"{page.relative_to(ROOT)}-{i}", why, block)
    for page in PAGES
    for i, (why, block) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
]
NOT_RUN = {"docs/recipes.md": 5}  # weights of timm, Medical_MAE, RAD-DINO, BiomedCLIP, xrv


@pytest.mark.filterwarnings("ignore::skdne.DebiasingWarning")
@pytest.mark.parametrize("block", [pytest.param(b, id=n) for n, why, b in FOUND if not why])
def test_block_runs(block):
    with sklearn.config_context():  # undoes a set_config in the block
        exec(compile(block, "block", "exec"), {})


def test_few_blocks_are_not_run():
    counts = {}
    for name, why, block in FOUND:
        if why:
            compile(block, name, "exec")
            page = name.rpartition("-")[0]
            counts[page] = counts.get(page, 0) + 1
    assert counts == NOT_RUN


def test_a_page_says_what_is_not_run():
    """A reader of the page, who does not see the mark, is told too."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        marked = sum(bool(why) for why, _ in BLOCK.findall(text))
        assert text.lower().count("*not run by our tests: ") >= marked
