"""A server that does nothing but answer at once, so that races against it are not won by its slowness.

On TCP port 443 it answers whatever comes with a TLS record, on UDP port 53 every question with ADDRESS. A program: it
prints a line once it listens on the address of its argument, and ends with its standard input.
"""

from __future__ import annotations

import selectors
import socket
import sys

import dns.message
import dns.rrset

TCP_PORT, DNS_PORT = 443, 53
ADDRESS = "203.0.113.77"
ANSWER = b"\x16\x03\x03\x00\x04\x0e\x00\x00\x00"


def answer_to(query: bytes) -> bytes:
    """A DNS response with ADDRESS."""
    question = dns.message.from_wire(query)
    answer = dns.message.make_response(question)
    answer.answer.append(dns.rrset.from_text(question.question[0].name, 60, "IN", "A", ADDRESS))
    return answer.to_wire()


def main(address: str) -> None:
    """Serve until standard input ends."""
    ready = selectors.DefaultSelector()
    listener = socket.create_server((address, TCP_PORT), backlog=4096, reuse_port=True)
    resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    resolver.bind((address, DNS_PORT))
    for one in (listener, resolver, sys.stdin):
        ready.register(one, selectors.EVENT_READ)
    print("listening", flush=True)
    while True:
        for key, _ in ready.select():
            if key.fileobj is sys.stdin:
                return
            if key.fileobj is listener:
                ready.register(listener.accept()[0], selectors.EVENT_READ)
            elif key.fileobj is resolver:
                query, sender = resolver.recvfrom(4096)
                resolver.sendto(answer_to(query), sender)
            elif isinstance(key.fileobj, socket.socket):
                _serve(key.fileobj, ready)


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
    main(sys.argv[1])
