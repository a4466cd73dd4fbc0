"""Encoders behind a network: embedding services that one cannot open."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

import numpy as np

from skdne.encoders import _v2, _vertex
from skdne.encoders._auth import auth_name, check_url
from skdne.encoders._base import Encoder
from skdne.encoders._requests import OnSend

_POSITIVE: dict[str, Any] = {
    "concurrency": Integral,
    "attempts": Integral,
    "timeout": Real,
    "retry_timeout": Real,
    "max_drift": Real,
}
_CHOICES = {
    "protocol": ("v2", "vertex"),
    "encoding": ("auto", "binary", "json"),
    "channels": (None, "first", "last"),
    "datatype": (None, *_v2.LEVELS),
}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class HTTPEncoder(Encoder):
    """Encoder behind an HTTP service. Needs the extra ``http``: ``pip install "skdne[http]"``.

    Images leave this machine: each is sent, with the noise added, to the service at ``url``. Only
    the black-box solvers can learn a noise for it. It is made without a request; :meth:`load`
    asks the service what its model takes, free of charge.

    Faults that may heal (429, 500, 502-504, time-outs, lost connections, replies cut off) are
    tried again with growing waits, or after the time the service asks for; all others are errors
    at once. Certificates are checked, redirects are not followed.

    Parameters
    ----------
    url : str
        For ``"v2"`` the address of the service, up to and without ``/v2``; for ``"vertex"`` the
        whole address that predictions are posted to.
    protocol : {"v2", "vertex"}, default="v2"
        ``"v2"`` is the Open Inference Protocol of KServe, Triton and MLServer. ``"vertex"`` is the
        predict JSON of Vertex AI with one base64 PNG (8 bits, grey or RGB) for each instance;
        embeddings are flattened.
    model, model_version : str or None, default=None
        Name and version of the model. ``"v2"`` needs a model; for ``"vertex"`` they are only
        labels that tell stores and noises of two models at one address apart.
    input, output : str or None, default=None
        Names of the tensor of images and that of embeddings (``"v2"``; needed only where the
        model has several outputs), or keys of the JSON (``"vertex"``; ``"input_bytes"`` and
        ``"general_img_emb"``).
    datatype : {"UINT8", "UINT16", "FP16", "FP32", "FP64"} or None, default=None
        What ``"v2"`` sends: whole numbers span their range, floats [0, 1]. None asks the service.
    channels : {"first", "last"} or None, default=None
        Where the channels' axis is (``"v2"``). None tells it from the shape the service states.
    encoding : {"auto", "binary", "json"}, default="auto"
        How ``"v2"`` sends numbers. ``"auto"`` tries binary, and JSON if that is refused, or twice
        answered by 500; the first batch of a process is then sent, and may be charged, again.
    auth : str, callable or None, default=None
        Where the key comes from, never the key itself: the name of an environment variable,
        ``"module:function"``, or a function defined at the top of a module. It gives a bearer
        token (str) or a dict of headers; it is asked once, and once again when the service
        answers 401, since tokens expire. Keys stay in the memory of the process.
    concurrency : int, default=8
        Batches in flight at once, and connections at most.
    timeout : float, default=60
        Seconds without an answer after which an attempt is given up.
    attempts : int, default=8
        Times a request is tried, at most.
    retry_timeout : float, default=300
        Seconds after which a request is not tried again; a service that asks to wait longer is an
        error at once.
    max_drift : float, default=1e-4
        Largest change, relative to its length, of the embedding of a fixed image that still passes
        for the same model. Single precision varies by about 1e-6; half precision is further off.
    input_size, n_channels, batch_size, pixel_range, store
        See :class:`~skdne.encoders.Encoder`. ``"v2"`` takes the first two from the service if they
        are not given and it states them.

    Raises
    ------
    ImportError
        Without the extra ``http``.
    ValueError
        At once: a value that is not one of the above, or a key that would travel unencrypted. On
        :meth:`load`: the service's model does not take images, or not as they were to be sent.
        Later: a request that the service refuses, with its status and words.
    ConnectionError
        Nothing answers at ``url``, or a fault did not heal.
    PermissionError
        The service does not accept the key (401, 403).

    Examples
    --------
    >>> from skdne import HTTPEncoder
    >>> HTTPEncoder("https://models.example.org", model="cxr", auth="CXR_KEY", concurrency=4)
    HTTPEncoder('https://models.example.org', model='cxr', concurrency=4)
    """

    url: str
    protocol: str = "v2"
    model: str | None = dataclasses.field(default=None, kw_only=True)
    model_version: str | None = dataclasses.field(default=None, kw_only=True)
    input: str | None = dataclasses.field(default=None, kw_only=True)
    output: str | None = dataclasses.field(default=None, kw_only=True)
    datatype: str | None = dataclasses.field(default=None, kw_only=True)
    channels: str | None = dataclasses.field(default=None, kw_only=True)
    encoding: str = dataclasses.field(default="auto", kw_only=True)
    auth: str | Callable[[], Any] | None = dataclasses.field(default=None, kw_only=True, repr=False)
    concurrency: int = dataclasses.field(default=8, kw_only=True)
    timeout: float = dataclasses.field(default=60.0, kw_only=True)
    attempts: int = dataclasses.field(default=8, kw_only=True)
    retry_timeout: float = dataclasses.field(default=300.0, kw_only=True)
    max_drift: float = dataclasses.field(default=1e-4, kw_only=True)

    remote: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_extra()
        if self.auth is not None:
            object.__setattr__(self, "auth", auth_name(self.auth))
        check_url(self.url, has_auth=self.auth is not None)
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {getattr(self, name)!r}.")
        for name, kind in _POSITIVE.items():
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool) or not 0 < value < np.inf:
                what = "whole number" if kind is Integral else "number"
                raise ValueError(f"{name} must be a positive {what}, got {value!r}.")
        for name in ("model", "model_version", "input", "output"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise ValueError(f"{name} must be a text that is not empty, got {value!r}.")
        self._check_protocol()
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        object.__setattr__(self, "_given", given)

    def _check_protocol(self) -> None:
        if self.protocol == "vertex":
            for name, default in (("channels", None), ("encoding", "auto"), ("datatype", None)):
                if getattr(self, name) != default:
                    raise ValueError(
                        f"{name} is of protocol 'v2', leave it out; 'vertex' sends 8-bit PNGs."
                    )
            if self.n_channels not in (None, 1, 3):
                raise ValueError(f"n_channels must be 1 or 3 for a PNG, got {self.n_channels!r}.")
            return
        if self.model is None:
            raise ValueError("model must be the name of a model of the service (protocol 'v2').")
        path, _, query = self.url.partition("?")
        if query or "v2" in urlsplit(path).path.split("/"):
            raise ValueError(
                f"url must be the address up to and without '/v2' (protocol 'v2'), got {path!r}."
            )

    def __eq__(self, other: object) -> bool:
        # what was given, not what the service told when it was loaded
        same_kind = isinstance(other, HTTPEncoder)
        return same_kind and self.__dict__["_given"] == other.__dict__["_given"]

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__["_given"].values()))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.__dict__["_given"],)

    def load(self) -> None:
        """Ask the service what its model takes (no image is sent), and check it.

        Raises
        ------
        ConnectionError, PermissionError, ValueError
            See the class.
        """
        self._signature()

    def _signature(self) -> _v2.Signature | None:
        from skdne.encoders._calls import learn  # httpx2 is an extra

        signature = learn(self, self._model_url(), self.__dict__["_given"])
        if signature is not None:
            for name in ("input_size", "n_channels"):
                object.__setattr__(self, name, getattr(signature, name))
        return signature

    def _model_url(self) -> str:
        url = f"{self.url.rstrip('/')}/v2/models/{quote(self.model or '', safe='')}"
        version = self.model_version
        return url if version is None else f"{url}/versions/{quote(version, safe='')}"

    @property
    def levels(self) -> int | None:
        signature = self._signature() if self.protocol == "v2" else None
        return 255 if signature is None else signature.levels

    @property
    def n_in_flight(self) -> int:
        return self.concurrency

    def on_wire(self, images: np.ndarray) -> np.ndarray:
        images = np.asarray(images, dtype=np.float32)
        levels = self.levels
        if levels is None:
            return images
        dtype = np.uint8 if levels == 255 else np.uint16
        return np.clip(np.rint(images * levels), 0, levels).astype(dtype)

    def _request(self, pixels: np.ndarray, on_send: OnSend) -> Any:
        from skdne.encoders._calls import infer, predict

        signature = self._signature()
        if signature is None:
            return predict(self, pixels, on_send)
        return infer(self, self._model_url(), signature, pixels, on_send)

    def _identity(self) -> tuple[Any, ...]:
        """What is asked of whom, but for host and port: a service may move."""
        asked: Any = (self.input or _vertex.INPUT, self.output or _vertex.OUTPUT)
        if self.protocol == "v2":
            signature: Any = self._signature()  # which fills in the sizes, too
            asked = dataclasses.astuple(signature)
        path = urlsplit(self.url).path.rstrip("/")
        where = (self.protocol, path, self.model, self.model_version)
        return (*super()._identity(), *where, asked)


def _rebuild(given: dict[str, Any]) -> HTTPEncoder:
    return HTTPEncoder(**given)


def _require_extra() -> None:
    try:
        import skdne.encoders._connection  # noqa: F401
    except ModuleNotFoundError as error:
        raise ImportError(f'HTTPEncoder needs {error.name}: pip install "skdne[http]".') from error
