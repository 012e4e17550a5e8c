"""censor/properties.py: what is told of every flow has the types that conditions are checked against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import UDP, IPv6

from censor.core import Core
from censor.flows import flow_key
from censor.packets import parse
from censor.properties import FLOW_PROPERTIES, Properties, Type
from tests.unit.censor.traffic import CLIENT, SERVER, Ends, acting, core

OF_TYPE: dict[Type, Callable[[Any], bool]] = {
    Type.BOOLEAN: lambda value: isinstance(value, bool),
    Type.INTEGER: lambda value: type(value) is int,
    Type.NUMBER: lambda value: type(value) in (int, float),
    Type.TEXT: lambda value: isinstance(value, str),
    Type.NAME: lambda value: isinstance(value, str) and value == value.lower().rstrip("."),
    Type.ADDRESS: lambda value: isinstance(value, bytes) and len(value) in (4, 16),
    Type.TEXTS: lambda value: isinstance(value, tuple) and all(isinstance(one, str) for one in value),
}


def told(judge: Core, data: bytes) -> Properties:
    """What is known of the packet's flow."""
    judge.decide(data)
    packet = parse(data)
    assert packet is not None
    flow = judge.flows.get(flow_key(packet))
    assert flow is not None
    return flow.properties


@pytest.mark.parametrize(
    ("data", "protocol"),
    [
        (Ends().syn(), "tcp"),
        (bytes(IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=40000, dport=53)), "udp"),
        (bytes(IP(src=CLIENT, dst=SERVER) / ICMP()), "icmp"),
        (bytes(IP(src=CLIENT, dst=SERVER, proto=47) / b"gre"), "47"),
    ],
)
def test_every_flow_has_them(data: bytes, protocol: str) -> None:
    properties = told(core(acting('kind = "log"')), data)
    assert properties["protocol"] == protocol
    for name, type_ in FLOW_PROPERTIES.items():
        value = properties[name]
        assert value is None if name == "flow.mark" else OF_TYPE[type_](value)


def test_a_mark_may_still_come() -> None:
    assert "flow.mark" not in told(core(acting('kind = "mark", value = "x"')), Ends().syn())


@pytest.mark.parametrize(
    ("inside", "found"),
    [("[]", (True, False)), ('["192.0.2.0/24"]', (True, False)), ('["203.0.113.0/24"]', (False, True))],
)
def test_the_censored_side(inside: str, found: tuple[bool, bool]) -> None:
    properties = told(core(head=f"[censor]\ninside = {inside}"), Ends().syn())
    assert (properties["client.inside"], properties["server.inside"]) == found
