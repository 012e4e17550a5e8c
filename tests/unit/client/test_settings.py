from __future__ import annotations

from typing import Any

import msgspec
import pytest

from client.settings import OriginAddress, SenderSettings
from sidedoor.settings import SettingsError, convert

GOOD: dict[str, Any] = {
    "name": "alice",
    "peer": "bob",
    "origin": {"host": "messenger.example"},
    "ca_file": "ca.pem",
    "routes": [
        {"kind": "direct"},
        {"kind": "socks5", "name": "proxy1", "host": "198.51.100.11", "username": "u", "password": "p"},
    ],
    "policy": {"name": "sidedoor", "standby": "cold"},
    "proxy_list": {"file": "proxies.signed", "public_key": "0f" * 32, "refresh_seconds": 60, "most_proxies": 3},
    "memory_file": "networks.json",
    "resolver": {"nameservers": ["198.18.0.53"], "hosts": {"messenger.example": ["203.0.113.10"]}},
}


def test_they_come_from_json_and_go_back() -> None:
    settings = convert(GOOD, SenderSettings)
    assert [route.name for route in settings.routes] == ["direct", "proxy1"]
    assert settings.origin.port == 443
    assert msgspec.json.decode(msgspec.json.encode(settings), type=SenderSettings) == settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"routes": []}, "no routes"),
        ({"routes": [{"kind": "direct"}, {"kind": "direct"}]}, "two routes have the same name: 'direct'"),
        (
            {"routes": [{"kind": "direct", "name": "p9"}]},
            "name` .*is unknown where `kind` is 'direct'; known here: kind",
        ),
        (
            {"policy": {"name": "signal", "standby": "warm"}},
            "`policy.standby` .*unknown where `name` is 'signal'; known",
        ),
        ({"routes": [{"kind": "socks5", "name": "direct", "host": "::1"}]}, "no other can be called so"),
        ({"routes": [{"kind": "socks5", "name": "p", "host": "::1", "username": "u"}]}, "go together"),
        ({"routes": [{"kind": "pigeon"}]}, "pigeon"),
        ({"proxy_list": {"file": "f", "public_key": "12"}}, "public_key: expected 64 hexadecimal digits"),
        ({"proxy_list": {"file": "f", "public_key": "0" * 64, "most_proxies": 0}}, "most_proxies"),
        ({"proxy_list": {"file": "f", "public_key": "0" * 64, "refresh_seconds": 0}}, "refresh_seconds"),
        ({"network_poll_seconds": 0}, "network_poll_seconds"),
        ({"key_file": "alice.key"}, "key_file and peer_key go together, and there is no peer_key"),
        ({"peer_key": "A" * 43 + "="}, "key_file and peer_key go together, and there is no key_file"),
        ({"key_file": "alice.key", "private_key": "x"}, "give one of them"),
        ({"key_file": "alice.key", "peer_key": "AAAA"}, "peer_key: expected a public key, 44 characters"),
        ({"peer": "alice"}, "peer is 'alice', this end's own name; expected the other end's"),
        ({"window_message": 3}, "did you mean `window_messages`"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        convert(GOOD | change, SenderSettings)


@pytest.mark.parametrize(
    ("origin", "shown"),
    [
        (OriginAddress("messenger.example"), "messenger.example:443"),
        (OriginAddress("127.0.0.1", 8443), "127.0.0.1:8443"),
        (OriginAddress("::1", 8443), "[::1]:8443"),
    ],
)
def test_an_origin_is_shown_as_it_is_typed(origin: OriginAddress, shown: str) -> None:
    assert str(origin) == shown
