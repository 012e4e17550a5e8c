"""The active prober against real servers on loopback: what it asks, what it makes of the answers, what it leaves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from censor.prober.connection import Source, run_probe
from censor.prober.delays import Server
from censor.prober.prober import Prober
from censor.prober.probes import make_probe
from censor.prober.results import End, Outcome, ProbeResult
from censor.prober.schedule import Verdict
from censor.prober.settings import PROBE_NAMES, ProbeName, ProberSettings
from client.certificates import write_self_signed
from proxy.settings import Listener
from proxy.wire import Address
from sidedoor.settings import UsageError
from tests.integration.censor import servers
from tests.integration.proxy.conftest import no_descriptor_is_left  # noqa: F401  # a fixture of every test here
from tests.integration.proxy.test_upstream import free_port
from tests.integration.proxy.world import SECONDS, Serve, echo, receive, running_proxy, target

GREETING = b"\x05\x01\x00"
"""What a client of an open SOCKS5 proxy says first; the censor has recorded it."""

PATIENCE = 1.0
"""Seconds: what a server that does answer may take, and what a silent one costs."""


def at(port: int, host: str = "127.0.0.1") -> Server:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.inet_pton(family, host), port


class World:
    """A running prober, its events and verdicts."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.verdicts: asyncio.Queue[Verdict] = asyncio.Queue()
        self.prober: Prober

    def emit(self, event: str, /, **fields: Any) -> None:
        self.events.append((event, fields))

    def told(self, name: str) -> list[dict[str, Any]]:
        return [fields for event, fields in self.events if event == name]

    async def verdict(self) -> Verdict:
        return await asyncio.wait_for(self.verdicts.get(), SECONDS)

    async def judge(self, port: int, payload: bytes = GREETING) -> Verdict:
        self.prober.suspect(at(port), payload, "socks5")
        return await self.verdict()


@contextlib.asynccontextmanager
async def running(
    *, bind: dict[int, str] | None = None, mark: int = 0, seed: int = 1, **settings: Any
) -> AsyncIterator[World]:
    """A prober without delays, and with little patience."""
    world = World()
    impatient: dict[str, Any] = {"delay": (0.0, 0.0), "between_seconds": 0.0, "timeout_seconds": PATIENCE}
    chosen = ProberSettings(**impatient | settings)
    world.prober = Prober(chosen, world.emit, on_verdict=world.verdicts.put_nowait, seed=seed, bind=bind, mark=mark)
    async with world.prober:
        yield world


async def test_our_proxy_without_users_is_convicted() -> None:
    async with running_proxy() as proxy, running(block_seconds=77) as world:
        verdict = await world.judge(proxy.port)
    assert verdict == Verdict(at(proxy.port), True, 77.0, ("socks5-method",))
    where = {"address": "127.0.0.1", "port": proxy.port}
    assert [event for event, _ in world.events] == [
        "proxy_suspected",
        "probe_sent",
        "probe_answered",
        "proxy_convicted",
    ]
    suspected, sent, answered, convicted = (fields for _, fields in world.events)
    assert suspected.items() >= (where | {"reason": "socks5", "connections": 1}).items()
    assert sent.items() >= (where | {"probe": "socks5-no-auth"}).items()
    assert 0 <= sent["delay_seconds"] == sent["t"] - suspected["t"]
    assert answered.items() >= (where | {"outcome": "answered_proxy", "probe": "socks5-no-auth"}).items()
    assert convicted == where | {"seconds": 77.0, "evidence": ("socks5-method",)}


async def test_a_password_does_not_hide_a_proxy() -> None:
    async with running_proxy(users={"anna": "secret"}) as proxy, running() as world:
        assert (await world.judge(proxy.port)).evidence == ("socks5-method",)
        assert world.told("probe_answered")[0]["said"] == "SOCKS5: no acceptable method"


async def test_but_keeps_it_from_connecting_for_strangers() -> None:
    probes = ("socks5-no-auth", "socks5-wrong-password", "socks4", "http-connect")
    async with target(echo) as canary:
        settings: dict[str, Any] = {"verdict": ("open-proxy",), "probes": probes, "destination": f"127.0.0.1:{canary}"}
        async with running_proxy(users={"anna": "secret"}) as proxy, running(**settings) as world:
            verdict = await world.judge(proxy.port)
            assert (verdict.convicted, verdict.evidence) == (False, ())
            assert [fields["probe"] for fields in world.told("probe_sent")] == list(probes)
            assert {fields["outcome"] for fields in world.told("probe_answered")} == {Outcome.ANSWERED_PROXY}
        async with running_proxy() as proxy, running(**settings) as world:
            verdict = await world.judge(proxy.port)
            assert (verdict.convicted, verdict.evidence) == (True, ("open-proxy",))


async def test_a_wrong_password_is_refused_and_that_is_evidence() -> None:
    settings: dict[str, Any] = {"probes": ("socks5-wrong-password",), "verdict": ("socks5-auth",)}
    async with running_proxy(users={"anna": "secret"}) as proxy, running(**settings) as world:
        assert (await world.judge(proxy.port)).evidence == ("socks5-auth",)
        said = world.told("probe_answered")[0]["said"]
        assert said == "SOCKS5: user and password; a wrong password is refused"


async def test_tls_in_front_hides_a_proxy(tmp_path: Path) -> None:
    """The proxy hears none of the probes: to TLS they are no handshake, and the one that is says nothing more."""
    files = write_self_signed(tmp_path, ["proxy.example"])
    listener = Listener(address="127.0.0.1:0", certificate=str(files.certificate), key=str(files.key))
    probes = tuple(name for name in PROBE_NAMES if name != "replay")
    settings: dict[str, Any] = {"probes": probes, "later_probes_only_after_answer": False}
    async with running_proxy(listen=(listener,)) as proxy, running(**settings) as world:
        verdict = await world.judge(proxy.port)
    assert (verdict.convicted, verdict.evidence) == (False, ())
    said = {fields["probe"]: fields["said"] for fields in world.told("probe_answered")}
    assert said.keys() == set(probes)
    assert said["tls"] == "TLS: a handshake"


async def test_a_replay_convicts_with_its_control() -> None:
    async with running_proxy() as proxy, running(probes=("replay",)) as world:
        assert (await world.judge(proxy.port)).evidence == ("replay",)
        assert [fields["probe"] for fields in world.told("probe_sent")] == ["replay", "random"]


async def test_other_peoples_proxies(tmp_path: Path) -> None:
    async with running() as world:
        async with servers.microsocks() as port:
            assert (await world.judge(port)).evidence == ("socks5-method",)
        async with servers.dante(tmp_path) as port:
            assert (await world.judge(port)).evidence == ("socks5-method",)
        async with servers.microsocks("-u", "anna", "-P", "secret") as port:
            assert (await world.judge(port)).convicted


@pytest.mark.parametrize(
    ("serve", "outcomes"),
    [
        (servers.web, ["answered_other"] * 4),
        (echo, ["answered_other"] * 4),
        (servers.silent, ["no_answer"]),
        (servers.hang_up, ["closed"]),
        (servers.reset, ["reset"]),
    ],
)
async def test_who_is_no_proxy_is_cleared(serve: Serve, outcomes: list[str]) -> None:
    async with target(serve) as port, running(forget_seconds=60) as world:
        assert await world.judge(port) == Verdict(at(port), False, 60.0, ())
    assert [fields["outcome"] for fields in world.told("probe_answered")] == outcomes
    assert world.told("proxy_cleared") == [{"address": "127.0.0.1", "port": port, "seconds": 60.0, "evidence": ()}]


async def test_a_closed_port_is_cleared() -> None:
    async with running() as world:
        assert not (await world.judge(free_port())).convicted
        assert world.told("probe_answered")[0]["outcome"] == "refused"


async def test_what_was_recorded_is_what_is_replayed() -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def listen(sock: socket.socket) -> None:
        heard.put_nowait(await receive(sock, 6))
        await servers.silent(sock)

    async with target(listen) as port, running(probes=("replay",), payload_limit_bytes=6) as world:
        await world.judge(port, b"\x00\xff0123456")
        assert await heard.get() == b"\x00\xff0123"


async def test_no_more_probes_at_a_time_than_allowed() -> None:
    at_once = most = 0

    async def count(sock: socket.socket) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await servers.silent(sock)
        at_once -= 1

    async with contextlib.AsyncExitStack() as stack:
        ports = [await stack.enter_async_context(target(count)) for _ in range(6)]
        world = await stack.enter_async_context(running(concurrency=2, timeout_seconds=0.05))
        for port in ports:
            world.prober.suspect(at(port), GREETING, "entropy")
        verdicts = {(await world.verdict()).server for _ in ports}
    assert verdicts == {at(port) for port in ports}
    assert most == 2


async def test_a_suspect_with_a_shorter_delay_is_not_held_up() -> None:
    """The prober sleeps until the earliest order it knows; one that comes later and is earlier must wake it."""
    async with running_proxy() as slow, running_proxy() as quick, running(delay=(3600.0, 3600.0)) as world:
        now = asyncio.get_running_loop().time()
        world.prober.suspect(at(slow.port), GREETING, "entropy", t=now)
        await asyncio.sleep(0)
        world.prober.suspect(at(quick.port), GREETING, "entropy", t=now - 3600.0)
        assert (await world.verdict()).server == at(quick.port)


async def test_the_first_probe_waits_for_its_time() -> None:
    async with target(echo) as port, running(delay=(0.05, 0.05)) as world:
        await world.judge(port)
        assert world.told("probe_sent")[0]["delay_seconds"] >= 0.05


async def test_leaving_ends_everything() -> None:
    tasks = asyncio.all_tasks()
    connected = asyncio.Event()

    async def note(sock: socket.socket) -> None:
        connected.set()
        await servers.silent(sock)

    async with target(note) as port:
        serving = asyncio.all_tasks()
        async with running(timeout_seconds=60.0) as world:
            world.prober.suspect(at(port), GREETING, "entropy")
            await asyncio.wait_for(connected.wait(), SECONDS)
            names = {task.get_name() for task in asyncio.all_tasks() - serving}
            assert {"prober", f"probe socks5-no-auth 127.0.0.1 {port}"} <= names
        left = {task.get_name() for task in asyncio.all_tasks() - serving}
        assert not [name for name in left if name.startswith("prob")]
        assert world.verdicts.empty()
    assert asyncio.all_tasks() == tasks


async def test_what_goes_wrong_inside_is_not_kept_quiet() -> None:
    def fail(_: Verdict) -> None:
        raise LookupError("the set is full")

    async def run() -> None:
        settings = ProberSettings(delay=(0.0, 0.0), timeout_seconds=0.05)
        async with Prober(settings, World().emit, on_verdict=fail, seed=1) as prober:
            prober.suspect(at(free_port()), GREETING, "entropy")
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert caught.group_contains(LookupError, match="the set is full")


async def test_probes_come_from_the_address_given() -> None:
    peers: asyncio.Queue[str] = asyncio.Queue()

    async def note(sock: socket.socket) -> None:
        peers.put_nowait(sock.getpeername()[0])

    async with target(note) as port, running(bind={socket.AF_INET: "127.0.0.9"}) as world:
        await world.judge(port)
        assert await peers.get() == "127.0.0.9"


async def test_an_address_that_is_not_ours_is_refused_at_the_start() -> None:
    with pytest.raises(UsageError, match=r"from 192\.0\.2\.1: Cannot assign requested address"):
        async with running(bind={socket.AF_INET: "192.0.2.1"}):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="SO_MARK needs NET_ADMIN")
def test_probes_carry_the_mark() -> None:
    with Source(mark=0x5300).open(socket.AF_INET) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) == 0x5300


# One probe.


async def probe(name: ProbeName, server: Server, **source: Any) -> ProbeResult:
    one = make_probe(name, Address.of("192.0.2.80", 80), GREETING, 221, 1)
    return await run_probe(one, server, PATIENCE, Source(**source))


async def test_ipv6() -> None:
    async with running_proxy(listen=("[::1]:0",)) as proxy:
        result = await probe("socks5-no-auth", at(proxy.port, "::1"))
    assert result.outcome is Outcome.ANSWERED_PROXY
    assert result.answer_seconds is not None
    assert 0 < result.answer_seconds <= result.seconds


@pytest.mark.parametrize(
    ("serve", "end", "outcome"),
    [
        (servers.silent, End.SILENCE, Outcome.NO_ANSWER),
        (servers.hang_up, End.FIN, Outcome.CLOSED),
        (servers.reset, End.RST, Outcome.RESET),
        (servers.web, End.PROBER, Outcome.ANSWERED_OTHER),
    ],
)
async def test_how_a_server_ends_a_probe(serve: Serve, end: End, outcome: Outcome) -> None:
    async with target(serve) as port:
        result = await probe("random", at(port))
    assert (result.end, result.outcome) == (end, outcome)
    assert (result.answer_seconds is None) == (not result.answered)


async def test_a_syn_that_nobody_answers() -> None:
    """A backlog that is full drops SYNs."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        server = at(listener.getsockname()[1])
        filler = stack.enter_context(socket.create_connection(listener.getsockname()))
        assert filler.getpeername() == listener.getsockname()
        assert (await probe("socks5-no-auth", server)).outcome is Outcome.TIMEOUT


async def test_where_there_is_no_way() -> None:
    """From a loopback address no other network can be reached."""
    result = await probe("socks5-no-auth", at(9, "192.0.2.1"), bind={socket.AF_INET: "127.0.0.1"})
    assert result.outcome is Outcome.UNREACHABLE


async def test_the_address_to_come_from_is_gone() -> None:
    result = await probe("socks5-no-auth", at(9), bind={socket.AF_INET: "192.0.2.1"})
    assert result.outcome is Outcome.UNREACHABLE
