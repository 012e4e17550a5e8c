"""censor/profiles/ip-2017.toml: a test for each rule."""

from __future__ import annotations

from pathlib import Path

import dns.message
import pytest
from scapy.layers.inet import ICMP, IP, UDP

from censor.core import Core
from censor.packets import SYN, TCP, parse
from tests.unit.censor.analyzers.test_tls import real_hello
from tests.unit.censor.profiles.connection import CLIENT, Connection, core_of, offloaded, passed, udp_packet, vanished

NAME = "ip-2017"
LISTED, SERVER, RESOLVER = "203.0.113.10", "198.51.100.11", "198.18.0.53"
INNOCENT = real_hello("innocent.example")


@pytest.fixture
def core() -> Core:
    return core_of(NAME)


@pytest.fixture
def dumped(tmp_path: Path) -> Core:
    """A dump of the registry in the place of the default entries."""
    dump = tmp_path / "dump.csv"
    dump.write_text(
        "Updated: 2017-06-01 12:00:00 +0000\n"
        "198.51.100.1;name.example;;FNS;1;2017-01-01\n"
        "198.51.100.2;page.example;http://page.example/bad;FNS;1;2017-01-01\n"
        "198.51.100.3;secure.example;https://secure.example/bad;FNS;1;2017-01-01\n"
        "198.51.100.4;;;FNS;1;2017-01-01\n",
        encoding="windows-1251",
    )
    return core_of(NAME, f'[[list]]\nname = "registry"\nformat = "registry"\nfile = "{dump}"')


def query(name: str) -> bytes:
    return udp_packet(dns.message.make_query(name, "A").to_wire(), server=RESOLVER, server_port=53)


def get(host: str, path: str = "/") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def test_addresses_vanish_icmp_included(core: Core) -> None:
    assert vanished(Connection(core, server=LISTED).send(flags=SYN))
    assert vanished(core.decide(bytes(IP(src=CLIENT, dst=LISTED) / ICMP())))
    assert vanished(core.decide(udp_packet(b"x", server=LISTED, back=True)))


@pytest.mark.parametrize("name", ["messenger.example", "www.messenger.example"])
def test_the_resolver_answers_with_the_block_page(core: Core, name: str) -> None:
    decision = core.decide(query(name))
    assert not decision.accept
    (answer,) = decision.before
    assert dns.message.from_wire(bytes(IP(answer)[UDP].payload)).answer[0][0].to_text() == "198.18.0.80"


def test_http_gets_a_block_page(core: Core) -> None:
    connection = Connection(core, server=SERVER, server_port=80).open()
    decision = connection.send(get("www.blocked.example"))
    assert not decision.accept
    assert any(b"HTTP/1.1 403" in forged for forged in decision.after)


def test_https_is_reset_at_both_ends(core: Core) -> None:
    decision = Connection(core, server=SERVER).open().send(real_hello("www.blocked.example"))
    assert not decision.accept
    forged = [parse(one) for one in decision.after]
    assert {one.destination_port for one in forged if one is not None and one.protocol == TCP} == {40000, 443}


def test_a_hello_in_two_segments_evades(core: Core) -> None:
    said = real_hello("blocked.example")
    connection = Connection(core, server=SERVER).open()
    assert passed(connection.send(said[:60]))
    assert passed(connection.send(said[60:]))


def test_innocents_pass_and_are_decided_at_once(core: Core) -> None:
    assert passed(core.decide(query("innocent.example")))
    for port, payload in ((443, INNOCENT), (80, get("innocent.example")), (5222, b"<stream:stream>")):
        connection = Connection(core, server=SERVER, server_port=port)
        assert offloaded(core, connection.client_packet(payload))


@pytest.mark.parametrize(("last", "banned"), [(1, False), (2, False), (3, True), (4, True)])
def test_a_row_without_domain_or_with_an_https_url_is_an_address_ban(dumped: Core, last: int, banned: bool) -> None:
    assert vanished(Connection(dumped, server=f"198.51.100.{last}").send(flags=SYN)) is banned


@pytest.mark.parametrize(
    ("host", "path", "banned"),
    [("name.example", "/", True), ("page.example", "/bad", True), ("page.example", "/", False)],
)
def test_http_urls_are_banned_one_by_one(dumped: Core, host: str, path: str, banned: bool) -> None:
    connection = Connection(dumped, server="198.51.100.9", server_port=80).open()
    assert connection.send(get(host, path)).accept is not banned
