"""What is compared: plain routing, and the censor with different things to do. All of them let the traffic pass."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from censor import profiles
from lab.benchmarks.censor.network import SERVER

PLAIN = "plain"
EVERY_PACKET = "every-packet"
RACES = "races"
REGISTRY = "registry"
FLOOD = "flood"
RULES = "{rules}"
"""Stands in a subject's arguments for the path of the file with its rules."""
DUMP = "{dump}"
"""Stands in a subject's rules for the path of a registry dump (lab/benchmarks/censor/lists.py)."""
FORGED_NAME, RESET_NAME = "forged.example", "reset.example"
FORGED_ADDRESS = "192.0.2.66"
_LIST_RULES = f"""
[[list]]
name = "registry"
format = "registry"
file = "{DUMP}"

[[rule]]
name = "names"
when = 'tls.sni under @registry or dns.name under @registry'

[[rule.actions]]
kind = "drop"

[[rule]]
name = "addresses"
when = 'server.address in @registry'

[[rule.actions]]
kind = "drop"
"""
_NAMES, _ADDRESSES = 1000, 1000
# What the traffic of a measurement needs to be let pass by a profile that acts on all of its network.
_EXEMPT = {"tspu-2025-freeze": f'[[list]]\nname = "white-addresses"\nentries = ["{SERVER}"]\n'}
_NAME_ACTIONS = ("dns_nxdomain", "sni_rst")


class Kind(StrEnum):
    """What is measured with a subject.

    PLAIN: routing alone. PROFILE: a censor as a user starts it; LIST: with a block list of real size. EVERY_PACKET: one
    that is given all packets. RACE: one that injects, with the server far behind it. FLOOD: one that is given more
    flows than it remembers.
    """

    PLAIN = "plain"
    PROFILE = "profile"
    LIST = "list"
    EVERY_PACKET = "every packet"
    RACE = "race"
    FLOOD = "flood"


@dataclass(frozen=True, slots=True)
class Subject:
    """`arguments`: those of `sidedoor censor run`; `rules`: the text of the file that RULES stands for in them."""

    name: str
    arguments: tuple[str, ...] = ()
    rules: str = ""
    kind: Kind = Kind.PROFILE


def subjects() -> list[Subject]:
    """All there are, plain routing first."""
    return [
        Subject(PLAIN, kind=Kind.PLAIN),
        Subject("idle"),
        _with_rules("names", _name_rules()),
        _with_rules("addresses", _address_rule()),
        *(_with_rules(name, f'[censor]\nprofile = "{name}"\n{_EXEMPT.get(name, "")}') for name in profiles.names()),
        _with_rules(REGISTRY, _LIST_RULES, Kind.LIST),
        _with_rules(EVERY_PACKET, "[censor]\ninspect_everything = true\n", Kind.EVERY_PACKET),
        _with_rules(RACES, _race_rules(), Kind.RACE),
        _with_rules(FLOOD, _name_rules(), Kind.FLOOD),
    ]


def _with_rules(name: str, rules: str, kind: Kind = Kind.PROFILE) -> Subject:
    return Subject(name, ("--rules", RULES), rules, kind)


def _name_rules() -> str:
    """Names that nobody asks for, blocked in DNS and in TLS."""
    names = ", ".join(f'"blocked-{number:04}.example"' for number in range(_NAMES))
    rules = (f'[[rule]]\nname = "{action}"\naction = "{action}"\ndomains = [{names}]\n' for action in _NAME_ACTIONS)
    return "\n".join(rules)


def _address_rule() -> str:
    """Single addresses of 198.18.0.0/15 (benchmarks, RFC 2544), none next to another, so that sets stay as large."""
    addresses = (f"198.18.{number // 100}.{number % 100 * 2 + 1}" for number in range(_ADDRESSES))
    return f'[[rule]]\nname = "addresses"\naction = "drop"\naddresses = [{", ".join(map(_quoted, addresses))}]\n'


def _race_rules() -> str:
    """Both are real races: what triggers them passes, and the server's answer comes, too."""
    return f"""
[[rule]]
name = "dns"
action = "dns_forge"
domains = ["{FORGED_NAME}"]
forged = ["{FORGED_ADDRESS}"]

[[rule]]
name = "rst"
when = 'tls.sni under "{RESET_NAME}"'

[[rule.actions]]
kind = "reset"
"""


def _quoted(text: str) -> str:
    return f'"{text}"'
