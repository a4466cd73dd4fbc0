"""What can go wrong with a request, and what may heal by itself."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

MAY_HEAL = frozenset({408, 429, 500, 502, 503, 504})  # status


class MayHealError(Exception):
    """A fault that another attempt may be spared; ``wait``: the seconds the service asks for."""

    def __init__(self, message: str, wait: float | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.wait = wait
        self.status = status


class RefusedError(ValueError):
    """An answer with a status that will not change by asking again."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class CutOffError(ValueError):
    """A reply that ends before it should."""


def unreachable(url: str, reason: str) -> ConnectionError:
    """The error of a service at which nothing listens."""
    parts = urlsplit(url)
    return ConnectionError(
        f"nothing answers at {parts.scheme}://{parts.netloc} ({reason}). Check the url (scheme, "
        "host, port), that the service runs, and the proxy variables of the environment."
    )


def shown(url: str) -> str:
    """The address without what follows the '?'."""
    return url.partition("?")[0]


def retry_after(text: str) -> float | None:
    """Seconds of a Retry-After header, given as seconds or as a date; None without one."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        seconds = float(text)
    else:
        try:
            date = parsedate_to_datetime(text)
        except (ValueError, TypeError):
            return None
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        seconds = (date - datetime.now(UTC)).total_seconds()
    return seconds if seconds > 0 else None  # no wait asked for: the usual backoff
