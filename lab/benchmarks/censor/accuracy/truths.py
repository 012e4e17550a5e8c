"""What each profile is to do to which flows, as its rules file says it: the measure of the censor's mistakes."""

from __future__ import annotations

import ipaddress
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from censor import profiles
from lab.benchmarks.censor.accuracy import payloads
from lab.benchmarks.censor.accuracy.flows import Fate, Flow

OWN = "203.0.113.10"
SERVERS = (f"{OWN}/32", "198.18.0.0/16", "198.19.0.0/17", "198.51.100.0/24", "203.0.113.64/26")
"""What the server has beside its OWN address."""
CLIENTS = "198.19.128.0/17"
"""What the client has beside its own address: each flow comes from another, so that no residual block hits two."""
FLOWS_MAX = 30_000
_FIRST_CLIENT = int(ipaddress.ip_address("198.19.128.1"))
_FIRST_PORT, _PORTS = 20_000, 40_000
_INNOCENT = ("innocent.example", "notmessenger.example")
_BLOCKED = ("messenger.example", "www.blocked.example")
_ANYWHERE = "198.18.16.0/20"
_CENTRES = "198.18.0.0/20"
"""What China's profile of 2021 takes for data centres."""
_QUIC_SECONDS = 8.0
"""Behind all delays of China's QUIC filter, the longest of which is 7.5 s."""
_ESNI_SECONDS = 1.5

Make = Callable[[int, random.Random], Flow]
_Payload = Callable[[int, random.Random], bytes]


@dataclass(frozen=True, slots=True)
class Case:
    """Flows of one kind. make: the flow with a number, out of what chance says; fates: what is to become of it.

    share: of these flows, by the profile; the others pass. Flows that are to pass are innocent.
    """

    name: str
    make: Make
    fates: frozenset[Fate] = frozenset({Fate.PASSED})
    share: float = 1.0

    @property
    def innocent(self) -> bool:
        return self.fates == {Fate.PASSED}


@dataclass(frozen=True, slots=True)
class Truth:
    """Of one profile. settings: of `[censor]`, and lists: entries, laid over it; stages: that are waited for first.

    flows_per_second: so many are opened; fewer where each of a flow's packets costs the censor time, as it is not to be
    tried what happens when it cannot keep up.
    """

    cases: Sequence[Case]
    settings: str = ""
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    stages: int = 0
    flows_per_second: float = 250.0

    def rules(self, profile: str) -> str:
        """The text of the rules file by which the censor is started."""
        lists = (
            f"\n[[list]]\nname = {json.dumps(name)}\nentries = {json.dumps(entries)}\n"
            for name, entries in self.lists.items()
        )
        return f'[censor]\nprofile = "{profile}"\n{self.settings}\n' + "".join(lists)


def truth(profile: str) -> Truth:
    """What is to become of flows through the profile. Raises KeyError: nobody has written it down."""
    return _TRUTHS[profile]()


def missing() -> list[str]:
    """The shipped profiles of which it is not known."""
    return [name for name in profiles.names() if name not in _TRUTHS]


def numbered(truth: Truth, flows: int, chance: random.Random) -> list[tuple[Case, Flow]]:
    """At least so many flows, half of them innocent, of all cases of a half as many, in any order."""
    made: list[tuple[Case, Flow]] = []
    for innocent in (True, False):
        half = [case for case in truth.cases if case.innocent is innocent]
        for case in half:
            for _ in range(-(-flows // (2 * len(half)))):
                made.append((case, case.make(len(made), chance)))
    chance.shuffle(made)
    return made


def client(number: int) -> tuple[str, int]:
    """The address and port of the flow with this number, which are no other's."""
    return str(ipaddress.ip_address(_FIRST_CLIENT + number)), _FIRST_PORT + number % _PORTS


def _one_of(network: str, number: int) -> str:
    """Another address of the network for each flow, as far as there are any; `network` may be one address."""
    block = ipaddress.ip_network(network)
    return str(block[0] if block.num_addresses == 1 else block[1 + number % (block.num_addresses - 2)])


# Kinds of flows


def _hit(name: str, make: Make, *fates: Fate, share: float = 1.0) -> Case:
    return Case(name, make, frozenset(fates), share)


def _tcp(
    payload: _Payload, port: int, network: str = _ANYWHERE, *, pause: float = 0.0, before: bytes | None = None
) -> Make:
    def make(number: int, chance: random.Random) -> Flow:
        return Flow(
            kind="tcp",
            client=client(number),
            server=(_one_of(network, number), port),
            payload=payload(number, chance),
            pause_seconds=pause,
            before=before,
        )

    return make


def _tls(*names: str, port: int = 443, network: str = _ANYWHERE) -> Make:
    hellos = [payloads.client_hello(name) for name in names]
    return _tcp(lambda number, _: hellos[number % len(hellos)], port, network)


def _http(*hosts: str, path: str = "/", before: bytes | None = None) -> Make:
    requests = [payloads.http_request(host, path) for host in hosts]
    return _tcp(lambda number, _: requests[number % len(requests)], 80, before=before)


def _encrypted(port: int, network: str = _ANYWHERE) -> Make:
    # Longer than what the profile of 2021 has its prober look at, whose verdict would hit the flows that follow.
    return _tcp(lambda _, chance: payloads.encrypted(chance, chance.randrange(720, 1400)), port, network)


def _quic(
    *names: str,
    version: int = 1,
    server: tuple[str, int] = (OWN, 443),
    own_port: int | None = None,
    pause: float = 0.0,
    rounds: int = 2,
) -> Make:
    initials = [payloads.quic_initial(name, version) for name in names]

    def make(number: int, chance: random.Random) -> Flow:
        address, port = client(number)
        return Flow(
            kind="udp",
            client=(address, own_port or port),
            server=server,
            payload=initials[number % len(initials)],
            pause_seconds=pause,
            rounds=rounds,
        )

    return make


def _dns(*names: str, type_: str = "A", server: str = OWN) -> Make:
    def make(number: int, chance: random.Random) -> Flow:
        query = payloads.dns_query(names[number % len(names)], type_, chance.randrange(1 << 16))
        return Flow(kind="dns", client=client(number), server=(server, 53), payload=query)

    return make


def _dns_over_tcp(*names: str) -> Make:
    queries = [payloads.over_tcp(payloads.dns_query(name, "A", 7)) for name in names]
    return _tcp(lambda number, _: queries[number % len(queries)], 53)


def _innocents() -> list[Case]:
    """What no profile of names minds."""
    return [Case("TLS, another name", _tls(*_INNOCENT)), Case("HTTP, another host", _http(*_INNOCENT))]


# Profiles


def _gfw_dns() -> Truth:
    return Truth(
        [
            _hit("A", _dns(*_BLOCKED), Fate.FORGED),
            _hit("AAAA", _dns(*_BLOCKED, type_="AAAA"), Fate.FORGED),
            _hit("A, second group", _dns("second.example", "www.second.example"), Fate.FORGED),
            Case("A, another name", _dns(*_INNOCENT)),
            Case("AAAA, another name", _dns(*_INNOCENT, type_="AAAA")),
            Case("TXT, blocked name", _dns(*_BLOCKED, type_="TXT")),
            Case("A over TCP, blocked name", _dns_over_tcp(*_BLOCKED)),
        ]
    )


def _gfw_rst() -> Truth:
    hello = payloads.client_hello(_BLOCKED[0])
    esni = payloads.with_extension(payloads.client_hello(_INNOCENT[0]), payloads.ESNI, bytes(64))
    addresses, port_443 = "198.18.128.0/24", "198.18.129.0/24"
    return Truth(
        [
            _hit("TLS name", _tls(*_BLOCKED), Fate.RESET),
            _hit("HTTP host", _http(*_BLOCKED), Fate.RESET),
            _hit("HTTP keyword", _http(*_INNOCENT, path="/search?q=falun"), Fate.RESET),
            # Drawn between 0.5 and 0.75 for each client and server: half of all cases lie on either side of the middle.
            _hit(
                "HTTP, behind a hit",
                _http(*_INNOCENT, before=payloads.http_request(_BLOCKED[0])),
                Fate.RESET,
                share=0.625,
            ),
            _hit("ESNI", _tcp(lambda *_: esni, 443, pause=_ESNI_SECONDS), Fate.STALLED),
            _hit("address", _tls(*_INNOCENT, port=8443, network=addresses), Fate.RESET),
            _hit("address, port 443", _tls(*_INNOCENT, network=port_443), Fate.RESET),
            *_innocents(),
            Case("address, another port", _tls(*_INNOCENT, port=8443, network=port_443)),
            Case("TLS name over two records", _tcp(lambda *_: payloads.in_records(hello, 30), 443)),
        ],
        lists={"reset-addresses": [addresses], "reset-443-addresses": [port_443]},
    )


def _gfw_fet() -> Truth:
    def of(payload: Callable[[random.Random], bytes]) -> Make:
        return _tcp(lambda _, chance: payload(chance), 8080, _CENTRES)

    return Truth(
        [
            _hit("fully encrypted", _encrypted(8080, _CENTRES), Fate.STALLED, share=0.263),
            Case("fully encrypted, elsewhere", _encrypted(8080)),
            Case("TLS", _tls(*_BLOCKED, network=_CENTRES)),
            Case("HTTP verb", of(lambda chance: b"POST " + payloads.encrypted(chance, 900))),
            Case("few bits set", of(lambda chance: payloads.few_bits(chance, 900))),
            Case("first six printable", of(lambda chance: b"Hello!" + payloads.encrypted(chance, 900))),
            Case("half printable", of(lambda chance: b"\x80" + b"ab\x90" * 200 + chance.randbytes(40))),
            Case("21 printable in a row", of(lambda chance: payloads.encrypted(chance, 900) + b"x" * 21)),
        ]
    )


def _gfw_quic() -> Truth:
    return Truth(
        [
            _hit("QUIC name", _quic(*_BLOCKED, pause=_QUIC_SECONDS), Fate.STALLED, share=0.5),
            Case("QUIC, another name", _quic(*_INNOCENT, pause=_QUIC_SECONDS)),
            Case("QUIC version 2", _quic(*_BLOCKED, version=2, pause=_QUIC_SECONDS)),
            Case("to a higher port", _quic(*_BLOCKED, server=(OWN, 50443), own_port=40_443, pause=_QUIC_SECONDS)),
            Case("TLS, blocked name", _tls(*_BLOCKED)),
        ]
    )


def _ip_2017() -> Truth:
    return Truth(
        [
            _hit("address", _tls(*_INNOCENT, network=OWN), Fate.DROPPED),
            _hit("TLS name", _tls(*_BLOCKED), Fate.RESET),
            _hit("HTTP host", _http(*_BLOCKED), Fate.FORGED),
            _hit("DNS", _dns(*_BLOCKED, server="198.18.0.53"), Fate.FORGED),
            *_innocents(),
            Case("DNS, another name", _dns(*_INNOCENT, server="198.18.0.53")),
            Case("QUIC", _quic(*_BLOCKED, server=("198.18.0.53", 443))),
        ]
    )


def _iran() -> Truth:
    every = "198.18.0.0/16"
    return Truth(
        [
            _hit("TLS name", _tls(*_BLOCKED), Fate.DROPPED),
            _hit("HTTP host", _http(*_BLOCKED), Fate.DROPPED),
            _hit("neither DNS, HTTP nor TLS, port 443", _encrypted(443, every), Fate.STALLED, share=0.18),
            _hit("the same, port 80", _encrypted(80, every), Fate.STALLED, share=0.18),
            _hit("the same, port 53", _encrypted(53, every), Fate.STALLED, share=0.18),
            *_innocents(),
            Case("DNS over TCP", _dns_over_tcp(*_BLOCKED)),
            Case("TLS on port 80", _tls(*_INNOCENT, port=80, network=every)),
            Case("neither, port 8080", _encrypted(8080, every)),
        ]
    )


def _kazakhstan() -> Truth:
    return Truth(
        [
            _hit("TLS name", _tls(*_BLOCKED), Fate.DROPPED),
            _hit("HTTP host", _http(*_BLOCKED), Fate.DROPPED),
            *_innocents(),
            Case("QUIC", _quic(*_BLOCKED)),
            Case("bytes like nothing", _encrypted(443)),
        ]
    )


def _telegram() -> Truth:
    """On the 19th of April: a day is a second."""

    def at(network: str) -> Make:
        return _tls(*_INNOCENT, network=network)

    return Truth(
        [
            _hit("own", at("198.18.1.0/27"), Fate.DROPPED),
            _hit("cloud A", at("198.18.4.0/22"), Fate.DROPPED),
            _hit("cloud B", at("198.18.16.0/21"), Fate.DROPPED),
            _hit("more", at("198.18.128.0/18"), Fate.DROPPED),
            _hit("blocked again", at("198.19.0.0/20"), Fate.DROPPED),
            Case("freed", at("198.19.24.0/21")),
            Case("never blocked", at("198.19.64.0/18")),
        ],
        settings="time_scale = 86400",
        stages=5,
    )


def _tspu_2021() -> Truth:
    """On its first day, when a name was hit that has `t.co` anywhere in it."""
    return Truth(
        [
            _hit("name", _tls("throttled.example", "www.messenger.example"), Fate.SLOWED),
            _hit("t.co in the name", _tls("t.co", "www.reddit.com"), Fate.SLOWED),
            _hit("twitter", _tls("twitter.com", "abs.twimg.com", "nottwitter.com"), Fate.SLOWED),
            *_innocents(),
            Case("a trailing dot", _tls("throttled.example.")),
            Case("bytes like nothing", _encrypted(443)),
        ],
        flows_per_second=60.0,
    )


def _tspu_2022() -> Truth:
    return Truth(
        [
            _hit("address", _tls(*_INNOCENT, network="203.0.113.66"), Fate.DROPPED),
            _hit("SNI-I", _tls(*_BLOCKED), Fate.RESET, share=0.99916),
            _hit("SNI-II", _tls("sni-ii.example"), Fate.STALLED, share=0.999975),
            _hit("SNI-III", _tls("sni-iii.example"), Fate.STALLED, Fate.SLOWED),
            _hit("SNI-IV", _tls("sni-iv.example"), Fate.DROPPED, share=0.9973),
            _hit("QUIC", _quic(*_INNOCENT), Fate.DROPPED, share=0.9998),
            *_innocents(),
            Case("QUIC version 2", _quic(*_BLOCKED, version=2)),
            Case("QUIC, another port", _quic(*_INNOCENT, server=(OWN, 8443))),
        ]
    )


def _tspu_2025() -> Truth:
    ssh = b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u7\r\n"
    centres, white = "198.51.100.0/25", "198.51.100.200"
    return Truth(
        [
            _hit("TLS to a data centre", _tls(*_INNOCENT, network=centres), Fate.STALLED),
            _hit("HTTP to a data centre", _tcp(_request, 80, centres), Fate.STALLED),
            _hit("QUIC to a data centre", _quic(*_INNOCENT, rounds=40), Fate.STALLED),
            *_innocents(),
            Case("name on the white list", _tls("www.allowed.example", network=centres)),
            Case("QUIC, name on the white list", _quic("allowed.example", rounds=40)),
            Case("address on the white list", _tls(*_INNOCENT, network=white)),
            Case("SSH", _tcp(lambda *_: ssh, 22, centres)),
        ]
    )


def _request(number: int, chance: random.Random) -> bytes:
    return payloads.http_request(_INNOCENT[0])


_TRUTHS: Mapping[str, Callable[[], Truth]] = {
    "gfw-dns": _gfw_dns,
    "gfw-fet-2021": _gfw_fet,
    "gfw-quic-2025": _gfw_quic,
    "gfw-rst": _gfw_rst,
    "ip-2017": _ip_2017,
    "iran-2020-whitelist": _iran,
    "kazakhstan-2021": _kazakhstan,
    "telegram-2018": _telegram,
    "tspu-2021-throttle": _tspu_2021,
    "tspu-2022": _tspu_2022,
    "tspu-2025-freeze": _tspu_2025,
}
