"""Sans-IO: what a SOCKS client says: SOCKS5 (RFC 1928, credentials by RFC 1929), SOCKS4 and 4a (Y.-D. Lee's two notes).

A censor sees the client's greeting, credentials and request as one stream, whatever the server's answers between them
were. What follows the greeting tells which method was chosen: 1 opens the credentials, 5 the request; anything else is
a negotiation that cannot be read, and the destination is absent.
"""

from __future__ import annotations

import ipaddress

from censor.analyzers import Analyzer, Finding, Outcome, Wanted
from censor.properties import Properties, Type

_IPV4, _DOMAIN, _IPV6 = 1, 3, 4
_ADDRESS_BYTES = {_IPV4: 4, _IPV6: 16}
# The last two are Tor's: a name or an address to resolve, without a connection.
_COMMANDS = {1: "connect", 2: "bind", 3: "udp-associate", 0xF0: "resolve", 0xF1: "resolve-ptr"}
_USER_PASSWORD = 2
# IANA's registry of methods, and the private ones. No client offers what is left, and a stream of random bytes has such
# a byte soon: of those that start with 5, one in 226 passes for a greeting.
_METHODS = frozenset((0, 1, 2, 3, 5, 6, 7, 8, 9, *range(0x80, 0xFF)))
_SOCKS4_TEXT_BYTES_MAX = 255
_LIMIT_BYTES = (2 + 255) + (3 + 255 + 255) + (4 + 1 + 255 + 2)


def messages(data: bytes, wanted: Wanted) -> Finding | Outcome:
    """The destination of a client's stream; a partial Finding from the end of a SOCKS5 greeting on until it is known.

    `socks.host` is the name, or the address as text; `socks.address` is absent where a name was asked for, unless it is
    an address written as a name. Credentials are absent if none were sent; the password is there only if wanted.
    """
    if not data:
        return Outcome.MORE
    if data[0] == 5:
        return _socks5(data, wanted)
    return _socks4(data) if data[0] == 4 else Outcome.OTHER


def _socks5(data: bytes, wanted: Wanted) -> Finding | Outcome:
    if len(data) < 2:
        return Outcome.MORE
    position = 2 + data[1]
    methods = data[2:position]
    if position == 2 or not _METHODS.issuperset(methods):
        return Outcome.OTHER
    if len(data) < position:
        return Outcome.MORE
    known: Properties = {
        "socks": True,
        "socks.version": 5,
        "socks.methods": tuple([f"{method:02x}" for method in methods]),
    }
    if len(data) == position:
        return Finding(known, position, partial=True)
    user = password = None
    if data[position] == 1 and _USER_PASSWORD in methods:
        try:
            user_end = position + 2 + data[position + 1]
            end = user_end + 1 + data[user_end]
        except IndexError:
            end = len(data) + 1
        if len(data) < end:
            return Finding(known, position, partial=True)
        user, password = _text(data[position + 2 : user_end]), _text(data[user_end + 1 : end])
        position = end
    known["socks.user"] = user
    if "socks.password" in wanted:
        known["socks.password"] = password
    return _request(data, position, known)


def _request(data: bytes, position: int, known: Properties) -> Finding:
    """VER CMD RSV ATYP DST.ADDR DST.PORT; partial while it is not complete."""
    head = data[position : position + 5]  # the fifth byte is the length of a name
    if head and head[0] != 5:
        return _without_destination(known, position)
    if len(head) < 4:
        return Finding(known, position, partial=True)
    type_ = head[3]
    start = position + 4
    if type_ == _DOMAIN:
        if len(head) < 5:
            return Finding(known, position, partial=True)
        start += 1
        end = start + head[4]
    elif type_ in _ADDRESS_BYTES:
        end = start + _ADDRESS_BYTES[type_]
    else:
        return _without_destination(known, position)
    if len(data) < end + 2:
        return Finding(known, position, partial=True)
    known["socks.command"] = _COMMANDS.get(head[1])
    _destination(known, data[start:end], type_ == _DOMAIN)
    known["socks.port"] = data[end] << 8 | data[end + 1]
    return Finding(known, end + 2)


def _without_destination(known: Properties, position: int) -> Finding:
    known.update(dict.fromkeys(("socks.command", "socks.host", "socks.address", "socks.port")))
    return Finding(known, position)


def _socks4(data: bytes) -> Finding | Outcome:
    """VN CD DSTPORT DSTIP USERID NUL, and for 4a, whose address is 0.0.0.x, a domain and NUL."""
    if data[1:2] not in (b"", b"\x01", b"\x02"):
        return Outcome.OTHER
    end = data.find(0, 8, 8 + _SOCKS4_TEXT_BYTES_MAX + 1)
    if end < 0:
        return Outcome.MORE if len(data) <= 8 + _SOCKS4_TEXT_BYTES_MAX else Outcome.OTHER
    user, address = data[8:end], data[4:8]
    is_name = address[:3] == b"\0\0\0" and address[3] > 0
    if is_name:
        start = end + 1
        end = data.find(0, start, start + _SOCKS4_TEXT_BYTES_MAX + 1)
        if end < 0:
            return Outcome.MORE if len(data) <= start + _SOCKS4_TEXT_BYTES_MAX else Outcome.OTHER
        address = data[start:end]
    found: Properties = {
        "socks": True,
        "socks.version": 4,
        "socks.methods": None,
        "socks.user": _text(user) or None,
        "socks.password": None,
        "socks.command": _COMMANDS[data[1]],
        "socks.port": data[2] << 8 | data[3],
    }
    _destination(found, address, is_name)
    return Finding(found, end + 1)


def _destination(known: Properties, host: bytes, is_name: bool) -> None:
    """Sets `socks.host` and `socks.address`."""
    if not is_name:
        known["socks.host"] = str(ipaddress.ip_address(host))
        known["socks.address"] = host
        return
    name = host.decode("ascii", "backslashreplace").lower().rstrip(".")
    known["socks.host"] = name or None
    known["socks.address"] = None
    if ":" in name or name[-1:].isdecimal():  # clients that do not look at what they were given
        try:
            known["socks.address"] = ipaddress.ip_address(name).packed
        except ValueError:
            pass


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


ANALYZER = Analyzer(
    "socks",
    {
        "socks": Type.BOOLEAN,
        "socks.version": Type.INTEGER,
        "socks.methods": Type.TEXTS,
        "socks.user": Type.TEXT,
        "socks.password": Type.TEXT,
        "socks.command": Type.TEXT,
        "socks.host": Type.NAME,
        "socks.address": Type.ADDRESS,
        "socks.port": Type.INTEGER,
    },
    stream=messages,
    limit_bytes=_LIMIT_BYTES,
)
