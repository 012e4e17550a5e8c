"""One port, several protocols: the first byte tells them apart. Sans-IO."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from proxy.handshake.events import Event, Refused
from proxy.handshake.http import Http
from proxy.handshake.machine import Machine, Rules, State, Step
from proxy.handshake.socks4 import Socks4
from proxy.handshake.socks5 import Socks5
from proxy.wire import Address, ReplyCode

PROTOCOLS = ("socks5", "socks4", "http")
# Versions, and the letters that the methods of HTTP begin with.
MACHINES: dict[int, type[Socks5 | Socks4 | Http]] = {
    5: Socks5,
    4: Socks4,
    **dict.fromkeys(range(ord("A"), ord("Z") + 1), Http),
}
EXPECTED = {"socks5": "5", "socks4": "4", "http": "HTTP"}
TLS_HANDSHAKE = 22  # RFC 8446 section 5.1


class Unserved(Machine):
    """What begins with a byte that is not served: refused without an answer, for there is no telling in what."""

    __slots__ = ("_reason",)
    rules: ClassVar[Rules] = {(State.GREETING, Step.REFUSED): State.DONE}

    def __init__(self, reason: str) -> None:
        super().__init__(False)
        self._reason = reason

    def next_event(self) -> Event | None:
        if self.state is State.DONE:
            return None
        self._step(Step.REFUSED)
        return Refused(self._reason)


_NOBODY_YET = Machine(False)  # before the first byte; never given any, so all can share it


class Handshake:
    """One client's handshake, in the one of `protocols` that it begins to speak. See the package for its driver's loop.

    With `authenticate` the client has to say who it is; in SOCKS4 it cannot, and is refused. A call out of turn is a
    mistake of the driver, and raises KeyError.
    """

    __slots__ = ("_authenticate", "_machine", "_protocols")

    def __init__(self, *, authenticate: bool, protocols: Collection[str] = PROTOCOLS) -> None:
        self._authenticate = authenticate
        self._protocols = protocols
        self._machine: Machine = _NOBODY_YET

    @property
    def protocol(self) -> str:
        """The one of `PROTOCOLS` that the client speaks; empty as long as that is not known, and if it is none."""
        return self._machine.protocol

    def begin(self, data: bytes) -> Machine:
        """Take the first bytes that came, at least one. Gives what the rest is left to: to go on with that in the place
        of the handshake saves a call each time."""
        machine = self._machine = self._chosen(data[0])
        machine.receive(data)
        return machine

    def receive(self, data: bytes) -> None:
        """Take bytes that came from the client."""
        if self._machine is not _NOBODY_YET:
            self._machine.receive(data)
        elif data:
            self.begin(data)

    def data_to_send(self) -> bytes:
        """The bytes to send to the client now; each is returned once."""
        return self._machine.data_to_send()

    def next_event(self) -> Event | None:
        """The next event that the bytes received so far amount to; None: send, then receive more."""
        return self._machine.next_event()

    def verdict(self, right: bool) -> Refused | None:
        """Answer CredentialsPresented. A wrong one is answered with a failure and ends the handshake."""
        return self._machine.verdict(right)

    def listening(self, bound: Address) -> None:
        """Answer Requested for BIND: `bound` waits for the peer. `succeed()` or `fail()` follows."""
        self._machine.listening(bound)

    def succeed(self, bound: Address) -> None:
        """Answer Requested: what it asks for stands.

        `bound` is for CONNECT the local address of the connection; for BIND the peer's, which has connected; for
        UDP ASSOCIATE the one that takes datagrams.
        """
        self._machine.succeed(bound)

    def fail(self, code: ReplyCode) -> None:
        """Answer Requested, for BIND also after `listening()`: there will be nothing."""
        self._machine.fail(code)

    @property
    def has_early_data(self) -> bool:
        """Whether there are bytes that no message has taken yet; behind a request: early data."""
        return self._machine.has_early_data

    def early_data(self) -> bytes:
        """What the client sent behind its request, once."""
        return self._machine.early_data()

    def _chosen(self, first: int) -> Machine:
        kind = MACHINES.get(first)
        if kind is not None and kind.protocol in self._protocols:
            return kind(self._authenticate)
        expected = " or ".join(EXPECTED[one] for one in PROTOCOLS if one in self._protocols) or "nothing"
        hint = ""
        if kind is not None:
            hint = f" (looks like {kind.protocol.upper()}, which is not among the protocols)"
        elif first == TLS_HANDSHAKE:
            hint = " (looks like TLS, which this port does not speak)"
        return Unserved(f"version {first}, expected {expected}{hint}")
