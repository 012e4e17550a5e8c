from __future__ import annotations

import sys

import pytest

from client.network import Network, changed, network

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the samples come from a little-endian machine")

ROUTE = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t010200C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
wlan0\t000200C0\t00000000\t0001\t0\t0\t600\t00FFFFFF\t0\t0\t0
"""
CABLE = """\
eth0\t00000000\t017100CB\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t007100CB\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
"""
ARP = """\
IP address       HW type     Flags       HW address            Mask     Device
192.0.2.80       0x1         0x2         02:fc:00:00:00:50     *        wlan0
192.0.2.1        0x1         0x2         02:fc:00:00:00:99     *        eth0
192.0.2.1        0x1         0x2         02:fc:00:00:00:05     *        wlan0
"""
NOTHING = ROUTE.splitlines()[0]
ZEROS = "0" * 32
V6_LINK_LOCAL = f"fe800000000000000000000000000000 40 {ZEROS} 00 {ZEROS} 00000100 00000001 00000000 00000001    eth0\n"
V6_PREFIX = f"20010db8000000000000000000000000 40 {ZEROS} 00 {ZEROS} 00000100 00000001 00000000 00000001    eth0\n"
V6_OWN = f"20010db8000000000000000000000009 80 {ZEROS} 00 {ZEROS} 00000000 00000001 00000000 80200001      lo\n"
V6_DEFAULT = f"{ZEROS} 00 {ZEROS} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003    eth0\n"
V6_MULTICAST = f"ff000000000000000000000000000000 08 {ZEROS} 00 {ZEROS} 00000100 00000001 00000000 00000001    eth0\n"
V6_REJECT = f"{ZEROS} 00 {ZEROS} 00 {ZEROS} ffffffff 00000001 00000000 00200200      lo\n"
V6_LOOPBACK_DEFAULT = f"{ZEROS} 00 {ZEROS} 00 {ZEROS} 00000000 00000001 00000000 00000001      lo\n"
V6 = V6_PREFIX + V6_OWN + V6_LINK_LOCAL + V6_DEFAULT + V6_MULTICAST + V6_REJECT + V6_LOOPBACK_DEFAULT


def test_gateway_mac_and_prefix() -> None:
    assert network(ROUTE, ARP, V6) == Network("192.0.2.1", ("192.0.2.0/24",), "02:fc:00:00:00:05")


@pytest.mark.parametrize(
    "arp",
    [NOTHING, ARP.replace("02:fc:00:00:00:05", "00:00:00:00:00:00"), ARP.replace("wlan0", "wlan1")],
    ids=["no entry", "not answered yet", "on another interface"],
)
def test_a_mac_may_be_unknown(arp: str) -> None:
    assert network(ROUTE, arp, "") == Network("192.0.2.1", ("192.0.2.0/24",))


def test_of_two_default_routes_the_one_that_is_used() -> None:
    assert network(ROUTE + CABLE, ARP, "") == Network("203.0.113.1", ("203.0.113.0/24",))


def test_a_route_that_is_down_does_not_count() -> None:
    assert network(ROUTE.replace("0003", "0002"), ARP, "") is None


def test_a_tunnel_has_no_gateway() -> None:
    tunnel = "tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0\n"
    found = network(ROUTE + tunnel, ARP, "")
    assert found == Network("tun0")
    assert found.place == "tun0"


def test_ipv6_where_there_is_no_ipv4() -> None:
    assert network(NOTHING, NOTHING, V6) == Network("fe80::1", ("2001:db8::/64",))


@pytest.mark.parametrize("routes", ["", V6_PREFIX + V6_REJECT + V6_LOOPBACK_DEFAULT], ids=["no IPv6", "no way out"])
def test_no_default_route_is_no_network(routes: str) -> None:
    assert network(NOTHING, NOTHING, routes) is None


HOME = Network("192.0.2.1", ("192.0.2.0/24",), "02:fc:00:00:00:05", "192.0.2.7")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (HOME, HOME, False),
        (None, HOME, True),
        (HOME, Network("192.0.2.1", ("192.0.2.0/24",), "", "192.0.2.7"), False),
        (Network("192.0.2.1", ("192.0.2.0/24",), "", "192.0.2.7"), HOME, False),
        (HOME, Network("192.0.2.1", ("192.0.2.0/24",), "02:fc:00:00:00:66", "192.0.2.7"), True),
        (HOME, Network("192.0.2.1", ("192.0.2.0/24",), "02:fc:00:00:00:05", "192.0.2.8"), True),
        (HOME, Network("192.0.2.1", ("192.0.2.0/25",), "02:fc:00:00:00:05", "192.0.2.7"), True),
        (HOME, Network("192.0.2.2", ("192.0.2.0/24",), "02:fc:00:00:00:05", "192.0.2.7"), True),
    ],
    ids=[
        "same",
        "online again",
        "MAC gone",
        "MAC found",
        "other MAC",
        "other address",
        "other prefix",
        "other gateway",
    ],
)
def test_what_counts_as_a_change(old: Network | None, new: Network, expected: bool) -> None:
    assert changed(old, new) is expected
