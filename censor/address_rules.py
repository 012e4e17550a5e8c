"""Sans-IO: the `nft` scripts for rules by address, and what goes into their sets.

Each rule has a chain and sets of its own, named by its serial number. They are made first, filled over netlink
(censor/packet_io/nftables.py), and then the base chain is switched over to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from censor.kernel_rules import TABLE
from censor.packet_io.nft_messages import Interval
from censor.rules import Network

# The log's limits, so that a flood does not drown the reader. First packets of flows, then all the others.
_FIRSTS_LIMIT = "limit rate 2000/second burst 4000 packets"
_OTHERS_LIMIT = "limit rate 20/second burst 20 packets"
_SEEN_SIZE = 65535
_SEEN_TIMEOUT = "5m"
_SNAPLEN_BYTES = 128


@dataclass(frozen=True, slots=True)
class AddressRule:
    """What the kernel has to know of a rule by address, the `serial`th, beside the addresses in its sets.

    versions: of IP, that it has addresses of. reject: the sender is told. ports: of these addresses; none: all.
    """

    serial: int
    versions: tuple[int, ...]
    reject: bool = False
    ports: tuple[int, ...] = ()
    protocol: Literal["tcp", "udp"] | None = None


def addresses_script(rules: Iterable[AddressRule], log_group: int) -> str:
    """The nft text that makes the chains and empty sets of address rules, which nothing uses yet.

    A packet that a rule acts on is logged to `log_group` with the prefix `log_prefix(serial)`.
    """
    return "".join(f"{line}\n" for rule in rules for line in _add_rule(rule, log_group))


def switch_script(current: Iterable[AddressRule], removed: Iterable[AddressRule]) -> str:
    """The nft text, one transaction, that leaves exactly the rules `current` in force; what `removed` had goes."""
    lines = [f"flush chain inet {TABLE} forward"]
    for rule in current:
        lines += _jumps(rule)
    for rule in removed:
        lines += _remove_rule(rule)
    return "\n".join(lines) + "\n"


def address_set(serial: int, version: int) -> str:
    """The name of the set with the addresses of a rule, of IP version 4 or 6."""
    return f"rule{serial}_v{version}"


def intervals(networks: Iterable[Network]) -> dict[int, list[Interval]]:
    """Addresses by IP version, in order and without overlaps."""
    found: dict[int, list[Interval]] = {}
    for network in networks:
        first = int(network.network_address)
        size = 1 << network.max_prefixlen - network.prefixlen  # num_addresses takes ten times as long
        found.setdefault(network.version, []).append((first, first + size - 1))
    return {version: _merged(sorted(some)) for version, some in found.items()}


def _merged(ordered: list[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for first, last in ordered:
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def log_prefix(serial: int) -> str:
    """The log prefix of an address rule; with `serial_of` the way back."""
    return f"rule{serial}"


def serial_of(prefix: str) -> int | None:
    """The serial in a log prefix; None: not one of ours."""
    match = re.fullmatch(r"rule(\d{1,9})", prefix)
    return int(match[1]) if match else None


_FAMILY = {4: "ip", 6: "ip6"}


def _add_rule(rule: AddressRule, log_group: int) -> list[str]:
    names = {version: address_set(rule.serial, version) for version in rule.versions}
    sets = [f"set {name} {{ type ipv{version}_addr; flags interval; }}" for version, name in names.items()]
    act = ["meta l4proto tcp reject with tcp reset", "reject"] if rule.reject else []
    chains = acting_chains(log_prefix(rule.serial), rule.versions, [*act, "counter drop"], log_group)
    return [f"table inet {TABLE} {{", *sets, *chains, "}"]


def acting_chains(name: str, versions: Iterable[int], act: Iterable[str], log_group: int) -> list[str]:
    """The body of nft chain `name`, which logs with this prefix and then does what chain `name`_act does: `act`.

    The first packet of each flow is logged, and of the others a few, for which set `name`_seen_v4 or _v6 is.
    """
    log = f'log prefix "{name}" group {log_group} snaplen {_SNAPLEN_BYTES} queue-threshold 1'
    sets, firsts = [], []
    for version in versions:
        ip, type_, seen = _FAMILY[version], f"ipv{version}_addr", f"{name}_seen_v{version}"
        sets.append(
            f"set {seen} {{ type inet_proto . {type_} . inet_service . {type_} . inet_service; "
            f"flags dynamic,timeout; timeout {_SEEN_TIMEOUT}; size {_SEEN_SIZE}; }}"
        )
        flow = f"meta l4proto . {ip} saddr . th sport . {ip} daddr . th dport"
        firsts.append(
            f"meta nfproto ipv{version} meta l4proto {{ tcp, udp }} {flow} != @{seen} add @{seen} {{ {flow} }} "
            f"{_FIRSTS_LIMIT} {log} goto {name}_act"
        )
    return [
        *sets,
        f"chain {name}_act {{ {'; '.join(act)}; }}",
        f"chain {name} {{",
        *firsts,
        f"{_OTHERS_LIMIT} {log}",
        f"goto {name}_act",
        "}",
    ]


def _remove_rule(rule: AddressRule) -> list[str]:
    name = log_prefix(rule.serial)
    chains = (name, f"{name}_act")
    lines = [f"flush chain inet {TABLE} {chain}" for chain in chains]
    lines += [f"delete chain inet {TABLE} {chain}" for chain in chains]
    for version in rule.versions:
        lines += [f"delete set inet {TABLE} {name}{seen}_v{version}" for seen in ("", "_seen")]
    return lines


def _jumps(rule: AddressRule) -> list[str]:
    """Into the rule's chain with packets to its addresses, and with packets from them."""
    lines = []
    for version in rule.versions:
        ip, name = _FAMILY[version], address_set(rule.serial, version)
        for address, port in (("daddr", "dport"), ("saddr", "sport")):
            ports = ""
            if rule.ports:
                ports = f" th {port} {{ {', '.join(map(str, rule.ports))} }}"
            if rule.protocol:
                ports = f" meta l4proto {rule.protocol}{ports}"
            elif rule.ports:
                ports = f" meta l4proto {{ tcp, udp }}{ports}"
            act = f"goto {log_prefix(rule.serial)}"
            lines.append(f"add rule inet {TABLE} forward {ip} {address} @{name}{ports} {act}")
    return lines
