from __future__ import annotations

from pathlib import Path

import pytest

from client.options import (
    ROUTE_FORMS,
    end_options,
    listed_proxies,
    make_settings,
    origin_address,
    proxy_route,
    route_of,
    route_options,
)
from client.routes.settings import (
    AlternateRoute,
    DirectRoute,
    DohRoute,
    HttpConnectRoute,
    ObfuscatedRoute,
    RouteSettings,
    Socks5TlsRoute,
    TcpSegmentRoute,
    TlsFragmentRoute,
)
from client.settings import (
    ChatSettings,
    ListenerSettings,
    OriginAddress,
    ProbeSettings,
    ProxyListSettings,
    ReceiverSettings,
    SenderSettings,
    Socks5Route,
)
from sidedoor.settings import SettingsError, UsageError

NOTHING: dict[str, str | None] = {"name": None, "origin": None, "ca_file": None}


def test_options_go_over_the_file(tmp_path: Path) -> None:
    config = tmp_path / "receive.toml"
    config.write_text('name = "bob"\nca_file = "ca.pem"\n[origin]\nhost = "messenger.example"\n')
    settings = make_settings(str(config), ReceiverSettings, end_options((), NOTHING | {"name": "dave"}))
    assert (settings.name, settings.origin) == ("dave", OriginAddress("messenger.example", 443))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "--name, --origin and --ca-file are required (or --config with a file that has them)"),
        ({"name": "a", "origin": "b"}, "--ca-file is required"),
    ],
)
def test_all_that_is_missing_is_named(given: dict[str, str | None], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_settings(None, ReceiverSettings, end_options((), NOTHING | given))
    assert str(caught.value).startswith(message)


def test_names_with_addresses() -> None:
    given = end_options(("a=192.0.2.1", "a=192.0.2.2"), NOTHING | {"origin": "[::1]:8443"})
    assert given["resolver"] == {"hosts": {"a": ["192.0.2.1", "192.0.2.2"]}}
    assert given["origin"] == {"host": "::1", "port": 8443}


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ("http://localhost:18443", "--origin 'http://localhost:18443': expected HOST[:PORT], no URL"),
        ("localhost/", "--origin 'localhost/': expected HOST[:PORT], no URL"),
        ("localhost:99999", "--origin 'localhost:99999': there is no port 99999; expected at most 65535"),
        ("localhost:https", "--origin 'localhost:https': expected HOST:PORT, an IPv6 host in brackets"),
        (":443", "--origin ':443': expected HOST:PORT, an IPv6 host in brackets"),
        ("", "--origin is empty; expected HOST[:PORT]"),
        (
            "localhost:0",
            "--origin 'localhost:0': port 0 is nobody's; expected HOST[:PORT] with a port of 1 to 65535",
        ),
    ],
)
def test_what_is_no_origin(origin: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        end_options((), NOTHING | {"origin": origin})
    assert str(caught.value) == message


def test_what_is_no_target_is_said_of_the_target() -> None:
    with pytest.raises(SettingsError, match=r"^--target 'localhost:0': port 0"):
        origin_address("localhost:0", "--target")


@pytest.mark.parametrize("key", ["name", "peer"])
def test_an_end_has_a_name(tmp_path: Path, key: str) -> None:
    names: dict[str, str | None] = {"name": "alice", "peer": "bob"}
    given = end_options((), NOTHING | names | {"origin": "localhost", "ca_file": "ca.pem"} | {key: ""})
    with pytest.raises(UsageError, match=f"^--{key} is empty; expected the name of an end"):
        make_settings(None, SenderSettings, given)
    config = tmp_path / "send.toml"
    names[key] = ""
    config.write_text(
        f'name = "{names["name"]}"\npeer = "{names["peer"]}"\nca_file = "ca.pem"\norigin.host = "localhost"\n'
    )
    with pytest.raises(SettingsError, match=f"key `{key}`"):
        make_settings(str(config), SenderSettings, {})


@pytest.mark.parametrize("type_", [ListenerSettings, ProbeSettings])
def test_who_needs_no_name_of_another_end_has_none(type_: type[ChatSettings]) -> None:
    given = end_options((), {"name": "alice", "peer": None, "origin": "localhost", "ca_file": "ca.pem"})
    assert make_settings(None, type_, given).peer == ""


def test_a_proxy() -> None:
    route = proxy_route("p=alice:se:cret@[::1]:1080")
    assert route == Socks5Route(name="p", host="::1", port=1080, username="alice", password="se:cret")
    with pytest.raises(SettingsError, match="go together"):
        proxy_route("p=alice@localhost:1080")


def test_a_signed_list() -> None:
    key = "0f" * 32
    assert listed_proxies(f"{key}=/tmp/a=b") == ProxyListSettings(file="/tmp/a=b", public_key=key)
    for text, message in (
        (key, "expected PUBLIC_KEY=FILE"),
        (f"{key}=", "expected PUBLIC"),
        ("0f=x", "64 hexadecimal"),
    ):
        with pytest.raises(SettingsError, match=rf"--proxy-list .*{message}"):
            listed_proxies(text)


KEY = "ab" * 32
ROUTES: list[tuple[str, RouteSettings]] = [
    ("direct:", DirectRoute()),
    ("alternate:192.0.2.1,[2001:db8::1]:8443", AlternateRoute(addresses=("192.0.2.1", "[2001:db8::1]:8443"))),
    ("doh://198.18.0.53", DohRoute(address="198.18.0.53")),
    (
        "d=doh://[2001:db8::53]:8443/q?name=dns.example&ca=ca.pem",
        DohRoute(name="d", address="2001:db8::53", port=8443, path="/q", server_name="dns.example", ca_file="ca.pem"),
    ),
    ("socks5://h", Socks5Route(name="socks5-h", host="h")),
    (
        "socks5://al%40ice:se:cret@[::1]:1081",
        Socks5Route(name="socks5-[::1]:1081", host="::1", port=1081, username="al@ice", password="se:cret"),
    ),
    ("p.1=socks5-tls://h?name=n", Socks5TlsRoute(name="p.1", host="h", server_name="n")),
    (
        "http-connect://a:b@h:3128",
        HttpConnectRoute(name="http-connect-h:3128", host="h", port=3128, username="a", password="b"),
    ),
    (f"obfuscated://{KEY}@h:99", ObfuscatedRoute(name="obfuscated-h:99", host="h", port=99, key=KEY)),
    ("tls-fragment:", TlsFragmentRoute()),
    ("tls-fragment:?records=4", TlsFragmentRoute(records=4)),
    ("tcp-segment:?wait=0.25", TcpSegmentRoute(wait_seconds=0.25)),
]


@pytest.mark.parametrize(("text", "route"), ROUTES)
def test_routes(text: str, route: RouteSettings) -> None:
    assert route_of(text) == route


def test_every_kind_of_route_can_be_written() -> None:
    assert {route.__struct_config__.tag for _, route in ROUTES} == set(ROUTE_FORMS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sock5://h", "no kind of route is called 'sock5'.*did you mean `socks5:`"),
        ("pigeon", "no kind of route is called 'pigeon'; expected one of direct, .*tcp-segment$"),
        ("mine=direct:", "no name of its own"),
        ("direct=socks5://h", "no other can be called so"),
        ("direct://h", "'h' is too much; expected direct:"),
        ("alternate:messenger.example", "not a name"),
        ("doh://dns.example", "not a name"),
        ("socks5:h:1080", r"no host; expected socks5://\[USER"),
        ("socks5://u@h", "username and password go together"),
        ("socks5-tls://h?nam=n", r"`nam` is no option of this kind \(known: name and ca\)"),
        ("socks5://h?name=n", r"`name` is no option of this kind \(known: none\)"),
        ("http-connect://h:99999", "Port out of range"),
        (f"obfuscated://{KEY}@h", "no port; expected obfuscated://KEY@HOST:PORT"),
        ("obfuscated://cafe@h:99", "expected 64 hexadecimal digits"),
        ("tls-fragment:?records=x", "`records=x` is no number; expected tls-fragment:"),
        ("tls-fragment:?records=1", "^--route tls-fragment: `records`: expected an integer from 2 to 16; found the"),
        (
            "tcp-segment:?wait=-1",
            r"^--route tcp-segment: `wait`: expected a number of at least 0; found the number -1\.0",
        ),
    ],
)
def test_mistakes_in_routes(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        route_of(text)


def test_a_direct_route_is_there_where_only_proxies_are_named() -> None:
    proxy = Socks5Route(name="p", host="h", port=1)
    assert route_options([], []) is None
    assert route_options([], ["p=h:1"]) == (DirectRoute(), proxy)
    assert route_options(["tls-fragment:"], ["p=h:1"]) == (TlsFragmentRoute(), proxy)


def test_what_is_no_proxy() -> None:
    with pytest.raises(SettingsError, match="expected NAME=HOST:PORT"):
        proxy_route("h:1")
