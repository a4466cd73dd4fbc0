"""Start a server as a process, wait until it is ready, and leave nothing of it behind."""

import contextlib
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx2
import pytest

START_UP_SECONDS = 120  # a busy machine that imports torch


class Server:
    """A running server.

    ``url`` is for the client under test, ``http`` a plain client, the methods are for the test.
    """

    def __init__(self, process, url, log):
        self.process = process
        self.url = url
        self.http = httpx2.Client(base_url=url, timeout=30, trust_env=False)
        self._log = log

    def log(self):
        """All that the server wrote so far."""
        return Path(self._log).read_text()

    def set_token(self, token, expires_after=None):
        """Ask for this bearer token (None: for none); it expires after so many requests."""
        self._control("PUT", "/__token", {"token": token, "expires_after": expires_after})

    def set_plan(self, **plan):
        """Replace the proxy's plan of faults; see proxy_server.py."""
        self._control("PUT", "/__plan", plan)

    def counts(self):
        """What the proxy saw; see proxy_server.py."""
        return self._control("GET", "/__counts")

    def images(self):
        """How often the proxy received each image, by its digest; see wire.py."""
        return self._control("GET", "/__images")

    def reset_counts(self):
        self._control("DELETE", "/__counts")

    def _control(self, method, path, body=None):
        reply = self.http.request(method, path, json=body)
        reply.raise_for_status()
        return reply.json()


@contextlib.contextmanager
def serve(kind, **options):
    """Run the server of that kind for the length of a with block.

    It holds the reading end of a pipe and ends itself once the other end closes, so it ends with
    this process even where that one is killed.
    """
    if kind == "mlserver" and importlib.util.find_spec("mlserver") is None:
        pytest.skip("MLServer is not installed; it supports Python up to 3.12")
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "servers", kind, json.dumps(options)],
            cwd=Path(__file__).resolve().parents[1],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
        try:
            server = Server(process, _announced_url(process, kind, log.name), log.name)
            with server.http:
                yield server
        finally:
            _end(process)


def _announced_url(process, kind, log):
    ready, _, _ = select.select([process.stdout], [], [], START_UP_SECONDS)
    line = process.stdout.readline().decode().strip() if ready else ""
    if not line.startswith("http://127.0.0.1:"):
        raise RuntimeError(f"The server {kind!r} did not start: {Path(log).read_text()[-3000:]}")
    return line


def _end(process):
    """End the whole process group at once; there is nothing that it would have to save."""
    with process, contextlib.suppress(ProcessLookupError):  # closes the pipes and reaps it
        os.killpg(process.pid, signal.SIGKILL)
