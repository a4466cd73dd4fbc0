"""The proxy that injects faults does what its plan says, and counts what passes."""

from concurrent.futures import ThreadPoolExecutor

import httpx2
import numpy as np
import pytest
from servers import serve
from servers.plain_client import (
    INFER,
    PREDICT,
    expected,
    pixels,
    v2_binary,
    v2_json,
    v2_vectors,
    vertex,
    vertex_vectors,
)


@pytest.mark.parametrize("request_of", [v2_json, v2_binary])
def test_passes_on_and_counts(v2_proxy, request_of):
    v2_proxy.set_plan()
    v2_proxy.reset_counts()
    assert v2_proxy.http.get("/v2/models/encoder").json()["name"] == "encoder"
    twice = np.concatenate([pixels(4), pixels(1)])
    for _ in range(2):
        reply = v2_proxy.http.post(INFER, **request_of(twice))
        assert np.array_equal(v2_vectors(reply), expected(twice))
    counts = v2_proxy.counts()
    seen = {"requests": 2, "images": 10, "distinct_images": 4, "duplicate_images": 6}
    assert counts["received"] == counts["forwarded"] == seen
    assert counts["max_in_flight"] == 1


def test_before_mlserver():
    with (
        serve("mlserver") as mlserver,
        serve("proxy", upstream=mlserver.url, faults=["503"]) as proxy,
    ):
        assert proxy.http.post(INFER, **v2_json(pixels())).status_code == 503
        reply = proxy.http.post(INFER, **v2_json(pixels()))
        counts = proxy.counts()
    assert np.array_equal(v2_vectors(reply), expected(pixels()))
    assert counts["received"]["duplicate_images"] == 5
    assert counts["forwarded"]["images"] == 5


def test_statuses(v2_proxy):
    v2_proxy.reset_counts()
    v2_proxy.set_plan(faults=["429", "401", "ok"], then="500", retry_after=7)
    replies = [v2_proxy.http.post(INFER, **v2_json(pixels(1))) for _ in range(5)]
    assert [reply.status_code for reply in replies] == [429, 401, 200, 500, 500]
    assert [reply.headers.get("Retry-After") for reply in replies[:2]] == ["7", None]
    assert v2_proxy.counts()["faults"] == {"429": 1, "401": 1, "ok": 1, "500": 2}
    assert v2_proxy.counts()["forwarded"]["requests"] == 1


def test_rate_is_reproducible(v2_proxy):
    def statuses(seed):
        v2_proxy.set_plan(rate=0.3, kinds=["429", "503"], seed=seed)
        request = v2_binary(pixels(1))
        return [v2_proxy.http.post(INFER, **request).status_code for _ in range(60)]

    first = statuses(0)
    assert first == statuses(0) != statuses(1)
    assert set(first) == {200, 429, 503}
    assert 5 <= sum(status != 200 for status in first) <= 32


def test_hang(v2_proxy):
    v2_proxy.set_plan(faults=["hang"])
    with pytest.raises(httpx2.ReadTimeout):
        v2_proxy.http.post(INFER, timeout=0.2, **v2_json(pixels(1)))
    assert v2_proxy.http.post(INFER, **v2_json(pixels(1))).status_code == 200


def test_truncated(v2_proxy):
    v2_proxy.set_plan(faults=["truncated"])
    with pytest.raises(httpx2.RemoteProtocolError, match="complete"):
        v2_proxy.http.post(INFER, **v2_binary(pixels()))


@pytest.mark.parametrize("form", ["json", "binary", "vertex"])
def test_changed_replies(v2_proxy, vertex_proxy, form):
    proxy, path, request, vectors_of = {
        "json": (v2_proxy, INFER, v2_json(pixels()), v2_vectors),
        "binary": (v2_proxy, INFER, v2_binary(pixels()), v2_vectors),
        "vertex": (vertex_proxy, PREDICT, vertex(pixels()), vertex_vectors),
    }[form]
    true = expected(pixels())

    def vectors(fault):
        proxy.set_plan(then=fault)
        return vectors_of(proxy.http.post(path, **request))

    for fault in ("nan", "null"):
        changed = vectors(fault)
        assert np.argwhere(np.isnan(changed)).tolist() == [[4, 0]]
        assert np.array_equal(changed[:4], true[:4])
    assert np.array_equal(vectors("few_rows"), true[:-1])
    assert np.array_equal(vectors("dimension"), true[:, :-1])
    assert np.array_equal(vectors("other_model"), true[:, ::-1])
    precision = vectors("precision")
    assert not np.array_equal(precision, true)
    np.testing.assert_allclose(precision, true, rtol=1e-3)
    assert np.array_equal(vectors("ok"), true)


def test_item_of_a_vertex_reply(vertex_proxy):
    vertex_proxy.set_plan(faults=["item:503"])
    first, *others = vertex_proxy.http.post(PREDICT, **vertex(pixels())).json()["predictions"]
    assert first["error"]["code"] == 503
    assert ["general_img_emb" in other for other in others] == [True] * 4


def test_in_flight(v2_proxy):
    v2_proxy.set_plan(delay=0.3)
    v2_proxy.reset_counts()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: v2_proxy.http.post(INFER, **v2_json(pixels(1))), range(4)))
    assert v2_proxy.counts()["max_in_flight"] == 4
