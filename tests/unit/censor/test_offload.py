"""censor/offload.py"""

from __future__ import annotations

import pytest
from hypothesis import given, note, settings

from censor.compiled import CompiledRules
from censor.conditions import ListHolder
from censor.core import Core
from censor.lists.formats import parse
from censor.offload import ALL, NONE, Ports, address_blocks, plan
from tests.unit.censor.kernel_model import Fate, KernelModel
from tests.unit.censor.rule_sets import (
    FREEZE,
    GET,
    LASTING,
    LIGHT,
    OTHER,
    RESIDUAL,
    STEPS,
    Conversation,
    conversations,
    rule_sets,
)
from tests.unit.censor.traffic import Ends, acting, rules

X = 'server.address in ["192.0.2.0/24"]'
Y = 'client.address in ["192.0.2.0/24"]'


TO_ALL = "kind = 'residual', key = '2-tuple', seconds = 60"
NAMELESS = "[censor]\nremember_names = false\n"


def compiled(*conditions: str, action: str = 'kind = "drop"', head: str = NAMELESS) -> CompiledRules:
    tables = [acting(action, f"when = '''{one}'''") for one in conditions]
    parsed = rules(*tables, head=head)
    lists = {one.name: ListHolder(parse("\n".join(one.entries), "plain")) for one in parsed.lists}
    return CompiledRules(parsed, lists)


class TestAddressBlocks:
    @pytest.mark.parametrize(
        ("when", "ports", "protocol", "server_only"),
        [
            (X, None, None, True),
            (f"{X} and server.port in [80, 443..444]", ((80, 80), (443, 444)), None, True),
            (f"{X} and server.port == 80", ((80, 80),), None, True),
            (f'{X} and protocol == "tcp"', None, "tcp", True),
            (f"{X} or {Y}", None, None, False),
            (f'({X} or {Y}) and protocol == "udp"', None, "udp", False),
            (f"{X} and server.port == 80 or {Y} and client.port == 80", ((80, 80),), None, False),
        ],
    )
    def test_shapes(self, when: str, ports: Ports | None, protocol: str | None, server_only: bool) -> None:
        for action, reject in (("drop", False), ("reject", True)):
            made = compiled(when, action=f'kind = "{action}"')
            (block,) = address_blocks(made)
            assert (block.ports, block.protocol, block.server_only, block.reject) == (
                ports,
                protocol,
                server_only,
                reject,
            )
            assert list(block.networks.networks()) == ["192.0.2.0/24"]
            assert block.shape == (made.rules[0].rule, ports, protocol, server_only, reject)

    @pytest.mark.parametrize(
        "when",
        [
            Y,
            f"not {X}",
            'server.address not in ["192.0.2.0/24"]',
            f"{X} and client.inside",
            f"{X} and {X}",
            f"{X} and {Y}",
            f"{X} and client.port == 80",
            f"{X} and server.port != 80",
            f"{X} and server.port == client.port",
            f"{X} or server.port == 80",
            f'{X} or {Y} or protocol == "udp"',
            f"{X} or {X}",
            f"{X} or {Y} and client.port == 80",
            f'{X} or client.address in ["192.0.2.0/25"]',
            f'{X} and protocol == "icmp"',
            f'{X} and protocol != "tcp"',
            "server.port == 80",
        ],
    )
    def test_what_the_kernel_does_not_do_alone(self, when: str) -> None:
        assert address_blocks(compiled(when)) == ()

    def test_lists(self) -> None:
        head = '[[list]]\nname = "nets"\nentries = ["198.51.100.0/24"]'
        (block,) = address_blocks(compiled("server.address in @nets", head=head))
        assert list(block.networks.networks()) == ["198.51.100.0/24"]

    def test_those_that_come_first(self) -> None:
        assert [block.rule.name for block in address_blocks(compiled(X, f"{X} and client.inside", X))] == ["rule0"]


class TestPlan:
    @pytest.mark.parametrize(
        ("when", "tcp", "udp", "other"),
        [
            ("tls", ALL, NONE, False),
            ("tls and server.port == 443", ((443, 443),), NONE, False),
            ("tls and server.port in [443, 8443..8450]", ((443, 443), (8443, 8450)), NONE, False),
            ("tls and server.port == 443 or http and server.port == 80", ((80, 80), (443, 443)), NONE, False),
            ("dns", ((53, 53),), ((53, 53),), False),
            ("quic", NONE, ALL, False),
            ("entropy", ALL, ALL, False),
            ("not tls", ALL, ALL, True),
            ('protocol == "udp"', NONE, ALL, False),
            ('protocol == "icmp"', NONE, NONE, True),
            ("client.inside", ALL, ALL, True),
            ("server.port < 1024 and tls", ((0, 1023),), NONE, False),
            ("server.port <= 1024 and server.port > 1000 and tls", ((1001, 1024),), NONE, False),
            ("server.port >= 65000 and tls", ((65000, 65535),), NONE, False),
            ("server.port < 0 and tls", NONE, NONE, False),
            ("server.port != 80 and tls", ALL, NONE, False),
            ("server.port not in [80] and tls", ALL, NONE, False),
            ("server.port == 443 and server.port == 80", NONE, NONE, False),
            ("server.port in [1..5, 4..9, 10] and tls", ((1, 10),), NONE, False),
            ("server.port == client.port and tls", ALL, NONE, False),
        ],
    )
    def test_reach(self, when: str, tcp: Ports, udp: Ports, other: bool) -> None:
        found = plan(compiled(when, action='kind = "log"'))
        assert (found.tcp, found.udp, found.other) == (tcp, udp, other)

    def test_names_that_are_remembered(self) -> None:
        assert plan(compiled(head="")).tcp == ((443, 443),)

    def test_all_ports_have_no_ranges(self) -> None:
        found = plan(compiled("tls"))
        assert (found.tcp_ports, found.udp_ports) == (None, NONE)

    @pytest.mark.parametrize(
        ("when", "syn"),
        [
            ("tls", False),
            ("not tls", False),
            ("server.port == 22", True),
            ("tls and server.port == 22", False),
            ("tls or server.port == 22", True),
            ("not (tls and server.port == 22)", True),
            ("not dns", True),
            ("not quic", True),
            ("not entropy", False),
            ("not exists flow.mark", True),
        ],
    )
    def test_from_the_syn_on(self, when: str, syn: bool) -> None:
        found = plan(compiled(when, action='kind = "log"'))
        assert (found.syn, found.server) == (syn, False)

    def test_counting_begins_with_the_flow(self) -> None:
        found = plan(compiled("tls", head='[censor.tcp]\nreassembly = "none"', action='kind = "freeze", packets = 9'))
        assert (found.syn, found.server, found.bare_segments) == (True, True, True)

    @pytest.mark.parametrize(
        ("table", "syn", "server", "bare_segments"),
        [
            ("", False, False, True),
            ("handshake = true", True, False, True),
            ('inspect = "both"', False, True, True),
            ('reassembly = "none"', False, False, False),
            ('reassembly = "in_order"', False, False, True),
        ],
    )
    def test_by_the_way_streams_are_read(self, table: str, syn: bool, server: bool, bare_segments: bool) -> None:
        found = plan(compiled("tls", head=f"[censor.tcp]\n{table}"))
        assert (found.syn, found.server, found.bare_segments) == (syn, server, bare_segments)

    def test_everything(self) -> None:
        found = plan(compiled("tls", head="[censor]\ninspect_everything = true"))
        assert (found.tcp, found.udp, found.other, found.everything) == (ALL, ALL, True, True)

    @pytest.mark.parametrize(
        ("when", "tcp"),
        [
            ("tls.sni under @empty", NONE),
            ("tls.sni in @empty", NONE),
            ("tls.sni not in @empty", ALL),
            ("tls.sni under @empty or http", ALL),
            ("tls.sni under @names", ALL),
        ],
    )
    def test_lists_without_entries_reach_nothing(self, when: str, tcp: Ports) -> None:
        head = NAMELESS + '[[list]]\nname = "empty"\n[[list]]\nname = "names"\nentries = ["a.example"]'
        assert plan(compiled(when, head=head)).tcp == tcp

    def test_blocks_of_addresses_are_not_asked_about(self) -> None:
        assert plan(compiled(X)).tcp == NONE


class TestEquivalence:
    """Verdicts and injected packets are the same whether the kernel helps or every packet comes to the core."""

    def check(
        self, chosen: tuple[str, list[str]], flows: list[Conversation], steps: list[tuple[int, str, int, float]]
    ) -> None:
        head, tables = chosen
        note(head + "\n\n".join(tables))
        parsed = rules(*tables, head=head)
        reference, kernel = Core(generation=5), KernelModel()
        reference.set_rules(parsed)
        kernel.set_rules(parsed)
        t = 100.0
        for number, kind, size, pause in steps:
            t += pause
            flow = flows[number % len(flows)]
            while flow.opening and self.agreed(reference, kernel, flow, kind, size, t):
                flow.passed()
            if not flow.opening and self.agreed(reference, kernel, flow, kind, size, t):
                flow.passed()

    @staticmethod
    def agreed(reference: Core, kernel: KernelModel, flow: Conversation, kind: str, size: int, t: float) -> bool:
        """Whether the next packet passes; both say the same."""
        packet = flow.next(kind, size)
        if packet is None:
            return False
        expected = Fate.of(reference.decide(packet, t=t))
        found = kernel.forward(packet, t)
        ports = f"{flow.ends.client_port} > {flow.ends.server_port}"
        assert found == expected, f"{t}: {ports} {kind} in state {flow.state}, {len(packet)} bytes"
        return expected.accept

    @settings(max_examples=150, deadline=None)
    @given(rule_sets((*LASTING, *LIGHT, *FREEZE)), conversations(), STEPS)
    def test_of_effects(
        self, chosen: tuple[str, list[str]], flows: list[Conversation], steps: list[tuple[int, str, int, float]]
    ) -> None:
        self.check(chosen, flows, steps)

    @settings(max_examples=150, deadline=None)
    @given(rule_sets((*LASTING, *LIGHT, *RESIDUAL)), conversations(), STEPS)
    def test_of_residual_blocks(
        self, chosen: tuple[str, list[str]], flows: list[Conversation], steps: list[tuple[int, str, int, float]]
    ) -> None:
        self.check(chosen, flows, steps)

    WEB = "when = 'http.host == \"messenger.example\" and server.port == 80'\n"

    @pytest.mark.parametrize(
        ("tables", "passes"),
        [
            # What the kernel would drop by the block that flow 0 leaves behind, if it were told to.
            ([acting('kind = "allow"', "when = 'server.port == 22'"), acting(f"{TO_ALL}", WEB)], [True, False, True]),
            ([f"{WEB}actions = [{{ {TO_ALL} }}, {{ kind = 'delay', seconds = 1 }}]"], [True, True, False]),
            ([f"{WEB}actions = [{{ {TO_ALL} }}, {{ kind = 'reject' }}]"], [False, False, False]),
            ([f"{WEB}actions = [{{ {TO_ALL}, then = 'inject' }}]"], [True, True, True]),
            ([f"{WEB}actions = [{{ {TO_ALL}, then = 'reset' }}]"], [True, False, False]),
            ([f"{WEB}actions = [{{ {TO_ALL} }}]"], [True, False, False]),
        ],
    )
    def test_beside_residual_blocks(self, tables: list[str], passes: list[bool]) -> None:
        """The request, what follows it in its flow, and a flow to another port of that server."""
        reference, kernel = self.both(*tables)
        web = Conversation(Ends(server_port=80), GET + b"xyz", datagrams=False)
        other = Conversation(Ends(client_port=40001, server_port=22), b"SSH-2.0-x\r\n" * 9, datagrams=False)
        found = []
        for flow, size in ((web, len(GET)), (web, 1), (web, 1), (other, 10), (other, 10), (other, 10)):
            while flow.opening and self.agreed(reference, kernel, flow, "data", size, 1.0):
                flow.passed()
            found.append(not flow.opening and self.agreed(reference, kernel, flow, "data", size, 1.0))
        assert [found[0], found[1], found[3]] == passes
        assert found[1] == found[2]
        assert found[3] == found[4] == found[5]

    def test_datagrams_before_and_within_a_residual_block(self) -> None:
        """No rule is about their ports, so that the core sees none of them until the kernel asks about the block."""
        reference, kernel = self.both(f"{self.WEB}actions = [{{ {TO_ALL} }}, {{ kind = 'drop', after_packets = 9 }}]")
        web = Conversation(Ends(server_port=80), GET, datagrams=False)
        old, new = (Conversation(Ends(client_port=port, server_port=443), b"", datagrams=True) for port in (4001, 4002))
        assert self.passed(reference, kernel, [(old, "data", 1.0), (old, "answer", 1.0)]) == [True, True]
        assert self.passed(reference, kernel, [(web, "data", 2.0)]) == [True]
        later = [(old, "data", 3.0), (old, "answer", 3.0), (new, "data", 3.0), (new, "data", 4.0)]
        assert self.passed(reference, kernel, later) == [True, True, False, False]

    def test_a_datagram_that_the_kernel_dropped_by_itself_has_not_opened_its_flow(self) -> None:
        other = "when = 'http.host == \"innocent.example\" and server.port == 80'\n"
        reference, kernel = self.both(
            f"{self.WEB}actions = [{{ kind = 'residual', key = '2-tuple', seconds = 5 }}]",
            f"{other}actions = [{{ {TO_ALL}, delay_seconds = 1 }}, {{ kind = 'drop', after_packets = 9 }}]",
        )
        long = Conversation(Ends(server_port=80), OTHER, datagrams=False)
        short = Conversation(Ends(server_port=80, client_port=4001), GET, datagrams=False)
        datagrams = Conversation(Ends(client_port=4002, server_port=443), b"", datagrams=True)
        assert self.passed(reference, kernel, [(long, "data", 1.0), (short, "data", 1.0)]) == [True, True]
        # By the second block after the end of the first.
        assert self.passed(reference, kernel, [(datagrams, "data", 3.0), (datagrams, "data", 7.0)]) == [False, False]

    def test_a_flow_that_a_block_has_hit_is_not_hit_by_the_next_one(self) -> None:
        """When the first is over the flow is decided, and the kernel keeps it to itself."""
        block, over = "kind = 'residual', key = '2-tuple', seconds = 5", "kind = 'drop', after_packets = 3, seconds = 4"
        reference, kernel = self.both(f"when = 'entropy.bits_per_byte > 3'\nactions = [{{ {block} }}, {{ {over} }}]")
        first, second = (Conversation(Ends(server_port=80, client_port=port), GET, datagrams=False) for port in (1, 2))
        assert self.passed(reference, kernel, [(first, "data", 1.0)]) == [True]
        assert self.passed(reference, kernel, [(first, "data", 7.0)]) == [True]
        assert self.passed(reference, kernel, [(second, "data", 8.0), (first, "data", 8.0)]) == [True, True]
        third = Conversation(Ends(server_port=80, client_port=3), GET, datagrams=False)
        assert self.passed(reference, kernel, [(third, "data", 9.0)]) == [False]

    def test_of_two_blocks_the_first_rules_drops_and_is_refreshed(self) -> None:
        """As nft goes by the order of the rules, whichever block began first."""
        name, block = "when = 'http.host == \"{}\" and server.port == 80'\n", "kind = 'residual', delay_seconds = 1"
        reference, kernel = self.both(
            name.format("messenger.example") + f"actions = [{{ {block}, seconds = 9 }}]",
            name.format("innocent.example") + f"actions = [{{ {block}, seconds = 4, refresh = 'packet' }}]",
        )
        first, second, third = (
            Conversation(Ends(server_port=80, client_port=port), stream, datagrams=False)
            for port, stream in ((1, OTHER), (2, GET), (3, GET))
        )
        assert self.passed(reference, kernel, [(first, "data", 1.0), (second, "data", 1.0)]) == [True, True]
        # Until 11.0 by the first rule: the second's, until 6.0, meets no packet that could prolong it.
        times = (3.0, 6.5, 10.0, 11.5)
        assert self.passed(reference, kernel, [(third, "data", t) for t in times]) == [False, False, False, True]

    @staticmethod
    def both(*tables: str) -> tuple[Core, KernelModel]:
        reference, kernel = Core(generation=5), KernelModel()
        for one in (reference, kernel):
            one.set_rules(rules(*tables, head=NAMELESS))
        return reference, kernel

    def passed(self, reference: Core, kernel: KernelModel, steps: list[tuple[Conversation, str, float]]) -> list[bool]:
        """Whether each packet passes, those of the handshakes before it apart."""
        found = []
        for flow, kind, t in steps:
            while flow.opening and self.agreed(reference, kernel, flow, kind, 0, t):
                flow.passed()
            size = 0 if flow.datagrams else len(flow.stream)
            found.append(self.agreed(reference, kernel, flow, kind, size, t))
            if found[-1]:
                flow.passed()
        return found
