"""censor/rules.py"""

from __future__ import annotations

from pathlib import Path

import pytest

from censor.actions import AnyAction, Drop, ForgeDns, Reject, Reset
from censor.rules import Action, RuleSet, normalize
from censor.rules_file import load_rules, parse_rules
from sidedoor.settings import SettingsError, convert

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


class TestShortForm:
    def short(self, text: str) -> tuple[str, tuple[AnyAction, ...]]:
        (found,) = rule(text).rules
        return found.condition, found.effects

    @pytest.mark.parametrize(
        ("action", "effects"),
        [
            ('"dns_nxdomain"', (ForgeDns(),)),
            (
                '"dns_forge"\nforged = ["192.0.2.66"]\nttl_seconds = 5',
                (ForgeDns(addresses=("192.0.2.66",), ttl_seconds=5),),
            ),
        ],
    )
    def test_names_in_dns(self, action: str, effects: tuple[AnyAction, ...]) -> None:
        condition = 'dns.name under ["a.example", "b.example"] and not dns.response and server.port == 53'
        assert self.short(f'action = {action}\ndomains = ["A.example.", "b.example"]') == (condition, effects)

    @pytest.mark.parametrize(("action", "effect"), [("sni_drop", Drop()), ("sni_rst", Reset(drop=True, repeat=True))])
    def test_names_in_tls(self, action: str, effect: AnyAction) -> None:
        condition = 'tls.sni under ["a.example"] and server.port == 443'
        assert self.short(f'action = "{action}"\ndomains = ["a.example"]') == (condition, (effect,))

    @pytest.mark.parametrize(("action", "effect"), [("drop", Drop()), ("reject", Reject())])
    def test_addresses_of_either_end(self, action: str, effect: AnyAction) -> None:
        condition = '(server.address in ["192.0.2.0/24"] or client.address in ["192.0.2.0/24"])'
        assert self.short(f'action = "{action}"\naddresses = ["192.0.2.0/24"]') == (condition, (effect,))

    def test_ports_and_protocol_of_that_end(self) -> None:
        text = 'action = "drop"\naddresses = ["192.0.2.1"]\nports = [80, 443]\nprotocol = "tcp"'
        assert self.short(text)[0] == (
            '(server.address in ["192.0.2.1"] and server.port in [80, 443] or '
            'client.address in ["192.0.2.1"] and client.port in [80, 443]) and protocol == "tcp"'
        )

    def test_events_have_its_own_words(self) -> None:
        (found,) = rule('action = "sni_drop"\ndomains = ["a.example"]').rules
        assert found.label(found.effects[0]) == "sni_drop"
        (found,) = rule('when = "tls"\nactions = [{ kind = "log" }]').rules
        assert (found.condition, found.label(found.effects[0])) == ("tls", "log")


def test_normalize() -> None:
    assert normalize("WWW.Messenger.Example.") == "www.messenger.example"


def test_existing_flows() -> None:
    text = 'when = "tls"\nactions = [{ kind = "drop" }]\nexisting_flows = '
    (killing,), (acting,), (ignoring,) = (rule(f'{text}"{one}"').rules for one in ("kill", "act", "ignore"))
    assert (killing.kills, killing.retroactive) == (True, True)
    assert (acting.kills, acting.retroactive) == (False, True)
    assert (ignoring.kills, ignoring.retroactive) == (False, False)


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
            "key `rule[0].ports[0]` (rule 'x'): expected an integer from 1 to 65535; found the integer 0",
        ),
        ('action = "drop"\naddresses = ["192.0.2.1"]\nexisting_flows = "ignore"', "acts on all packets"),
        ('action = "drop"\naddresses = ["192.0.2.1"]\nforged = ["192.0.2.1"]', "`forged` goes with"),
        ('action = "dns_nxdomain"\ndomains = ["x"]\nttl_seconds = 1', "`ttl_seconds` goes with"),
        ('action = "dns_forge"\ndomains = ["x"]', "dns_forge needs `forged`"),
        ('action = "dns_forge"\ndomains = ["x"]\nforged = ["x"]', "'x' does not appear to be"),
        ('action = "dns_nxdomain"\ndomains = ["x"]\nexisting_flows = "kill"', "`existing_flows` goes with sni_drop"),
        ('action = "sni_rst"\ndomains = ["x"]\nexisting_action = "drop"', "needs existing_flows"),
        (
            'action = "sni_rst"\ndomains = ["x"]\nexisting_flows = "act"\nexisting_action = "drop"',
            "needs existing_flows",
        ),
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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            'when = "tls"\nactions = [{ kind = "residual", seconds = 1 }, { kind = "residual", seconds = 2 }]',
            "one rule leaves one `residual` block behind",
        ),
        ("", "a rule needs `when` and `actions`, or `action` and one of"),
        ('when = "tls"', "a rule with `when` needs `actions`"),
        ('when = "tls"\nactions = [{ kind = "log" }]\naction = "drop"', "`action` belongs to a rule's short form"),
        ('action = "drop"\naddresses = ["192.0.2.1"]\nactions = [{ kind = "log" }]', "`actions` needs `when`"),
        ('when = "tls"\nactions = [{ kind = "log" }]\nlatency_seconds = [2, 1]', "`latency_seconds`"),
        (
            'when = "tls"\nactions = [{ kind = "log" }]\nfrom_seconds = 5\nuntil_seconds = 5',
            "`until_seconds` is not after `from_seconds`",
        ),
        ('when = "tls"\nactions = [{ kind = "log" }]\nexisting_action = "rst"', "`existing_action` needs"),
    ],
)
def test_forms_are_not_mixed(text: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        rule(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("action", "resets"),
    [('kind = "reset"', True), ('kind = "drop"', False), ('kind = "log" }, { kind = "reset"', True)],
)
def test_long_rules_kill_by_what_they_do(action: str, resets: bool) -> None:
    (found,) = rule(f'when = "tls"\nactions = [{{ {action} }}]\nexisting_flows = "kill"').rules
    assert (found.kills, found.resets_existing) == (True, resets)


class TestTimeLine:
    RULES = """
[censor]
time_scale = 10
[[rule]]
name = "always"
when = "tls"
actions = [{ kind = "log" }]
[[rule]]
name = "later"
when = "tls"
actions = [{ kind = "log" }]
from_seconds = 100
until_seconds = 300
"""

    @pytest.mark.parametrize(("seconds", "number"), [(0.0, 1), (9.9, 1), (10.0, 2), (29.9, 2), (30.0, 1)])
    def test_rules_that_hold(self, seconds: float, number: int) -> None:
        assert len(parse_rules(self.RULES).at(seconds).rules) == number

    @pytest.mark.parametrize("scale", [49, 3, 0.1])
    def test_at_each_moment_something_changes(self, scale: float) -> None:
        """Though 1 / 49 * 49 is less than 1."""
        head = f"[censor]\ntime_scale = {scale}\n"
        rule = '[[rule]]\nname = "x"\nwhen = "exists tls"\nactions = [{kind = "drop"}]\n'
        rules = parse_rules(head + rule + "from_seconds = 1\nuntil_seconds = 86400\n")
        assert [len(rules.at(moment).rules) for moment in (0.0, *rules.moments())] == [0, 1, 0]

    def test_moments(self) -> None:
        assert parse_rules(self.RULES).moments() == (10.0, 30.0)
        assert RuleSet().moments() == ()

    def test_the_same_set_when_all_hold(self) -> None:
        rules = parse_rules(self.RULES)
        assert rules.at(15.0) is rules


def test_names_of_lists_are_unique() -> None:
    one = '[[list]]\nname = "x"\nentries = ["a.example"]\n'
    with pytest.raises(SettingsError, match="two lists are called 'x'"):
        parse_rules(one + one)


def test_names_are_unique() -> None:
    one = '[[rule]]\nname = "x"\naction = "drop"\naddresses = ["192.0.2.1"]\n'
    with pytest.raises(SettingsError, match="two rules are called 'x'"):
        parse_rules(one + one)


def test_whether_any_rule_probes_now_or_later() -> None:
    log, probe = ({"name": name, "when": "socks", "actions": [{"kind": name}]} for name in ("log", "probe"))
    assert not convert({"rule": [log]}, RuleSet, origin="rules").probe
    assert convert({"rule": [log, probe | {"from_seconds": 9}]}, RuleSet, origin="rules").probe
