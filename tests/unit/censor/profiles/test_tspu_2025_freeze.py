"""censor/profiles/tspu-2025-freeze.toml: a test for each number."""

from __future__ import annotations

import pytest

from censor.core import Core
from censor.packets import ACK
from tests.unit.censor.analyzers import initials
from tests.unit.censor.analyzers.initials import crypto_frame, initial
from tests.unit.censor.analyzers.test_tls import hello, real_hello, sni
from tests.unit.censor.profiles.connection import Connection, core_of, offloaded, passed, udp_packet, vanished

NAME = "tspu-2025-freeze"
ABROAD, HOME = "198.51.100.11", "198.18.0.80"
SAID = real_hello("anything.example")


@pytest.fixture
def core() -> Core:
    return core_of(NAME)


def bytes_let_through(connection: Connection, *said: bytes, up_to: int = 200_000) -> int:
    """What the server's side gets across, in large segments, once the client has said this."""
    connection.open()
    for segment in said:
        assert passed(connection.send(segment))
    count = sum(map(len, said))
    while count < up_to and passed(connection.receive(bytes(1400))):
        count += 1400
    return count


def test_15_to_20_kb(core: Core) -> None:
    counts = [bytes_let_through(Connection(core, port, server=ABROAD), SAID) for port in range(40000, 40200)]
    assert 15_360 - 1400 <= min(counts) < 15_360
    assert 20_480 - 1400 <= max(counts) <= 20_480


def test_25_packets_over_both_directions(core: Core) -> None:
    connection = Connection(core, server=ABROAD).open()
    assert passed(connection.send(SAID))
    assert all(passed(connection.receive(b"x") if i % 2 else connection.send(flags=ACK)) for i in range(25 - 4))
    assert vanished(connection.receive(b"x"))
    assert vanished(connection.send(b"x"))


def test_25_datagrams(core: Core) -> None:
    assert all(passed(core.decide(udp_packet(b"x", server=ABROAD, back=i % 2 > 0))) for i in range(25))
    assert vanished(core.decide(udp_packet(b"x", server=ABROAD)))
    assert vanished(core.decide(udp_packet(b"x", server=ABROAD, back=True)))


def test_a_server_that_speaks_first_is_frozen(core: Core) -> None:
    connection = Connection(core, server=ABROAD).open()
    count = 0
    while count < 200_000 and passed(connection.receive(bytes(1400))):
        count += 1400
        connection.send(flags=ACK)
    assert 15_360 < count <= 20_480


@pytest.mark.parametrize(
    "said",
    [
        [real_hello("allowed.example")],
        [real_hello("www.allowed.example")],
        [b"SSH-2.0-OpenSSH_9.6\r\n"],
    ],
    ids=["white name", "below a white name", "ssh"],
)
def test_exempt(core: Core, said: list[bytes]) -> None:
    assert bytes_let_through(Connection(core, server=ABROAD), *said) >= 200_000


def test_a_white_name_in_a_hello_of_two_packets_is_exempt(core: Core) -> None:
    large = hello((51, bytes(1600)), sni(b"allowed.example"))
    assert bytes_let_through(Connection(core, server=ABROAD), large[:1400], large[1400:]) >= 200_000


@pytest.mark.parametrize("server", [HOME, "198.51.100.200", "2001:db8:3::200"])
def test_addresses_at_home_and_white_ones_are_exempt(core: Core, server: str) -> None:
    client = "2001:db8:1::10" if ":" in server else "192.0.2.10"
    assert bytes_let_through(Connection(core, client=client, server=server), SAID) >= 200_000


def test_ipv6_is_frozen(core: Core) -> None:
    connection = Connection(core, client="2001:db8:1::10", server="2001:db8:3::11")
    assert bytes_let_through(connection, SAID) <= 20_480


@pytest.mark.parametrize(("name", "frozen"), [(b"allowed.example", False), (b"anything.example", True)])
def test_quic_by_its_name(core: Core, name: bytes, frozen: bool) -> None:
    said = initial(crypto_frame(0, initials.hello(name)), pad_to=1200)
    assert passed(core.decide(udp_packet(said, server=ABROAD)))
    assert all(passed(core.decide(udp_packet(b"x", server=ABROAD))) for _ in range(24))
    assert vanished(core.decide(udp_packet(b"x", server=ABROAD))) is frozen


def test_an_operators_threshold_of_100_kb() -> None:
    rule = """
[[rule]]
name = "slow-to-freeze"
when = 'server.address in @datacentres'
actions = [{ kind = "freeze", bytes = 102_400 }]
"""
    count = bytes_let_through(Connection(core_of(NAME, rule), server=ABROAD), SAID)
    assert 102_400 - 1400 < count <= 102_400


def test_connections_from_outside_are_spared() -> None:
    core = core_of(NAME, 'censor.inside = ["192.0.2.0/24"]')
    assert bytes_let_through(Connection(core, client="198.51.100.12", server=ABROAD), SAID) >= 200_000


def test_innocents_are_decided_at_once_and_the_others_are_watched(core: Core) -> None:
    white = Connection(core, server=ABROAD)
    assert offloaded(core, white.client_packet(real_hello("allowed.example")))
    assert offloaded(core, Connection(core, 40001, server=HOME).client_packet(SAID))
    assert core.decide(Connection(core, 40002, server=ABROAD).client_packet(SAID), mark=0).watch
