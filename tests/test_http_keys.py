"""HTTPEncoder: where keys come from, and that they leak nowhere."""

import logging
import pickle
import traceback

import httpx2
import numpy as np
import pytest
from fake_service import IMAGES, URL, FakeService, answer_vertex, embed

from skdne import HTTPEncoder
from skdne.encoders._connection import make_client

EXPECTED = embed(IMAGES * 255)
SECRET = "s3cret/kEy+0123456789"


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("SKDNE_TEST_KEY", SECRET)
    return "SKDNE_TEST_KEY"


def v2(**options):
    return HTTPEncoder(URL, model="m", **options)


def vertex(**options):
    return HTTPEncoder(f"{URL}/predict", "vertex", **options)


def status(code, words):
    return httpx2.Response(code, text=words)


def tokens():
    """Count up, as a function that users write would ask their cloud for a new one."""
    tokens.n += 1
    return {"X-Key": f"Bearer {SECRET}-{tokens.n}", "X-Project": "p"}


def broken():
    return "two\r\nX-Evil: lines " + SECRET


def asked_for(service):
    return [request.headers.get("authorization") for request in service.gets + service.posts]


def test_a_variable_gives_a_bearer_token(serve, key):
    service = serve(FakeService())
    v2(auth=key).embed(IMAGES)
    assert asked_for(service) == [f"Bearer {SECRET}"] * 2


@pytest.mark.parametrize("auth", [tokens, f"{__name__}:tokens"])
def test_a_function_gives_headers_once_and_once_again_after_401(serve, waits, auth):
    tokens.n, sent = 0, []
    service = serve(FakeService())
    encoder = v2(auth=auth)
    assert encoder.auth == f"{__name__}:tokens"
    for _ in range(2):
        encoder.embed(IMAGES, sent.append)
    assert (tokens.n, sent) == (1, [3, 3])
    service.plan = [status(401, "expired")]
    np.testing.assert_array_equal(encoder.embed(IMAGES, sent.append), EXPECTED)
    assert (tokens.n, sent) == (2, [3, 3, 3, 3])
    last = service.posts[-1].headers
    assert (last["x-key"], last["x-project"]) == (f"Bearer {SECRET}-2", "p")
    service.plan = [status(401, f"no: {SECRET}-3")] * 9
    with pytest.raises(PermissionError, match=r"401.*no: \[key\].*asked for it again"):
        encoder.embed(IMAGES, sent.append)
    assert (tokens.n, len(sent), waits) == (3, 6, [])


def faults_that_repeat_the_key():
    echo = f"bad key {SECRET} or {SECRET.replace('/', chr(92) + '/')}"
    return {
        "400": [status(400, echo)],
        "403": [status(403, echo)],
        "401": [status(401, echo)] * 2,
        "503": [status(503, echo)] * 2,
        "cut": [status(400, "x" * 290 + SECRET)],
        "lost": [httpx2.ReadError(echo)] * 2,
        "html": [status(200, echo)],
        "JSON": [httpx2.Response(200, json={"predictions": [{"error": echo}] * 3})],
        "item": [httpx2.Response(200, json={"predictions": [{echo: 1}] * 3})],
    }


@pytest.mark.parametrize("fault", faults_that_repeat_the_key())
def test_keys_leak_nowhere(serve, waits, key, caplog, fault):
    caplog.set_level(logging.DEBUG)
    encoder = vertex(auth=key, attempts=2)
    serve(FakeService(answer_vertex, plan=faults_that_repeat_the_key()[fault]))
    with pytest.raises((ValueError, OSError)) as info:
        encoder.embed(IMAGES)
    logged = "".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    kept = [
        "".join(traceback.format_exception(info.value)),
        repr(info.value.__cause__),
        repr(info.value.__context__),
        repr(pickle.dumps(info.value)),
        repr(encoder),
        repr(pickle.dumps(encoder)),
        repr(encoder.__dict__),
        logged,
    ]
    assert "http" in logged  # something was recorded at all
    for text in kept:
        assert SECRET[:8] not in text
    error = info.value
    while error is not None:  # no exception of httpx2, which holds the request, hangs on it
        assert not type(error).__module__.startswith("httpx2")
        error = error.__cause__ or error.__context__


def test_a_key_given_as_the_name_is_not_repeated(serve):
    serve(FakeService())
    for auth in (SECRET, "sk-12345:abc", "", "hf_12345SECRET", "user12345:SECRET"):
        with pytest.raises(ValueError, match="never the key itself") as info:
            v2(auth=auth).load()
        text = "".join(traceback.format_exception(info.value, chain=True))
        raised = text.splitlines()[-1]
        assert "12345" not in raised
        assert "12345" not in repr(info.value.__context__)
        assert "12345" not in repr(info.value.__cause__)


def test_functions_that_cannot_be_named_are_refused():
    class Source:
        secret = SECRET

        def token(self):
            return self.secret

    for auth in (lambda: SECRET, Source().token, Source(), 3):
        with pytest.raises(TypeError, match="never the key itself") as info:
            v2(auth=auth)
        assert SECRET not in str(info.value)


def test_keys_that_cannot_be_sent_are_not_repeated(serve):
    service = serve(FakeService())
    with pytest.raises(ValueError, match="no usable key") as info:
        v2(auth=broken).load()
    assert SECRET not in str(info.value)
    assert service.gets == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://models.example.org", "not encrypted"),
        ("http://10.0.0.7:8000", "not encrypted"),
        ("https://user:s3cret@example.org", "by auth instead"),
        ("https://example.org/predict?api_key=s3cret", "by auth instead"),
    ],
)
def test_addresses_that_would_give_a_key_away_are_refused(url, words):
    with pytest.raises(ValueError, match=words) as info:
        HTTPEncoder(url, "vertex", auth="SKDNE_TEST_KEY")
    assert "s3cret" not in str(info.value)


def test_addresses_a_key_may_travel_to(key):
    for url in (
        "https://example.org/predict?api-version=2",
        "http://localhost:80",
        "http://127.1.2.3",
        "http://[::1]:8000/x",
    ):
        assert HTTPEncoder(url, "vertex", auth=key).url == url
    assert HTTPEncoder("http://models.example.org", "vertex").auth is None


def test_certificates_are_checked_and_this_machine_needs_no_proxy(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example.org:3128")
    with make_client("http://[::1]:8000", 3, 5.0) as client:
        assert client._transport_for_url(httpx2.URL("http://[::1]:8000/v2")) is client._transport
    with make_client("https://example.org", 3, 60.0) as client:
        proxy = client._transport_for_url(httpx2.URL("https://example.org"))
        assert proxy is not client._transport
        for transport in (proxy, client._transport):
            assert transport._pool._ssl_context.verify_mode.name == "CERT_REQUIRED"
            assert transport._pool._ssl_context.check_hostname
        assert (client.follow_redirects, client.timeout.connect, client.timeout.read) == (
            False,
            10.0,
            60.0,
        )
