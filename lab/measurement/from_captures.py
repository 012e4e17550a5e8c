"""t0, tts and ttr of each episode, from the captures alone: the second observer, which reads no events.

What it goes by: the censor's two interfaces show what the censor did (a packet of the measured flows that went in and
did not come out, or came out without having gone in); the TLS key log opens the client's connections, so that messages
and their end-to-end acks can be told apart from everything else. It shares no code with `episodes`.

Two limits. A message queued right at t0 may count as born before it for one observer and after it for the other: ttr
then differs by up to one send interval. And no capture shows that a block was lifted: a path that came back only then
has a ttr here, while the events say it was not recovered.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from client.messages import Ack, Message, RecordError
from client.messages import Record as MessengerRecord
from client.messages import decode as decode_record
from lab.measurement.packets import TCP, Endpoint, Packet, read
from lab.measurement.streams import Conversation, Stream, conversations
from lab.measurement.tls_records import KeyLog, Record, decrypt, parse_key_log
from lab.measurement.websocket_frames import messages

_HOLD_SECONDS, _HOLD_GAP_SECONDS = 2.0, 1.0  # DESIGN.md: what makes a recovery
_CROSSING_SECONDS = 0.25  # a packet comes out of the censor within this, or it did not come out
_CLOCK_SLACK_SECONDS = 0.002  # the two interfaces' stamps are taken on different CPUs
_DNS_PORT = 53

MessageKey = tuple[int, int]  # session, id
Flow = tuple[Endpoint, Endpoint]


class EpisodeTimes(NamedTuple):
    """One episode as the captures show it; `t0` and `failed_back` since the run's start, the others since t0."""

    t0: float
    tts_seconds: float | None
    ttr_seconds: float | None
    failed_back: float | None


class MessageSeen(NamedTuple):
    """A message, or an ack of one, on one of the client's connections; `t`: its first byte out, its last byte in."""

    t: float
    key: MessageKey
    direct: bool
    opened: float  # when the connection was


def read_episodes(
    *,
    home: str | Path,
    uplink: str | Path,
    key_log: str | Path,
    client_addresses: Iterable[str],
    messenger_addresses: Iterable[str],
    messenger_names: Iterable[str],
    start: float,
    client: str | Path | None = None,
) -> list[EpisodeTimes]:
    """The episodes of a run from its files.

    `home`, `uplink`: the pcaps of the censor's interfaces; `client`: of the client's own (else `home` stands in);
    `start`: CLOCK_REALTIME of the run's start (`clock.realtime` in summary.json). Raises OSError, and ValueError
    for a file that is not pcap.
    """
    clients, messengers = frozenset(client_addresses), frozenset(messenger_addresses)
    home_packets = list(read(home, start=start))
    concerned = concerns(clients, messengers, messenger_names)
    touched = acted_on(home_packets, list(read(uplink, start=start)), clients, concerned)
    seen_at_client = home_packets if client is None else list(read(client, start=start))
    keys = parse_key_log(Path(key_log).read_text(encoding="ascii"))
    sent, acked = messages_and_acks(conversations(seen_at_client, clients), keys, messengers)
    return episodes(touched, sent, acked)


def hit_times(
    *,
    home: str | Path,
    uplink: str | Path,
    client_addresses: Iterable[str],
    messenger_addresses: Iterable[str],
    messenger_names: Iterable[str],
    start: float,
) -> list[float]:
    """When the censor acted on the measured flows, seconds since run start, for a censor that tells nothing itself.

    Arguments and errors as of `read_episodes`.
    """
    clients = frozenset(client_addresses)
    concerned = concerns(clients, frozenset(messenger_addresses), messenger_names)
    return acted_on(list(read(home, start=start)), list(read(uplink, start=start)), clients, concerned)


def concerns(
    client_addresses: frozenset[str], messenger_addresses: frozenset[str], messenger_names: Iterable[str]
) -> Callable[[Packet], bool]:
    """Whether a packet belongs to the measured flows: the client and the messenger, or DNS about its name."""
    questions = [
        b"".join(bytes([len(label)]) + label for label in name.lower().encode().split(b".")) for name in messenger_names
    ]

    def test(packet: Packet) -> bool:
        for near, far in ((packet.source, packet.destination), (packet.destination, packet.source)):
            if near[0] in client_addresses:
                about = far[1] == _DNS_PORT and any(q in packet.payload.lower() for q in questions)
                return about or far[0] in messenger_addresses
        return False

    return test


def acted_on(
    home: Sequence[Packet],
    uplink: Sequence[Packet],
    client_addresses: frozenset[str],
    concerned: Callable[[Packet], bool],
) -> list[float]:
    """When the censor acted on packets of the concerned flows, in order.

    A dropped packet counts when it went in; an injected one when the packet came by that it answers: the client's
    last one of its flow before it. The last moments are left out: what was still crossing cannot be judged.
    """
    if not home or not uplink:
        return []
    horizon = max(home[-1].t, uplink[-1].t) - _CROSSING_SECONDS
    sides = [[p for p in side if p.t <= horizon and concerned(p)] for side in (home, uplink)]
    (home_out, home_in), (uplink_out, uplink_in) = (
        ([p for p in side if p.source[0] in client_addresses], [p for p in side if p.source[0] not in client_addresses])
        for side in sides
    )
    dropped_out, injected_out = _crossing(home_out, uplink_out)
    dropped_in, injected_in = _crossing(uplink_in, home_in)
    by_flow: dict[Flow, list[float]] = defaultdict(list)
    for packet in home_out:
        by_flow[packet.source, packet.destination].append(packet.t)
    triggers = [_last_before(by_flow[p.source, p.destination], p.t) for p in injected_out]
    triggers += [_last_before(by_flow[p.destination, p.source], p.t) for p in injected_in]
    return sorted([p.t for p in dropped_out + dropped_in] + triggers)


def _last_before(moments: Sequence[float], t: float) -> float:
    index = bisect_right(moments, t)
    return moments[index - 1] if index else t


def _crossing(entering: Sequence[Packet], leaving: Sequence[Packet]) -> tuple[list[Packet], list[Packet]]:
    """(packets that went in and did not come out, packets that came out and had not gone in)."""
    waiting: dict[tuple[Flow, bytes, bytes], deque[Packet]] = defaultdict(deque)
    for packet in leaving:
        waiting[(packet.source, packet.destination), packet.header, packet.payload].append(packet)
    lost = []
    for packet in entering:
        same = waiting.get(((packet.source, packet.destination), packet.header, packet.payload))
        if same and -_CLOCK_SLACK_SECONDS <= same[0].t - packet.t <= _CROSSING_SECONDS:
            same.popleft()
        else:
            lost.append(packet)
    extra = sorted((packet for queue in waiting.values() for packet in queue), key=lambda packet: packet.t)
    # A large packet may have been cut into segments on its way, or segments joined: then the bytes count.
    return (
        [p for p in lost if not _covered(p, leaving, -_CLOCK_SLACK_SECONDS, _CROSSING_SECONDS)],
        [p for p in extra if not _covered(p, entering, -_CROSSING_SECONDS, _CLOCK_SLACK_SECONDS)],
    )


def _covered(packet: Packet, others: Sequence[Packet], earliest: float, latest: float) -> bool:
    """Whether `others` of the same flow, from `earliest` to `latest` around the packet, carry all its bytes."""
    if not packet.payload or packet.protocol != TCP:
        return False
    reached = packet.sequence
    end = packet.sequence + len(packet.payload)
    first = bisect_left(others, packet.t + earliest, key=lambda other: other.t)
    for other in others[first:]:
        if other.t > packet.t + latest or reached >= end:
            break
        if (other.source, other.destination) == (packet.source, packet.destination) and other.sequence <= reached:
            reached = max(reached, other.sequence + len(other.payload))
    return reached >= end


def messages_and_acks(
    connections: Iterable[Conversation], key_log: KeyLog, messenger_addresses: frozenset[str]
) -> tuple[list[MessageSeen], list[MessageSeen]]:
    """Every copy of a message that the client sent and every end-to-end ack that it got, in order."""
    sent: list[MessageSeen] = []
    acked: list[MessageSeen] = []
    for connection in connections:
        direct, opened = connection.server[0] in messenger_addresses, connection.opened
        upstream, downstream = connection.upstream, connection.downstream
        for_server, for_client = decrypt(bytes(upstream.data), bytes(downstream.data), key_log)
        for begun, _, record in _messenger_records(upstream, for_server):
            if isinstance(record, Message):
                sent.append(MessageSeen(begun, (record.session, record.id), direct, opened))
        for _, done, record in _messenger_records(downstream, for_client):
            if isinstance(record, Ack):
                acked.append(MessageSeen(done, (record.session, record.id), direct, opened))
    return sorted(sent), sorted(acked)


def _messenger_records(stream: Stream, records: Sequence[Record]) -> list[tuple[float, float, MessengerRecord]]:
    """The messenger's records in one direction, each with the times of its first and of its last byte."""
    plain = bytearray()
    ends = []
    for record in records:
        plain += record.data
        ends.append(len(plain))
    found = []
    for message in messages(bytes(plain)):
        first, last = records[bisect_right(ends, message.start)], records[bisect_right(ends, message.end - 1)]
        try:
            decoded = decode_record(message.data)
        except RecordError:
            continue
        found.append((stream.time_of(first.start), stream.time_of(last.end - 1), decoded))
    return found


def episodes(touched: Sequence[float], sent: Sequence[MessageSeen], acked: Sequence[MessageSeen]) -> list[EpisodeTimes]:
    """The episodes: each begins with the first packet acted on after the previous one had failed back.

    `touched`: when the censor acted; `sent`, `acked`: in order of time.
    """
    births: dict[MessageKey, float] = {}
    for message in sent:
        births.setdefault(message.key, message.t)
    acks = _first_acks(births, acked)
    found: list[EpisodeTimes] = []
    ready = float("-inf")
    while (t0 := next((t for t in touched if t > ready), None)) is not None:
        switched = next((m.t for m in sent if m.t >= t0 and not m.direct), None)
        recovered = _recovered(acks, births, t0)
        ready_again = next((a.t for a in acks if a.direct and a.opened > t0), None)
        found.append(
            EpisodeTimes(
                t0=t0,
                tts_seconds=None if switched is None else switched - t0,
                ttr_seconds=None if recovered is None else recovered - t0,
                failed_back=ready_again,
            )
        )
        if ready_again is None:
            break
        ready = ready_again
    return found


def _first_acks(births: Iterable[MessageKey], acked: Sequence[MessageSeen]) -> list[MessageSeen]:
    """The first ack of each message, in order of time. An ack stands for all messages before it in its session."""
    waiting: dict[int, list[int]] = defaultdict(list)
    for session, id_ in sorted(births):
        waiting[session].append(id_)
    first: dict[MessageKey, MessageSeen] = {}
    for ack in acked:
        session, last = ack.key
        ids = waiting[session]
        covered = bisect_right(ids, last)
        for id_ in [*ids[:covered], last]:
            first.setdefault((session, id_), ack._replace(key=(session, id_)))
        del ids[:covered]
    return sorted(first.values())


def _recovered(acks: Sequence[MessageSeen], births: dict[MessageKey, float], t0: float) -> float | None:
    """The first ack of a message born after t0 behind which acks go on for the hold time."""
    later = [ack for ack in acks if ack.t > t0]
    for index, ack in enumerate(later):
        if births.get(ack.key, t0) <= t0:
            continue
        end = ack.t + _HOLD_SECONDS
        moments = [a.t for a in later[index:] if a.t < end]
        if later[-1].t >= end and all(b - a <= _HOLD_GAP_SECONDS for a, b in pairwise([*moments, end])):
            return ack.t
    return None
