"""Fixtures shared by the tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def nih_cxr() -> Path:
    """Folder of the real chest X-rays (`metadata.csv`, `images/`); skips where it is absent."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("SKDNE_NIH_CXR", root.parent / "shared" / "data" / "nih_cxr"))
    if not (folder / "metadata.csv").exists():
        pytest.skip("real chest X-rays not found; set SKDNE_NIH_CXR to their folder")
    return folder
