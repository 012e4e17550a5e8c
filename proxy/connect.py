"""CONNECT (RFC 1928 section 4): judge the target, resolve it, dial it or go through an upstream."""

from __future__ import annotations

import asyncio
import time
from socket import SocketType
from typing import TYPE_CHECKING

from proxy.dial import Dial, DialFailed, by_family, dial_any, family_of, local_address
from proxy.flows import Flow
from proxy.policy import Verdict
from proxy.resolver import SocketAddress
from proxy.upstream import Hop, through
from proxy.wire import Address, AddressType, Command, ReplyCode

if TYPE_CHECKING:
    from proxy.session import Session


class Denied(Exception):
    """None of a name's addresses is allowed; the text is the rule's name."""


class Connect:
    """An `Errand`. An address is dialed at once, without a task; a name, and what goes through an upstream, in one."""

    __slots__ = ("_began", "_dial", "_flow", "_session", "_target", "_task")
    reading = False

    def __init__(self, session: Session) -> None:
        request = session.request
        assert request is not None
        self._session = session
        self._target = request.target
        self._dial: Dial | None = None
        self._task: asyncio.Task[None] | None = None
        self._flow: Flow | None = None
        self._began = 0.0

    def begin(self) -> None:
        """See `Errand`."""
        session, target = self._session, self._target
        services = session.services
        policy = services.policy
        verdict: Verdict | None = None
        if not policy.free:
            if target.type is AddressType.DOMAIN:
                verdict = policy.judge(session.user, session.source, Command.CONNECT, target)
            else:
                verdict = policy.judge_connect(session.user, session.source, target.host, target.port)
            if verdict is not None and not verdict.allowed:
                session.refuse(ReplyCode.NOT_ALLOWED, rule=verdict.rule)
                return
        self._began = session.asked
        if target.type is AddressType.DOMAIN or (verdict is not None and verdict.via):
            session.no_deadline()  # the task has its own
            self._task = services.tasks.create_task(self._reach(verdict), name=f"dial for {session.name}")
            return
        rule, egress = ("", services.settings.egress) if verdict is None else (verdict.rule, verdict.egress)
        self._flow = Flow(session, target.host, rule)
        services.deadlines.set(session, self._began + services.settings.connect_seconds)
        try:
            self._dial = Dial(target, self._dialed, by_family(egress).get(family_of(target), "") if egress else "")
            services.relay.poller.watch(self._dial.sock, self._dial)
        except DialFailed as failed:
            session.refuse(failed.code, flow=self._flow)

    def ready(self, mask: int) -> None:
        """See `Errand`: it does not read."""

    def expired(self) -> None:
        """See `Errand`."""
        self._session.refuse(ReplyCode.HOST_UNREACHABLE, "timed out", flow=self._flow)

    def close(self) -> None:
        """See `Errand`."""
        if self._dial is not None:
            self._session.services.relay.poller.forget(self._dial.sock)
            self._dial.sock.close()
            self._dial = None
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _dialed(self, failed: ReplyCode | None) -> None:
        """The connect of `_dial` is over."""
        session = self._session
        try:
            assert self._dial is not None
            assert self._flow is not None
            if failed is None:
                sock, self._dial = self._dial.sock, None
                self._hand_over(sock, local_address(sock), self._flow)
            else:
                session.refuse(failed, flow=self._flow)
        except Exception as error:
            session.failed(error)

    def _hand_over(self, sock: SocketType, bound: Address, flow: Flow) -> None:
        flow.dial_seconds = time.monotonic() - self._began
        self._session.services.row.dialed(flow.dial_seconds)
        try:
            self._session.hand_over(sock, bound, flow)
        except Exception:  # the client is gone, most likely; until the relay has it, the socket is ours
            self._session.services.relay.poller.forget(sock)
            sock.close()
            raise

    async def _reach(self, verdict: Verdict | None) -> None:
        session = self._session
        try:
            async with asyncio.timeout(session.services.settings.connect_seconds):
                flow, sock, bound = await self._dial_name(verdict)
            self._task = None  # from here on nothing waits: there is nothing to cancel
            self._hand_over(sock, bound, flow)
        except TimeoutError:
            self._task = None
            session.refuse(ReplyCode.HOST_UNREACHABLE, "timed out", flow=self._flow)
        except Denied as denied:
            self._task = None
            session.refuse(ReplyCode.NOT_ALLOWED, rule=str(denied))
        except DialFailed as failed:
            self._task = None
            session.refuse(failed.code, failed.why, flow=self._flow)
        except Exception as error:
            self._task = None
            session.failed(error)

    async def _dial_name(self, verdict: Verdict | None) -> tuple[Flow, SocketType, Address]:
        session, services, target = self._session, self._session.services, self._target
        dns_seconds = 0.0
        addresses: list[SocketAddress] = []
        if verdict is None or not verdict.via:
            addresses = await self._resolve(target)
            dns_seconds = time.monotonic() - self._began
            services.row.resolved(dns_seconds)
            verdict, addresses = self._allowed(addresses, verdict)
        flow = self._flow = Flow(session, rule=verdict.rule, via=verdict.via)
        flow.dns_seconds = dns_seconds
        self._began = time.monotonic()
        egress, seconds = by_family(verdict.egress), services.settings.connect_seconds
        if verdict.via:
            hop = Hop.of(verdict.via, services.settings.upstreams[verdict.via])
            if addresses:  # what was judged is an address: by the name, the upstream might find another one
                target = Address.of(str(addresses[0][1][0]), target.port)
            sock, bound = await through(hop, target, services.resolver, egress=egress, seconds=seconds)
        else:
            sock, address = await dial_any(addresses, egress=egress, seconds=seconds)
            flow.address = str(address[1][0])
            bound = local_address(sock)
        return flow, sock, bound

    async def _resolve(self, target: Address) -> list[SocketAddress]:
        try:
            return await self._session.services.resolver.resolve(target.host, target.port)
        except TimeoutError:
            raise
        except OSError as error:
            raise DialFailed(ReplyCode.HOST_UNREACHABLE, f"no address: {error.strerror or error}") from error

    def _allowed(self, addresses: list[SocketAddress], verdict: Verdict | None) -> tuple[Verdict, list[SocketAddress]]:
        """Those of a name's addresses that may be dialed, and the verdict on the first of them."""
        session = self._session
        policy = session.services.policy
        if policy.free:
            return Verdict(True, "", "", session.services.settings.egress), addresses
        found: list[SocketAddress] = []
        refused, chosen = verdict, None
        for family, address in addresses:
            judged = policy.judge_address(
                session.user, session.source, Command.CONNECT, self._target.host, str(address[0]), self._target.port
            )
            if not judged.allowed:
                refused = refused or judged
            elif chosen is None or (judged.via, judged.egress) == (chosen.via, chosen.egress):
                chosen = judged
                found.append((family, address))
        if chosen is None:
            raise Denied(refused.rule if refused is not None else "no address")
        return chosen, found
