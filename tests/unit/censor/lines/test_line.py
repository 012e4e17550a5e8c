"""censor/lines/line.py, with a queue whose kernel is the test; on real packets: tests/lab/test_censor_*.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP, fragment

from censor.core import Core
from censor.decision import Blocked, Decision, Suspect
from censor.kernel.marks import DROP_AND_WATCH, HEARD, WATCH
from censor.lines import line as subject
from censor.lines.line import Line
from censor.packet_io.nfqueue import QueuedPacket, QueueSettings, Verdict
from tests.unit.censor.traffic import CLIENT, HELLO, INNOCENT, SERVER, TLS, Ends, acting, query, rules

DROP, RESET = acting('kind = "drop"'), acting('kind = "reset", drop = true')
FRAGMENTS = '[censor.fragments]\npolicy = "{}"'


class FakeLoop:
    """readers: what is called when a descriptor is readable. timers: (seconds, call) that are to come."""

    def __init__(self) -> None:
        self.readers: dict[int, Callable[[], object]] = {}
        self.timers: list[FakeTimer] = []

    def add_reader(self, fd: int, callback: Callable[[], object]) -> None:
        self.readers[fd] = callback

    def remove_reader(self, fd: int) -> None:
        del self.readers[fd]

    def call_later(self, seconds: float, callback: Callable[..., None], *arguments: object) -> FakeTimer:
        timer = FakeTimer(self, seconds, lambda: callback(*arguments))
        self.timers.append(timer)
        return timer

    def pass_time(self) -> None:
        """Let all timers go off."""
        timers, self.timers = self.timers, []
        for timer in sorted(timers, key=lambda one: one.seconds):
            timer.call()


class FakeTimer:
    def __init__(self, loop: FakeLoop, seconds: float, call: Callable[[], None]) -> None:
        self._loop, self.seconds, self.call = loop, seconds, call

    def cancel(self) -> None:
        self._loop.timers.remove(self)


class World:
    """done: what the line did, in order. queued: the packets that wait. events: what it reported."""

    def __init__(self) -> None:
        self.loop = FakeLoop()
        self.done: list[tuple[Any, ...]] = []
        self.queued: list[QueuedPacket] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.blocked: list[Blocked] = []
        self.suspects: list[Suspect] = []
        self.missed = 0
        self.refuse = False
        self._last_id = 0
        self.line = Line(Core(generation=7), self.emit, on_blocked=self.blocked.append, on_suspect=self.suspects.append)

    def emit(self, event: str, /, **fields: Any) -> None:
        self.events.append((event, fields))

    def apply(self, *tables: str, head: str = "") -> None:
        self.line.set_rules(rules(*tables, head=head), {}, frozenset())

    def packet(self, *payloads: bytes, mark: int = 0, t: float = 5.0) -> None:
        """These wait."""
        for payload in payloads:
            self._last_id += 1
            self.queued.append(QueuedPacket(self._last_id, payload, 0x0800, 1, 2, mark, len(payload), t))

    def handle(self, *payloads: bytes, mark: int = 0) -> list[tuple[Any, ...]]:
        """What is done with these packets."""
        self.done.clear()
        self.packet(*payloads, mark=mark)
        self.line.on_readable()
        return self.done

    def said(self) -> list[str]:
        return [event for event, _ in self.events]


class FakeQueue:
    world: World

    def __init__(self, settings: QueueSettings) -> None:
        if self.world.refuse:
            raise OSError("in use")
        self.world.done.append(("bound", settings.number, settings.copy_range_bytes, settings.receive_buffer_bytes))
        self.receive_buffer_bytes = settings.receive_buffer_bytes
        self.pending: list[tuple[Any, ...]] = []

    def __enter__(self) -> FakeQueue:
        return self

    def __exit__(self, *_: object) -> None:
        self.world.done.append(("unbound",))

    @property
    def missed(self) -> int:
        return self.world.missed

    def fileno(self) -> int:
        return 99

    def read(self, limit: int) -> list[QueuedPacket]:
        batch, self.world.queued = self.world.queued[:limit], self.world.queued[limit:]
        return batch

    def configure(self, **settings: Any) -> None:
        self.world.done.append(("configured", settings))

    def add_verdict(self, id_: int, verdict: Verdict, mark: int | None = None) -> None:
        self.pending.append((verdict.name, id_, mark))

    def flush(self) -> None:
        self.world.done += self.pending
        self.pending.clear()


class FakeInjector:
    world: World

    def send(self, data: bytes) -> None:
        self.world.done.append(("sent", IP(data).dst))

    def close(self) -> None:
        self.world.done.append(("injector closed",))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World()
    for name, fake in (("NfQueue", FakeQueue), ("Injector", FakeInjector)):
        monkeypatch.setattr(fake, "world", world, raising=False)
        monkeypatch.setattr(subject, name, fake)
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: world.loop)
    world.line.open(5, 4096)
    world.line.start()
    yield world
    world.line.stop()
    world.line.close()


def test_life(world: World) -> None:
    assert world.done == [("bound", 5, 16384 + 256, 4096)]
    assert world.line.receive_buffer_bytes == 4096
    assert list(world.loop.readers) == [99]
    world.apply(DROP)
    world.packet(*[Ends().data(INNOCENT)] * 100)
    world.line.stop()
    world.done.clear()
    world.line.drain()
    assert [one[:2] for one in world.done] == [("ACCEPT", number) for number in range(1, 101)]
    world.line.start()
    assert world.line.packets_queued == 100


def test_a_queue_that_is_refused_leaves_nothing(world: World) -> None:
    world.done.clear()
    world.refuse = True
    with pytest.raises(OSError, match="in use"):
        Line(Core(), world.emit, on_blocked=world.blocked.append, on_suspect=world.suspects.append).open(6, 1)
    assert world.done == [("injector closed",)]


def test_how_packets_are_delivered_is_the_rules(world: World) -> None:
    world.done.clear()
    world.apply(head="[censor.tcp]\nlimit_bytes = 100")
    world.apply(head='[censor]\nfail = "closed"\nsingle_segments = true\n' + FRAGMENTS.format("pass"))
    assert world.done == [
        ("configured", {"copy_range_bytes": 356, "gso": True, "fail_open": True}),
        ("configured", {"copy_range_bytes": 0xFFFF - 4, "gso": False, "fail_open": False}),
    ]
    assert not world.line.set_rules(rules(DROP), {}, frozenset())
    assert world.line.set_rules(rules(DROP + 'existing_flows = "kill"'), {}, frozenset())


class TestVerdicts:
    def test_what_is_undecided_heard_or_decided(self, world: World) -> None:
        world.apply(DROP)
        ends = Ends()
        assert world.handle(b"no packet", ends.ack()) == [("ACCEPT", 1, None), ("ACCEPT", 2, None)]
        assert world.handle(ends.data(INNOCENT[:9])) == [("ACCEPT", 3, HEARD | 7)]
        assert world.handle(ends.data(INNOCENT[9:]), mark=HEARD | 7) == [("ACCEPT", 4, 7)]

    def test_a_dropped_packets_flow_is_watched(self, world: World) -> None:
        world.apply(DROP)
        assert world.handle(Ends().data(HELLO)) == [("REPEAT", 1, DROP_AND_WATCH)]
        assert world.said() == ["censor_hit"]
        event = world.events[0][1]
        assert (event["t"], event["rule"], event["flow"]) == (5.0, "rule0", f"tcp {CLIENT}:40000 > {SERVER}:443")

    def test_so_is_one_that_passes(self, world: World) -> None:
        world.apply(acting('kind = "drop", after_packets = 3'))
        assert world.handle(Ends().data(HELLO)) == [("ACCEPT", 1, WATCH)]

    def test_one_that_is_dropped_alone(self, world: World) -> None:
        world.apply('when = "exists dns.name"\nactions = [{kind = "forge_dns", rcode = "nxdomain", drop = true}]')
        ends = Ends(server_port=53)
        assert world.handle(ends.datagram(query("x.example"))) == [("sent", CLIENT), ("DROP", 1, None)]

    def test_what_is_injected_behind_a_packet_comes_behind_its_verdict(self, world: World) -> None:
        world.apply(RESET)
        done = world.handle(Ends().data(INNOCENT), Ends(client_port=1).data(HELLO))
        assert [one[0] for one in done] == ["ACCEPT", "REPEAT", "sent", "sent"]

    def test_few_wait_for_company(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        flushed = []
        flush = FakeQueue.flush

        def counted(queue: FakeQueue) -> None:
            flushed.append(len(queue.pending))
            flush(queue)

        monkeypatch.setattr(FakeQueue, "flush", counted)
        world.handle(*[Ends().ack()] * 20)
        assert flushed == [8, 8, 4]


class TestTimers:
    def test_a_packet_is_held(self, world: World) -> None:
        world.apply(acting('kind = "delay", seconds = 0.5'))
        assert world.handle(Ends().data(HELLO)) == []
        assert [timer.seconds for timer in world.loop.timers] == [0.5]
        world.loop.pass_time()
        assert world.done == [("ACCEPT", 1, WATCH)]
        assert world.loop.timers == []

    def test_what_is_injected_later(self, world: World) -> None:
        world.apply(acting('kind = "reset", delay_seconds = 0.25'))
        assert [one[0] for one in world.handle(Ends().data(HELLO))] == ["ACCEPT"]
        assert [timer.seconds for timer in world.loop.timers] == [0.25, 0.25]
        world.loop.pass_time()
        assert sorted(world.done[1:]) == [("sent", CLIENT), ("sent", SERVER)]

    def test_nothing_comes_after_the_end(self, world: World) -> None:
        world.apply(acting('kind = "delay", seconds = 0.5'))
        world.handle(Ends().data(HELLO))
        world.line.close()
        assert world.loop.timers == []


def test_residual_blocks_and_suspects_are_passed_on(world: World) -> None:
    world.apply(TLS + '\nactions = [{kind = "residual", seconds = 90}, {kind = "probe"}]')
    world.handle(Ends().data(HELLO))
    (blocked,) = world.blocked
    (suspect,) = world.suspects
    assert (blocked.rule, suspect.first_payload) == ("rule0", HELLO)
    told = {
        "t": 5.0,
        "rule": "rule0",
        "key": "3-tuple",
        "client_address": CLIENT,
        "server_address": SERVER,
        "server_port": 443,
        "client_port": 0,
        "seconds": 90.0,
    }
    assert world.events[0] == ("residual_started", told)


def test_packets_that_were_missed_are_told_once(world: World) -> None:
    world.missed = 3
    world.handle()
    world.handle()
    assert world.events == [("packets_missed", {"count": 3})]
    assert world.line.missed == 3


def test_statistics(world: World) -> None:
    world.apply(DROP)
    world.handle(Ends().data(HELLO), Ends(client_port=1).data(INNOCENT))
    told = world.line.statistics
    assert (told["packets_queued"], told["packets_missed"], told["flows"], told["flows_evicted"]) == (2, 0, 2, 0)
    assert (told["residual_blocks"], told["rules"]["rule0"]["matched"]) == (0, 1)


def pieces(payload: bytes = bytes(40), port: int = 9999) -> list[bytes]:
    """The fragments of a datagram."""
    whole = IP(src=CLIENT, dst=SERVER, id=7, ttl=9) / UDP(sport=5000, dport=port) / payload
    return [bytes(one) for one in fragment(whole, 24)]


class TestFragments:
    def test_each_by_itself(self, world: World) -> None:
        world.apply(head=FRAGMENTS.format("pass"))
        assert world.handle(*pieces()) == [("ACCEPT", 1, 7), ("ACCEPT", 2, 7)]

    def test_dropped(self, world: World) -> None:
        world.apply(head=FRAGMENTS.format("drop"))
        assert world.handle(*pieces(), Ends().data(INNOCENT)) == [
            ("DROP", 1, None),
            ("DROP", 2, None),
            ("ACCEPT", 3, 7),
        ]

    def test_held_until_all_are_there(self, world: World) -> None:
        world.apply(head=FRAGMENTS.format("hold"))
        first, second = pieces()
        assert world.handle(first) == []
        assert world.handle(second) == [("ACCEPT", 1, 7), ("ACCEPT", 2, 7)]
        assert len(world.loop.timers) == 1
        world.loop.pass_time()  # for what is not there any more
        assert len(world.done) == 2

    def test_one_of_another_ttl_is_replaced(self, world: World) -> None:
        world.apply(head=FRAGMENTS.format("hold"))
        first, second = pieces()
        other = bytes(IP(second[:8] + b"\x05" + second[9:]))
        done = world.handle(first, other)
        assert sorted(done) == [("ACCEPT", 1, 7), ("DROP", 2, None), ("sent", SERVER)]

    def test_what_is_judged_and_dropped_is_not_replaced(self, world: World) -> None:
        world.apply('when = "server.port == 9999"\nactions = [{kind = "drop"}]', head=FRAGMENTS.format("hold"))
        assert [one[:2] for one in world.handle(*pieces())] == [("REPEAT", 1), ("ACCEPT", 2)]

    def test_what_does_not_come_in_time(self, world: World) -> None:
        world.apply(head=FRAGMENTS.format("hold"))
        assert world.handle(pieces()[0]) == []
        assert [timer.seconds for timer in world.loop.timers] == [30.1]
        world.loop.pass_time()
        assert world.done == [("DROP", 1, None)]

    @pytest.mark.parametrize(("policy", "then"), [("reassemble", []), ("drop", [("DROP", 2, None)])])
    def test_another_policy_drops_what_is_held(self, world: World, policy: str, then: list[tuple[Any, ...]]) -> None:
        world.apply(head=FRAGMENTS.format("hold"))
        world.handle(pieces()[0])
        world.apply(DROP, head=FRAGMENTS.format("hold"))
        assert ("DROP", 1, None) not in world.done
        world.apply(head=FRAGMENTS.format(policy))
        assert ("DROP", 1, None) in world.done
        world.loop.pass_time()
        assert [one for one in world.handle(pieces()[1]) if one[0] == "DROP"] == then


@pytest.mark.parametrize(("head", "verdict"), [("", Verdict.ACCEPT), ('[censor]\nfail = "closed"', Verdict.DROP)])
def test_a_packet_that_breaks_the_core_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch, head: str, verdict: Verdict
) -> None:
    world.apply(DROP, head=head)
    judge = world.line.core.decide
    broken, other = Ends(client_port=1).syn(), Ends(client_port=2).data(INNOCENT)

    def decide(data: bytes, mark: int | None = None, t: float = 0.0) -> Decision:
        if data == broken:
            raise ZeroDivisionError("of the core")
        return judge(data, mark, t)

    monkeypatch.setattr(world.line.core, "decide", decide)
    assert [done[:2] for done in world.handle(broken, other)] == [(verdict.name, 1), ("ACCEPT", 2)]
    told = {"t": 5.0, "error": "ZeroDivisionError('of the core')", "packet": broken.hex()}
    assert ("packet_failed", told) in world.events
    world.handle(*[broken] * 30)
    assert world.said().count("packet_failed") == 20
