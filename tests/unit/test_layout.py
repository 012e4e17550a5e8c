"""The layout that everything else relies on: mirrored tests, pure unit tests, modules without I/O, this checkout."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("sidedoor", "proxy", "client", "censor", "lab")
IO_MODULES = frozenset({"asyncio", "socket", "ssl"})
# Unit tests wait for nothing and open no socket: those that do belong to tests/integration.
NOT_IN_UNIT_TESTS = frozenset(
    {"sleep", "socket", "socketpair", "create_connection", "create_server", "open_connection", "start_server"}
)

# Drivers: modules that do I/O and decide little, each with the test that covers it on real sockets or packets.
COVERED_ELSEWHERE: dict[str, str] = {
    "censor/lines/local.py": "tests/lab/test_censor_workers.py",
    "censor/prober/cli.py": "tests/integration/censor/test_prober_cli.py",
    "censor/prober/connection.py": "tests/integration/censor/test_prober.py",
    "censor/prober/prober.py": "tests/integration/censor/test_prober.py",
    "censor/lines/worker.py": "tests/lab/test_censor_workers.py",
    "censor/lines/channel.py": "tests/integration/censor/test_channel.py",
    "censor/lines/worker_process.py": "tests/lab/test_censor_workers.py",
    "censor/lines/workers.py": "tests/lab/test_censor_workers.py",
    "client/bridge.py": "tests/integration/client/test_bridge.py",
    "client/chat/cli.py": "tests/integration/client/test_chat.py",
    "client/chat/plain.py": "tests/integration/client/test_chat.py",
    "client/chat/session.py": "tests/integration/client/test_chat.py",
    "client/chat/terminal.py": "tests/integration/client/test_chat.py",
    "client/cli.py": "tests/integration/client/test_cli.py",
    "client/command_line.py": "tests/integration/client/test_cli.py",
    "client/messenger.py": "tests/integration/client/test_messenger.py",
    "client/network_reader.py": "tests/lab/test_network_changes.py",
    "client/origin.py": "tests/integration/client/test_origin.py",
    "client/person_cli.py": "tests/integration/client/test_probe.py",
    "client/probe.py": "tests/integration/client/test_probe.py",
    "client/driver.py": "tests/integration/client/test_messenger.py",
    "client/receiver.py": "tests/integration/client/test_sender.py",
    "client/route_table.py": "tests/integration/client/test_proxy_lists.py",
    "client/routes/alternate.py": "tests/integration/client/test_routes_direct.py",
    "client/routes/catalogue.py": "tests/integration/client/test_routes.py",
    "client/routes/connection.py": "tests/integration/client/test_routes.py",
    "client/routes/direct.py": "tests/integration/client/test_routes.py",
    "client/routes/doh.py": "tests/integration/client/test_routes_direct.py",
    "client/routes/http_connect.py": "tests/integration/client/test_routes_proxied.py",
    "client/routes/layer.py": "tests/integration/client/test_routes_cut.py",
    "client/routes/obfuscated.py": "tests/integration/client/test_bridge.py",
    "client/routes/quiet.py": "tests/integration/client/test_quiet.py",
    "client/routes/resolver.py": "tests/integration/client/test_routes.py",
    "client/routes/socks5.py": "tests/integration/client/test_routes.py",
    "client/routes/socks5_tls.py": "tests/integration/client/test_routes_proxied.py",
    "client/routes/stream.py": "tests/integration/client/test_routes_proxied.py",
    "client/routes/tcp_segment.py": "tests/integration/client/test_routes_cut.py",
    "client/routes/tls_fragment.py": "tests/integration/client/test_routes_cut.py",
    "client/routes/tcp.py": "tests/integration/client/test_routes.py",
    "client/routes/tcp_info.py": "tests/integration/client/test_tcp_info.py",
    "client/sender.py": "tests/integration/client/test_sender.py",
    "client/standard_input.py": "tests/integration/client/test_cli.py",
    "client/surroundings.py": "tests/integration/client/test_memory.py",
    "lab/benchmarks/censor/accuracy/client.py": "tests/lab/test_censor_accuracy.py",
    "lab/benchmarks/censor/accuracy/flows.py": "tests/lab/test_censor_accuracy.py",
    "lab/benchmarks/censor/accuracy/inside.py": "tests/lab/test_censor_accuracy.py",
    "lab/benchmarks/censor/accuracy/server.py": "tests/lab/test_censor_accuracy.py",
    "lab/benchmarks/conformance/cases/auth.py": "tests/bench/test_conformance.py",
    "lab/benchmarks/conformance/cases/bind.py": "tests/bench/test_conformance.py",
    "lab/benchmarks/conformance/cases/clients.py": "tests/bench/test_conformance.py",
    "lab/benchmarks/conformance/cases/flow.py": "tests/bench/test_conformance.py",
    "lab/benchmarks/conformance/cases/greeting.py": "tests/bench/test_conformance.py",
    "lab/benchmarks/conformance/cases/http.py": "tests/bench/test_conformance.py",
    "lab/benchmarks/conformance/cases/request.py": "tests/bench/test_conformance.py",
    "lab/benchmarks/conformance/cases/socks4.py": "tests/bench/test_conformance.py",
    "lab/benchmarks/conformance/cases/udp.py": "tests/bench/test_conformance.py",
    "lab/benchmarks/conformance/dialogue.py": "tests/bench/test_conformance.py",
    "lab/benchmarks/conformance/stage.py": "tests/bench/test_conformance.py",
    "lab/benchmarks/conformance/transfer.py": "tests/bench/test_conformance.py",
    "lab/benchmarks/fallback/clients.py": "tests/lab/test_bench_fallback.py",
    "lab/benchmarks/fallback/inside.py": "tests/lab/test_bench_fallback.py",
    "lab/benchmarks/fallback/quiet.py": "tests/lab/test_bench_fallback.py",
    "lab/benchmarks/fallback/round.py": "tests/lab/test_bench_fallback.py",
    "lab/benchmarks/load.py": "tests/bench/test_relay.py",
    "lab/control.py": "tests/integration/lab/test_control.py",
    "lab/role.py": "tests/integration/lab/test_supervisor.py",
    "lab/roles/capture.py": "tests/lab/test_quickstart.py",
    "lab/roles/censor.py": "tests/lab/test_quickstart.py",
    "lab/roles/foreign_censor.py": "tests/integration/lab/test_foreign_censor.py",
    "lab/roles/link.py": "tests/lab/test_quickstart.py",
    "lab/roles/messenger.py": "tests/lab/test_quickstart.py",
    "lab/roles/proxy.py": "tests/lab/test_quickstart.py",
    "lab/roles/web.py": "tests/lab/test_quickstart.py",
    "lab/runtimes/docker_visit.py": "tests/lab/test_session.py",
    "lab/runtimes/netns_host.py": "tests/lab/test_quickstart.py",
    "lab/runtimes/netns_init.py": "tests/lab/test_quickstart.py",
    "lab/runtimes/netns_visit.py": "tests/integration/lab/test_netns_visit.py",
    "lab/session.py": "tests/lab/test_session.py",
    "lab/supervisor.py": "tests/integration/lab/test_supervisor.py",
    "proxy/access.py": "tests/integration/proxy/test_access.py",
    "proxy/admin.py": "tests/integration/proxy/test_admin.py",
    "proxy/admin_socket.py": "tests/integration/proxy/test_admin.py",
    "proxy/associate.py": "tests/integration/proxy/test_associate.py",
    "proxy/association.py": "tests/integration/proxy/test_associate.py",
    "proxy/bind.py": "tests/integration/proxy/test_bind.py",
    "proxy/cli.py": "tests/integration/proxy/test_cli.py",
    "proxy/connect.py": "tests/integration/proxy/test_rules.py",
    "proxy/entrance.py": "tests/integration/proxy/test_proxy_protocol.py",
    "proxy/flows.py": "tests/integration/proxy/test_flows.py",
    "proxy/control.py": "tests/integration/proxy/test_control.py",
    "proxy/relay/__init__.py": "tests/integration/proxy/test_relay.py",
    "proxy/relay/end.py": "tests/integration/proxy/test_relay.py",
    "proxy/relay/fast.py": "tests/integration/proxy/test_relay.py",
    "proxy/relay/poller.py": "tests/integration/proxy/test_relay.py",
    "proxy/relay/portable.py": "tests/integration/proxy/test_relay.py",
    "proxy/resolver/https.py": "tests/integration/proxy/test_names.py",
    "proxy/resolver/servers.py": "tests/integration/proxy/test_names.py",
    "proxy/server.py": "tests/integration/proxy/test_server.py",
    "proxy/service.py": "tests/integration/proxy/test_service.py",
    "proxy/session.py": "tests/integration/proxy/test_server.py",
    "proxy/systemd.py": "tests/integration/proxy/test_systemd.py",
    "proxy/tls.py": "tests/integration/proxy/test_tls.py",
    "proxy/workers.py": "tests/integration/proxy/test_workers.py",
    "sidedoor/__main__.py": "tests/unit/sidedoor/test_cli.py",
}


def sources() -> list[str]:
    """Every module of the parts; `__init__.py` only where it has functions (it may map, re-export, declare types)."""
    found = sorted(path for part in PARTS for path in (ROOT / part).rglob("*.py"))
    return [str(path.relative_to(ROOT)) for path in found if path.name != "__init__.py" or _has_functions(path)]


def _has_functions(path: Path) -> bool:
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in _tree(path).body)


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(tree: ast.Module) -> set[str]:
    """The top-level names of everything that is imported, anywhere in the module, type checking apart."""
    names: set[str] = set()
    for node in _outside_type_checking(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def _outside_type_checking(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from _outside_type_checking(child)


def calls(tree: ast.Module) -> set[str]:
    """The last names of everything that is called: `sleep` for asyncio.sleep(0)."""
    functions = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {f.attr for f in functions if isinstance(f, ast.Attribute)} | {
        f.id for f in functions if isinstance(f, ast.Name)
    }


@pytest.mark.parametrize("part", PARTS)
def test_the_parts_are_those_of_this_checkout(part: str) -> None:
    assert Path(str(importlib.import_module(part).__file__)).is_relative_to(ROOT / part)


@pytest.mark.parametrize("source", sources())
def test_every_module_has_its_test_file(source: str) -> None:
    path = Path(source)
    name = path.parent.name if path.name == "__init__.py" else path.stem
    mirrored = ROOT / "tests/unit" / path.parent / f"test_{name}.py"
    assert mirrored.exists() or source in COVERED_ELSEWHERE, f"no {mirrored.relative_to(ROOT)}"


def test_what_is_covered_elsewhere_exists() -> None:
    assert not [path for pair in COVERED_ELSEWHERE.items() for path in pair if not (ROOT / path).exists()]


@pytest.mark.parametrize("source", sources())
def test_sans_io_modules_import_no_io(source: str) -> None:
    tree = _tree(ROOT / source)
    if "Sans-IO" in (ast.get_docstring(tree) or ""):
        assert not imports(tree) & IO_MODULES


@pytest.mark.parametrize("path", sorted((ROOT / "tests/unit").rglob("test_*.py")), ids=lambda p: str(p.name))
def test_unit_tests_neither_sleep_nor_open_sockets(path: Path) -> None:
    assert not calls(_tree(path)) & NOT_IN_UNIT_TESTS


def test_every_tests_folder_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").exists()]
