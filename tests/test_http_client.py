"""HTTPEncoder over real sockets: one client for each process, few connections, none left open."""

import copy
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import numpy as np
import pytest
from fake_service import IMAGES, URL, answer_v2, embed, metadata

from skdne import HTTPEncoder
from skdne.encoders import _connection


@pytest.fixture
def slow_server():
    """A real V2 server that takes its time, and counts connections and requests at once."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self):
            super().setup()
            server.n_connections += 1

        def log_message(self, *args):
            pass

        def do_GET(self):
            self.answer(httpx2.Response(200, json=metadata()))

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with server.lock:
                server.now += 1
                server.most = max(server.most, server.now)
            time.sleep(0.05)
            with server.lock:
                server.now -= 1
            self.answer(
                answer_v2(httpx2.Request("POST", URL, headers=dict(self.headers), content=body))
            )

        def answer(self, response):
            self.send_response(response.status_code)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(response.content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.lock, server.now, server.most, server.n_connections = threading.Lock(), 0, 0, 0
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    _connection._connections.cache_clear()  # hangs up
    server.shutdown()
    thread.join()
    server.server_close()


def real(server, **options):
    return HTTPEncoder(f"http://127.0.0.1:{server.server_port}", model="m", attempts=1, **options)


def test_batches_are_in_flight_at_once_over_few_connections(slow_server):
    encoder = real(slow_server, concurrency=4)
    rng = np.random.default_rng(1)
    batches = [rng.integers(0, 256, (2, 1, 4, 6)) / 255 for _ in range(24)]
    found = list(encoder.embed_batches(batches))
    for vectors, batch in zip(found, batches, strict=True):  # in order
        np.testing.assert_array_equal(vectors, embed(np.rint(batch * 255)))
    assert slow_server.most == 4
    assert slow_server.n_connections <= 4
    with ThreadPoolExecutor(8) as pool:  # more threads than connections wait their turn
        list(pool.map(encoder.embed, batches[:16]))
    assert slow_server.most == 4
    assert slow_server.n_connections <= 4


def test_equal_encoders_share_a_client_and_a_fork_makes_its_own(slow_server):
    encoder = real(slow_server)
    encoder.embed(IMAGES)
    assert _connection.connection_to(encoder) is _connection.connection_to(copy.copy(encoder))
    parent = _connection.connection_to(encoder)
    out, into = os.pipe()
    pid = os.fork()
    if not pid:
        own = _connection.connection_to(encoder) is not parent
        same = np.array_equal(encoder.embed(IMAGES), embed(IMAGES * 255))
        os.write(into, b"ok" if own and same else b"no")
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(out, 2) == b"ok"
    before = slow_server.n_connections
    encoder.embed(IMAGES)  # the parent's connection is still good
    assert slow_server.n_connections == before
    for file in (out, into):
        os.close(file)


def test_a_process_imports_the_client_when_needed_and_leaves_no_socket_open(slow_server):
    code = (
        "import sys, numpy as np; from skdne import HTTPEncoder\n"
        "print({'stamina', 'skdne.encoders._connection'} & set(sys.modules))\n"
        f"encoder = HTTPEncoder('http://127.0.0.1:{slow_server.server_port}', model='m')\n"
        "print(encoder.embed(np.ones((1, 1, 4, 6))))"
    )
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "set()\n[[255. 255. 255. 255. 255.]]\n"
    assert "ResourceWarning" not in done.stderr
