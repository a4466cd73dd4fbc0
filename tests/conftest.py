"""Fixtures shared by the tests."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("skdne", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("skdne")


@pytest.fixture(scope="session")
def nih_cxr() -> Path:
    """Folder of the real chest X-rays (`metadata.csv`, `images/`); skips where it is absent."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("SKDNE_NIH_CXR", root.parent / "shared" / "data" / "nih_cxr"))
    if not (folder / "metadata.csv").exists():
        pytest.skip("real chest X-rays not found; set SKDNE_NIH_CXR to their folder")
    return folder


@pytest.fixture
def serve(monkeypatch):
    """Function that makes HTTPEncoder talk to a service in this process."""
    from fake_service import serving

    with serving(monkeypatch) as serve:
        yield serve


@pytest.fixture
def waits(monkeypatch):
    """Seconds that were slept between attempts: none is really waited."""
    import tenacity

    waits: list[float] = []
    monkeypatch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=waits.append))
    return waits


def _real_server(kind: str, upstream: str | None = None) -> Any:
    """Fixture of a process of tests/servers, or of the proxy before another fixture's."""

    @pytest.fixture(scope="module")
    def server(request):
        from servers import serve

        options = {"upstream": request.getfixturevalue(upstream).url} if upstream else {}
        with serve(kind, **options) as running:
            yield running

    return server


v2_server = _real_server("v2")
vertex_server = _real_server("vertex")
mlserver = _real_server("mlserver")
v2_proxy = _real_server("proxy", "v2_server")
vertex_proxy = _real_server("proxy", "vertex_server")
mlserver_proxy = _real_server("proxy", "mlserver")
