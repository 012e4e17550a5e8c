"""Who plays what: the roles of a lab, their hosts and their settings.

The settings types belong to the parts (`proxy.settings`, `client.*`, ...); here they are filled in with the lab's
addresses, names and files, and turned into plain data for the control line.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from client.certificates import make_authority, make_leaf
from client.keys import draw_key, public_key
from client.policies.catalogue import PolicySettings
from lab.runtimes import Runtime
from lab.scenario import ForeignCensor, Scenario, Traffic
from lab.supervisor import RoleSpec
from lab.topology import NEIGHBOUR_NAME, ORIGIN_NAME, WEB_NAMES, Topology
from proxy.settings import ProxySettings, User

CLIENT = "client"
RECEIVER = "receiver"
PROXIES = ("proxy1", "proxy2")
PROXY_PORT = 1080
ORIGIN_PORT = 443
# One of the proxies asks for a password, so that both kinds of SOCKS5 session are in every run.
PROXY_USER, PROXY_PASSWORD = "lab", "through-the-sidedoor"
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
        # The ends' keys by their names, this lab's own: every run is encrypted from end to end.
        self._private_keys: dict[str, str] = {}

    def make_certificates(self) -> None:
        """A CA of this lab's own, and what it signs for the origin and the web sites."""
        authority = make_authority()
        self.ca_file.write_bytes(authority.pem)
        servers = {"origin": (ORIGIN_NAME, NEIGHBOUR_NAME)} | ({"web": WEB_NAMES} if self._has_web else {})
        for server, names in servers.items():
            leaf = make_leaf(authority, names)
            (self.state / f"{server}.pem").write_bytes(leaf.certificate_pem)
            (self.state / f"{server}.key").write_bytes(leaf.key_pem)

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
        dns = RoleSpec("dns", "dns", "dns", {"names": names, "listen": self._addresses("dns")})
        web = [self._web()] if self._has_web else []
        proxies = [self._proxy(name) for name in self.proxies]
        return [dns, self._origin(), *web, *proxies, censor or self._censor()]

    @property
    def proxies(self) -> tuple[str, ...]:
        """The names of the proxies, in the order in which clients know them."""
        hosts = self.topology.hosts
        return tuple(host.name for host in hosts if any(one.network == "proxies" for one in host.interfaces[:1]))

    @property
    def _has_web(self) -> bool:
        return any(host.name == "web" for host in self.topology.hosts)

    def _addresses(self, host: str) -> list[str]:
        return list(self.topology.host(host).addresses())

    def _origin(self) -> RoleSpec:
        settings = {
            "listen": [_endpoint(address, ORIGIN_PORT) for address in self._addresses("messenger")],
            "certificate": self.path_in_host(self.state / "origin.pem"),
            "key": self.path_in_host(self.state / "origin.key"),
        }
        return RoleSpec("origin", "origin", "messenger", settings)

    def _web(self) -> RoleSpec:
        settings = {
            "listen": self._addresses("web"),
            "certificate": self.path_in_host(self.state / "web.pem"),
            "key": self.path_in_host(self.state / "web.key"),
        }
        return RoleSpec("web", "web", "web", settings)

    def _proxy(self, name: str) -> RoleSpec:
        listen = tuple(_endpoint(address, PROXY_PORT) for address in self._addresses(name))
        users: dict[str, str | User] = {PROXY_USER: PROXY_PASSWORD} if name == PROXIES[1] else {}
        settings = ProxySettings(listen=listen, users=users, open=not users)
        return RoleSpec(name, "proxy", name, msgspec.to_builtins(settings))

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

    async def observers(self, number: int) -> list[RoleSpec]:
        """Captures of run `number` on the client's and the censor's interfaces."""
        specs = []
        for host in (CLIENT, "censor"):
            settings = {
                "folder": self.path_in_host(self._output / "capture"),
                "host": f"run{number}-{host}",
                "interfaces": await self._runtime.devices(host),
            }
            specs.append(RoleSpec(f"capture-{host}", "capture", host, settings))
        return specs

    def ends(self, scenario: Scenario, number: int) -> list[RoleSpec]:
        """The receiver, the sender and the bystander of run `number`."""
        keylog_file = self.path_in_host(self._output / "capture" / f"run{number}-tls.keylog")
        client = self.client(CLIENT, scenario.policy, scenario.traffic, keylog_file=keylog_file)
        return [self.receiver(RECEIVER), client, self.bystander()]

    def receiver(self, name: str) -> RoleSpec:
        """A receiver of that name, which is its role's, too; who sends to it is called alike ("client3")."""
        keys = self._keys(name, CLIENT + name.removeprefix(RECEIVER))
        return RoleSpec(name, "receiver", "receiver", {"name": name} | keys | self._origin_for_clients())

    def client(
        self,
        name: str,
        policy: PolicySettings,
        traffic: Traffic,
        *,
        peer: str = RECEIVER,
        keylog_file: str | None = None,
    ) -> RoleSpec:
        """The sender on the host `name`, which sends to the receiver `peer` by every route that there is."""
        sender = (
            self._origin_for_clients()
            | self._keys(name, peer)
            | {
                "name": name,
                "peer": peer,
                "routes": self._routes(),
                "policy": msgspec.to_builtins(policy),
                "keylog_file": keylog_file,
            }
        )
        return RoleSpec(name, "sender", name, {"traffic": msgspec.to_builtins(traffic), "sender": sender})

    def bystander(self) -> RoleSpec:
        """Somebody who reads the web."""
        sites = [WEB_NAMES[0], NEIGHBOUR_NAME, WEB_NAMES[1]]
        settings = {"sites": sites, "ca_file": self.path_in_host(self.ca_file)}
        return RoleSpec("bystander", "bystander", "bystander", settings)

    def _keys(self, name: str, peer: str) -> dict[str, Any]:
        for end in (name, peer):
            self._private_keys.setdefault(end, draw_key())
        return {"private_key": self._private_keys[name], "peer_key": public_key(self._private_keys[peer])}

    def _origin_for_clients(self) -> dict[str, Any]:
        return {
            "origin": {"host": ORIGIN_NAME, "port": ORIGIN_PORT},
            "ca_file": self.path_in_host(self.ca_file),
            # On namespaces /etc/hosts is this machine's, which has no say in the lab: its DNS is asked for every name.
            "resolver": {"hosts_file": None},
        }

    def _routes(self) -> list[dict[str, Any]]:
        routes: list[dict[str, Any]] = [{"kind": "direct"}]
        for name in self.proxies:
            route = {"kind": "socks5", "name": name, "host": self._addresses(name)[0], "port": PROXY_PORT}
            if name == PROXIES[1]:
                route |= {"username": PROXY_USER, "password": PROXY_PASSWORD}
            routes.append(route)
        return routes

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
