"""The second observer: episodes out of crafted captures whose times are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.messages import Ack, Ping, Pong, encode
from lab.measurement.from_captures import (
    EpisodeTimes,
    MessageSeen,
    acted_on,
    concerns,
    episodes,
    messages_and_acks,
    read_episodes,
)
from lab.measurement.packets import Packet, parse
from lab.measurement.streams import conversations
from lab.measurement.tls_records import parse_key_log
from tests.unit.lab.measurement.traffic import (
    CLIENT,
    MESSENGER,
    PROXY,
    REALTIME,
    RESOLVER,
    Connection,
    Frame,
    Tls,
    message,
    pcap,
    tcp,
    udp,
    websocket,
)

CLIENTS, MESSENGERS = frozenset({CLIENT}), frozenset({MESSENGER})
QUESTION = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x09Messenger\x07eXample\0\0\x01\0\x01"
CONCERNED = concerns(CLIENTS, MESSENGERS, ["messenger.example"])


def packets(frames: list[Frame]) -> list[Packet]:
    return list(parse(pcap(frames), start=REALTIME))


def acted(home: list[Frame], uplink: list[Frame]) -> list[float]:
    end = (100.0, udp((CLIENT, 1), (RESOLVER, 99), b"the end"))
    return acted_on(packets([*home, end]), packets([*uplink, end]), CLIENTS, CONCERNED)


def chat(connection: Connection, start: float, end: float, first: int, *, passes: bool = True) -> int:
    """A message each 50 ms from `start` to `end`, each acked 10 ms later if the censor lets it pass; the next id."""
    id_, t = first, start
    while t < end - 1e-9:
        connection.put("up", t, "PA", connection.tls.up(message(id_)), passes=passes)
        if passes:
            record = websocket(encode(Ack("alice", "bob", 7, id_)))
            connection.put("down", t + 0.01, "PA", connection.tls.down(record))
        id_, t = id_ + 1, t + 0.05
    return id_


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two episodes: blocked at 2.0 and 10.0, proxy from 2.4 and 10.3, direct again from 6.5 and 14.5."""
    direct = [Connection(Tls(tmp_path), port) for port in (40001, 40002, 40003)]
    proxied = [Connection(Tls(tmp_path), port, (PROXY, 1080)) for port in (50001, 50002)]
    for connection, t in zip(
        [direct[0], proxied[0], direct[1], proxied[1], direct[2]], (0, 1, 6.4, 9, 14.4), strict=True
    ):
        connection.open(t)
    id_ = chat(direct[0], 0.1, 2.0, 1)
    chat(direct[0], 2.0, 2.3, id_, passes=False)
    id_ = chat(proxied[0], 2.4, 6.5, id_)
    id_ = chat(direct[1], 6.5, 10.0, id_)
    chat(direct[1], 10.0, 10.1, id_, passes=False)
    id_ = chat(proxied[1], 10.3, 14.5, id_)
    chat(direct[2], 14.5, 17.0, id_)
    everything = direct + proxied
    (tmp_path / "home.pcap").write_bytes(pcap([f for c in everything for f in c.home]))
    (tmp_path / "uplink.pcap").write_bytes(pcap([f for c in everything for f in c.uplink]))
    return tmp_path


@pytest.mark.parametrize("client", [None, "home.pcap"])
def test_both_episodes_are_found_with_their_times(run: Path, client: str | None) -> None:
    found = read_episodes(
        home=run / "home.pcap",
        uplink=run / "uplink.pcap",
        client=None if client is None else run / client,
        key_log=run / "keys.log",
        client_addresses=[CLIENT],
        messenger_addresses=[MESSENGER],
        messenger_names=["messenger.example"],
        start=REALTIME,
    )
    # The first message on the proxy is the one that was dropped at t0 (born then); the next one counts for ttr.
    assert [tuple(round(value or 0, 6) for value in episode) for episode in found] == [
        (2.0, 0.4, 0.46, 6.51),
        (10.0, 0.3, 0.36, 14.51),
    ]


def test_a_run_without_captured_packets_has_no_episode() -> None:
    assert acted_on([], [], CLIENTS, CONCERNED) == []


def test_what_passes_is_not_acted_on() -> None:
    question = udp((CLIENT, 5353), (RESOLVER, 53), QUESTION)
    assert acted([(1.0, question)], [(1.001, question)]) == []


def test_a_dropped_question_counts_whatever_the_case_of_its_letters() -> None:
    assert acted([(1.0, udp((CLIENT, 5353), (RESOLVER, 53), QUESTION))], []) == pytest.approx([1.0])


def test_a_forged_answer_counts_from_its_question() -> None:
    question, real = udp((CLIENT, 5353), (RESOLVER, 53), QUESTION), udp((RESOLVER, 53), (CLIENT, 5353), QUESTION + b"r")
    forged = udp((RESOLVER, 53), (CLIENT, 5353), QUESTION + b"f")
    home = [(1.0, question), (1.002, forged), (1.02, real)]
    assert acted(home, [(1.001, question), (1.019, real)]) == pytest.approx([1.0])


def test_a_reset_from_nowhere_counts_from_the_packet_it_answers() -> None:
    hello = tcp((CLIENT, 40000), (MESSENGER, 443), "PA", 10, 20, b"hello")
    to_client = tcp((MESSENGER, 443), (CLIENT, 40000), "RA", 20, 15)
    to_server = tcp((CLIENT, 40000), (MESSENGER, 443), "R", 15, 0)
    home, uplink = [(1.0, hello), (1.003, to_client)], [(1.001, hello), (1.004, to_server)]
    assert acted(home, uplink) == pytest.approx([1.0, 1.0])
    assert acted([(1.003, to_client)], []) == pytest.approx([1.003])  # nothing to answer: then its own moment


def test_an_answer_that_is_kept_from_the_client_counts() -> None:
    assert acted([], [(1.0, tcp((MESSENGER, 443), (CLIENT, 40000), "PA", 1, 1, b"x"))]) == pytest.approx([1.0])


def test_a_large_packet_cut_into_segments_has_passed() -> None:
    def part(start: int, end: int) -> bytes:
        return tcp((CLIENT, 40000), (MESSENGER, 443), "PA", 10 + start, 20, bytes(3000)[start:end])

    whole, halves = part(0, 3000), [(1.001, part(0, 1500)), (1.0011, part(1500, 3000))]
    assert acted([(1.0, whole)], halves) == []
    assert acted([(1.0, whole)], halves[:1]) == pytest.approx([1.0])
    other = (1.0005, tcp((CLIENT, 40001), (MESSENGER, 443), "PA", 10, 20, b"other"))
    assert acted([(1.0, whole), other], [*halves, (1.0006, other[1])]) == []


def test_a_retransmission_that_passes_later_does_not_hide_the_loss() -> None:
    data = tcp((CLIENT, 40000), (MESSENGER, 443), "PA", 10, 20, b"x")
    assert acted([(1.0, data), (2.0, data)], [(2.001, data)]) == pytest.approx([1.0])


def test_only_the_clients_own_flows_with_the_messenger_concern() -> None:
    (shop,) = packets([(0.0, udp((CLIENT, 1), (RESOLVER, 53), QUESTION.replace(b"Messenger", b"Passenger")))])
    (transit,) = packets([(0.0, udp(("192.0.2.20", 1), (MESSENGER, 443), b"x"))])
    assert not CONCERNED(shop)
    assert not CONCERNED(transit)


def test_other_records_and_unknown_keys_are_passed_over(tmp_path: Path) -> None:
    connection = Connection(Tls(tmp_path), 40000)
    connection.open(0.0)
    connection.put("up", 1.0, "PA", connection.tls.up(websocket(b"no record", mask=b"abcd") + message(3)))
    connection.put("up", 1.1, "PA", connection.tls.up(websocket(encode(Ping(1)), mask=b"abcd")))
    connection.put("down", 1.2, "PA", connection.tls.down(websocket(encode(Pong(1)))))
    talks = conversations(packets(connection.home), CLIENTS)
    keys = parse_key_log((tmp_path / "keys.log").read_text())
    assert messages_and_acks(talks, {}, MESSENGERS) == ([], [])
    ((t, key, direct, opened),), acks = messages_and_acks(talks, keys, MESSENGERS)
    assert (round(t, 6), key, direct, round(opened, 6), acks) == (1.0, (7, 3), True, 0.0, [])


def seen(t: float, id_: int, *, direct: bool = False, opened: float = 0.0) -> MessageSeen:
    return MessageSeen(t, (1, id_), direct, opened)


def test_never_recovered_is_said_so() -> None:
    sent = [seen(1.0, 1), seen(2.5, 2)]
    assert episodes([2.0], sent, [seen(1.1, 1)]) == [EpisodeTimes(2.0, 0.5, None, None)]
    assert episodes([2.0], sent[:1], []) == [EpisodeTimes(2.0, None, None, None)]


def test_a_recovery_must_hold() -> None:
    sent = [seen(2.0 + i / 10, i) for i in range(1, 80)]
    acks = [seen(2.5, 1), *(seen(4.0 + i / 10, i) for i in range(2, 40))]
    assert episodes([2.0], sent, acks)[0].ttr_seconds == pytest.approx(2.2)


def test_an_ack_of_an_old_message_is_no_recovery() -> None:
    sent = [seen(1.9, 1), *(seen(2.0 + i / 10, i) for i in range(2, 80))]
    acks = [seen(2.1, 1), MessageSeen(2.1, (2, 99), False, 0.0), *(seen(2.4 + i / 10, i) for i in range(2, 40))]
    assert episodes([2.0], sent, acks)[0].ttr_seconds == pytest.approx(0.6)


def test_an_ack_stands_for_all_before_it() -> None:
    sent = [seen(2.0 + i / 10, i) for i in range(1, 80)]
    acks = [seen(2.55, 5), *(seen(2.6 + i / 10, i) for i in range(6, 40))]
    assert episodes([2.0], sent, acks)[0].ttr_seconds == pytest.approx(0.55)
    acks = [seen(2.5, 1), *(seen(3.0 + i / 10, i) for i in range(10, 80, 10))]
    assert episodes([2.0], sent, acks)[0].ttr_seconds == pytest.approx(2.0), "the gap after the first ack is too long"
