"""One HTTP client for each service and process, and what it does about faults.

Nothing of httpx2 leaves this module: its exceptions hold the request, and with it the key.
"""

from __future__ import annotations

import functools
import os
import re
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import httpx2
import stamina

from skdne.encoders._auth import Credentials, is_local
from skdne.encoders._faults import (
    MAY_HEAL,
    CutOffError,
    MayHealError,
    RefusedError,
    retry_after,
    shown,
    unreachable,
)

if TYPE_CHECKING:
    from skdne.encoders._http import HTTPEncoder

T = TypeVar("T")

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds; a Retry-After may be longer
CONNECT_TIMEOUT = 10.0  # seconds; a host that answers at all does so sooner
KEEP_ALIVE = 4.0  # seconds; uvicorn hangs up after 5, and a request on its way then would be lost


class Connection:
    """The client, the key and what was learnt of one service; shared by the threads of a process.

    Parameters
    ----------
    encoder : HTTPEncoder
        Says where to, with which key, and how patient to be.
    """

    def __init__(self, encoder: HTTPEncoder) -> None:
        self.url = encoder.url.rstrip("/")
        self.attempts = encoder.attempts
        self.retry_timeout = encoder.retry_timeout
        self.credentials = Credentials(encoder.auth)  # type: ignore[arg-type]  # a name by now
        self.client = make_client(self.url, encoder.concurrency, encoder.timeout)
        self.learnt: dict[str, Any] = {}  # what the service said of itself
        self.lock = threading.RLock()  # for the first request of its kind
        weakref.finalize(self, _close, self.client, os.getpid())  # also at exit

    def __reduce__(self) -> Any:
        raise TypeError("connections are not pickled")

    def call(
        self,
        method: str,
        url: str,
        read: Callable[[httpx2.Response], T],
        *,
        make: Callable[[], tuple[dict[str, str], bytes]] | None = None,
        on_attempt: Callable[[], None] | None = None,
        connecting: bool = False,
        lasting: int | None = None,
    ) -> T:
        """Send a request until it succeeds or cannot, and return what ``read`` makes of it.

        Parameters
        ----------
        read : callable
            Reads a response of success. :class:`MayHealError` and CutOffError have it sent again.
        make : callable or None
            Makes headers and body, anew for each attempt.
        on_attempt : callable or None
            Called before each time the request is sent.
        connecting : bool
            Whether a service that cannot be reached is an error at once.
        lasting : int or None
            A status that counts as refused when the second attempt ends in it.

        Raises
        ------
        ConnectionError
            Not to be reached, or no success within ``attempts`` and ``retry_timeout``.
        PermissionError
            401 and 403.
        ValueError
            Any other status that will not heal (RefusedError), or what ``read`` raises.
        """
        started = time.monotonic()
        n_attempts = 0

        def may_heal(error: Exception) -> bool | float:
            if not isinstance(error, MayHealError):
                return False
            if lasting is not None and error.status == lasting and n_attempts > 1:
                return False
            if error.wait is None:
                return True
            # obeyed in full or not at all: to come back earlier only costs more
            return time.monotonic() - started + error.wait <= self.retry_timeout and error.wait

        try:
            for attempt in stamina.retry_context(
                on=may_heal,
                attempts=self.attempts,
                timeout=self.retry_timeout,
                wait_initial=FIRST_WAIT,
                wait_max=LONGEST_WAIT,
            ):
                with attempt:
                    n_attempts += 1
                    headers, body = make() if make else ({}, b"")
                    response = self._send(method, url, headers, body, on_attempt, connecting)
                    return self._read(response, url, read)
        except MayHealError as error:
            asked = "" if error.wait is None else f" It asked to wait {error.wait:.0f} s."
            message = (
                f"{method} {shown(url)} failed {n_attempts} time{'s' * (n_attempts > 1)}: "
                f"{error}{asked} To wait longer, raise attempts={self.attempts} or "
                f"retry_timeout={self.retry_timeout:g} s."
            )
            status = error.status
        if lasting is not None and status == lasting:
            raise RefusedError(message, lasting)
        raise ConnectionError(message)

    def reach(self) -> None:
        """Raise ConnectionError if nothing listens at the url; any answer is one."""
        try:
            self._attempt("GET", self.url, {}, b"", True, CONNECT_TIMEOUT)
        except MayHealError:
            return

    def _send(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes,
        on_attempt: Callable[[], None] | None,
        connecting: bool,
    ) -> httpx2.Response:
        for last in (False, True):
            key, version = self.credentials.headers()
            if on_attempt:
                on_attempt()
            response = self._attempt(method, url, {**headers, **key}, body, connecting)
            if response.status_code != 401 or last or not self.credentials.given:
                break
            self.credentials.renew(version)  # tokens expire: a new one, once
        if response.is_success:
            return response
        raise self._failure(method, url, response)

    def _attempt(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes,
        connecting: bool,
        timeout: Any = httpx2.USE_CLIENT_DEFAULT,
    ) -> httpx2.Response:
        try:
            return self.client.request(
                method, url, content=body or None, headers=headers, timeout=timeout
            )
        except httpx2.ConnectError as error:
            words = self.words(str(error)) or "no connection"
            if connecting or "CERTIFICATE" in words.upper():
                failure: Exception = unreachable(url, words)
            else:
                failure = MayHealError(f"{words}.")
        except httpx2.TimeoutException as error:
            what = type(error).__name__
            failure = MayHealError(f"no answer in time ({what}).")
            if connecting and isinstance(error, httpx2.ConnectTimeout):
                failure = unreachable(url, what)
        except (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
            failure = ValueError(
                f"the request to {shown(url)} cannot be sent ({type(error).__name__}); check url "
                "and the headers that auth gives."
            )
        except (httpx2.TransportError, httpx2.DecodingError) as error:  # cut off, say
            failure = MayHealError(f"{type(error).__name__}: {self.words(str(error))}.")
        raise failure  # outside of the except clauses: the request stays out of its context

    def _read(self, response: httpx2.Response, url: str, read: Callable[[Any], T]) -> T:
        try:
            return read(response)
        except CutOffError as error:
            raise MayHealError(f"{error}.") from None
        except ValueError as error:
            message = str(error)
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            message = f"the reply is malformed ({type(error).__name__}); check url and protocol."
        raise ValueError(f"{shown(url)}: {self.words(message, 600)}")

    def _failure(self, method: str, url: str, response: httpx2.Response) -> Exception:
        status = response.status_code
        words = self.words(response.text)
        said = f"{method} {shown(url)} was answered by {status} {response.reason_phrase}"
        said += f": {words!r}." if words else "."
        if status in MAY_HEAL:
            asked = retry_after(response.headers.get("Retry-After", "").strip())
            return MayHealError(f"{status}: {words!r}.", asked, status)
        if status in (401, 403) and not self.credentials.given:
            return PermissionError(f"{said} The service wants a key: set auth.")
        if status in (401, 403):
            again = ", after auth was asked for it again" if status == 401 else ""
            return PermissionError(f"{said} The key was not accepted{again}; check it.")
        if 300 <= status < 400:
            said += " Redirects are not followed, so that images and key go nowhere else; set url."
        said += {404: " Check url and model.", 413: " Lower batch_size."}.get(
            status, "" if 300 <= status < 400 else " See the log of the service for the cause."
        )
        return RefusedError(said, status)

    def words(self, text: str, length: int = 300) -> str:
        """First characters of a text of the service, on one line and without keys."""
        text = self.credentials.hide(text)  # before it is cut: half a key is one too
        return re.sub(r"\s+", " ", text).strip()[:length]


def make_client(url: str, concurrency: int, timeout: float) -> httpx2.Client:
    """Make a client that checks certificates and follows no redirects (httpx2's defaults)."""
    host = urlsplit(url).hostname or ""
    return httpx2.Client(
        # threads of several fits may share it: they wait for a connection as long as it takes
        timeout=httpx2.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT), pool=None),
        limits=httpx2.Limits(
            max_connections=concurrency,
            max_keepalive_connections=concurrency,
            keepalive_expiry=KEEP_ALIVE,
        ),
        # what is on this machine is not reached over a proxy, whatever the environment says
        mounts={f"all://{_bracketed(host)}": None} if is_local(host) else None,
    )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _close(client: httpx2.Client, pid: int) -> None:
    if os.getpid() == pid:  # a fork shares the sockets: a farewell would end the parent's
        client.close()


_lock = threading.Lock()
_connections = functools.lru_cache(maxsize=16)(Connection)
_inherited: list[Any] = []


def connection_to(encoder: HTTPEncoder) -> Connection:
    """Return the connection that all equal encoders of this process share."""
    with _lock:  # the cache alone would let two threads make two
        return _connections(encoder)


def _after_fork() -> None:
    """Start without connections in the child; the parent's are kept there, but never used."""
    global _lock, _connections
    _inherited.append(_connections)
    _lock = threading.Lock()
    _connections = functools.lru_cache(maxsize=16)(Connection)


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)
