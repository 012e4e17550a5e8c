"""The main job on real packets, on both runtimes: `sidedoor lab run quickstart`, and everything it promises."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.measurement.from_captures import read_episodes
from lab.measurement.packets import read as read_packets
from lab.topology import ORIGIN_NAME, standard
from tests.lab.machine_state import left_behind, snapshot
from tests.lab.stray_packets import StrayPackets, arp, can_capture, docker_bridge_prefix, is_of_lab

TIMES = ("ttd_seconds", "tts_seconds", "ttr_seconds", "outage_seconds", "failback_seconds")
AGREEMENT_SECONDS = 0.05


@dataclass(frozen=True)
class Ran:
    runtime: str
    folder: Path
    status: int
    stdout: str
    stderr: str
    left_behind: dict[str, set[str]]
    packets_by_interface: dict[str, int]
    packets_elsewhere: dict[str, int]

    @property
    def summary(self) -> dict[str, Any]:
        summary = json.loads((self.folder / "summary.json").read_text())
        assert isinstance(summary, dict)
        return summary

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "events.jsonl").read_text().splitlines()]


@pytest.fixture(
    scope="module",
    params=[pytest.param("netns", marks=pytest.mark.netns), pytest.param("docker", marks=pytest.mark.docker)],
)
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Quickstart, once for each runtime, with everybody watching."""
    folder = tmp_path_factory.mktemp("quickstart") / "run"
    before = snapshot()
    command = [sys.executable, "-m", "sidedoor", "lab", "run", "quickstart", "--runtime", request.param]
    with StrayPackets() as stray:
        running = subprocess.Popen(
            [*command, "--out", str(folder), "--seed", "7"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        stdout, stderr = running.communicate(timeout=110)
    prefix = docker_bridge_prefix() if request.param == "docker" else "(none)"
    return Ran(
        request.param,
        folder,
        running.returncode,
        stdout,
        stderr,
        left_behind(before, lab=f"run-{running.pid}"),
        dict(stray.seen),
        stray.elsewhere(prefix),
    )


pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(not can_capture(), reason="watching this machine's interfaces needs CAP_NET_RAW (root)"),
]


def test_it_holds(ran: Ran) -> None:
    assert ran.status == 0, ran.stderr
    assert "did not hold" not in ran.stderr


def test_a_person_can_read_what_happened(ran: Ran) -> None:
    text = " ".join(ran.stdout.split())
    assert "domain" in text
    assert "address" in text
    assert "0 lost" in text
    assert "0 shown twice" in text
    assert "report.html" in text


def test_both_episodes_recovered_and_failed_back(ran: Ran) -> None:
    (run,) = ran.summary["runs"]
    assert [block["name"] for block in run["blocks"]] == ["domain", "address"]
    for block in run["blocks"]:
        assert block["recovered"]
        assert block["hits"] >= 1
        assert all(isinstance(block[name], float) and block[name] > 0 for name in TIMES), block
        before, after = block["t0_rule"]
        assert 0 < before <= after
        assert before <= block["t0"]
        # The measured flow sends every 20 ms: the first packet that meets the block does so at once.
        assert block["t0"] - before < 0.5
        assert block["tts_seconds"] <= block["ttr_seconds"]
    domain, address = run["blocks"]
    assert domain["ttd_seconds"] <= domain["tts_seconds"], "a reset is a verdict"
    assert address["ttr_seconds"] < address["ttd_seconds"], "of silence copies by the spare do not wait for the verdict"


def test_no_message_lost_or_shown_twice(ran: Ran) -> None:
    (run,) = ran.summary["runs"]
    messages = run["messages"]
    assert messages["sent"] >= 100
    assert messages["delivered"] == messages["sent"]
    assert messages["lost"] == 0
    assert messages["duplicated_application"] == 0


def test_no_leak_and_nothing_missed_by_the_capture(ran: Ran) -> None:
    leaks = ran.summary["leaks"]
    assert leaks["packets"] == 0, leaks["examples"]
    assert leaks["capture_dropped"] == 0


def test_bystanders_on_the_same_address_are_broken_and_others_are_not(ran: Ran) -> None:
    flows = [event for event in ran.events() if event["event"] == "bystander_flow"]
    broken = {flow["site"] for flow in flows if not flow["ok"]}
    assert broken == {"shop.example"}, [flow for flow in flows if not flow["ok"]]
    assert {flow["site"] for flow in flows} == {"shop.example", "news.example", "cdn.messenger.example.net"}


def test_direct_and_proxied_bytes_are_in_the_captures(ran: Ran) -> None:
    topology = standard()
    to_messenger, to_proxies = (
        set(topology.names[ORIGIN_NAME]),
        {address for name in ("proxy1", "proxy2") for address in topology.host(name).addresses()},
    )
    packets = list(read_packets(ran.folder / "capture" / "run1-client-home.pcap"))
    assert sum(len(p.payload) for p in packets if p.destination[0] in to_messenger) > 1000
    assert sum(len(p.payload) for p in packets if p.destination[0] in to_proxies) > 1000


def test_both_address_families_are_used_and_blocked(ran: Ran) -> None:
    """The client prefers IPv6 where there is both; IPv4 stays for the look-ups and the proxies."""
    hits = [e for e in ran.events() if e["event"] == "censor_hit" and e["rule"] == "messenger-addresses"]
    versions = {":" in hit["destination_address"] for hit in hits}
    assert versions == {True, False}


def test_the_captures_alone_say_the_same_times(ran: Ran) -> None:
    topology = standard()
    (run,) = ran.summary["runs"]
    capture = ran.folder / "capture"
    episodes = read_episodes(
        home=capture / "run1-censor-home.pcap",
        uplink=capture / "run1-censor-uplink.pcap",
        client=capture / "run1-client-home.pcap",
        key_log=capture / "run1-tls.keylog",
        client_addresses=topology.host("client").addresses(),
        messenger_addresses=topology.names[ORIGIN_NAME],
        messenger_names=[ORIGIN_NAME],
        start=run["clock"]["realtime"],
    )
    assert len(episodes) == len(run["blocks"])
    for seen, block in zip(episodes, run["blocks"], strict=True):
        assert seen.t0 == pytest.approx(block["t0"], abs=AGREEMENT_SECONDS)
        assert seen.tts_seconds == pytest.approx(block["tts_seconds"], abs=AGREEMENT_SECONDS)
        assert seen.ttr_seconds == pytest.approx(block["ttr_seconds"], abs=AGREEMENT_SECONDS)


def test_the_files_of_a_run(ran: Ran) -> None:
    assert {path.name for path in ran.folder.iterdir()} == {
        "summary.json",
        "events.jsonl",
        "ooni.jsonl",
        "report.html",
        "capture",
        "logs",
    }
    report = (ran.folder / "report.html").read_text()
    assert "<script src=" not in report, "the report must work offline"
    measurement = json.loads((ran.folder / "ooni.jsonl").read_text().splitlines()[0])
    assert measurement["data_format_version"] == "0.2.0"
    assert all(event["t"] >= 0 and event["run"] == 1 for event in ran.events())


def test_nothing_is_left_behind(ran: Ran) -> None:
    assert ran.left_behind == {}


def test_no_packet_of_the_lab_anywhere_else(ran: Ran) -> None:
    assert ran.packets_elsewhere == {}
    if ran.runtime == "docker":  # the counter does count: the lab's own bridges are on the host
        assert sum(ran.packets_by_interface.values()) > 100


def test_the_counter_of_stray_packets_knows_the_lab() -> None:
    assert is_of_lab(0x0806, arp("192.0.2.10", "192.0.2.1"))
    assert is_of_lab(0x0800, bytes(12) + bytes([10, 0, 0, 1]) + bytes([203, 0, 113, 10]))
    assert not is_of_lab(0x0800, bytes(12) + bytes([10, 0, 0, 1]) + bytes([10, 0, 0, 2]))
    assert not is_of_lab(0x0806, arp("10.0.0.1", "10.0.0.2"))


def test_the_counter_spares_a_machine_that_lives_in_the_same_range() -> None:
    own = frozenset({"192.0.2.77", "192.0.2.1"})  # its address, its gateway
    assert not is_of_lab(0x0806, arp("192.0.2.77", "192.0.2.1"), own)
    assert not is_of_lab(0x0806, arp("192.0.2.77", "203.0.113.99"), own)
    assert is_of_lab(0x0806, arp("192.0.2.77", "192.0.2.10"), own), "but not when a host of the lab is concerned"
    assert is_of_lab(0x0806, arp("192.0.2.10", "192.0.2.1"), own)
