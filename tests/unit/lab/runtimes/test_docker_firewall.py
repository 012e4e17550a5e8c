"""The rules around a Docker lab, as an ordinary user raises and removes them: in a container on the host's network."""

from __future__ import annotations

from typing import Any

import docker.errors
import pytest

from lab.runtimes.docker_firewall import Firewall

RULES = [
    ["iptables", "DOCKER-USER", "-i"],
    ["iptables", "DOCKER-USER", "-o"],
    ["ip6tables", "FORWARD", "-i"],
    ["ip6tables", "FORWARD", "-o"],
]


class Engine:
    """Runs a container's command on paper: a list of rules that -I and -D change."""

    def __init__(self) -> None:
        self.containers = self
        self.rules: list[list[str]] = []
        self.broken = False

    def run(self, image: str, command: list[str], **options: Any) -> None:
        assert options["remove"]
        assert options["network_mode"] == "host"
        assert options["cap_drop"] == ["ALL"]
        assert command[1] == "--wait"
        assert command[-2:] == ["-j", "DROP"]
        rule = [command[0], *command[3:]]
        if self.broken or (command[2] == "-D" and rule not in self.rules):
            raise docker.errors.ContainerError(None, 1, command, image, b"no such rule")
        self.rules.remove(rule) if command[2] == "-D" else self.rules.append(rule)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr("lab.runtimes.docker_firewall.os.geteuid", lambda: 1000)
    return Engine()


def test_what_comes_from_or_goes_to_a_bridge_of_the_lab_stays_on_one(engine: Engine) -> None:
    Firewall(engine, "image", "sd1-").raise_()
    assert [rule[:3] for rule in engine.rules] == RULES
    assert all(rule[3] == "sd1-+" and rule[6] == "sd1-+" and rule[4] == "!" for rule in engine.rules)


def test_lowering_removes_every_copy_and_no_other_labs(engine: Engine) -> None:
    other = Firewall(engine, "image", "sd2-")
    other.raise_()
    others = list(engine.rules)
    for _ in range(2):
        Firewall(engine, "image", "sd1-").raise_()
    Firewall(engine, "image", "sd1-").lower()
    assert engine.rules == others
    Firewall(engine, "image", "sd1-").lower()
    other.lower()
    assert engine.rules == []


def test_a_firewall_that_cannot_be_raised_says_what_was_tried(engine: Engine) -> None:
    engine.broken = True
    with pytest.raises(OSError, match=r"iptables --wait -I DOCKER-USER -i sd1-\+ .*no such rule"):
        Firewall(engine, "image", "sd1-").raise_()
