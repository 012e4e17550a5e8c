"""The byte formats: SOCKS5, SOCKS4 and 4a, HTTP CONNECT, the PROXY protocol. Sans-IO; standard library only.

The only place that knows the bytes. Both directions, so that a server, a client and a censor's prober can use it.
SOCKS5 (RFC 1928, and RFC 1929 for user and password):

- `codes`: the numbers of the RFCs, as IntEnums;
- `messages`: one frozen dataclass per message, and `Address`, which every target and bound address is;
- `readers`: `read_X(buffer)` consumes one message from the front of a bytearray and returns it, returns None when it
  needs more bytes (and then leaves the buffer alone), or raises `ProtocolError`;
- `writers`: `write_X(message)` returns the bytes;
- `errors`: `ProtocolError`, which says whose fault it is and what to send before closing;
- `udp`: the datagrams of UDP ASSOCIATE.

The others have codes, messages, readers and writers in one module each, of the same kind: `socks4`, `http`,
`proxy_protocol`.

A message's limit stands beside its reader (`GREETING_LIMIT_BYTES`, ...): a buffer that holds that much is never
"need more".
"""

from proxy.wire.codes import AddressType, AuthStatus, Command, Method, ReplyCode
from proxy.wire.errors import Fault, ProtocolError
from proxy.wire.http import (
    HttpRequest,
    HttpResponse,
    read_http_request,
    read_http_response,
    write_http_connect,
    write_http_refusal,
    write_http_response,
)
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
from proxy.wire.proxy_protocol import ProxyHeader, read_proxy_header, write_proxy_header
from proxy.wire.readers import (
    read_auth_result,
    read_credentials,
    read_greeting,
    read_method_choice,
    read_reply,
    read_request,
)
from proxy.wire.socks4 import (
    Socks4Code,
    Socks4Command,
    Socks4Reply,
    Socks4Request,
    read_socks4_reply,
    read_socks4_request,
    write_socks4_reply,
    write_socks4_request,
)
from proxy.wire.udp import LAST_FRAGMENT, Datagram, read_datagram, write_datagram
from proxy.wire.writers import (
    write_auth_result,
    write_credentials,
    write_greeting,
    write_method_choice,
    write_reply,
    write_request,
    write_success,
)

__all__ = [
    "LAST_FRAGMENT",
    "UNSPECIFIED",
    "Address",
    "AddressType",
    "AuthResult",
    "AuthStatus",
    "Command",
    "Credentials",
    "Datagram",
    "Fault",
    "Greeting",
    "HttpRequest",
    "HttpResponse",
    "Method",
    "MethodChoice",
    "ProtocolError",
    "ProxyHeader",
    "Reply",
    "ReplyCode",
    "Request",
    "Socks4Code",
    "Socks4Command",
    "Socks4Reply",
    "Socks4Request",
    "read_auth_result",
    "read_credentials",
    "read_datagram",
    "read_greeting",
    "read_http_request",
    "read_http_response",
    "read_method_choice",
    "read_proxy_header",
    "read_reply",
    "read_request",
    "read_socks4_reply",
    "read_socks4_request",
    "write_auth_result",
    "write_credentials",
    "write_datagram",
    "write_greeting",
    "write_http_connect",
    "write_http_refusal",
    "write_http_response",
    "write_method_choice",
    "write_proxy_header",
    "write_reply",
    "write_request",
    "write_socks4_reply",
    "write_socks4_request",
    "write_success",
]
