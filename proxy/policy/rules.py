"""What may be asked for: the rules of the settings, and the guard behind them. Sans-IO.

Each rule is a bit, the first rule the lowest. Every property of a request (user, source, command, port, destination)
looks up the bits of the rules that it fits; the lowest bit that is in all of them is the rule that decides. So many
rules cost hardly more than one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from proxy.policy.entries import check_rule, parse_destinations, parse_ports, parse_sources
from proxy.policy.inside import embedded, inside
from proxy.policy.names import a_label, spelled_address, suffixes
from proxy.policy.networks import IPNetwork, Networks, parse_address
from proxy.settings import ProxySettings, Rule, is_loopback_host, parse_listen
from proxy.wire import Address, AddressType, Command

CACHED_VERDICTS = 4096
"""Per question; the least recently used go first."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether something is allowed, and what said so."""

    allowed: bool
    rule: str
    """The rule's name, or "rules[i]"; "default" where none matched; "inside: " and a reason where the guard said no."""
    via: str = ""
    """The upstream to go through, the rule's or that of the settings; empty: directly."""
    egress: tuple[str, ...] = ()
    """The addresses to go out from, the rule's or those of the settings; empty: whichever the system takes."""


class Policy:
    """The rules and the guard of `settings`. Raises SettingsError, which names the key, for rules that cannot be meant.

    Users are names as the settings have them, "" where nobody logs in. Sources are addresses without port; a zone and
    the mapping of IPv4 into IPv6 make no difference. ValueError where a source or an address is none and rules or
    the guard have to look at it.
    """

    def __init__(self, settings: ProxySettings) -> None:
        rules = settings.rules
        for i, rule in enumerate(rules):
            check_rule(f"rules[{i}]", rule, settings)
        self._guard = _guarded(settings)
        self.free = not rules and not self._guard and not settings.via
        """Everything is allowed, and nothing goes through an upstream: there is no need to ask."""
        self._via = settings.via
        self._default = Verdict(True, "default", settings.via, settings.egress)
        # Index 0 is "no rule": the verdict of the rule with the bit b is at b.bit_length().
        self._verdicts = [self._default, *(_verdict(i, rule, settings) for i, rule in enumerate(rules))]
        self._allowing = _bits(rule.action == "allow" for rule in rules)
        self._users, self._any_user = _by_value(rule.users for rule in rules)
        self._commands, self._any_command = _by_value(rule.commands for rule in rules)
        self._ports = _Ports([parse_ports(f"rules[{i}]", rule.ports) for i, rule in enumerate(rules)])
        sources = [parse_sources(f"rules[{i}]", rule.sources) for i, rule in enumerate(rules)]
        self._sources, self._any_source = _by_network(sources), _bits(not rule.sources for rule in rules)
        self._some_source = any(sources)
        split = [parse_destinations(f"rules[{i}]", rule.destinations) for i, rule in enumerate(rules)]
        self._networks = _by_network([networks for networks, _ in split])
        self._domains, _ = _by_value(domains for _, domains in split)
        self._with_networks = _bits(bool(networks) for networks, _ in split)
        self._anywhere = _bits(not rule.destinations for rule in rules)
        self._judge_cached = lru_cache(CACHED_VERDICTS)(self._judge)
        self.judge_connect: Callable[[str, str, str, int], Verdict] = lru_cache(CACHED_VERDICTS)(self._judge_connect)
        """`judge_connect(user, source, address, port)`: `judge` for CONNECT to an address. Most requests are that, and
        plain strings and numbers are found in half the time."""
        self._judge_address_cached = lru_cache(CACHED_VERDICTS)(self._judge_address)
        self._judge_command_cached = lru_cache(CACHED_VERDICTS)(self._judge_command)

    def judge(self, user: str, source: str, command: Command, target: Address) -> Verdict | None:
        """The verdict on a request for `target`; None where it depends on the addresses of a name: ask
        `judge_address` about each of them. Never None for an address, nor where names are resolved by an upstream."""
        if self.free:
            return self._default
        if target.type is AddressType.DOMAIN:
            return self._judge_cached(user, source, command, target)
        return self._judge_address_cached(user, source, command, "", target.host, target.port)

    def judge_address(self, user: str, source: str, command: Command, name: str, address: str, port: int) -> Verdict:
        """The verdict on one address that `name` resolved to; `name` is "" where the request had the address itself."""
        return self._default if self.free else self._judge_address_cached(user, source, command, name, address, port)

    def judge_command(self, user: str, source: str, command: Command) -> Verdict:
        """The verdict on a request whose target is a hint (UDP ASSOCIATE; RFC 1928 section 7).

        Denied only if a rule without destinations and ports denies it, and no rule in front allows some target.
        """
        return self._default if self.free else self._judge_command_cached(user, source, command)

    def _judge(self, user: str, source: str, command: Command, target: Address) -> Verdict | None:
        fitting = self._fitting(user, source, command) & self._ports.bits(target.port)
        decided = fitting & (self._anywhere | self._domain_bits(target.host))
        first = decided & -decided
        verdict = self._verdicts[first.bit_length()]
        # Rules in front of the deciding one (of all, where none decides) that may match once there are addresses.
        pending = fitting & self._with_networks & (first - 1)
        if (self._guard or pending) and (address := spelled_address(target.host)) is not None:
            disguised = self.judge_address(user, source, command, target.host, address, target.port)
            if not disguised.allowed:
                return disguised
        if verdict.via or self._via:
            return verdict  # the upstream resolves the name, or nobody does
        if not verdict.allowed and not pending & self._allowing:
            return verdict  # no address could make it a yes: nobody has to be asked for a name that is denied
        return None if pending or self._guard else verdict

    def _judge_connect(self, user: str, source: str, address: str, port: int) -> Verdict:
        return self._default if self.free else self._judge_address(user, source, Command.CONNECT, "", address, port)

    def _judge_address(self, user: str, source: str, command: Command, name: str, address: str, port: int) -> Verdict:
        fitting = self._fitting(user, source, command) & self._ports.bits(port)
        there = parse_address(address)
        named = self._networks.bits(there)
        matching = self._anywhere | named
        if name:
            matching |= self._domain_bits(name)
        for _, hidden in embedded(there):
            # What is denied as IPv4 is denied as NAT64, 6to4 and so on; what is allowed has to be named as it is.
            matching |= self._networks.bits(hidden) & ~self._allowing
        decided = fitting & matching
        first = decided & -decided
        verdict = self._verdicts[first.bit_length()]
        if self._guard and verdict.allowed and not first & named and (reason := inside(address)) is not None:
            return Verdict(False, f"inside: {reason}")
        return verdict

    def _judge_command(self, user: str, source: str, command: Command) -> Verdict:
        fitting = self._fitting(user, source, command)
        decided = fitting & self._anywhere & self._ports.any
        first = decided & -decided
        verdict = self._verdicts[first.bit_length()]
        if verdict.allowed:
            return verdict
        some = fitting & self._allowing & (first - 1)
        if some:
            return Verdict(True, self._verdicts[(some & -some).bit_length()].rule, self._via, self._default.egress)
        return verdict

    def _fitting(self, user: str, source: str, command: Command) -> int:
        """The rules that fit all but the target."""
        bits = (self._any_user | self._users.get(user, 0)) & (
            self._any_command | self._commands.get(command.name.lower(), 0)
        )
        if self._some_source:
            bits &= self._any_source | self._sources.bits(parse_address(source))
        return bits

    def _domain_bits(self, name: str) -> int:
        bits = 0
        if self._domains:
            for domain in suffixes(a_label(name)):
                bits |= self._domains.get(domain, 0)
        return bits


class _Ports:
    """The bits of a port, by the intervals between all ports at which anything changes."""

    __slots__ = ("_bits", "_starts", "any")

    def __init__(self, ranges: list[list[tuple[int, int]]]) -> None:
        self.any = _bits(not one for one in ranges)
        """The rules for all ports."""
        edges = {edge for one in ranges for first, last in one for edge in (first, last + 1)}
        self._starts = sorted(edges | {0})
        self._bits = [
            self.any | _bits(any(first <= start <= last for first, last in one) for one in ranges)
            for start in self._starts
        ]

    def bits(self, port: int) -> int:
        return self._bits[bisect_right(self._starts, port) - 1]


def _bits(flags: Iterable[bool]) -> int:
    return sum(1 << i for i, flag in enumerate(flags) if flag)


def _by_value(values: Iterable[Iterable[str]]) -> tuple[dict[str, int], int]:
    """The bits of each value, and those of the rules that name none."""
    bits: dict[str, int] = {}
    none = 0
    for i, some in enumerate(values):
        for value in some:
            bits[value] = bits.get(value, 0) | 1 << i
        if not some:
            none |= 1 << i
    return bits, none


def _by_network(networks: list[list[IPNetwork]]) -> Networks:
    return Networks((network, 1 << i) for i, some in enumerate(networks) for network in some)


def _verdict(i: int, rule: Rule, settings: ProxySettings) -> Verdict:
    name = rule.name or f"rules[{i}]"
    if rule.action == "deny":
        return Verdict(False, name)
    return Verdict(True, name, rule.via or settings.via, rule.egress or settings.egress)


def _guarded(settings: ProxySettings) -> bool:
    """Whether what is inside is denied: "auto" does where a client may come from another host."""
    if settings.inside != "auto":
        return settings.inside == "deny"
    return any(
        listener.proxy_protocol_from or not is_loopback_host(parse_listen(listener.address)[0])
        for listener in settings.listeners
    )
