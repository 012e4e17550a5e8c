"""The block types: what the censor does from T0 on, and what a client should make of it.

Each type that is about the direct path is a rules file in `rules/` (sidedoor lab censor apply takes it, too), for IPv4
and IPv6 alike. What it does to flows that exist at T0 stands there. The two others are about proxies, and hit clients
that are on one already: the direct path is blocked before (`rules_before`), as `syn-drop` does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from censor.rules_file import parse_rules
from lab.topology import ORIGIN_NAME, Crowd, crowd, standard

RULES = Path(__file__).parent / "rules"
_BEFORE = "syn-drop"
_PROXIES_RULE = "proxies"
_TABLE = "upstream"


@dataclass(frozen=True, slots=True)
class BlockType:
    """what: a line for tables, with the source of its numbers. signalled: the client is told, by an RST or an answer.

    kind: the right diagnosis, one of the client's. aim: whose packets it is about: the direct path's, those between
    clients and proxies, those between proxies and the messenger.
    """

    name: str
    what: str
    signalled: bool
    kind: str
    aim: Literal["direct", "proxies", "upstream"]


def _direct(name: str, kind: str, what: str, *, signalled: bool = False) -> BlockType:
    return BlockType(name, what, signalled, kind, "direct")


_TYPES = (
    _direct("syn-drop", "address_drop", "all packets from and to the messenger's addresses vanish (ip-2017)"),
    _direct(
        "midflow-drop",
        "flow_drop",
        "flows vanish, new ones 5 to 8 packets after their ClientHello (tspu-2022, SNI-II)",
    ),
    _direct("rst", "reset", "what is sent to the messenger's addresses is answered by an RST", signalled=True),
    _direct(
        "nxdomain",
        "dns_nxdomain",
        "look-ups get NXDOMAIN first; an RST cuts flows that exist (ip-2017)",
        signalled=True,
    ),
    _direct(
        "forged-dns",
        "dns_forged",
        "look-ups get an address that refuses; an RST cuts flows that exist (gfw-dns, ip-2017)",
        signalled=True,
    ),
    _direct("sni-drop", "sni_drop", "the ClientHello and all of its flow vanish (tspu-2022, SNI-IV)"),
    _direct("sni-rst", "sni_reset", "the ClientHello vanishes, both ends get an RST (gfw-rst)", signalled=True),
    _direct("throttle", "throttled", "policed to 16 kB/s a flow and direction, bucket 1 s (tspu-2021-throttle)"),
    _direct("freeze", "frozen", "a flow stops after 16 KB (tspu-2025-freeze: 15 to 20 KB)"),
    BlockType(
        "proxies", "the proxies in use vanish, beside the messenger (active-probing)", False, "proxy_dead", "proxies"
    ),
    BlockType(
        "upstream-dead",
        "a proxy answers, but nothing passes between it and the messenger (MTProxy 657)",
        False,
        "proxy_upstream_dead",
        "upstream",
    ),
    _direct(
        "data-drop", "data_drop", "segments of 900 bytes or more vanish, handshakes and pings pass (sing-box 1385)"
    ),
)
BLOCKS: dict[str, BlockType] = {block.name: block for block in _TYPES}


def rules_before(block: BlockType) -> str:
    """TOML: the rules in force before T0; "" is none."""
    return "" if block.aim == "direct" else _file(_BEFORE)


def rules(block: BlockType, proxies: Sequence[str] = ()) -> str:
    """TOML: all rules in force from T0 on. `proxies`: an address of each proxy that is blocked (aim "proxies").

    Raises ValueError for an address that is no host's of the lab.
    """
    if block.aim == "direct":
        return _file(block.name)
    if block.aim == "upstream" or not proxies:
        return rules_before(block)
    addresses = ", ".join(f'"{address}"' for address in _both_families(proxies))
    return f'{rules_before(block)}\n[[rule]]\nname = "{_PROXIES_RULE}"\naddresses = [{addresses}]\naction = "drop"\n'


def hit_rules(block: BlockType) -> frozenset[str]:
    """The rules whose hits are the block's (`rule` of `censor_hit`): those of the rules before are not."""
    if block.aim == "direct":
        return frozenset(rule.name for rule in parse_rules(_file(block.name), origin=block.name).rules)
    return frozenset({_PROXIES_RULE} if block.aim == "proxies" else ())


def upstream_commands(block: BlockType, proxies: Sequence[str]) -> list[list[str]]:
    """Programs to run on host `wan`: from now on nothing passes between these proxies and the messenger.

    None for a block with another aim. Raises ValueError as `rules` does.
    """
    if block.aim != "upstream":
        return []
    messenger = standard().names[ORIGIN_NAME]
    drops = []
    for family, colon in (("ip", False), ("ip6", True)):
        ours, theirs = (
            ", ".join(address for address in addresses if (":" in address) is colon)
            for addresses in (_both_families(proxies), messenger)
        )
        for one, other in ((ours, theirs), (theirs, ours)):
            drops.append(f"add rule inet {_TABLE} forward {family} saddr {{ {one} }} {family} daddr {{ {other} }} drop")
    # In front of the link's rules, in one transaction.
    chain = f"add chain inet {_TABLE} forward {{ type filter hook forward priority -10; }}"
    return [["nft", "; ".join((f"add table inet {_TABLE}", chain, *drops))]]


def upstream_undo(block: BlockType) -> list[list[str]]:
    """What lifts `upstream_commands`."""
    return [["nft", "delete", "table", "inet", _TABLE]] if block.aim == "upstream" else []


def _file(name: str) -> str:
    return (RULES / f"{name}.toml").read_text(encoding="utf-8")


def _both_families(addresses: Sequence[str]) -> list[str]:
    """All addresses of the hosts that have these. Raises ValueError."""
    hosts = crowd(Crowd(clients=1)).hosts
    found: list[str] = []
    for address in addresses:
        owners = [host for host in hosts if address in host.addresses()]
        if not owners:
            raise ValueError(f"{address} is no address of the lab's hosts")
        found += owners[0].addresses()
    return found
