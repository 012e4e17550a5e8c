"""censor/conditions/contents.py"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from censor.conditions.contents import LiteralNetworks
from censor.properties import Properties
from tests.unit.censor.conditions.vocabulary import LISTS, condition, entries

NETWORKS = LiteralNetworks(map(ip_network, ("192.0.2.0/25", "198.51.100.1", "2001:db8::/33", "::/128")))


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("192.0.2.127", True),
        ("192.0.2.128", False),
        ("198.51.100.1", True),
        ("198.51.100.0", False),
        ("2001:db8:7fff::1", True),
        ("2001:db8:8000::", False),
        ("::", True),
        ("0.0.0.0", False),
    ],
)
def test_literal_networks(address: str, inside: bool) -> None:
    assert (ip_address(address).packed in NETWORKS) is inside


def test_all_addresses() -> None:
    assert ip_address("203.0.113.9").packed in LiteralNetworks([ip_network("0.0.0.0/0")])
    assert ip_address("::1").packed not in LiteralNetworks([ip_network("0.0.0.0/0")])


def test_content_is_exchanged_under_a_compiled_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = condition("tls.sni under @white or server.address in @white or http.url in @white or http.host in @white")
    values: Properties = {
        "tls.sni": "a.new.example",
        "server.address": ip_address("203.0.113.9").packed,
        "http.url": "new.example/x",
        "http.host": "new.example",
    }
    assert blocked.evaluate(values) is False
    for content in (
        entries("new.example"),
        entries(networks=("203.0.113.0/24",)),
        entries(urls=("new.example/x",)),
    ):
        monkeypatch.setattr(LISTS["white"], "content", content)
        assert blocked.evaluate(values) is True
    monkeypatch.setattr(LISTS["white"], "content", entries("x.new.example"))
    assert blocked.evaluate(values) is False
