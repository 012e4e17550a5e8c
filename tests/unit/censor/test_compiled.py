"""censor/compiled.py"""

from __future__ import annotations

import pytest

from censor.compiled import CompiledRules, analyzer_of
from censor.conditions import ListHolder
from censor.lists.formats import parse
from censor.packets import ICMP, TCP, UDP
from tests.unit.censor.traffic import acting, rules


def compiled(
    *tables: str, head: str = "[censor]\nremember_names = false", old: CompiledRules | None = None
) -> CompiledRules:
    return CompiledRules(rules(*tables, head=head), {} if old is None else old.lists, old)


def log(when: str) -> str:
    return acting('kind = "log"', f"when = '{when}'")


def drop(when: str, **keys: str) -> str:
    return acting('kind = "drop"', f"when = '{when}'", **keys)


def names(made: CompiledRules) -> list[str]:
    return [rule.name for rule in made.rules]


class TestPrecedence:
    ADDRESS = 'server.address in ["192.0.2.0/24"]'

    def test_blocks_of_addresses_come_first(self) -> None:
        assert names(compiled(log("tls"), drop(self.ADDRESS), log("http"))) == ["rule1", "rule0", "rule2"]

    def test_not_before_a_rule_that_allows(self) -> None:
        allow = acting('kind = "allow"', "when = 'server.port == 22'")
        assert names(compiled(log("tls"), drop(self.ADDRESS), allow, drop(self.ADDRESS))) == [
            "rule1",
            "rule0",
            "rule2",
            "rule3",
        ]

    @pytest.mark.parametrize(
        "table",
        [
            drop(f"{ADDRESS} and tls"),
            drop(ADDRESS, probability="0.5"),
            drop(ADDRESS, latency_seconds="1"),
            acting('kind = "drop", seconds = 9', f"when = '{ADDRESS}'"),
            acting('kind = "reset"', f"when = '{ADDRESS}'"),
            drop('flow.mark == "x"'),
        ],
    )
    def test_what_is_no_block_of_addresses(self, table: str) -> None:
        assert names(compiled(log("tls"), table)) == ["rule0", "rule1"]


class TestRules:
    def test_what_they_ask_for(self) -> None:
        header, tls, http = compiled(drop("server.port == 1"), drop("tls"), log("http")).rules
        assert [rule.header_only for rule in (header, tls, http)] == [True, False, False]
        assert [rule.repeats for rule in (header, tls, http)] == [False, False, True]
        assert [rule.final for rule in (header, tls, http)] == [True, True, False]

    def test_everything_repeats_in_a_window_that_is_extended(self) -> None:
        head = '[censor.tcp]\nextend_segments = 1\nextend_for = ["tls"]'
        assert [rule.repeats for rule in compiled(drop("tls"), head=head).rules] == [True, True]

    def test_names_are_remembered(self) -> None:
        (_, remembering) = compiled(log("http"), head="").rules
        assert (remembering.name, remembering.silent) == ("remember_names", True)

    def test_what_rules_do(self) -> None:
        made = compiled(acting('kind = "mark", value = "x"'), acting('kind = "probe"'), acting('kind = "allow"'))
        assert (made.marks, made.probes, made.allows) == (True, True, True)
        assert made.prober is not None
        made = compiled(drop("tls", existing_flows='"kill"'), log("tls"))
        assert (made.marks, made.probes, made.allows, made.prober) == (False, False, False, None)
        assert [rule.name for rule in made.retroactive] == ["rule0"]

    def test_rules_that_stay_are_kept(self) -> None:
        old = compiled(drop("tls"), log("http"))
        new = compiled(drop("tls"), log("dns"), old=old)
        assert [a is b for a, b in zip(old.rules, new.rules, strict=True)] == [True, False]

    def test_not_for_other_lists_or_another_way_to_read(self) -> None:
        old = compiled(drop("tls"))
        parsed = rules(drop("tls"), head="[censor]\nremember_names = false")
        assert CompiledRules(parsed, dict(old.lists), old).rules[0] is not old.rules[0]
        head = '[censor]\nremember_names = false\n[censor.tcp]\nextend_segments = 1\nextend_for = ["tls"]'
        assert compiled(drop("tls"), head=head, old=old).rules[0] is not old.rules[0]

    @pytest.mark.parametrize(
        ("table", "says"),
        [
            (log("tsl"), "rule 'rule0': `when`: column 1"),
            (acting('kind = "log"', intended="'tsl'"), "rule 'rule0': `intended`: column 1"),
            (acting('kind = "forge_dns"'), "`actions`: forge_dns answers a dns message, and `when` asks for none"),
            (acting('kind = "block_page"'), "`actions`: block_page answers a http message"),
            ('action = "sni_drop"\ndomains = ["a..b"]', "rule 'rule0': its names or addresses: column"),
        ],
    )
    def test_mistakes_name_rule_and_key(self, table: str, says: str) -> None:
        with pytest.raises(Exception) as caught:  # noqa: PT011 (ValueError out of CompiledRules, else with the file)
            compiled(table)
        assert says in str(caught.value)


class TestReaders:
    def read(self, when: str, port: int = 443, head: str = "[censor]\nremember_names = false") -> list[list[str]]:
        made = compiled(log(when), head=head)
        readers = made.readers(made.rules, port)
        assert made.readers(made.rules, port) is readers
        return [[one.name for one in some] for some in (readers.stream, readers.datagram, readers.first)]

    def test_only_what_rules_ask_for(self) -> None:
        assert self.read("server.port == 1") == [[], [], []]
        assert self.read("tls or http") == [["tls", "http"], [], []]
        assert self.read("quic.version == 1") == [[], ["quic"], []]
        assert self.read("entropy") == [[], [], ["entropy"]]

    def test_on_the_analyzers_ports(self) -> None:
        assert self.read("dns", 53) == [["dns"], ["dns"], []]
        assert self.read("dns", 54) == [[], [], []]

    def test_what_was_intended_is_read_too(self) -> None:
        made = compiled(acting('kind = "log"', "when = 'tls'", intended="'ssh'"))
        assert [one.name for one in made.readers(made.rules, 443).stream] == ["tls", "ssh"]
        assert "ssh" in made.wanted

    def test_what_extends_the_window(self) -> None:
        head = '[censor]\nremember_names = false\n[censor.tcp]\nextend_segments = 1\nextend_for = ["socks"]'
        assert self.read("tls", head=head)[0] == ["tls", "socks"]


class TestKnown:
    def test_protocols(self) -> None:
        made = compiled(log("tls"))
        assert [made.known(protocol, 1)["protocol"] for protocol in (TCP, UDP, ICMP, 58, 47)] == [
            "tcp",
            "udp",
            "icmp",
            "icmp",
            "47",
        ]

    def test_what_no_analyzer_will_tell_is_absent(self) -> None:
        made = compiled(log("tls or dns or quic or entropy"))
        assert set(made.known(TCP, 443)) == {"protocol", "flow.mark", "dns", "quic"}
        assert set(made.known(UDP, 53)) == {"protocol", "flow.mark", "tls"} | ({"quic"} & set(made.known(UDP, 53)))
        assert set(made.known(ICMP, 0)) == {"protocol", "flow.mark", "tls", "dns", "quic", "entropy"}

    def test_marks_may_come(self) -> None:
        assert "flow.mark" not in compiled(acting('kind = "mark", value = "x"')).known(TCP, 443)

    def test_memory_is_bounded(self) -> None:
        made = compiled(log("tls"))
        for protocol in range(3000):
            made.known(protocol, 0)
            assert len(made._known) <= 1024


def test_analyzer_of() -> None:
    assert [analyzer_of(name) for name in ("tls", "tls.sni")] == ["tls", "tls"]


def test_lists_are_asked_as_they_are_now() -> None:
    holder = ListHolder(parse("a.example", "plain"))
    parsed = rules(drop("tls.sni under @names"), head='[[list]]\nname = "names"\n')
    (rule, _) = CompiledRules(parsed, {"names": holder}).rules
    assert rule.evaluate({"tls.sni": "a.example"})
    holder.content = parse("b.example", "plain")
    assert not rule.evaluate({"tls.sni": "a.example"})
