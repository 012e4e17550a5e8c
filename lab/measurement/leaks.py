"""Leaks: what the client still sent to the messenger, or with its name, after it had switched to a proxy.

From the packets on the censor's home side, which is where everything that leaves the client is seen. Counted from
each switch and a grace of 1 s on, until messages go out on the direct path again. Not counted: what goes to a proxy
(the name inside a SOCKS request is the censor's gain, not a leak of the route), and deliberate probes, which the
client announces (`probe_started`, `probe_ended`): by their sockets where they list them, else every flow that begins
while a probe is under way. A dial of the direct path that is not announced as a probe is a leak. Counted apart, too:
the kernel's bare RSTs to segments that come late for a connection that was given up (RFC 9293, 3.10.7.1): they carry
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from lab.measurement.episodes import Event
from lab.measurement.packets import ACK, FIN, PSH, RST, SYN, TCP, UDP, Endpoint, Packet
from lab.routes import STRAIGHT

GRACE_SECONDS = 1.0
EXAMPLES = 5
# A probe is announced by its own process: a packet may be seen this much before or after the announcement.
_SLACK_SECONDS = 0.05

_FLAG_NAMES = {"SYN": SYN, "FIN": FIN, "RST": RST, "PSH": PSH, "ACK": ACK}

Flow = tuple[Endpoint, Endpoint]


class Leaks(msgspec.Struct, frozen=True, kw_only=True):
    """`packets` is None where there was no capture to look at; `capture_dropped`: packets the captures missed.

    `plaintext`: in how many places the users' words could be read (`lab.measurement.plaintext`); None: not looked for.

    `probe_bytes`: IP bytes that the client sent for probes of the direct path while it was on a proxy.
    `reset_answers`: bare RSTs that the client's kernel sent in answer to late segments of abandoned connections.
    """

    packets: int | None = None
    reset_answers: int | None = None
    plaintext: int | None = None
    examples: list[str] = []
    probe_bytes: int | None = None
    capture_dropped: int | None = None


def find_leaks(
    packets: Iterable[Packet],
    events: Iterable[Event],
    *,
    client_addresses: Iterable[str],
    messenger_addresses: Iterable[str],
    messenger_names: Iterable[str],
    proxy_addresses: Iterable[str] = (),
    capture_dropped: int | None = None,
) -> Leaks:
    """Leaks and the probes' cost from one run's home-side packets (`t` since run start) and its events."""
    log = sorted(events, key=lambda event: float(event["t"]))
    names = [name.lower().encode() for name in messenger_names]
    needles = [*names, *(_dns_labels(name) for name in names)]
    clients, messengers, proxies = frozenset(client_addresses), frozenset(messenger_addresses), set(proxy_addresses)
    leaving = [p for p in packets if p.source[0] in clients and p.destination[0] not in proxies]
    concerned = [p for p in leaving if p.destination[0] in messengers or _has_name(p, needles)]
    probes = _probe_flows(concerned, log)
    windows = _windows_on_proxy(log)
    unexcused = [
        p
        for p in concerned
        if (p.source, p.destination) not in probes and any(start <= p.t < end for start, end in windows)
    ]
    leaked = [p for p in unexcused if not _is_bare_reset(p)]
    return Leaks(
        packets=len(leaked),
        reset_answers=len(unexcused) - len(leaked),
        examples=[_describe(packet) for packet in leaked[:EXAMPLES]],
        # A probe's connection may become the direct path: from then on it is no probe any more.
        probe_bytes=sum(
            p.wire_bytes
            for p in concerned
            if (p.source, p.destination) in probes and any(a - GRACE_SECONDS <= p.t < b for a, b in windows)
        ),
        capture_dropped=capture_dropped,
    )


def _is_bare_reset(packet: Packet) -> bool:
    """An answer to a segment for no connection: RST without ACK; an abort's own RST has both (RFC 9293, 3.10.7.1)."""
    return packet.protocol == TCP and packet.flags == RST and not packet.payload


def _dns_labels(name: bytes) -> bytes:
    """The name as a question carries it (RFC 1035 section 4.1.2), in lower case."""
    return b"".join(bytes([len(label)]) + label for label in name.split(b"."))


def _has_name(packet: Packet, needles: Sequence[bytes]) -> bool:
    if not packet.payload:
        return False
    payload = packet.payload.lower()  # resolvers may mix the case of a question's letters
    return any(needle in payload for needle in needles)


def _windows_on_proxy(log: Sequence[Event]) -> list[tuple[float, float]]:
    """From each switch to a proxy, with the grace, to the next return to the origin's own addresses, or to a new start
    of the client, which knows nothing of a switch."""
    windows: list[tuple[float, float]] = []
    start: float | None = None
    for event in log:
        started = event["event"] == "role_started" and event["role"] == "client"
        if event["event"] not in ("route_switched", "failed_back") and not started:
            continue
        if not started and event["new"] not in STRAIGHT:
            start = event["t"] + GRACE_SECONDS if start is None else start
        elif start is not None:
            windows.append((start, float(event["t"])))
            start = None
    return windows if start is None else [*windows, (start, float("inf"))]


def _probe_flows(packets: Iterable[Packet], log: Sequence[Event]) -> set[Flow]:
    """The flows that are probes: announced by their sockets, or begun while a probe was under way.

    Only a flow's first packet decides: a SYN that is sent again later must not hide behind a probe that is not its own.
    """
    probes = [event for event in log if event["event"] in ("probe_started", "probe_ended")]
    announced = {local for event in probes for local in (event.get("local"), *event.get("sockets", ())) if local}
    under_way = _under_way(probes)
    flows: set[Flow] = set()
    seen: set[Flow] = set()
    for packet in packets:
        flow = packet.source, packet.destination
        begins = flow not in seen and (packet.protocol == UDP or packet.flags & SYN)
        seen.add(flow)
        # TCP is told by its sockets where the probe lists them; the resolver's are not listed.
        within = begins and any(
            probe.start <= packet.t <= probe.end and (packet.protocol == UDP or not probe.lists_sockets)
            for probe in under_way
        )
        if within or _text(packet.source) in announced:
            flows.add(flow)
    return flows


class _Probe(NamedTuple):
    """When a probe of the direct path was under way, and whether its end lists its TCP sockets."""

    start: float
    end: float
    lists_sockets: bool


def _under_way(probes: Iterable[Event]) -> list[_Probe]:
    found: list[_Probe] = []
    open_since: list[float] = []
    for event in probes:
        if event["route"] != "direct":
            continue
        if event["event"] == "probe_started":
            open_since.append(float(event["t"]))
        elif open_since:
            start, end = open_since.pop(0) - _SLACK_SECONDS, event["t"] + _SLACK_SECONDS
            found.append(_Probe(start, end, "sockets" in event))
    return found + [_Probe(start - _SLACK_SECONDS, float("inf"), False) for start in open_since]


def _text(endpoint: Endpoint) -> str:
    """(address, port) as the events write it: 192.0.2.10:40000, [2001:db8::1]:40000."""
    address, port = endpoint
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _describe(packet: Packet) -> str:
    flow = f"{_text(packet.source)} > {_text(packet.destination)}"
    if packet.protocol == UDP:
        return f"{packet.t:.3f} s: udp {flow}, {packet.wire_bytes} bytes"
    flags = ", ".join(name for name, bit in _FLAG_NAMES.items() if packet.flags & bit) or "no flag"
    return f"{packet.t:.3f} s: tcp {flow}, {packet.wire_bytes} bytes, {flags}"
