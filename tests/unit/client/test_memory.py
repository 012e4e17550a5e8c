from __future__ import annotations

import json

import pytest

from client import memory as module
from client.memory import FAILED_SECONDS, FORGET_SECONDS, SALT_BYTES, DiagnosisMemory, Memory
from client.network import Network
from client.policies import Recollection

NOW = 1_800_000_000.0
HOME = Network("192.0.2.1", ("192.0.2.0/24",), "02:fc:00:00:00:05", "192.0.2.7")
CAFE = Network("192.0.2.1", ("192.0.2.0/24",), "02:fc:00:00:00:66", "192.0.2.7")
SOMEWHERE = Network("192.0.2.1", ("192.0.2.0/24",), "", "192.0.2.7")
WORK = Network("198.51.100.1", ("198.51.100.0/24",))
DAY = 86400.0


@pytest.fixture
def memory() -> Memory:
    made = Memory.new(bytes(SALT_BYTES))
    made.enter(HOME, NOW)
    return made


def again(memory: Memory, now: float = NOW) -> Memory:
    """The next run's, of the file."""
    return Memory.loads(memory.dumps(now))


def test_the_next_run_knows_what_worked_the_last_first_and_what_failed(memory: Memory) -> None:
    memory.remember("proxy1", 0.08, NOW)
    memory.remember("direct", 0.04, NOW + 1)
    memory.remember("proxy2", None, NOW + 2)
    memory.remember("proxy1", 0.09, NOW + 3)
    memory.remember("direct", None, NOW + 4)
    later = again(memory, NOW + 5)
    assert later.recollection(NOW + 5) == Recollection()
    assert later.enter(HOME, NOW + 5)
    found = later.recollection(NOW + 5)
    assert list(found.rtt_seconds.items()) == [("proxy1", 0.09), ("direct", 0.04)]
    assert found.failed == {"proxy2", "direct"}


def test_a_route_that_works_again_has_not_failed(memory: Memory) -> None:
    memory.remember("direct", None, NOW)
    memory.remember("direct", 0.04, NOW + 1)
    assert memory.recollection(NOW + 1).failed == set()


def test_each_network_has_its_own(memory: Memory) -> None:
    memory.remember("direct", None, NOW)
    assert memory.enter(CAFE, NOW)
    assert memory.recollection(NOW) == Recollection()
    memory.remember("direct", 0.03, NOW)
    assert memory.enter(WORK, NOW)
    assert memory.recollection(NOW) == Recollection()
    assert not memory.enter(WORK, NOW)
    assert memory.enter(HOME, NOW)
    assert memory.recollection(NOW).failed == {"direct"}


def test_a_mac_that_becomes_known_completes_what_is_there(memory: Memory) -> None:
    memory.enter(WORK, NOW)
    memory.remember("direct", 0.02, NOW)
    known = Network(WORK.gateway, WORK.prefixes, "02:fc:00:00:00:77")
    assert not memory.enter(known, NOW)
    later = again(memory)
    later.enter(known, NOW)
    assert later.recollection(NOW).rtt_seconds == {"direct": 0.02}
    other = Network(WORK.gateway, WORK.prefixes, "02:fc:00:00:00:78")
    assert later.enter(other, NOW)
    assert later.recollection(NOW) == Recollection()


def test_without_a_mac_the_last_network_with_these_addresses_is_meant_until_it_shows(memory: Memory) -> None:
    memory.remember("direct", 0.04, NOW)
    memory.enter(CAFE, NOW + 1)
    memory.remember("direct", 0.03, NOW + 2)
    later = again(memory, NOW + 3)
    later.enter(SOMEWHERE, NOW + 3)
    assert later.recollection(NOW + 3).rtt_seconds == {"direct": 0.03}
    assert not later.enter(CAFE, NOW + 4)
    assert later.enter(HOME, NOW + 5)
    assert later.recollection(NOW + 5).rtt_seconds == {"direct": 0.04}


def test_without_a_network_nothing_is_remembered(memory: Memory) -> None:
    memory.remember("direct", 0.04, NOW)
    assert memory.enter(None, NOW)
    assert not memory.enter(None, NOW)
    memory.changed = False
    memory.remember("proxy1", 0.04, NOW)
    memory.diagnosed("direct", "tcp", 0.9, NOW)
    assert not memory.changed
    assert memory.recollection(NOW) == Recollection()
    assert memory.diagnosis is None


def test_the_last_diagnosis(memory: Memory) -> None:
    assert memory.diagnosis is None
    memory.diagnosed("direct", "dns", 0.7, NOW)
    memory.diagnosed("direct", "tls_sni", 0.9, NOW + 1)
    later = again(memory)
    later.enter(HOME, NOW)
    assert later.diagnosis == DiagnosisMemory("direct", "tls_sni", 0.9, NOW + 1)


def test_a_failure_is_forgotten_after_a_day_a_success_after_a_month(memory: Memory) -> None:
    memory.remember("proxy1", 0.04, NOW)
    memory.remember("direct", None, NOW)
    assert memory.recollection(NOW + FAILED_SECONDS - 1).failed == {"direct"}
    assert memory.recollection(NOW + FAILED_SECONDS).failed == set()
    assert memory.recollection(NOW + FORGET_SECONDS - 1).rtt_seconds
    assert not memory.recollection(NOW + FORGET_SECONDS).rtt_seconds


def test_the_file_holds_no_more_than_the_limits(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_NETWORKS", 3)
    monkeypatch.setattr(module, "MOST_ROUTES", 2)
    for number in range(5):
        memory.enter(Network(f"198.18.{number}.1"), NOW + number)
        for route in ("direct", "proxy1", "proxy2"):
            memory.remember(route, 0.04, NOW + number + len(route) / 100)
    memory.remember("direct", None, NOW + 5)
    kept = json.loads(memory.dumps(NOW + 5))["networks"]
    assert len(kept) == 3
    assert all(len(network["routes"]) == 2 for network in kept)
    assert "direct" in kept[-1]["routes"]
    kept = json.loads(memory.dumps(NOW + 4.5 + FORGET_SECONDS))["networks"]
    assert [set(network["routes"]) for network in kept] == [{"direct"}]
    assert json.loads(memory.dumps(NOW + 5 + FORGET_SECONDS))["networks"] == []


def test_the_file_tells_nothing_of_where_one_was(memory: Memory) -> None:
    memory.remember("direct", 0.04, NOW)
    content = memory.dumps(NOW).decode()
    for secret in (HOME.gateway, HOME.prefixes[0], HOME.hardware, HOME.address, "02fc"):
        assert secret not in content
    other = Memory.new(b"\x01" * SALT_BYTES)
    other.enter(HOME, NOW)
    places = [json.loads(made.dumps(NOW))["networks"][0]["place"] for made in (memory, other)]
    assert places[0] != places[1]


def test_it_says_when_there_is_something_to_write(memory: Memory) -> None:
    assert memory.changed
    later = again(memory)
    assert not memory.changed
    assert not later.changed
    later.enter(HOME, NOW)
    assert later.changed


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"format": 2}', b'{"format": 1, "salt": "AAAA"}', b'{"format": 1, "salt": "\xff"}'],
    ids=["empty", "cut off", "another format", "short salt", "no UTF-8"],
)
def test_a_broken_file_is_a_clear_error(content: bytes) -> None:
    with pytest.raises(ValueError, match="no memory that this version can read"):
        Memory.loads(content)
