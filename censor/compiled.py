"""Sans-IO: a rule set made ready for judging: conditions compiled, lists bound, analyzers chosen.

Rules on addresses alone that drop or reject come first, whatever their place in the file (unless a rule that allows
stands before them): the kernel, which can do these by itself, does them first, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from censor.actions import Allow, AnyAction, BlockPage, Drop, ForgeDns, Freeze, Log, Mark, Reject, Residual
from censor.analyzers import Analyzer, Wanted
from censor.analyzers.all import ANALYZERS, PROPERTIES
from censor.conditions import Condition, ListHolder, compile_condition
from censor.packets import ICMP, ICMPV6, TCP, UDP
from censor.properties import FLOW_PROPERTIES, Properties
from censor.rules import Rule, RuleSet

Lists = Mapping[str, ListHolder]

_HEADER = frozenset(FLOW_PROPERTIES) - {"flow.mark"}
# What a server that the prober convicted is blocked by.
_PROBER = Rule(name="prober", when='protocol == "tcp"', actions=(Residual(seconds=0.0),))
# So that a retroactive rule finds the flows that were opened for its names before it was enforced.
_REMEMBER = Rule(name="remember_names", when="exists tls.sni and server.port == 443", actions=(Log(),))
_PROTOCOLS = {TCP: "tcp", UDP: "udp", ICMP: "icmp", ICMPV6: "icmp"}
_KNOWN_MAX = 1024
_PORTS = frozenset(port for analyzer in ANALYZERS for port in analyzer.ports)
_NEEDS: dict[type[AnyAction], str] = {ForgeDns: "dns", BlockPage: "http"}


class CompiledRule:
    """One rule. lifted: it holds no more, and neither does what it did to flows.

    header_only: it asks for nothing but what every packet's headers tell. repeats: it asks for what each message of a
    flow tells anew. silent: it does nothing, and is there for what it makes the censor read.
    """

    __slots__ = (
        "actions",
        "condition",
        "evaluate",
        "final",
        "header_only",
        "intended",
        "lifted",
        "name",
        "repeats",
        "rule",
        "silent",
    )

    def __init__(self, rule: Rule, lists: Lists, repeating: frozenset[str], *, silent: bool = False) -> None:
        """Raises ValueError whose message names the rule and the key."""
        self.rule = rule
        self.name = rule.name
        self.condition = _condition(rule, "when", rule.condition, lists)
        self.evaluate: Callable[[Properties], bool | None] = self.condition.evaluate
        self.intended = None if rule.intended is None else _condition(rule, "intended", rule.intended, lists)
        self.actions = rule.effects
        self.final = any(action.final for action in self.actions)
        self.header_only = self.condition.properties <= _HEADER
        self.repeats = bool(self.condition.properties & repeating)
        self.lifted = False
        self.silent = silent
        for action in self.actions:
            needed = _NEEDS.get(type(action))
            if needed and not any(analyzer_of(name) == needed for name in self.condition.properties):
                raise ValueError(
                    f"rule {rule.name!r}: `actions`: {action.kind} answers a {needed} message, and `when` asks for none"
                    f" (`{needed}.…`)"
                )

    @property
    def by_address(self) -> bool:
        """Whether it is about addresses alone and all packets of them vanish."""
        rule = self.rule
        return (
            self.header_only
            and rule.probability == 1
            and rule.latency_seconds == 0
            and self.actions in ((Drop(),), (Reject(),))
        )


@dataclass(frozen=True, slots=True)
class Readers:
    """The analyzers that some rules need, by what they read."""

    stream: tuple[Analyzer, ...]
    datagram: tuple[Analyzer, ...]
    first: tuple[Analyzer, ...]


class CompiledRules:
    """All rules of one set, in order of precedence. Raises ValueError (CompiledRule). `old`: compiled ones to keep."""

    def __init__(self, rules: RuleSet, lists: Lists, old: CompiledRules | None = None) -> None:
        self.source = rules
        self.lists = lists
        repeating = _repeating(rules)
        kept: dict[Rule, CompiledRule] = {}
        if old is not None and old.lists is lists and _repeating(old.source) == repeating:
            kept = {rule.rule: rule for rule in old.rules}
        self.rules: list[CompiledRule] = _addresses_first(
            [kept.get(rule) or CompiledRule(rule, lists, repeating) for rule in rules.rules]
        )
        if rules.censor.remember_names:
            self.rules.append(kept.get(_REMEMBER) or CompiledRule(_REMEMBER, lists, repeating, silent=True))
        self.marks = any(isinstance(action, Mark) for rule in self.rules for action in rule.actions)
        self.allows = any(isinstance(action, Allow) for rule in self.rules for action in rule.actions)
        self.probes = rules.probe
        self.counts = any(isinstance(action, Freeze) for rule in self.rules for action in rule.actions)
        """Some rule counts all packets of a flow from its beginning."""
        self.retroactive = tuple(rule for rule in self.rules if rule.rule.retroactive)
        self.prober: CompiledRule | None = None
        if self.probes:  # convictions outlast a change of the rules, as long as any rule probes
            self.prober = (old.prober if old is not None else None) or CompiledRule(_PROBER, lists, repeating)
        read = {name for rule in self.rules for name in rule.condition.properties}
        read |= {name for rule in self.rules if rule.intended for name in rule.intended.properties}
        self.wanted: Wanted = frozenset(read)
        self.wanted_of = {
            analyzer.name: tuple(name for name in analyzer.properties if name in self.wanted) for analyzer in ANALYZERS
        }
        self._known: dict[tuple[int, int], Properties] = {}
        self._readers: dict[tuple[tuple[CompiledRule, ...], int], Readers] = {}

    @property
    def lists_read(self) -> frozenset[str]:
        """The lists that conditions ask for, those of `intended` among them."""
        read: frozenset[str] = frozenset()
        for rule in self.rules:
            read |= rule.condition.lists | (rule.intended.lists if rule.intended else frozenset())
        return read

    def position(self, rule: CompiledRule) -> int:
        """Where the rule comes in the order of precedence; the prober's is the last."""
        return self.rules.index(rule) if rule is not self.prober else len(self.rules)

    def readers(self, live: list[CompiledRule], server_port: int) -> Readers:
        """The analyzers that may settle these rules for a flow to that port."""
        key = tuple(live), server_port if server_port in _PORTS else 0
        readers = self._readers.get(key)
        if readers is None:
            read = {analyzer_of(name) for rule in live for name in self._read(rule)}
            read |= set(self.source.censor.tcp.extend_for)  # what they recognise matters, whatever the rules ask
            chosen = [one for one in ANALYZERS if one.name in read and (not one.ports or server_port in one.ports)]
            readers = self._readers[key] = Readers(
                tuple(one for one in chosen if one.stream),
                tuple(one for one in chosen if one.datagram),
                tuple(one for one in chosen if one.first_payload),
            )
        return readers

    def known(self, protocol: int, server_port: int) -> Properties:
        """What the protocol and the server's port tell alone: what no analyzer will tell is absent. Read only."""
        key = protocol, server_port if server_port in _PORTS else 0
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = {"protocol": _PROTOCOLS.get(protocol) or str(protocol)}
            if not self.marks:
                known["flow.mark"] = None
            for analyzer in ANALYZERS:
                reads = (protocol == TCP and analyzer.stream) or (protocol == UDP and analyzer.datagram)
                reads = reads or (protocol in (TCP, UDP) and analyzer.first_payload)
                if not reads or (analyzer.ports and server_port not in analyzer.ports):
                    known |= dict.fromkeys(self.wanted_of[analyzer.name])
            if len(self._known) > _KNOWN_MAX:
                self._known = {key: known}
        return known

    @staticmethod
    def _read(rule: CompiledRule) -> frozenset[str]:
        return rule.condition.properties | (rule.intended.properties if rule.intended else frozenset())


def analyzer_of(name: str) -> str:
    """The analyzer whose property this is."""
    return name.partition(".")[0]


def _condition(rule: Rule, key: str, text: str, lists: Lists) -> Condition:
    try:
        return compile_condition(text, properties=PROPERTIES, lists=lists)
    except ValueError as error:
        where = f"`{key}`" if rule.when is not None or key != "when" else "its names or addresses"
        raise ValueError(f"rule {rule.name!r}: {where}: {error}") from error


def _repeating(rules: RuleSet) -> frozenset[str]:
    """The properties that may be told anew in the course of a flow."""
    always = rules.censor.tcp.extend_segments != 0
    return frozenset(
        name
        for analyzer in ANALYZERS
        if analyzer.repeats or (always and analyzer.stream)
        for name in analyzer.properties
    )


def _addresses_first(rules: list[CompiledRule]) -> list[CompiledRule]:
    first: list[CompiledRule] = []
    rest: list[CompiledRule] = []
    allowed = False
    for rule in rules:
        allowed |= any(isinstance(action, Allow) for action in rule.actions)
        (first if rule.by_address and not allowed else rest).append(rule)
    return first + rest
