"""What can be set about the active prober: the TOML table `[prober]`. Sans-IO."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec

from proxy.wire import Address

ProbeName = Literal["socks5-no-auth", "socks5-wrong-password", "replay", "socks4", "http-connect", "tls", "random"]
"""What is said to the server; docs/censor-probing.md describes each."""
PROBE_NAMES: tuple[ProbeName, ...] = get_args(ProbeName)

Evidence = Literal["socks5-method", "socks5-auth", "socks4", "http-proxy", "open-proxy", "replay"]
"""What an answer shows: a SOCKS5 method selection (05 xx), a verdict on user and password (01 xx), a SOCKS4 reply, a
proxy's response to HTTP CONNECT (2xx, 407), a proxy that connects for strangers, an answer to a replay that random
bytes do not get."""

Seconds = Annotated[float, msgspec.Meta(ge=0)]
Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class ProberSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The active prober. "Ours" below: no source gives a figure. Raises ValueError for what means nothing."""

    probes: Annotated[tuple[ProbeName, ...], msgspec.Meta(min_length=1)] = (
        "socks5-no-auth",
        "socks5-wrong-password",
        "replay",
    )
    """In this order, until one convicts. Replays: "How China Detects and Blocks Shadowsocks" (IMC 2020). A SOCKS5
    greeting is what tells a SOCKS5 proxy from anything else in one round trip (RFC 1928 section 3)."""
    delay: tuple[Seconds, Seconds] | Literal["imc2020"] = "imc2020"
    """From the connection that triggers to the first probe: uniform between two numbers of seconds; "imc2020": as the
    first replays came there, 0.28 s to 570 h, 20 % within 1 s, 50 % within 1 min, 75 % within 15 min."""
    time_scale: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    """`delay` and `between_seconds` are divided by it, for experiments that cannot wait for days."""
    connections_before: Count = 1
    """Suspicious connections to a server until it is probed. 1: replays followed single connections (IMC 2020); 13 were
    needed in one experiment (net4people/bbs 22)."""
    between_seconds: Seconds = 1.0
    """From the end of a probe to the next one. Ours."""
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0)] = 5.0
    """For connecting, and again for the conversation; a server that says nothing for so long has not answered. Ours."""
    concurrency: Count = 8
    """Probes at a time. Ours."""
    verdict: tuple[Evidence, ...] = ("socks5-method", "socks5-auth", "socks4", "http-proxy", "replay")
    """What convicts. All but "open-proxy", which these contain: for a censor that only minds proxies that let anybody
    in, ["open-proxy"]."""
    convict_probability: Probability = 1.0
    """The share of the servers with such evidence that are blocked; drawn once for each server. 1: ours, so that an
    experiment shows the mechanism; in China few of the probed servers were ever blocked (IMC 2020)."""
    later_probes_only_after_answer: bool = True
    """Whether a server that was silent to the first probe is left alone (IMC 2020: later types of probes came only
    after the server had answered the first)."""
    block_seconds: Seconds = 180.0
    """How long a conviction holds. 180 s: residual blocking in China (USENIX Security 2023); its blocks of servers
    follow days or weeks later and last weeks."""
    destination: str = "192.0.2.80:80"
    """HOST:PORT that proxies are asked to connect to. In a range for documentation (RFC 5737), where nobody is; with a
    listener of the censor's own in its place, proxies that are open to everybody give themselves away."""
    random_bytes: Annotated[int, msgspec.Meta(ge=1, le=65536)] = 221
    """What "random" sends; 221: the commonest length of China's random probes (IMC 2020, type NR2)."""
    limit_suspects: Count = 10000
    """Servers that are remembered, the least recently suspected one makes room. Ours."""
    payload_limit_bytes: Annotated[int, msgspec.Meta(ge=0)] = 2048
    """What is kept of each suspect's first payload, for the replay: more than one segment (160-700 bytes triggered)."""
    forget_seconds: Seconds = 3600.0
    """A server that was not suspected for so long is a new one; one that was cleared is not probed again for so long.
    Ours."""

    def __post_init__(self) -> None:
        if len(set(self.probes)) < len(self.probes):
            raise ValueError("`probes` names a probe twice")
        if isinstance(self.delay, tuple) and self.delay[0] > self.delay[1]:
            raise ValueError(f"`delay` is [least, most] seconds; {self.delay[0]:g} is more than {self.delay[1]:g}")
        try:
            parse_address(self.destination)
        except ValueError as error:
            raise ValueError(f"`destination`: {error}") from error


def parse_address(text: str) -> Address:
    """ "HOST:PORT", IPv6 in brackets. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    bare = not host.startswith("[") and ":" in host
    if not colon or not host or bare or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r}: expected HOST:PORT, IPv6 in brackets")
    return Address.of(host, int(port))
