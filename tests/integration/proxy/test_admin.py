"""The admin endpoint over real sockets, with workers that are two functions."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from proxy.admin import HIDDEN, app, serve_admin, without_secrets
from proxy.admin_socket import listening
from proxy.control import select_flows
from proxy.listeners import name_of
from proxy.metrics import Shared
from proxy.settings import ProxySettings, ResolverSettings, Upstream, User
from sidedoor.settings import UsageError
from tests.integration.proxy.world import SECONDS

SECRET = "hunter2"
SETTINGS = ProxySettings(
    users={"anna": SECRET, "bert": User(password=SECRET, max_flows=3)},
    upstreams={"far": Upstream(url="socks5://192.0.2.1:1080", user="us", password=SECRET)},
    resolver=ResolverSettings(kind="doh", url=f"https://us:{SECRET}@dns.example/dns-query"),
)


def flow(number: int, user: str, target: str, worker: int) -> dict[str, object]:
    return {
        "flow": number,
        "client": "127.0.0.1:40000",
        "user": user,
        "target": target,
        "protocol": "socks5",
        "command": "connect",
        "bytes_up": 1,
        "bytes_down": 2,
        "seconds": 3.5,
        "worker": worker,
    }


class World:
    """Workers and a supervisor as the application sees them, and what they were asked."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.settings = SETTINGS
        self.asked: list[dict[str, object]] = []
        self.drains = 0
        self.broken = False
        self.flows = [
            [flow(1, "anna", "example.com:443", 0), flow(2, "bert", "example.com:80", 0)],
            [flow(3, "anna", "192.0.2.7:22", 1)],
        ]

    async def ask(self, request: dict[str, object]) -> list[dict[str, object]]:
        self.asked.append(request)
        if self.broken:
            raise ZeroDivisionError
        return [self._answer(request, flows) for flows in self.flows]

    def _answer(self, request: dict[str, object], flows: list[dict[str, object]]) -> dict[str, object]:
        match request["do"]:
            case "flows":
                return {"flows": select_flows(flows, request)}
            case "close":
                found = [one for one in flows if one["flow"] == request["flow"]]
                for one in found:
                    flows.remove(one)
                return {"closed": bool(found)}
            case "settle":
                self.shared.row(0).logged_in()
        return {}

    def drain(self) -> None:
        self.drains += 1


@pytest.fixture
def world() -> Iterator[World]:
    shared = Shared(2)
    yield World(shared)
    shared.close()


@contextlib.asynccontextmanager
async def serving(world: World, listen: str) -> AsyncIterator[str]:
    """The endpoint runs; gives the address that it listens on."""
    application = app(world.ask, world.shared, lambda: world.settings, world.drain)
    with listening(listen) as sockets:
        address = listen if listen.startswith("unix:") else name_of(sockets[0].getsockname())
        async with asyncio.timeout(SECONDS * 2), asyncio.TaskGroup() as group:
            task = group.create_task(serve_admin(application, sockets), name="admin")
            yield address
            task.cancel()


class Client:
    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._base = base

    async def __call__(self, method: str, path: str, **headers: str) -> tuple[int, Any]:
        """Status, and the body: JSON where it is, else text."""
        async with self._session.request(
            method, self._base + path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        ) as answer:
            body = await answer.text()
            return answer.status, msgspec.json.decode(body) if "json" in answer.headers["Content-Type"] else body


def session_without_resolver() -> aiohttp.ClientSession:
    """Its usual resolver lets go of its descriptors on a thread of its own, some time after the session has ended."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver()))


@pytest.fixture
async def client(world: World) -> AsyncIterator[Client]:
    async with serving(world, "127.0.0.1:0") as address, session_without_resolver() as session:
        yield Client(session, f"http://{address}")


async def test_metrics_are_settled_first(client: Client, world: World) -> None:
    status, text = await client("GET", "/metrics")
    assert status == 200
    assert "\nsidedoor_proxy_logins_total 2.0\n" in text, "one by each worker"
    assert world.asked == [{"do": "settle"}]


async def test_health_tells_of_draining(client: Client, world: World) -> None:
    assert await client("GET", "/health") == (200, "ok")
    world.shared.draining = True
    assert await client("GET", "/health") == (503, "draining")


async def test_flows_of_all_workers_are_listed(client: Client, world: World) -> None:
    status, flows = await client("GET", "/flows")
    assert (status, flows) == (200, [*world.flows[0], *world.flows[1]])
    assert world.asked == [{"do": "flows", "limit": 1000}]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("user=anna", [1, 3]),
        ("user=anna&target=example.com", [1]),
        ("target=192.0.2.7:22", [3]),
        ("limit=2", [1, 2]),
        ("user=anna&limit=1", [1]),
        ("limit=0", []),
        ("user=nobody", []),
    ],
)
async def test_flows_are_filtered(client: Client, query: str, expected: list[int]) -> None:
    status, flows = await client("GET", f"/flows?{query}")
    assert (status, [one["flow"] for one in flows]) == (200, expected)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("limit=-1", 'limit: "-1" is no number from 0 to 10000'),
        ("limit=10001", 'limit: "10001" is no number from 0 to 10000'),
        ("limit=" + "9" * 5000, 'limit: "99'),
        ("usr=anna", "usr: is unknown; known here: user, target, limit"),
    ],
)
async def test_what_is_wrong_in_a_query_is_said(client: Client, query: str, error: str) -> None:
    status, answer = await client("GET", f"/flows?{query}")
    assert status == 400
    assert answer["error"].startswith(error)


async def test_a_flow_is_closed_once(client: Client, world: World) -> None:
    assert await client("DELETE", "/flows/3") == (200, {"closed": 3})
    assert world.flows[1] == []
    status, answer = await client("DELETE", "/flows/3")
    assert (status, answer["error"]) == (404, "no worker has a flow 3; GET /flows lists those there are")
    assert (await client("DELETE", "/flows/three"))[0] == 400


async def test_draining_is_told_to_the_supervisor(client: Client, world: World) -> None:
    assert await client("POST", "/drain") == (202, {"draining": True})
    assert world.asked == [], "a worker that has nothing to do would end before the supervisor expects it"
    assert world.drains == 1
    assert (await client("GET", "/health"))[0] == 503


async def test_draining_begins_whatever_happens_to_the_answer(
    client: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(response: web.StreamResponse) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(web.Response, "write_eof", gone)
    with pytest.raises(aiohttp.ClientError):
        await client("POST", "/drain")
    assert world.shared.draining
    assert world.drains == 1


async def test_the_settings_in_effect_have_no_passwords(client: Client, world: World) -> None:
    status, config = await client("GET", "/config")
    assert status == 200
    assert config["users"] == {
        "anna": HIDDEN,
        "bert": {"password": HIDDEN, "max_flows": 3, "rate_bytes_per_second": 0.0, "quota_bytes": 0}
        | {"quota_seconds": 86400.0},
    }
    assert config["upstreams"]["far"] == {"url": "socks5://192.0.2.1:1080", "user": "us", "password": HIDDEN}
    assert config["resolver"]["url"] == f"https://{HIDDEN}@dns.example/dns-query"
    assert SECRET not in str(config)
    world.settings = ProxySettings(workers=7)
    assert (await client("GET", "/config"))[1]["workers"] == 7


async def test_fixed_settings_will_do(world: World) -> None:
    application = app(world.ask, world.shared, SETTINGS, world.drain)
    assert len(application.router.routes()) > 0
    assert SECRET not in str(without_secrets(SETTINGS))


@pytest.mark.parametrize(("method", "path", "expected"), [("GET", "/nothing", 404), ("GET", "/drain", 405)])
async def test_errors_are_json(client: Client, method: str, path: str, expected: int) -> None:
    status, answer = await client(method, path)
    assert (status, list(answer)) == (expected, ["error"])


async def test_a_mistake_of_ours_is_logged_and_told_without_details(
    client: Client, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.broken = True
    status, answer = await client("GET", "/flows")
    assert (status, list(answer)) == (500, ["error"])
    assert "ZeroDivisionError" not in str(answer)
    captured = capsys.readouterr()
    assert "admin_failed" in captured.out + captured.err


@pytest.mark.parametrize("host", ["localhost", "localhost:9180", "127.0.0.1:1", "127.1.2.3", "[::1]:80", "unix"])
async def test_this_host_has_many_names(client: Client, host: str) -> None:
    assert (await client("GET", "/health", Host=host))[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost.evil.example", "192.0.2.1", "[::"])
async def test_another_name_is_refused(client: Client, world: World, host: str) -> None:
    status, answer = await client("POST", "/drain", Host=host)
    assert (status, list(answer)) == (403, ["error"])
    assert world.drains == 0
    assert world.asked == []


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}],
    ids=["origin", "null", "site"],
)
async def test_a_page_in_a_browser_is_refused(client: Client, world: World, headers: dict[str, str]) -> None:
    status, answer = await client("POST", "/drain", **headers)
    assert (status, list(answer)) == (403, ["error"])
    assert world.drains == 0
    assert (await client("GET", "/health", Sec_Fetch_Site="none"))[0] == 200


async def test_a_request_without_a_name_for_this_host_is_refused(world: World) -> None:
    async with serving(world, "127.0.0.1:0") as address:
        reader, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(b"GET /health HTTP/1.0\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"403"
        writer.close()


# Where it listens


async def test_a_socket_in_the_file_system_is_for_its_owner_only(world: World, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    umask = os.umask(0)
    try:
        async with serving(world, f"unix:{path}") as address:
            assert address == f"unix:{path}"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            connector = aiohttp.UnixConnector(str(path))
            async with aiohttp.ClientSession(connector=connector) as session:
                assert await Client(session, "http://localhost")("GET", "/health") == (200, "ok")
        assert not path.exists()
        assert os.umask(0) == 0
    finally:
        os.umask(umask)


async def test_a_socket_that_a_dead_one_left_is_replaced(world: World, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    connector = aiohttp.UnixConnector(str(path))
    async with serving(world, f"unix:{path}"), aiohttp.ClientSession(connector=connector) as session:
        assert (await Client(session, "http://unix")("GET", "/health"))[0] == 200


def refused(listen: str) -> str:
    with pytest.raises(UsageError) as raised, listening(listen):
        pytest.fail("it listens")
    return str(raised.value)


def test_a_socket_that_somebody_answers_on_stays(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen(0)
        other.setblocking(False)
        message = refused(f"unix:{path}")
        assert message.startswith(f"admin.listen: cannot listen on unix:{path}: Address already in use; ")
        while True:  # its queue is full at last, and still it is somebody's
            with socket.socket(socket.AF_UNIX) as waiting:
                waiting.setblocking(False)
                try:
                    waiting.connect(str(path))
                except BlockingIOError:
                    break
        assert "already in use" in refused(f"unix:{path}")
        assert path.exists()


def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    path.write_text("precious")
    assert "there is a file that is no socket" in refused(f"unix:{path}")
    assert path.read_text() == "precious"


async def test_a_successors_socket_stays(world: World, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    async with serving(world, f"unix:{path}"):
        path.rename(tmp_path / "moved")
        path.touch()
    assert path.exists()


def test_what_cannot_be_listened_on_is_an_error_that_names_the_key(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        message = refused(address)
    assert message == (
        f"admin.listen: cannot listen on {address}: Address already in use; another program has it: stop that, or "
        f"choose another address"
    )
    assert "the folder of the socket must exist" in refused(f"unix:{tmp_path}/missing/admin.sock")
    assert "path too long" in refused(f"unix:{tmp_path}/{'x' * 200}")


async def test_ipv6(world: World) -> None:
    async with serving(world, "[::1]:0") as address, session_without_resolver() as session:
        assert address.startswith("[::1]:")
        assert await Client(session, f"http://{address}")("GET", "/health") == (200, "ok")
