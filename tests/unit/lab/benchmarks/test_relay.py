import sys

import pytest

from lab.benchmarks import iperf, peers, relay
from lab.benchmarks.peers import PEERS, Peer, custom
from lab.benchmarks.relay import GROUPS, plan
from lab.benchmarks.results import Contestant
from lab.benchmarks.workloads import QUICK, WORKLOADS
from sidedoor.settings import UsageError


@pytest.fixture(autouse=True)
def everything_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "find", lambda program: program)
    monkeypatch.setattr(iperf, "find", lambda program: program)
    monkeypatch.setattr(peers, "workers_peer", lambda workers: None)


def test_everything() -> None:
    everything = plan(rounds=1, seconds=1)
    assert [c.name for c in everything.contestants] == ["direct", *(peer.name for peer in PEERS)]
    assert list(everything.workloads) == list(WORKLOADS)
    assert everything.skipped == {}


def test_only_names_peers_groups_and_workloads() -> None:
    some = plan(rounds=1, seconds=1, only=["sidedoor", "ping-64B-64", "mixed"])
    assert [c.name for c in some.contestants] == ["sidedoor"]
    assert [w.name for w in some.workloads] == ["ping-64B-64", "mixed"]
    assert len(plan(rounds=1, seconds=1, only=["bulk"]).workloads) == 9
    assert {w.group for w in WORKLOADS} == set(GROUPS)
    with pytest.raises(UsageError, match="'nginx'"):
        plan(rounds=1, seconds=1, only=["nginx"])


def test_quick_is_a_choice_of_workloads_unless_some_are_named() -> None:
    assert [w.name for w in plan(rounds=1, seconds=1, quick=True).workloads] == list(QUICK)
    assert [w.name for w in plan(rounds=1, seconds=1, quick=True, only=["idle"]).workloads] == ["idle"]


def test_another_peer() -> None:
    extra = custom("gost=gost -L socks5://127.0.0.1:{port}")
    chosen = plan(rounds=1, seconds=1, peers=[extra], only=["gost"])
    assert chosen.contestants == [Contestant("gost")]
    with pytest.raises(UsageError, match="already"):
        plan(rounds=1, seconds=1, peers=[custom("danted=x {port}")])


def test_what_is_not_installed_is_skipped_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "find", lambda program: program if program == sys.executable else None)
    monkeypatch.setattr(iperf, "find", lambda program: None)
    chosen = plan(rounds=1, seconds=1)
    assert [c.name for c in chosen.contestants] == ["direct", "sidedoor", "sidedoor-observed"]
    assert chosen.skipped["danted"] == "danted not found (apt-get install dante-server)"
    assert "apt-get install iperf3" in chosen.skipped["iperf3"]
    assert "iperf3" not in {w.group for w in chosen.workloads}


def test_the_estimate_grows_with_rounds_and_seconds() -> None:
    def seconds(rounds: int, each: float) -> float:
        return plan(rounds=rounds, seconds=each, only=["bulk", "sidedoor"]).estimated_seconds

    assert seconds(1, 1.0) < seconds(1, 2.0) < seconds(3, 2.0)


def test_rounds_are_interleaved_and_another_peer_is_first_each_time() -> None:
    chosen = plan(rounds=2, seconds=1, only=["direct", "sidedoor", "haproxy", "ping-64B-1", "mixed"])
    order = [(number, workload.name, name) for number, workload, name in relay._order(chosen, chosen.contestants)]
    assert order == [
        (0, "ping-64B-1", "direct"),
        (0, "ping-64B-1", "sidedoor"),
        (0, "ping-64B-1", "haproxy"),
        (0, "mixed", "direct"),
        (0, "mixed", "sidedoor"),  # not through HAProxy: its target is fixed
        (1, "ping-64B-1", "sidedoor"),
        (1, "ping-64B-1", "haproxy"),
        (1, "ping-64B-1", "direct"),
        (1, "mixed", "sidedoor"),
        (1, "mixed", "direct"),
    ]


def test_two_peers_of_one_name() -> None:
    twin = Peer("direct", ("x",), "", lambda place: [])
    with pytest.raises(UsageError, match="'direct'"):
        plan(rounds=1, seconds=1, peers=[twin])
