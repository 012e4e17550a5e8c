"""The lab as a Compose file: `python -m lab.docker.compose` prints lab/docker/compose.yaml.

- Each host is a service; it runs its role, which waits for the lab, or sleeps, to be used by hand.
- HOST-routes is its short-lived neighbour, which alone may set the host's routes, and does so before any role starts.
- `lab` is the supervisor (`sidedoor lab attend`). It shares a volume with the hosts and is in no network.
- `ready` comes last, so that `up --detach` returns when everything stands.

The file is for Compose v2 and for docker-compose 1.29; `dumps` writes the little YAML that it needs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.deployment import Deployment
from lab.docker.container import (
    IMAGE,
    NETWORK_OPTIONS,
    STATE_IN_HOSTS,
    TRUST_VARIABLES,
    capabilities,
    engine_gateway,
    routes,
    sysctls,
)
from lab.runtimes.attended import AttendedRuntime
from lab.scenario import Scenario
from lab.topology import Host, Network, Topology, standard
from sidedoor.api import DEFAULT_NAME

HEADER = """\
# The lab's topology as containers. Made by `python -m lab.docker.compose`: change lab/topology.py, not this file.
# docs/lab.md says how it is used. The image: sh lab/docker/build-image.sh
"""
# Where the user root of the image has its labs (sidedoor.api.state_root), one folder a lab.
STATE_ROOT = Path("/tmp/sidedoor-0")
# Hosts are up long before the lab, which waits for all their routes.
ROLE_WAIT_SECONDS = 120
# It is made here, not fetched from anywhere.
_IMAGE = {"image": IMAGE, "pull_policy": "never"}
_PLAIN = re.compile(r"[A-Za-z/.][A-Za-z0-9_./-]*(:[A-Za-z0-9_./-]+)*")
_NOT_TEXT = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


class Alias(str):
    """A reference to what `Anchored` has named."""


class Anchored(dict[str, Any]):
    """A mapping that others refer to as `name`."""

    def __init__(self, name: str, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.name = name


def compose(topology: Topology) -> dict[str, Any]:
    """The file's contents, as data."""
    router = next(host for host in topology.hosts if host.forwards)
    end = next(host for host in topology.hosts if not host.forwards)
    roles = _roles(topology)
    services: dict[str, Any] = {}
    for host in topology.hosts:
        services[host.name] = _host(host, roles.get(host.name))
    for host in topology.hosts:
        services[f"{host.name}-routes"] = _routes(topology, host)
    services["lab"] = _lab(topology)
    services["ready"] = {
        **_IMAGE,
        "network_mode": "none",
        "cap_drop": ["ALL"],
        "command": ["true"],
        "depends_on": {"lab": {"condition": "service_healthy"}},
    }
    return {
        "x-end": Anchored("end", _container(end)),
        "x-router": Anchored("router", _container(router)),
        "services": services,
        "networks": {network.name: _network(network) for network in topology.networks},
        "volumes": {"state": {}},
    }


def _roles(topology: Topology) -> dict[str, str]:
    """host -> the role that it plays in an interactive lab."""
    state = STATE_ROOT / DEFAULT_NAME
    deployment = Deployment(AttendedRuntime(topology, state), state, state)
    specs = [*deployment.foundation(), deployment.link(Scenario(name="session", description=""))]
    return {spec.host: spec.role for spec in specs}


def _container(host: Host) -> dict[str, Any]:
    """What all end hosts, or all routers, have in common with `host`."""
    return {
        **_IMAGE,
        "init": True,
        "cap_drop": ["ALL"],
        "cap_add": capabilities(host),
        "sysctls": sysctls(host),
        "volumes": [f"state:{STATE_IN_HOSTS}", "./resolv.conf:/etc/resolv.conf:ro"],
        "command": ["sleep", "infinity"],
    }


def _host(host: Host, role: str | None) -> dict[str, Any]:
    folder = STATE_IN_HOSTS / DEFAULT_NAME
    service: dict[str, Any] = {"<<": Alias("router" if host.forwards else "end"), "hostname": host.name}
    if role is not None:
        wait = ["--wait", str(ROLE_WAIT_SECONDS)]
        service["command"] = ["python3", "-m", "lab.role", role, "--control", str(folder / "control.sock"), *wait]
    else:
        service["environment"] = {name: str(folder / "ca.pem") for name in TRUST_VARIABLES}
    service["networks"] = {
        interface.network: {"ipv4_address": str(interface.ipv4), "ipv6_address": str(interface.ipv6)}
        for interface in host.interfaces
    }
    return service


def _routes(topology: Topology, host: Host) -> dict[str, Any]:
    return {
        **_IMAGE,
        "network_mode": f"service:{host.name}",
        "cap_drop": ["ALL"],
        "cap_add": ["NET_ADMIN"],
        "command": ["sh", "-e", "-c", "; ".join(routes(topology, host))],
    }


def _lab(topology: Topology) -> dict[str, Any]:
    """Its working folder has the scenarios of this checkout, for `sidedoor lab censor apply`."""
    return {
        **_IMAGE,
        "init": True,
        "network_mode": "none",
        "cap_drop": ["ALL"],
        "volumes": [f"state:{STATE_ROOT}", "../scenarios:/scenarios:ro"],
        "working_dir": "/scenarios",
        "command": ["sidedoor", "lab", "attend"],
        # The socket is there when all roles are.
        "healthcheck": {
            "test": ["CMD", "test", "-S", str(STATE_ROOT / DEFAULT_NAME / "lab.sock")],
            "interval": "2s",
            "timeout": "10s",
            "retries": 30,
        },
        "depends_on": {
            f"{host.name}-routes": {"condition": "service_completed_successfully"} for host in topology.hosts
        },
    }


def _network(network: Network) -> dict[str, Any]:
    pools = [{"subnet": str(net), "gateway": str(engine_gateway(net))} for net in (network.ipv4, network.ipv6)]
    return {
        "driver": "bridge",
        "enable_ipv6": True,
        "driver_opts": NETWORK_OPTIONS,
        "ipam": {"config": pools},
    }


def dumps(data: dict[str, Any]) -> str:
    """Mappings in block style, lists in one line, a blank line between sections."""
    return "\n".join("\n".join(_lines({key: value})) + "\n" for key, value in data.items())


def _lines(mapping: dict[str, Any], indent: str = "") -> Iterator[str]:
    for key, value in mapping.items():
        if isinstance(value, dict) and value:
            anchor = f" &{value.name}" if isinstance(value, Anchored) else ""
            yield f"{indent}{key}:{anchor}"
            yield from _lines(value, f"{indent}  ")
        else:
            yield f"{indent}{key}: {_inline(value)}"


def _inline(value: Any) -> str:
    if isinstance(value, Alias):
        return f"*{value}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_inline(item)}' for key, item in value.items())}}}"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    return json.dumps(value)


if __name__ == "__main__":
    print(HEADER + "\n" + dumps(compose(standard())), end="")
