"""The one exception of the wire format. Sans-IO."""

from __future__ import annotations

from enum import Enum


class Fault(Enum):
    """Who broke the protocol."""

    LOCAL = "local"  # we tried to write a message that the format cannot carry
    REMOTE = "remote"  # the peer's bytes are no valid message


class ProtocolError(Exception):
    """Bytes that are no message, or a message that has no bytes.

    `reply` is what the RFCs want sent before the connection is closed; empty where they want nothing.
    The text never contains what the peer sent, only what is wrong with it: it goes into logs.
    """

    def __init__(self, message: str, *, fault: Fault = Fault.REMOTE, reply: bytes = b"") -> None:
        super().__init__(message)
        self.fault = fault
        self.reply = reply
