"""The numbers of RFC 1928 and RFC 1929. Sans-IO."""

from __future__ import annotations

from enum import IntEnum

SOCKS_VERSION = 5  # RFC 1928 section 3
AUTH_VERSION = 1  # RFC 1929 section 2: the version of the sub-negotiation, not of SOCKS


class Method(IntEnum):
    """Authentication methods, RFC 1928 section 3."""

    NO_AUTH = 0x00
    GSSAPI = 0x01
    USER_PASSWORD = 0x02
    NONE_ACCEPTABLE = 0xFF


class Command(IntEnum):
    """What a request asks for, RFC 1928 section 4."""

    CONNECT = 1
    BIND = 2
    UDP_ASSOCIATE = 3


class AddressType(IntEnum):
    """ATYP, RFC 1928 section 5."""

    IPV4 = 1
    DOMAIN = 3
    IPV6 = 4


class ReplyCode(IntEnum):
    """REP, RFC 1928 section 6."""

    SUCCEEDED = 0
    GENERAL_FAILURE = 1
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    TTL_EXPIRED = 6
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_TYPE_NOT_SUPPORTED = 8


class AuthStatus(IntEnum):
    """STATUS of RFC 1929 section 2; every number but 0 is a failure."""

    SUCCEEDED = 0
    FAILED = 1
