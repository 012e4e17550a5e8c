"""Sans-IO: the `nft` scripts for rules by address, and what goes into their sets.

Each rule has chains and sets of its own, named by its serial number. They and a new plan, the chain that leads to all
of them, are made first; the sets are filled over netlink (censor/packet_io/nftables.py); then the base chain is
switched over to the plan.
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


def addresses_script(added: Iterable[AddressRule], current: Iterable[AddressRule], plan: int, log_group: int) -> str:
    """The nft text that makes what nothing uses yet: empty sets and chains of `added`, and the `plan`th plan.

    A plan is a chain with the jumps of all rules of `current`. It is in force when the base chain jumps to it. A packet
    that a rule acts on is logged to `log_group` with the prefix `log_prefix(serial)`.
    """
    lines = [f"table inet {TABLE} {{"]
    for rule in added:
        lines += _rule(rule, log_group)
    lines.append(f"chain {plan_chain(plan)} {{")
    for rule in current:
        lines += _jumps(rule)
    return "\n".join([*lines, "}", "}"]) + "\n"


def plan_chain(plan: int) -> str:
    """The name of the chain of the `plan`th plan."""
    return f"plan{plan}"


def chains(rule: AddressRule) -> tuple[str, ...]:
    """The names of the rule's chains, in the order in which they can be deleted."""
    return log_prefix(rule.serial), f"{log_prefix(rule.serial)}_act"


def sets(rule: AddressRule) -> tuple[str, ...]:
    """The names of the rule's sets."""
    seen = (f"{log_prefix(rule.serial)}_seen_v{version}" for version in rule.versions)
    return *(address_set(rule.serial, version) for version in rule.versions), *seen


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


def _rule(rule: AddressRule, log_group: int) -> list[str]:
    names = {version: address_set(rule.serial, version) for version in rule.versions}
    made = [f"set {name} {{ type ipv{version}_addr; flags interval; }}" for version, name in names.items()]
    act = ["meta l4proto tcp reject with tcp reset", "reject"] if rule.reject else []
    return made + acting_chains(log_prefix(rule.serial), rule.versions, [*act, "counter drop"], log_group)


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
            lines.append(f"{ip} {address} @{name}{ports} {act}")
    return lines
