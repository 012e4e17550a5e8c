"""What is logged and when structlog is loaded, each in a process of its own: both are said once per process."""

import json
import subprocess
import sys

PROBE = "import sys; from proxy import log; "


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PROBE + code], capture_output=True, text=True, timeout=20, check=True)


def test_structlog_is_loaded_with_the_first_line() -> None:
    code = "log.configure(verbose=False); log.debug('x'); print('structlog' in sys.modules)"
    done = run(code + "; log.info('client_refused', client='a'); print('structlog' in sys.modules)")
    assert done.stdout.split() == ["False", "True"]
    line = json.loads(done.stderr)
    assert (line["level"], line["event"], line["client"]) == ("info", "client_refused", "a")


def test_verbose() -> None:
    code = "log.configure(verbose=True); log.debug('a'); log.warning('b')"
    code += "\ntry: 1 / 0\nexcept Exception: log.exception('c')"
    lines = [json.loads(line) for line in run(code).stderr.splitlines()]
    assert [line["level"] for line in lines] == ["debug", "warning", "error"]
    assert "ZeroDivisionError" in lines[2]["exception"]


def test_elsewhere_structlog_is_left_as_it_is() -> None:
    code = (
        "import structlog; structlog.configure(processors=[structlog.processors.JSONRenderer()]); log.debug('x', n=1)"
    )
    assert json.loads(run(code).stdout) == {"event": "x", "n": 1}
