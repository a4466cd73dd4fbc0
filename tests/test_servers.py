"""The servers that other tests use do what they say, seen with a plain HTTP client."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import numpy as np
import pytest
from servers import serve
from servers.models import Projection
from servers.plain_client import (
    INFER,
    LENGTH,
    PREDICT,
    expected,
    pixels,
    v2_binary,
    v2_json,
    v2_vectors,
    vertex,
    vertex_vectors,
)

from skdne import bundled_encoder

ROOT = Path(__file__).resolve().parents[1]


def test_projection_does_not_depend_on_batches():
    images = np.random.default_rng(0).random((7, 1, 16, 16), dtype=np.float32)
    whole = Projection().embed(images)
    alone = [Projection().embed(images[i : i + 1])[0] for i in range(7)]
    assert np.array_equal(whole, alone)
    assert np.linalg.matrix_rank(whole) == 7


def test_triton_serves_the_same_projection():
    spec = importlib.util.spec_from_file_location("tool", ROOT / "tools" / "serve_binary_v2.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    images = np.random.default_rng(0).random((3, 1, 16, 16), dtype=np.float32)
    assert np.array_equal(tool.project(images), Projection().embed(images))


class TestV2:
    def test_metadata(self, v2_server):
        for path in ("/v2/models/encoder", "/v2/models/encoder/versions/1"):
            metadata = v2_server.http.get(path).json()
            assert metadata["inputs"] == [
                {"name": "images", "datatype": "UINT8", "shape": [-1, 1, 16, 16]}
            ]
            assert metadata["outputs"][0]["shape"] == [-1, 32]

    @pytest.mark.parametrize("request_of", [v2_json, v2_binary])
    def test_embeds(self, v2_server, request_of):
        images = pixels()
        reply = v2_server.http.post(INFER, **request_of(images))
        assert np.array_equal(v2_vectors(reply), expected(images))
        assert (LENGTH in reply.headers) == (request_of is v2_binary)

    def test_binary_request_json_reply(self, v2_server):
        reply = v2_server.http.post(INFER, **v2_binary(pixels(), parameters={}))
        assert LENGTH not in reply.headers
        assert np.array_equal(v2_vectors(reply), expected(pixels()))

    def test_floats_channels_last_and_two_outputs(self):
        options = {"datatype": "FP32", "channels_last": True, "extra_output": True}
        images = np.random.default_rng(0).random((3, 3, 8, 8), dtype=np.float32)
        model = {"size": 8, "n_channels": 3}
        with serve("v2", **options, **model) as server:
            last = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
            both = server.http.post(INFER, **v2_json(last, "FP32"))
            binary = v2_binary(last, "FP32", outputs=[{"name": "embedding"}])
            one = server.http.post(INFER, **binary)
        vectors = Projection(**model).embed(images)
        assert np.array_equal(v2_vectors(one), vectors)
        assert np.array_equal(v2_vectors(both), vectors)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        np.testing.assert_allclose(v2_vectors(both, output=1), norms, rtol=1e-6)

    @pytest.mark.parametrize(
        ("request_", "path", "status", "words"),
        [
            (v2_binary(pixels(size=15)), INFER, 400, "shape"),
            (v2_binary(pixels().astype("f4"), "FP32"), INFER, 400, "datatype"),
            (v2_binary(pixels().astype("f4")), INFER, 400, "binary_data_size"),
            (v2_binary(pixels(), outputs=[{"name": "none"}]), INFER, 400, "none"),
            (v2_json(pixels()), INFER.replace("encoder", "other"), 404, "other"),
            (v2_json(pixels()), INFER.replace("infer", "versions/2/infer"), 404, "unknown model"),
        ],
    )
    def test_refuses(self, v2_server, request_, path, status, words):
        reply = v2_server.http.post(path, **request_)
        assert reply.status_code == status
        assert words in reply.json()["error"]


class TestMLServer:
    def test_metadata(self, mlserver):
        metadata = mlserver.http.get("/v2/models/encoder").json()
        (images,) = metadata["inputs"]
        assert (images["datatype"], images["shape"]) == ("UINT8", [-1, 1, 16, 16])
        assert metadata["outputs"][0]["name"] == "embedding"

    def test_embeds_json(self, mlserver):
        reply = mlserver.http.post(INFER, **v2_json(pixels()))
        np.testing.assert_array_equal(v2_vectors(reply), expected(pixels()))

    def test_refuses_binary(self, mlserver):
        assert mlserver.http.post(INFER, **v2_binary(pixels())).status_code == 422

    def test_bundled_encoder(self):
        images = np.random.default_rng(0).random((2, 1, 128, 128), dtype=np.float32)
        with serve("mlserver", model="bundled", datatype="FP32") as server:
            vectors = v2_vectors(server.http.post(INFER, **v2_json(images, "FP32")))
        np.testing.assert_allclose(vectors, bundled_encoder().embed(images), rtol=0, atol=1e-4)


class TestVertex:
    def test_embeds(self, vertex_server):
        reply = vertex_server.http.post(PREDICT, **vertex(pixels()))
        assert np.array_equal(vertex_vectors(reply), expected(pixels()))

    def test_errors_of_single_items(self, vertex_server):
        request = vertex(pixels(3))
        request["json"]["instances"][1] = {"input_bytes": "bm8gUE5H"}
        reply = vertex_server.http.post(PREDICT, **request)
        first, second, third = reply.json()["predictions"]
        assert reply.status_code == 200
        assert second["error"]["code"] == 3
        assert "no readable image" in second["error"]["message"]
        vectors = [first["general_img_emb"][0], third["general_img_emb"][0]]
        assert np.array_equal(np.array(vectors, "f4"), expected(pixels(3))[[0, 2]])

    def test_tokens_expire(self):
        with serve("vertex", token="one", expires_after=2) as server:

            def status(token):
                headers = {"Authorization": f"Bearer {token}"} if token else {}
                return server.http.post(PREDICT, headers=headers, **vertex(pixels(1))).status_code

            assert [status(t) for t in (None, "two", "one", "one", "one")] == [
                *(401, 401, 200, 200, 401)
            ]
            server.set_token("two")
            assert [status(t) for t in ("one", "two")] == [401, 200]
            server.set_token(None)
            assert status(None) == 200


def wait_until_gone(url):
    port = int(url.rsplit(":", 1)[1])
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return True
        time.sleep(0.05)
    return False


class TestProcess:
    @pytest.mark.parametrize("kind", ["v2_server", "vertex_server", "mlserver"])
    def test_listens_on_this_machine_only(self, kind, request):
        port = int(request.getfixturevalue(kind).url.rsplit(":", 1)[1])
        with pytest.raises(OSError, match=r"refused|unreachable|assign"):
            socket.create_connection(("127.0.0.2", port), timeout=5)

    def test_ends_on_interrupt(self):
        with pytest.raises(KeyboardInterrupt), serve("vertex") as server:
            raise KeyboardInterrupt
        assert wait_until_gone(server.url)
        with pytest.raises(ProcessLookupError):
            os.killpg(server.process.pid, 0)

    def test_ends_with_a_killed_parent(self):
        program = (
            "import servers, time\nwith servers.serve('v2') as s:\n print(s.url, flush=True)\n"
        )
        command = [sys.executable, "-c", program + " time.sleep(60)"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT / "tests") as parent:
            url = parent.stdout.readline().decode().strip()
            assert httpx2.get(f"{url}/v2/health/live", trust_env=False).status_code == 200
            parent.send_signal(signal.SIGKILL)
        assert wait_until_gone(url)

    def test_says_why_it_did_not_start(self):
        with pytest.raises(RuntimeError, match="no_such_option"), serve("v2", no_such_option=1):
            pass
