"""The Docker runtime: hosts are containers of one image, networks are user-defined bridges.

- `launch` runs a lab's supervisor in this process, beside the containers, with a reaper (`lab.runtimes.docker_reaper`)
  that removes everything should this process be killed.
- `DockerRuntime` makes the topology: default routes go through the lab's routers instead of Docker's gateways, nothing
  is masqueraded, and the host drops what would leave the lab (`lab.runtimes.docker_firewall`) before the first
  container starts.
- `remove` takes away all that carries a lab's label; `clean` does so for all labs but those that are up.

What a host is given as a container is in `lab.docker.container`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import docker
import docker.errors
import docker.types
import requests.exceptions

from lab.docker.container import (
    IMAGE,
    NETWORK_OPTIONS,
    STATE_IN_HOSTS,
    capabilities,
    engine_gateway,
    resolver,
    routes,
    sysctls,
)
from lab.runtimes import AT_ONCE, INTERRUPTED
from lab.runtimes.docker_firewall import Firewall
from lab.topology import Host, Network, Topology, standard
from sidedoor.settings import UsageError

T = TypeVar("T")

LABEL = "sidedoor.lab"
OUTPUT_IN_HOSTS = Path("/run/sidedoor-output")


def connect() -> docker.DockerClient:
    """The engine. Raises UsageError where none answers or the image is missing."""
    try:
        client = docker.from_env(timeout=60)
        client.ping()
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise UsageError(f"no Docker engine answers ({_reason(error)}): start it, or use --runtime netns") from error
    return client


def _reason(error: BaseException) -> str:
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return str(error).splitlines()[0]


def launch(entry: str, state: Path, arguments: dict[str, Any], output: Path) -> int:
    """Run `entry` ("module:function") as the supervisor of a new lab; returns its exit status. Raises UsageError.

    SIGINT, SIGTERM and SIGHUP ask it to end in order; a second one ends it at once, status 130. Whatever ends
    this process, nothing of the lab stays.
    """
    client = connect()
    try:
        client.images.get(IMAGE)
    except docker.errors.ImageNotFound:
        raise UsageError(
            f"the image {IMAGE} is missing: make image (or sh lab/docker/build-image.sh) makes it"
        ) from None
    module_name, _, function_name = entry.partition(":")
    function: Callable[..., int] = getattr(__import__(module_name, fromlist=[function_name]), function_name)
    stop_read, stop_write = os.pipe()
    asked = False

    def stop(*_: object) -> None:
        nonlocal asked
        if not asked:
            asked = True
            os.close(stop_write)
            return
        for number in previous:  # what follows takes a moment and has no use for a third one
            signal.signal(number, signal.SIG_IGN)
        os.write(2, f"{AT_ONCE}\n".encode())
        _let_go(reaper)
        shutil.rmtree(state, ignore_errors=True)
        os._exit(INTERRUPTED)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    # The reaper sees the end of its standard input when this process ends, however it ends.
    reaper = subprocess.Popen(
        [sys.executable, "-m", "lab.runtimes.docker_reaper", state.name],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        return function(arguments, DockerRuntime(client, standard(), state, output), state, stop_read)
    finally:
        _let_go(reaper)
        for number, handler in previous.items():
            signal.signal(number, handler)
        if not asked:
            os.close(stop_write)
        os.close(stop_read)


def _let_go(reaper: subprocess.Popen[bytes]) -> None:
    """Have the reaper remove what is left, and wait until it has."""
    assert reaper.stdin is not None
    reaper.stdin.close()
    reaper.wait()


class ContainerProcess:
    """A role running in a container: an `exec` whose output stream ends with it."""

    def __init__(
        self, client: docker.DockerClient, execution: str, ended: asyncio.Future[None], pid_file: Path
    ) -> None:
        self._client = client
        self._execution = execution
        self._ended = ended
        self._pid_file = pid_file

    async def wait(self) -> int:
        await asyncio.shield(self._ended)
        try:
            found = await asyncio.to_thread(self._client.api.exec_inspect, self._execution)
        except docker.errors.APIError:  # its container has gone
            return -signal.SIGKILL
        code = found["ExitCode"]
        # A shell's convention, and Docker's: 128 + the signal that ended it.
        return 128 - code if code is not None and code > 128 else code or 0

    def kill(self) -> None:
        with contextlib.suppress(OSError, ValueError, docker.errors.APIError):
            container = self._client.api.exec_inspect(self._execution)["ContainerID"]
            killing = self._client.api.exec_create(container, ["kill", "-KILL", self._pid_file.read_text().strip()])
            self._client.api.exec_start(killing["Id"])


class DockerRuntime:
    """The hosts, as the supervisor sees them from beside the containers."""

    name = "docker"

    def __init__(self, client: docker.DockerClient, topology: Topology, state: Path, output: Path) -> None:
        self.topology = topology
        self._client = client
        self._state = state
        self._output = output
        self._lab = state.name
        self._streams = concurrent.futures.ThreadPoolExecutor(64, thread_name_prefix="docker")

    def path_in_host(self, path: Path) -> Path:
        for outside, inside in ((self._state, STATE_IN_HOSTS), (self._output, OUTPUT_IN_HOSTS)):
            if path.is_relative_to(outside):
                return inside / path.relative_to(outside)
        raise ValueError(f"{path} is neither below {self._state} nor below {self._output}: no container sees it")

    async def _call(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._streams, functools.partial(function, *arguments, **options))

    async def up(self) -> None:
        """Networks, firewall, containers, routes. Raises UsageError where the engine refuses."""
        (self._state / "resolv.conf").write_text(resolver(self.topology), encoding="ascii")
        (self._state / "pids").mkdir()
        firewall = Firewall(self._client, IMAGE, bridge_prefix(self._lab))
        try:
            await self._call(firewall.raise_)
            for number, network in enumerate(self.topology.networks):
                await self._call(self._make_network, network, number)
            await self._each_host(self._make_container)
            await self._each_host(self._route)
        except (docker.errors.DockerException, OSError) as error:
            reason = getattr(error, "explanation", None) or error
            raise UsageError(f"Docker refused to make the lab: {reason}") from error

    async def _each_host(self, function: Callable[[Host], None]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for host in self.topology.hosts:
                    group.create_task(self._call(function, host), name=f"{function.__name__} {host.name}")
        except ExceptionGroup as failures:
            # Not `except*`: up to Python 3.11.3 what is raised in it comes out in a group again.
            expected, _ = failures.split((docker.errors.DockerException, OSError))
            if expected is None:
                raise
            raise expected.exceptions[0] from None

    def _make_network(self, network: Network, number: int) -> None:
        pools = [
            docker.types.IPAMPool(subnet=str(subnet), gateway=str(engine_gateway(subnet)))
            for subnet in (network.ipv4, network.ipv6)
        ]
        self._client.networks.create(
            self._name(network.name),
            driver="bridge",
            enable_ipv6=True,
            ipam=docker.types.IPAMConfig(pool_configs=pools),
            labels={LABEL: self._lab},
            options={"com.docker.network.bridge.name": f"{bridge_prefix(self._lab)}{number}"} | NETWORK_OPTIONS,
        )

    def _name(self, part: str) -> str:
        return f"sidedoor-{self._lab}-{part}"

    def _volumes(self) -> list[str]:
        return [f"{self._state}:{STATE_IN_HOSTS}:rw", f"{self._output}:{OUTPUT_IN_HOSTS}:rw"]

    def _make_container(self, host: Host) -> None:
        first, *others = host.interfaces
        endpoints = {
            self._name(first.network): docker.types.EndpointConfig(
                self._client.api._version, ipv4_address=str(first.ipv4), ipv6_address=str(first.ipv6)
            )
        }
        container = self._client.containers.create(
            IMAGE,
            ["sleep", "infinity"],
            name=self._name(host.name),
            hostname=host.name,
            init=True,
            labels={LABEL: self._lab},
            cap_drop=["ALL"],
            cap_add=capabilities(host),
            sysctls=sysctls(host),
            volumes=[*self._volumes(), f"{self._state / 'resolv.conf'}:/etc/resolv.conf:ro"],
            network=self._name(first.network),
            networking_config=endpoints,
        )
        for interface in others:
            self._client.networks.get(self._name(interface.network)).connect(
                container, ipv4_address=str(interface.ipv4), ipv6_address=str(interface.ipv6)
            )
        container.start()

    def _route(self, host: Host) -> None:
        """Default routes through the lab's routers, by a short-lived neighbour with NET_ADMIN in the same namespace."""
        self._client.containers.run(
            IMAGE,
            ["sh", "-e", "-c", "\n".join(routes(self.topology, host))],
            network_mode=f"container:{self._name(host.name)}",
            cap_drop=["ALL"],
            cap_add=["NET_ADMIN"],
            labels={LABEL: self._lab},
            remove=True,
        )

    async def spawn(self, host: str, role: str, control: Path, log: Path) -> ContainerProcess:
        pid_file = self._state / "pids" / role
        script = 'echo $$ > "$0"; exec python3 -m lab.role "$1" --control "$2" >> "$3" 2>&1'
        paths = [self.path_in_host(pid_file), role, self.path_in_host(control), self.path_in_host(log)]
        created = await self._call(
            self._client.api.exec_create, self._name(host), ["sh", "-c", script, *(str(p) for p in paths)]
        )
        stream = await self._call(self._client.api.exec_start, created["Id"], stream=True)
        ended = asyncio.ensure_future(self._call(_exhaust, stream))
        return ContainerProcess(self._client, created["Id"], ended, pid_file)

    async def devices(self, host: str) -> dict[str, str]:
        """Found by address: which of a container's interfaces becomes eth0 is up to the engine."""
        execution = await self._call(self._client.api.exec_create, self._name(host), ["ip", "-json", "address"])
        links = json.loads(await self._call(self._client.api.exec_start, execution["Id"]))
        by_address = {entry["local"]: link["ifname"] for link in links for entry in link["addr_info"]}
        return {i.network: by_address[str(i.ipv4)] for i in self.topology.host(host).interfaces}

    async def down(self) -> None:
        """Give the files to whoever started the lab, then remove all of it."""
        await self._call(self._give_files)
        await self._call(remove, self._client, self._lab)
        self._streams.shutdown(wait=False)

    def _give_files(self) -> None:
        if os.getuid() == 0:
            return
        with contextlib.suppress(docker.errors.DockerException):
            owner = f"{os.getuid()}:{os.getgid()}"
            self._client.containers.run(
                IMAGE,
                ["chown", "-R", owner, str(STATE_IN_HOSTS), str(OUTPUT_IN_HOSTS)],
                volumes=self._volumes(),
                network_mode="none",
                labels={LABEL: self._lab},
                remove=True,
            )


def _exhaust(stream: Iterable[bytes]) -> None:
    with contextlib.suppress(docker.errors.DockerException, requests.exceptions.RequestException):
        for _ in stream:
            pass


def bridge_prefix(lab: str) -> str:
    """What the names of a lab's bridges on the host start with: short, as the kernel allows 15 characters."""
    return f"sd{zlib.crc32(lab.encode()):08x}-"


def remove(client: docker.DockerClient, lab: str) -> None:
    """Remove all that carries the lab's label, and its firewall rules. Does nothing where there is nothing."""
    for container in client.containers.list(all=True, filters={"label": f"{LABEL}={lab}"}, ignore_removed=True):
        with contextlib.suppress(docker.errors.NotFound, docker.errors.APIError):
            container.remove(force=True, v=True)
    for network in client.networks.list(filters={"label": f"{LABEL}={lab}"}):
        with contextlib.suppress(docker.errors.NotFound):
            network.remove()
    Firewall(client, IMAGE, bridge_prefix(lab)).lower()


def clean(alive: set[str]) -> Iterator[str]:
    """Remove what labs other than those in `alive` left in the engine, saying what."""
    try:
        client = connect()
    except UsageError:
        return
    things = [
        *client.containers.list(all=True, filters={"label": LABEL}),
        *client.networks.list(filters={"label": LABEL}),
    ]
    labs = {(thing.attrs.get("Labels") or thing.attrs["Config"]["Labels"])[LABEL] for thing in things} - alive
    for lab in sorted(labs):
        remove(client, lab)
        yield f"removed the containers and networks of lab {lab}"
