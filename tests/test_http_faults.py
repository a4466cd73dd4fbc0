"""HTTPEncoder: faults that heal, and faults that do not."""

import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import numpy as np
import pytest
from fake_service import (
    HEADER,
    IMAGES,
    URL,
    FakeService,
    answer_v2,
    answer_vertex,
    embed,
)

from skdne import HTTPEncoder
from skdne.budget import BudgetExhaustedError

EXPECTED = embed(IMAGES * 255)


def v2(**options):
    return HTTPEncoder(URL, model="m", **options)


def vertex(**options):
    return HTTPEncoder(f"{URL}/predict", "vertex", **options)


def status(code, words="", **headers):
    return httpx2.Response(code, text=words, headers=headers)


def cut_off(request):
    answer = answer_v2(request)
    return httpx2.Response(
        200, content=answer.content[:-3], headers={HEADER: answer.headers[HEADER]}
    )


# Faults that heal -------------------------------------------------------------------------------

HEALING = {
    "429": status(429),
    "500": status(500, "oops"),
    "502": status(502),
    "503": status(503),
    "504": status(504),
    "timeout": httpx2.ReadTimeout("slow"),
    "connection": httpx2.ConnectError("refused"),
    "lost": httpx2.ReadError("reset"),
    "truncated": httpx2.RemoteProtocolError("peer closed connection without sending complete body"),
    "cut off": cut_off,
    "cut off JSON": httpx2.Response(200, content=b'{"outputs": [{"name": "vec'),
    "bad gzip": httpx2.DecodingError("incorrect data check"),
}


@pytest.mark.parametrize("fault", HEALING.values(), ids=HEALING)
def test_faults_that_heal_change_nothing_but_the_images_sent(serve, waits, fault):
    service = serve(FakeService(plan=[fault, fault]))
    sent = []
    np.testing.assert_array_equal(v2(encoding="binary").embed(IMAGES, sent.append), EXPECTED)
    assert (sent, len(service.posts), len(waits)) == ([3, 3, 3], 3, 2)
    assert 0.5 <= waits[0] <= 1.5 < waits[1] + 1 <= 3  # they grow, with some jitter


@pytest.mark.parametrize("fault", HEALING.values(), ids=HEALING)
def test_retries_are_bounded(serve, waits, fault):
    service = serve(FakeService(plan=[fault] * 9))
    sent = []
    with pytest.raises(ConnectionError, match=rf"POST {URL}/v2/models/m/infer failed 3 times"):
        v2(encoding="binary", attempts=3).embed(IMAGES, sent.append)
    assert (sent, len(service.posts)) == ([3, 3, 3], 3)
    with pytest.raises(ConnectionError, match=r"failed 1 time:.*retry_timeout=1e-09"):
        v2(retry_timeout=1e-9).embed(IMAGES)


def test_retry_after_is_obeyed_in_seconds_and_as_a_date(serve, waits):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    late = format_datetime(datetime.now(UTC) - timedelta(seconds=100), usegmt=True)
    asked = ["7", date, late, "0", "soon"]
    faults = [status(429, **{"Retry-After": text}) for text in asked]
    faults[1] = status(503, **{"Retry-After": date})
    serve(FakeService(plan=faults))
    np.testing.assert_array_equal(v2().embed(IMAGES), EXPECTED)
    assert waits[0] == 7
    assert 90 < waits[1] <= 100
    assert all(wait >= 0.5 for wait in waits[2:])  # the usual backoff, never a hot loop


def test_a_wait_beyond_the_bound_is_an_error_at_once(serve, waits):
    service = serve(FakeService(plan=[status(429, "daily quota", **{"Retry-After": "3600"})]))
    with pytest.raises(ConnectionError, match=r"daily quota.*wait 3600 s.*retry_timeout=300"):
        v2().embed(IMAGES)
    assert (len(service.posts), waits) == (1, [])


def test_a_budget_stops_the_retries(serve, waits):
    service = serve(FakeService(plan=[status(503)] * 9))
    sent = []

    def on_send(n):
        if len(sent) == 2:
            raise BudgetExhaustedError("enough")
        sent.append(n)

    with pytest.raises(BudgetExhaustedError, match="enough"):
        v2().embed(IMAGES, on_send)
    assert len(service.posts) == 2


# Faults that do not -----------------------------------------------------------------------------


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 422, 307])
def test_other_statuses_are_one_attempt_and_the_service_s_words(serve, waits, code):
    service = serve(FakeService(plan=[status(code, "no such\n thing " + "x" * 999)] * 2))
    error = PermissionError if code in (401, 403) else ValueError
    with pytest.raises(error, match=rf"{code}.*'no such thing x{{286}}'") as info:
        v2(encoding="json").embed(IMAGES)
    assert (len(service.posts), waits) == (1, [])
    hints = {401: "set auth", 403: "set auth", 404: "Check url and model", 307: "not followed"}
    assert hints.get(code, "") in str(info.value)


def test_errors_of_single_images_inside_a_200(serve, waits):
    def failing(*rows, **error):
        def answer(request):
            items = answer_vertex(request).json()["predictions"]
            for row in rows:
                items[row] = {"error": error}
            return httpx2.Response(200, json={"predictions": items})

        return answer

    service = serve(FakeService(answer_vertex))
    service.plan = [failing(0, 2, code=429, message="busy"), failing(0, code=14, message="busy")]
    sent = []
    np.testing.assert_array_equal(vertex().embed(IMAGES, sent.append), EXPECTED)
    assert (sent, len(waits)) == ([3, 2, 1], 2)  # alone, with backoff
    service.plan = [failing(0, code=503, message="busy"), failing(0, code=3, message="no X-ray")]
    with pytest.raises(ValueError, match=r"rows \[0\] of a batch of 3: 3: no X-ray"):
        vertex().embed(IMAGES, sent.append)
    service.plan = [failing(1, 2, description="bad")]
    with pytest.raises(ValueError, match=r"rows \[1, 2\] of a batch of 3: bad"):
        vertex().embed(IMAGES)
    service.plan = [failing(0, 2, code=429, message="busy"), failing(1, code=8, message="x")]
    service.plan.append(failing(0, code=8, message="x"))
    with pytest.raises(ConnectionError, match=r"failed 3 times.*rows \[2\] of a batch of 3: 8: x"):
        vertex(attempts=3).embed(IMAGES)


def test_a_reply_of_another_kind_is_an_error_at_once(serve, waits):
    replies = [
        httpx2.Response(200, text="<html>Sign in</html>"),
        httpx2.Response(200, json={"outputs": [{"shape": [1]}]}),
    ]
    service = serve(FakeService(plan=replies))
    for words in ("not JSON.*Sign in", "malformed"):
        with pytest.raises(ValueError, match=words):
            v2().embed(IMAGES)
    assert (len(service.posts), waits) == (2, [])


def test_load_says_what_to_check_and_quickly(serve, waits):
    serve(FakeService(describe=status(404, "Request for unknown model: 'm'")))
    with pytest.raises(ValueError, match=r"404 Not Found: .*unknown model.*Check url and model"):
        v2().load()
    serve(FakeService(describe={"detail": "hello"}))
    with pytest.raises(ValueError, match="describes no model"):
        v2().load()
    assert waits == []


@pytest.mark.parametrize("protocol", ["v2", "vertex"])
def test_nothing_listens(waits, protocol):
    with socket.socket() as reserved:  # bound, but not listening
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        with pytest.raises(ConnectionError, match=f"nothing answers at {url} .*Check the url"):
            HTTPEncoder(url, protocol, model="m").load()
    assert waits == []
