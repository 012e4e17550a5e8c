"""censor/profiles/gfw-rst.toml, number by number."""

from __future__ import annotations

import pytest

from censor.core import Core
from censor.decision import Decision
from censor.offload import plan
from censor.packets import ACK, RST, SYN, Packet, address, parse
from tests.unit.censor.analyzers.test_tls import hello, real_hello, sni
from tests.unit.censor.profiles.connection import (
    CLIENT,
    SERVER,
    SERVER_ISN,
    Connection,
    core_of,
    entries,
    passed,
    udp_packet,
    vanished,
)

PROFILE = "gfw-rst"
HELLO = real_hello("www.messenger.example")
INNOCENT = real_hello("innocent.example")
REQUEST = b"GET / HTTP/1.1\r\nHost: blocked.example\r\n\r\n"
ESNI = hello((0xFFCE, bytes(100)), sni(b"innocent.example"))
TRIGGERS_UNTIL_CERTAIN = 7


def forged(decision: Decision, receiver: str) -> list[Packet]:
    """The injected segments to an end, in order."""
    parsed = [packet for data in decision.before + decision.after if (packet := parse(data)) is not None]
    return [packet for packet in parsed if address(packet.destination) == receiver]


def in_two_records(hello_: bytes) -> bytes:
    """The same message, spread over two TLS records."""
    head, message = hello_[:3], hello_[5:]
    return b"".join(head + len(part).to_bytes(2, "big") + part for part in (message[:10], message[10:]))


def left_alone(connection: Connection, payload: bytes) -> bool:
    """The segment passes, nothing is injected, and the kernel need not ask about the flow any more."""
    core = connection.core
    return core.decide(connection.client_packet(payload), mark=0) == Decision(mark=core.generation)


def http(core: Core | None = None, server: str = SERVER) -> Connection:
    return Connection(core or core_of(PROFILE), server=server, server_port=80).open()


class TestHttp:
    @pytest.mark.parametrize(
        "request_",
        [
            REQUEST,
            b"GET /?falun HTTP/1.1\r\nHost: innocent.example\r\n\r\n",
            b"POST /ultrasurf HTTP/1.1\r\nHost: innocent.example\r\n\r\n",
        ],
    )
    def test_three_rsts_to_each_end_at_0_1460_and_4380(self, request_: bytes) -> None:
        connection = http()
        decision = connection.send(request_)
        assert decision.accept
        to_client, to_server = forged(decision, CLIENT), forged(decision, SERVER)
        assert [one.sequence - connection.server_sequence for one in to_client] == [0, 1460, 4380]
        assert [one.sequence - connection.client_sequence for one in to_server] == [0, 1460, 4380]
        assert {one.flags for one in to_client + to_server} == {RST}

    def test_the_second_request_of_a_connection_is_read_too(self) -> None:
        connection = http()
        assert passed(connection.send(b"GET / HTTP/1.1\r\nHost: innocent.example\r\n\r\n"))
        assert connection.send(REQUEST).injected == 6

    def test_a_request_of_a_client_outside_is_answered_too(self) -> None:
        connection = Connection(core_of(PROFILE), client=SERVER, server=CLIENT, server_port=80).open()
        assert connection.send(REQUEST).injected == 6

    def test_segments_in_any_order_do_not_evade(self) -> None:
        connection = http()
        start = connection.client_sequence
        connection.client_sequence = start + 20
        assert passed(connection.send(REQUEST[20:]))
        connection.client_sequence = start
        assert connection.send(REQUEST[:20]).injected


class TestResidual:
    def certain(self) -> Connection:
        """A connection on which the same key was matched seven times; all at the time 0."""
        connection = http()
        for _ in range(TRIGGERS_UNTIL_CERTAIN):
            connection.send(REQUEST)
        return connection

    def test_it_lasts_90_seconds(self) -> None:
        before = self.certain()
        assert before.again(t=89.9).send(flags=SYN).injected == 2
        assert passed(before.again(t=90.1).send(flags=SYN))

    def test_a_trigger_starts_the_90_seconds_anew(self) -> None:
        before = self.certain()
        before.t = 60.0
        before.send(REQUEST)
        assert before.again(t=149.9).send(flags=SYN).injected
        assert passed(before.again(t=150.1).send(flags=SYN))

    def test_hit_packets_pass_and_both_ends_get_rsts(self) -> None:
        decision = self.certain().again(t=1.0).send(flags=SYN)
        assert decision.accept
        assert [len(forged(decision, end)) for end in (CLIENT, SERVER)] == [1, 1]

    def test_it_is_a_3_tuple(self) -> None:
        core = self.certain().core
        assert Connection(core, 50000, server_port=80).send(flags=SYN).injected
        assert passed(Connection(core, 50000, server_port=81).send(flags=SYN))
        assert passed(Connection(core, 50000, server_port=80, client="192.0.2.11").send(flags=SYN))
        assert passed(Connection(core, 50000, server_port=80, server="203.0.113.11").send(flags=SYN))

    def share(self, triggers: int, flows: int = 1000, server: str = SERVER) -> float:
        core = core_of(PROFILE)
        connection = http(core, server=server)
        for _ in range(triggers):
            connection.send(REQUEST)
        later = [Connection(core, 41000 + number, server=server, server_port=80) for number in range(flows)]
        return sum(not passed(one.send(flags=SYN)) for one in later) / flows

    @pytest.mark.parametrize("triggers", [1, 6])
    def test_50_to_75_percent_of_later_connections_are_hit(self, triggers: int) -> None:
        # Which of them is the key's own. Four standard deviations of 1000 draws are 6.3 and 5.5 percent.
        shares = [self.share(triggers, server=f"203.0.113.{host}") for host in range(1, 7)]
        assert all(0.437 < share < 0.805 for share in shares)
        assert max(shares) - min(shares) > 0.1

    def test_the_share_is_drawn_evenly_for_each_key(self) -> None:
        core = core_of(PROFILE)
        for number in range(1000):
            http(core, server=f"198.18.{number >> 8}.{number & 255}").send(REQUEST)
        shares = [entry.probability for entry in core.residuals.entries()]
        assert len(shares) == 1000
        assert 0.5 <= min(shares) < 0.505
        assert 0.745 < max(shares) <= 0.75

    def test_all_are_hit_after_7_triggers(self) -> None:
        assert self.share(TRIGGERS_UNTIL_CERTAIN) == 1


class TestTls:
    def test_three_rst_acks_of_one_sequence_number_to_each_end(self) -> None:
        connection = Connection(core_of(PROFILE)).open()
        decision = connection.send(HELLO)
        assert decision.accept
        to_client, to_server = forged(decision, CLIENT), forged(decision, SERVER)
        assert [one.sequence for one in to_client] == [connection.server_sequence] * 3
        assert [one.sequence for one in to_server] == [connection.client_sequence] * 3
        assert {one.flags for one in to_client + to_server} == {RST | ACK}

    def test_several_records_evade(self) -> None:
        connection = Connection(core_of(PROFILE)).open()
        assert left_alone(connection, in_two_records(HELLO))
        assert passed(connection.send(b"more"))

    def test_over_ipv6_too(self) -> None:
        connection = Connection(core_of(PROFILE), client="2001:db8:1::10", server="2001:db8:2::10").open()
        assert connection.send(HELLO).injected == 6

    def test_as_of_2006_records_were_not_put_together_either(self) -> None:
        connection = Connection(
            core_of(PROFILE, entries("blocked"), entries("blocked-2006", "messenger.example"))
        ).open()
        assert left_alone(connection, in_two_records(HELLO))

    def test_as_of_2006(self) -> None:
        core = core_of(PROFILE, entries("blocked"), entries("blocked-2006", "messenger.example"))
        connection = Connection(core).open()
        decision = connection.send(HELLO)
        assert [one.sequence - connection.server_sequence for one in forged(decision, CLIENT)] == [0, 1460, 4380]
        assert [one.sequence - connection.client_sequence for one in forged(decision, SERVER)] == [0, 1460, 4380]

    def test_one_byte_segments_do_not_evade(self) -> None:
        connection = Connection(core_of(PROFILE)).open()
        decisions = [connection.send(HELLO[i : i + 1]) for i in range(len(HELLO))]
        assert all(passed(decision) for decision in decisions[:-1])
        assert decisions[-1].injected == 6

    def test_segments_in_reverse_order_do_not_evade(self) -> None:
        connection = Connection(core_of(PROFILE)).open()
        start = connection.client_sequence
        decisions = []
        for offset in range(len(HELLO) // 100 * 100, -1, -100):
            connection.client_sequence = start + offset
            decisions.append(connection.send(HELLO[offset : offset + 100]))
        assert all(passed(decision) for decision in decisions[:-1])
        assert decisions[-1].injected

    def test_innocents_are_offloaded_at_once(self) -> None:
        connection = Connection(core_of(PROFILE)).open()
        assert left_alone(connection, INNOCENT)

    def test_other_protocols_are_offloaded_at_once(self) -> None:
        connection = Connection(core_of(PROFILE)).open()
        assert left_alone(connection, b"\x05\x01\x00")


class TestEsni:
    def triggered(self, client: str = CLIENT) -> Connection:
        connection = Connection(core_of(PROFILE), client=client).open()
        assert passed(connection.send(ESNI))
        return connection

    def test_it_starts_one_second_late(self) -> None:
        connection = self.triggered()
        connection.t = 0.99
        assert passed(connection.send(b"more"))
        connection.t = 1.01
        assert vanished(connection.send(b"more"))

    def test_only_client_to_server_packets_vanish(self) -> None:
        connection = self.triggered()
        connection.t = 2.0
        assert passed(connection.receive(b"data"))
        assert vanished(connection.send(flags=RST))

    def test_it_lasts_120_to_180_seconds(self) -> None:
        core = core_of(PROFILE)
        durations = []
        for number in range(1000):
            connection = Connection(core, server=f"198.18.{number >> 8}.{number & 255}").open()
            (block,) = connection.send(ESNI).blocked
            durations.append(block.seconds)
        assert 120 <= min(durations) < 121
        assert 179 < max(durations) <= 180

    def test_it_ends_for_new_connections(self) -> None:
        connection = Connection(core_of(PROFILE)).open()
        (block,) = connection.send(ESNI).blocked
        end = block.begins + block.seconds
        assert vanished(connection.again(t=end - 0.1).send(flags=SYN))
        assert passed(connection.again(t=end + 0.1).send(flags=SYN))

    def test_triggering_again_does_not_start_the_time_anew(self) -> None:
        connection = Connection(core_of(PROFILE)).open()
        (block,) = connection.send(ESNI).blocked
        other = Connection(connection.core, 40001).open()
        other.t = 0.9
        assert passed(other.send(ESNI))
        assert passed(connection.again(t=block.begins + block.seconds + 0.1).send(flags=SYN))

    def test_it_is_a_3_tuple(self) -> None:
        core = self.triggered().core
        for port, server_port, hit in ((50000, 443, True), (50000, 8443, False)):
            later = Connection(core, port, server_port=server_port)
            later.t = 10.0
            assert vanished(later.send(flags=SYN)) == hit

    def test_extension_0xffce_alone(self) -> None:
        connection = Connection(core_of(PROFILE)).open()
        ech = hello((0xFE0D, bytes(100)), sni(b"innocent.example"))
        assert left_alone(connection, ech)
        connection.t = 10.0
        assert passed(connection.send(b"more"))


class TestAddresses:
    @pytest.mark.parametrize("list_", ["reset-addresses", "reset-443-addresses"])
    def test_three_rst_acks_for_the_syn_and_three_for_the_syn_ack(self, list_: str) -> None:
        connection = Connection(core_of(PROFILE, entries(list_, "203.0.113.0/24")))
        for decision, sequence in (
            (connection.send(flags=SYN), 0),
            (connection.receive(flags=SYN | ACK), SERVER_ISN + 1),
        ):
            assert decision.accept
            made = forged(decision, CLIENT)
            assert [(one.sequence, one.flags) for one in made] == [(sequence, RST | ACK)] * 3
            assert decision.injected == 3
            assert {one.acknowledgment for one in made} == {connection.client_sequence}

    def test_a_bare_ack_is_not_answered(self) -> None:
        connection = Connection(core_of(PROFILE, entries("reset-addresses", SERVER))).open()
        assert passed(connection.send(flags=ACK))

    @pytest.mark.parametrize("server_port", [80, 444, 8443])
    def test_2025_was_port_443_only(self, server_port: int) -> None:
        core = core_of(PROFILE, entries("reset-443-addresses", "0.0.0.0/0", "::/0"))
        assert passed(Connection(core, server_port=server_port).send(flags=SYN))
        assert Connection(core).send(flags=SYN).injected == 3

    def test_2023_was_any_port(self) -> None:
        core = core_of(PROFILE, entries("reset-addresses", SERVER))
        assert Connection(core, server_port=8443).send(flags=SYN).injected == 3
        assert passed(Connection(core, server="203.0.113.11").send(flags=SYN))

    @pytest.mark.parametrize("list_", ["reset-addresses", "reset-443-addresses"])
    def test_udp_is_left_alone(self, list_: str) -> None:
        assert core_of(PROFILE, entries(list_, SERVER)).decide(udp_packet(b"x")) == Decision()

    def test_nothing_happens_to_addresses_unless_a_list_has_them(self) -> None:
        assert passed(Connection(core_of(PROFILE)).send(flags=SYN))

    def test_the_kernel_asks_about_first_packets_only_if_a_list_has_them(self) -> None:
        assert not plan(core_of(PROFILE).compiled).syn
        assert plan(core_of(PROFILE, entries("reset-addresses", SERVER)).compiled).syn
