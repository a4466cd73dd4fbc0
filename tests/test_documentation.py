"""Every Python block of the README and the docs runs as printed."""

import re
from pathlib import Path

import pytest
import sklearn

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.name}-{i}")
    for page in PAGES
    for i, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.filterwarnings("ignore::skdne.DebiasingWarning")
@pytest.mark.parametrize("block", BLOCKS)
def test_block_runs(block):
    with sklearn.config_context():  # undoes a set_config in the block
        exec(compile(block, "block", "exec"), {})
