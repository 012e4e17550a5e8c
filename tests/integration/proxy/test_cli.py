"""`sidedoor proxy` as a program: what it says, how it ends, what it refuses."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SECONDS = 20.0
PROXY = [sys.executable, "-m", "sidedoor", "proxy"]


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A running proxy and its port."""
    with subprocess.Popen(
        [*PROXY, "--listen", "127.0.0.1:0", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert line.startswith("sidedoor proxy: listening on 127.0.0.1:"), line
            yield process, int(line.rpartition(":")[2])
        finally:
            process.kill()


def refused(*arguments: str) -> str:
    """The one line with which the proxy exits 2."""
    done = subprocess.run([*PROXY, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0(number: signal.Signals) -> None:
    with started() as (process, port):
        with socket.create_connection(("127.0.0.1", port)):
            process.send_signal(number)
            out, err = process.communicate(timeout=SECONDS)
        assert (process.returncode, out) == (0, "")
        logged = [json.loads(line)["event"] for line in err.splitlines()]
        assert logged == (["draining"] if number == signal.SIGTERM else [])


def test_a_killed_proxy_resets_its_flows() -> None:
    """SIGKILL would send a FIN: a stream that was cut off must not look complete."""
    with (
        started() as (process, port),
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(("127.0.0.1", port), SECONDS) as sock,
    ):
        target_port = listener.getsockname()[1].to_bytes(2, "big")
        sock.sendall(b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01" + target_port)
        with listener.accept()[0] as target:
            target.settimeout(SECONDS)
            target.sendall(b"x")
            answer = b""
            while len(answer) < 13:
                answer += sock.recv(13)
            process.kill()
            for end in (sock, target):
                with pytest.raises(ConnectionResetError):
                    end.recv(1)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_events_on_stdout(workers: str) -> None:
    with started("--events", "-", "--workers", workers) as (process, port):
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["addresses"] == [f"127.0.0.1:{port}"]
        process.terminate()
        assert process.wait(SECONDS) == 0


def test_events_and_users(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret\nnot this line\n")
    events = tmp_path / "events.jsonl"
    with started("--user", f"anna:{password}", "--events", str(events)) as (process, port):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.settimeout(SECONDS)
            sock.sendall(b"\x05\x01\x02\x01\x04anna\x06secret\x05\x09\x00\x01\x7f\x00\x00\x01\x00\x50")
            answer = b""
            while chunk := sock.recv(100):
                answer += chunk
            assert answer[:6] == b"\x05\x02\x01\x00\x05\x07"
        process.terminate()
        _, err = process.communicate(timeout=SECONDS)
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    assert [(line["source"], line["event"]) for line in lines] == [
        ("proxy", "proxy_listening"),
        ("proxy", "flow_refused"),
    ]
    assert lines[1]["reply"] == "COMMAND_NOT_SUPPORTED"
    assert "secret" not in events.read_text() + err


def test_what_cannot_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        assert f"cannot listen on {address}: Address already in use" in refused("--listen", address)
    assert "HOST:PORT" in refused("--listen", "1080")
    assert "--open" in refused("--listen", "0.0.0.0:0")


def test_command_line_over_file_over_default(tmp_path: Path) -> None:
    settings = tmp_path / "proxy.toml"
    settings.write_text('listen = ["0.0.0.0:0"]\n')
    assert "0.0.0.0:0" in refused("--config", str(settings))
    with started("--config", str(settings)):
        pass
    settings.write_text('lisen = ["127.0.0.1:0"]\n')
    assert "did you mean `listen`" in refused("--config", str(settings))


def test_empty_passwords_are_no_accident(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    assert "its first line is empty" in refused("--user", f"anna:{empty}")
    done = subprocess.run(
        [*PROXY, "hash-password"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "the password is empty" in done.stderr


def test_files_that_cannot_be_written_are_found_by_a_check(tmp_path: Path) -> None:
    settings = tmp_path / "proxy.toml"
    for key in ("access_log", "state"):
        for path, why in ((tmp_path, "is a folder"), (tmp_path / "no" / "file", "there is no folder")):
            settings.write_text(f'{key} = "{path}"\n')
            assert f"{key}: {path}: " in (said := refused("--config", str(settings), "--check"))
            assert why in said
    assert sorted(tmp_path.iterdir()) == [settings]


def test_files_that_are_not_there(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    assert missing in refused("--config", missing)
    assert missing in refused("--user", f"anna:{missing}")
    assert "NAME:FILE" in refused("--user", "anna")
    assert "--events" in refused("--events", f"{missing}/events")


def test_the_lab_is_not_imported() -> None:
    probe = (
        "import sys, proxy.cli; print(sorted({m.partition('.')[0] for m in sys.modules} & {'lab', 'client', 'censor'}))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=SECONDS, check=True)
    assert done.stdout == "[]\n"
