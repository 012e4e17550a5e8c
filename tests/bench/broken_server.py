"""A small SOCKS server that is right in every case of `sidedoor bench conformance`, and wrong in one way on demand.

`python broken_server.py PORT FAULT DEADLINE [USER PASSWORD]`: FAULT is one of `FAULTS`, or "none". A thread per client
and direction: for tests only.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import ipaddress
import os
import queue
import select
import socket
import struct
import sys
import threading

FAULTS: dict[str, str] = {
    "one-recv": "greeting-cut greeting-bytes greeting-joined greeting-early auth-bytes auth-joined socks4-cut http-cut",
    "drops-early-data": "greeting-joined greeting-early auth-joined socks4-joined http-joined",
    "always-no-auth": "greeting-no-acceptable-method greeting-ff-is-final greeting-no-methods auth-required",
    "seven-bit-count": "greeting-255-methods",
    "any-version": "greeting-version request-version",
    "any-password": "auth-wrong auth-wrong-joined auth-empty auth-255-wrong auth-255",
    "no-password": "auth-right auth-joined auth-bytes auth-255",
    "silent-verdict": "auth-wrong",
    "auth-skippable": "auth-skipped",
    "any-auth-version": "auth-version",
    "open-doors": "auth-other-doors auth-http",
    "general-failure": "request-ipv4 request-ipv6 request-domain request-rep-refused request-rep-unreachable "
    "request-rep-dns request-rep-command request-rep-address-type",
    "literal-lies": "request-domain-ipv4-literal request-domain-ipv6-literal request-domain-brackets",
    "domain-of-254": "request-domain-255",
    "success-first": "request-success-after-connect request-rep-refused request-rep-dns request-domain-empty "
    "request-domain-255",
    "nul-ends": "request-domain-nul",
    "strips": "request-domain-crlf",
    "empty-is-here": "request-domain-empty",
    "short-errors": "request-error-whole request-error-dns",
    "stays-open": "request-error-end",
    "bound-is-target": "request-bound-ipv4 request-bound-ipv6",
    "corrupts": "flow-both-ways flow-last-bytes flow-half-close-by-client",
    "first-end-ends": "flow-half-close-by-client flow-half-close-by-target",
    "fin-for-reset": "flow-reset-by-target flow-reset-by-client",
    "reset-for-fin": "flow-last-bytes",
    "unbounded": "flow-slow-reader",
    "no-deadline": "clients-silent-dropped",
    "one-at-a-time": "clients-silent-beside clients-waiting-beside clients-many",
    "dies-of-reset": "clients-reset",
    "udp-nameless": "udp-associate",
    "udp-no-answers": "udp-ipv4 udp-ipv6 udp-domain",
    "udp-small": "udp-big",
    "udp-one-target": "udp-two-targets",
    "udp-last-client": "udp-two-clients",
    "udp-any-port": "udp-other-port",
    "udp-any-host": "udp-other-host",
    "udp-outlives": "udp-ends-with-tcp",
    "udp-fragments-as-is": "udp-fragment-alone udp-reassembly",
    "udp-garbage-ends": "udp-malformed",
    "bind-one-reply": "bind-replies",
    "bind-nameless": "bind-address",
    "bind-anybody": "bind-other-peer",
    "bind-outlives": "bind-end",
    "socks4-short": "socks4-connect socks4-domain",
    "socks4-granted": "socks4-refused",
    "http-granted": "http-refused",
    "http-no-flow": "http-connect http-domain http-ipv6",
}
"""Fault -> the cases that it fails, at least."""

CODES = {errno.ECONNREFUSED: 5, errno.ENETUNREACH: 3, errno.EHOSTUNREACH: 4, errno.ETIMEDOUT: 4}
FAULT, DEADLINE = "none", 10.0
LOGIN: tuple[bytes, bytes] | None = None
LAST_CLIENT: list[tuple[str, int]] = []


class Refused(Exception):
    """REP."""

    def __init__(self, code: int) -> None:
        self.code = 1 if FAULT == "general-failure" else code


def packed(where: tuple[str, int]) -> bytes:
    ip = ipaddress.ip_address(where[0])
    return bytes([1 if ip.version == 4 else 4]) + ip.packed + where[1].to_bytes(2, "big")


def name_of(sock: socket.socket) -> tuple[str, int]:
    host, port = sock.getsockname()[:2]
    return host, port


class Client:
    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.buffer = sock, b""

    def read(self, size: int) -> bytes:
        """Exactly so many bytes; EOFError where there are no more."""
        if FAULT == "one-recv" and len(self.buffer) < size:
            self.buffer = self.sock.recv(4096)
            if len(self.buffer) < size:
                raise EOFError
        while len(self.buffer) < size:
            more = self.sock.recv(4096)
            if not more:
                raise EOFError
            self.buffer += more
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def message_ends(self) -> None:
        """What is behind a message that came with it."""
        if FAULT == "one-recv":
            self.buffer = b""

    def read_until(self, end: bytes) -> bytes:
        data = b""
        while not data.endswith(end):
            data += self.read(1)
        return data[: -len(end)]


def serve(sock: socket.socket) -> None:
    with sock:
        try:
            sock.settimeout(None if FAULT == "no-deadline" else DEADLINE)
            negotiate(Client(sock))
        except OSError:
            if FAULT == "dies-of-reset":
                os._exit(3)
        except EOFError:
            pass


def negotiate(client: Client) -> None:
    match version := client.read(1)[0]:
        case 4:
            socks4(client)
        case 67:  # the C of CONNECT
            http(client)
        case _ if version == 5 or FAULT == "any-version":
            socks5(client)


def socks5(client: Client) -> None:
    count = client.read(1)[0]
    methods = client.read(count & 0x7F if FAULT == "seven-bit-count" else count)
    client.message_ends()
    wanted = 0 if LOGIN is None or FAULT == "always-no-auth" else 2
    if wanted not in methods and FAULT != "always-no-auth":
        client.sock.sendall(b"\5\xff")
        return
    client.sock.sendall(bytes([5, wanted]))
    if wanted == 2 and not authenticated(client):
        return
    try:
        request(client)
    except Refused as refused:
        reply = bytes([5, refused.code, 0]) + packed(("0.0.0.0", 0))
        client.sock.sendall(reply[:2] if FAULT == "short-errors" else reply)
        if FAULT == "stays-open":
            client.sock.recv(1)


def authenticated(client: Client) -> bool:
    version = client.read(1)
    if version == b"\5" and FAULT == "auth-skippable":
        client.buffer = b"\5" + client.buffer
        return True
    user = client.read(client.read(1)[0])
    password = client.read(client.read(1)[0])
    client.message_ends()
    right = (user, password) == LOGIN and (version == b"\1" or FAULT == "any-auth-version")
    right = (right or FAULT == "any-password") and FAULT != "no-password"
    if right or FAULT != "silent-verdict":
        client.sock.sendall(bytes([1, 0 if right else 1]))
    return right


def request(client: Client) -> None:
    version, command, _, type_ = client.read(4)
    if version != 5 and FAULT != "any-version":
        raise Refused(1)
    if type_ not in (1, 3, 4):
        client.read(6)
        raise Refused(8)
    if type_ == 3:
        size = client.read(1)[0]
        host = domain(client.read(size + (8 if FAULT == "domain-of-254" and size == 255 else 0)))
    else:
        host = str(ipaddress.ip_address(client.read(4 if type_ == 1 else 16)))
    port = int.from_bytes(client.read(2), "big")
    client.message_ends()
    if FAULT == "general-failure":
        raise Refused(1)
    match command:
        case 1:
            connect(client, host, port, literal=type_ == 3 and host.strip("[]")[-1:] in set("0123456789"))
        case 2:
            bind(client, host)
        case 3:
            Association(client).run()
        case _:
            raise Refused(7)


def domain(data: bytes) -> str:
    if FAULT == "nul-ends":
        data = data.partition(b"\0")[0]
    if FAULT == "strips":
        data = data.strip()
    if FAULT == "empty-is-here" and not data:
        data = b"127.0.0.1"
    text = data.decode("latin-1")
    if FAULT != "success-first" and (not text or not text.isprintable()):
        raise Refused(1)
    return text


def dial(host: str, port: int) -> socket.socket:
    if host.endswith(".invalid"):  # not left to this host's resolver, which may take its time
        raise Refused(4)
    try:
        return socket.create_connection((host.strip("[]"), port), 10)
    except (socket.gaierror, UnicodeError):
        raise Refused(4) from None
    except OSError as error:
        raise Refused(CODES.get(error.errno or 0, 1)) from None


def connect(client: Client, host: str, port: int, *, literal: bool) -> None:
    if FAULT == "success-first" or (FAULT == "literal-lies" and literal):
        client.sock.sendall(b"\5\0\0" + packed(("0.0.0.0", 0)))
    with dial(host, port) if not (FAULT == "literal-lies" and literal) else socket.socket() as target:
        if FAULT != "success-first":
            bound = (host, port) if FAULT == "bound-is-target" else name_of(target)
            client.sock.sendall(b"\5\0\0" + packed(bound))
        relay(client, target)


def relay(client: Client, target: socket.socket) -> None:
    """Both ways, until both have ended."""
    for sock in (client.sock, target):
        sock.settimeout(None)
    if FAULT != "drops-early-data":
        target.sendall(client.buffer)
    up = threading.Thread(target=pump, args=(client.sock, target), daemon=True)
    up.start()
    pump(target, client.sock)
    if FAULT not in ("first-end-ends", "reset-for-fin"):
        up.join()


def pump(source: socket.socket, sink: socket.socket) -> None:
    store: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    if FAULT == "unbounded":
        threading.Thread(target=lambda: [sink.sendall(data) for data in iter(store.get, b"")], daemon=True).start()
    carried = 0
    with contextlib.suppress(OSError):
        try:
            while data := source.recv(65536):
                if FAULT == "corrupts" and carried > 1 << 18:
                    data = bytes(len(data))
                (store.put if FAULT == "unbounded" else sink.sendall)(data)
                carried += len(data)
        except ConnectionResetError:
            if FAULT != "fin-for-reset":
                shut(sink, reset=True)
                return
        if FAULT == "reset-for-fin":
            shut(sink, reset=True)
        sink.shutdown(socket.SHUT_RDWR if FAULT == "first-end-ends" else socket.SHUT_WR)
        if FAULT == "first-end-ends":
            source.shutdown(socket.SHUT_RDWR)


def shut(sock: socket.socket, *, reset: bool) -> None:
    """Reset, even while the other thread waits for it: connecting to nowhere does that."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", int(reset), 0))
    # AF_UNSPEC dissolves the association: Linux sends a reset where there is something to tell.
    import ctypes

    ctypes.CDLL(None).connect(sock.fileno(), struct.pack("H14x", socket.AF_UNSPEC), 16)


def bind(client: Client, expected: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = ("0.0.0.0", name_of(listener)[1]) if FAULT == "bind-nameless" else name_of(listener)
        client.sock.sendall(b"\5\0\0" + packed(where))
        while True:
            readable = select.select([listener, client.sock], [], [], 10)[0]
            if client.sock in readable and FAULT != "bind-outlives":
                return
            if listener in readable:
                peer, origin = listener.accept()
                if FAULT == "bind-outlives" and not client.sock.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK):
                    peer.recv(1)
                if origin[0] == expected or FAULT == "bind-anybody":
                    break
                peer.close()
    with peer:
        if FAULT != "bind-one-reply":
            client.sock.sendall(b"\5\0\0" + packed(origin))
        relay(client, peer)


class Association:
    def __init__(self, client: Client) -> None:
        self.control = client.sock
        self.inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.outside = {family: socket.socket(family, socket.SOCK_DGRAM) for family in (2, 10)}
        self.inside.bind(("127.0.0.1", 0))
        self.owner: tuple[str, int] | None = None
        self.first_target: tuple[str, int] | None = None
        self.fragments: list[bytes] = []

    def run(self) -> None:
        with self.inside, self.outside[2], self.outside[10]:
            host, port = name_of(self.inside)
            self.control.sendall(b"\5\0\0" + packed(("0.0.0.0" if FAULT == "udp-nameless" else host, port)))
            watched = [self.control, self.inside, *self.outside.values()]
            while True:
                for sock in select.select(watched, [], [])[0]:
                    if sock is self.control:
                        if FAULT != "udp-outlives":
                            return
                        watched.remove(sock)
                    elif sock is self.inside:
                        if not self.forward(*sock.recvfrom(65535)):
                            return
                    else:
                        self.answer(*sock.recvfrom(65535))

    def forward(self, data: bytes, origin: tuple[str, int]) -> bool:
        """False: the association is over."""
        if origin[0] != "127.0.0.1" and FAULT != "udp-any-host":
            return True
        if self.owner not in (None, origin) and FAULT not in ("udp-any-port", "udp-any-host"):
            return True
        self.owner = origin
        LAST_CLIENT[:] = [origin]
        try:
            fragment, host, port, payload = self.parse(data)
        except (IndexError, ValueError):
            return FAULT != "udp-garbage-ends"
        if fragment and FAULT != "udp-fragments-as-is":
            self.fragments.append(payload)
            if not fragment & 0x80:
                return True
            payload, self.fragments = b"".join(self.fragments), []
        if FAULT == "udp-small":
            payload = payload[:1000]
        if FAULT == "udp-one-target":
            self.first_target = self.first_target or (host, port)
            host, port = self.first_target
        with contextlib.suppress(OSError):
            self.outside[10 if ":" in host else 2].sendto(payload, (host, port))
        return True

    def parse(self, data: bytes) -> tuple[int, str, int, bytes]:
        size = 1 + data[4] if data[3] == 3 else {1: 4, 4: 16}[data[3]] if data[3] in (1, 4) else 0
        end = 4 + size
        if not size or len(data) < end + 2:
            raise ValueError
        host = data[5:end].decode() if data[3] == 3 else str(ipaddress.ip_address(data[4:end]))
        return data[2], host, int.from_bytes(data[end : end + 2], "big"), data[end + 2 :]

    def answer(self, data: bytes, origin: tuple[str, int]) -> None:
        to = LAST_CLIENT[0] if FAULT == "udp-last-client" else self.owner
        if to and FAULT != "udp-no-answers":
            self.inside.sendto(b"\0\0\0" + packed(origin[:2]) + data, to)


def socks4(client: Client) -> None:
    command, port = client.read(1)[0], int.from_bytes(client.read(2), "big")
    host = str(ipaddress.ip_address(client.read(4)))
    client.read_until(b"\0")
    if host.startswith("0.0.0."):
        host = client.read_until(b"\0").decode()
    client.message_ends()
    try:
        if command != 1 or (LOGIN and FAULT != "open-doors"):
            raise Refused(1)
        target = dial(host, port)
    except Refused:
        client.sock.sendall(bytes([0, 90 if FAULT == "socks4-granted" else 91]) + bytes(6))
        return
    with target:
        client.sock.sendall(b"\0\x5a" + bytes(2 if FAULT == "socks4-short" else 6))
        relay(client, target)


def http(client: Client) -> None:
    if FAULT == "one-recv" and b"\r\n\r\n" not in client.buffer:
        return
    head = client.read_until(b"\r\n\r\n").decode()
    client.message_ends()
    host, _, port = head.split()[1].rpartition(":")
    if LOGIN and FAULT != "open-doors":
        basic = base64.b64encode(b":".join(LOGIN)).decode()
        if f"Proxy-Authorization: Basic {basic}" not in head:
            client.sock.sendall(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n")
            return
    try:
        target = dial(host, int(port))
    except Refused:
        client.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n" if FAULT == "http-granted" else b"HTTP/1.1 502 No\r\n\r\n")
        return
    with target:
        client.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        if FAULT != "http-no-flow":
            relay(client, target)


def main() -> None:
    global FAULT, DEADLINE, LOGIN
    _, port, FAULT, deadline, *login = sys.argv
    DEADLINE = float(deadline)
    if login:
        LOGIN = login[0].encode(), login[1].encode()
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=512)
    while True:
        sock, _ = listener.accept()
        if FAULT == "one-at-a-time":
            serve(sock)
        else:
            threading.Thread(target=serve, args=(sock,), daemon=True).start()


if __name__ == "__main__":
    main()
