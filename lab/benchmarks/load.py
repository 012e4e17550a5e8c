"""The load generator for machines without a compiler: the same call and the same output as `load.c`, on threads.

Slower than the C one, and on small messages and connects slower than the proxies: a run with it says so.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time

BUFFER_BYTES = 256 * 1024
MESSAGE_BYTES = 64
CONNECT_SECONDS = 10.0


def target() -> None:
    """Listen, print the port, do what each connection's first byte says; until killed."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=_serve, args=(sock,), daemon=True).start()


def _serve(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    block = b"x" * BUFFER_BYTES
    with sock:
        try:
            mode = sock.recv(1)
            if mode == b"c":
                sock.sendall(b"c")
            while mode == b"d":
                sock.sendall(block)
            while mode in (b"u", b"p") and (data := sock.recv(BUFFER_BYTES)):
                if mode == b"p":
                    sock.sendall(data)
        except OSError:
            pass  # the client has what it came for


class Clients:
    """All clients of a run, a thread each."""

    def __init__(self, mode: str, proxy_port: int, target_port: int, connections: int) -> None:
        self._mode = mode
        self._proxy_port = proxy_port
        self._target_port = target_port
        self._standing = threading.Barrier(connections + 1, timeout=CONNECT_SECONDS)
        self._counts = [{"bytes": 0, "messages": 0, "connects": 0, "failures": 0} for _ in range(connections)]

    def run(self, seconds: float) -> None:
        """Print the start and the end line around `seconds` of load."""
        for counts in self._counts:
            threading.Thread(target=self._client, args=(counts,), daemon=True).start()
        try:
            self._standing.wait()
        except threading.BrokenBarrierError:
            sys.exit(f"load: the connections did not stand within {CONNECT_SECONDS:.0f} s, or one was refused")
        time.sleep(seconds / 10)
        before, started = self._total(), time.monotonic()
        print(json.dumps({"event": "start"}), flush=True)
        time.sleep(seconds)
        after, ended = self._total(), time.monotonic()
        moved = {name: after[name] - before[name] for name in after}
        print(json.dumps({"event": "end", "seconds": ended - started} | moved), flush=True)

    def _total(self) -> dict[str, int]:
        return {name: sum(counts[name] for counts in self._counts) for name in self._counts[0]}

    def _client(self, counts: dict[str, int]) -> None:
        if self._mode != "c":
            try:
                sock = self._connect()
            except OSError:
                self._standing.abort()
                return
            with sock:
                self._standing.wait()
                self._load(sock, counts)
        self._standing.wait()
        while True:
            try:
                with self._connect() as sock:
                    while sock.recv(64):
                        pass
                counts["connects"] += 1
            except OSError:
                counts["failures"] += 1

    def _load(self, sock: socket.socket, counts: dict[str, int]) -> None:
        block, buffer = b"x" * BUFFER_BYTES, bytearray(BUFFER_BYTES)
        while True:
            match self._mode:
                case "u":
                    counts["bytes"] += sock.send(block)
                case "d":
                    counts["bytes"] += sock.recv_into(buffer)
                case _:
                    sock.sendall(block[:MESSAGE_BYTES])
                    counts["bytes"] += len(sock.recv(MESSAGE_BYTES, socket.MSG_WAITALL))
                    counts["messages"] += 1

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self._proxy_port or self._target_port), CONNECT_SECONDS)
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._proxy_port:
            sock.sendall(b"\x05\x01\x00")
            choice = sock.recv(2, socket.MSG_WAITALL)
            sock.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + self._target_port.to_bytes(2, "big"))
            if choice != b"\x05\x00" or sock.recv(10, socket.MSG_WAITALL)[:2] != b"\x05\x00":
                sock.close()
                raise OSError("the proxy refused")
        sock.sendall(self._mode.encode())
        return sock


def main(arguments: list[str]) -> None:
    """`target`, or MODE PROXY_PORT TARGET_PORT CONNECTIONS SECONDS."""
    if arguments == ["target"]:
        target()
    mode, proxy_port, target_port, connections, seconds = arguments
    Clients(mode, int(proxy_port), int(target_port), int(connections)).run(float(seconds))


if __name__ == "__main__":
    main(sys.argv[1:])
