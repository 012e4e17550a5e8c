"""OONI-style measurements: the shape, and what is in it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from lab.measurement.summary import Clock
from lab.ooni import measurements
from tests.unit.lab.measurement.story import run_events

CLOCK = Clock(monotonic=0.0, realtime=1_795_000_000.0)


def measure(events: list[dict[str, Any]]) -> dict[str, Any]:
    (line,) = measurements(events, clock=CLOCK, scenario="quickstart")
    assert line.endswith(b"\n")
    measurement = msgspec.json.decode(line)
    assert isinstance(measurement, dict)
    return measurement


def keys(*events: dict[str, Any]) -> dict[str, Any]:
    found = measure(list(events))["test_keys"]
    assert isinstance(found, dict)
    return found


def dial(t: float, event: str, route: str = "direct", **fields: Any) -> dict[str, Any]:
    return {"t": t, "source": "client", "event": event, "route": route} | fields


def test_the_frame() -> None:
    measurement = measure(run_events())
    assert measurement["data_format_version"] == "0.2.0"
    assert measurement["measurement_start_time"] == measurement["test_start_time"] == "2026-11-18 11:06:40"
    assert (measurement["test_name"], measurement["test_runtime"]) == ("fallback_path", 40.0)
    assert (measurement["probe_asn"], measurement["probe_cc"], measurement["probe_ip"]) == ("AS0", "ZZ", "127.0.0.1")
    assert measurement["extensions"] == {"dnst": 0, "tcpconnect": 0, "tlshandshake": 0, "netevents": 0}
    assert measurement["annotations"]["scenario"] == "quickstart"


def test_a_run_that_went_well() -> None:
    found = measure(run_events())["test_keys"]
    assert (found["failure"], found["bootstrap_time"], found["socksproxy"]) == (None, 0.1, "198.51.100.11:1080")
    assert [(c["ip"], c["port"], c["status"]) for c in found["tcp_connect"]] == [
        ("203.0.113.10", 443, {"failure": None, "success": True}),
        ("198.51.100.11", 1080, {"failure": None, "success": True}),
    ]
    assert [path["new"] for path in found["x_path"]] == ["proxy1", "direct", "proxy1", "direct"]
    assert found["x_messages"]["lost"] == 0


def test_the_stages_follow_each_other_up_to_the_event() -> None:
    stages = {"dns": 0.01, "tcp": 0.02, "tls": 0.03, "upgrade": 0.01}
    event = dial(1.0, "route_dialed", connection=5, stages=stages, local="[2001:db8:1::10]:4000")
    found = keys(event)
    (connect,), (handshake,) = found["tcp_connect"], found["tls_handshakes"]
    assert (connect["t0"], connect["t"]) == (pytest.approx(0.94), pytest.approx(0.96))
    assert (handshake["t0"], handshake["t"]) == (pytest.approx(0.96), pytest.approx(0.99))
    assert (handshake["address"], handshake["server_name"]) == ("[2001:db8:2::10]:443", "messenger.example")
    assert connect["transaction_id"] == handshake["transaction_id"] == 5
    a, aaaa = found["queries"]
    assert a["answers"] == [{"answer_type": "A", "ipv4": "203.0.113.10", "ttl": None}]
    assert aaaa["answers"] == [{"answer_type": "AAAA", "ipv6": "2001:db8:2::10", "ttl": None}]
    assert found["network_events"][0]["operation"] == "connect"


def test_a_name_that_was_not_found() -> None:
    found = keys(dial(2.0, "route_failed", stage="dns", failure="dns_nxdomain_error"))
    assert [query["failure"] for query in found["queries"]] == ["dns_nxdomain_error"] * 2
    assert [query["answers"] for query in found["queries"]] == [None, None]
    assert found["tcp_connect"] == []
    assert (found["bootstrap_time"], found["socksproxy"]) == (0.0, None)


def test_a_connect_that_failed_tried_all_addresses() -> None:
    found = keys(dial(2.0, "route_failed", "proxy1", stage="tcp", failure="generic_timeout_error"))
    assert [(c["ip"], c["status"]["success"]) for c in found["tcp_connect"]] == [
        ("198.51.100.11", False),
        ("2001:db8:3::11", False),
    ]
    assert found["queries"] == found["tls_handshakes"] == []


def test_a_handshake_that_was_reset() -> None:
    found = keys(dial(2.0, "route_failed", stage="tls", failure="connection_reset"))
    assert found["tls_handshakes"][0]["failure"] == "connection_reset"


def test_a_failed_probe_is_told_once() -> None:
    failed = dial(2.0, "route_failed", stage="dns", failure="dns_nxdomain_error")
    ended = dial(2.1, "probe_ended", ok=False, failure="dns_nxdomain_error", local=None)
    other = dial(3.0, "probe_ended", ok=False, failure="generic_timeout_error", local="192.0.2.10:4000")
    good = dial(4.0, "probe_ended", ok=True, failure=None, local="192.0.2.10:4001")
    found = keys(failed, ended, other, good)
    assert [query["transaction_id"] for query in found["queries"]] == [1, 1]
    assert [connect["status"]["failure"] for connect in found["tcp_connect"]] == ["generic_timeout_error"]


def test_an_interrupted_run_says_so_and_blames_nobody() -> None:
    queued = {"t": 1.0, "source": "client", "event": "message_queued", "id": 1, "bytes": 5}
    assert keys(queued, {"t": 2.0, "event": "run_ended", "outcome": "interrupted"})["failure"] == "interrupted"


def test_times_are_told_to_the_microsecond() -> None:
    (connect,) = keys(dial(1.0, "route_dialed", stages={"tcp": 0.1 + 0.2}, local="192.0.2.10:4000"))["tcp_connect"]
    assert connect["t0"] == 0.7


def test_lost_messages_are_a_failure() -> None:
    found = keys({"t": 1.0, "source": "client", "event": "message_queued", "id": 1, "bytes": 5})
    assert found["failure"] == "unknown_failure: 1 messages lost"


def test_a_run_without_events_is_a_measurement_too() -> None:
    assert measure([])["test_runtime"] == 0.0
