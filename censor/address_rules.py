"""Sans-IO: the `nft` scripts for rules by address, and what goes into their sets.

Each rule has a chain and sets of its own, named by its serial number. They are made first, filled over netlink
(censor/packet_io/nftables.py), and then the base chain is switched over to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from censor.kernel_rules import TABLE
from censor.packet_io.nft_messages import Interval
from censor.rules import Action, Rule

# The log's limits, so that a flood does not drown the reader. First packets of flows, then all the others.
_FIRSTS_LIMIT = "limit rate 2000/second burst 4000 packets"
_OTHERS_LIMIT = "limit rate 20/second burst 20 packets"
_SEEN_SIZE = 65535
_SEEN_TIMEOUT = "5m"
_SNAPLEN_BYTES = 128


def addresses_script(rules: Mapping[int, Rule], log_group: int) -> str:
    """The nft text that makes the chains and empty sets of address rules (serial -> rule), which nothing uses yet.

    A packet that a rule acts on is logged to `log_group` with the prefix `log_prefix(serial)`.
    """
    return "".join(f"{line}\n" for serial, rule in rules.items() for line in _add_rule(serial, rule, log_group))


def switch_script(current: Mapping[int, Rule], removed: Mapping[int, Rule]) -> str:
    """The nft text, one transaction, that leaves exactly the rules `current` in force; what `removed` had goes."""
    lines = [f"flush chain inet {TABLE} forward"]
    for serial, rule in current.items():
        lines += _jumps(serial, rule)
    for serial, rule in removed.items():
        lines += _remove_rule(serial, rule)
    return "\n".join(lines) + "\n"


def address_set(serial: int, version: int) -> str:
    """The name of the set with the addresses of a rule, of IP version 4 or 6."""
    return f"rule{serial}_v{version}"


def intervals(rule: Rule) -> dict[int, list[Interval]]:
    """The rule's addresses by IP version, in order and without overlaps."""
    found: dict[int, list[Interval]] = {}
    for network in rule.networks:
        first = int(network.network_address)
        found.setdefault(network.version, []).append((first, first + network.num_addresses - 1))
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


def _versions(rule: Rule) -> list[int]:
    """The IP versions that the rule has networks of."""
    return sorted({network.version for network in rule.networks})


_FAMILY = {4: "ip", 6: "ip6"}


def _add_rule(serial: int, rule: Rule, log_group: int) -> list[str]:
    versions = _versions(rule)
    sets = [f"set {address_set(serial, version)} {{ type ipv{version}_addr; flags interval; }}" for version in versions]
    act = ["meta l4proto tcp reject with tcp reset", "reject"] if rule.action is Action.REJECT else []
    chains = acting_chains(log_prefix(serial), versions, [*act, "counter drop"], log_group)
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


def _remove_rule(serial: int, rule: Rule) -> list[str]:
    chains = (f"rule{serial}", f"rule{serial}_act")
    lines = [f"flush chain inet {TABLE} {chain}" for chain in chains]
    lines += [f"delete chain inet {TABLE} {chain}" for chain in chains]
    for version in _versions(rule):
        lines += [f"delete set inet {TABLE} rule{serial}{seen}_v{version}" for seen in ("", "_seen")]
    return lines


def _jumps(serial: int, rule: Rule) -> list[str]:
    """Into the rule's chain with packets to its addresses, and with packets from them."""
    lines = []
    for version in _versions(rule):
        for address, port in (("daddr", "dport"), ("saddr", "sport")):
            ports = ""
            if rule.ports:
                ports = f" th {port} {{ {', '.join(map(str, rule.ports))} }}"
            if rule.protocol:
                ports = f" meta l4proto {rule.protocol}{ports}"
            elif rule.ports:
                ports = f" meta l4proto {{ tcp, udp }}{ports}"
            lines.append(
                f"add rule inet {TABLE} forward {_FAMILY[version]} {address} @rule{serial}_v{version}{ports} "
                f"goto rule{serial}"
            )
    return lines
