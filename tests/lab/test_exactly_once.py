"""The client is killed in the middle of a block and started again: nothing lost, nothing shown twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.measurement.packets import read as read_packets
from lab.topology import standard
from tests.lab.test_scenarios import run, times

pytestmark = pytest.mark.netns

RULES = """
[[rule]]
name = "address"
addresses = ["203.0.113.10", "2001:db8:2::10"]
action = "drop"
"""
BLOCK = """
[[block]]
name = "address"
rules = "address.toml"
healthy_seconds = 3
jitter_seconds = 0
block_seconds = 6
"""
KILLED = """
name = "killed"
description = "The client is killed in mid-block, and started again."
timeout_seconds = 80
[traffic]
interval_seconds = 0.005
[[fault]]
kill = "client"
at_seconds = 6.5
again_after_seconds = 0.5
[expect]
lost = 0
duplicated_application = 0
messages_at_least = 1000
plaintext = 0
"""
EXPOSED = """
name = "exposed"
description = "Direct, then blocked by address."
timeout_seconds = 80
[policy]
name = "sidedoor"
standby = "{standby}"
[expect]
recovered = true
lost = 0
"""


def scenario(tmp_path: Path, text: str) -> Path:
    folder = tmp_path / "scenario"
    folder.mkdir()
    (folder / "scenario.toml").write_text(text + BLOCK)
    (folder / "address.toml").write_text(RULES)
    return folder


def test_sigkill_in_mid_block(tmp_path: Path) -> None:
    summary, events = run(scenario(tmp_path, KILLED), tmp_path / "run")
    (killed,) = times(events, "fault_injected", role="client")
    (again,) = [t for t in times(events, "role_started", role="client") if t > killed]
    (begun,), (lifted,) = times(events, "episode_started"), times(events, "unblocked")
    assert begun < killed < again < lifted
    messages = summary["messages"]
    assert messages["delivered"] >= messages["sent"] >= 1000
    ids = [one["id"] for one in events if one["event"] == "message_delivered"]
    assert ids == list(range(1, len(ids) + 1)), "in order, over both lives"
    delivered = times(events, "message_delivered")
    assert any(again < t < lifted for t in delivered), "the second life finds a way, too"


@pytest.mark.parametrize(("standby", "revealed"), [("warm", 1), ("cold", 0)])
def test_proxies_that_a_censor_could_read_before_the_block(tmp_path: Path, standby: str, revealed: int) -> None:
    """By what passed the censor, not by the client's word: whom the client greeted, or so much as dialed."""
    summary, _ = run(scenario(tmp_path, EXPOSED.format(standby=standby)), tmp_path / "run")
    (block,) = summary["blocks"]
    topology = standard()
    clients = topology.host("client").addresses()
    proxies = {a: name for name in ("proxy1", "proxy2") for a in topology.host(name).addresses()}
    before, all_ = set[str](), set[str]()
    for packet in read_packets(tmp_path / "run/capture/run1-censor-home.pcap", start=summary["clock"]["realtime"]):
        if packet.source[0] in clients and (name := proxies.get(packet.destination[0])):
            all_.add(name)
            if packet.t < block["t0"]:
                before.add(name)
    assert len(before) == revealed
    assert all_, "and it went on through one"
