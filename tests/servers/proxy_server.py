"""A proxy before a service that breaks requests according to a plan, and counts them.

Options: ``upstream`` (a URL) and the plan: either ``rate`` (0 to 1), ``kinds`` and ``seed``, or
``faults`` (a list, one for each POST in the order of arrival) and ``then`` (for all that follow).
Further ``retry_after`` (seconds or a date, told with 429 and 503) and ``delay`` (seconds before
each reply).

- ``"ok"``: none;
- ``"400"``, ``"429"``, ``"503"``: any status, the service is not asked;
- ``"hang"``: no reply until the client goes away, the service is not asked;
- ``"truncated"``: half of the reply, then the connection closes;
- ``"nan"``, ``"null"`` (what some servers write for NaN in JSON): in the last row;
- ``"few_rows"``, ``"dimension"``: one row, one feature less;
- ``"other_model"``, ``"precision"``: other values, float16 values;
- ``"item:503"``: an error of the first image inside the reply, Vertex only.
"""

import asyncio
import random
from collections import Counter

import httpx2
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from servers.wire import change_reply, image_digests

# Length and encoding are told anew; the others are about one connection.
NOT_COPIED = {"connection", "content-encoding", "content-length", "host", "keep-alive"}
NOT_COPIED |= {"accept-encoding", "date", "server", "transfer-encoding"}


class Plan:
    """Which fault comes next."""

    def __init__(
        self, rate=0.0, seed=0, kinds=(), faults=(), then="ok", retry_after=None, delay=0.0
    ):
        self.rate = rate
        self.kinds = list(kinds)
        self.random = random.Random(seed)
        self.faults = iter(list(faults))
        self.then = then
        self.retry_after = retry_after
        self.delay = delay

    def next(self):
        if self.rate:
            return self.random.choice(self.kinds) if self.random.random() < self.rate else "ok"
        return next(self.faults, self.then)


class Counts:
    """Requests, and how often each image was seen: by the proxy, and by the service behind it."""

    def __init__(self):
        self.requests = {"received": 0, "forwarded": 0}
        self.images = {"received": Counter(), "forwarded": Counter()}
        self.faults = Counter()
        self.in_flight = self.max_in_flight = 0

    def add(self, where, digests):
        self.requests[where] += 1
        self.images[where].update(digests)

    def as_dict(self):
        told = {"faults": dict(self.faults), "max_in_flight": self.max_in_flight}
        for where, images in self.images.items():
            told[where] = {
                "requests": self.requests[where],
                "images": images.total(),
                "distinct_images": len(images),
                "duplicate_images": images.total() - len(images),
            }
        return told


class Proxy:
    def __init__(self, upstream, **plan):
        self.upstream = upstream
        self.plan = Plan(**plan)
        self.counts = Counts()
        self.client = None

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":  # lifespan: nothing to set up
            return
        request = Request(scope, receive)
        if request.url.path in ("/__plan", "/__counts", "/__images"):
            reply = await self._control(request)
        elif request.method == "POST":
            self.counts.in_flight += 1
            self.counts.max_in_flight = max(self.counts.max_in_flight, self.counts.in_flight)
            try:
                reply = await self._break(request, self.plan.next())
            finally:
                self.counts.in_flight -= 1
        else:
            reply = await self._forward(request)
        if reply is not None:
            await reply(scope, receive, send)

    async def _control(self, request):
        if request.method == "PUT":
            self.plan = Plan(**await request.json())
        elif request.method == "DELETE":
            self.counts = Counts()
        elif request.url.path == "/__images":
            return JSONResponse(self.counts.images["received"])
        return JSONResponse(self.counts.as_dict())

    async def _break(self, request, fault):
        digests = image_digests(await request.body(), request.headers)
        self.counts.faults[fault] += 1
        self.counts.add("received", digests)
        await asyncio.sleep(self.plan.delay)
        if fault.isdigit():
            headers = {}
            if self.plan.retry_after is not None and fault in ("429", "503"):
                headers["Retry-After"] = str(self.plan.retry_after)
            return JSONResponse({"error": f"injected {fault}"}, int(fault), headers)
        if fault == "hang":
            while (await request.receive())["type"] != "http.disconnect":
                pass
            return None
        self.counts.add("forwarded", digests)
        reply = await self._forward(request)
        if fault == "ok" or reply.status_code != 200:
            return reply
        if fault == "truncated":
            return Truncated(reply)
        reply.body, length = change_reply(fault, reply.body, reply.headers)
        reply.headers.update(length)
        return reply

    async def _forward(self, request):
        if self.client is None:
            limits = httpx2.Limits(max_connections=None)
            self.client = httpx2.AsyncClient(timeout=120, limits=limits, trust_env=False)
        headers = [(k, v) for k, v in request.headers.items() if k not in NOT_COPIED]
        url = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        answer = await self.client.request(
            request.method,
            self.upstream + url,
            headers=[*headers, ("accept-encoding", "identity")],
            content=await request.body(),
        )
        kept = {k: v for k, v in answer.headers.items() if k not in NOT_COPIED}
        return Response(answer.content, answer.status_code, kept)


class Truncated:
    """A reply that stops half-way: uvicorn closes the connection of what is not complete."""

    def __init__(self, reply):
        self.reply = reply

    async def __call__(self, scope, receive, send):
        reply = self.reply
        start = {"status": reply.status_code, "headers": reply.raw_headers}
        await send({"type": "http.response.start", **start})
        half = reply.body[: len(reply.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})


def make_app(upstream, **plan):
    return Proxy(upstream, **plan)
