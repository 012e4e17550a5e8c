from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy import Policy, Verdict
from proxy.settings import Listener, ProxySettings, Rule, Upstream
from proxy.wire import Address, AddressType, Command
from sidedoor.settings import SettingsError
from tests import ssrf

SOURCE = "192.0.2.10"
ABROAD = "198.51.100.7"
UPSTREAMS = {"far": Upstream(url="socks5://192.0.2.1:1080"), "near": Upstream(url="http://192.0.2.2:8080")}


def policy(*rules: Rule, **settings: Any) -> Policy:
    """The policy of `rules`, without the guard where nothing else is said."""
    return Policy(ProxySettings(**{"rules": rules, "inside": "allow", "upstreams": UPSTREAMS, **settings}))


def allow(**properties: Any) -> Rule:
    return Rule(action="allow", **properties)


def deny(**properties: Any) -> Rule:
    return Rule(action="deny", **properties)


def ask(
    policy: Policy,
    host: str,
    port: int = 443,
    *,
    user: str = "",
    source: str = SOURCE,
    command: Command = Command.CONNECT,
) -> Verdict | None:
    target = Address.of(host, port)
    verdict = policy.judge(user, source, command, target)
    if command is Command.CONNECT and target.type is not AddressType.DOMAIN:
        assert policy.judge_connect(user, source, target.host, port) == verdict
    return verdict


def ask_about(policy: Policy, name: str, address: str, port: int = 443) -> Verdict:
    return policy.judge_address("", SOURCE, Command.CONNECT, name, address, port)


def test_without_rules_and_guard_all_is_free() -> None:
    open_ = policy(egress=("192.0.2.5",))
    assert open_.free
    assert ask(open_, "127.0.0.1") == Verdict(True, "default", "", ("192.0.2.5",))
    assert not policy(deny()).free
    assert not policy(inside="deny").free


def test_what_goes_through_an_upstream_is_not_free() -> None:
    open_ = policy(via="far", egress=("192.0.2.5",))
    assert not open_.free
    expected = Verdict(True, "default", "far", ("192.0.2.5",))
    assert ask(open_, "127.0.0.1") == expected
    assert ask(open_, "a.example") == expected
    assert ask_about(open_, "a.example", "127.0.0.1") == expected
    assert open_.judge_command("", SOURCE, Command.UDP_ASSOCIATE) == expected


def test_the_first_rule_that_matches_decides() -> None:
    one = policy(deny(ports=(25,), name="no mail"), allow(destinations=(ABROAD,)), deny())
    assert ask(one, ABROAD, 25) == Verdict(False, "no mail")
    assert ask(one, ABROAD) == Verdict(True, "rules[1]")
    assert ask(one, "198.51.100.8") == Verdict(False, "rules[2]")
    assert ask(policy(deny(ports=(25,))), ABROAD) == Verdict(True, "default")


def test_properties_of_the_request() -> None:
    one = policy(
        allow(users=("anna", "bert"), name="u"),
        allow(sources=("192.0.2.128/25", "2001:db8::/32", "fe80::/64"), name="s"),
        allow(commands=("bind", "udp_associate"), name="c"),
        allow(ports=("8000-8999", 22), name="p"),
        deny(name="rest"),
        users={"anna": "", "bert": "", "carl": ""},
    )

    def rule(*args: Any, **keywords: Any) -> str:
        verdict = ask(one, ABROAD, *args, **keywords)
        assert verdict is not None
        return verdict.rule

    assert rule(user="bert") == "u"
    assert rule(user="carl") == "rest"
    for source in ("192.0.2.129", "::ffff:192.0.2.129", "2001:db8::1", "2001:db8::1%eth0", "fe80::1%eth0"):
        assert rule(source=source) == "s"
    assert rule(source="192.0.2.127") == "rest"
    assert rule(command=Command.BIND) == rule(command=Command.UDP_ASSOCIATE) == "c"
    assert [rule(port) for port in (0, 21, 22, 23, 7999, 8000, 8999, 9000, 65535)] == [
        *("rest", "rest", "p", "rest", "rest", "p", "p", "rest", "rest")
    ]


def test_all_properties_of_a_rule_have_to_match() -> None:
    one = policy(deny(users=("anna",), ports=(25,), destinations=("198.51.100.0/24",)), users={"anna": ""})
    assert ask(one, ABROAD, 25, user="anna") == Verdict(False, "rules[0]")
    assert ask(one, ABROAD, 25) == ask(one, ABROAD, 26, user="anna") == Verdict(True, "default")
    assert ask(one, "192.0.2.1", 25, user="anna") == Verdict(True, "default")


def test_a_source_that_is_no_address_is_an_error_where_it_matters() -> None:
    assert ask(policy(deny(ports=(25,))), ABROAD, source="?")
    with pytest.raises(ValueError, match="'\\?'"):
        ask(policy(deny(sources=("192.0.2.0/24",))), ABROAD, source="?")


@pytest.mark.parametrize(
    "host", ["example.org", "WWW.Example.org", "a.b.example.org.", "xn--bcher-kva.de", "www.bücher.DE"]
)
def test_a_domain_stands_for_its_subdomains(host: str) -> None:
    assert ask(policy(deny(destinations=("example.org", "Bücher.de"))), host) == Verdict(False, "rules[0]")


@pytest.mark.parametrize("host", ["org", "anexample.org", "example.org.invalid", "example.com"])
def test_a_domain_stands_for_nothing_else(host: str) -> None:
    assert ask(policy(deny(destinations=("example.org",))), host) == Verdict(True, "default")


def test_a_domain_never_matches_a_literal() -> None:
    one = policy(deny(destinations=("example",)), deny(destinations=("face.b00c",)))
    assert ask(one, ABROAD) == Verdict(True, "default")
    assert ask_about(one, "", ABROAD) == Verdict(True, "default")


def test_mapped_destinations_are_ipv4_destinations() -> None:
    one = policy(deny(destinations=("198.51.100.0/24",)), deny(destinations=("::ffff:192.0.2.0/120",)))
    assert ask(one, "::ffff:198.51.100.7") == Verdict(False, "rules[0]")
    assert ask(one, "192.0.2.9") == Verdict(False, "rules[1]")


def test_what_is_denied_as_ipv4_is_denied_in_every_form() -> None:
    one = policy(deny(destinations=("198.51.100.0/24",)), allow(destinations=("203.0.113.0/24",)), deny(name="rest"))
    for form in ("64:ff9b::198.51.100.7", "2002:c633:6407::", "::198.51.100.7", "2001:db8::5efe:198.51.100.7"):
        assert ask(one, form) == Verdict(False, "rules[0]")
    assert ask(one, "64:ff9b::203.0.113.1") == Verdict(False, "rest")  # to be allowed it has to be named


def test_ways_out_are_the_rules_or_the_settings() -> None:
    one = policy(
        allow(ports=(1,), via="near", egress=("192.0.2.6", "2001:db8::6")),
        allow(ports=(2,)),
        deny(ports=(3,)),
        via="far",
        egress=("192.0.2.5",),
    )
    assert ask(one, ABROAD, 1) == Verdict(True, "rules[0]", "near", ("192.0.2.6", "2001:db8::6"))
    assert ask(one, ABROAD, 2) == Verdict(True, "rules[1]", "far", ("192.0.2.5",))
    assert ask(one, ABROAD, 3) == Verdict(False, "rules[2]")
    assert ask(one, ABROAD, 4) == Verdict(True, "default", "far", ("192.0.2.5",))


class TestNames:
    def test_networks_wait_for_the_addresses(self) -> None:
        one = policy(deny(destinations=("198.51.100.0/24",)))
        assert ask(one, "a.example") is None
        assert ask_about(one, "a.example", ABROAD) == Verdict(False, "rules[0]")
        assert ask_about(one, "a.example", "203.0.113.1") == Verdict(True, "default")

    def test_but_not_behind_the_rule_that_decides(self) -> None:
        one = policy(allow(destinations=("a.example",)), deny(destinations=("0.0.0.0/0",)))
        assert ask(one, "a.example") == Verdict(True, "rules[0]")
        assert ask_about(one, "a.example", ABROAD) == Verdict(True, "rules[0]")
        assert ask(one, "b.example") is None

    def test_nor_where_other_properties_differ(self) -> None:
        one = policy(deny(destinations=("198.51.100.0/24",), ports=(25,)))
        assert ask(one, "a.example") == Verdict(True, "default")
        assert ask(one, "a.example", 25) is None

    def test_a_rule_may_have_both(self) -> None:
        one = policy(allow(destinations=("a.example", "198.51.100.0/24")), deny())
        assert ask(one, "a.example") == Verdict(True, "rules[0]")
        assert ask(one, "b.example") is None
        assert ask_about(one, "b.example", ABROAD) == Verdict(True, "rules[0]")
        assert ask_about(one, "b.example", "192.0.2.1") == Verdict(False, "rules[1]")

    def test_nobody_is_asked_for_a_name_that_no_address_could_allow(self) -> None:
        one = policy(deny(destinations=("198.51.100.0/24",)), deny(name="rest"))
        assert ask(one, "a.example") == Verdict(False, "rest")
        assert ask(policy(allow(destinations=("198.51.100.0/24",)), deny()), "a.example") is None

    def test_names_that_an_upstream_resolves_are_judged_as_names(self) -> None:
        one = policy(deny(destinations=("198.51.100.0/24",)), allow(destinations=("far.example",), via="far"))
        assert ask(one, "far.example") == Verdict(True, "rules[1]", "far")
        assert ask(one, "near.example") is None
        assert ask(one, ABROAD) == Verdict(False, "rules[0]")

    def test_with_an_upstream_for_all_no_name_is_resolved_here(self) -> None:
        one = policy(allow(destinations=("198.51.100.0/24",)), deny(ports=(25,)), via="far", inside="deny")
        assert ask(one, "a.example") == Verdict(True, "default", "far")
        assert ask(one, "a.example", 25) == Verdict(False, "rules[1]")
        assert ask(one, ABROAD) == Verdict(True, "rules[0]", "far")

    def test_a_name_whose_addresses_decide_may_go_through_an_upstream(self) -> None:
        one = policy(allow(destinations=("198.51.100.0/24",), via="far"))
        assert ask(one, "a.example") is None
        assert ask_about(one, "a.example", ABROAD) == Verdict(True, "rules[0]", "far")

    @pytest.mark.parametrize("name", ["3325256711", "0xc6336407", "198.51.25607", "198.51.100.7."])
    def test_a_name_that_spells_an_address_is_denied_as_that_address(self, name: str) -> None:
        for via in ("", "far"):
            one = policy(deny(destinations=("198.51.100.0/24",)), via=via)
            assert ask(one, name) == Verdict(False, "rules[0]")
        other = policy(deny(destinations=("203.0.113.0/24",)))
        assert ask(other, name) is None  # whether it resolves is the resolver's business


class TestGuard:
    @pytest.mark.parametrize(("form", "why"), ssrf.INSIDE)
    @pytest.mark.parametrize("via", ["", "far"])
    def test_inside_is_denied_in_every_form(self, form: str, why: str, via: str) -> None:
        verdict = ask(policy(inside="deny", via=via), form)
        assert verdict is not None
        assert not verdict.allowed, why
        assert verdict.rule.startswith("inside: ")
        assert not verdict.via

    @pytest.mark.parametrize("address", ssrf.OUTSIDE)
    def test_outside_is_allowed(self, address: str) -> None:
        assert ask(policy(inside="deny"), address) == Verdict(True, "default")

    def test_the_reason_is_the_rule(self) -> None:
        assert ask(policy(inside="deny"), "127.0.0.1") == Verdict(False, "inside: loopback (RFC 1122)")

    def test_names_are_guarded_by_their_addresses(self) -> None:
        one = policy(inside="deny")
        assert ask(one, "rebind.example") is None
        assert ask_about(one, "rebind.example", "10.0.0.1") == Verdict(False, "inside: private (RFC 1918)")
        assert ask_about(one, "rebind.example", "fe80::1%eth0") == Verdict(False, "inside: link-local (RFC 4291)")
        assert ask_about(one, "rebind.example", ABROAD) == Verdict(True, "default")

    @pytest.mark.parametrize(
        "rule", [allow(), allow(ports=(443,)), allow(destinations=("corp.example",)), allow(destinations=("::/0",))]
    )
    def test_a_rule_that_names_no_network_does_not_open_it(self, rule: Rule) -> None:
        verdict = ask_about(policy(rule, inside="deny"), "db.corp.example", "10.0.0.1")
        assert verdict == Verdict(False, "inside: private (RFC 1918)")

    @pytest.mark.parametrize("network", ["10.0.0.1", "10.0.0.0/8", "0.0.0.0/0", "::ffff:10.0.0.1"])
    def test_a_rule_that_names_the_network_does(self, network: str) -> None:
        one = policy(allow(destinations=("corp.example", network)), inside="deny")
        assert ask_about(one, "db.corp.example", "10.0.0.1") == Verdict(True, "rules[0]")
        assert ask(one, "10.0.0.1") == ask(one, "::ffff:10.0.0.1") == Verdict(True, "rules[0]")
        assert ask(one, "64:ff9b::10.0.0.1") != Verdict(True, "rules[0]")

    def test_and_no_other_network(self) -> None:
        one = policy(allow(destinations=("10.0.0.0/8",)), inside="deny")
        assert ask(one, "192.168.0.1") == Verdict(False, "inside: private (RFC 1918)")

    def test_only_the_rule_that_decides_does(self) -> None:
        one = policy(allow(ports=(443,)), allow(destinations=("10.0.0.0/8",)), inside="deny")
        assert ask(one, "10.0.0.1") == Verdict(False, "inside: private (RFC 1918)")
        assert ask(one, "10.0.0.1", 80) == Verdict(True, "rules[1]")

    def test_a_rule_that_denies_is_named_before_the_guard(self) -> None:
        assert ask(policy(deny(name="mine"), inside="deny"), "127.0.0.1") == Verdict(False, "mine")

    def test_localhost_can_be_allowed_by_its_address(self) -> None:
        one = policy(allow(destinations=("127.0.0.1",)), inside="deny")
        assert ask(one, "localhost") is None
        assert ask_about(one, "localhost", "127.0.0.1") == Verdict(True, "rules[0]")

    @pytest.mark.parametrize(
        ("listen", "inside", "guarded"),
        [
            (("127.0.0.1:1080",), "auto", False),
            (("127.0.0.1:1080", "[::1]:1080", "localhost:1081"), "auto", False),
            (("127.0.0.1:1080", "192.0.2.1:1080"), "auto", True),
            (("proxy.example:1080",), "auto", True),
            ((Listener(address="127.0.0.1:1080"),), "auto", False),
            ((Listener(address="127.0.0.1:1080", proxy_protocol_from=("127.0.0.1",)),), "auto", True),
            (("127.0.0.1:1080",), "deny", True),
            (("0.0.0.0:1080",), "allow", False),
        ],
    )
    def test_auto(self, listen: tuple[str | Listener, ...], inside: str, guarded: bool) -> None:
        assert policy(listen=listen, inside=inside).free is not guarded

    def test_what_is_no_address_is_never_let_through(self) -> None:
        with pytest.raises(ValueError, match="localhost"):
            ask_about(policy(inside="deny"), "localhost", "localhost")


class TestCommands:
    @staticmethod
    def associate(policy: Policy, user: str = "") -> Verdict:
        return policy.judge_command(user, SOURCE, Command.UDP_ASSOCIATE)

    def test_a_rule_for_all_targets_decides(self) -> None:
        one = policy(
            allow(users=("anna",), commands=("udp_associate",), via="near"),
            deny(commands=("udp_associate",), name="no UDP"),
            users={"anna": ""},
        )
        assert self.associate(one) == Verdict(False, "no UDP")
        assert self.associate(one, "anna") == Verdict(True, "rules[0]", "near")
        assert one.judge_command("", SOURCE, Command.BIND) == Verdict(True, "default")

    @pytest.mark.parametrize(
        "rule", [deny(ports=(53,)), deny(destinations=("a.example",)), deny(destinations=(ABROAD,))]
    )
    def test_a_rule_for_some_targets_denies_no_command(self, rule: Rule) -> None:
        assert self.associate(policy(rule)) == Verdict(True, "default")
        assert self.associate(policy(rule, deny(name="rest"))) == Verdict(False, "rest")

    def test_where_some_target_is_allowed_the_datagrams_are_judged(self) -> None:
        one = policy(allow(ports=(53,), name="DNS", via="near", egress=("192.0.2.6",)), deny(), egress=("192.0.2.5",))
        assert self.associate(one) == Verdict(True, "DNS", "", ("192.0.2.5",))

    def test_not_where_it_is_allowed_behind_the_denial(self) -> None:
        assert self.associate(policy(deny(name="no"), allow(ports=(53,)))) == Verdict(False, "no")


@pytest.mark.parametrize(
    ("rule", "key"),
    [
        (allow(ports=("80-",)), r"rules\[1\]\.ports"),
        (allow(destinations=("*.example",)), r"rules\[1\]\.destinations"),
        (allow(sources=("192.0.2.1/24",)), r"rules\[1\]\.sources"),
        (allow(users=("nobody",)), r"rules\[1\]\.users"),
        (deny(via="far"), r"rules\[1\]\.via"),
    ],
)
def test_mistakes_name_their_key(rule: Rule, key: str) -> None:
    with pytest.raises(SettingsError, match=f"^{key}: "):
        policy(allow(), rule)


def test_a_domain_that_is_an_address_is_judged_as_the_name_it_is_said_to_be() -> None:
    one = policy(inside="deny")
    assert one.judge("", SOURCE, Command.CONNECT, Address(AddressType.DOMAIN, "127.0.0.1", 80)) == Verdict(
        False, "inside: loopback (RFC 1122)"
    )


ADDRESSES = ("10.0.0.1", "198.51.100.7", "203.0.113.9", "2001:db8::1")
NAMES = ("a.example", "b.a.example", "b.example")
RULES = st.lists(
    st.builds(
        Rule,
        action=st.sampled_from(("allow", "deny")),
        users=st.sampled_from(((), ("anna",))),
        sources=st.sampled_from(((), ("192.0.2.0/24",), ("192.0.2.128/25", "2001:db8::/32"))),
        destinations=st.lists(
            st.sampled_from(("a.example", "example", "10.0.0.0/8", "198.51.100.0/24", "0.0.0.0/0", "::/0")), max_size=2
        ).map(tuple),
        ports=st.sampled_from(((), (443,), ("1-442", 444))),
        commands=st.sampled_from(((), ("connect",), ("bind",))),
    ),
    max_size=5,
)


def by_the_book(rules: list[Rule], user: str, source: str, name: str, address: str, port: int) -> str:
    """What decides a CONNECT, said as the documentation says it."""

    def fits(rule: Rule) -> bool:
        ports = [tuple(map(int, (str(port).split("-") * 2)[:2])) for port in rule.ports]
        return (
            (not rule.users or user in rule.users)
            and (not rule.sources or any(ip_address(source) in ip_network(one) for one in rule.sources))
            and (not ports or any(first <= port <= last for first, last in ports))
            and (not rule.commands or "connect" in rule.commands)
            and (not rule.destinations or any(leads(one) for one in rule.destinations))
        )

    def leads(destination: str) -> bool:
        if destination.endswith("example"):
            return f".{name}".endswith(f".{destination}")
        return ip_address(address) in ip_network(destination)

    return next((f"rules[{i}]" for i, rule in enumerate(rules) if fits(rule)), "default")


@given(
    RULES,
    st.sampled_from(("anna", "bert")),
    st.sampled_from(("192.0.2.1", "192.0.2.200", "2001:db8::5", "198.51.100.1")),
    st.sampled_from(("", *NAMES)),
    st.sampled_from(ADDRESSES),
    st.sampled_from((1, 443, 444)),
)
def test_bits_say_what_the_book_says(
    rules: list[Rule], user: str, source: str, name: str, address: str, port: int
) -> None:
    one = policy(*rules, users={"anna": "", "bert": ""})
    verdict = one.judge_address(user, source, Command.CONNECT, name, address, port)
    assert verdict.rule == by_the_book(rules, user, source, name, address, port)


@given(RULES, st.sampled_from(NAMES), st.sampled_from(("allow", "deny")))
def test_what_is_said_about_a_name_holds_for_all_its_addresses(rules: list[Rule], name: str, inside: str) -> None:
    one = policy(*rules, users={"anna": ""}, inside=inside)
    verdict = ask(one, name)
    answers = {ask_about(one, name, address).allowed for address in ADDRESSES}
    assert verdict is None or answers == {verdict.allowed}
