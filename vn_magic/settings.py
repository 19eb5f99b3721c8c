"""Frozen value objects: what to ask for, how to ask, and where each value came from."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from ipaddress import ip_address
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any, Literal, Self, get_args
from urllib.parse import urlsplit

from vn_magic.exceptions import SettingsError

TaskType = Literal[
    "SEMANTIC_SIMILARITY",
    "CLASSIFICATION",
    "CLUSTERING",
    "RETRIEVAL_DOCUMENT",
    "RETRIEVAL_QUERY",
    "QUESTION_ANSWERING",
    "FACT_VERIFICATION",
    "CODE_RETRIEVAL_QUERY",
]
Result = Literal["df", "numpy"]
OnError = Literal["stop", "keep"]

# Requests at once while nobody has given a number: where it begins, and what it may grow to.
FIRST_CONCURRENCY = 8
MOST_CONCURRENCY = 64
# What `:batchEmbedContents` takes at most (GATEWAY section 2).
LARGEST_BATCH = 100

DEFAULT_BASE_URL = "https://www.vectronode.com"
BASE_URL_VARIABLES = ("VN_MAGIC_BASE_URL", "VECTORNODE_BASE_URL", "VECTOR_ENGINE_BASE_URL")
OFFLINE_VARIABLE = "VN_MAGIC_OFFLINE"

# At the end only: a gateway may live below a path with a version of its own, /v1/account/gateway.
_API_PATH = re.compile(r"/+v1(?:beta)?(?:/+models(?:/.*)?)?/*$")
_COUNTS = ("dimension", "concurrency", "requests_per_minute", "batch_size")
_BUDGETS = ("max_requests", "max_tokens")
_MAY_BE_NONE = ("concurrency", "requests_per_minute", *_BUDGETS, "price_per_million")
_SWITCHES = ("offline", "unit_length", "allow_plain_http")
_SECONDS = ("request_timeout", "row_timeout")
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What makes two vectors comparable: change any of it and the vectors change.

    ``title`` goes only with ``RETRIEVAL_DOCUMENT``; ``task_type`` is None for models without tasks.
    ``unit_length`` is done by the client and so is not part of the request.
    """

    model: str
    dimension: int
    task_type: str | None
    title: str | None = None
    unit_length: bool = True


@dataclass(frozen=True, slots=True)
class JobOptions:
    """How a job is run. Nothing here changes a vector."""

    on_error: OnError = "stop"
    concurrency: int | None = None
    requests_per_minute: int | None = None
    batch_size: int = 1
    refresh: bool = False
    use_cache: bool = True
    max_requests: int | None = None
    max_tokens: int | None = None

    def requests_for(self, texts: int) -> int:
        """Return how many requests carry so many texts, if none has to be tried again."""
        return math.ceil(texts / self.texts_per_request)

    @property
    def texts_per_request(self) -> int:
        """The most texts in one request: each counts in a limit per minute, so a batch is never larger than that."""
        return min(self.batch_size, self.requests_per_minute or self.batch_size)


@dataclass(frozen=True, slots=True)
class Settings:
    """The session's settings. ``sources`` tells where each value that is not a default came from.

    Precedence: an option on the line, then ``%config VnMagic.name`` or ``ipython_config.py``, then the
    environment, then the default.
    """

    base_url: str = DEFAULT_BASE_URL
    offline: bool = False
    model: str = "gemini-embedding-001"
    dimension: int = 768
    task_type: str = "SEMANTIC_SIMILARITY"
    unit_length: bool = True
    on_error: OnError = "stop"
    concurrency: int | None = None
    requests_per_minute: int | None = None
    batch_size: int = 1
    request_timeout: float = 60.0
    row_timeout: float = 300.0
    allow_plain_http: bool = False
    max_requests: int | None = None
    max_tokens: int | None = None
    price_per_million: float | None = None
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), compare=False)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of all settings, in the order of the class."""
        return tuple(item.name for item in fields(cls) if item.name != "sources")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read the variables of SURFACE: ours for base URL and offline, then the vendor's for the base URL."""
        settings = cls()
        for variable in BASE_URL_VARIABLES:
            if environ.get(variable, "").strip():
                settings = settings.with_value("base_url", environ[variable], f"${variable}")
                break
        switch = environ.get(OFFLINE_VARIABLE, "").strip().lower()
        if switch not in _TRUE + _FALSE:
            raise SettingsError(f"${OFFLINE_VARIABLE} is {switch!r}.\nNext: set it to 1 or 0, or unset it.")
        if switch in _TRUE:
            settings = settings.with_value("offline", True, f"${OFFLINE_VARIABLE}")  # noqa: FBT003 - the value of a setting, not a flag argument
        return settings

    def with_value(self, name: str, value: Any, source: str) -> Self:  # noqa: ANN401 - settings differ in type; checked below
        """Return a copy with one checked value.

        Raises
        ------
        SettingsError
            When there is no such setting, or its value is impossible.
        """
        if name not in self.names():
            raise SettingsError(f"There is no setting {name!r}.\nThe settings are: {', '.join(self.names())}.")
        if name == "base_url":
            value = normalized_base_url(value)
        _check(name, value)
        if name in _COUNTS + _BUDGETS and value is not None:
            value = int(value)  # numpy's integers are no JSON
        sources = MappingProxyType({**self.sources, name: source})
        return replace(self, **{name: value}, sources=sources)

    def source_of(self, name: str) -> str:
        """Return where a value came from: ``default``, ``$VARIABLE``, or ``%config``."""
        return self.sources.get(name, "default")


def _check(name: str, value: Any) -> None:  # noqa: ANN401, C901 - it is what this function finds out; one line a kind
    choices = {"task_type": get_args(TaskType), "on_error": get_args(OnError)}.get(name)
    if choices and value not in choices:
        raise SettingsError(f"{name} is {value!r}, expected one of {', '.join(choices)}.")
    if name in _MAY_BE_NONE and value is None:
        return
    if name in _COUNTS and not _is_positive(value, Integral):
        raise SettingsError(f"{name} is {value!r}, expected a whole number above zero.")
    if name in _BUDGETS:
        check_budget(name, value)
    if name == "price_per_million" and not (_is_positive(value, Real) and math.isfinite(value)):
        raise SettingsError(f"price_per_million is {value!r}, expected a price above zero, of a million tokens.")
    if name in _SECONDS and not _is_positive(value, Real):
        raise SettingsError(f"{name} is {value!r}, expected a number of seconds above zero.")
    if name == "concurrency" and value > 256:
        raise SettingsError(f"concurrency is {value!r}, expected at most 256.")
    if name == "batch_size" and value > LARGEST_BATCH:
        raise SettingsError(
            f"batch_size is {value!r}, expected at most {LARGEST_BATCH}: no service takes more texts in one request."
        )
    if name in _SWITCHES and not isinstance(value, bool):
        raise SettingsError(f"{name} is {value!r}, expected True or False.")
    if name == "model" and not (isinstance(value, str) and value.strip()):
        raise SettingsError(f"model is {value!r}, expected a name such as gemini-embedding-001.")


def check_budget(name: str, value: Any) -> None:  # noqa: ANN401 - as above
    """Refuse what is no budget: a whole number, 0 allowed, or None for no limit."""
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if value is not None and not (is_whole and value >= 0):
        raise SettingsError(f"{name} is {value!r}, expected a whole number from 0 on.")


def _is_positive(value: Any, kind: type[Any]) -> bool:  # noqa: ANN401 - it is what this function finds out
    return isinstance(value, kind) and not isinstance(value, bool) and value > 0


def normalized_base_url(text: str) -> str:
    """Return scheme, host and port (and a prefix path) of what people paste as a base URL.

    The vendor's pages show the bare host and the host with ``/v1``; both are accepted, and so is a pasted
    endpoint: a trailing ``/``, ``/v1``, ``/v1beta`` or ``/v1beta/models…`` is stripped.

    Raises
    ------
    SettingsError
        When it is not an http(s) address, or carries a user name, a query or a fragment.
    """
    url = text.strip()
    try:
        parts = urlsplit(url)
        port, name = parts.port, parts.hostname or ""
        name.encode("idna")  # fails where a part between two dots is empty or endless
        if name.replace(".", "").isdecimal():
            ip_address(name)
    except ValueError:
        # Python's own words quote parts of the address, and a token may have been pasted into it.
        raise SettingsError(
            f"The base URL is not an address: its host or its port cannot be one.\nNext: use e.g. {DEFAULT_BASE_URL}."
        ) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(
            f"The base URL must start with https:// and name a host.\nNext: use e.g. {DEFAULT_BASE_URL}."
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise SettingsError(
            "The base URL carries a user name, a query or a fragment; a secret has no place there.\n"
            "Next: give the bare address, and the token by `%vn login`."
        )
    path = _API_PATH.sub("", parts.path)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    default_port = {"http": 80, "https": 443}[parts.scheme]
    location = host if port in (None, default_port) else f"{host}:{port}"
    return f"{parts.scheme}://{location}{path.rstrip('/')}"


def origin_of(base_url: str) -> str:
    """Return ``scheme://host[:port]`` of a normalised base URL: what a token belongs to."""
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc}"


def host_of(base_url: str) -> str:
    """Return ``host[:port]``: how cards and provenance name a gateway."""
    return urlsplit(base_url).netloc


def check_transport_is_private(settings: Settings) -> None:
    """Refuse to send a token over plain http to another machine, unless a setting allows it."""
    parts = urlsplit(settings.base_url)
    if parts.scheme == "https" or settings.allow_plain_http or is_loopback(parts.hostname or ""):
        return
    raise SettingsError(
        f"{settings.base_url} is plain http: everyone on the way could read the token.\n"
        "Next: use https://, or `%config VnMagic.allow_plain_http = True` if you know the network."
    )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
