"""censor/explanation.py"""

from __future__ import annotations

import pytest

from censor.compiled import CompiledRules
from censor.conditions import ListHolder
from censor.explanation import duration, facts_of, in_words, kernel_rules, queued, settings_of, span, subjects
from censor.lists.formats import parse
from censor.rules_file import parse_rules


def compiled(*tables: str, head: str = "") -> CompiledRules:
    text = head + "".join(f'[[rule]]\nname = "rule{i}"\n{table}\n' for i, table in enumerate(tables))
    rules = parse_rules(text)
    return CompiledRules(rules, {one.name: ListHolder(parse("\n".join(one.entries), "plain")) for one in rules.lists})


def facts(table: str, *, kernel: bool = False) -> dict[str, str]:
    """What there is to say about a rule."""
    told = facts_of(compiled(table).rules[0], kernel=kernel)
    return {key: text for key, text in told.items() if text}


def rule(actions: str, when: str = "dns.name == 't.me' or http") -> str:
    return f'when = """{when}"""\nactions = [{{ {actions} }}]'.replace("'t.me'", '"t.me"')


class TestFacts:
    def test_of_the_simplest(self) -> None:
        assert facts(rule('kind = "drop"', "tls")) == {"when": "tls", "does": "drops the flow's packets"}

    def test_of_a_rule_that_says_all(self) -> None:
        table = rule('kind = "log" }, { kind = "drop"', "tls") + (
            '\nprobability = 0.25\nprobability_of = "server"\nlatency_seconds = [0.5, 2]\nfrom_seconds = 60\n'
            'until_seconds = 86400\nintended = "tls.ech"\nevidence = "bbs 1"\nconfidence = "memory"\n'
            'existing_flows = "kill"\nexisting_action = "rst"'
        )
        assert facts(table) == {
            "when": "tls",
            "does": "reports it; drops the flow's packets",
            "probability": "0.25, drawn for each server",
            "latency": "0.5 to 2 s after the match",
            "in force": "from 60 s until 86400 s (24 h)",
            "meant for": "tls.ech",
            "existing flows": "are ended by RST",
            "evidence": "bbs 1",
            "confidence": "from memory: check it before relying on it",
        }

    def test_time(self) -> None:
        assert facts(rule('kind = "log"') + "\nfrom_seconds = 9")["in force"] == "from 9 s"
        assert facts(rule('kind = "log"') + "\nuntil_seconds = 9")["in force"] == "from 0 s until 9 s"

    def test_existing_flows(self) -> None:
        assert facts(rule('kind = "drop"') + '\nexisting_flows = "kill"')["existing flows"] == "are ended by silence"
        told = facts(rule('kind = "drop"') + '\nexisting_flows = "act"')
        assert told["existing flows"] == "have it done to them from now on"
        assert facts(rule('kind = "drop"'), kernel=True)["existing flows"] == "are cut, too"

    def test_the_short_form(self) -> None:
        told = facts('action = "sni_rst"\ndomains = ["T.me."]')
        assert told["when"] == 'tls.sni under ["t.me"] and server.port == 443'
        assert told["does"] == "sends 1 RST to each end, again for each later packet and drops the flow's packets"


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ('kind = "drop"', "drops the flow's packets"),
        (
            'kind = "drop", direction = "to_server", after_packets = [5, 8], seconds = 60, refresh = true',
            "drops the flow's packets to the server after 5 to 8 more for 60 s, anew with each packet",
        ),
        (
            'kind = "drop", least_payload_bytes = 900, direction = "to_server"',
            "drops the flow's packets of 900 bytes of payload or more to the server",
        ),
        (
            'kind = "drop", seconds = 1, trigger = false',
            "drops the flow's packets for 1 s; the one that triggers it passes",
        ),
        ('kind = "reject"', "drops the flow's packets and tells each sender (TCP: RST, else ICMP port unreachable)"),
        (
            'kind = "reset", offsets = [0, 1460], count = 2, flags = "RST+ACK", delay_seconds = 0.5, to = "client"',
            "sends 4 RST+ACK to the client at sequence +0, +1460, 0.5 s later; the packet passes",
        ),
        (
            'kind = "reset", to = "server", drop = true, repeat = true',
            "sends 1 RST to the server, again for each later packet and drops the flow's packets",
        ),
        ('kind = "reset", rewrite = true', "turns the server's packets into RST+ACKs"),
        ('kind = "reset", rewrite = true, seconds = 75', "turns the server's packets into RST+ACKs for 75 s"),
        ('kind = "forge_dns"', "answers NXDOMAIN in the server's name; the real answer comes, too"),
        (
            'kind = "forge_dns", addresses = ["192.0.2.1", "192.0.2.2"], drop = true',
            "answers 192.0.2.1, 192.0.2.2 in the server's name and drops the query",
        ),
        (
            'kind = "forge_dns", addresses = ["192.0.2.1", "192.0.2.2"], choose = "cyclic", injectors = 3',
            "answers one of 2 forged addresses (one after the other) in the server's name, 3 times;"
            " the real answer comes, too",
        ),
        (
            'kind = "forge_dns", addresses = ["192.0.2.1", "192.0.2.2"], choose = "random"',
            "answers one of 2 forged addresses (at random) in the server's name; the real answer comes, too",
        ),
        (
            'kind = "block_page"',
            "answers with a page of its own (status 403), drops the request and resets the server",
        ),
        (
            'kind = "block_page", status = 302, location = "http://x/"',
            "answers with a redirection to http://x/ (status 302), drops the request and resets the server",
        ),
        (
            'kind = "police", rate_bytes_per_second = 17500, burst_bytes = 16384',
            "drops what of the flow is more than 17500 bytes/s (140 kbit/s) with a bucket of 16384 bytes,"
            " in each direction",
        ),
        (
            'kind = "police", rate_bytes_per_second = 1000, burst_bytes = 2000, direction = "to_client"',
            "drops what of the flow is more than 1000 bytes/s (8 kbit/s) with a bucket of 2000 bytes to the client",
        ),
        ('kind = "delay", seconds = [0.1, 0.2]', "holds each packet for 0.1 to 0.2 s"),
        (
            'kind = "lose", probability = 0.3, direction = "to_client"',
            "drops each packet to the client with probability 0.3",
        ),
        (
            'kind = "freeze", bytes = [15000, 20000], packets = 25, direction = "to_client"',
            "lets 15000 to 20000 bytes or 25 packets in both directions pass, then drops all to the client",
        ),
        (
            'kind = "freeze", bytes = 15000, counted = "to_client"',
            "lets 15000 bytes to the client pass, then drops all",
        ),
        ('kind = "freeze", packets = 9', "lets 9 packets in both directions pass, then drops all"),
        (
            'kind = "residual", seconds = 90, key = "2-tuple", refresh = "never"',
            "drops all packets between these two addresses for 90 s",
        ),
        (
            'kind = "residual", seconds = [[60, 0], [90, 0.5], [180, 1]], direction = "to_server", delay_seconds = 1,'
            ' probability = [0.5, 0.75], certain_after = 7, then = "reset"',
            "drops all packets to the server and resets both ends from this client to this address and port for"
            " 60 to 180 s (half below 90), beginning 1 s later, hitting a flow with probability 0.5 to 0.75, always"
            " after 7 triggers; another trigger starts that anew",
        ),
        (
            'kind = "residual", seconds = 9, key = "4-tuple", refresh = "packet", probability = 0.5, then = "inject"',
            "answers all packets with RSTs to both ends between these addresses and ports for 9 s, hitting a flow with"
            " probability 0.5; each such packet starts it anew",
        ),
        (
            'kind = "residual", seconds = 9, then = "rewrite", refresh = "never", trigger = true',
            "turns the server's packets into RST+ACKs from this client to this address and port for 9 s;"
            " the packet that triggers it vanishes, too",
        ),
        ('kind = "probe"', "has the server probed"),
        ('kind = "probe", reason = "entropy"', "has the server probed (entropy)"),
        ('kind = "mark", value = "seen"', 'marks the flow "seen" for later rules'),
        ('kind = "log"', "reports it"),
        ('kind = "allow"', "lets the flow pass, whatever later rules say"),
    ],
)
def test_actions(action: str, words: str) -> None:
    (one,) = compiled(rule(action)).rules[0].actions
    assert in_words(one) == words


def test_spans_and_durations() -> None:
    assert [span(3), span(0.25, "s"), span((1, 2.5), "s")] == ["3", "0.25 s", "1 to 2.5 s"]
    assert [duration(119), duration(120), duration(5400), duration(259200)] == [
        "119 s",
        "120 s (2 min)",
        "5400 s (90 min)",
        "259200 s (3 d)",
    ]


def test_subjects() -> None:
    tables = (rule('kind = "log"', 'quic.sni == "x" or server.address in ["192.0.2.1"]'), rule('kind = "log"'))
    assert subjects(compiled(*tables)) == ("addresses", "DNS", "HTTP", "QUIC")
    assert subjects(compiled(rule('kind = "log"', "client.port > server.port"))) == ("all flows",)
    assert subjects(compiled()) == ()


def test_settings() -> None:
    text = '[censor]\nseed = 3\ninside = ["192.0.2.0/24"]\n[censor.tcp]\nreassembly = "none"\n'
    text += '[prober]\ndestination = "192.0.2.1:80"\n'
    assert settings_of(compiled(head=text).source) == {
        "censor.seed": 3,
        "censor.inside": ["192.0.2.0/24"],
        "censor.tcp.reassembly": "none",
        "prober.destination": "192.0.2.1:80",
    }
    assert settings_of(compiled().source) == {}


class TestKernel:
    HEAD = "[censor]\nremember_names = false\n"
    ADDRESS = 'action = "drop"\naddresses = ["192.0.2.1"]'

    def test_alone(self) -> None:
        rules = compiled(rule('kind = "drop"', 'dns.name == "x"'), self.ADDRESS, head=self.HEAD)
        assert kernel_rules(rules) == ("rule1",)
        assert queued(rules) == (
            "TCP to port 53: the client's packets from the first acknowledgment on, until the flow is decided",
            "UDP to port 53: the client's datagrams, until the flow is decided",
        )

    def test_nothing(self) -> None:
        assert queued(compiled(self.ADDRESS, head=self.HEAD)) == ()

    def test_everything(self) -> None:
        head = self.HEAD + "inspect_everything = true\n"
        assert queued(compiled(head=head)) == ("every packet, of decided flows, too",)

    def test_other_protocols_and_ranges(self) -> None:
        when = 'server.port in [80, 8000..8100] or protocol == "icmp"'
        assert queued(compiled(rule('kind = "drop"', when), head=self.HEAD)) == (
            "TCP to ports 80, 8000-8100: the client's packets from the first on, until the flow is decided",
            "UDP to ports 80, 8000-8100: the client's datagrams, until the flow is decided",
            "other protocols: until the flow is decided",
        )

    def test_each_segment_by_itself(self) -> None:
        head = self.HEAD + '[censor.tcp]\nreassembly = "none"\ninspect = "both"\n'
        assert queued(compiled(rule('kind = "drop"', "tls"), head=head)) == (
            "TCP to all ports: both ends' packets from the first with payload on, until the flow is decided",
        )
