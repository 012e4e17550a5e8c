"""The standard lab's roles: all there, on hosts that exist, with settings that the parts take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from censor.censor import CensorSettings
from client.keys import public_key
from client.settings import BridgeSettings, OriginSettings, ReceiverSettings
from lab.capture import CaptureSettings
from lab.deployment import CLIENT, PROXIES, Deployment
from lab.link import LinkSettings
from lab.roles import KINDS, ROLE_NAMES
from lab.roles.bystander import BystanderSettings
from lab.roles.dns import DnsSettings
from lab.roles.foreign_censor import ForeignCensorSettings
from lab.roles.messenger import SenderRole
from lab.roles.web import WebSettings
from lab.runtimes import RoleProcess
from lab.scenario import ForeignCensor, Link, Scenario
from lab.supervisor import RoleSpec
from lab.topology import ORIGIN_NAME, WEB_NAMES, Crowd, Topology, crowd, standard
from proxy.settings import Listener, ProxySettings
from sidedoor.settings import convert

SETTINGS: dict[str, type[Any]] = {
    "bridge": BridgeSettings,
    "bystander": BystanderSettings,
    "capture": CaptureSettings,
    "censor": CensorSettings,
    "dns": DnsSettings,
    "foreign_censor": ForeignCensorSettings,
    "link": LinkSettings,
    "origin": OriginSettings,
    "proxy": ProxySettings,
    "receiver": ReceiverSettings,
    "sender": SenderRole,
    "web": WebSettings,
}
ROUTES = ("direct", "proxy1", "proxy2", "bridge", "doh", "proxy2-tls")
SCENARIO = Scenario(
    name="mine", description="", routes=ROUTES, link=Link(delay_seconds=0.03, jitter_seconds=0.01, loss=0.02)
)


class PaperRuntime:
    """A runtime on paper: its hosts see the files in `lab` below /seen, and nothing ever runs."""

    name = "paper"

    def __init__(self, lab: Path = Path("/lab"), topology: Topology | None = None) -> None:
        self.topology = topology or standard()
        self._lab = lab

    async def up(self) -> None: ...

    async def down(self) -> None: ...

    async def spawn(self, host: str, role: str, control: Path, log: Path) -> RoleProcess:
        raise NotImplementedError

    async def devices(self, host: str) -> dict[str, str]:
        return {interface.network: f"eth-{interface.network}" for interface in self.topology.host(host).interfaces}

    def path_in_host(self, path: Path) -> Path:
        return Path("/seen") / path.relative_to(self._lab)


def deployment(topology: Topology | None = None) -> Deployment:
    return Deployment(PaperRuntime(topology=topology), Path("/lab/state"), Path("/lab/out"))


async def all_specs() -> dict[str, RoleSpec]:
    here = deployment()
    specs = [
        *here.foundation(),
        *here.bridges(SCENARIO),
        here.link(SCENARIO, 5),
        *await here.observers(here.capture_folder, "run2-"),
        *here.ends(SCENARIO, 2, "marker"),
    ]
    assert len({spec.role for spec in specs}) == len(specs)
    return {spec.role: spec for spec in specs}


async def converted(role: str) -> Any:
    spec = (await all_specs())[role]
    return convert(json.loads(json.dumps(spec.settings)), SETTINGS[spec.kind], origin=role)


async def test_every_kind_of_role_is_played() -> None:
    played = {spec.kind for spec in (await all_specs()).values()}
    assert SETTINGS.keys() == KINDS.keys() == played | {"foreign_censor"}


def test_a_foreign_censor_finds_the_scenarios_files_on_its_host(tmp_path: Path) -> None:
    folder, state = tmp_path / "scenario", tmp_path / "state"
    (folder / "runs").mkdir(parents=True)
    (folder / "censor.sh").write_text("exit 0")
    (folder / "censor.sh").chmod(0o755)
    state.mkdir()
    here = Deployment(PaperRuntime(tmp_path), state, tmp_path / "out")
    foreign = ForeignCensor(command=("./censor.sh",), ready_seconds=2)
    for _run in range(2):
        spec = here.foreign_censor(foreign, folder)
        assert (spec.role, spec.kind, spec.host) == ("censor", "foreign_censor", "censor")
        settings = convert(json.loads(json.dumps(spec.settings)), ForeignCensorSettings, origin="censor")
        assert settings == ForeignCensorSettings(folder="/seen/state/censor", command=("./censor.sh",), ready_seconds=2)
        assert [path.name for path in (state / "censor").iterdir()] == ["censor.sh"]
        assert (state / "censor/censor.sh").stat().st_mode & 0o111
        (state / "censor/left.over").touch()
    assert [one.kind for one in here.foundation(spec) if one.role == "censor"] == ["foreign_censor"]


async def test_scenarios_can_name_every_role_but_the_captures() -> None:
    assert {role for role, spec in (await all_specs()).items() if spec.kind != "capture"} == ROLE_NAMES


async def test_every_role_is_on_a_host_that_exists() -> None:
    topology = standard()
    for spec in (await all_specs()).values():
        assert topology.host(spec.host)


async def test_the_parts_take_all_settings_after_the_control_line() -> None:
    for role in await all_specs():
        assert await converted(role)


@pytest.mark.parametrize("name", PROXIES)
async def test_the_proxies_settings_make_sense_and_the_client_knows_their_passwords(name: str) -> None:
    proxy = await converted(name)
    proxy.check()
    sender = (await converted(CLIENT)).sender
    (route,) = [route for route in sender.routes if route.name == name]
    users = {} if route.username is None else {route.username: route.password}
    assert users == proxy.users
    assert f"{route.host}:{route.port}" in proxy.listen


async def test_one_proxy_of_each_kind() -> None:
    assert [bool((await converted(name)).users) for name in PROXIES] == [False, True]


async def test_everybody_listens_on_both_families() -> None:
    for role, host in {"origin": "messenger", "web": "web", "dns": "dns", "proxy1": "proxy1"}.items():
        listen = (await converted(role)).listen
        ipv4, ipv6 = standard().host(host).addresses()
        assert [ipv4 in listen[0], ipv6 in listen[1]] == [True, True]


async def test_the_scenarios_numbers_arrive() -> None:
    assert (await converted("link")) == LinkSettings(delay_seconds=0.03, jitter_seconds=0.01, loss=0.02, seed=5)
    assert (await converted(CLIENT)).traffic == SCENARIO.traffic
    assert (await converted(CLIENT)).sender.policy == SCENARIO.policy


async def test_every_run_is_encrypted_with_keys_of_this_labs_own() -> None:
    deployments = [Deployment(PaperRuntime(), Path("/lab/state"), Path("/lab/out")) for _ in range(2)]
    roles = [{role.role: role.settings for role in deployment.ends(SCENARIO, 1)} for deployment in deployments]
    receiver, sender = roles[0]["receiver"], roles[0][CLIENT]["sender"]
    assert receiver["peer_key"] == public_key(sender["private_key"])
    assert sender["peer_key"] == public_key(receiver["private_key"])
    assert len({sender["private_key"], receiver["private_key"], roles[1][CLIENT]["sender"]["private_key"]}) == 3


async def test_paths_are_those_that_the_hosts_see() -> None:
    assert (await converted("origin")).certificate == "/seen/state/origin.pem"
    assert (await converted("receiver")).ca_file == (await converted(CLIENT)).sender.ca_file == "/seen/state/ca.pem"
    assert (await converted(CLIENT)).sender.keylog_file == "/seen/out/capture/run2-tls.keylog"
    capture = await converted("capture-censor")
    assert (capture.folder, capture.host) == ("/seen/out/capture", "run2-censor")
    assert capture.interfaces == {"home": "eth-home", "uplink": "eth-uplink"}


async def test_the_bystander_visits_sites_that_the_dns_knows() -> None:
    assert set((await converted("bystander")).sites) <= set((await converted("dns")).names)


async def test_the_ends_stop_first_and_the_captures_last() -> None:
    running = list(await all_specs())
    ends, others, observers = deployment().stop_order(running)
    assert sorted([*ends, *others, *observers]) == sorted(running)
    assert set(ends) == {"client", "receiver", "bystander"}
    assert set(observers) == {"capture-client", "capture-censor"}
    assert deployment().stop_order([]) == ([], [], [])


class TestCrowd:
    """Benchmarks: many clients, each a role on its own host, and four proxies; nothing else unless asked for."""

    def test_what_stands(self) -> None:
        here = deployment(crowd(Crowd(clients=3)))
        assert [spec.role for spec in here.foundation()] == [
            "dns",
            "origin",
            "proxy1",
            "proxy2",
            "proxy3",
            "proxy4",
            "censor",
        ]
        assert not set(WEB_NAMES) & set(here.foundation()[0].settings["names"])

    def test_with_a_bystander_there_is_a_web(self) -> None:
        here = deployment(crowd(Crowd(clients=1, bystander=True)))
        assert "web" in {spec.role for spec in here.foundation()}
        assert here.topology.host(here.bystander().host)

    def test_clients_know_every_proxy_and_their_receiver(self) -> None:
        here = deployment(crowd(Crowd(clients=3)))
        spec = here.client("client3", SCENARIO.policy, SCENARIO.traffic, peer="receiver3")
        assert (spec.role, spec.kind, spec.host) == ("client3", "sender", "client3")
        sender = convert(json.loads(json.dumps(spec.settings)), SenderRole, origin="client3").sender
        assert (sender.name, sender.peer, sender.keylog_file) == ("client3", "receiver3", None)
        assert [route.name for route in sender.routes] == ["direct", "proxy1", "proxy2", "proxy3", "proxy4"]
        assert [bool(getattr(route, "username", None)) for route in sender.routes] == [False, False, True, False, False]
        receiver = here.receiver("receiver3")
        assert (receiver.role, receiver.host, receiver.settings["name"]) == ("receiver3", "receiver", "receiver3")

    def test_all_clients_and_receivers_stop_first(self) -> None:
        order = deployment().stop_order(["link", "client12", "receiver3", "censor", "capture-censor"])
        assert order == (["client12", "receiver3"], ["link", "censor"], ["capture-censor"])

    def test_no_certificates_for_a_web_that_is_not_there(self, tmp_path: Path) -> None:
        Deployment(PaperRuntime(topology=crowd(Crowd(clients=1))), tmp_path, tmp_path).make_certificates()
        assert not [path for path in tmp_path.iterdir() if path.name.startswith("web")]


async def test_the_routes_of_a_scenario_and_what_stands_at_their_other_ends() -> None:
    specs = await all_specs()
    routes = {route["name"]: route for route in specs[CLIENT].settings["sender"]["routes"] if "name" in route}
    sender = (await converted(CLIENT)).sender
    assert tuple(route.name for route in sender.routes) == ROUTES
    bridge, nameserver, proxy = await converted("bridge"), await converted("dns"), await converted("proxy2")
    assert f"{routes['bridge']['host']}:{routes['bridge']['port']}" in bridge.listen
    (doh,) = [route for route in sender.routes if route.name == "doh"]
    assert (doh.address in nameserver.listen, doh.port) == (True, nameserver.https_port)
    inside = routes["proxy2-tls"]
    assert f"{inside['host']}:{inside['port']}" in [one.address for one in proxy.listen if isinstance(one, Listener)]
    assert {inside["username"]: inside["password"]} == proxy.users


async def test_client_and_bridge_have_one_key_which_is_of_this_lab_only() -> None:
    keys = []
    for here in (deployment(), deployment()):
        (bridge,) = here.bridges(SCENARIO)
        (client,) = [spec for spec in here.ends(SCENARIO, 1) if spec.role == CLIENT]
        (route,) = [one for one in client.settings["sender"]["routes"] if one["kind"] == "obfuscated"]
        assert bridge.settings["key"] == route["key"]
        keys.append(route["key"])
    assert len(set(keys)) == 2


def test_without_a_word_the_routes_are_direct_and_the_proxies() -> None:
    plain = Scenario(name="mine", description="")
    here = deployment()
    assert here.bridges(plain) == []
    (client,) = [spec for spec in here.ends(plain, 1) if spec.role == CLIENT]
    assert [route.get("name", route["kind"]) for route in client.settings["sender"]["routes"]] == ["direct", *PROXIES]


def test_certificates(tmp_path: Path) -> None:
    here = Deployment(PaperRuntime(), tmp_path, tmp_path)
    here.make_certificates()
    assert here.ca_file == tmp_path / "ca.pem"
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found.keys() == {"ca.pem", "origin.pem", "origin.key", "web.pem", "web.key"} | {
        f"{server}.{kind}" for server in ("dns", "proxies") for kind in ("pem", "key")
    }
    assert all(b"-----BEGIN" in pem for pem in found.values())
    assert ORIGIN_NAME not in WEB_NAMES
