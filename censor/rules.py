"""Rules: what the censor acts on and how, read from TOML.

A rule has one matcher (`domains` or `addresses`) and one action. docs/censor.md is the reference. Every mistake is a
SettingsError whose message names file, key and what would be right.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from sidedoor import settings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Fail = Literal["open", "closed"]


class Action(enum.StrEnum):
    """What is done to a packet that a rule matches."""

    DNS_NXDOMAIN = "dns_nxdomain"
    """A forged "no such name" races the real answer, which arrives too."""
    DNS_FORGE = "dns_forge"
    """A forged answer with the rule's `forged` addresses races the real one, which arrives too."""
    SNI_DROP = "sni_drop"
    """The ClientHello and its retransmissions vanish."""
    SNI_RST = "sni_rst"
    """The ClientHello vanishes and both ends get a forged RST."""
    DROP = "drop"
    """All packets to and from the addresses vanish."""
    REJECT = "reject"
    """They vanish and the sender is told: TCP by an RST, the rest by ICMP port unreachable."""


DNS_ACTIONS = (Action.DNS_NXDOMAIN, Action.DNS_FORGE)
SNI_ACTIONS = (Action.SNI_DROP, Action.SNI_RST)
ADDRESS_ACTIONS = (Action.DROP, Action.REJECT)


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rule. Raises ValueError for combinations that mean nothing (a SettingsError when read from a file)."""

    name: Name
    action: Action
    domains: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    protocol: Literal["tcp", "udp"] | None = None
    forged: tuple[str, ...] = ()
    ttl_seconds: Annotated[int, msgspec.Meta(ge=0, le=86400)] = 60
    existing_flows: Literal["ignore", "kill"] | None = None
    existing_action: Literal["drop", "rst"] | None = None

    def __post_init__(self) -> None:
        if bool(self.domains) == bool(self.addresses):
            raise ValueError("a rule needs exactly one of `domains` and `addresses`")
        if self.domains:
            self._check_domains()
        else:
            self._check_addresses()
        for key, action in (("forged", Action.DNS_FORGE), ("ttl_seconds", Action.DNS_FORGE)):
            if getattr(self, key) != _DEFAULTS[key] and self.action is not action:
                raise ValueError(f"`{key}` goes with the action {action.value} only")
        if self.action is Action.DNS_FORGE:
            if not self.forged:
                raise ValueError("dns_forge needs `forged`, the addresses that it answers with")
            for text in self.forged:
                ipaddress.ip_address(text)  # its ValueError says which one and why

    def _check_domains(self) -> None:
        if self.action in ADDRESS_ACTIONS:
            raise ValueError(
                f"the action {self.action.value} needs `addresses`; with `domains`: {_names(DNS_ACTIONS)}"
                f", {_names(SNI_ACTIONS)}"
            )
        if self.ports or self.protocol:
            raise ValueError("`ports` and `protocol` go with `addresses` only")
        for domain in self.domains:
            if not normalize(domain) or any(c.isspace() or c in "*/:" for c in domain) or not domain.isascii():
                raise ValueError(f"{domain!r} is not a domain name (punycode, no wildcard: names below match too)")
        if self.action in DNS_ACTIONS and self.existing_flows:
            raise ValueError(f"`existing_flows` goes with {_names(SNI_ACTIONS)} only; a DNS answer touches no flow")
        if self.existing_action and self.existing_flows != "kill":
            raise ValueError('`existing_action` needs existing_flows = "kill"')

    def _check_addresses(self) -> None:
        if self.action not in ADDRESS_ACTIONS:
            raise ValueError(
                f"the action {self.action.value} needs `domains`; with `addresses`: {_names(ADDRESS_ACTIONS)}"
            )
        if self.existing_flows == "ignore" or self.existing_action:
            raise ValueError("an address rule acts on all packets, those of existing flows too")
        for text in self.addresses:
            _check_network(text)

    @property
    def networks(self) -> tuple[Network, ...]:
        return tuple(ipaddress.ip_network(text) for text in self.addresses)

    @property
    def kills(self) -> bool:
        """Whether it acts on flows that were opened for one of its names before it was enforced."""
        return bool(self.domains) and self.existing_flows == "kill"

    @property
    def resets_existing(self) -> bool:
        """Whether it kills them by RST (else by silence)."""
        return self.existing_action == "rst" or (self.existing_action is None and self.action is Action.SNI_RST)


_DEFAULTS: dict[str, object] = {"forged": (), "ttl_seconds": 60}


class CensorTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """fail: what happens to new flows when the censor process has died."""

    fail: Fail = "open"


class RuleSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All rules in force at one time, in order of precedence. Raises ValueError when two have one name."""

    censor: CensorTable = CensorTable()
    rules: tuple[Rule, ...] = msgspec.field(name="rule", default=())

    def __post_init__(self) -> None:
        names = [rule.name for rule in self.rules]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two rules are called {name!r}; events tell rules apart by name")

    @property
    def fail(self) -> Fail:
        return self.censor.fail


class NameIndex:
    """Which of some rules acts on a name; the cost of asking does not depend on how many names the rules have."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self._positions: dict[str, int] = {}
        for position, rule in enumerate(self._rules):
            for domain in map(normalize, rule.domains):
                self._positions.setdefault(domain, position)

    def first(self, name: str) -> Rule | None:
        """The first rule, in the order given, that matches the (normalized) name or one above it."""
        found = []
        while name:
            if name in self._positions:
                found.append(self._positions[name])
            name = name.partition(".")[2]
        return self._rules[min(found)] if found else None


def _check_network(text: str) -> None:
    """Raises ValueError for what is neither an address nor a block; a block has no bits set behind its prefix."""
    network = ipaddress.ip_network(text, strict=False)  # its ValueError says which one and why
    address, slash, _ = text.partition("/")
    if slash and ipaddress.ip_address(address) != network.network_address:
        raise ValueError(
            f"{text!r} is an address inside a block; did you mean {network} (all of it) or {address} (that one)?"
        )


def normalize(domain: str) -> str:
    """A domain name as rules compare it: lower case, no trailing dot."""
    return domain.lower().rstrip(".")


def parse_rules(text: str, origin: str = "rules") -> RuleSet:
    """TOML `text` as a rule set. Raises SettingsError; `origin` stands in front of its message."""
    return settings.parse(text, RuleSet, origin=origin)


def load_rules(path: str | Path) -> RuleSet:
    """The rules file at `path`. Raises SettingsError."""
    return settings.read(path, RuleSet)


def _names(actions: tuple[Action, ...]) -> str:
    return ", ".join(action.value for action in actions)
