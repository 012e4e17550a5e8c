"""The service as whoever operates it sees it: what is killed, counted, logged; systemd; mistakes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sidedoor.cli import main
from tests.integration.proxy.command import (
    Traffic,
    abort,
    both,
    descendants,
    is_reset,
    receive,
    running,
    until,
)
from tests.integration.proxy.test_cli import PROXY, SECONDS

pytestmark = pytest.mark.alone

# Processes that are killed.


def test_a_killed_admin_process_is_replaced(target: socket.socket, tmp_path: Path) -> None:
    """Who asks meanwhile waits: the socket is the supervisor's. Flows do not notice."""
    with running(tmp_path, 2) as command:
        near, far = command.flow(target)
        with near, far, Traffic([(near, far)]) as traffic:
            for _ in range(3):
                os.kill(descendants(command.process.pid)[-1], signal.SIGKILL)
                assert command.admin("GET", "/health") == (200, "ok")
            traffic.goes_on()
            traffic.finish()
        assert len(command.lines("admin_died")) == 3
        command.drain()
        command.ends()


def test_a_worker_that_is_killed_while_all_reload_comes_back_with_the_new_settings(
    target: socket.socket, tmp_path: Path
) -> None:
    with running(tmp_path, 2) as command:
        for number, allowed in enumerate([False, True] * 2, 1):
            rules = [] if allowed else [{"action": "deny", "ports": [target.getsockname()[1]]}]
            command.write(rules=rules)
            victim = command.pids()[number % 2]
            signals = [(command.process.pid, signal.SIGHUP), (victim, signal.SIGKILL)]
            for pid, what in signals if number < 3 else signals[::-1]:
                os.kill(pid, what)
            command.logged("worker_died", number)
            expected = 0 if allowed else 2
            until(lambda expected=expected: command.reply(target.getsockname()) == expected)
            assert [command.reply(target.getsockname()) for _ in range(8)] == [expected] * 8
        assert command.metrics()["worker_restarts_total"] == 4
        command.send(signal.SIGTERM)
        command.ends()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT])
def test_nothing_outlives_the_supervisor(number: signal.Signals, target: socket.socket, tmp_path: Path) -> None:
    with running(tmp_path, 2) as command:
        near, far = command.flow(target)
        with near, far:
            pids = [*command.pids(), command.admin_pid]
            command.send(number)
            assert is_reset(near)
            assert is_reset(far)
            assert command.process.wait(SECONDS) == -number
            until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
        with socket.create_server(("127.0.0.1", command.port)):
            pass


# What is counted, listed and logged.


def test_what_is_counted_is_what_was_done(target: socket.socket, tmp_path: Path) -> None:
    """Over both workers; the bytes of flows that are open, too."""
    users = {"anna": "secret", "bert": "secret"}
    rules = [{"action": "deny", "name": "closed", "ports": [1]}]
    with contextlib.ExitStack() as stack:
        command = stack.enter_context(running(tmp_path, 2, users=users, rules=rules))
        flows = [command.flow(target, ("anna", "bert")[index % 2]) for index in range(20)]
        for index, (near, far) in enumerate(flows):
            near.sendall(bytes(1000 + index))
            assert len(receive(far, 1000 + index)) == 1000 + index
            far.sendall(bytes(10))
            assert len(receive(near, 10)) == 10
        for near, far in flows[:12]:
            near.close()
            far.close()
        for near, far in flows[12:16]:
            abort(near)
            assert is_reset(far)
            far.close()
        for ends in flows[16:]:
            for sock in ends:
                stack.enter_context(sock)
        assert [command.reply(("127.0.0.1", 1), "anna") for _ in range(5)] == [2] * 5
        assert [command.reply(target.getsockname(), "anna", "wrong") for _ in range(3)] == [-1] * 3
        records = command.access_log(21)

        metrics = command.metrics()
        assert {
            name: value
            for name, value in metrics.items()
            if value and name.startswith(("flows_", "requests_", "handshake_f", "logins", "user_b", "bytes", "user_o"))
        } == {
            'flows_opened_total{command="connect",protocol="socks5"}': 20,
            'flows_closed_total{reason="eof"}': 12,
            'flows_closed_total{reason="client_reset"}': 4,
            'flows_relayed_total{mode="copy"}': 16,
            'requests_refused_total{reply="not_allowed"}': 5,
            'handshake_failures_total{reason="wrong_password"}': 3,
            "logins_total": 25,
            'user_bytes_total{direction="up",user="anna"}': sum(range(1000, 1020, 2)),
            'user_bytes_total{direction="up",user="bert"}': sum(range(1001, 1020, 2)),
            'user_bytes_total{direction="down",user="anna"}': 100,
            'user_bytes_total{direction="down",user="bert"}': 100,
            'bytes_total{direction="up"}': sum(range(1000, 1020)),
            'bytes_total{direction="down"}': 200,
            'user_open_flows{user="anna"}': 2,
            'user_open_flows{user="bert"}': 2,
        }
        assert metrics['open_flows{worker="0"}'] + metrics['open_flows{worker="1"}'] == 4
        assert metrics["dial_seconds_count"] == 20
        assert [sum(line["reply"] == reply for line in records) for reply in ("SUCCEEDED", "NOT_ALLOWED")] == [16, 5]
        assert {line["rule"] for line in records if line["reply"] == "NOT_ALLOWED"} == {"closed"}
        assert sorted(line["bytes_up"] for line in records if line["flow"]) == list(range(1000, 1016))


def test_an_operator_ends_a_flow(target: socket.socket, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        command = stack.enter_context(running(tmp_path, 2))
        flows = [tuple(map(stack.enter_context, command.flow(target))) for _ in range(8)]
        for near, far in flows[::2]:
            client = f"127.0.0.1:{near.getsockname()[1]}"
            [number] = [flow["flow"] for flow in command.flows() if flow["client"] == client]
            assert command.admin("DELETE", f"/flows/{number}") == (
                200,
                json.dumps({"closed": number}, separators=(",", ":")),
            )
            assert is_reset(near)
            assert is_reset(far)
            assert command.admin("DELETE", f"/flows/{number}")[0] == 404
        with Traffic(flows[1::2]) as traffic:  # type: ignore[arg-type]
            traffic.goes_on()
            traffic.finish()
        assert [line["reason"] for line in command.access_log(8)].count("closed") == 4


def test_nobody_is_shown_a_password(tmp_path: Path) -> None:
    secret = "correct horse"
    settings: dict[str, Any] = {
        "users": {"anna": secret, "bert": {"password": secret, "max_flows": 2}},
        "upstreams": {"far": {"url": "socks5://127.0.0.1:9", "user": "us", "password": secret}},
    }
    with running(tmp_path, 2, **settings) as command:
        for path in ("/config", "/metrics", "/flows"):
            status, text = command.admin("GET", path)
            assert status == 200
            assert secret not in text
        assert command.reply(("127.0.0.1", 9), "anna", secret) == 5
        assert command.reply(("127.0.0.1", 9), "anna", "Correct Horse") == -1
        command.reload(**settings)
        command.drain()
        command.ends()
        logs = json.dumps(command.log) + (tmp_path / "access.jsonl").read_text()
        assert "orse" not in logs


@both
def test_no_line_of_the_access_log_is_lost_when_it_is_rotated(
    workers: int, target: socket.socket, tmp_path: Path
) -> None:
    """Moved away and SIGHUP, again and again, while flows come and go."""
    per_round, rounds = 40, 5
    with running(tmp_path, workers) as command:
        for number in range(rounds):
            for index in range(per_round):
                if index == per_round // 2:
                    (tmp_path / "access.jsonl").rename(tmp_path / f"access.{number}.jsonl")
                    command.send(signal.SIGHUP)
                if index % 4:
                    near, far = command.flow(target)
                    near.close()
                    far.close()
                else:
                    assert command.reply(("127.0.0.1", 1)) == 5
            command.logged("reloaded", (number + 1) * workers)
        command.send(signal.SIGTERM)
        command.ends()
    files = sorted(tmp_path.glob("access*.jsonl"))
    assert len(files) == rounds + 1
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    numbers = [line["flow"] for line in lines if line["flow"] is not None]
    assert (len(numbers), len(set(numbers))) == (rounds * per_round * 3 // 4,) * 2
    assert len(lines) == rounds * per_round
    assert (tmp_path / "access.jsonl").read_text(), "the new file is written to"


# systemd.


@contextlib.contextmanager
def activated(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], tuple[str, int]]]:
    """The command under systemd-socket-activate, which starts it when the first client connects; its address."""
    if (program := shutil.which("systemd-socket-activate")) is None:
        pytest.skip("systemd-socket-activate is not installed")
    with socket.socket() as reserved:
        # Bound, not listening: nobody else is given this port, and whoever sets SO_REUSEADDR, as systemd does, gets it.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        address: tuple[str, int] = reserved.getsockname()
        environment = f"--setenv=PYTHONPATH={os.pathsep.join(sys.path)}"  # it passes on nothing else
        listen = f"127.0.0.1:{address[1]}"
        with subprocess.Popen(
            [program, "-l", listen, environment, *PROXY, *arguments], stderr=subprocess.PIPE, text=True, cwd=folder
        ) as process:
            try:
                assert process.stderr is not None
                assert f"Listening on {listen}" in process.stderr.readline()
                yield process, address
            finally:
                process.kill()


@both
def test_systemds_sockets_take_the_place_of_listen(workers: int, target: socket.socket, tmp_path: Path) -> None:
    """After a reload, too, which finds in the file what it found at the start."""
    file = tmp_path / "proxy.toml"
    file.write_text('listen = ["127.0.0.1:1"]\n')
    options = ["--workers", "2", "--admin", f"unix:{tmp_path}/admin.sock"] if workers == 2 else []
    with activated(tmp_path, "--config", str(file), *options) as (process, address):
        assert process.stderr is not None

        def reply() -> int:
            with socket.create_connection(address, SECONDS) as sock:
                sock.sendall(
                    b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01" + target.getsockname()[1].to_bytes(2, "big")
                )
                code = receive(sock, 12)[3]
                abort(sock)
            return code

        assert [reply() for _ in range(8)] == [0] * 8
        lines = []
        while not lines or f"listening on 127.0.0.1:{address[1]}" not in lines[-1]:
            lines.append(process.stderr.readline())
        file.write_text(
            f'listen = ["127.0.0.1:1"]\nrules = [{{action = "deny", ports = [{target.getsockname()[1]}]}}]\n'
        )
        process.send_signal(signal.SIGHUP)
        lines = [json.loads(process.stderr.readline()) for _ in range(workers)]
        assert {line["event"] for line in lines} == {"reloaded"}
        assert [reply() for _ in range(8)] == [2] * 8
        process.terminate()
        _, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 0
        assert {json.loads(line)["event"] for line in err.splitlines()} == {"draining"}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


@contextlib.contextmanager
def notified(folder: Path, monkeypatch: pytest.MonkeyPatch, watchdog_seconds: float = 0.0) -> Iterator[socket.socket]:
    """systemd's end of a notification socket, which commands started here know."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(folder / "notify"))
        heard.settimeout(SECONDS)
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        if watchdog_seconds:
            monkeypatch.setenv("WATCHDOG_USEC", str(round(watchdog_seconds * 1e6)))
        yield heard


@both
def test_what_systemd_hears_of_the_command(workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with notified(tmp_path, monkeypatch) as heard, running(tmp_path, workers, drain_seconds=7) as command:
        assert heard.recv(4096) == b"READY=1"
        for mistake in (False, True):
            if mistake:
                command.file.write_text("lisen = 1")
            command.send(signal.SIGHUP)
            assert heard.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert heard.recv(4096) == b"READY=1"
        command.send(signal.SIGTERM)
        assert heard.recv(4096) == b"STOPPING=1\nEXTEND_TIMEOUT_USEC=17000000"
        command.ends()


@both
def test_signs_of_life_come_in_time(workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watchdog_seconds = 1.0
    with notified(tmp_path, monkeypatch, watchdog_seconds) as heard, running(tmp_path, workers):
        moments: list[float] = []
        while len(moments) < 4:
            if heard.recv(4096) == b"WATCHDOG=1":
                moments.append(time.monotonic())
        assert max(after - before for before, after in pairwise(moments)) < watchdog_seconds


def test_a_worker_that_does_nothing_any_more_is_replaced(
    target: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where systemd has a watchdog; the supervisor goes on to give signs of life for the service."""
    with notified(tmp_path, monkeypatch, 0.8), running(tmp_path, 2) as command:
        victim, other = command.pids()
        os.kill(victim, signal.SIGSTOP)
        assert command.logged("worker_overdue")["pid"] == victim
        assert command.logged("worker_died")["status"] == -signal.SIGKILL
        assert other in command.pids()
        assert victim not in command.pids()
        assert [command.reply(target.getsockname()) for _ in range(8)] == [0] * 8
        assert len(command.lines("worker_overdue")) == 1


# Mistakes in the configuration.

MISTAKES: list[tuple[str, str]] = [
    ("listen = [", "not valid TOML"),
    ("nothing", "not valid TOML"),
    ("lisen = []", "key `lisen` is unknown; did you mean `listen`?"),
    ("listen = []", "listen: is empty; name at least one HOST:PORT"),
    ("listen = 1080", "key `listen`: expected an array of strings or tables; found the integer 1080"),
    ("listen = [1080]", "key `listen[0]`: expected a string or a table with `address`; found the integer 1080"),
    ('listen = ["1080"]', 'listen: "1080" is no address; write HOST:PORT'),
    ('listen = ["127.0.0.1:65536"]', 'listen: "127.0.0.1:65536" is no address; write HOST:PORT (at most 65535)'),
    ('listen = ["::1:1080"]', 'listen: "::1:1080" is no address'),
    ('listen = ["0.0.0.0:@PORT"]', "0.0.0.0:@PORT is not a loopback address and there are no users"),
    ('[[listen]]\naddress = "127.0.0.1:@PORT"\nkey = "k"', "127.0.0.1:@PORT has a key and no certificate"),
    (
        '[[listen]]\naddress = "127.0.0.1:@PORT"\ncertificate = "/no/c"\nkey = "/no/k"',
        "certificate /no/c or key /no/k cannot",
    ),
    (
        '[[listen]]\naddress = "127.0.0.1:@PORT"\nproxy_protocol_from = ["10/8"]',
        '"10/8" is no network; expected one like',
    ),
    ('access_log = "/no/log"', "access_log: /no/log: cannot be written: there is no folder /no; make it first"),
    ('state = "/no/state"', "state: /no/state: cannot be written: there is no folder /no; make it first"),
    ('protocols = ["socks6"]', "key `protocols[0]`: expected one of http, socks4, socks5; found 'socks6'"),
    (
        "users = { anna = 1 }",
        "key `users.anna`: expected a string or a table with `password`; found an integer, not shown",
    ),
    ('[users.anna]\npasword = "secret"', "key `users.anna.pasword` is unknown; did you mean `password`?"),
    ('[users.anna]\npassword = "secret"\nmax_flows = -1', "users.anna.max_flows: is -1; give a number of at least 0"),
    ('[users.anna]\npassword = "secret"\nquota_seconds = 0', "users.anna.quota_seconds: is 0.0; give a number above 0"),
    (f'[users]\nanna = "secret{"x" * 250}"', "users: 'anna': user or password is longer than the 255 bytes"),
    ('[users]\nanna = "$argon2id$secret"', "users.anna.password: begins like an Argon2 hash"),
    ('rules = [{ action = "alow" }]', "key `rules[0].action`: expected one of allow, deny; found 'alow'"),
    ("rules = [{ ports = [80] }]", "key `rules[0].action` is missing; expected one of allow, deny"),
    (
        'rules = [{ action = "deny", ports = ["80-"] }]',
        'rules[0].ports: "80-": expected a port from 1 to 65535, or a range like',
    ),
    (
        'rules = [{ action = "deny", sources = ["x"] }]',
        'rules[0].sources: "x" is no network; expected one like 192.0.2.0/24',
    ),
    (
        'rules = [{ action = "deny", users = ["nobody"] }]',
        'rules[0].users: "nobody" is not among the users; expected one of: none',
    ),
    (
        'rules = [{ action = "allow", via = "far" }]',
        'rules[0].via: "far" is not among the upstreams; expected one of: none',
    ),
    (
        'via = "far"\nupstreams.near.url = "socks5://127.0.0.1:1"',
        'via: "far" is not among the upstreams; expected one of: near',
    ),
    (
        'upstreams.far.url = "ftp://127.0.0.1:1"',
        'upstreams.far.url: "ftp://127.0.0.1:1" is no URL of a proxy; expected',
    ),
    ('egress = ["127.0.0.1", "127.0.0.2"]', "egress: has two addresses of one family; expected at most one"),
    ('egress = ["localhost"]', 'egress: "localhost" is no IP address'),
    ('resolver.kind = "dns"', 'resolver.servers: is empty; kind "dns" expects at least one address'),
    (
        '[resolver]\nkind = "doh"\nurl = "http://dns.example"',
        'resolver.url: is "http://dns.example"; kind "doh" expects',
    ),
    ('udp.advertise = "me"', 'udp.advertise: "me" is no IP address'),
    ('udp.fragments = "keep"', "key `udp.fragments`: expected one of drop, reassemble; found 'keep'"),
    ('admin.listen = "0.0.0.0:0"', "admin.listen: 0.0.0.0:0 is not a loopback address; expected one, or unix:/PATH"),
    ('admin = "unix:/tmp/a"', "key `admin`: expected a table with `listen`; found the string 'unix:/tmp/a'"),
    ("handshake_seconds = 0", "handshake_seconds: is 0.0; give a number above 0"),
    ('idle_seconds = "1h"', "key `idle_seconds`: expected a number; found the string '1h'"),
    ("drain_seconds = nan", "key `drain_seconds`: expected a finite number; found nan"),
    ("workers = 0", "workers: is 0; give a number above 0"),
    ("max_handshakes = 1.5", "key `max_handshakes`: expected an integer; found the number 1.5"),
]

# What --check does not try: it would leave traces.
MISTAKES_AT_THE_START: list[tuple[str, str]] = [
    ('state = "@FILE"', "state: @FILE: is no state of this version of sidedoor"),
    ('admin.listen = "unix:/no/socket"', "admin.listen: cannot listen on unix:/no/socket: No such file or directory"),
    ('admin.listen = "unix:@FILE"', "admin.listen: cannot listen on unix:@FILE: there is a file that is no socket"),
]


def written(folder: Path, number: int, text: str, port: int) -> Path:
    """A file with a mistake, alone in its folder; it listens on `port` unless that is its mistake. @FILE is another
    one, which is there already."""
    file = folder / f"{number:02}" / "proxy.toml"
    file.parent.mkdir()
    text = filled(text, file, port)
    file.write_text(text if text.startswith(("listen", "[[listen")) else f'listen = ["127.0.0.1:{port}"]\n{text}')
    return file


def filled(text: str, file: Path, port: int) -> str:
    """`text` with the port and the path that are known now."""
    return text.replace("@PORT", str(port)).replace("@FILE", str(file.parents[1] / "other"))


@pytest.mark.parametrize(("text", "error"), MISTAKES, ids=[text.partition("\n")[2] or text for text, _ in MISTAKES])
def test_a_check_names_the_mistake(text: str, error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, 0, text, 1080)
    with pytest.raises(SystemExit) as ended:
        main(["proxy", "--config", str(file), "--check"])
    assert ended.value.code == 2
    says(capsys.readouterr().err, file, error, 1080)


def says(line: str, file: Path, error: str, port: int) -> None:
    """Whether `line` is one, names the file and the mistake, and shows no password."""
    assert line.startswith(f"sidedoor: {file}: ")
    assert filled(error, file, port) in line
    assert line.count("\n") == 1
    assert "secret" not in line


def test_the_command_does_not_start_with_a_mistake(tmp_path: Path) -> None:
    """Nothing listens, and no file is made: an access log, a state, a socket."""
    mistakes = MISTAKES + MISTAKES_AT_THE_START
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    (tmp_path / "other").write_text("precious")
    files = [written(tmp_path, number, text, port) for number, (text, _) in enumerate(mistakes)]

    def started(file: Path) -> subprocess.CompletedProcess[str]:
        arguments = [*PROXY, "--config", str(file)]
        return subprocess.run(arguments, capture_output=True, text=True, timeout=SECONDS, check=False)

    with ThreadPoolExecutor(2) as two_at_a_time:
        ended = list(two_at_a_time.map(started, files))
    for file, done, (_, error) in zip(files, ended, mistakes, strict=True):
        assert (done.returncode, done.stdout) == (2, "")
        says(done.stderr, file, error, port)
        assert os.listdir(file.parent) == ["proxy.toml"]
    assert (tmp_path / "other").read_text() == "precious"
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_busy_admin_address_is_a_mistake_too(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        file = tmp_path / "proxy.toml"
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        file.write_text(f'listen = ["127.0.0.1:0"]\nadmin.listen = "{address}"\n')
        done = subprocess.run(
            [*PROXY, "--config", str(file)], capture_output=True, text=True, timeout=SECONDS, check=False
        )
    assert done.returncode == 2
    says(
        done.stderr,
        file,
        f"admin.listen: cannot listen on {address}: Address already in use; another program has it",
        0,
    )
