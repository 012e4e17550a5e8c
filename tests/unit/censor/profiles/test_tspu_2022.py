"""censor/profiles/tspu-2022.toml: a test for each number."""

from __future__ import annotations

import ipaddress

import pytest
from scapy.layers.inet import ICMP, IP

from censor.core import Core
from censor.fragments import FragmentPolicy, Fragments, FragmentSettings
from censor.kernel.residual_blocks import shapes
from censor.packets import ACK, SYN, fragments_of, parse
from tests.unit.censor.analyzers import initials
from tests.unit.censor.analyzers.initials import V2, crypto_frame, initial
from tests.unit.censor.analyzers.test_tls import hello, real_hello, sni
from tests.unit.censor.profiles.connection import (
    CLIENT,
    CLIENT_ISN,
    RESET,
    SERVER,
    SERVER_TTL,
    Connection,
    core_of,
    entries,
    offloaded,
    passed,
    rules_of,
    udp_packet,
    vanished,
)

NAME = "tspu-2022"
SNI_I, SNI_II, SNI_III, SNI_IV = "www.blocked.example", "sni-ii.example", "sni-iii.example", "sni-iv.example"
INNOCENT = real_hello("innocent.example")
GREETING, REQUEST = b"\x05\x01\x00", b"\x05\x01\x00\x03\x0fblocked.example\x01\xbb"


@pytest.fixture
def core() -> Core:
    return core_of(NAME)


def opened(core: Core, name: str, port: int = 40000) -> Connection:
    """A connection whose ClientHello has been sent, with what became of that unsaid."""
    connection = Connection(core, port).open()
    connection.send(real_hello(name))
    return connection


def caught(core: Core, *segments: bytes, port: int = 40000) -> bool:
    """Whether SNI-I acts on a connection whose client says this."""
    connection = Connection(core, port).open()
    for segment in segments:
        assert passed(connection.send(segment))
    return not connection.receive(b"hello").accept


class TestSniI:
    def test_the_hello_passes_and_the_servers_packets_become_rst_ack_with_their_own_numbers_and_ttl(
        self, core: Core
    ) -> None:
        connection = Connection(core).open()
        assert passed(connection.send(real_hello(SNI_I)))
        sent = parse(connection.server_packet(b"server hello"))
        assert sent is not None
        decision = core.decide(sent.data)
        assert not decision.accept
        (forged,) = decision.after
        rewritten = parse(forged)
        assert rewritten is not None
        assert (rewritten.flags, rewritten.payload_length, rewritten.ttl) == (RESET, 0, SERVER_TTL)
        assert (rewritten.sequence, rewritten.acknowledgment) == (sent.sequence, sent.acknowledgment)
        assert (rewritten.source, rewritten.destination) == (sent.source, sent.destination)
        assert passed(connection.send(b"what the client says passes"))

    def test_residual_of_75_seconds(self, core: Core) -> None:
        first = opened(core, SNI_I)
        late = first.again(t=74.9)
        assert passed(late.send(flags=SYN))
        (forged,) = late.receive(flags=SYN | ACK).after
        packet = parse(forged)
        assert packet is not None
        assert packet.flags == RESET
        assert not late.receive(b"data").accept
        free = first.again(t=75.1).open()
        assert passed(free.send(INNOCENT))
        assert passed(free.receive(b"data"))

    def test_the_connection_itself_is_free_after_75_seconds(self, core: Core) -> None:
        connection = opened(core, SNI_I)
        connection.t = 74.9
        assert not connection.receive(b"data").accept
        connection.t = 75.1
        assert passed(connection.receive(b"data"))

    def test_residual_is_of_one_4_tuple(self, core: Core) -> None:
        opened(core, SNI_I)
        other = Connection(core, 40001).open()
        assert passed(other.send(INNOCENT))
        assert passed(other.receive(b"data"))


class TestSniII:
    def test_5_to_8_more_packets_then_both_directions_are_dropped(self, core: Core) -> None:
        counts = set()
        for port in range(40000, 40200):
            connection = Connection(core, port).open()
            assert passed(connection.send(real_hello(SNI_II)))
            count = 0
            while passed(connection.receive(b"data") if count % 2 else connection.send(b"data")):
                count += 1
            counts.add(count)
            assert vanished(connection.receive(b"data"))
            assert vanished(connection.send(b"data"))
        assert counts == {5, 6, 7, 8}

    def test_residual_of_420_seconds(self, core: Core) -> None:
        first = opened(core, SNI_II)
        assert vanished(first.again(t=419.9).send(flags=SYN))
        free = first.again(t=420.1).open()
        assert passed(free.send(INNOCENT))

    def test_the_connection_itself_is_free_after_420_seconds(self, core: Core) -> None:
        connection = opened(core, SNI_II)
        for _ in range(9):
            connection.send(b"data")
        for connection.t, free in ((419.9, False), (420.1, True)):
            assert passed(connection.send(b"data")) is free


class TestSniIII:
    @pytest.mark.parametrize("from_client", [True, False])
    def test_600_to_700_bytes_a_second(self, core: Core, from_client: bool) -> None:
        connection = opened(core, SNI_III)
        passing = 0
        for packet in range(3000):  # a minute
            connection.t = packet / 50
            decision = connection.send(bytes(60)) if from_client else connection.receive(bytes(60))
            passing += 100 * decision.accept
        assert 600 <= passing / 60 <= 700

    def test_state_is_kept_for_480_seconds_without_a_packet(self, core: Core) -> None:
        connection = opened(core, SNI_III)
        for t, accepted in ((0.0, [True, False]), (480.0, [True, False]), (960.1, [True, True])):
            connection.t = t
            assert [connection.receive(bytes(1400)).accept for _ in range(2)] == accepted


class TestSniIV:
    def test_everything_is_dropped_the_hello_too(self, core: Core) -> None:
        connection = Connection(core).open()
        assert vanished(connection.send(real_hello(SNI_IV)))
        assert vanished(connection.send(b"data"))
        assert vanished(connection.receive(b"data"))

    def test_residual_of_40_seconds(self, core: Core) -> None:
        first = opened(core, SNI_IV)
        assert vanished(first.again(t=39.9).send(flags=SYN))
        assert passed(first.again(t=40.1).send(flags=SYN))

    def test_the_connection_itself_is_free_after_40_seconds(self, core: Core) -> None:
        connection = opened(core, SNI_IV)
        for connection.t, free in ((39.9, False), (40.1, True)):
            assert passed(connection.send(b"data")) is free

    def test_misses_27_of_10000(self, core: Core) -> None:
        said = real_hello(SNI_IV)
        missed = 0
        for number in range(8000):
            client = str(ipaddress.ip_address(f"198.18.{number >> 8}.{number & 255}"))
            missed += passed(Connection(core, client=client).send(said))
        assert 10 <= missed <= 36  # 21.6 are to be expected, three standard deviations are 14


@pytest.mark.parametrize(
    ("rule", "miss_percent"),
    [("sni-i", 0.084), ("sni-ii", 0.0025), ("sni-iv", 0.27), ("quic", 0.02), ("quic-sni", 0.02), ("ip", 0)],
)
def test_miss_rates_of_rostelecom(rule: str, miss_percent: float) -> None:
    (one,) = (one for one in rules_of(NAME).rules if one.name == rule)
    assert one.probability == pytest.approx(1 - miss_percent / 100, abs=1e-9)


def quic(payload_bytes: int, name: bytes = b"innocent.example", version: int = 1) -> bytes:
    """A datagram's payload of that size: an Initial with a ClientHello."""
    frames = crypto_frame(0, initials.hello(name))
    overhead = len(initial(frames, version=version, pad_to=600)) - 600
    return initial(frames, version=version, pad_to=payload_bytes - overhead)


class TestQuic:
    @pytest.mark.parametrize(("payload_bytes", "blocked"), [(1000, False), (1001, True)])
    def test_udp_payload_of_1001_bytes(self, core: Core, payload_bytes: int, blocked: bool) -> None:
        payload = quic(payload_bytes)
        assert len(payload) == payload_bytes
        assert core.decide(udp_packet(payload)).accept is not blocked
        assert core.decide(udp_packet(b"more")).accept is not blocked
        assert core.decide(udp_packet(b"answer", back=True)).accept is not blocked

    def test_version_1_and_port_443_only(self, core: Core) -> None:
        assert passed(core.decide(udp_packet(quic(1200, version=V2))))
        assert passed(core.decide(udp_packet(quic(1200), server_port=8443)))

    @pytest.mark.parametrize("name", [b"innocent.example", b"blocked.example"])
    def test_420_seconds_which_further_packets_start_anew(self, core: Core, name: bytes) -> None:
        assert vanished(core.decide(udp_packet(quic(1200, name))))
        assert vanished(core.decide(udp_packet(b"more"), t=419.9))
        assert vanished(core.decide(udp_packet(b"more"), t=839.7))
        assert passed(core.decide(udp_packet(b"more"), t=839.7 + 420.1))

    @pytest.mark.parametrize("name", [b"innocent.example", b"blocked.example"])
    def test_the_kernel_is_told_the_same(self, core: Core, name: bytes) -> None:
        (blocked,) = core.decide(udp_packet(quic(1200, name))).blocked
        assert (blocked.kind, blocked.seconds) == ("4-tuple", 420)
        shape = shapes(core.compiled)[blocked.rule]
        assert (shape.action, shape.client_only, shape.refresh_seconds) == ("drop", False, 420)

    def test_it_is_meant_for_blocked_names(self, core: Core) -> None:
        (bystander,) = core.decide(udp_packet(quic(1200))).hits
        (target,) = core.decide(udp_packet(quic(1200, b"blocked.example"), port=40001)).hits
        assert (bystander.rule, bystander.collateral) == ("quic", True)
        assert (target.rule, target.collateral) == ("quic-sni", False)

    def test_later_by_name_alone(self) -> None:
        core = core_of(NAME, entries("quic-blocked"))
        assert vanished(core.decide(udp_packet(quic(400, b"www.blocked.example"))))
        assert passed(core.decide(udp_packet(quic(1200), port=40001)))


class TestIp:
    def test_all_packets_to_and_from_the_address_icmp_included(self, core: Core) -> None:
        address = "203.0.113.66"
        assert vanished(Connection(core, server=address).send(flags=SYN))
        assert vanished(core.decide(udp_packet(b"x", server=address, server_port=53)))
        assert vanished(core.decide(bytes(IP(src=CLIENT, dst=address) / ICMP())))
        assert vanished(core.decide(bytes(IP(src=address, dst=CLIENT) / ICMP(type=0))))
        assert vanished(Connection(core, client=address, server=CLIENT).send(flags=SYN))
        assert vanished(Connection(core, client="2001:db8:1::10", server="2001:db8:2::66").send(flags=SYN))
        assert passed(core.decide(bytes(IP(src=CLIENT, dst=SERVER) / ICMP())))


class TestFragments:
    @staticmethod
    def held() -> Fragments:
        table = rules_of(NAME).censor.fragments
        return Fragments(FragmentSettings(policy=FragmentPolicy(table.policy), limit_fragments=table.limit))

    @pytest.mark.parametrize(("count", "released"), [(45, True), (46, False)])
    def test_45_are_held_and_leave_with_the_first_ones_ttl(self, count: int, released: bool) -> None:
        whole = udp_packet(bytes(count * 8 - 8))
        fragments = self.held()
        names: list[int] = []
        for number, fragment in enumerate(fragments_of(whole, 28)):
            aged = fragment if not number else bytes(IP(fragment, ttl=9))
            packet = parse(aged)
            assert packet is not None
            ruling = fragments.add(packet, number, 0.0)
            assert ruling.whole is None, "they are not put together"
            names += [one.token for one in ruling.released]
            for one in ruling.released:
                sent = parse(one.replacement or one.packet.data)
                assert sent is not None
                assert sent.ttl == 64
        assert names == (list(range(count)) if released else [])

    def test_a_hello_in_fragments_evades(self, core: Core) -> None:
        connection = Connection(core).open()
        for fragment in fragments_of(connection.client_packet(real_hello(SNI_I)), 280):
            assert passed(core.decide(fragment))
        assert passed(connection.receive(b"hello"))


class TestWhatIsLookedAt:
    @pytest.mark.parametrize("at", [1, 5, 60, 200])
    def test_a_hello_in_two_segments_evades(self, core: Core, at: int) -> None:
        said = real_hello(SNI_I)
        assert not caught(core, said[:at], said[at:])

    def test_a_hello_padded_past_one_packet_evades(self, core: Core) -> None:
        said = hello((21, bytes(1600)), sni(SNI_I.encode()))
        assert not caught(core, said[:1400], said[1400:])
        assert caught(core, hello((21, bytes(300)), sni(SNI_I.encode())), port=40001)

    def test_a_change_cipher_spec_before_it_evades(self, core: Core) -> None:
        assert not caught(core, b"\x14\x03\x03\x00\x01\x01" + real_hello(SNI_I))

    @pytest.mark.parametrize(("size_bytes", "looks_on"), [(100, True), (101, False)])
    def test_an_unparsable_first_packet_of_101_bytes_ends_it(self, core: Core, size_bytes: int, looks_on: bool) -> None:
        assert caught(core, bytes(size_bytes), real_hello(SNI_I)) is looks_on

    @pytest.mark.parametrize(("before", "looks_on"), [(14, True), (15, False)])
    def test_15_packets(self, core: Core, before: int, looks_on: bool) -> None:
        assert caught(core, *[bytes(10)] * before, real_hello(SNI_I)) is looks_on

    def test_plain_socks_does_not_evade(self, core: Core) -> None:
        assert caught(core, GREETING, REQUEST, real_hello(SNI_I))

    @pytest.mark.parametrize("name", ["BLOCKED.example", "blocked.example.", "a.b.blocked.example"])
    def test_case_a_trailing_dot_and_names_below_do_not_evade(self, core: Core, name: str) -> None:
        assert caught(core, hello(sni(name.encode())))

    def test_no_port_evades(self, core: Core) -> None:
        connection = Connection(core, server_port=1080).open()
        connection.send(real_hello(SNI_I))
        assert not connection.receive(b"hello").accept


class TestWhoOpensIt:
    def test_a_syn_by_the_remote_end_unblocks(self, core: Core) -> None:
        connection = opened(core, SNI_IV)
        assert vanished(connection.send(b"data"))
        assert passed(connection.receive(flags=SYN))
        assert passed(connection.send(flags=SYN | ACK))
        assert passed(connection.send(b"data"))
        assert passed(connection.receive(b"data"))

    def test_a_handshake_split_in_two_evades(self, core: Core) -> None:
        connection = Connection(core)
        assert passed(connection.send(flags=SYN))
        assert passed(connection.receive(flags=SYN))
        connection.client_sequence = CLIENT_ISN
        assert passed(connection.send(flags=SYN | ACK))
        assert passed(connection.receive(flags=ACK))
        assert passed(connection.send(real_hello(SNI_IV)))
        assert passed(connection.receive(b"hello"))

    def test_connections_from_outside_are_spared(self) -> None:
        core = core_of(NAME, 'censor.inside = ["192.0.2.0/24"]')
        inwards = Connection(core, client=SERVER, server=CLIENT).open()
        assert passed(inwards.send(real_hello(SNI_IV)))
        assert vanished(Connection(core).open().send(real_hello(SNI_IV)))

    def test_clients_in_data_centres_are_exempt(self) -> None:
        core = core_of(NAME, entries("exempt-clients", CLIENT))
        assert passed(Connection(core).open().send(real_hello(SNI_IV)))
        assert vanished(Connection(core, client="192.0.2.11").open().send(real_hello(SNI_IV)))


@pytest.mark.parametrize("payload", [INNOCENT, b"GET / HTTP/1.1\r\nHost: innocent.example\r\n\r\n" + bytes(100)])
def test_innocents_pass_and_are_decided_at_once(core: Core, payload: bytes) -> None:
    assert offloaded(core, Connection(core).client_packet(payload))
