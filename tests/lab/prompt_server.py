"""A server that does nothing but answer at once, so that races against it are not won by its slowness.

Over TCP it answers whatever comes with a TLS record, and over UDP every DNS question with ADDRESS. A program: its
arguments are an address for UDP port 53 and `ADDRESS:PORT` or `[ADDRESS]:PORT` for TCP, as many as are wanted; it
prints a line once it listens, and ends with its standard input.
"""

from __future__ import annotations

import resource
import selectors
import socket
import sys

import dns.message
import dns.rrset

ADDRESS = "203.0.113.77"
ANSWER = b"\x16\x03\x03\x00\x04\x0e\x00\x00\x00"


def answer_to(query: bytes) -> bytes:
    """A DNS response with ADDRESS."""
    question = dns.message.from_wire(query)
    answer = dns.message.make_response(question)
    answer.answer.append(dns.rrset.from_text(question.question[0].name, 60, "IN", "A", ADDRESS))
    return answer.to_wire()


def main(resolver_address: str, *endpoints: str) -> None:
    """Serve until standard input ends."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    ready = selectors.DefaultSelector()
    listeners = [_listener(*endpoint.rsplit(":", 1)) for endpoint in endpoints]
    resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    resolver.bind((resolver_address, 53))
    for one in (*listeners, resolver, sys.stdin):
        ready.register(one, selectors.EVENT_READ)
    print("listening", flush=True)
    while True:
        for key, _ in ready.select():
            if key.fileobj is sys.stdin:
                return
            assert isinstance(key.fileobj, socket.socket)
            if key.fileobj in listeners:
                ready.register(key.fileobj.accept()[0], selectors.EVENT_READ)
            elif key.fileobj is resolver:
                query, sender = resolver.recvfrom(4096)
                resolver.sendto(answer_to(query), sender)
            else:
                _serve(key.fileobj, ready)


def _listener(address: str, port: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address.strip("[]"), int(port)), family=family, backlog=4096)


def _serve(connection: socket.socket, ready: selectors.BaseSelector) -> None:
    try:
        if connection.recv(65536):
            connection.send(ANSWER)
            return
    except OSError:
        pass
    ready.unregister(connection)
    connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
