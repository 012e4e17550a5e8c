"""What stands in rules: users, networks, domains and ports, checked and parsed. Sans-IO.

`key` is where the rule is ("rules[2]"); every SettingsError names the entry, what was found and what was expected.
"""

from __future__ import annotations

import re

from proxy.policy.names import a_label
from proxy.policy.networks import IPNetwork
from proxy.settings import ProxySettings, Rule, parse_network
from sidedoor.settings import SettingsError


def check_rule(key: str, rule: Rule, settings: ProxySettings) -> None:
    """Raise SettingsError for users that are not there, and for ways out of what is denied."""
    for user in rule.users:
        if user not in settings.users:
            known = ", ".join(settings.users) or "none"
            raise SettingsError(f'{key}.users: "{user}" is not among the users; expected one of: {known}')
    for what, value in (("via", rule.via), ("egress", rule.egress)):
        if value and rule.action == "deny":
            raise SettingsError(f'{key}.{what}: stands in a rule with action "deny"; expected "allow", or no {what}')


def parse_sources(key: str, texts: tuple[str, ...]) -> list[IPNetwork]:
    """The networks of `sources`."""
    return [parse_network(f"{key}.sources", text) for text in texts]


def parse_ports(key: str, ports: tuple[int | str, ...]) -> list[tuple[int, int]]:
    """The (first, last) of each entry of `ports`."""
    ranges = []
    for port in ports:
        first, dash, last = str(port).partition("-")
        numbers = [first, last] if dash else [first, first]
        if not all(number.isascii() and number.isdecimal() for number in numbers) or not (
            1 <= int(numbers[0]) <= int(numbers[1]) <= 65535
        ):
            found = f'"{port}"' if isinstance(port, str) else port
            raise SettingsError(f'{key}.ports: {found}: expected a port from 1 to 65535, or a range like "8000-8999"')
        ranges.append((int(numbers[0]), int(numbers[1])))
    return ranges


_DOMAIN = re.compile(r"(?!-)[\w-]{1,63}(\.[\w-]{1,63})*", re.ASCII)


def parse_destinations(key: str, texts: tuple[str, ...]) -> tuple[list[IPNetwork], list[str]]:
    """The networks and the domains, as A-labels, of one rule."""
    key = f"{key}.destinations"
    networks: list[IPNetwork] = []
    domains: list[str] = []
    for text in texts:
        domain = a_label(text)
        if domain.startswith("*."):
            raise SettingsError(f'{key}: "{text}": expected "{domain[2:]}", which stands for its sub-domains, too')
        if _is_network(domain):
            networks.append(parse_network(key, text))
        elif _DOMAIN.fullmatch(domain):
            domains.append(domain)
        else:
            raise SettingsError(
                f'{key}: "{text}": expected a network (192.0.2.0/24), an address (IPv6 without brackets and zone), or '
                f"a domain (example.org); ports have a key of their own"
            )
    return networks, domains


def _is_network(text: str) -> bool:
    """Whether `text` is meant as an address or a network: its last label is a number, or it is IPv6 or CIDR."""
    return bool(re.fullmatch(r"[0-9a-f:.]*:[0-9a-f:.]*(/.*)?|.*/[0-9]+|(.*\.)?(0x[0-9a-f]*|[0-9]+)", text))
