"""censor/rules.py"""

from __future__ import annotations

from pathlib import Path

import pytest

from censor.rules import Action, RuleSet, normalize
from censor.rules_file import load_rules, parse_rules
from sidedoor.settings import SettingsError

GOOD = """
[censor]
fail = "closed"
[[rule]]
name = "dns"
action = "dns_forge"
domains = ["Messenger.Example."]
forged = ["192.0.2.66", "2001:db8:1::66"]
ttl_seconds = 5
[[rule]]
name = "name"
action = "sni_rst"
domains = ["messenger.example"]
existing_flows = "kill"
[[rule]]
name = "addresses"
action = "reject"
addresses = ["203.0.113.10", "203.0.113.0/24", "2001:db8:2::/64"]
ports = [443]
protocol = "tcp"
"""


def rule(text: str) -> RuleSet:
    return parse_rules(f'[[rule]]\nname = "x"\n{text}', origin="r.toml")


def test_good_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(GOOD)
    rules = load_rules(path)
    assert rules == parse_rules(GOOD)
    assert rules.fail == "closed"
    dns, name, addresses = rules.rules
    assert (dns.action, dns.ttl_seconds, dns.kills) == (Action.DNS_FORGE, 5, False)
    assert (name.kills, name.resets_existing) == (True, True)
    assert [str(one) for one in addresses.networks] == ["203.0.113.10/32", "203.0.113.0/24", "2001:db8:2::/64"]
    assert not addresses.kills


def test_empty_file_blocks_nothing() -> None:
    assert parse_rules("") == RuleSet()
    assert RuleSet().fail == "open"


@pytest.mark.parametrize(
    ("name", "matches"),
    [
        ("messenger.example", True),
        ("www.messenger.example", True),
        ("notmessenger.example", False),
        ("messenger.example.net", False),
        ("", False),
    ],
)
def test_suffix_match(name: str, matches: bool) -> None:
    assert (NameIndex(parse_rules(GOOD).rules[:1]).first(name) is not None) is matches


def test_normalize() -> None:
    assert normalize("WWW.Messenger.Example.") == "www.messenger.example"


def test_the_first_rule_acts() -> None:
    tables = {"a": ["www.x.example", "x.example"], "b": ["x.example"], "c": ["example"], "d": ["b.example"]}
    rules = parse_rules(
        "".join(
            f'[[rule]]\nname = "{name}"\naction = "sni_drop"\ndomains = {domains}\n' for name, domains in tables.items()
        )
    ).rules
    for order, name, acts in (
        (rules, "x.example", "a"),
        (rules[1:], "www.x.example", "b"),
        (rules, "b.example", "c"),
        (rules[3:], "b.example", "d"),
    ):
        found = NameIndex(order).first(name)
        assert found is not None
        assert found.name == acts
    assert NameIndex(rules).first("example.net") is None


def test_existing_action() -> None:
    text = 'action = "sni_rst"\ndomains = ["x"]\nexisting_flows = "kill"\nexisting_action = "drop"'
    assert not rule(text).rules[0].resets_existing
    assert rule(text.replace('"drop"', '"rst"')).rules[0].resets_existing


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('action = "drop"', "exactly one of `domains` and `addresses`"),
        ('action = "sni_rst"\ndomains = ["x"]\naddresses = ["192.0.2.1"]', "exactly one"),
        ('action = "drop"\ndomains = ["x"]', "the action drop needs `addresses`; with `domains`: dns_nxdomain"),
        ('action = "sni_rst"\naddresses = ["192.0.2.1"]', "needs `domains`; with `addresses`: drop, reject"),
        (
            'action = "dorp"\naddresses = ["192.0.2.1"]',
            "(rule 'x'): expected one of dns_nxdomain, dns_forge, sni_drop, sni_rst, drop, reject; found 'dorp'; did",
        ),
        (
            'action = "drop"\naddress = ["192.0.2.1"]',
            "key `rule[0].address` (rule 'x') is unknown; did you mean `addresses`?",
        ),
        (
            'action = "drop"\naddresses = ["203.0.113.10/24"]',
            "'203.0.113.10/24' is an address inside a block; did you mean 203.0.113.0/24 (all of it) or 203.0.113.10 (",
        ),
        ('action = "drop"\naddresses = ["2001:db8::1/64"]', "did you mean 2001:db8::/64 (all of it) or 2001:db8::1 ("),
        ('action = "drop"\naddresses = ["192.0.2"]', "'192.0.2' does not appear to be"),
        (
            'action = "drop"\naddresses = ["192.0.2.1"]\nports = [0]',
            "key `rule[0].ports[0]` (rule 'x'): Expected `int` >= 1; found the integer 0",
        ),
        ('action = "drop"\naddresses = ["192.0.2.1"]\nexisting_flows = "ignore"', "acts on all packets"),
        ('action = "drop"\naddresses = ["192.0.2.1"]\nforged = ["192.0.2.1"]', "`forged` goes with"),
        ('action = "dns_nxdomain"\ndomains = ["x"]\nttl_seconds = 1', "`ttl_seconds` goes with"),
        ('action = "dns_forge"\ndomains = ["x"]', "dns_forge needs `forged`"),
        ('action = "dns_forge"\ndomains = ["x"]\nforged = ["x"]', "'x' does not appear to be"),
        ('action = "dns_nxdomain"\ndomains = ["x"]\nexisting_flows = "kill"', "`existing_flows` goes with sni_drop"),
        ('action = "sni_rst"\ndomains = ["x"]\nexisting_action = "drop"', "needs existing_flows"),
        ('action = "sni_rst"\ndomains = ["x"]\nports = [1]', "`ports` and `protocol` go with `addresses`"),
        ('action = "sni_rst"\ndomains = ["*.x"]', "'*.x' is not a domain name"),
        ('action = "sni_rst"\ndomains = ["."]', "'.' is not a domain name"),
        ('action = "sni_rst"\ndomains = ["bücher.example"]', "punycode"),
    ],
)
def test_mistakes_name_file_and_key(text: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        rule(text)
    assert str(caught.value).startswith("r.toml: key `rule[0]")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_kill_may_be_said_of_addresses() -> None:
    assert rule('action = "drop"\naddresses = ["192.0.2.1"]\nexisting_flows = "kill"').rules


def test_names_are_unique() -> None:
    one = '[[rule]]\nname = "x"\naction = "drop"\naddresses = ["192.0.2.1"]\n'
    with pytest.raises(SettingsError, match="two rules are called 'x'"):
        parse_rules(one + one)
