"""censor/analyzers/socks.py"""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from censor.analyzers import Finding, Outcome
from censor.analyzers.socks import ANALYZER, messages
from censor.properties import Properties, Value
from proxy.wire import Address, AddressType, Command, Credentials, Greeting, Request
from proxy.wire.socks4 import Socks4Command, Socks4Request, write_socks4_request
from proxy.wire.writers import write_credentials, write_greeting, write_request
from tests.unit.proxy.wire.contract import ip_addresses, ports

ALL = frozenset(ANALYZER.properties)
GREETING, WITH_PASSWORD = b"\5\1\0", b"\5\2\0\2"
CREDENTIALS = b"\1\4user\6secret"
DESTINATION = ("socks.command", "socks.host", "socks.address", "socks.port")

names = st.from_regex(r"\A[a-z0-9-]{1,20}(\.[a-z0-9-]{1,20}){1,5}\.[a-z]{2,9}\Z")
addresses = ip_addresses | st.builds(Address, st.just(AddressType.DOMAIN), names, ports)
offers = st.lists(st.sampled_from([0, 1, 2, 0x80, 0xFE]), min_size=1, max_size=255).map(tuple)


def read(data: bytes, wanted: frozenset[str] = ALL) -> Finding | Outcome:
    return messages(data, wanted)


def properties(data: bytes, wanted: frozenset[str] = ALL) -> Properties:
    found = read(data, wanted)
    assert isinstance(found, Finding)
    return found.properties


def socks5(*methods: str, **more: Value | None) -> Properties:
    known: Properties = {"socks": True, "socks.version": 5, "socks.methods": methods}
    return {**known, **{f"socks.{name}": value for name, value in more.items()}}


def packed(address: Address) -> bytes | None:
    return None if address.type is AddressType.DOMAIN else ipaddress.ip_address(address.host).packed


def test_a_greeting_is_known_before_the_request_has_come() -> None:
    assert read(b"") is Outcome.MORE
    assert read(b"\5") is Outcome.MORE
    assert read(b"\5\1") is Outcome.MORE
    assert read(GREETING) == Finding(socks5("00"), 3, partial=True)
    request = b"\5\1\0\3\x11messenger.example\1\xbb"
    known = socks5("00", user=None, password=None)
    for length in range(1, len(request)):
        assert read(GREETING + request[:length]) == Finding(known, 3, partial=True)
    found = socks5("00", user=None, password=None, command="connect", host="messenger.example", address=None, port=443)
    assert read(GREETING + request) == Finding(found, 3 + len(request))
    assert read(GREETING + request + b"\x16\3\1") == Finding(found, 3 + len(request))


def test_credentials_are_known_before_the_request_has_come() -> None:
    for length in range(len(CREDENTIALS)):
        assert read(WITH_PASSWORD + CREDENTIALS[:length]) == Finding(socks5("00", "02"), 4, partial=True)
    known = socks5("00", "02", user="user", password="secret")
    assert read(WITH_PASSWORD + CREDENTIALS) == Finding(known, 4 + len(CREDENTIALS), partial=True)
    request = b"\5\3\0\1\xc0\0\2\1\0\x35"
    found = known | {
        "socks.command": "udp-associate",
        "socks.host": "192.0.2.1",
        "socks.address": b"\xc0\0\2\1",
        "socks.port": 53,
    }
    assert read(WITH_PASSWORD + CREDENTIALS + request) == Finding(found, 4 + len(CREDENTIALS) + len(request))


def test_a_password_is_there_only_if_wanted() -> None:
    wanted = frozenset({"socks.user"})
    assert properties(WITH_PASSWORD + CREDENTIALS, wanted) == socks5("00", "02", user="user")
    assert properties(GREETING + b"\5\1", wanted) == socks5("00", user=None)


def test_empty_credentials() -> None:
    assert properties(WITH_PASSWORD + b"\1\0\0") == socks5("00", "02", user="", password="")


@pytest.mark.parametrize(
    ("methods", "behind"),
    [
        (b"\5\2\0\1", b"\1\1\0\2xx"),  # GSSAPI
        (b"\5\1\0", b"\1\1a\1b"),  # credentials that were not offered
        (b"\5\1\0", b"\x16\3\1\0\5"),
        (b"\5\1\x80", b"\x00"),
        (b"\5\1\0", b"\5\1\0\2"),  # an address type that there is not
    ],
)
def test_a_negotiation_that_cannot_be_read_hides_the_destination(methods: bytes, behind: bytes) -> None:
    found = read(methods + behind)
    assert isinstance(found, Finding)
    assert not found.partial
    assert found.properties["socks"] is True
    assert found.properties.keys() == ALL
    assert all(found.properties[name] is None for name in DESTINATION)


@pytest.mark.parametrize(
    ("code", "command"),
    [(1, "connect"), (2, "bind"), (3, "udp-associate"), (0xF0, "resolve"), (0xF1, "resolve-ptr"), (9, None)],
)
def test_commands(code: int, command: str | None) -> None:
    assert properties(GREETING + bytes((5, code, 0, 1, 192, 0, 2, 1, 0, 80)))["socks.command"] == command


@pytest.mark.parametrize(
    ("name", "host", "address"),
    [
        (b"Messenger.Example.", "messenger.example", None),
        (b"192.0.2.1", "192.0.2.1", b"\xc0\0\2\1"),
        (b"2001:db8::1", "2001:db8::1", bytes.fromhex("20010db8000000000000000000000001")),
        (b"host-1", "host-1", None),
        (b"\xff", "\\xff", None),
        (b"", None, None),
    ],
)
def test_names(name: bytes, host: str | None, address: bytes | None) -> None:
    found = properties(GREETING + b"\5\1\0\3" + bytes((len(name),)) + name + b"\0\x50")
    assert (found["socks.host"], found["socks.address"], found["socks.port"]) == (host, address, 80)
    found = properties(b"\4\1\0\x50\0\0\0\1\0" + name + b"\0")
    assert (found["socks.host"], found["socks.address"], found["socks.port"]) == (host, address, 80)


@given(offers, addresses, st.sampled_from(Command), st.binary(max_size=255), st.binary(max_size=9))
def test_socks5_as_the_proxy_writes_it(
    methods: tuple[int, ...], target: Address, command: Command, text: bytes, behind: bytes
) -> None:
    data = write_greeting(Greeting(methods))
    if 2 in methods:
        data += write_credentials(Credentials(text, text[:9]))
    data += write_request(Request(command, target))
    found = read(data + behind)
    assert isinstance(found, Finding)
    assert (found.partial, found.consumed) == (False, len(data))
    assert found.properties["socks.methods"] == tuple(f"{method:02x}" for method in methods)
    assert found.properties["socks.host"] == target.host
    assert found.properties["socks.address"] == packed(target)
    assert found.properties["socks.port"] == target.port
    assert found.properties["socks.user"] == (text.decode("utf-8", "backslashreplace") if 2 in methods else None)
    assert str(found.properties["socks.command"]).replace("-", "_") == command.name.lower()


@given(
    addresses,
    st.sampled_from(Socks4Command),
    st.binary(max_size=255).map(lambda user: user.replace(b"\0", b"")),
    st.binary(max_size=9),
)
def test_socks4_as_the_proxy_writes_it(target: Address, command: Socks4Command, user: bytes, behind: bytes) -> None:
    data = write_socks4_request(Socks4Request(command, target, user))
    assert all(read(data[:length]) is Outcome.MORE for length in range(len(data)))
    expected: Properties = {
        "socks": True,
        "socks.version": 4,
        "socks.methods": None,
        "socks.user": user.decode("utf-8", "backslashreplace") or None,
        "socks.password": None,
        "socks.command": command.name.lower(),
        "socks.host": target.host,
        "socks.address": packed(target),
        "socks.port": target.port,
    }
    assert read(data + behind) == Finding(expected, len(data))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\5\0",
        b"\5\0\0",
        b"\5\2\0\x0a",  # a method that nobody has defined
        b"\5\x80\xff",
        b"\4\3",
        b"\4\1\0\x50\xc0\0\2\1".ljust(8 + 256, b"u"),
        b"\4\1\0\x50\0\0\0\1u\0".ljust(10 + 256, b"n"),
    ],
)
def test_something_else(data: bytes) -> None:
    assert read(data) is Outcome.OTHER


def test_the_longest_texts() -> None:
    four = b"\4\1\0\x50\0\0\0\1" + b"u" * 255 + b"\0" + b"n" * 255
    assert read(four) is Outcome.MORE
    assert properties(four + b"\0")["socks.host"] == "n" * 255
    five = (
        b"\5\xff" + b"\2" * 255 + b"\1\xff" + b"u" * 255 + b"\xff" + b"p" * 255 + b"\5\1\0\3\xff" + b"n" * 255 + b"\0\1"
    )
    assert len(five) == ANALYZER.limit_bytes
    assert properties(five)["socks.port"] == 1


@given(
    st.binary(max_size=80)
    | st.binary(max_size=80).map(lambda tail: GREETING + tail)
    | st.binary(max_size=80).map(lambda tail: WITH_PASSWORD + CREDENTIALS + b"\5\1\0" + tail)
    | st.binary(max_size=80).map(lambda tail: b"\4\1\0\x50" + tail)
)
def test_any_bytes_are_good_input_and_more_of_them_take_nothing_back(data: bytes) -> None:
    known: Properties = {}
    for length in range(len(data) + 1):
        outcome = read(data[:length])
        if isinstance(outcome, Finding):
            assert known.items() <= outcome.properties.items()
            known = outcome.properties
            if not outcome.partial:
                break
        elif outcome is Outcome.OTHER:
            assert not known
            break
    assert read(data) == outcome


@given(st.binary(max_size=1100).map(lambda tail: (b"\5\4\0\1\2\3" + tail).ljust(ANALYZER.limit_bytes, b"\1")))
def test_no_more_than_the_limit_is_needed(data: bytes) -> None:
    outcome = read(data)
    assert isinstance(outcome, Finding)
    assert not outcome.partial
