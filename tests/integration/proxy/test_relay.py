"""What every relay promises, on real TCP: the fast one and the portable one pass the same tests."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from proxy.relay import Ended, FastRelay, Limits, PortableRelay, Reason, Relay, fast, open_relay
from proxy.relay.flow import Meter, prepare
from proxy.relay.pipes import PipePool
from proxy.relay.poller import EpollPoller, FlowLoop
from tests.integration.proxy.world import SECONDS, receive, receive_all, send, tcp_pair

LONG = Limits(idle_seconds=60, half_close_seconds=60)
BULK = os.urandom(1 << 20) * 24

needs_splice = pytest.mark.skipif(not fast.SUPPORTED, reason="no epoll or no os.splice here")
relays = pytest.mark.parametrize(
    "make", [pytest.param(FastRelay, marks=needs_splice, id="fast"), pytest.param(PortableRelay, id="portable")]
)
Make = Callable[[Limits], Relay]


class World:
    """A flow under test: `client` and `target` are the far ends of what the relay carries."""

    def __init__(self, relay: Relay, early_data: bytes, meters: tuple[Meter, Meter] | None = None) -> None:
        self.relay = relay
        self.client, relay_client = tcp_pair()
        self.target, relay_target = tcp_pair()
        self._ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        prepare(relay_client)
        prepare(relay_target)
        self.carried = relay.add(relay_client, relay_target, early_data, self._ended.set_result, meters)

    async def ended(self) -> Ended:
        return await asyncio.wait_for(asyncio.shield(self._ended), SECONDS)

    def close(self) -> None:
        self.client.close()
        self.target.close()


@contextlib.asynccontextmanager
async def flow(
    make: Make, limits: Limits = LONG, early_data: bytes = b"", meters: tuple[Meter, Meter] | None = None
) -> AsyncIterator[World]:
    async with make(limits) as relay:
        world = World(relay, early_data, meters)
        try:
            yield world
        finally:
            world.close()


def reset(sock: socket.socket) -> None:
    """Close so that the peer gets an RST."""
    prepare(sock)
    sock.close()


@relays
async def test_bytes_both_ways_and_an_orderly_end(make: Make) -> None:
    async with flow(make) as world:
        await send(world.client, b"ping")
        assert await receive(world.target, 4) == b"ping"
        await send(world.target, b"pong!")
        assert await receive(world.client, 5) == b"pong!"
        assert len(world.relay) == 1
        world.client.shutdown(socket.SHUT_WR)
        assert await receive_all(world.target) == b""
        world.target.close()
        assert await receive_all(world.client) == b""
        assert await world.ended() == Ended(4, 5, Reason.EOF)
        assert len(world.relay) == 0


@relays
@pytest.mark.parametrize("early_data", [b"hello ", BULK], ids=["small", "more than a socket takes"])
async def test_early_data_goes_first_and_once(make: Make, early_data: bytes) -> None:
    async with flow(make, early_data=early_data) as world:
        await send(world.client, b"world")
        world.client.shutdown(socket.SHUT_WR)
        assert await receive_all(world.target) == early_data + b"world"
        world.target.close()
        assert await world.ended() == Ended(len(early_data) + 5, 0, Reason.EOF)


@relays
async def test_early_data_for_a_target_that_is_gone(make: Make) -> None:
    async with make(LONG) as relay:
        client, relay_client = tcp_pair()
        target, relay_target = tcp_pair()
        for sock in (relay_client, relay_target):
            prepare(sock)
        reset(target)
        ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        relay.add(relay_client, relay_target, b"early", ended.set_result)
        assert await asyncio.wait_for(ended, SECONDS) == Ended(0, 0, Reason.TARGET_RESET)
        assert len(relay) == 0
        with client, pytest.raises(ConnectionResetError):
            await receive(client, 1)


@relays
@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
async def test_half_close_comes_after_all_bytes_and_the_other_direction_goes_on(make: Make, up: bool) -> None:
    async with flow(make) as world:
        closer, other = (world.client, world.target) if up else (world.target, world.client)
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(send(closer, BULK))
            sending.add_done_callback(lambda _: closer.shutdown(socket.SHUT_WR))
            assert await receive_all(other) == BULK
        for size in (3, 3):
            await send(other, b"abc")
            assert await receive(closer, size) == b"abc"
        await send(other, BULK[:1000])
        other.shutdown(socket.SHUT_WR)
        assert await receive_all(closer) == BULK[:1000]
        ended = await world.ended()
        assert ended.reason is Reason.EOF
        assert sorted((ended.bytes_up, ended.bytes_down)) == [1006, len(BULK)]


@relays
async def test_big_transfers_in_both_directions_at_once(make: Make) -> None:
    """Big enough for splice, with the sinks full again and again; compared by hash."""
    up, down = BULK, BULK[::-1]
    async with flow(make) as world, asyncio.TaskGroup() as group:

        async def send_all(sock: socket.socket, data: bytes) -> None:
            await send(sock, data)
            sock.shutdown(socket.SHUT_WR)

        group.create_task(send_all(world.client, up))
        group.create_task(send_all(world.target, down))
        at_target = group.create_task(receive_all(world.target))
        at_client = group.create_task(receive_all(world.client))
        assert hashlib.sha256(await at_target).digest() == hashlib.sha256(up).digest()
        assert hashlib.sha256(await at_client).digest() == hashlib.sha256(down).digest()
        assert await world.ended() == Ended(len(up), len(down), Reason.EOF)


@relays
@pytest.mark.parametrize("by_client", [True, False], ids=["client", "target"])
async def test_a_reset_is_passed_on_as_a_reset(make: Make, by_client: bool) -> None:
    async with flow(make) as world:
        await send(world.client, b"x")
        assert await receive(world.target, 1) == b"x"
        reset(world.client if by_client else world.target)
        with pytest.raises(ConnectionResetError):
            await receive(world.target if by_client else world.client, 1)
        assert (await world.ended()).reason is (Reason.CLIENT_RESET if by_client else Reason.TARGET_RESET)


@relays
async def test_bytes_before_a_reset_arrive(make: Make) -> None:
    async with flow(make) as world:
        await send(world.target, b"last words")
        reset(world.target)
        try:
            received = await receive(world.client, 10)
        except ConnectionResetError:  # the reset may overtake them in the client's kernel, not in the relay
            received = b""
        assert received in (b"last words", b"")
        assert await world.ended() == Ended(0, 10, Reason.TARGET_RESET)


@relays
async def test_sending_to_a_closed_end_resets_the_sender(make: Make) -> None:
    """The target closes for good while the client goes on sending: its kernel answers with an RST, as it would
    without a proxy."""
    async with flow(make) as world:
        world.target.close()
        assert await receive_all(world.client) == b""
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await send(world.client, BULK)
        assert (await world.ended()).reason is Reason.TARGET_RESET


@needs_splice
async def test_the_request_of_a_download_does_not_hold_bulk_back() -> None:
    async with flow(FastRelay) as world:
        assert isinstance(world.relay, FastRelay)
        courtesy = world.relay.poller.courtesy
        await send(world.client, b"a request")
        assert await receive(world.target, 9) == b"a request"
        assert courtesy.chatted > 0
        seen, left = set(), len(BULK)
        async with asyncio.TaskGroup() as group:
            group.create_task(send(world.target, BULK))
            while left:
                left -= len(await receive(world.client, min(left, 1 << 20)))
                seen.add(courtesy.chatted)
        assert 0.0 in seen


@needs_splice
@pytest.mark.parametrize("loop_factory", [asyncio.SelectorEventLoop, FlowLoop], ids=["nested", "command's loop"])
def test_bulk_that_rests_all_the_time_loses_nothing(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def rest() -> None:
        async with flow(FastRelay) as world:
            assert isinstance(world.relay, FastRelay)
            world.relay.poller.courtesy.chatted = float("inf")
            async with asyncio.TaskGroup() as group:
                group.create_task(send(world.client, BULK))
                assert await receive(world.target, len(BULK)) == BULK

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(rest())


@needs_splice
async def test_a_reset_of_an_end_that_has_finished_is_noticed() -> None:
    async with flow(FastRelay) as world:
        world.target.shutdown(socket.SHUT_WR)
        assert await receive_all(world.client) == b""
        reset(world.target)
        assert (await world.ended()).reason is Reason.TARGET_RESET


@relays
async def test_a_slow_reader_slows_the_sender_down_and_loses_nothing(make: Make) -> None:
    async with flow(make) as world, asyncio.TaskGroup() as group:
        size = await fill(world.client)
        # What is under way fits into socket buffers and one pipe; the relay did not take it all.
        assert size < 1 << 28
        rest = group.create_task(send(world.client, BULK))
        assert not rest.done()
        received = len(await receive(world.target, size + len(BULK)))
        await rest
        world.client.shutdown(socket.SHUT_WR)
        world.target.close()
        assert (await world.ended()).bytes_up == received


async def fill(sock: socket.socket) -> int:
    """Send until nothing more is taken for a while; how many bytes that was."""
    size, idle_turns = 0, 0
    while idle_turns < 50:
        try:
            size += sock.send(BULK[: 1 << 20])
            idle_turns = 0
        except BlockingIOError:
            idle_turns += 1
            await asyncio.sleep(0.002)
    return size


@relays
async def test_an_end_that_hangs_up_while_blocked_does_not_spin(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full source that hung up: its epoll reports HUP for ever to those who let it."""
    drains = 0
    drain = EpollPoller.drain

    def counted(self: EpollPoller) -> None:
        nonlocal drains
        drains += 1
        drain(self)

    monkeypatch.setattr(EpollPoller, "drain", counted)
    async with flow(make) as world:
        size = await fill(world.client)
        world.client.close()
        await asyncio.sleep(0.05)
        drains = 0
        await asyncio.sleep(0.2)
        assert drains < 10
        assert len(await receive_all(world.target)) == size
        world.target.close()
        assert (await world.ended()).bytes_up == size


@relays
async def test_idle_flows_end_with_a_reset(make: Make) -> None:
    async with flow(make, Limits(idle_seconds=0.2, half_close_seconds=60)) as world:
        assert await world.ended() == Ended(0, 0, Reason.IDLE)
        for sock in (world.client, world.target):
            with pytest.raises(ConnectionResetError):
                await receive(sock, 1)


@relays
async def test_spliced_bytes_keep_a_flow_alive(make: Make) -> None:
    async with flow(make, Limits(idle_seconds=0.3, half_close_seconds=60)) as world:
        for _ in range(8):
            async with asyncio.TaskGroup() as group:
                group.create_task(send(world.client, BULK[: 1 << 20]))
                assert await receive(world.target, 1 << 20) == BULK[: 1 << 20]
            await asyncio.sleep(0.1)
        assert (await world.ended()).reason is Reason.IDLE


@relays
async def test_a_half_closed_flow_nobody_finishes_ends(make: Make) -> None:
    async with flow(make, Limits(idle_seconds=60, half_close_seconds=0.2)) as world:
        world.client.shutdown(socket.SHUT_WR)
        assert (await world.ended()).reason is Reason.HALF_CLOSED


@relays
async def test_leaving_the_relay_resets_what_is_left(make: Make) -> None:
    async with make(LONG) as relay:
        world = World(relay, b"")
        await send(world.client, b"x")
        assert await receive(world.target, 1) == b"x"
    assert (await world.ended()).reason is Reason.STOPPED
    with pytest.raises(ConnectionResetError):
        await receive(world.client, 1)
    world.close()


@needs_splice
async def test_without_pipes_bulk_is_copied() -> None:
    class NoPipes(PipePool):
        def take(self) -> None:
            return None

    async with flow(lambda limits: FastRelay(limits, pipes=NoPipes())) as world, asyncio.TaskGroup() as group:
        group.create_task(send(world.client, BULK))
        assert await receive(world.target, len(BULK)) == BULK


@needs_splice
async def test_idle_flows_hold_no_pipe() -> None:
    lent = 0

    class Counting(PipePool):
        def take(self):  # type: ignore[no-untyped-def]  # a spy passes on whatever the pool says
            nonlocal lent
            lent += 1
            return super().take()

        def give_back(self, pipe) -> None:  # type: ignore[no-untyped-def]
            nonlocal lent
            lent -= 1
            super().give_back(pipe)

    pipes = Counting()
    async with flow(lambda limits: FastRelay(limits, pipes=pipes)) as world:
        async with asyncio.TaskGroup() as group:
            group.create_task(send(world.client, BULK))
            assert await receive(world.target, len(BULK)) == BULK
        assert lent == 0
        await send(world.client, b"small again")
        assert await receive(world.target, 11) == b"small again"


@relays
async def test_an_urgent_mark_stops_nothing(make: Make) -> None:
    """recv stops at the mark: a short read there does not mean that the socket is empty."""
    async with flow(make) as world:
        for _ in range(20):
            await send(world.client, b"before")
            world.client.send(b"!", socket.MSG_OOB)
            await send(world.client, b"behind")
            received = await receive(world.target, 12)
            # The urgent byte itself is out of band, and dropped.
            assert received == b"beforebehind"


@relays
async def test_many_flows_at_once(make: Make) -> None:
    async with make(LONG) as relay:
        worlds = [World(relay, str(number).encode()) for number in range(64)]
        for number, world in enumerate(worlds):
            world.client.shutdown(socket.SHUT_WR)
            assert await receive_all(world.target) == str(number).encode()
            world.target.close()
        assert {(await world.ended()).reason for world in worlds} == {Reason.EOF}
        for world in worlds:
            world.close()


@relays
@pytest.mark.parametrize("rate", [1e5, 8e6], ids=["copied", "spliced"])
async def test_a_rate_limit_holds_in_each_direction_and_loses_nothing(make: Make, rate: float) -> None:
    up, down = BULK[: int(rate / 2)], BULK[: int(rate / 4)]
    async with flow(make, Limits(60, 60, rate_bytes_per_second=rate), early_data=b"early") as world:
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            group.create_task(send(world.client, up)).add_done_callback(lambda _: world.client.shutdown(1))
            group.create_task(send(world.target, down)).add_done_callback(lambda _: world.target.shutdown(1))
            at_client = group.create_task(receive_all(world.client))
            assert await receive_all(world.target) == b"early" + up
        assert at_client.result() == down
        # The burst, a tenth of a second's worth, goes at once.
        assert asyncio.get_running_loop().time() - began > 0.5 - 0.1
        assert await world.ended() == Ended(len(up) + 5, len(down), Reason.EOF)


@relays
async def test_a_limited_flow_that_is_reset_while_it_waits(make: Make) -> None:
    async with flow(make, Limits(60, 60, rate_bytes_per_second=1e5)) as world:
        await fill(world.client)
        assert len(await receive(world.target, 1000)) == 1000
        reset(world.client)
        assert (await world.ended()).reason is Reason.CLIENT_RESET


class Quota:
    """A `Meter` of so many bytes and no more, of which each look gets at most `step`."""

    def __init__(self, size_bytes: int, step: int = 1 << 20) -> None:
        self.left = size_bytes
        self.step = step

    def available(self, now: float) -> int:
        return min(self.left, self.step)

    def spend(self, size_bytes: int) -> None:
        assert 0 <= size_bytes <= self.left
        self.left -= size_bytes

    def wait_seconds(self) -> float | None:
        return None


@relays
@pytest.mark.parametrize("limits", [LONG, Limits(60, 60, rate_bytes_per_second=1e8)], ids=["alone", "with a rate"])
@pytest.mark.parametrize("size", [1000, 3 << 20], ids=["copied", "spliced"])
async def test_a_used_up_quota_ends_the_flow_to_the_byte(make: Make, limits: Limits, size: int) -> None:
    meters = Quota(size), Quota(0)
    async with flow(make, limits, meters=meters) as world:
        filling = asyncio.create_task(fill(world.client))
        with contextlib.suppress(ConnectionResetError):
            while await asyncio.get_running_loop().sock_recv(world.target, 1 << 20):
                pass
        assert await world.ended() == Ended(size, 0, Reason.QUOTA)
        filling.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await filling


@relays
async def test_the_operator_ends_a_flow(make: Make) -> None:
    async with flow(make) as world:
        await send(world.client, b"ping")
        assert await receive(world.target, 4) == b"ping"
        assert world.carried.moved == (4, 0)
        world.carried.stop(Reason.CLOSED)
        for sock in (world.client, world.target):
            with pytest.raises(ConnectionResetError):
                await receive_all(sock)
        assert await world.ended() == Ended(4, 0, Reason.CLOSED)
        world.carried.stop(Reason.CLOSED)


def test_open_relay_takes_the_fastest() -> None:
    assert isinstance(open_relay(LONG), FastRelay if fast.SUPPORTED else PortableRelay)
