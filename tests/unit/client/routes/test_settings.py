from __future__ import annotations

from typing import Any

import msgspec
import pytest

from client.routes.settings import AlternateRoute, RouteSettings, parse_key

KEY = "0f" * 32


def route(kind: str, **fields: Any) -> RouteSettings:
    made: RouteSettings = msgspec.convert({"kind": kind} | fields, RouteSettings)
    return made


def test_kinds_by_their_names() -> None:
    made = [
        route("direct"),
        route("alternate", addresses=["192.0.2.1"]),
        route("doh", address="192.0.2.53"),
        route("socks5", name="a", host="h", username="u", password="p"),
        route("socks5-tls", name="b", host="h"),
        route("http-connect", name="c", host="h"),
        route("obfuscated", host="h", port=1, key=KEY),
        route("tls-fragment"),
        route("tcp-segment"),
    ]
    assert [one.name for one in made] == [
        "direct", "alternate", "doh", "a", "b", "c", "obfuscated", "tls-fragment", "tcp-segment",
    ]  # fmt: skip
    assert [one.name for one in made if one.proxied] == ["a", "b", "c", "obfuscated"]
    assert {one.name: set(one.evades) for one in made if one.evades} == {
        "alternate": {"dns", "address"},
        "doh": {"dns"},
        "tls-fragment": {"sni"},
        "tcp-segment": {"sni"},
    }
    assert msgspec.json.decode(msgspec.json.encode(made), type=list[RouteSettings]) == made


def test_alternate_addresses() -> None:
    made = AlternateRoute(addresses=("192.0.2.1", "192.0.2.1:8443", "2001:db8::1", "[2001:db8::1]:8443"))
    assert made.endpoints(443) == [
        ("192.0.2.1", 443),
        ("192.0.2.1", 8443),
        ("2001:db8::1", 443),
        ("2001:db8::1", 8443),
    ]


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("tls-fragment", {"name": ""}, "needs a name"),
        ("tls-fragment", {"name": "direct"}, "no other can be called so"),
        ("alternate", {"addresses": []}, "at least one"),
        ("alternate", {"addresses": ["messenger.example"]}, "not a name"),
        ("alternate", {"addresses": ["192.0.2.1:x"]}, "expected ADDRESS or ADDRESS:PORT"),
        ("alternate", {"addresses": ["192.0.2.1:0"]}, "expected ADDRESS or ADDRESS:PORT"),
        ("doh", {"address": "192.0.2.53", "path": "dns-query"}, "begins with a slash"),
        ("socks5", {"name": "p", "host": "h", "username": "u"}, "go together"),
        (
            "socks5",
            {"name": "p", "host": "h", "username": "u", "password": "ä" * 128},
            "password: expected at most 255",
        ),
        ("http-connect", {"name": "p", "host": "h", "username": "u:v", "password": "p"}, "a colon cannot be in it"),
        ("obfuscated", {"host": "h", "port": 1, "key": "cafe"}, "key: expected 64 hexadecimal digits"),
        ("socks5", {"name": "p", "host": "h", "port": 0}, "port"),
    ],
)
def test_mistakes(kind: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        route(kind, **fields)


def test_a_key_that_is_none_is_not_in_the_message() -> None:
    assert parse_key(KEY) == b"\x0f" * 32
    for wrong in ("0f" * 31, "secret"):
        with pytest.raises(ValueError, match="openssl rand -hex 32") as caught:
            parse_key(wrong)
        assert wrong not in str(caught.value)
