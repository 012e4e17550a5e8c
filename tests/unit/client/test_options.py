from __future__ import annotations

from pathlib import Path

import pytest

from client.options import end_options, listed_proxies, make_settings, proxy_route
from client.settings import OriginAddress, ProxyListSettings, ReceiverSettings, Socks5Route
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
