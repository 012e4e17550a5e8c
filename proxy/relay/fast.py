"""The relay of Linux: all flows on one epoll beside the asyncio loop (`poller`), moved by copy or splice (`end`)."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from socket import SocketType
from typing import Self

from proxy.relay.bucket import Bucket, Narrowest
from proxy.relay.deadlines import Deadlines
from proxy.relay.end import BUFFER_BYTES, End, Flow
from proxy.relay.flow import Carried, Ended, Limits, Meter, Reason
from proxy.relay.pipes import PipePool
from proxy.relay.poller import EpollPoller

SUPPORTED = hasattr(select, "epoll") and hasattr(os, "splice")

PAUSE_TICK_SECONDS = 0.005


class FastRelay:
    """`Relay` on a nested epoll and splice. One thread, no locks: call it from the loop it was entered in."""

    def __init__(self, limits: Limits, *, pipes: PipePool | None = None) -> None:
        self.limits = limits
        self.pipes = pipes or PipePool()
        self.view = memoryview(bytearray(BUFFER_BYTES))
        self._flows: set[Flow] = set()

    async def __aenter__(self) -> Self:
        self.poller = EpollPoller()
        self._idle: Deadlines[Flow] = Deadlines(self.limits.sweep_seconds, self._look_at)
        self._pauses: Deadlines[End] = Deadlines(PAUSE_TICK_SECONDS, End.resume)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._idle.close()
        self._pauses.close()
        while self._flows:
            next(iter(self._flows)).end(Reason.STOPPED)
        self.poller.close()
        self.pipes.close()

    def __len__(self) -> int:
        return len(self._flows)

    def add(
        self,
        client: SocketType,
        target: SocketType,
        early_data: bytes,
        ended: Callable[[Ended], object],
        meters: tuple[Meter, Meter] | None = None,
    ) -> Carried:
        """See `Relay.add`."""
        flow = Flow(self, client, target, ended)
        self._flows.add(flow)
        ends = flow.client, flow.target
        if meters is not None:
            ends[0].meter, ends[1].meter = meters
        if rate := self.limits.rate_bytes_per_second:
            for end in ends:
                bucket = Bucket(rate, flow.last_active)
                end.meter = Narrowest(bucket, end.meter) if end.meter else bucket
        self._idle.set(flow, flow.last_active + self.limits.look_seconds)
        if early_data:
            flow.client.deliver(early_data)
        try:
            for end in ends:
                if not flow.closed:
                    self.poller.watch(end.sock, end)
        except OSError:  # fs.epoll.max_user_watches
            flow.end(Reason.STOPPED)
        return flow

    def over(self, flow: Flow) -> None:
        """See `Carrier.over`."""
        self._flows.discard(flow)
        self._idle.clear(flow)
        for end in (flow.client, flow.target):
            if end.meter is not None:
                self._pauses.clear(end)

    def pause(self, source: End, seconds: float) -> None:
        """See `Carrier.pause`."""
        self._pauses.set(source, self.poller.now + seconds)

    def _look_at(self, flow: Flow) -> None:
        """It is time to look at `flow`: end it, if it is over its limit, else look again when it may be. (A flow whose
        one direction ends is over the shorter limit not before its next look.)"""
        half_closed = flow.half_closed
        due = flow.last_active + (self.limits.half_close_seconds if half_closed else self.limits.idle_seconds)
        if due <= self.poller.moment():
            flow.end(Reason.HALF_CLOSED if half_closed else Reason.IDLE)
        else:
            self._idle.set(flow, min(due, self.poller.now + self.limits.look_seconds))
