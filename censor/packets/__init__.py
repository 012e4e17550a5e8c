"""Packets as bytes, from their IP header on: what a censor reads in them and what it makes itself. Sans-IO.

- `headers`: a packet's fields (`parse` to a `Packet`), names of addresses and flows;
- `checksums`: whether they are right, and filling in what the kernel left to the network card;
- `forged`: TCP segments and UDP datagrams in the name of either end;
- `icmp`: the ICMP errors of a router that rejects;
- `fragmentation`: a packet as fragments.

Whatever is made here carries full checksums (RFC 791, 768, 9293, 8200), for it leaves through raw sockets that fill in
nothing.
"""

from censor.packets.checksums import checksum_ok, full_checksum
from censor.packets.forged import reset, reset_back, reset_forward, rewritten_reset, segments_back, udp_reply
from censor.packets.fragmentation import fragments_of
from censor.packets.headers import (
    ACK,
    FIN,
    ICMP,
    ICMPV6,
    PSH,
    RST,
    SYN,
    TCP,
    UDP,
    Packet,
    address,
    endpoint,
    flow_name,
    parse,
)
from censor.packets.icmp import Unreachable, icmp_unreachable

__all__ = [
    "ACK",
    "FIN",
    "ICMP",
    "ICMPV6",
    "PSH",
    "RST",
    "SYN",
    "TCP",
    "UDP",
    "Packet",
    "Unreachable",
    "address",
    "checksum_ok",
    "endpoint",
    "flow_name",
    "fragments_of",
    "full_checksum",
    "icmp_unreachable",
    "parse",
    "reset",
    "reset_back",
    "reset_forward",
    "rewritten_reset",
    "segments_back",
    "udp_reply",
]
