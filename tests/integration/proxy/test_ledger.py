"""Users' limits under several processes, some of which are killed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from proxy.ledger import DOWN, UP, Ledger
from proxy.relay.bucket import BURST_SECONDS

PROCESSES = 4
DAY = 86400.0


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    made = Ledger(PROCESSES)
    yield made
    made.close()


def in_processes(work: Callable[[int], int]) -> list[int]:
    """What `work(place)` returns, in a process for each place."""
    readers = []
    for place in range(PROCESSES):
        reader, writer = os.pipe()
        if not os.fork():
            try:
                os.write(writer, str(work(place)).encode())
            finally:
                os._exit(0)
        os.close(writer)
        readers.append(reader)
    results = []
    for reader in readers:
        results.append(int(os.read(reader, 100) or b"-1"))
        os.close(reader)
        os.wait()
    return results


def test_a_quota_is_used_up_to_the_byte_and_never_exceeded(ledger: Ledger) -> None:
    quota, anna = 50_000_000, ledger.slot_of("anna")  # so much that no process is through before the others begin

    def work(place: int) -> int:
        chance, moved = random.Random(place), 0
        while not ledger.exhausted(anna, quota, DAY, time.time()):
            now = time.monotonic()
            if took := ledger.take(anna, chance.choice((UP, DOWN)), chance.randrange(3000), now, 0.0, quota, DAY):
                unused = chance.randrange(took + 1) if chance.random() < 0.3 else 0
                ledger.give_back(anna, UP, unused)
                moved += took - unused
        return moved

    moved = in_processes(work)
    assert sum(moved) <= quota
    assert sum(moved) == ledger.used(anna)
    assert min(moved) > 0


def test_processes_share_a_rate(ledger: Ledger) -> None:
    """Time is counted, not measured: each process goes through the same second in its own steps, as fast as it can."""
    rate, begin, seconds, anna = 20e6, 1000.0, 1.0, ledger.slot_of("anna")

    def work(place: int) -> int:
        chance, now, moved = random.Random(place), begin, 0
        while now < begin + seconds:
            took = ledger.take(anna, DOWN, 100_000, now, rate, 0, DAY)
            unused = chance.randrange(took + 1) if chance.random() < 0.3 else 0
            ledger.give_back(anna, DOWN, unused)
            moved += took - unused
            now += chance.random() * 0.001
        return moved

    allowed = rate * (seconds + BURST_SECONDS)
    assert 0.95 * allowed <= sum(in_processes(work)) <= allowed


def test_connections_never_exceed_their_limit(ledger: Ledger) -> None:
    anna, limit = ledger.slot_of("anna"), 3

    def work(place: int) -> int:
        opened = 0
        for _ in range(3000):
            if ledger.open_flow(anna, place, limit):
                opened += 1
                assert ledger.flows(anna) <= limit
                ledger.close_flow(anna, place)
        return opened

    assert min(in_processes(work)) >= 0
    assert ledger.flows(anna) == 0


def test_all_processes_find_the_same_slots(ledger: Ledger) -> None:
    names = [f"user{i}" for i in range(300)]

    def work(place: int) -> int:
        slots = {name: ledger.slot_of(name) for name in random.Random(place).sample(names, len(names))}
        return sum(i * slots[name] for i, name in enumerate(names))

    assert len(set(in_processes(work))) == 1
    assert sorted(ledger.names()) == ["", *sorted(names)]


def test_a_killed_process_leaves_nothing_held_and_no_count_wrong(ledger: Ledger) -> None:
    """Killed at any instruction, a hundred times: at most what it had reserved then stays charged."""
    quota, want, anna = 1 << 60, 1000, ledger.slot_of("anna")
    chance = random.Random(1)
    for round_ in range(100):
        before = ledger.used(anna)
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            os.write(writer, b"x")
            while True:
                ledger.open_flow(anna, 1, 10)
                now = time.monotonic()
                took = ledger.take(anna, UP, want, now, 1e12, quota, DAY)
                ledger.give_back(anna, UP, took)
                ledger.close_flow(anna, 1)
        os.read(reader, 1)
        end = time.monotonic() + chance.random() * 0.003
        while time.monotonic() < end:
            pass
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for fd in (reader, writer):
            os.close(fd)

        assert ledger.used(anna) - before in (0, want), round_
        ledger.forget_place(1)
        assert ledger.flows(anna) == 0
        now = time.monotonic()
        assert ledger.take(anna, UP, want, now, 1e12, quota, DAY) == want
        ledger.give_back(anna, UP, want)
