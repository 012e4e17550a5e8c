"""Asking workers over their channels: answers, workers that are dead, slow, broken, talkative."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from proxy import control
from proxy.control import FLOWS_MOST, Message, Workers, channel, select_flows, serve_control
from tests.integration.proxy.world import SECONDS

Channels = list[tuple[socket.socket, socket.socket]]


@pytest.fixture
def channels() -> Iterator[Channels]:
    pairs = [channel() for _ in range(2)]
    yield pairs
    for pair in pairs:
        for sock in pair:
            sock.close()


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(control.log, "warning", lambda event, **fields: found.append((event, fields)))
    monkeypatch.setattr(control.log, "exception", lambda event, **fields: found.append((event, fields)))
    return found


def workers_of(channels: Channels) -> Workers:
    return Workers([first for first, _ in channels])


async def test_all_workers_answer_in_the_order_of_their_places(channels: Channels) -> None:
    stops = [
        serve_control(second, lambda request, place=place: {"place": place, "asked": request})
        for place, (_, second) in enumerate(channels)
    ]
    answers = await workers_of(channels).ask({"do": "flows", "limit": 3})
    assert answers == [{"place": place, "asked": {"do": "flows", "limit": 3}} for place in (0, 1)]
    for stop in stops:
        stop()


async def test_requests_at_the_same_time_get_their_own_answers(channels: Channels) -> None:
    stops = [serve_control(second, lambda request: {"n": request["n"]}) for _, second in channels]
    workers = workers_of(channels)
    answers = await asyncio.gather(*(workers.ask({"n": n}) for n in range(30)))
    assert answers == [[{"n": n}, {"n": n}] for n in range(30)]
    for stop in stops:
        stop()


async def test_a_long_answer_arrives_whole(channels: Channels) -> None:
    flows = [{"flow": n, "target": "x" * 100} for n in range(30_000)]
    stops = [serve_control(second, lambda request: {"flows": flows}) for _, second in channels]
    answers = await workers_of(channels).ask({})
    assert answers == [{"flows": flows}] * 2
    for stop in stops:
        stop()


async def test_who_does_not_answer_in_time_is_left_out(
    channels: Channels, monkeypatch: pytest.MonkeyPatch, logged: list[tuple[str, dict[str, Any]]]
) -> None:
    monkeypatch.setattr(control, "ANSWER_SECONDS", 0.1)
    stop = serve_control(channels[1][1], lambda request: {"place": 1})
    workers = workers_of(channels)
    assert await workers.ask({}) == [{"place": 1}]
    assert logged == [("worker_does_not_answer", {"place": 0, "error": "none in 0.1 s"})]

    # Its successor finds the old request, and disturbs nobody by answering it.
    asked: list[Message] = []

    def late(request: Message) -> Message:
        asked.append(request)
        return {"place": 0, "bytes": "x" * 100_000}

    stop_late = serve_control(channels[0][1], late)
    assert [answer["place"] for answer in await workers.ask({"new": 1})] == [0, 1]
    assert asked == [{}, {"new": 1}]
    stop()
    stop_late()


def test_a_killed_worker_is_missing_and_its_successor_answers(
    channels: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(place: int) -> int:
        if pid := os.fork():
            return pid
        try:
            asyncio.run(serve(channels[place][1]))
        finally:
            os._exit(0)

    def kill(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    def ask(seconds: float) -> list[object]:
        monkeypatch.setattr(control, "ANSWER_SECONDS", seconds)
        return [answer["pid"] for answer in asyncio.run(workers.ask({}))]

    workers, pids = workers_of(channels), [start(0), start(1)]
    assert ask(SECONDS) == pids
    kill(pids[0])
    assert ask(0.2) == pids[1:]
    pids[0] = start(0)
    assert ask(SECONDS) == pids
    for pid in pids:
        kill(pid)


async def serve(sock: socket.socket) -> None:
    serve_control(sock, lambda request: {"pid": os.getpid()})
    await asyncio.get_running_loop().create_future()


async def test_a_mistake_in_a_worker_is_logged_there_and_the_answer_missing(
    channels: Channels, logged: list[tuple[str, dict[str, Any]]]
) -> None:
    def broken(request: Message) -> Message:
        raise ZeroDivisionError

    stops = [serve_control(channels[0][1], broken), serve_control(channels[1][1], lambda request: {"ok": 1})]
    assert await workers_of(channels).ask({}) == [{"ok": 1}]
    assert [event for event, _ in logged] == ["control_failed", "worker_does_not_answer"]
    for stop in stops:
        stop()


async def test_an_answer_that_is_too_long_is_left_out(channels: Channels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "ANSWER_BYTES", 1000)
    stops = [
        serve_control(second, lambda request, size=size: {"text": "x" * size})
        for size, (_, second) in zip((2_000_000, 5), channels, strict=True)
    ]
    assert await workers_of(channels).ask({}) == [{"text": "xxxxx"}]
    for stop in stops:
        stop()


async def test_a_request_that_is_too_long_is_a_mistake(channels: Channels) -> None:
    with pytest.raises(ValueError, match="expected at most"):
        await workers_of(channels).ask({"user": "x" * control.REQUEST_BYTES})


async def test_a_channel_that_is_full_costs_nobody_time(channels: Channels) -> None:
    """Requests of a worker that hangs: the kernel takes so many, then none; the others answer."""
    stop = serve_control(channels[1][1], lambda request: {"ok": 1})
    first = channels[0][0]
    first.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            first.send(b"?")
    assert await workers_of(channels).ask({}) == [{"ok": 1}]
    stop()


async def test_what_is_no_request_is_dropped(channels: Channels) -> None:
    stop = serve_control(channels[0][1], lambda request: {"ok": 1})
    first, _ = channels[0]
    for junk in (b"", b"no JSON\n"):
        near, far = socket.socketpair()
        with near, far:
            near.send(junk or b"[]\n")
            socket.send_fds(first, [b"?"], [far.fileno()])
            far.close()
            near.setblocking(False)
            async with asyncio.timeout(SECONDS):
                assert await asyncio.get_running_loop().sock_recv(near, 10) == b""
    with open(os.devnull) as file:  # no socket
        socket.send_fds(first, [b"?"], [file.fileno()])
    first.send(b"?")  # no descriptor
    assert await Workers([first]).ask({}) == [{"ok": 1}]
    stop()


async def test_when_nobody_is_left_to_ask_the_worker_goes_on(channels: Channels) -> None:
    stop = serve_control(channels[0][1], lambda request: {})
    channels[0][0].close()
    for _ in range(3):  # turns of the loop: it sees the end in the first
        await asyncio.sleep(0)
    assert not asyncio.get_running_loop().remove_reader(channels[0][1]), "it does not listen any more"
    stop()


async def test_stopping_ends_answers_under_way(channels: Channels) -> None:
    stop = serve_control(channels[0][1], lambda request: {"text": "x" * 5_000_000})
    near, far = socket.socketpair()
    with near:
        near.send(b"{}\n")
        socket.send_fds(channels[0][0], [b"?"], [far.fileno()])
        far.close()
        near.setblocking(False)
        loop, size = asyncio.get_running_loop(), 0
        size += len(await loop.sock_recv(near, 1000))
        stop()
        async with asyncio.timeout(SECONDS):
            while chunk := await loop.sock_recv(near, 1 << 20):
                size += len(chunk)
    assert size < 5_000_000


FLOWS = [
    {"flow": 1, "user": "anna", "target": "example.com:443"},
    {"flow": 2, "user": "bert", "target": "[2001:db8::1]:443"},
    {"flow": 3, "user": "anna", "target": "example.com:80"},
]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, [1, 2, 3]),
        ({"limit": 2}, [1, 2]),
        ({"limit": 0}, []),
        ({"user": "anna"}, [1, 3]),
        ({"user": "anna", "limit": 1}, [1]),
        ({"user": ""}, []),
        ({"target": "example.com"}, [1, 3]),
        ({"target": "example.com:80"}, [3]),
        ({"target": "example"}, []),
        ({"target": "[2001:db8::1]", "user": "bert"}, [2]),
    ],
)
def test_flows_are_chosen_by_user_and_target(request_: Message, expected: list[int]) -> None:
    assert [flow["flow"] for flow in select_flows(FLOWS, request_)] == expected


def test_there_is_a_most() -> None:
    assert len(select_flows(FLOWS * FLOWS_MOST, {"limit": 10**9})) == FLOWS_MOST
    assert len(select_flows(FLOWS * FLOWS_MOST, {})) == FLOWS_MOST
