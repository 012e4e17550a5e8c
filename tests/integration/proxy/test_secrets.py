"""No password, plain or hashed, gets out of the proxy: not into logs, events, metrics, the admin endpoint, /proc."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from proxy.auth import hash_password
from proxy.settings import ProxySettings
from sidedoor import settings
from tests.integration.proxy.attack import (
    COMMAND,
    LOCKED,
    PROTOCOLS,
    SUCCEEDED,
    Program,
    ask,
    family,
    get,
    outcome,
    program,
    socks5,
    socks5_domain,
    until,
)
from tests.integration.proxy.world import SECONDS, echo, target

PLAIN, HASHED, FROM_FILE, UPSTREAM = "plain-Xo7Ahng", "hashed-Ahkae7u", "file-eiTh3ah", "upstream-Ooqu5ae"
WRONG, NEXT = "wrong-Eiquoh4", "next-uoL8oox"
RIGHT = {"anna": PLAIN, "bert": HASHED, "carl": FROM_FILE}

# Runs the program that its arguments name with mistakes in it, each of which has passwords around.
MISTAKEN = """
import sys
from proxy.auth import Users
from proxy.flows import Flow
from proxy.handshake.socks5 import Socks5

verify, opened, judge = Users.verify, Flow.opened, Socks5._judge

def verify_or_fail(users, user, password, source, done):
    if user == b"fault-in-verify":
        raise RuntimeError("a mistake")
    return verify(users, user, password, source, done)

def opened_or_fail(flow):
    if flow.target.host == "localhost":
        raise RuntimeError("a mistake")
    opened(flow)

def judge_or_fail(machine, command, target):
    if target.port == 2:
        raise RuntimeError("a mistake")
    return judge(machine, command, target)

Users.verify, Flow.opened, Socks5._judge = verify_or_fail, opened_or_fail, judge_or_fail
sys.argv = ["sidedoor", *sys.argv[4:]]
from sidedoor.cli import main
main()
"""


def written(folder: Path, hashed: str, password: str = PLAIN) -> Path:
    config = folder / "proxy.toml"
    config.write_text(
        f"""
        listen = ["127.0.0.1:0"]
        inside = "allow"
        access_log = "{folder}/access.log"
        [users]
        anna = "{password}"
        bert = {{password = "{hashed}", max_flows = 9}}
        [upstreams]
        far = {{url = "socks5://127.0.0.1:1", user = "dora", password = "{UPSTREAM}"}}
        [[rules]]
        action = "allow"
        destinations = ["far.example"]
        via = "far"
        """
    )
    return config


async def test_no_password_gets_out(tmp_path: Path) -> None:
    hashed = hash_password(HASHED)
    config, file = written(tmp_path, hashed), tmp_path / "carl"
    file.write_text(f"{FROM_FILE}\n")
    events, admin = tmp_path / "events.jsonl", tmp_path / "admin"
    arguments = ["--config", str(config), "--user", f"carl:{file}", "--verbose", "--events", str(events)]
    prefix = [sys.executable, "-c", MISTAKEN]
    seen: dict[str, str] = {}
    with program(tmp_path, *arguments, "--admin", f"unix:{admin}", prefix=prefix) as running:
        async with target(echo) as port:
            await visit(running, port)
            async with asyncio.timeout(SECONDS):
                seen |= {path: await get(admin, path) for path in ("/metrics", "/config", "/flows", "/health")}
            seen |= {f"{pid} {name}": text for pid in family(running.process.pid) for name, text in processes(pid)}
            written(tmp_path, hashed, NEXT)
            running.reload()
            running.until_logged("reloaded")
            assert outcome(await ask(running.address, socks5("127.0.0.1", port, ("anna", NEXT)))) == SUCCEEDED
            config.write_text(f'users.anna = {{pasword = "{NEXT}"}}\n')
            running.reload()
            running.until_logged("reload_failed")
            config.write_text(f'users.anna = "{NEXT}\n')
            running.reload()
            await until(lambda: sum(line["event"] == "reload_failed" for line in running.logged()) == 2)
    access = tmp_path / "access.log"
    seen |= {path.name: path.read_text() for path in (running.err, running.out, events, access)}
    assert seen["stderr"].count('"session_failed"') == 3, "the mistakes were made"
    assert '"client_lost"' in seen["stderr"] or '"client_refused"' in seen["stderr"], "it was verbose"
    assert "login_failed" in seen["stderr"]
    assert "upstream_failed" in seen["stderr"]
    for where, what in (("access.log", "anna"), ("events.jsonl", "flow_opened"), ("/config", "dora")):
        assert what in seen[where]
    for where, text in seen.items():
        for secret in secrets(hashed):
            assert secret not in text, where


def secrets(hashed: str) -> list[str]:
    """What must not be seen, as it is and as HTTP writes it."""
    salt, digest = hashed.split("$")[-2:]
    passwords = [*RIGHT.values(), WRONG, UPSTREAM, NEXT]
    basic = [f"{user}:{password}" for user in RIGHT for password in (RIGHT[user], WRONG)]
    return [*passwords, salt, digest, *(b64encode(one.encode()).decode() for one in basic)]


async def visit(running: Program, port: int) -> None:
    """Right and wrong log-ins in each protocol, and requests that go wrong in every way."""
    address = running.address
    for write in PROTOCOLS.values():
        for user, password in RIGHT.items():
            expected = LOCKED if "socks4" in write.__name__ else SUCCEEDED
            assert outcome(await ask(address, write("127.0.0.1", port, (user, password)))) == expected
    who = "anna", PLAIN
    for wire in (
        socks5("far.example", 80, who),
        socks5("127.0.0.1", 9, who),
        b"\x05\x01\x02\x01\x04anna" + bytes((len(PLAIN),)) + PLAIN.encode() + b"\x05\x09\0\x01" + bytes(6),
        f"GET http://anna:{PLAIN}@x/ HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        f"CONNECT anna:{PLAIN}@x:80 HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        f"CONNECT x:80 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic {PLAIN}:\r\n\r\n".encode(),
        f"CONNECT x:80 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Bearer {PLAIN}\r\n\r\n".encode(),
        b"\x05\x01\x02\x07\x04anna" + PLAIN.encode(),
    ):
        assert outcome(await ask(address, wire)) != SUCCEEDED
    for wire in (
        socks5("127.0.0.1", port, ("fault-in-verify", PLAIN)),
        socks5("127.0.0.1", 2, who),
        socks5_domain("localhost", port, who),
    ):
        await ask(address, wire)  # ends without an answer, as a mistake does
    for write in PROTOCOLS.values():
        assert outcome(await ask(address, write("127.0.0.1", port, ("anna", WRONG)))) == LOCKED


def processes(pid: int) -> list[tuple[str, str]]:
    """What everybody, or its user, can see of a process."""
    names = ("cmdline", "environ", "comm", "status")
    return [(name, Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")) for name in names]


@pytest.mark.parametrize(
    "text",
    [
        f'users.anna = "{PLAIN}"\nlisten = ["0.0.0.0:x"]',
        f'users = {{anna = "{PLAIN * 30}"}}',
        f'users.anna.password = ["{PLAIN}"]',
        f'users = ["{PLAIN}"]',
        f'users = "{PLAIN}"',
        f'users.anna = "$argon2{PLAIN}"',
        f'users.anna = {{password = "{PLAIN}", {PLAIN} = 1}}'.replace(f"{PLAIN} =", "wrong ="),
        f'[upstreams.far]\nurl = "socks5://anna:{PLAIN}@x:1"',
        f'[upstreams.far]\nurl = "http://x:1"\npassword = {{x = "{PLAIN}"}}',
        f'upstreams.far = "http://anna:{PLAIN}@x:1"',
    ],
)
def test_settings_that_are_wrong_are_refused_without_their_passwords(text: str, tmp_path: Path) -> None:
    config = tmp_path / "proxy.toml"
    config.write_text(text)
    command = [*COMMAND, "--config", str(config), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert PLAIN not in done.stdout + done.stderr


def test_a_traceback_with_settings_in_it_has_no_password(tmp_path: Path) -> None:
    hashed = hash_password(HASHED)
    chosen = settings.read(written(tmp_path, hashed), ProxySettings)
    shown: Any = [repr(chosen), repr(chosen.accounts), repr(chosen.upstreams), repr(chosen.__rich_repr__())]
    assert "anna" in shown[0]
    for secret in secrets(hashed):
        assert secret not in json.dumps(shown)
