"""CONNECT: targets, replies (RFC 1928 sections 4 to 6)."""

from __future__ import annotations

from lab.benchmarks.conformance.case import case
from lab.benchmarks.conformance.dialogue import (
    ask,
    enter,
    expect_code,
    expect_echo,
    expect_refusal,
    expect_success,
    read_code,
    read_reply,
    through,
)
from lab.benchmarks.conformance.messages import (
    ADDRESS_TYPE_NOT_SUPPORTED,
    COMMAND_NOT_SUPPORTED,
    CONNECT,
    DOMAIN,
    HOST_UNREACHABLE,
    IPV4,
    IPV6,
    NETWORK_UNREACHABLE,
    NOT_ALLOWED,
    REFUSED,
    SUCCEEDED,
    UNRESOLVABLE,
    address,
    request,
)
from lab.benchmarks.conformance.outcome import NotOffered, Wrong
from lab.benchmarks.conformance.stage import LOCALHOST, LOCALHOST6, Connection, Stage

_ADDRESSING, _REPLIES = "RFC 1928 section 5", "RFC 1928 section 6"
UNROUTABLE = "224.0.0.1"
"""TCP to a multicast address ends in the kernel, with ENETUNREACH; no packet leaves this host."""
_UNKNOWN_COMMAND = bytes([5, 9, 0]) + address(LOCALHOST, 9)
_UNKNOWN_TYPE = bytes([5, CONNECT, 0, 2]) + address(LOCALHOST, 9)[1:]


@case("request-ipv4", _ADDRESSING, sent="CONNECT to 127.0.0.1", right="a flow to it")
def ipv4(stage: Stage) -> None:
    expect_echo(*through(stage, stage.listen()))


@case("request-ipv6", _ADDRESSING, sent="CONNECT to ::1", right="a flow to it")
def ipv6(stage: Stage) -> None:
    expect_echo(*through(stage, stage.listen(LOCALHOST6)))


@case("request-domain", _ADDRESSING, sent='CONNECT to the domain "localhost"', right="a flow to it")
def domain(stage: Stage) -> None:
    expect_echo(*through(stage, stage.listen(), b"localhost"))


def _literal(stage: Stage, host: str, text: bytes) -> None:
    """An IP address in the place of a domain; a server may say that it is none."""
    target = stage.listen(host)
    client = enter(stage)
    client.send(request(CONNECT, text, target.port))
    if end := client.hang_up():
        raise NotOffered(f"{text.decode()} is no domain: the connection was {end}")
    if (code := read_reply(client).code) != SUCCEEDED:
        raise NotOffered(f"{text.decode()} is no domain: REP {code:02X}")
    expect_echo(client, target.accept())


@case(
    "request-domain-ipv4-literal",
    "practice: clients that pass on the host of a URL",
    sent='the domain "127.0.0.1"',
    right="a flow to that address",
    optional=True,
)
def ipv4_literal(stage: Stage) -> None:
    _literal(stage, LOCALHOST, b"127.0.0.1")


@case(
    "request-domain-ipv6-literal",
    "practice: clients that pass on the host of a URL",
    sent='the domain "::1"',
    right="a flow to that address",
    optional=True,
)
def ipv6_literal(stage: Stage) -> None:
    _literal(stage, LOCALHOST6, b"::1")


@case(
    "request-domain-brackets",
    "practice: clients that pass on the host of a URL (RFC 3986 section 3.2.2)",
    sent='the domain "[::1]"',
    right="a flow to that address",
    optional=True,
)
def brackets(stage: Stage) -> None:
    _literal(stage, LOCALHOST6, b"[::1]")


@case(
    "request-domain-255",
    _ADDRESSING,
    sent="a domain of 255 bytes, in every part as long as it may be",
    right="read whole, answered with an error",
)
def longest_domain(stage: Stage) -> None:
    name = b".".join([b"a" * 63, b"b" * 63, b"c" * 63, b"d" * 55, b"invalid"])
    assert len(name) == 255
    expect_refusal(stage, request(CONNECT, name, 9), "a domain of 255 bytes")


@case(
    "request-domain-nul",
    "CVE-2023-38545 and its kind",
    sent='the domain "127.0.0.1", NUL, ".invalid"',
    right="refused; no connection to 127.0.0.1",
)
def nul(stage: Stage) -> None:
    target = stage.listen()
    expect_refusal(stage, request(CONNECT, b"127.0.0.1\0.invalid", target.port), "a domain with NUL", looked_up=True)
    target.expect_nobody("a domain with NUL", 0.05)


@case(
    "request-domain-crlf",
    "RFC 1123 section 2.1",
    sent='the domains "127.0.0.1", CR LF, and the same with more behind it',
    right="refused; no connection to 127.0.0.1",
)
def line_break(stage: Stage) -> None:
    target = stage.listen()
    for name in (b"127.0.0.1\r\n", b"127.0.0.1\n", b"127.0.0.1\r\nX: y"):
        expect_refusal(stage, request(CONNECT, name, target.port), "a domain with a line break", looked_up=True)
    target.expect_nobody("a domain with a line break", 0.05)


@case(
    "request-domain-empty",
    _ADDRESSING,
    sent="a domain of no bytes",
    right="refused; above all no connection to the server's own host",
)
def empty_domain(stage: Stage) -> None:
    target = stage.listen()
    expect_refusal(stage, request(CONNECT, b"", target.port), "an empty domain", looked_up=True)
    target.expect_nobody("an empty domain", 0.05)


@case(
    "request-success-after-connect",
    _REPLIES,
    sent="CONNECT to a target whose queue is full, which lets the connection in later",
    right="no reply until then, success after it",
)
def success_after_connect(stage: Stage) -> None:
    target = stage.listen(backlog=0)
    stage.call((target.host, target.port))  # takes the one place there is
    client = enter(stage)
    client.send(request(CONNECT, target.host, target.port))
    client.expect_nothing("a reply before the connection stood", 0.4)
    target.accept()  # the next SYN, a second after the first, finds room
    expect_success(read_reply(client, "reply once the target has room"))
    expect_echo(client, target.accept())


@case("request-rep-refused", _REPLIES, sent="CONNECT to a port that nobody listens on", right="REP 05")
def refused(stage: Stage) -> None:
    expect_code(stage, request(CONNECT, LOCALHOST, stage.unused_port()), REFUSED)


@case(
    "request-rep-unreachable",
    _REPLIES,
    sent=f"CONNECT to {UNROUTABLE}, for which the kernel says: network unreachable",
    right="REP 03, or 02 where a rule forbids it",
)
def unreachable(stage: Stage) -> None:
    expect_code(stage, request(CONNECT, UNROUTABLE, 9), NETWORK_UNREACHABLE, NOT_ALLOWED)


@case(
    "request-rep-dns",
    "practice: RFC 1928 section 6 has no code of its own for it",
    sent=f'CONNECT to the domain "{UNRESOLVABLE.decode()}"',
    right="REP 04",
)
def unresolvable(stage: Stage) -> None:
    client = enter(stage)
    client.send(request(CONNECT, UNRESOLVABLE, 9))
    client.await_lookup()
    if (code := read_code(client)) != HOST_UNREACHABLE:
        raise Wrong(f"REP {code:02X}, not {HOST_UNREACHABLE:02X}")


@case("request-rep-command", _REPLIES, sent="command 09", right="REP 07")
def unknown_command(stage: Stage) -> None:
    expect_code(stage, _UNKNOWN_COMMAND, COMMAND_NOT_SUPPORTED)


@case("request-rep-address-type", _REPLIES, sent="address type 02", right="REP 08")
def unknown_type(stage: Stage) -> None:
    expect_code(stage, _UNKNOWN_TYPE, ADDRESS_TYPE_NOT_SUPPORTED)


@case("request-version", "RFC 1928 section 4", sent="a request of version 04", right="refused")
def version(stage: Stage) -> None:
    target = stage.listen()
    message = request(CONNECT, target.host, target.port, version=4)
    expect_refusal(stage, message, "version 04")
    target.expect_nobody("version 04", 0.05)


def _refusals(stage: Stage) -> list[tuple[str, bytes]]:
    return [
        ("refused", request(CONNECT, LOCALHOST, stage.unused_port())),
        ("unknown command", _UNKNOWN_COMMAND),
        ("unknown address type", _UNKNOWN_TYPE),
    ]


@case(
    "request-error-whole",
    _REPLIES,
    sent="three requests that fail: refused, an unknown command, an unknown address type",
    right="whole replies: 10 bytes with an IPv4 address, or 22 with an IPv6 one; RSV 00",
)
def whole_errors(stage: Stage) -> None:
    for what, message in _refusals(stage):
        client = enter(stage)
        client.send(message)
        _expect_whole_error(client, what)


@case(
    "request-error-dns",
    _REPLIES,
    sent=f'CONNECT to the domain "{UNRESOLVABLE.decode()}"',
    right="the same; the name is no BND.ADDR",
)
def whole_error_of_look_up(stage: Stage) -> None:
    client = enter(stage)
    client.send(request(CONNECT, UNRESOLVABLE, 9))
    client.await_lookup()
    _expect_whole_error(client, "unresolvable")


def _expect_whole_error(client: Connection, what: str) -> None:
    data, _ = client.end(0.5)
    sizes = {IPV4: 10, IPV6: 22}
    size = sizes.get(data[3], 0) if len(data) > 3 else 0
    if data[:1] != b"\5" or len(data) != size or data[2] or not data[1]:
        raise Wrong(f"{what}: {data.hex(' ') or 'nothing'} came")


@case(
    "request-error-end",
    _REPLIES,
    sent="three requests that fail: refused, an unknown command, an unknown address type",
    right="the connection ends after the error reply",
)
def end_after_errors(stage: Stage) -> None:
    for what, message in _refusals(stage):
        client = enter(stage)
        client.send(message)
        if client.end(0.6)[1] == "open":
            raise Wrong(f"{what}: the connection was left open")


def _bound(stage: Stage, host: str, type_: int) -> None:
    target = stage.listen(host)
    _, reply = ask(stage, CONNECT, target.host, target.port)
    expect_success(reply)
    remote = target.accept().remote
    if reply.type != type_:
        raise Wrong(f"BND.ADDR is of type {reply.type:02X}{' (a domain)' if reply.type == DOMAIN else ''}")
    if (reply.host, reply.port) == (target.host, target.port):
        raise Wrong("BND.ADDR and BND.PORT are the target's")
    if (reply.host, reply.port) != remote:
        raise Wrong(f"BND.ADDR and BND.PORT are {reply.host} {reply.port}; the target sees {remote[0]} {remote[1]}")


@case(
    "request-bound-ipv4",
    _REPLIES,
    sent="CONNECT to 127.0.0.1",
    right="BND.ADDR and BND.PORT are where the server's connection comes from",
)
def bound_ipv4(stage: Stage) -> None:
    _bound(stage, LOCALHOST, IPV4)


@case("request-bound-ipv6", _REPLIES, sent="CONNECT to ::1", right="the same, of address type 04")
def bound_ipv6(stage: Stage) -> None:
    _bound(stage, LOCALHOST6, IPV6)


CASES = (
    ipv4,
    ipv6,
    domain,
    ipv4_literal,
    ipv6_literal,
    brackets,
    longest_domain,
    nul,
    line_break,
    empty_domain,
    success_after_connect,
    refused,
    unreachable,
    unresolvable,
    unknown_command,
    unknown_type,
    version,
    whole_errors,
    whole_error_of_look_up,
    end_after_errors,
    bound_ipv4,
    bound_ipv6,
)
