"""The SOCKS5 byte format: RFC 1928, and RFC 1929 for user and password. Sans-IO; standard library only.

The only place that knows the bytes. Both directions, so that a server, a client and a censor's prober can use it:

- `codes`: the numbers of the RFCs, as IntEnums;
- `messages`: one frozen dataclass per message, and `Address`, which every target and bound address is;
- `readers`: `read_X(buffer)` consumes one message from the front of a bytearray and returns it, returns None when it
  needs more bytes (and then leaves the buffer alone), or raises `ProtocolError`;
- `writers`: `write_X(message)` returns the bytes;
- `errors`: `ProtocolError`, which says whose fault it is and what to send before closing.

A message's limit stands beside its reader (`GREETING_LIMIT_BYTES`, ...): a buffer that holds that much is never
"need more".
"""

from proxy.wire.codes import AddressType, AuthStatus, Command, Method, ReplyCode
from proxy.wire.errors import Fault, ProtocolError
from proxy.wire.messages import (
    UNSPECIFIED,
    Address,
    AuthResult,
    Credentials,
    Greeting,
    MethodChoice,
    Reply,
    Request,
)
from proxy.wire.readers import (
    read_auth_result,
    read_credentials,
    read_greeting,
    read_method_choice,
    read_reply,
    read_request,
)
from proxy.wire.writers import (
    write_auth_result,
    write_credentials,
    write_greeting,
    write_method_choice,
    write_reply,
    write_request,
)

__all__ = [
    "UNSPECIFIED",
    "Address",
    "AddressType",
    "AuthResult",
    "AuthStatus",
    "Command",
    "Credentials",
    "Fault",
    "Greeting",
    "Method",
    "MethodChoice",
    "ProtocolError",
    "Reply",
    "ReplyCode",
    "Request",
    "read_auth_result",
    "read_credentials",
    "read_greeting",
    "read_method_choice",
    "read_reply",
    "read_request",
    "write_auth_result",
    "write_credentials",
    "write_greeting",
    "write_method_choice",
    "write_reply",
    "write_request",
]
