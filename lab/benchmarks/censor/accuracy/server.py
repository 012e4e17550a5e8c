"""The other end of the flows: it answers whatever comes first, then as much as it is asked for; a resolver on UDP 53.

Started on the server; it says a line when it listens, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys

import dns.message
import dns.rdatatype
import dns.rrset

from lab.benchmarks.censor.accuracy.flows import ADDRESSES, ANSWER, BULK, MORE

TCP_PORTS = (22, 53, 80, 443, 8080, 8443)
UDP_PORTS = (443, 8443, 50443)
_RESOLVER_PORT = 53
_FAR_SECONDS = 0.05
"""What the way there and back takes to a server abroad: from one next door, the answer may come before a forged RST."""
_BACKLOG = 4096
_BUFFER_BYTES = 8 << 20
_IP_PKTINFO = 8  # of Linux; the module has no name for it in Python 3.11
_PACKET_INFO = struct.Struct("=I4s4s")  # struct in_pktinfo, ip(7)
_ANCILLARY_BYTES = socket.CMSG_SPACE(_PACKET_INFO.size)


class Connection(asyncio.Protocol):
    """One client's: an answer to its first bytes, the bulk when it asks for more."""

    def __init__(self) -> None:
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._answered:
            self._answered = True
            asyncio.get_running_loop().call_later(_FAR_SECONDS, self._transport.write, ANSWER)
        elif data.endswith(MORE):
            self._transport.write(BULK)


def answer(query: bytes) -> bytes:
    """The resolver's."""
    message = dns.message.from_wire(query)
    question = message.question[0]
    made = dns.message.make_response(message)
    type_ = dns.rdatatype.to_text(question.rdtype)
    made.answer.append(dns.rrset.from_text(question.name, 60, "IN", type_, ADDRESSES[type_]))
    return made.to_wire()


def reply(bound: socket.socket, port: int) -> None:
    """Answer a datagram from the address that it was sent to, of which there are many."""
    data, ancillary, _, client = bound.recvmsg(65536, _ANCILLARY_BYTES)
    _, _, address = _PACKET_INFO.unpack(ancillary[0][2])
    source = (socket.IPPROTO_IP, _IP_PKTINFO, _PACKET_INFO.pack(0, address, bytes(4)))
    bound.sendmsg([answer(data) if port == _RESOLVER_PORT else data[:1000]], [source], 0, client)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    for port in TCP_PORTS:
        await loop.create_server(Connection, "0.0.0.0", port, backlog=_BACKLOG)
    for port in (_RESOLVER_PORT, *UDP_PORTS):
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        bound.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        bound.bind(("0.0.0.0", port))
        loop.add_reader(bound.fileno(), reply, bound, port)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
