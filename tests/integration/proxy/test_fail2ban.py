"""The fail2ban filter on lines that the proxy's log really prints, whatever the user calls himself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from ast import literal_eval
from datetime import datetime
from pathlib import Path

import pytest

FILTER = Path(__file__).resolve().parents[3] / "proxy/deploy/fail2ban/sidedoor-proxy.conf"

pytestmark = pytest.mark.programs("fail2ban-regex")

PROGRAM = """
import json, sys
from proxy import auth, log
log.configure(verbose=False)
for source, user in json.load(sys.stdin):
    auth.log_failure(source, f"{source}:1234", user.encode("latin-1"), "wrong user or password")
log.info("client_refused", client="192.0.2.99:1", reason='{"source": "192.0.2.98", "client": "a", "user": "b"')
log.warning("client_dropped", client="192.0.2.97:1", error="no memory")
"""

VICTIM = "203.0.113.66"
HOSTILE = [
    "anna",
    "",
    "j\xc3\xb6rg",
    "\xff\xfe",
    "\x00\n\r\t\x1b[2J\x7f",
    '"',
    "\\",
    '\\"',
    "<HOST>",
    VICTIM,
    f'", "source": "{VICTIM}',
    f'\\", "source": "{VICTIM}", "client": "x", "user": "',
    f'\n{{"source": "{VICTIM}", "client": "x", "user": "y", "reason": "z", "event": "login_failed", '
    '"level": "warning", "timestamp": "2026-01-01T00:00:00.000000Z"}',
    '", "event": "login_failed", "level": "warning", "timestamp": "2001-01-01T00:00:00.000000Z"}',
    "2001-01-01T00:00:00.000000Z",
    '"timestamp": "2001-01-01T00:00:00.000000Z"}',
    "\xe2\x80\xa8\xc2\x85" + VICTIM,
    "a" * 255,
    '"' * 255,
]


def lines_of(logins: list[tuple[str, str]]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(logins),
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    return done.stderr.splitlines(keepends=True)


def matches(path: Path, text: str, *options: str) -> str:
    """What fail2ban-regex prints about the log `text` with `options`."""
    path.write_text(text, encoding="utf-8")
    command = ["fail2ban-regex", *options, str(path), str(FILTER)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_every_failure_is_found_and_nobody_else_is_blamed(tmp_path: Path) -> None:
    sources = [("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::1"), ("::ffff:192.0.2.3", "192.0.2.3")]
    logins = [(sources[i % 3][0], user) for i, user in enumerate(HOSTILE)]
    lines = lines_of(logins)
    assert len(lines) == len(HOSTILE) + 2
    found = matches(tmp_path / "log", "".join(lines), "--out", "ip").split()
    assert found == [sources[i % 3][1] for i in range(len(HOSTILE))]


def test_the_time_is_that_of_the_line(tmp_path: Path) -> None:
    lines = lines_of([("192.0.2.1", user) for user in HOSTILE])[: len(HOSTILE)]
    rows = matches(tmp_path / "log", "".join(lines), "--out", "row").splitlines()
    stamps = [datetime.fromisoformat(json.loads(line)["timestamp"]).timestamp() for line in lines]
    assert [literal_eval(row)[0][1] for row in rows] == [int(stamp) for stamp in stamps]


def test_lines_of_the_journal(tmp_path: Path) -> None:
    [line, *_] = lines_of([("192.0.2.1", "anna")])
    text = f"host.example sidedoor[4711]: {line}"
    assert matches(tmp_path / "log", text, "--out", "ip").split() == ["192.0.2.1"]


def test_the_summary_counts_them(tmp_path: Path) -> None:
    lines = lines_of([("192.0.2.1", user) for user in HOSTILE])
    summary = matches(tmp_path / "log", "".join(lines))
    assert re.search(rf"Lines: {len(lines)} lines, 0 ignored, {len(HOSTILE)} matched, 2 missed", summary)
