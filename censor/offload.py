"""Sans-IO: what of a rule set the kernel does by itself, and which packets it asks about.

The core decides every packet the same way whether the kernel helps or not; this says how it helps. Blocks of addresses
become sets. Of the rest, only flows that some rule may still match are queued: by protocol and server port, from the
client's first bytes on, unless a rule has to see more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from censor.actions import Freeze, Reject
from censor.analyzers import Analyzer
from censor.analyzers.all import ANALYZERS
from censor.compiled import CompiledRule, CompiledRules, analyzer_of
from censor.conditions.syntax import (
    And,
    Compare,
    ListRef,
    Member,
    Node,
    Not,
    Or,
    Range,
    Under,
)
from censor.lists.block_list import BlockList
from censor.lists.prefixes import PrefixSet
from censor.rules import Rule

Ports = tuple[tuple[int, int], ...]
"""Ranges, both ends included, in order and apart."""

ALL: Ports = ((0, 65535),)
NONE: Ports = ()
_ANALYZERS: dict[str, Analyzer] = {analyzer.name: analyzer for analyzer in ANALYZERS}


@dataclass(frozen=True, slots=True)
class AddressBlock:
    """A rule that the kernel enforces alone: all packets to and from these addresses.

    server_only: only in flows whose server has such an address (else either end). ports: of that end; None: any.
    """

    rule: Rule
    networks: PrefixSet
    ports: Ports | None
    protocol: str | None
    server_only: bool
    reject: bool

    @property
    def shape(self) -> tuple[object, ...]:
        """All but the addresses: blocks of one shape differ by the content of their sets."""
        return self.rule, self.ports, self.protocol, self.server_only, self.reject


@dataclass(frozen=True, slots=True)
class Plan:
    """Which undecided flows the kernel asks about, and from which packet on.

    tcp, udp: server ports. other: protocols without ports. syn: from the first packet of a TCP flow on; else from the
    client's first bytes on; `bare_segments`: and what has no payload before them, so that out-of-order bytes find their
    place. server: what the server sends, too. everything: no flow is ever decided by the kernel.
    """

    tcp: Ports
    udp: Ports
    other: bool
    syn: bool
    bare_segments: bool
    server: bool
    everything: bool

    @property
    def tcp_ports(self) -> Ports | None:
        """As HeadRules has it: None for all."""
        return None if self.tcp == ALL else self.tcp

    @property
    def udp_ports(self) -> Ports | None:
        return None if self.udp == ALL else self.udp


def address_blocks(rules: CompiledRules) -> tuple[AddressBlock, ...]:
    """The rules that become sets in the kernel: those on addresses that come first (censor/compiled.py)."""
    blocks = []
    for rule in rules.rules:
        block = _address_block(rule, rules) if rule.by_address else None
        if block is None:
            break
        blocks.append(block)
    return tuple(blocks)


def plan(rules: CompiledRules) -> Plan:
    """What the kernel asks about, given that it does the `address_blocks` by itself."""
    rest = [rule for rule in rules.rules[len(address_blocks(rules)) :] if _may_ever_hold(rule.condition.tree, rules)]
    table = rules.source.censor
    if table.inspect_everything:
        return Plan(ALL, ALL, other=True, syn=True, bare_segments=True, server=True, everything=True)
    tcp = _union(_reach(rule, "tcp") for rule in rest)
    udp = _union(_reach(rule, "udp") for rule in rest)
    other = any(_reach(rule, "") for rule in rest)
    syn = table.tcp.handshake or any(_from_the_first_packet(rule) for rule in rest)
    counts = rules.counts
    bare_segments = counts or table.tcp.reassembly in ("in_order", "full")
    server = counts or table.tcp.inspect == "both"
    return Plan(tcp, udp, other=other, syn=syn, bare_segments=bare_segments, server=server, everything=False)


def _may_ever_hold(node: Node, rules: CompiledRules) -> bool:
    """False: it asks for entries of a list that has none, as the variants in a profile do that are not chosen."""
    match node:
        case And(items):
            return all(_may_ever_hold(item, rules) for item in items)
        case Or(items):
            return any(_may_ever_hold(item, rules) for item in items)
        case Member(values=ListRef(name), negated=False) | Under(names=ListRef(name)):
            content = rules.lists[name].content
            return not isinstance(content, BlockList) or content.blocks_anything
    return True


def _from_the_first_packet(rule: CompiledRule) -> bool:
    """Whether the rule may act on, or counts, what comes before the client's first bytes."""
    return _at_once(rule.condition.tree)[0] or any(isinstance(action, Freeze) for action in rule.actions)


def _at_once(node: Node) -> tuple[bool, bool]:
    """Whether a TCP flow's first packet may make the condition (true, false)."""
    match node:
        case And(items):
            results = [_at_once(item) for item in items]
            return all(true for true, _ in results), any(false for _, false in results)
        case Or(items):
            results = [_at_once(item) for item in items]
            return any(true for true, _ in results), all(false for _, false in results)
        case Not(item):
            true, false = _at_once(item)
            return false, true
    names = [getattr(node, key) for key in ("property", "left", "right") if hasattr(node, key)]
    analyzers = [_ANALYZERS[analyzer_of(name)] for name in names if analyzer_of(name) in _ANALYZERS]
    if not analyzers and "flow.mark" not in names:
        return True, True
    # On other ports than the analyzer's, or without one for streams, or without rules that mark, it is absent at once.
    return False, not analyzers or any(one.ports or not (one.stream or one.first_payload) for one in analyzers)


# Conditions as blocks of addresses


def _address_block(rule: CompiledRule, rules: CompiledRules) -> AddressBlock | None:
    """None: the condition is more than addresses, ports and a protocol."""
    items = rule.condition.tree.items if isinstance(rule.condition.tree, And) else (rule.condition.tree,)
    protocol, rest = _split_protocol(items)
    either = rest[0] if len(rest) == 1 and isinstance(rest[0], Or) else None
    if either is not None:
        ends = [_end(item, rules) for item in either.items]
        if len(ends) != 2 or None in ends:
            return None
        (first, networks, ports), (second, others, other_ports) = ends  # type: ignore[misc]  # None is excluded above
        if {first, second} != {"server", "client"} or networks != others or ports != other_ports:
            return None
    else:
        end = _end(And(rest) if len(rest) != 1 else rest[0], rules)
        if end is None or end[0] != "server":
            return None
        _, networks, ports = end
    reject = isinstance(rule.actions[0], Reject)
    return AddressBlock(rule.rule, networks, ports, protocol, server_only=either is None, reject=reject)


def _split_protocol(items: tuple[Node, ...]) -> tuple[str | None, tuple[Node, ...]]:
    for item in items:
        if not isinstance(item, Compare) or item.property != "protocol" or item.operator != "==":
            continue
        if item.value in ("tcp", "udp"):
            return str(item.value), tuple(other for other in items if other is not item)
    return None, items


def _end(node: Node, rules: CompiledRules) -> tuple[str, PrefixSet, Ports | None] | None:
    """`server` or `client`, its addresses and ports, out of `X.address in ... and X.port in ...`."""
    items = node.items if isinstance(node, And) else (node,)
    found: dict[str, PrefixSet] = {}
    ports: dict[str, Ports] = {}
    for item in items:
        name = getattr(item, "property", "")
        end, _, what = name.partition(".")
        if end not in ("server", "client") or end in (found if what == "address" else ports):
            return None
        if what == "address" and isinstance(item, Member) and not item.negated:
            found[end] = _networks(item, rules)
        elif what == "port" and (reached := _ports(item)) is not None:
            ports[end] = reached
        else:
            return None
    if len(found) != 1 or set(ports) - set(found):
        return None
    (end,) = found
    return end, found[end], ports.get(end)


def _networks(member: Member, rules: CompiledRules) -> PrefixSet:
    if isinstance(member.values, tuple):
        return PrefixSet(str(value) for value in member.values)
    networks = rules.lists[member.values.name].content.networks
    assert isinstance(networks, PrefixSet)
    return networks


# Conditions as ports


def _reach(rule: CompiledRule, protocol: str) -> Ports:
    return _may_hold(rule.condition.tree, protocol)


def _may_hold(node: Node, protocol: str) -> Ports:
    """The server ports of flows of `protocol` ("": neither TCP nor UDP) in which the condition may turn out true."""
    match node:
        case And(items):
            reach = ALL
            for item in items:
                reach = _intersection(reach, _may_hold(item, protocol))
            return reach
        case Or(items):
            return _union(_may_hold(item, protocol) for item in items)
        case Not():
            return ALL
        case Compare(property="protocol", operator="==", value=value):
            return ALL if value == protocol or (not protocol and value not in ("tcp", "udp")) else NONE
    names = [getattr(node, key) for key in ("property", "left", "right") if hasattr(node, key)]
    if names == ["server.port"]:
        ports = _ports(node)
        return ALL if ports is None else ports
    for name in names:
        analyzer = _ANALYZERS.get(analyzer_of(name))
        if analyzer is not None and name in analyzer.properties:
            return _ports_of(analyzer, protocol)
    return ALL


def _ports_of(analyzer: Analyzer, protocol: str) -> Ports:
    """Where the analyzer looks for its protocol."""
    reads = (protocol == "tcp" and analyzer.stream) or (protocol == "udp" and analyzer.datagram)
    if not reads and not (protocol and analyzer.first_payload):
        return NONE
    return tuple((port, port) for port in sorted(analyzer.ports)) or ALL


def _ports(node: Node) -> Ports | None:
    """The ports that `X.port == 1`, `X.port < 1` or `X.port in [1, 2..3]` names; None: it is none of these."""
    if isinstance(node, Compare) and isinstance(node.value, int):
        value = int(node.value)
        ranges = {
            "==": (value, value),
            "<": (0, value - 1),
            "<=": (0, value),
            ">": (value + 1, 65535),
            ">=": (value, 65535),
        }
        bounds = ranges.get(node.operator)
        return None if bounds is None else _union([(bounds,)] if bounds[0] <= bounds[1] else [])
    if isinstance(node, Member) and not node.negated and isinstance(node.values, tuple):
        named: list[Ports] = []
        for one in node.values:
            first, last = (one.first, one.last) if isinstance(one, Range) else (one, one)
            assert isinstance(first, int)  # as ports are
            assert isinstance(last, int)
            named.append(((first, last),))
        return _union(named)
    return None


def _union(many: Iterable[Ports]) -> Ports:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(one for ports in many for one in ports):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    return tuple(merged)


def _intersection(some: Sequence[tuple[int, int]], others: Sequence[tuple[int, int]]) -> Ports:
    return _union(((max(a, c), min(b, d)),) for a, b in some for c, d in others if max(a, c) <= min(b, d))
