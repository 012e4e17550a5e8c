"""censor/profiles/tspu-2021-throttle.toml: a test for each number."""

from __future__ import annotations

import itertools

import pytest

from censor.core import Core
from censor.packets import ACK, FIN, RST
from tests.unit.censor.analyzers.test_tls import hello, real_hello, sni
from tests.unit.censor.profiles.connection import CLIENT, SERVER, Connection, core_of, passed, put_in_force, rules_of

NAME = "tspu-2021-throttle"
TARGET = "messenger.example"
DAY = 86400
EACH_RULE = [("reddit.com", 0), ("t.co", DAY), ("pbs.twimg.com", 0), ("api.twitter.com", 0), (TARGET, 0)]
SMALL = bytes(10)
CONNECT = b"CONNECT messenger.example:443 HTTP/1.1\r\nHost: messenger.example:443\r\nUser-Agent: curl/8.5.0\r\n\r\n"


@pytest.fixture
def core() -> Core:
    return core_of(NAME)


def opened(core: Core, name: str, port: int = 40000) -> Connection:
    connection = Connection(core, port).open()
    assert passed(connection.send(real_hello(name)))
    return connection


def throttled(connection: Connection) -> bool:
    """Whether 20 KB at once are too much."""
    return not all(connection.receive(bytes(1400)).accept for _ in range(14))


def caught(core: Core, *segments: bytes, port: int = 40000) -> bool:
    """Whether a connection is throttled whose client says this."""
    connection = Connection(core, port).open()
    for segment in segments:
        assert passed(connection.send(segment))
    return throttled(connection)


class TestPolicing:
    @pytest.mark.parametrize(("name", "seconds"), EACH_RULE)
    def test_130_to_150_kbit_a_second_in_each_direction(self, name: str, seconds: int) -> None:
        connection = opened(core_of(NAME, seconds=seconds), name)
        down = up = 0
        for packet in range(1500):  # half a minute
            connection.t = packet / 50
            down += 1400 * connection.receive(bytes(1360)).accept
            up += 1400 * connection.send(bytes(1360)).accept
        assert 130_000 <= down * 8 / 30 <= 150_000
        assert 130_000 <= up * 8 / 30 <= 150_000

    @pytest.mark.parametrize(("name", "seconds"), EACH_RULE)
    def test_16_kb_pass_in_the_first_100_milliseconds(self, name: str, seconds: int) -> None:
        connection = opened(core_of(NAME, seconds=seconds), name)
        passing = 0
        for packet in range(100):
            connection.t = packet / 1000
            passing += 1000 * connection.receive(bytes(960)).accept
        assert 16_000 <= passing <= 18_500

    def test_state_lasts_for_2_hours_of_use_and_10_idle_minutes(self, core: Core) -> None:
        connection = opened(core, TARGET)
        for connection.t in range(0, 7201, 400):
            assert throttled(connection)
        connection.t += 600
        assert throttled(connection)
        connection.t += 600.1
        assert not throttled(connection)

    @pytest.mark.parametrize("flags", [FIN | ACK, RST, RST | ACK])
    def test_fin_and_rst_do_not_clear_it(self, core: Core, flags: int) -> None:
        connection = opened(core, TARGET)
        connection.send(flags=flags)
        connection.receive(flags=flags)
        assert throttled(connection)


class TestNames:
    @pytest.mark.parametrize("name", ["reddit.com", "www.microsoft.com", "t.co"])
    def test_the_substring_t_co_is_freed_on_11_march(self, name: str) -> None:
        assert throttled(opened(core_of(NAME, seconds=DAY - 1), name))
        assert throttled(opened(core_of(NAME, seconds=DAY), name)) is (name == "t.co")

    def test_connections_that_the_substring_hit_are_free_then(self) -> None:
        core = core_of(NAME, seconds=DAY - 1)
        connection = opened(core, "reddit.com")
        assert throttled(connection)
        put_in_force(core, NAME, seconds=DAY)
        assert not throttled(connection)

    @pytest.mark.parametrize(
        ("name", "collateral"), [("reddit.com", True), ("t.co", False), ("throttletwitter.com", True)]
    )
    def test_collateral(self, name: str, collateral: bool) -> None:
        connection = opened(core_of(NAME, seconds=0), name)
        hits = [hit for _ in range(14) for hit in connection.receive(bytes(1400)).hits]
        assert {hit.collateral for hit in hits} == {collateral}

    @pytest.mark.parametrize("seconds", [0, DAY])
    @pytest.mark.parametrize(
        ("name", "acts"),
        [
            ("pbs.twimg.com", True),
            ("twimg.com", False),
            ("pbs.twimg.com.example", False),
            ("api.twitter.com", True),
            ("www.throttled.example", True),
            ("innocent.example", False),
        ],
    )
    def test_these_stay(self, name: str, acts: bool, seconds: int) -> None:
        assert throttled(opened(core_of(NAME, seconds=seconds), name)) is acts

    def test_a_day_is_a_minute(self) -> None:
        assert rules_of(NAME).moments() == (60.0,)


class TestWhatIsLookedAt:
    @pytest.mark.parametrize(("size_bytes", "looks_on"), [(100, True), (101, False)])
    def test_an_unparsable_first_packet_of_101_bytes_ends_it(self, core: Core, size_bytes: int, looks_on: bool) -> None:
        assert caught(core, bytes(size_bytes), real_hello(TARGET)) is looks_on

    @pytest.mark.parametrize(("before", "looks_on"), [(14, True), (15, False)])
    def test_15_packets(self, core: Core, before: int, looks_on: bool) -> None:
        assert caught(core, *[SMALL] * before, real_hello(TARGET)) is looks_on

    @pytest.mark.parametrize("opening", [b"\x05\x01\x00", CONNECT, real_hello("innocent.example")])
    def test_socks_http_and_tls_extend_it_by_15_to_20_packets(self, opening: bytes) -> None:
        said = real_hello(TARGET)
        counts = []
        for more in range(15, 22):  # the ClientHello is the so-manieth packet behind the opening
            core = core_of(NAME)
            segments = opening, *[SMALL] * (more - 1), said
            counts.append(sum(caught(core, *segments, port=port) for port in range(40000, 40060)))
        assert counts[0] == 60
        assert counts[-1] == 0
        assert all(some > fewer for some, fewer in itertools.pairwise(counts)), counts

    def test_plain_socks_does_not_evade(self, core: Core) -> None:
        request = b"\x05\x01\x00\x03\x11messenger.example\x01\xbb"
        assert caught(core, b"\x05\x01\x00", request, real_hello(TARGET))

    def test_a_hello_in_either_direction_triggers(self, core: Core) -> None:
        connection = Connection(core).open()
        assert passed(connection.receive(real_hello(TARGET)))
        assert throttled(connection)

    def test_connections_from_outside_are_spared(self) -> None:
        core = core_of(NAME, 'censor.inside = ["192.0.2.0/24"]')
        inwards = Connection(core, client=SERVER, server=CLIENT).open()
        inwards.send(real_hello(TARGET))
        inwards.receive(real_hello(TARGET))
        assert not throttled(inwards)
        assert throttled(opened(core, TARGET))


class TestEvasions:
    @pytest.mark.parametrize("at", [1, 5, 60, 200])
    def test_a_hello_in_two_segments(self, core: Core, at: int) -> None:
        said = real_hello(TARGET)
        assert not caught(core, said[:at], said[at:])

    def test_a_change_cipher_spec_before_it(self, core: Core) -> None:
        assert not caught(core, b"\x14\x03\x03\x00\x01\x01" + real_hello(TARGET))

    def test_padding_past_one_packet(self, core: Core) -> None:
        said = hello((21, bytes(1600)), sni(TARGET.encode()))
        assert not caught(core, said[:1400], said[1400:])
        assert caught(core, hello((21, bytes(300)), sni(TARGET.encode())), port=40001)

    @pytest.mark.parametrize("name", [TARGET, "pbs.twimg.com", "api.twitter.com", "t.co"])
    def test_a_trailing_dot(self, name: str) -> None:
        core = core_of(NAME, seconds=DAY)
        assert caught(core, hello(sni(name.encode())))
        assert not caught(core, hello(sni(name.encode() + b".")), port=40001)

    def test_letter_case_does_not_evade(self, core: Core) -> None:
        assert caught(core, hello(sni(b"PBS.twimg.COM")))
