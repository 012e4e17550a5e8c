"""UDP ASSOCIATE (RFC 1928 section 7): datagrams between one client and whatever it sends to.

One socket towards the client, on the address its TCP connection came in on; one per family towards targets, made when
it is needed. What comes in is judged datagram by datagram: the client's by its source (the host of the TCP connection;
the port of the first one is kept), its destination by the rules; a target's by whether the client has sent to that
host. Datagrams are dropped, never queued, except while a name is looked up.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Callable
from ipaddress import ip_address
from socket import SocketType
from typing import Protocol

from proxy import log
from proxy.dial import ADDRESSES_MOST, by_family
from proxy.flows import Services
from proxy.ledger import DOWN, UP
from proxy.metrics import Drop, Row
from proxy.policy import Policy
from proxy.reassembly import Reassembly
from proxy.relay.flow import Meter
from proxy.relay.poller import READ, Poller
from proxy.settings import UdpSettings
from proxy.wire import Address, AddressType, Command, ProtocolError
from proxy.wire.udp import Datagram, read_datagram, write_datagram

RECEIVE_BYTES = 65535
AT_ONCE = 64
"""Datagrams of one socket before the others have their turn."""
BUFFER_BYTES = 1 << 20
"""Asked of the kernel for each socket, which may give less (net.core.rmem_max)."""
REMEMBERED = 1024
"""Destinations whose verdict, and hosts that have been sent to, are remembered per association."""
NAME_SECONDS = 30.0
"""How long a name's address is used without asking again."""
DATAGRAMS_WAITING = 16
"""Datagrams of an association that wait for the addresses of their names, at the most: a megabyte."""


class Owner(Protocol):
    """The session that an association belongs to."""

    user: str
    source: str
    """The client's address."""

    def association_over(self, *, quota: bool) -> None:
        """The association can go no further; it has not been closed."""


class Association:
    """The datagrams of one client. `close()` is the owner's to call."""

    def __init__(
        self,
        services: Services,
        owner: Owner,
        settings: UdpSettings,
        local: str,
        *,
        egress: tuple[str, ...] = (),
        meters: tuple[Meter, Meter] | None = None,
    ) -> None:
        """Bind a socket on `local`, the address that the client's connection came in on. Raises OSError."""
        self._services = services
        self._row: Row = services.row
        self._owner = owner
        self._egress = by_family(egress)
        self._meters = meters
        self._reassembly = Reassembly() if settings.fragments == "reassemble" else None
        self._policy: Policy | None = None
        self._allowed: dict[Address, Places] = {}
        self._names: dict[str, tuple[float, list[str]]] = {}
        self._waiting: dict[str, list[Datagram]] = {}
        self._lookups: set[asyncio.Task[None]] = set()
        self._talked: dict[str, None] = {}
        self._client: tuple[object, ...] | None = None
        self._source = _plain(owner.source)
        self._outlets: dict[int, _Inlet] = {}
        self.closed = False
        self.moved_up = self.moved_down = 0
        """Bytes of data, headers apart, that went to targets and to the client."""
        self.last_active = time.monotonic()
        self._inlet = _Inlet(services.relay.poller, local, self._from_client)
        name = self._inlet.sock.getsockname()
        self.bound = Address.of(settings.advertise or _plain(str(name[0])), name[1])
        """BND.ADDR: where the client is to send its datagrams."""

    @property
    def moved(self) -> tuple[int, int]:
        """See `proxy.relay.flow.Carried`."""
        return self.moved_up, self.moved_down

    def close(self) -> None:
        """Close all sockets."""
        if self.closed:
            return
        self.closed = True
        for inlet in (self._inlet, *self._outlets.values()):
            inlet.close()
        for task in self._lookups:
            task.cancel()

    # From the client to targets.

    def _from_client(self, data: bytes, sender: tuple[object, ...]) -> None:
        if self._client is None:
            if _plain(str(sender[0])) != self._source:
                self._row.datagram_dropped(Drop.SOURCE)
                return
        elif sender != self._client:
            self._row.datagram_dropped(Drop.SOURCE)
            return
        try:
            datagram = read_datagram(data)
        except ProtocolError:
            self._row.datagram_dropped(Drop.MALFORMED)
            return
        self._client = sender
        self.last_active = now = time.monotonic()
        if datagram.fragment:
            if self._reassembly is None:
                self._row.datagram_dropped(Drop.FRAGMENT)
                return
            whole = self._reassembly.add(datagram, now)
            if whole is None:
                return
            datagram = whole
        elif self._reassembly is not None:
            self._reassembly.add(datagram, now)  # one that stands alone ends a sequence that is not complete
        self._forward(datagram)

    def _forward(self, datagram: Datagram) -> None:
        policy = self._services.policy
        if policy is not self._policy:  # the rules were changed
            self._policy = policy
            self._allowed.clear()
        target = datagram.target
        if target.type is AddressType.DOMAIN:
            target = Address.of(target.host, target.port)  # an IP literal that came as a domain
        places = self._allowed.get(target)
        if places is None:
            if target.type is AddressType.DOMAIN and not self._known(target, datagram):
                return
            places = self._judge(target)
        if places:
            self._send(places, datagram.data)
        else:
            self._row.datagram_dropped(Drop.POLICY)

    def _judge(self, target: Address) -> Places:
        """Where datagrams to `target` may go. Remembered, where it is an address."""
        owner, policy = self._owner, self._services.policy
        name, addresses = "", [target.host]
        if target.type is AddressType.DOMAIN:
            name, addresses = target.host, self._names[target.host][1]
        places = []
        for address in addresses:
            verdict = policy.judge_address(owner.user, owner.source, Command.UDP_ASSOCIATE, name, address, target.port)
            if verdict.allowed and not verdict.via:
                places.append((address, target.port))
        if not name:
            if len(self._allowed) >= REMEMBERED:
                del self._allowed[next(iter(self._allowed))]
            self._allowed[target] = tuple(places)
        return tuple(places)

    def _known(self, target: Address, datagram: Datagram) -> bool:
        """Whether the addresses of a name are there; else `datagram` waits for them."""
        owner = self._owner
        judged = self._services.policy.judge(owner.user, owner.source, Command.UDP_ASSOCIATE, target)
        if judged is not None and not judged.allowed:
            self._row.datagram_dropped(Drop.POLICY)
            return False
        known = self._names.get(target.host)
        if known is not None and known[0] > time.monotonic():
            if not known[1]:
                self._row.datagram_dropped(Drop.UNRESOLVED)
            return bool(known[1])
        waiting = self._waiting.get(target.host)
        if sum(map(len, self._waiting.values())) >= DATAGRAMS_WAITING:
            self._row.datagram_dropped(Drop.UNRESOLVED)
        elif waiting is not None:
            waiting.append(datagram)
        else:
            self._waiting[target.host] = [datagram]
            task = self._services.tasks.create_task(self._look_up(target), name="look-up of a datagram's name")
            self._lookups.add(task)
            task.add_done_callback(self._lookups.discard)
        return False

    async def _look_up(self, target: Address) -> None:
        try:
            found = await self._services.resolver.resolve(target.host, target.port)
            addresses = [str(address[0]) for _, address in found[:ADDRESSES_MOST]]
        except OSError:
            addresses = []
        try:
            self._looked_up(target, addresses)
        except Exception:  # a mistake of ours must not end the server, whose task group this is in
            log.exception("association_failed", source=self._source)

    def _looked_up(self, target: Address, addresses: list[str]) -> None:
        if len(self._names) >= REMEMBERED:
            del self._names[next(iter(self._names))]
        self._names[target.host] = (time.monotonic() + NAME_SECONDS, addresses)
        for datagram in self._waiting.pop(target.host, ()):
            if self.closed:
                return
            if addresses:
                self._forward(datagram)
            else:
                self._row.datagram_dropped(Drop.UNRESOLVED)

    def _send(self, places: Places, data: bytes) -> None:
        """Send to the first of `places` that takes it: where there is no route to one family, to the other."""
        if self._meters is not None and not self._metered(self._meters[0], len(data)):
            return
        for place in places:
            host = place[0]
            try:
                self._outlet(socket.AF_INET6 if ":" in host else socket.AF_INET).sock.sendto(data, place)
            except BlockingIOError:
                break  # no room: UDP promises nothing
            except OSError:
                continue  # no route to this one, or too long
            if host not in self._talked:
                if len(self._talked) >= REMEMBERED:
                    del self._talked[next(iter(self._talked))]
                self._talked[host] = None
            self.moved_up += len(data)
            self._row.datagram_forwarded(UP)
            return
        self._row.datagram_dropped(Drop.UNSENT)

    def _outlet(self, family: int) -> _Inlet:
        found = self._outlets.get(family)
        if found is None:
            address = self._egress.get(family) or ("::" if family == socket.AF_INET6 else "0.0.0.0")
            found = self._outlets[family] = _Inlet(self._services.relay.poller, address, self._from_target)
        return found

    # From targets to the client.

    def _from_target(self, data: bytes, sender: tuple[object, ...]) -> None:
        host = str(sender[0])
        if host not in self._talked or self._client is None:
            self._row.datagram_dropped(Drop.SOURCE)
            return
        self.last_active = time.monotonic()
        if self._meters is not None and not self._metered(self._meters[1], len(data)):
            return
        port = sender[1]
        assert isinstance(port, int)
        try:
            self._inlet.sock.sendto(write_datagram(Datagram(0, Address.of(host, port), data)), self._client)
            self.moved_down += len(data)
            self._row.datagram_forwarded(DOWN)
        except OSError:
            self._row.datagram_dropped(Drop.UNSENT)

    def _metered(self, meter: Meter, size: int) -> bool:
        """Whether a datagram of `size` bytes may go now. UDP is policed: what is too much is dropped."""
        available = meter.available(time.monotonic())
        if available >= size:
            meter.spend(size)
            return True
        if available > 0:
            meter.spend(0)
        elif meter.wait_seconds() is None:
            self._owner.association_over(quota=True)
        self._row.datagram_dropped(Drop.LIMIT)
        return False


Places = tuple[tuple[str, int], ...]
"""Addresses and ports that datagrams may go to, the best one first."""


class _Inlet:
    """A UDP socket and what its datagrams go to. A `Watcher`."""

    pending = 0
    reading = True

    def __init__(self, poller: Poller, address: str, arrived: Callable[[bytes, tuple[object, ...]], object]) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.sock = SocketType(family, socket.SOCK_DGRAM)
        self._poller = poller
        self._arrived = arrived
        self._handle: asyncio.Handle | None = None
        self._closed = False
        try:
            self.sock.setblocking(False)
            if family == socket.AF_INET6:
                self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                self.sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
            self.sock.bind((address, 0))
            poller.watch(self.sock, self)
        except OSError:
            self.sock.close()
            raise

    def close(self) -> None:
        """Stop watching, and close."""
        if self._closed:
            return
        self._closed = True
        if self._handle is not None:
            self._handle.cancel()
        self._poller.forget(self.sock)
        self.sock.close()

    def ready(self, mask: int) -> None:
        """See `Watcher`."""
        for _ in range(AT_ONCE):
            if self._closed:
                return
            try:
                data, sender = self.sock.recvfrom(RECEIVE_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ECONNREFUSED:
                    continue  # an ICMP error about a datagram that was sent
                return
            self._arrived(data, sender)
        # What is left was reported, and will not be again.
        if self._handle is None and not self._closed:
            self._handle = asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._handle = None
        self.ready(READ)


def _plain(host: str) -> str:
    """An address without a zone, and IPv4 out of its mapped form."""
    address = ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
