"""HTTP CONNECT: what it answers, and that segmentation makes no difference."""

from __future__ import annotations

import re
from base64 import b64encode
from pathlib import Path

import pytest

from proxy.handshake import CredentialsPresented, Handshake, Refused, Requested
from proxy.handshake.http import FAILURES
from proxy.wire import Address, Command, ReplyCode
from tests.unit.proxy.handshake.driver import BOUND, check_every_cut, drive, refusal

TARGET = Address.of("a.example", 443)
HEAD = b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n"
ANNA = b"Proxy-Authorization: Basic " + b64encode(b"anna:secret") + b"\r\n"
WRONG = b"Proxy-Authorization: Basic " + b64encode(b"anna:wrong") + b"\r\n"
REQUESTED = Requested(Command.CONNECT, TARGET, "http")
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
DOCUMENTATION = Path(__file__).parents[4] / "docs/proxy-protocols.md"


def parse(response: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, fields, body; checks what every refusal has."""
    head, _, body = response.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    assert fields["Connection"] == "close"
    assert int(fields["Content-Length"]) == len(body)
    return int(first.split(" ")[1]), fields, body


def test_connect() -> None:
    assert check_every_cut(HEAD + b"\r\nearly") == ([REQUESTED], ESTABLISHED, b"early")


def test_without_authentication_credentials_are_not_looked_at() -> None:
    assert drive([HEAD + WRONG + b"\r\n"]).events == [REQUESTED]


def test_user_and_password() -> None:
    expected = [CredentialsPresented(b"anna", b"secret"), REQUESTED]
    assert check_every_cut(HEAD + ANNA + b"\r\nearly", authenticate=True) == (expected, ESTABLISHED, b"early")


@pytest.mark.parametrize("fields", [b"", b"Proxy-Authorization: Bearer x\r\n", b"Authorization: Basic Og==\r\n"])
def test_no_user_and_password(fields: bytes) -> None:
    driven = check_every_cut(HEAD + fields + b"\r\n", authenticate=True)
    assert driven.events == [Refused("no user and password", target=TARGET, anonymous=True)]
    status, answer, _ = parse(driven.sent)
    assert (status, answer["Proxy-Authenticate"]) == (407, 'Basic realm="sidedoor"')


def test_wrong_password() -> None:
    driven = check_every_cut(HEAD + WRONG + b"\r\n", authenticate=True)
    assert driven.events == [
        CredentialsPresented(b"anna", b"wrong"),
        Refused("wrong user or password", target=TARGET),
    ]
    status, answer, _ = parse(driven.sent)
    assert (status, answer["Proxy-Authenticate"]) == (407, 'Basic realm="sidedoor"')


@pytest.mark.parametrize("authenticate", [False, True])
@pytest.mark.parametrize("method", [b"GET", b"OPTIONS", b"POST"])
def test_other_methods_are_told_what_this_is(method: bytes, authenticate: bool) -> None:
    driven = drive([method + b" http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n"], authenticate=authenticate)
    assert refusal(driven).reply is ReplyCode.COMMAND_NOT_SUPPORTED
    status, answer, body = parse(driven.sent)
    assert (status, answer["Allow"]) == (405, "CONNECT")
    assert b"CONNECT" in body


def test_a_response_to_head_has_no_body() -> None:
    status, answer, body = parse(drive([b"HEAD / HTTP/1.1\r\nHost: a.example\r\n\r\n"]).sent)
    assert (status, answer["Allow"], body) == (405, "CONNECT", b"")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"CONNECT a.example HTTP/1.1\r\n", 400),
        (b"CONNECT a.example:443 HTTP/1.1\r\n\r\n", 400),
        (HEAD + b"Content-Length: 1\r\n\r\nx", 400),
        (HEAD + b"X: y\n", 400),
        (b"SSH-2.0-OpenSSH_9.2\r\n", 400),
        (b"PRI * HTTP/2.0\r\n", 505),
        (b"X" * 16384, 431),
    ],
)
def test_what_is_no_request(request_: bytes, status: int) -> None:
    driven = drive([request_])
    assert driven == (drive([request_[:5], request_[5:]]))
    assert refusal(driven).reply is ReplyCode.GENERAL_FAILURE
    assert parse(driven.sent)[0] == status


@pytest.mark.parametrize("code", [code for code in ReplyCode if code is not ReplyCode.SUCCEEDED])
def test_every_failure_has_a_status_and_says_what_it_is(code: ReplyCode) -> None:
    handshake = Handshake(authenticate=False)
    handshake.receive(HEAD + b"\r\n")
    handshake.next_event()
    handshake.fail(code)
    status, answer, body = parse(handshake.data_to_send())
    assert (status, answer["Proxy-Status"]) == (FAILURES[code][0], f"sidedoor; error={FAILURES[code][1]}")
    assert body


def test_a_step_out_of_turn_is_the_drivers_mistake() -> None:
    handshake = Handshake(authenticate=False)
    handshake.receive(HEAD + b"\r\n")
    handshake.next_event()
    with pytest.raises(KeyError):
        handshake.listening(BOUND)
    with pytest.raises(KeyError):
        handshake.verdict(False)
    handshake.succeed(BOUND)
    with pytest.raises(KeyError):
        handshake.fail(ReplyCode.GENERAL_FAILURE)


def test_the_documented_table_is_the_real_one() -> None:
    rows = re.findall(r"^\| (0\d) [^|]*\| 91 \| (\d+) [^|]*\| `(\w+)` \|$", DOCUMENTATION.read_text(), re.MULTILINE)
    assert {ReplyCode(int(code)): (int(status), error) for code, status, error in rows} == FAILURES
