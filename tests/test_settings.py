"""Base URLs as people paste them, where a value comes from, and what is refused."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vn_magic.exceptions import SettingsError
from vn_magic.settings import (
    BASE_URL_VARIABLES,
    DEFAULT_BASE_URL,
    Settings,
    check_transport_is_private,
    host_of,
    normalized_base_url,
    origin_of,
)


def at(base_url: str, *, allow: bool = False) -> Settings:
    settings = Settings().with_value("base_url", base_url, "test")
    return settings.with_value("allow_plain_http", allow, "test")


# The base URL


@pytest.mark.parametrize(
    ("pasted", "normalized"),
    [
        ("https://www.vectronode.com", "https://www.vectronode.com"),
        ("https://www.vectronode.com/", "https://www.vectronode.com"),
        ("https://www.vectronode.com//", "https://www.vectronode.com"),
        ("https://www.vectronode.com/v1", "https://www.vectronode.com"),
        ("https://www.vectronode.com/v1/", "https://www.vectronode.com"),
        ("https://www.vectronode.com//v1//", "https://www.vectronode.com"),
        ("https://www.vectronode.com/v1beta", "https://www.vectronode.com"),
        ("https://www.vectronode.com/v1beta/", "https://www.vectronode.com"),
        ("https://www.vectronode.com/v1/models", "https://www.vectronode.com"),
        ("https://www.vectronode.com/v1beta/models/", "https://www.vectronode.com"),
        (
            "https://www.vectronode.com/v1beta/models/gemini-embedding-001:embedContent",
            "https://www.vectronode.com",
        ),
        ("  https://www.vectronode.com/v1 \n", "https://www.vectronode.com"),
        ("HTTPS://WWW.VectroNode.com:443/v1", "https://www.vectronode.com"),
        ("http://localhost:80/", "http://localhost"),
        ("https://gateway.example:8443/v1", "https://gateway.example:8443"),
        ("http://127.0.0.1:8000/v1beta", "http://127.0.0.1:8000"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
        ("https://[2001:DB8::1]/v1", "https://[2001:db8::1]"),
        # a gateway below a path of its own, some with versions that are not the API's
        ("https://gateway.example/api/v1", "https://gateway.example/api"),
        ("https://gateway.example/Team-A/v1beta/models/m:embedContent", "https://gateway.example/Team-A"),
        ("https://gateway.example/v1/account/google", "https://gateway.example/v1/account/google"),
        ("https://gateway.example/v1/account/google/v1beta", "https://gateway.example/v1/account/google"),
        ("https://gateway.example/v10/v1", "https://gateway.example/v10"),
        ("https://gateway.example/v1betamax", "https://gateway.example/v1betamax"),
        ("https://v1.example/v1", "https://v1.example"),
        ("https://gateway.example.", "https://gateway.example."),
        ("https://gäteway.example", "https://gäteway.example"),
    ],
)
def test_a_base_url_is_taken_as_people_paste_it(pasted: str, normalized: str) -> None:
    assert normalized_base_url(pasted) == normalized


@pytest.mark.parametrize(
    "pasted",
    [
        "",
        "www.vectronode.com",
        "www.vectronode.com/v1",
        "//www.vectronode.com",
        "ftp://www.vectronode.com",
        "file:///etc/passwd",
        "https://",
        "https:///v1",
        "https://:443",
        "https://host:port",
        "https://host:99999",
        "https://[::1",
        "https://www..vectronode.com",
        "https://.",
        f"https://{'x' * 64}.example",
        "https://192.168.1.256",
        "https://127.1",
        "https://user@host",
        "https://user:word@host",
        "https://host/v1?key=abc",
        "https://host/#token",
    ],
)
def test_what_is_no_bare_address_is_refused_with_the_next_step(pasted: str) -> None:
    with pytest.raises(SettingsError, match="Next:") as caught:
        normalized_base_url(pasted)
    assert len(str(caught.value).splitlines()) <= 3


def test_a_secret_in_a_base_url_is_not_repeated() -> None:
    for pasted in ("https://user:pass-word-1@host", "https://host?key=pass-word-1", "https://host#pass-word-1"):
        with pytest.raises(SettingsError) as caught:
            normalized_base_url(pasted)
        assert "pass-word-1" not in str(caught.value)


@given(
    host=st.from_regex(r"[a-z]{1,8}(\.[a-z]{2,5}){0,2}", fullmatch=True),
    port=st.none() | st.integers(1, 65535),
    path=st.lists(st.sampled_from(["v1", "v1beta", "models", "api", "v2"]), max_size=4),
    tail=st.sampled_from(["", "/", "/v1", "/v1/", "/v1beta", "/v1beta/models", "/v1beta/models/m:embedContent"]),
)
def test_normalising_keeps_the_origin_and_takes_off_nothing_but_an_api_path_at_the_end(
    host: str, port: int | None, path: list[str], tail: str
) -> None:
    origin = f"https://{host}" + (f":{port}" if port not in (None, 443) else "")
    pasted = "".join(f"/{part}" for part in path) + tail
    normalized = normalized_base_url(f"https://{host}" + (f":{port}" if port else "") + pasted)
    kept = normalized.removeprefix(origin)
    assert origin_of(normalized) == origin
    assert pasted.startswith(kept)
    assert not kept.endswith("/")
    assert re.fullmatch(r"(/v1(beta)?(/models(/.*)?)?)?/?", pasted[len(kept) :])


def test_origin_and_host_are_what_tokens_and_cards_name() -> None:
    assert origin_of("https://gateway.example:8443/team/api") == "https://gateway.example:8443"
    assert host_of("https://gateway.example:8443/team/api") == "gateway.example:8443"


# Plain http


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.1:8000", "127.9.8.7", "[::1]:8000"])
def test_plain_http_is_fine_on_loopback(host: str) -> None:
    check_transport_is_private(at(f"http://{host}"))


@pytest.mark.parametrize(
    "host",
    ["www.vectronode.com", "192.168.1.5", "10.0.0.1", "0.0.0.0", "localhost.example", "127.0.0.1.example", "[::2]"],
)
def test_plain_http_is_refused_elsewhere_with_both_cures(host: str) -> None:
    with pytest.raises(SettingsError, match=r"(?s)plain http.*Next: use https://, or .*allow_plain_http"):
        check_transport_is_private(at(f"http://{host}"))


def test_plain_http_is_fine_where_it_is_allowed() -> None:
    check_transport_is_private(at("http://192.168.1.5", allow=True))


def test_https_is_fine_everywhere() -> None:
    check_transport_is_private(Settings())


# Where values come from


def test_without_anything_the_defaults_are_the_documented_sample() -> None:
    settings = Settings.from_environment({})
    assert settings == Settings()
    assert (settings.base_url, settings.model) == (DEFAULT_BASE_URL, "gemini-embedding-001")
    assert (settings.dimension, settings.task_type, settings.offline) == (768, "SEMANTIC_SIMILARITY", False)
    assert {settings.source_of(name) for name in Settings.names()} == {"default"}


@pytest.mark.parametrize("first", range(3))
def test_our_variable_goes_before_the_vendors_and_the_newer_before_the_older(first: int) -> None:
    assert BASE_URL_VARIABLES == ("VN_MAGIC_BASE_URL", "VECTORNODE_BASE_URL", "VECTOR_ENGINE_BASE_URL")
    environ = {
        name: f"https://{name[-15:].lower().replace('_', '-')}.example/v1" for name in BASE_URL_VARIABLES[first:]
    }
    settings = Settings.from_environment(environ)
    assert settings.base_url == environ[BASE_URL_VARIABLES[first]].removesuffix("/v1")
    assert settings.source_of("base_url") == f"${BASE_URL_VARIABLES[first]}"


def test_an_empty_variable_is_as_good_as_none() -> None:
    environ = {"VN_MAGIC_BASE_URL": "  ", "VECTORNODE_BASE_URL": "", "VECTOR_ENGINE_BASE_URL": "https://a.example"}
    assert Settings.from_environment(environ).source_of("base_url") == "$VECTOR_ENGINE_BASE_URL"


@pytest.mark.parametrize(
    ("text", "on"), [("1", True), ("Yes", True), (" ON ", True), ("0", False), ("off", False), ("", False)]
)
def test_offline_is_switched_by_its_variable(text: str, on: bool) -> None:
    settings = Settings.from_environment({"VN_MAGIC_OFFLINE": text})
    assert settings.offline is on
    assert settings.source_of("offline") == ("$VN_MAGIC_OFFLINE" if on else "default")


@pytest.mark.parametrize(
    "environ",
    [{"VN_MAGIC_OFFLINE": "maybe"}, {"VECTORNODE_BASE_URL": "www.vectronode.com"}],
    ids=lambda environ: next(iter(environ)),
)
def test_a_variable_with_an_impossible_value_is_an_error(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="Next:"):
        Settings.from_environment(environ)


def test_other_variables_are_not_read() -> None:
    environ = {"VN_MAGIC_MODEL": "m", "VN_MAGIC_DIMENSION": "1", "VN_MAGIC_ALLOW_PLAIN_HTTP": "1"}
    assert Settings.from_environment(environ) == Settings()


def test_a_later_value_wins_and_its_source_is_told() -> None:
    settings = Settings.from_environment({"VECTORNODE_BASE_URL": "https://a.example"})
    settings = settings.with_value("base_url", "https://b.example/v1", "%config").with_value(
        "dimension", 256, "this call"
    )
    assert (settings.base_url, settings.dimension) == ("https://b.example", 256)
    assert [settings.source_of(name) for name in ("base_url", "dimension", "model")] == [
        "%config",
        "this call",
        "default",
    ]


def test_changing_a_value_leaves_the_older_settings_alone() -> None:
    older = Settings()
    newer = older.with_value("dimension", 256, "test")
    assert (older.dimension, older.source_of("dimension")) == (768, "default")
    assert older != newer == Settings(dimension=256)
    with pytest.raises(AttributeError):
        older.dimension = 5  # type: ignore[misc]
    with pytest.raises(TypeError):
        newer.sources["model"] = "nobody"  # type: ignore[index]


# What is refused


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dimension", 0),
        ("dimension", -1),
        ("dimension", 768.5),
        ("dimension", "768"),
        ("dimension", True),
        ("dimension", None),
        ("concurrency", 0),
        ("concurrency", 257),
        ("requests_per_minute", 0),
        ("requests_per_minute", "10"),
        ("batch_size", 0),
        ("batch_size", 101),
        ("batch_size", 2.5),
        ("batch_size", None),
        ("max_requests", -1),
        ("max_requests", 1.0),
        ("max_requests", False),
        ("max_tokens", "10"),
        ("max_tokens", True),
        ("price_per_million", 0),
        ("price_per_million", -0.15),
        ("price_per_million", float("inf")),
        ("price_per_million", float("nan")),
        ("price_per_million", "0.15"),
        ("price_per_million", True),
        ("request_timeout", 0.0),
        ("request_timeout", float("nan")),
        ("row_timeout", -1),
        ("row_timeout", "60"),
        ("task_type", "similarity"),
        ("task_type", None),
        ("on_error", "ignore"),
        ("model", ""),
        ("model", "  "),
        ("model", 1),
        ("model", None),
    ],
)
def test_an_impossible_value_is_refused_by_name_with_what_was_expected(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=rf"^{name} is .*, expected "):
        Settings().with_value(name, value, "test")


def test_an_unknown_setting_is_refused_with_those_that_exist() -> None:
    with pytest.raises(SettingsError, match=r"(?s)'dimensions'.*base_url, .*dimension, "):
        Settings().with_value("dimensions", 768, "test")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("requests_per_minute", None),
        ("concurrency", None),
        ("requests_per_minute", 1),
        ("concurrency", 256),
        ("batch_size", 1),
        ("batch_size", 100),
        ("max_requests", None),
        ("max_requests", 0),
        ("max_tokens", 0),
        ("max_tokens", 10**9),
        ("price_per_million", None),
        ("price_per_million", 1),
        ("price_per_million", 0.15),
        ("row_timeout", 0.5),
        ("row_timeout", 3),
    ],
)
def test_a_possible_value_is_taken_as_it_is(name: str, value: Any) -> None:
    assert getattr(Settings().with_value(name, value, "test"), name) == value


def test_numpys_integers_are_taken_as_pythons() -> None:
    assert json.dumps(Settings().with_value("dimension", np.int64(256), "test").dimension) == "256"
