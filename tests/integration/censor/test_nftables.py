"""censor/packet_io/nftables.py against the real kernel, in a user namespace; what is in the sets is asked of `nft`."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from censor.packet_io.netlink import KernelError
from censor.packet_io.nft_messages import Field, Interval, key
from censor.packet_io.nftables import NfTables
from tests.integration.censor.namespace import run_in_namespace

_SETUP = """nft -f - <<END
table inet t {
set four { type ipv4_addr; flags interval; }
set six { type ipv6_addr; flags interval; }
set residual { type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags timeout; timeout 1m; }
chain plan { ip daddr @four drop; }
chain base { type filter hook output priority -10; }
}
END"""
# What a user namespace gets where net.core.wmem_max has its usual value.
_ROOTLESS_BYTES = 212_992


def nft(*arguments: str) -> str:
    return subprocess.run(("nft", *arguments), capture_output=True, text=True, check=True).stdout


def listed(name: str) -> list[Any]:
    """The elements of a set as nft prints them in JSON."""
    printed = json.loads(nft("-j", "list", "set", "inet", "t", name))
    sets = [one["set"] for one in printed["nftables"] if "set" in one]
    return list(sets[0].get("elem", []))


def intervals(name: str) -> list[Interval]:
    """The elements of an interval set as numbers."""
    family = socket.AF_INET if name != "six" else socket.AF_INET6
    found = []
    for element in listed(name):
        if isinstance(element, str):
            first = last = number(element, family)
        elif "range" in element:
            first, last = (number(text, family) for text in element["range"])
        else:
            first = number(element["prefix"]["addr"], family)
            bits = 32 if family is socket.AF_INET else 128
            last = first + (1 << bits - element["prefix"]["len"]) - 1
        found.append((first, last))
    return sorted(found)


def number(text: str, family: int) -> int:
    return int.from_bytes(socket.inet_pton(family, text))


def passes(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto(b"x", (address, 9))
        except PermissionError:  # what a drop in OUTPUT looks like to the sender
            return False
    return True


def intervals_come_and_go() -> None:
    draw = random.Random(7)
    highest = {4: (1 << 32) - 1, 6: (1 << 128) - 1}
    with NfTables() as tables:
        for name, version in (("four", 4), ("six", 6)):
            # Neighbours without a gap, single addresses, and both ends of the space among them.
            edges = sorted(draw.sample(range(1, 3000), 199))
            around = zip([0, *edges], [*(edge - 1 for edge in edges), 3000], strict=True)
            wanted = {*around, (highest[version] - 9, highest[version])}
            with tables.transaction("adding") as one:
                one.add_intervals("t", name, wanted, version=version)
            assert intervals(name) == sorted(wanted)
            gone = set(draw.sample(sorted(wanted), 80)) | {(highest[version] - 9, highest[version])}
            back = set(draw.sample(sorted(gone), 30))
            with tables.transaction("a difference") as one:
                one.delete_intervals("t", name, gone, version=version)
                one.add_intervals("t", name, back, version=version)
            assert intervals(name) == sorted(wanted - gone | back)
            with tables.transaction("emptying") as one:
                one.flush_set("t", name)
            assert intervals(name) == []


def a_shadow_set_is_loaded_in_parts_and_switched_to_at_once() -> None:
    wanted = [(start, start + 99) for start in range(0x7F000100, 0x7F000100 + 30_000 * 200, 200)]
    with NfTables(send_buffer_bytes=_ROOTLESS_BYTES) as tables:
        assert tables.limit_bytes < 2 * _ROOTLESS_BYTES
        one = tables.transaction("all at once")
        one.add_intervals("t", "four", wanted, version=4)
        with pytest.raises(KernelError, match=r"^all at once: \d+ bytes in one transaction"):
            one.commit()
        tables.load("t", "four", wanted, version=4, what="loading")
        assert len(intervals("four")) == 30_000
        assert passes("127.0.1.50")
        with tables.transaction("switching") as one:
            one.switch_chain("t", "base", "plan")
        assert not passes("127.0.1.0")
        assert not passes("127.0.1.99")
        assert passes("127.0.1.100")
        assert not passes("127.0.1.200")
        with tables.transaction("lifting") as one:
            one.switch_chain("t", "base")
            one.delete_chain("t", "plan")
            one.delete_set("t", "four")
        assert passes("127.0.1.50")


def sets_are_made_as_nft_makes_them() -> None:
    fields = (Field.IPV6_ADDRESS, Field.IPV6_ADDRESS, Field.PROTOCOL, Field.PORT, Field.PORT)
    addresses = [socket.inet_pton(socket.AF_INET6, f"2001:db8::{digit}") for digit in (1, 2)]
    keys = [key(*addresses, b"\x06", (443).to_bytes(2), port.to_bytes(2)) for port in range(1, 2001)]
    with NfTables() as tables, tables.transaction("making sets") as one:
        one.add_set("t", "new", fields, timeouts=True)
        one.add_elements("t", "new", keys, timeout_ms=60_000)
        one.add_set("t", "plain", [Field.IPV4_ADDRESS], intervals=True)
        one.add_intervals("t", "plain", [(0xC0000200, 0xC00002FF)], version=4)
    text = nft("list", "set", "inet", "t", "new")
    assert "type ipv6_addr . ipv6_addr . inet_proto . inet_service . inet_service" in text
    assert "2001:db8::1 . 2001:db8::2 . tcp . 443 . 1999 timeout 1m expires" in text
    assert text.count("expires") == 2000
    assert intervals("plain") == [(0xC0000200, 0xC00002FF)]


def residual_elements_begin_anew_and_leave() -> None:
    client, server = (socket.inet_aton(text) for text in ("192.0.2.1", "198.51.100.1"))
    keys = [key(client, server, b"\x06", port.to_bytes(2)) for port in (80, 443)]
    with NfTables() as tables:
        for seconds in (90, 420):  # of a longer and, then, of a shorter time is what is left
            with tables.transaction("adding") as one:
                one.add_elements("t", "residual", keys, timeout_ms=seconds * 1000)
            assert [one["elem"]["timeout"] for one in listed("residual")] == [seconds] * 2
            assert all(seconds - 5 < one["elem"]["expires"] <= seconds for one in listed("residual"))
        with tables.transaction("deleting") as one:
            one.delete_elements("t", "residual", [keys[0], key(client, client, b"\x06", b"\0\x50")])
        (left,) = listed("residual")
        assert left["elem"]["val"]["concat"] == ["192.0.2.1", "198.51.100.1", "tcp", 443]


def presence_ends_with_the_socket() -> None:
    with NfTables() as tables:
        with tables.transaction("presence") as one:
            one.add_presence("alive", -170, 0x08000000)
        text = subprocess.run(
            ("nft", "list", "table", "inet", "alive"), capture_output=True, text=True, check=True
        ).stdout
        assert "flags owner" in text
        assert "type filter hook forward priority -170; policy accept;" in text
        assert "meta mark set meta mark | 0x08000000" in text
        assert subprocess.run(("nft", "delete", "table", "inet", "alive"), capture_output=True, check=False).returncode
    assert "alive" not in nft("list", "tables")


def a_refused_transaction_leaves_nothing() -> None:
    with NfTables() as tables:
        with tables.transaction("first") as one:
            one.add_intervals("t", "four", [(10, 20)], version=4)
        for wrong, said in (((15, 30), "File exists"), ((10, 19), "File exists")):
            one = tables.transaction("second")
            one.add_intervals("t", "four", [(1, 2)], version=4)
            one.add_intervals("t", "four", [wrong], version=4)
            with pytest.raises(KernelError, match=rf"^second \(request 2 of 2\): {said}$"):
                one.commit()
        one = tables.transaction("third")
        one.flush_set("t", "four")
        one.flush_set("t", "nowhere")
        with pytest.raises(KernelError, match=r"^third \(request 2 of 2\): No such file or directory$"):
            one.commit()
        assert intervals("four") == [(10, 20)]
        with tables.transaction("fourth") as one:
            one.delete_intervals("t", "four", [(10, 20)], version=4)
    assert intervals("four") == []


_BODIES: list[Callable[[], None]] = [
    intervals_come_and_go,
    a_shadow_set_is_loaded_in_parts_and_switched_to_at_once,
    sets_are_made_as_nft_makes_them,
    residual_elements_begin_anew_and_leave,
    presence_ends_with_the_socket,
    a_refused_transaction_leaves_nothing,
]


@pytest.mark.netns
@pytest.mark.parametrize("body", _BODIES, ids=lambda body: body.__name__)
def test_in_a_namespace(body: Callable[[], None]) -> None:
    run_in_namespace(__name__, body.__name__, _SETUP)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
