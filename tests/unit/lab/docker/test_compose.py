"""The Compose file: what is committed is what the generator prints, and what the generator prints is the topology."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from lab.docker.compose import HEADER, STATE_ROOT, Alias, Anchored, compose, dumps
from lab.docker.container import IMAGE, resolver
from lab.topology import standard
from sidedoor.api import DEFAULT_NAME

TOPOLOGY = standard()
FOLDER = Path(__file__).resolve().parents[4] / "lab/docker"
# What an interactive lab has nobody for: they are there to be used by hand.
BY_HAND = {"client", "bystander", "receiver"}


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return compose(TOPOLOGY)


def merged(data: dict[str, Any], host: str) -> dict[str, Any]:
    """A host's service with what it takes from the section it refers to."""
    service: dict[str, Any] = data["services"][host]
    return data[f"x-{service['<<']}"] | service


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_the_committed_file_is_what_the_generator_prints(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_module("lab.docker.compose", run_name="__main__")
    again = "python -m lab.docker.compose > lab/docker/compose.yaml"
    assert (FOLDER / "compose.yaml").read_text(encoding="utf-8") == capsys.readouterr().out, again


def test_the_committed_resolver_is_the_labs() -> None:
    assert (FOLDER / "resolv.conf").read_text(encoding="ascii") == resolver(TOPOLOGY)


def test_the_project_has_a_name_of_its_own() -> None:
    """Without it Compose would take the folder's: every project that is kept in a folder `docker` has that."""
    assert (FOLDER / ".env").read_text(encoding="ascii") == "COMPOSE_PROJECT_NAME=sidedoor\n"


def test_networks_are_the_topologys(data: dict[str, Any]) -> None:
    assert data["networks"].keys() == {network.name for network in TOPOLOGY.networks}
    for network in TOPOLOGY.networks:
        found = data["networks"][network.name]
        assert [pool["subnet"] for pool in found["ipam"]["config"]] == [str(network.ipv4), str(network.ipv6)]
        assert found["driver_opts"] == {
            "com.docker.network.bridge.enable_ip_masquerade": "false",
            "com.docker.network.bridge.inhibit_ipv4": "true",
        }
        assert "internal" not in found


def test_every_host_has_its_addresses_rights_and_resolver(data: dict[str, Any]) -> None:
    for host in TOPOLOGY.hosts:
        service = merged(data, host.name)
        addresses = [a for place in service["networks"].values() for a in place.values()]
        assert tuple(addresses) == host.addresses()
        assert service["cap_drop"] == ["ALL"]
        assert ("NET_ADMIN" in service["cap_add"]) == host.forwards
        assert (service["sysctls"].get("net.ipv4.ip_forward") == "1") == host.forwards
        assert "./resolv.conf:/etc/resolv.conf:ro" in service["volumes"]


def test_nothing_is_privileged_or_on_the_hosts_network(data: dict[str, Any]) -> None:
    for service in data["services"].values():
        assert "privileged" not in service
        assert service.get("network_mode") != "host"
        assert service.get("image", IMAGE) == IMAGE
    assert {data["services"][name]["network_mode"] for name in ("lab", "ready")} == {"none"}


def test_every_host_runs_its_role_or_sleeps(data: dict[str, Any]) -> None:
    control = f"/run/sidedoor/{DEFAULT_NAME}/control.sock"
    roles = {}
    for host in TOPOLOGY.hosts:
        command = merged(data, host.name)["command"]
        if command != ["sleep", "infinity"]:
            assert command[:3] == ["python3", "-m", "lab.role"]
            assert command[4:6] == ["--control", control]
            assert command[6] == "--wait"
            roles[host.name] = command[3]
    assert roles == {
        "censor": "censor",
        "wan": "link",
        "messenger": "origin",
        "proxy1": "proxy1",
        "proxy2": "proxy2",
        "dns": "dns",
        "web": "web",
    }
    assert {host.name for host in TOPOLOGY.hosts} - roles.keys() == BY_HAND


def test_programs_used_by_hand_trust_the_labs_certificates(data: dict[str, Any]) -> None:
    for host in BY_HAND:
        assert data["services"][host]["environment"]["CURL_CA_BUNDLE"] == f"/run/sidedoor/{DEFAULT_NAME}/ca.pem"


def test_routes_stand_before_the_lab_and_the_lab_before_up_returns(data: dict[str, Any]) -> None:
    services = data["services"]
    for host in TOPOLOGY.hosts:
        routing = services[f"{host.name}-routes"]
        assert (routing["network_mode"], routing["cap_add"]) == (f"service:{host.name}", ["NET_ADMIN"])
        assert services["lab"]["depends_on"][f"{host.name}-routes"] == {"condition": "service_completed_successfully"}
    assert services["ready"]["depends_on"] == {"lab": {"condition": "service_healthy"}}


def test_the_lab_and_the_hosts_share_the_folder_of_the_labs_socket(data: dict[str, Any]) -> None:
    lab = data["services"]["lab"]
    assert f"state:{STATE_ROOT}" in lab["volumes"]
    assert lab["healthcheck"]["test"][-1] == f"{STATE_ROOT}/{DEFAULT_NAME}/lab.sock"
    assert "state:/run/sidedoor" in merged(data, "client")["volumes"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("sleep", "sleep"),
        ("service:client", "service:client"),
        ("state:/run/sidedoor", "state:/run/sidedoor"),
        ("./resolv.conf:/etc/resolv.conf:ro", "./resolv.conf:/etc/resolv.conf:ro"),
        ("true", '"true"'),
        ("No", '"No"'),
        ("0", '"0"'),
        ("2s", '"2s"'),
        ("192.0.2.1", '"192.0.2.1"'),
        ("--wait", '"--wait"'),
        ("a: b", '"a: b"'),
        ("a #b", '"a #b"'),
        ("", '""'),
        (True, "true"),
        (30, "30"),
        ({}, "{}"),
        ([], "[]"),
        (["a", {"b": "1", "c": ["d"]}], '[a, {b: "1", c: [d]}]'),
        (Alias("end"), "*end"),
    ],
)
def test_what_yaml_could_take_for_something_else_is_quoted(value: Any, written: str) -> None:
    assert dumps({"key": value}) == f"key: {written}\n"


def test_sections_and_anchors() -> None:
    text = dumps({"x-end": Anchored("end", {"init": True}), "services": {"client": {"<<": Alias("end")}}})
    assert text == "x-end: &end\n  init: true\n\nservices:\n  client:\n    <<: *end\n"


def test_the_header_is_a_comment() -> None:
    assert all(re.match(r"# ", line) for line in HEADER.splitlines())
