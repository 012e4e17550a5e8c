"""Messages to bytes. Sans-IO.

Every writer raises ProtocolError (fault LOCAL) for a message that the format cannot carry.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from proxy.wire.codes import AUTH_VERSION, SOCKS_VERSION, AddressType, ReplyCode
from proxy.wire.errors import Fault, ProtocolError
from proxy.wire.messages import Address, AuthResult, Credentials, Greeting, MethodChoice, Reply, Request

_SUCCEEDED = bytes((SOCKS_VERSION, ReplyCode.SUCCEEDED, 0))


def write_greeting(message: Greeting) -> bytes:
    """VER NMETHODS METHODS (RFC 1928 section 3)."""
    return bytes((SOCKS_VERSION,)) + _counted(bytes(message.methods), "methods")


def write_method_choice(message: MethodChoice) -> bytes:
    """VER METHOD (RFC 1928 section 3)."""
    return bytes((SOCKS_VERSION, message.method))


def write_credentials(message: Credentials) -> bytes:
    """VER ULEN UNAME PLEN PASSWD (RFC 1929 section 2)."""
    return bytes((AUTH_VERSION,)) + _counted(message.user, "user") + _counted(message.password, "password")


def write_auth_result(message: AuthResult) -> bytes:
    """VER STATUS (RFC 1929 section 2)."""
    return bytes((AUTH_VERSION, message.status))


def write_request(message: Request) -> bytes:
    """VER CMD RSV ATYP DST.ADDR DST.PORT (RFC 1928 section 4)."""
    return bytes((SOCKS_VERSION, message.command, 0)) + write_address(message.target)


def write_reply(message: Reply) -> bytes:
    """VER REP RSV ATYP BND.ADDR BND.PORT (RFC 1928 section 6)."""
    return bytes((SOCKS_VERSION, message.code, 0)) + write_address(message.bound)


def write_success(bound: Address) -> bytes:
    """`write_reply(Reply(ReplyCode.SUCCEEDED, bound))`, which every flow needs, without the message in between."""
    return _SUCCEEDED + write_address(bound)


def _counted(data: bytes, what: str) -> bytes:
    if len(data) > 255:
        raise ProtocolError(f"{what}: {len(data)} bytes, the format carries 255", fault=Fault.LOCAL)
    return bytes((len(data),)) + data


def write_address(address: Address) -> bytes:
    """ATYP, address and port (RFC 1928 section 5), which requests, replies and datagrams end or go on with."""
    try:
        return _host(address.type, address.host) + address.port.to_bytes(2, "big")
    except (OverflowError, ValueError) as error:
        raise ProtocolError(f"address cannot be written: {error}", fault=Fault.LOCAL) from error


@lru_cache(256)  # a proxy's replies carry its own few addresses, again and again
def _host(type_: AddressType, host: str) -> bytes:
    if type_ is AddressType.IPV4:
        packed = IPv4Address(host).packed
    elif type_ is AddressType.IPV6:
        packed = IPv6Address(host).packed
    else:
        packed = _counted(host.encode(), "domain")
    return bytes((type_,)) + packed
