"""HTTPS flows of a client in the lab, kept open while blocks come and go: what becomes of each step, in one word.

On a host of the lab: `python -m tests.lab.block_flows`. It reads JSON lines, each an object of flows' names and steps
([step, argument, ...]); all go at once, and the answer is an object of the same names. Steps:

- `open` (family, address, site): a new flow, by its name (address null) or to an address; `proxied` (family, proxy,
  site): through a SOCKS5 proxy without password. "ok", or the stage that failed and how: "tcp timeout";
- `ask` (bytes, ...): requests with so much padding, one after the other: "ok", or how the first one failed;
- `timed` (bytes, times): as many requests; seconds.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

PATIENCE_SECONDS = 1.5
LONG_SECONDS = 30.0
PORT, PROXY_PORT = 443, 1080
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_FLOWS: dict[str, ssl.SSLSocket] = {}


class StageFailed(Exception):
    """The message is what the flow's owner is told."""


def how(error: OSError) -> str:
    """One word for what came instead of an answer."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    return "reset" if isinstance(error, ConnectionResetError | BrokenPipeError) else f"{error!r}"


def open_flow(name: str, family: int, address: str | None, site: str) -> str:
    if address is None:
        try:
            found = socket.getaddrinfo(site, PORT, _FAMILIES[family], socket.SOCK_STREAM)
        except socket.gaierror:
            raise StageFailed("dns none") from None
        address = str(found[0][4][0])
    return _encrypted(name, _connected(address, PORT), site)


def proxied_flow(name: str, family: int, proxy: str, site: str) -> str:
    connection = _connected(proxy, PROXY_PORT)
    host = site.encode()
    try:
        connection.sendall(b"\x05\x01\x00")
        _expect(connection, b"\x05\x00")
        connection.sendall(b"\x05\x01\x00\x03" + bytes([len(host)]) + host + struct.pack("!H", PORT))
        reply = connection.recv(64)
    except OSError as error:
        raise StageFailed(f"socks {how(error)}") from None
    if reply[1:2] != b"\x00":
        raise StageFailed(f"socks {reply[1:2].hex()}")
    return _encrypted(name, connection, site)


def _expect(connection: socket.socket, said: bytes) -> None:
    if connection.recv(len(said)) != said:
        raise StageFailed("socks nonsense")


def _connected(address: str, port: int) -> socket.socket:
    family = _FAMILIES[ipaddress.ip_address(address).version]
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.settimeout(PATIENCE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        connection.connect((address, port))
    except OSError as error:
        connection.close()
        raise StageFailed(f"tcp {how(error)}") from None
    return connection


def _encrypted(name: str, connection: socket.socket, site: str) -> str:
    try:
        flow = ssl.create_default_context().wrap_socket(connection, server_hostname=site)
    except OSError as error:
        connection.close()
        raise StageFailed(f"tls {how(error)}") from None
    _FLOWS[name] = flow
    return "ok"


def ask(name: str, *paddings: int) -> str:
    for padding in paddings:
        _request(_FLOWS[name], padding)
    return "ok"


def timed(name: str, padding: int, times: int) -> float:
    _FLOWS[name].settimeout(LONG_SECONDS)
    began = time.monotonic()
    for _ in range(times):
        _request(_FLOWS[name], padding)
    return time.monotonic() - began


def _request(flow: ssl.SSLSocket, padding: int) -> None:
    request = f"GET / HTTP/1.1\r\nHost: messenger.example\r\nX-Padding: {'x' * padding}\r\n\r\n"
    try:
        flow.sendall(request.encode())
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer) < _length(answer):
            if not flow.pending():
                socket.socket.recv(flow, 1, socket.MSG_PEEK)  # ssl would make an RST look like an end
            if not (data := flow.recv(65536)):
                raise StageFailed("closed")
            answer += data
    except OSError as error:
        raise StageFailed(how(error)) from None


def _length(answer: bytes) -> int:
    head, _, _ = answer.partition(b"\r\n\r\n")
    (length,) = (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return len(head) + 4 + int(length.partition(b":")[2])


_STEPS: dict[str, Callable[..., str | float]] = {"open": open_flow, "proxied": proxied_flow, "ask": ask, "timed": timed}


def take(item: tuple[str, list[Any]]) -> tuple[str, str | float]:
    name, (step, *arguments) = item
    try:
        return name, _STEPS[step](name, *arguments)
    except StageFailed as failure:
        return name, str(failure)


if __name__ == "__main__":
    with ThreadPoolExecutor(max_workers=16) as pool:
        for line in sys.stdin:
            print(json.dumps(dict(pool.map(take, json.loads(line).items()))), flush=True)
