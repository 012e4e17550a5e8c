"""censor/lines/messages.py: what a censor says arrives as it was, whatever the pieces that it comes in."""

from __future__ import annotations

import pytest

from censor import profiles
from censor.decision import Blocked, Hit, Suspect
from censor.lines.messages import (
    Applied,
    BlockBegun,
    Commit,
    Convict,
    Count,
    Counts,
    End,
    Event,
    Frames,
    Logged,
    Order,
    Ready,
    Refused,
    Report,
    Stage,
    Staged,
    Start,
    Suspected,
    Tell,
    Told,
    encode,
    order,
    report,
)
from censor.rules_file import parse_rules, profile_rules

RULES = parse_rules("""
[censor]
seed = 7
inside = ["192.0.2.0/24"]
[censor.tcp]
reassembly = "full"
[[list]]
name = "blocked"
entries = ["messenger.example"]
[[rule]]
name = "name"
when = "tls.sni under @blocked"
probability = 0.5
latency_seconds = [0.1, 0.5]
[[rule.actions]]
kind = "reset"
drop = true
[[rule.actions]]
kind = "residual"
key = "2-tuple"
seconds = [60, 180]
[[rule]]
name = "short"
action = "dns_forge"
domains = ["other.example"]
forged = ["192.0.2.66"]
""")
CONVICT = Convict(b"\xcb\x00\x71\x0a", 1080, 5.0, 60.0)
ORDERS: list[Order] = [
    Start(101, 1 << 20, 100, 50, 7, RULES, {"blocked": b"pickle"}, [CONVICT]),
    Stage(RULES, {"blocked": None, "other": b""}),
    Commit(),
    CONVICT,
    Tell([Logged("addresses", True, b"E"), Logged("name", False, b"")]),
    Count(),
    End(),
]
BLOCKED = Blocked("name", "2-tuple", b"\xc0\x00\x02\x0a", b"\xcb\x00\x71\x0a", 0, 0, 6, 5.0, 60.0)
REPORTS: list[Report] = [
    Ready(),
    Refused("binding NFQUEUE 100: refused"),
    Staged(),
    Applied(8),
    Told([None, Hit("addresses", "drop", "tcp a > b", "messenger.example", "a", "b", 40, True)]),
    Counts({"packets": 1, "rules": {"name": {"matched": 2}}}),
    Event("censor_hit", {"t": 5.5, "rule": "name", "collateral": False}),
    BlockBegun(BLOCKED),
    Suspected(Suspect(b"\xcb\x00\x71\x0a", 1080, b"\x05\x01\x00", "entropy")),
]


def whole(data: bytes) -> bytes:
    (body,) = Frames().feed(data)
    return body


@pytest.mark.parametrize("message", ORDERS)
def test_orders(message: Order) -> None:
    assert order(whole(encode(message))) == message


@pytest.mark.parametrize("name", profiles.names())
def test_every_profile_arrives_as_it_was(name: str) -> None:
    stage = Stage(profile_rules(name), {})
    assert order(whole(encode(stage))) == stage


@pytest.mark.parametrize("message", REPORTS)
def test_reports(message: Report) -> None:
    assert report(whole(encode(message))) == message


@pytest.mark.parametrize("piece_bytes", [1, 3, 4, 5, 100, 10_000])
def test_pieces(piece_bytes: int) -> None:
    data = b"".join(map(encode, REPORTS))
    frames, bodies = Frames(), []
    for start in range(0, len(data), piece_bytes):
        bodies += frames.feed(data[start : start + piece_bytes])
    assert list(map(report, bodies)) == REPORTS
    assert frames.feed(b"") == []
