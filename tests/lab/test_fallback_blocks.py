"""The bench's block types on real packets: what they do to flows that exist, to new ones, and whom they spare.

One lab; each type has two flows before, directly over IPv4 and IPv6, and one through a proxy.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.benchmarks.fallback.blocks import BLOCKS, rules, rules_before, upstream_commands, upstream_undo
from lab.topology import NEIGHBOUR_NAME, ORIGIN_NAME, WEB_NAMES, standard
from sidedoor.api import Lab

pytestmark = [pytest.mark.alone, pytest.mark.netns]

ROOT = Path(__file__).resolve().parents[2]
NAME = "test-fallback-blocks"
FAMILIES = (4, 6)
MESSENGER = dict(zip(FAMILIES, standard().names[ORIGIN_NAME], strict=True))
PROXY1, PROXY2 = (standard().host(name).addresses() for name in ("proxy1", "proxy2"))
KB = 1000

Answers = dict[str, str | float]


class Flows:
    """The client's, by tests/lab/block_flows.py on its host."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def do(self, steps: dict[str, list[Any]]) -> Answers:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(steps) + "\n")
        self._process.stdin.flush()
        answers: Answers = json.loads(self._process.stdout.readline())
        return answers

    def each(self, prefix: str, *step: Any) -> set[str | float]:
        """The answers of the flows `prefix`4 and `prefix`6 to one step."""
        return set(self.do({f"{prefix}{family}": list(step) for family in FAMILIES}).values())

    def open(self, prefix: str, *, by_address: bool = False, site: str = ORIGIN_NAME) -> set[str | float]:
        """New flows over both families."""
        places = {family: MESSENGER[family] if by_address else None for family in FAMILIES}
        steps = {f"{prefix}{family}": ["open", family, places[family], site] for family in FAMILIES}
        return set(self.do(steps).values())

    def proxied(self, prefix: str, *addresses: str) -> set[str | float]:
        """New flows through proxies."""
        steps = {f"{prefix}{number}": ["proxied", 4, address, ORIGIN_NAME] for number, address in enumerate(addresses)}
        return set(self.do(steps).values())


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    sidedoor = [sys.executable, "-m", "sidedoor", "lab"]
    subprocess.run([*sidedoor, "up", "--name", NAME, "--delay", "0.005"], check=True, timeout=60, cwd=ROOT)
    lab = Lab.find(NAME)
    try:
        yield lab
    finally:
        lab.down()


@pytest.fixture(scope="module")
def client(lab: Lab) -> Iterator[Flows]:
    command = ["lab", "exec", "--name", NAME, "client", "--", sys.executable, "-m", "tests.lab.block_flows"]
    process = subprocess.Popen(
        [sys.executable, "-m", "sidedoor", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    with process:  # closes its stdin, at which it ends
        yield Flows(process)
    assert process.returncode == 0


@pytest.fixture
def flows(lab: Lab, client: Flows) -> Iterator[Flows]:
    """With nothing blocked: flows `old4` and `old6` to the messenger, and `via0` through proxy1. All of them work."""
    assert client.open("old") == {"ok"}
    assert client.proxied("via", PROXY1[0]) == {"ok"}
    # 140 KB: the censor is to know flows again which the kernel has kept from it for long.
    assert client.each("old", "ask", 10, *[7 * KB] * 20) == {"ok"}
    assert client.do({"via0": ["ask", 10, 1 * KB]}) == {"via0": "ok"}
    yield client
    lab.clear()


def block(lab: Lab, name: str, *proxies: str) -> None:
    lab.apply(rules(BLOCKS[name], proxies), origin=name)


def spared(flows: Flows, *, neighbour: bool = True) -> None:
    """The proxy, old and new flows through it, and bystanders' flows are what they were."""
    assert flows.do({"via0": ["ask", 10, *[2 * KB] * 20]}) == {"via0": "ok"}
    assert flows.proxied("fresh", PROXY1[0]) == {"ok"}
    assert flows.open("news", site=WEB_NAMES[0]) == {"ok"}
    if neighbour:
        assert flows.open("shop", site=NEIGHBOUR_NAME) == {"ok"}
        assert flows.each("shop", "ask", 10, 1 * KB) == {"ok"}


def test_syn_drop(lab: Lab, flows: Flows) -> None:
    block(lab, "syn-drop")
    assert flows.each("old", "ask", 10) == {"timeout"}
    assert flows.open("new", by_address=True) == {"tcp timeout"}
    spared(flows, neighbour=False)


def test_midflow_drop(lab: Lab, flows: Flows) -> None:
    block(lab, "midflow-drop")
    assert flows.each("old", "ask", 10) == {"timeout"}
    assert flows.open("new") == {"ok"}  # TLS and all
    assert flows.each("new", "ask", *[10] * 4) == {"timeout"}
    spared(flows)


def test_rst(lab: Lab, flows: Flows) -> None:
    block(lab, "rst")
    assert flows.each("old", "ask", 10) == {"reset"}
    assert flows.open("new") == {"tcp refused"}
    spared(flows, neighbour=False)


@pytest.mark.parametrize(("name", "new"), [("nxdomain", "dns none"), ("forged-dns", "tcp refused")])
def test_names_in_dns(lab: Lab, flows: Flows, name: str, new: str) -> None:
    block(lab, name)
    assert flows.each("old", "ask", 10) == {"reset"}
    assert flows.open("new") == {new}
    assert flows.open("known", by_address=True) == {"ok"}
    assert flows.each("known", "ask", *[1 * KB] * 20) == {"ok"}
    spared(flows)


@pytest.mark.parametrize(("name", "how"), [("sni-drop", "timeout"), ("sni-rst", "reset")])
def test_names_in_tls(lab: Lab, flows: Flows, name: str, how: str) -> None:
    block(lab, name)
    assert flows.each("old", "ask", 10) == {how}
    assert flows.open("new") == {f"tls {how}"}
    spared(flows)


def test_throttle(lab: Lab, flows: Flows) -> None:
    size, times, rate, bucket = 6 * KB, 8, 16 * KB, 16 * KB
    assert all(float(one) < 1.0 for one in flows.each("old", "timed", size, times))
    block(lab, "throttle")
    assert flows.open("new") == {"ok"}
    for prefix in ("old", "new"):
        for seconds in flows.each(prefix, "timed", size, times):
            assert float(seconds) > (size * times - bucket) / rate
    spared(flows)


@pytest.mark.parametrize("prefix", ["old", "new"])
def test_freeze(lab: Lab, flows: Flows, prefix: str) -> None:
    """16,384 bytes in both directions: of a new flow its handshake (3 KB at most) counts, too."""
    block(lab, "freeze")
    assert prefix == "old" or flows.open("new") == {"ok"}
    assert flows.each(prefix, "ask", *[1 * KB] * 9) == {"ok"}
    assert flows.each(prefix, "ask", *[1 * KB] * 8) == {"timeout"}
    spared(flows)


@pytest.mark.parametrize("prefix", ["old", "new"])
def test_data_drop(lab: Lab, flows: Flows, prefix: str) -> None:
    block(lab, "data-drop")
    assert prefix == "old" or flows.open("new") == {"ok"}
    assert flows.each(prefix, "ask", *[10] * 20) == {"ok"}
    assert flows.each(prefix, "ask", 1 * KB) == {"timeout"}
    spared(flows)


def test_proxies(lab: Lab, flows: Flows) -> None:
    lab.apply(rules_before(BLOCKS["proxies"]), origin="before")
    assert flows.each("old", "ask", 10) == {"timeout"}
    spared(flows, neighbour=False)
    block(lab, "proxies", PROXY1[0])
    assert flows.do({"via0": ["ask", 10]}) == {"via0": "timeout"}
    assert flows.proxied("fresh", *PROXY1) == {"tcp timeout"}
    assert flows.proxied("other", *PROXY2) == {"socks nonsense"}  # it is there, and asks for a password
    assert flows.open("news", site=WEB_NAMES[0]) == {"ok"}


def test_upstream_dead(lab: Lab, flows: Flows) -> None:
    upstream = BLOCKS["upstream-dead"]
    lab.apply(rules_before(upstream), origin="before")
    for command in upstream_commands(upstream, [PROXY1[0]]):
        assert lab.execute("wan", command).returncode == 0
    try:
        assert flows.do({"via0": ["ask", 10]}) == {"via0": "timeout"}
        assert flows.proxied("fresh", *PROXY1) == {"socks timeout"}
        assert flows.open("news", site=WEB_NAMES[0]) == {"ok"}
    finally:
        for command in upstream_undo(upstream):
            assert lab.execute("wan", command).returncode == 0
    assert flows.proxied("fresh", *PROXY1) == {"ok"}
