"""OONI-style measurements: what the client met on its paths, as one JSON object a run (`ooni.jsonl`).

The shape is OONI's data format 0.2.0 (specs df-000 to df-008), test name `fallback_path`; what OONI has no field for
is under `x_` keys. `t0` and `t` are seconds since the measurement's start. Nothing here identifies the machine: the
probe's network is the lab's.
"""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from client.routes import STAGES
from lab.measurement.accounts import count_messages
from lab.measurement.episodes import Event
from lab.measurement.summary import Clock, to_microseconds
from lab.routes import PROXY_PORT, first_hop, proxies
from lab.topology import ORIGIN_NAME, Topology, standard
from sidedoor import __version__

_EXTENSIONS = {"dnst": 0, "tcpconnect": 0, "tlshandshake": 0, "netevents": 0}


def measurements(
    events: Iterable[Event], *, clock: Clock, scenario: str, topology: Topology | None = None
) -> Iterator[bytes]:
    """The lines of `ooni.jsonl` for one run: its events (`t` since run start) as a measurement, line feed included."""
    log = sorted(events, key=lambda event: float(event["t"]))
    yield msgspec.json.encode(to_microseconds(_measurement(log, clock, scenario, topology or standard()))) + b"\n"


def _measurement(log: Sequence[Event], clock: Clock, scenario: str, topology: Topology) -> dict[str, Any]:
    started = datetime.datetime.fromtimestamp(clock.realtime, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
    return {
        "data_format_version": "0.2.0",
        "measurement_start_time": started,
        "test_start_time": started,
        "test_name": "fallback_path",
        "test_version": "0.1.0",
        "test_runtime": float(log[-1]["t"]) if log else 0.0,
        "input": f"wss://{ORIGIN_NAME}/messages",
        "probe_asn": "AS0",
        "probe_cc": "ZZ",
        "probe_ip": "127.0.0.1",
        "probe_network_name": "Sidedoor lab",
        "resolver_asn": "AS0",
        "resolver_ip": topology.nameserver,
        "resolver_network_name": "Sidedoor lab",
        "report_id": "",
        "software_name": "sidedoor",
        "software_version": __version__,
        "annotations": {"scenario": scenario, "platform": "linux", "architecture": platform.machine()},
        "extensions": _EXTENSIONS,
        "test_keys": _test_keys(log, topology),
    }


def _test_keys(log: Sequence[Event], topology: Topology) -> dict[str, Any]:
    dials = [_Dial(event, number, topology) for number, event in enumerate(_dial_events(log), 1)]
    stood = [event for event in log if event["event"] == "route_dialed"]
    proxied = [event["route"] for event in stood if event["route"] in proxies(topology)]
    messages = count_messages(log)
    interrupted = any(event["event"] == "run_ended" and event["outcome"] == "interrupted" for event in log)
    lost = f"unknown_failure: {messages.lost} messages lost" if messages.lost else None
    return {
        "failure": "interrupted" if interrupted else lost,
        "bootstrap_time": float(stood[0]["t"]) if stood else 0.0,
        "socksproxy": _address_text(_addresses(topology, proxied[0])[0], PROXY_PORT) if proxied else None,
        "queries": [entry for dial in dials for entry in dial.queries()],
        "tcp_connect": [entry for dial in dials for entry in dial.tcp_connect()],
        "tls_handshakes": [entry for dial in dials for entry in dial.tls_handshakes()],
        "network_events": [entry for dial in dials for entry in dial.network_events()],
        "x_messages": msgspec.to_builtins(messages),
        "x_path": [
            {"t": event["t"], "event": event["event"], "old": event.get("old"), "new": event.get("new")}
            for event in log
            if event["event"] in ("route_switched", "failed_back")
        ],
    }


def _dial_events(log: Sequence[Event]) -> Iterator[Event]:
    """The dials as they ended. A failed probe is a dial, too; the same failure is not told twice."""
    failed: tuple[Any, ...] | None = None
    for event in log:
        if event["event"] == "route_failed":
            failed = (event["route"], event["failure"])
            yield event
        elif event["event"] == "route_dialed":
            yield event
        elif event["event"] == "probe_ended" and not event["ok"]:
            if failed != (event["route"], event["failure"]):
                yield event
            failed = None


class _Dial:
    """One dial: the stages that it passed with their times, and the stage that it failed at, if any."""

    def __init__(self, event: Event, number: int, topology: Topology) -> None:
        stages: Mapping[str, float] = event.get("stages") or {}
        self.route: str = event["route"]
        self.failure: str | None = event.get("failure")
        self.number: int = event.get("connection", number)
        self._failed_at: str | None = event.get("stage", "tcp") if self.failure else None
        self._topology = topology
        self._addresses = self._remotes(event.get("local"))
        self._times: dict[str, tuple[float, float]] = {}
        at = float(event["t"]) - sum(stages.values())
        for stage in STAGES:
            if stage in stages:
                self._times[stage] = (at, at + stages[stage])
                at += stages[stage]
        if self._failed_at and self._failed_at not in self._times:
            self._times[self._failed_at] = (at, float(event["t"]))

    def _remotes(self, local: str | None) -> list[str]:
        """The address dialed: that of the local end's family; all that were tried where no connection stood."""
        addresses = _addresses(self._topology, self.route)
        if local is None:
            return addresses
        return [address for address in addresses if (":" in address) == local.startswith("[")] or addresses

    def _entry(self, stage: str) -> dict[str, Any] | None:
        """What all entries share; None if the dial did not get to that stage."""
        if stage not in self._times:
            return None
        t0, t = self._times[stage]
        return {
            "failure": self.failure if stage == self._failed_at else None,
            "t0": t0,
            "t": t,
            "tags": [f"route={self.route}"],
            "transaction_id": self.number,
        }

    @property
    def _port(self) -> int:
        return first_hop(self._topology, self.route).port

    def queries(self) -> list[dict[str, Any]]:
        entry = self._entry("dns")
        if entry is None or self.route != "direct":
            return []
        server = _address_text(self._topology.nameserver, 53)
        # Both types are asked side by side, and the zone answers both; the dial then uses one of the addresses.
        answers = [] if entry["failure"] else [_answer(address) for address in _addresses(self._topology, self.route)]
        types = ("A", "AAAA") if entry["failure"] else sorted({answer["answer_type"] for answer in answers})
        return [
            entry
            | {
                "hostname": ORIGIN_NAME,
                "query_type": query_type,
                "engine": "udp",
                "resolver_address": server,
                "answers": [answer for answer in answers if answer["answer_type"] == query_type] or None,
            }
            for query_type in types
        ]

    def tcp_connect(self) -> list[dict[str, Any]]:
        entry = self._entry("tcp")
        if entry is None:
            return []
        failure = entry.pop("failure")
        status = {"failure": failure, "success": failure is None}
        return [entry | {"ip": address, "port": self._port, "status": status} for address in self._addresses]

    def tls_handshakes(self) -> list[dict[str, Any]]:
        entry = self._entry("tls")
        if entry is None:
            return []
        return [
            entry
            | {
                "network": "tcp",
                "address": _address_text(self._addresses[0], self._port),
                "server_name": ORIGIN_NAME,
                "cipher_suite": "",
                "tls_version": "",
                "negotiated_protocol": "",
                "no_tls_verify": False,
                "peer_certificates": [],
            }
        ]

    def network_events(self) -> list[dict[str, Any]]:
        entry = self._entry("tcp")
        if entry is None:
            return []
        return [
            entry | {"operation": "connect", "address": _address_text(address, self._port), "proto": "tcp"}
            for address in self._addresses
        ]


def _addresses(topology: Topology, route: str) -> list[str]:
    """Where a route's first hop is: the origin, or the proxy whose name the route has."""
    return list(first_hop(topology, route).addresses)


def _answer(address: str) -> dict[str, Any]:
    kind, key = ("AAAA", "ipv6") if ":" in address else ("A", "ipv4")
    return {"answer_type": kind, key: address, "ttl": None}


def _address_text(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
