"""Keys of services: where they come from, and how they stay out of everything that is kept.

An encoder holds the *name* of its key's source only. The key itself lives in :class:`Credentials`,
which belong to one process, are never pickled and are never printed.
"""

from __future__ import annotations

import importlib
import ipaddress
import os
import re
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")
_SECRET_PARAMETER = re.compile(r"key|token|secret|password|passwd|sig|signature|auth", re.I)
# The text of `auth` is in no message: it may be the key, given by mistake.
_WHAT_AUTH_IS = (
    "Give the name of an environment variable that holds the key, 'module:function' or a "
    "function defined at the top of a module; never the key itself."
)


def auth_name(auth: str | Callable[[], Any]) -> str:
    """Return what ``auth`` stands for as a name: a variable, or ``"module:function"``.

    Raises
    ------
    TypeError, ValueError
        If it cannot be one. The messages never repeat ``auth``.
    """
    if isinstance(auth, str):
        module, colon, function = auth.partition(":")
        parts = [*module.split("."), *function.split(".")] if colon else [auth]
        if not all(_VARIABLE.fullmatch(part) for part in parts):
            raise ValueError(f"auth is neither a variable's name nor a function's. {_WHAT_AUTH_IS}")
        return auth
    module, function = (getattr(auth, name, "") for name in ("__module__", "__qualname__"))
    if not callable(auth) or not function or "<" in function:
        raise TypeError(f"auth is a {type(auth).__name__} without a name. {_WHAT_AUTH_IS}")
    name = f"{module}:{function}"
    if _import(name) is not auth:  # a bound method, say, would carry its object's secrets
        raise TypeError(f"auth cannot be imported under its name. {_WHAT_AUTH_IS}")
    return name


def check_url(url: str, has_auth: bool) -> None:
    """Refuse addresses that hold a key, or over which a key would travel unencrypted."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except (ValueError, AttributeError, TypeError):
        raise ValueError("url must be an address such as 'https://host:8000'.") from None
    if "@" in parts.netloc:
        raise ValueError("url holds a user's name or password; give it by auth instead.")
    if any(_SECRET_PARAMETER.search(name) for name in parse_qs(parts.query, True)):
        raise ValueError(
            "url seems to hold a key after the '?'; give it by auth instead, as a function that "
            "returns a dict of headers."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"url must start with http:// or https:// and name a host, got {url!r}.")
    if has_auth and parts.scheme == "http" and not is_local(parts.hostname):
        raise ValueError(
            f"url {url!r} is not encrypted: the key would be readable on its way. Use https://."
        )


def is_local(host: str) -> bool:
    """Whether ``host`` is this machine, by its name or address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Credentials:
    """The headers that authorise a request: asked for once, and again when they have expired."""

    def __init__(self, name: str | None) -> None:
        self._name = name
        self._headers: dict[str, str] = {}
        self._hidden: list[str] = []  # the present key and those before it
        self._version = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "Credentials(...)"

    def __reduce__(self) -> Any:
        raise TypeError("keys are not pickled")

    @property
    def given(self) -> bool:
        """Whether there is a key at all."""
        return self._name is not None

    def headers(self) -> tuple[dict[str, str], int]:
        """Return the headers and their version, asking for the key if that was not done yet."""
        with self._lock:
            if self.given and not self._version:
                self._ask()
            return self._headers, self._version

    def renew(self, refused: int) -> None:
        """Ask again, unless another thread did since version ``refused`` was handed out."""
        with self._lock:
            if self._version == refused:
                self._ask()

    def hide(self, text: str) -> str:
        """Take every key out of a text: services repeat them in their errors."""
        with self._lock:
            hidden = sorted(self._hidden, key=len, reverse=True)
        for secret in hidden:
            for form in (secret, secret.replace("/", r"\/"), quote(secret, safe="")):  # JSON, URL
                text = text.replace(form, "[key]")
        return text

    def _ask(self) -> None:
        name = self._name or ""
        if ":" in name:
            answer = _import(name)()
        else:
            answer = os.environ.get(name, "").strip()
            if not answer:
                raise ValueError(
                    f"the environment variable that auth names is not set or empty. {_WHAT_AUTH_IS}"
                )
        if isinstance(answer, str):
            answer = answer.strip()
        headers = {"Authorization": f"Bearer {answer}"} if isinstance(answer, str) else answer
        if not isinstance(headers, dict) or not all(_is_header(*item) for item in headers.items()):
            raise ValueError(
                "auth gave no usable key: a token must be one line of printable ASCII, several "
                "headers a dict of such texts."
            )
        secrets = [answer] if isinstance(answer, str) else list(headers.values())
        # "Bearer abc" in a dict is repeated by services as "abc"; "en" is no secret
        secrets += [word for secret in secrets for word in secret.split()[1:]]
        secrets = [secret for secret in secrets if len(secret) > 3 or secret == answer]
        self._hidden = list(dict.fromkeys([*secrets, *self._hidden]))[:32]
        self._headers = dict(headers)
        self._version += 1


def _is_header(name: object, value: object) -> bool:
    if not isinstance(name, str) or not isinstance(value, str):
        return False
    return bool(_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value))


def _import(name: str) -> Callable[[], Any]:
    module, _, function = name.partition(":")
    found: Any = None
    try:
        found = importlib.import_module(module)
        for part in function.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        found = None
    if not callable(found):
        raise ValueError(
            "the function that auth names cannot be imported in this process; functions of a "
            f"notebook or script cannot be in others, put it in a module. {_WHAT_AUTH_IS}"
        )
    return found
