"""Who plays what: the roles of a lab, their hosts and their settings.

The settings types belong to the parts (`proxy.settings`, `client.*`, ...); here they are filled in with the lab's
addresses, names and files, and turned into plain data for the control line.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from client.certificates import make_authority, make_leaf
from client.keys import draw_key, public_key
from client.policies.catalogue import PolicySettings
from lab.routes import (
    ALTERNATE_PORT,
    BRIDGE,
    BRIDGE_HOST,
    BRIDGE_PORT,
    DNS_NAME,
    ORIGIN_PORT,
    PROXY_PASSWORD,
    PROXY_PORT,
    PROXY_USER,
    PROXY_WITH_PASSWORD,
    TLS_PROXY_PORT,
    client_routes,
    proxies,
    proxy_name,
)
from lab.runtimes import Runtime
from lab.scenario import ForeignCensor, Scenario, Traffic
from lab.supervisor import RoleSpec
from lab.topology import NEIGHBOUR_NAME, ORIGIN_NAME, WEB_NAMES, Topology
from proxy.settings import Listener, ProxySettings, User

CLIENT = "client"
PROXIES = ("proxy1", "proxy2")
# The ends go first, so that none of them sees the others go and takes it for a block; what records goes last.
_STOPPED_FIRST = (CLIENT, "receiver", "bystander")  # and those that are called so with a number
_STOPPED_LAST = ("capture-",)


class Deployment:
    """The roles of one lab. `state`: certificates and the like; `output`: the run's folder."""

    def __init__(self, runtime: Runtime, state: Path, output: Path) -> None:
        self.topology: Topology = runtime.topology
        self._runtime = runtime
        self.state = state
        self._output = output
        self._bridge_key = secrets.token_hex(32)
        # Those of all senders and of all receivers, this lab's own: every run is encrypted from end to end.
        self._senders_key, self._receivers_key = draw_key(), draw_key()

    def make_certificates(self) -> None:
        """A CA of this lab's own, and what it signs for the origin, the web sites, the nameserver and the proxies."""
        authority = make_authority()
        self.ca_file.write_bytes(authority.pem)
        servers: dict[str, tuple[str, ...]] = {
            "origin": (ORIGIN_NAME, NEIGHBOUR_NAME),
            "dns": (DNS_NAME,),
            "proxies": tuple(map(proxy_name, self.proxies)),
        }
        if self._has_web:
            servers["web"] = WEB_NAMES
        for server, names in servers.items():
            leaf = make_leaf(authority, names)
            (self.state / f"{server}.pem").write_bytes(leaf.certificate_pem)
            (self.state / f"{server}.key").write_bytes(leaf.key_pem)

    @property
    def capture_folder(self) -> Path:
        """Where the captures of runs go."""
        return self._output / "capture"

    @property
    def ca_file(self) -> Path:
        """The lab's CA certificate, as a path of the lab process."""
        return self.state / "ca.pem"

    def path_in_host(self, path: Path) -> str:
        """What the hosts call the lab process's `path`, below `state` or `output`."""
        return str(self._runtime.path_in_host(path))

    def foundation(self, censor: RoleSpec | None = None) -> list[RoleSpec]:
        """What stands before anybody talks: names, origin, web, proxies, the censor (or who stands in its place)."""
        names = {name: list(addresses) for name, addresses in self.topology.names.items()}
        dns = RoleSpec(
            "dns", "dns", "dns", {"names": names, "listen": self._addresses("dns"), **self._certificate("dns")}
        )
        web = [self._web()] if self._has_web else []
        proxies = [self._proxy(name) for name in self.proxies]
        return [dns, self._origin(), *web, *proxies, censor or self._censor()]

    @property
    def proxies(self) -> tuple[str, ...]:
        """The names of the proxies, in the order in which clients know them."""
        return proxies(self.topology)

    @property
    def _has_web(self) -> bool:
        return any(host.name == "web" for host in self.topology.hosts)

    def _addresses(self, host: str) -> list[str]:
        return list(self.topology.host(host).addresses())

    def _origin(self) -> RoleSpec:
        ports = (ORIGIN_PORT, ALTERNATE_PORT)
        listen = [_endpoint(address, port) for port in ports for address in self._addresses("messenger")]
        settings = {"listen": listen, **self._certificate("origin")}
        return RoleSpec("origin", "origin", "messenger", settings)

    def _web(self) -> RoleSpec:
        settings = {"listen": self._addresses("web"), **self._certificate("web")}
        return RoleSpec("web", "web", "web", settings)

    def _proxy(self, name: str) -> RoleSpec:
        plain = [_endpoint(address, PROXY_PORT) for address in self._addresses(name)]
        files = self._certificate("proxies")
        tls = [
            Listener(address=_endpoint(address, TLS_PROXY_PORT), certificate=files["certificate"], key=files["key"])
            for address in self._addresses(name)
        ]
        users: dict[str, str | User] = {PROXY_USER: PROXY_PASSWORD} if name == PROXY_WITH_PASSWORD else {}
        settings = ProxySettings(listen=(*plain, *tls), users=users, open=not users)
        return RoleSpec(name, "proxy", name, msgspec.to_builtins(settings))

    def _certificate(self, server: str) -> dict[str, str]:
        """The files of a server's certificate, as its settings have them."""
        names = {"certificate": f"{server}.pem", "key": f"{server}.key"}
        return {key: self.path_in_host(self.state / name) for key, name in names.items()}

    def bridges(self, scenario: Scenario) -> list[RoleSpec]:
        """The far end of the obfuscated route, if the scenario has that."""
        if BRIDGE not in (scenario.routes or ()):
            return []
        settings = {
            "listen": [_endpoint(address, BRIDGE_PORT) for address in self._addresses(BRIDGE_HOST)],
            "key": self._bridge_key,
            "target": {"host": self._addresses("messenger")[0], "port": ORIGIN_PORT},
        }
        return [RoleSpec(BRIDGE, "bridge", BRIDGE_HOST, settings)]

    def _censor(self) -> RoleSpec:
        return RoleSpec("censor", "censor", "censor", {})

    def foreign_censor(self, foreign: ForeignCensor, folder: Path) -> RoleSpec:
        """Another program in the censor's place. The files in `folder`, the scenario's, are copied to its host."""
        copied = self.state / "censor"
        shutil.rmtree(copied, ignore_errors=True)
        copied.mkdir()
        for file in folder.iterdir():
            if file.is_file():
                shutil.copy(file, copied)
        settings = {
            "folder": self.path_in_host(copied),
            "command": foreign.command,
            "ready_seconds": foreign.ready_seconds,
        }
        return RoleSpec("censor", "foreign_censor", "censor", settings)

    def link(self, scenario: Scenario, seed: int = 0) -> RoleSpec:
        """What the wan does to packets; its loss and jitter are the same for the same seed."""
        return RoleSpec("link", "link", "wan", msgspec.to_builtins(scenario.link) | {"seed": seed})

    async def observers(self, folder: Path, prefix: str = "") -> list[RoleSpec]:
        """Captures on the client's and the censor's interfaces: `PREFIXHOST-NETWORK.pcap` in `folder`."""
        specs = []
        for host in (CLIENT, "censor"):
            settings = {
                "folder": self.path_in_host(folder),
                "host": f"{prefix}{host}",
                "interfaces": await self._runtime.devices(host),
            }
            specs.append(RoleSpec(f"capture-{host}", "capture", host, settings))
        return specs

    def ends(self, scenario: Scenario, number: int, marker: str = "") -> list[RoleSpec]:
        """The receiver, the sender, whose messages begin with `marker`, and the bystander of run `number`."""
        keylog_file = self.path_in_host(self.capture_folder / f"run{number}-tls.keylog")
        client = self.client(CLIENT, scenario.policy, scenario.traffic, routes=scenario.routes, keylog_file=keylog_file)
        client.settings["marker"] = marker
        receiver = self.receiver("receiver")
        ends = {CLIENT: client.settings["sender"], "receiver": receiver.settings}
        for role in ends.keys() & {fault.kill for fault in scenario.faults if fault.again_after_seconds is not None}:
            # Only what comes back needs a memory, which costs time.
            ends[role]["state_file"] = self.path_in_host(self.state / f"run{number}-{role}.state")
        return [receiver, client, self.bystander()]

    def receiver(self, name: str) -> RoleSpec:
        """A receiver of that name, which is its role's, too."""
        keys = {"private_key": self._receivers_key, "peer_key": public_key(self._senders_key)}
        return RoleSpec(name, "receiver", "receiver", {"name": name} | keys | self._origin_for_clients())

    def client(
        self,
        name: str,
        policy: PolicySettings,
        traffic: Traffic,
        *,
        peer: str = "receiver",
        routes: Sequence[str] | None = None,
        keylog_file: str | None = None,
    ) -> RoleSpec:
        """The sender on the host `name`, which sends to the receiver `peer` by these routes.

        `routes`: as in `lab.routes`; None: the direct one and all SOCKS5 proxies.
        """
        sender = self._origin_for_clients() | {
            "name": name,
            "peer": peer,
            "private_key": self._senders_key,
            "peer_key": public_key(self._receivers_key),
            "routes": client_routes(self.topology, routes or ("direct", *self.proxies), self._bridge_key),
            "policy": msgspec.to_builtins(policy),
            "keylog_file": keylog_file,
        }
        return RoleSpec(name, "sender", name, {"traffic": msgspec.to_builtins(traffic), "sender": sender})

    def bystander(self) -> RoleSpec:
        """Somebody who reads the web."""
        sites = [WEB_NAMES[0], NEIGHBOUR_NAME, WEB_NAMES[1]]
        settings = {"sites": sites, "ca_file": self.path_in_host(self.ca_file)}
        return RoleSpec("bystander", "bystander", "bystander", settings)

    def _origin_for_clients(self) -> dict[str, Any]:
        return {
            "origin": {"host": ORIGIN_NAME, "port": ORIGIN_PORT},
            "ca_file": self.path_in_host(self.ca_file),
            # On namespaces /etc/hosts is this machine's, which has no say in the lab: its DNS is asked for every name.
            "resolver": {"hosts_file": None},
        }

    def stop_order(self, running: Iterable[str]) -> tuple[list[str], ...]:
        """Which roles to end together, one group after the other."""
        ends: list[str] = []
        others: list[str] = []
        observers: list[str] = []
        for role in running:
            first, last = role.startswith(_STOPPED_FIRST), role.startswith(_STOPPED_LAST)
            (ends if first else observers if last else others).append(role)
        return ends, others, observers


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
