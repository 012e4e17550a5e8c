"""What a handshake tells its driver. Sans-IO."""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.settings import Protocol
from proxy.wire import Address, Command, ReplyCode


@dataclass(frozen=True, slots=True)
class CredentialsPresented:
    """The client says who it is; the handshake waits for `verdict()`."""

    user: bytes
    password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Requested:
    """The client wants `command` to `target`; the handshake waits for the driver (see the package).

    An IP literal that came as a domain, in brackets or not, is an IP address here.
    """

    command: Command
    target: Address
    protocol: Protocol


@dataclass(frozen=True, slots=True)
class Refused:
    """The handshake is over, the answer is in `data_to_send()`. `reply` is None where it ended before a request.

    `reply` is what SOCKS5 would say, whatever the protocol. `anonymous`: the client has to say who it is, and did not.
    """

    reason: str
    reply: ReplyCode | None = None
    target: Address | None = None
    anonymous: bool = False


Event = CredentialsPresented | Requested | Refused
