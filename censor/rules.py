"""Rules: what the censor acts on and how, read from TOML.

A rule has a condition (`when`) and actions; or, in short, `domains` or `addresses` and one `action`, which stand for a
condition and actions that are used often. docs/censor-rules.md is the reference. Every mistake is a SettingsError whose
message names file, rule, key and what would be right.
"""

from __future__ import annotations

import enum
import ipaddress
from typing import Annotated, Any, Literal

import msgspec

from censor.actions import (
    AnyAction,
    Drop,
    ForgeDns,
    Probability,
    Probe,
    Reject,
    Reset,
    Residual,
    SecondsSpan,
    check_spans,
)
from censor.censor_table import CensorTable, Fail
from censor.prober.settings import ProberSettings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Moment = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
"""Seconds of a time line, which may run over years: some 30."""


class Action(enum.StrEnum):
    """What a rule in short form does; censor/actions.py has what these stand for."""

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

Confidence = Literal["read", "abstract", "second-hand", "memory"]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rule. Raises ValueError for combinations that mean nothing (a SettingsError when read from a file).

    probability: of each flow that matches to be acted on; `probability_of` server: or of each server's address, all of
    whose flows share its fate. latency_seconds: how long after the match the actions start.
    from_seconds, until_seconds: when it holds, counted from when the rules were put in force (times `time_scale`).
    intended: the condition that the censor meant; what `when` catches beyond it is counted as collateral.
    existing_flows: what becomes of flows that were decided before: nothing, their end, or what the actions do.
    evidence: where it is known from; confidence: how well.
    """

    name: Name
    when: str | None = None
    actions: tuple[AnyAction, ...] = ()
    probability: Probability = 1.0
    probability_of: Literal["flow", "server"] = "flow"
    latency_seconds: SecondsSpan = 0.0
    from_seconds: Moment = 0.0
    until_seconds: Moment | None = None
    intended: str | None = None
    evidence: str = ""
    confidence: Confidence | None = None
    existing_flows: Literal["ignore", "kill", "act"] | None = None
    existing_action: Literal["drop", "rst"] | None = None
    # The short form.
    action: Action | None = None
    domains: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    protocol: Literal["tcp", "udp"] | None = None
    forged: tuple[str, ...] = ()
    ttl_seconds: Annotated[int, msgspec.Meta(ge=0, le=86400)] = 60

    def __post_init__(self) -> None:
        check_spans(self, "latency_seconds")
        if self.existing_action and self.existing_flows != "kill":
            raise ValueError('`existing_action` needs existing_flows = "kill"')
        if self.until_seconds is not None and self.until_seconds <= self.from_seconds:
            raise ValueError("`until_seconds` is not after `from_seconds`")
        if self.when is None:
            self._check_short()
            return
        for key in ("action", "domains", "addresses", "ports", "protocol", "forged"):
            if getattr(self, key):
                raise ValueError(f"`{key}` belongs to a rule's short form; it does not go with `when`")
        if not self.actions:
            raise ValueError("a rule with `when` needs `actions`")
        if sum(isinstance(action, Residual) for action in self.actions) > 1:
            raise ValueError("`actions`: one rule leaves one `residual` block behind; another needs a rule of its own")

    def _check_short(self) -> None:
        if self.action is None:
            raise ValueError("a rule needs `when` and `actions`, or `action` and one of `domains` and `addresses`")
        if self.actions:
            raise ValueError("`actions` needs `when`; the short form has `action`")
        if bool(self.domains) == bool(self.addresses):
            raise ValueError("a rule needs exactly one of `domains` and `addresses`")
        if self.domains:
            self._check_domains(self.action)
        else:
            self._check_addresses(self.action)
        for key in ("forged", "ttl_seconds"):
            if getattr(self, key) != _DEFAULTS[key] and self.action is not Action.DNS_FORGE:
                raise ValueError(f"`{key}` goes with the action {Action.DNS_FORGE.value} only")
        if self.action is Action.DNS_FORGE:
            if not self.forged:
                raise ValueError("dns_forge needs `forged`, the addresses that it answers with")
            for text in self.forged:
                ipaddress.ip_address(text)  # its ValueError says which one and why

    def _check_domains(self, action: Action) -> None:
        if action in ADDRESS_ACTIONS:
            raise ValueError(
                f"the action {action.value} needs `addresses`; with `domains`: {_names(DNS_ACTIONS)}"
                f", {_names(SNI_ACTIONS)}"
            )
        if self.ports or self.protocol:
            raise ValueError("`ports` and `protocol` go with `addresses` only")
        for domain in self.domains:
            if not normalize(domain) or any(c.isspace() or c in '*/:"\\' for c in domain) or not domain.isascii():
                raise ValueError(f"{domain!r} is not a domain name (punycode, no wildcard: names below match too)")
        if action in DNS_ACTIONS and self.existing_flows:
            raise ValueError(f"`existing_flows` goes with {_names(SNI_ACTIONS)} only; a DNS answer touches no flow")

    def _check_addresses(self, action: Action) -> None:
        if action not in ADDRESS_ACTIONS:
            raise ValueError(f"the action {action.value} needs `domains`; with `addresses`: {_names(ADDRESS_ACTIONS)}")
        if self.existing_flows == "ignore" or self.existing_action:
            raise ValueError("an address rule acts on all packets, those of existing flows too")
        for text in self.addresses:
            _check_network(text)

    @property
    def networks(self) -> tuple[Network, ...]:
        return tuple(ipaddress.ip_network(text) for text in self.addresses)

    @property
    def condition(self) -> str:
        """The rule's condition, the short form's spelt out."""
        if self.when is not None:
            return self.when
        if self.domains:
            names = _quoted(map(normalize, self.domains))
            if self.action in DNS_ACTIONS:
                return f"dns.name under [{names}] and not dns.response and server.port == 53"
            return f"tls.sni under [{names}] and server.port == 443"
        return _either_end(self.addresses, self.ports, self.protocol)

    @property
    def effects(self) -> tuple[AnyAction, ...]:
        """The rule's actions, the short form's spelt out."""
        match self.action:
            case None:
                return self.actions
            case Action.DNS_NXDOMAIN:
                return (ForgeDns(),)
            case Action.DNS_FORGE:
                return (ForgeDns(addresses=self.forged, ttl_seconds=self.ttl_seconds),)
            case Action.SNI_RST:
                return (Reset(drop=True, repeat=True),)
            case Action.REJECT:
                return (Reject(),)
            case _:  # SNI_DROP and DROP
                return (Drop(),)

    @property
    def kills(self) -> bool:
        """Whether it ends flows that were decided before it was enforced."""
        return not self.addresses and self.existing_flows == "kill"

    @property
    def retroactive(self) -> bool:
        """Whether it does anything to these."""
        return not self.addresses and self.existing_flows in ("kill", "act")

    @property
    def resets_existing(self) -> bool:
        """Whether it kills them by RST (else by silence)."""
        if self.existing_action:
            return self.existing_action == "rst"
        return any(isinstance(action, Reset) for action in self.effects)

    def label(self, action: AnyAction) -> str:
        """What events call the action: in the rule's own words."""
        return self.action.value if self.action else action.kind


_DEFAULTS: dict[str, object] = {"forged": (), "ttl_seconds": 60}


class List(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A list that conditions refer to as `@name`: in a file (beside the rules'), or entries in place, or both.

    format: see censor/lists/formats.py.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]*$", max_length=64)]
    file: str | None = None
    format: Literal["auto", "plain", "hosts", "cidr", "registry", "citizenlab"] = "auto"
    entries: tuple[str, ...] = ()


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a shipped rules file says about itself. not_modelled: what the real one does and this one does not."""

    title: str
    summary: str
    sources: tuple[str, ...]
    not_modelled: tuple[str, ...] = ()


class RuleSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All rules in force at one time, in order of precedence. Raises ValueError when two have one name."""

    censor: CensorTable = CensorTable()
    prober: ProberSettings = ProberSettings()
    lists: tuple[List, ...] = msgspec.field(name="list", default=())
    rules: tuple[Rule, ...] = msgspec.field(name="rule", default=())
    profile: Profile | None = None

    def __post_init__(self) -> None:
        names = [rule.name for rule in self.rules]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two rules are called {name!r}; events tell rules apart by name")
        lists = [one.name for one in self.lists]
        for name in lists:
            if lists.count(name) > 1:
                raise ValueError(f"two lists are called {name!r}")

    @property
    def fail(self) -> Fail:
        return self.censor.fail

    @property
    def probe(self) -> bool:
        """Whether any of them tells the prober of suspects."""
        return any(isinstance(action, Probe) for rule in self.rules for action in rule.actions)

    def at(self, seconds: float) -> RuleSet:
        """The rules that hold `seconds` after these were put in force."""
        scale = self.censor.time_scale  # dividing as `moments` does: 1 / 49 * 49 is less than 1
        rules = tuple(
            rule
            for rule in self.rules
            if rule.from_seconds / scale <= seconds
            and (rule.until_seconds is None or seconds < rule.until_seconds / scale)
        )
        return self if rules == self.rules else msgspec.structs.replace(self, rules=rules)

    def moments(self) -> tuple[float, ...]:
        """The seconds after which `at` says something else than before, in order."""
        times = {rule.from_seconds for rule in self.rules} | {
            rule.until_seconds for rule in self.rules if rule.until_seconds is not None
        }
        return tuple(sorted(time / self.censor.time_scale for time in times if time > 0))


def _quoted(texts: Any) -> str:
    return ", ".join(f'"{text}"' for text in texts)


def _either_end(addresses: tuple[str, ...], ports: tuple[int, ...], protocol: str | None) -> str:
    """The condition that a packet goes to one of the addresses (and ports), or comes from there."""
    networks = _quoted(addresses)
    ends = []
    for end in ("server", "client"):
        condition = f"{end}.address in [{networks}]"
        if ports:
            condition += f" and {end}.port in [{', '.join(map(str, ports))}]"
        ends.append(condition)
    either = f"({ends[0]} or {ends[1]})"
    return f'{either} and protocol == "{protocol}"' if protocol else either


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


def _names(actions: tuple[Action, ...]) -> str:
    return ", ".join(action.value for action in actions)
