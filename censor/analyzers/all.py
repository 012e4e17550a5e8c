"""Sans-IO: all analyzers, in the order in which they are asked."""

from __future__ import annotations

from censor.analyzers import Analyzer, dns, entropy, http, mtproto, quic, signature, socks, ssh, tls
from censor.properties import FLOW_PROPERTIES, Type

ANALYZERS: tuple[Analyzer, ...] = (
    tls.ANALYZER,
    http.ANALYZER,
    dns.ANALYZER,
    quic.ANALYZER,
    socks.ANALYZER,
    ssh.ANALYZER,
    signature.ANALYZER,
    entropy.ANALYZER,
    mtproto.ANALYZER,
)

PROPERTIES: dict[str, Type] = FLOW_PROPERTIES | {
    name: type_ for analyzer in ANALYZERS for name, type_ in analyzer.properties.items()
}
"""All that a condition can ask for."""
