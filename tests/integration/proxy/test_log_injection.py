"""What clients say cannot forge a line of a log, nor do anything to the terminal that shows it."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from tests.integration.proxy.attack import ask, program
from tests.integration.proxy.world import receive_all, running_proxy, send

VICTIM = "203.0.113.66"
FORGED = f'{{"source": "{VICTIM}", "client": "{VICTIM}:1", "event": "login_failed", "flow": 7, "user": "root"}}'
HOSTILE = [
    b"\r\n" + FORGED.encode() + b"\r\n",
    b"x\n" + FORGED.encode() + b"\n",
    b'", "client": "' + VICTIM.encode() + b'", "x": "',
    b'\\", "client": "' + VICTIM.encode() + b'", "x": "\\',
    b"\x1b[2J\x1b[H\x1b]0;owned\x07\x1b[31m",
    b"\xc2\x9b2J\xc2\x9d0;owned\xc2\x9c",  # the same with controls of 8 bits
    b"\x9b2J",
    b"\xe2\x80\xae" + VICTIM.encode() + b"\xe2\x80\xa8\xe2\x80\xa9",  # right to left; line and paragraph ends
    b"\x00\x07\x08\x0b\x0c\x7f\xff\xfe\xef\xbb\xbf",
    b"\xed\xa0\x80\xf4\x90\x80\x80\xc0\x8a",  # a surrogate, what is behind Unicode, an overlong line feed
    b"%s%n${jndi:ldap://x}{0}",
    b"\xe2\x90\x8d\xe2\x90\xa4" * 20,
    b'"' * 255,
]


def hostile(authenticate: bool) -> list[bytes]:
    """Everything that a client can put into a log, in each protocol."""
    wires = []
    for text in HOSTILE:
        cut = text[:255]
        sized = bytes((len(cut),)) + cut
        log_in = b"\x05\x01\x02\x01\x04anna\x05right" if authenticate else b"\x05\x01\x00"
        wires += [
            log_in + b"\x05\x01\x00\x03" + sized + b"\0\x50",
            log_in + b"\x05\x03\x00\x03" + sized + b"\0\x50",
            b"\x05\x01\x02\x01" + sized + b"\x05wrong\x05\x01\0\x01\x7f\0\0\x01\0\x50",
            b"\x04\x01\0\x50\0\0\0\x01" + text.replace(b"\0", b"") + b"\0" + text.replace(b"\0", b"") + b"\0",
            b"\x04\x01\0\x50\x7f\0\0\x01" + text.replace(b"\0", b"") + b"\0",
            b"CONNECT " + text + b":80 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"CONNECT x:80 HTTP/1.1\r\nHost: " + text + b"\r\n\r\n",
            text + b" / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"G" + text,
            text,
            b"CONNECT x.invalid:80 HTTP/1.1\r\nHost: x\r\n"
            b"Proxy-Authorization: Basic " + b64encode(text + b":wrong") + b"\r\n\r\n",
        ]
    return wires


@pytest.mark.parametrize("authenticate", [False, True])
async def test_the_logs_of_hostile_clients(authenticate: bool, tmp_path: Path) -> None:
    """Every line is one of ours, and has nothing in it that is not to be seen."""
    config, access, events = (tmp_path / name for name in ("proxy.toml", "access.log", "events.jsonl"))
    users = '[users]\nanna = "right"\n' if authenticate else ""
    deny = '[[rules]]\nname = "all"\naction = "deny"\n'  # nothing is looked up or dialed
    config.write_text(f'listen = ["127.0.0.1:0"]\naccess_log = "{access}"\n{deny}{users}')
    wires = hostile(authenticate)
    with program(tmp_path, "--config", str(config), "--verbose", "--events", str(events)) as running:
        for number, wire in enumerate(wires):
            # Each from a source of its own: no back-off. Whoever said half a message hangs up.
            await ask(running.address, wire, source=f"127.0.{1 + number // 250}.{1 + number % 250}", hang_up=True)
    logged, listed, told = (path.read_bytes() for path in (running.err, access, events))
    first, _, logged = logged.partition(b"\n")
    assert first.startswith(b"sidedoor proxy: listening on ")
    for data in (logged, listed, told):
        lines = data.decode().split("\n")
        assert lines.pop() == ""
        for line in lines:
            check(json.loads(line))
            assert not unseen(line), line
    assert len(listed.splitlines()) == len([line for line in told.splitlines() if b"flow_refused" in line])
    assert (b"login_failed" in logged) == authenticate
    assert b"session_failed" not in logged


def check(line: dict[str, Any]) -> None:
    """What the client is called is the proxy's word, and no key is the client's."""
    assert line.get("client", "127.").startswith("127."), line
    assert line.get("source", "proxy") == "proxy" or line["source"].startswith("127."), line
    assert line.get("flow") is None
    assert {"x", "root"}.isdisjoint(line)
    assert line.get("event", "client_refused") in EVENTS


EVENTS = {
    "client_refused",
    "client_lost",
    "request_refused",
    "client_dropped",
    "login_failed",
    "flow_refused",
    "proxy_listening",
    "draining",
}


def unseen(text: str) -> list[str]:
    """Controls, and what turns or hides text."""
    return [letter for letter in text if not letter.isprintable()]


async def test_the_events_of_hostile_clients() -> None:
    """Values stay values: an event's name and source are never the client's."""
    async with running_proxy(inside="deny") as proxy:
        for text in HOSTILE:
            with await proxy.connect() as sock:
                await send(sock, b"\x05\x01\x00\x05\x01\x00\x03" + bytes((len(text[:255]),)) + text[:255] + b"\0\x50")
                sock.shutdown(1)
                await receive_all(sock)
        assert {name for name, _ in proxy.events} <= {"proxy_listening", "flow_refused"}
