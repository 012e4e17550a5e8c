"""The method that others publish: iperf3 through proxychains4, one connection, on loopback."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from pathlib import Path

from lab.benchmarks.peers import find, free_port
from lab.benchmarks.processes import BenchError, running

PROGRAMS = ("iperf3", "proxychains4")
_START_SECONDS = 5.0
_CHAIN = """\
strict_chain
quiet_mode
tcp_read_time_out 15000
tcp_connect_time_out 8000
[ProxyList]
socks5 127.0.0.1 {port}
"""


def missing() -> str | None:
    """Why it cannot be run here, and what to do; None: it can."""
    absent = [program for program in PROGRAMS if find(program) is None]
    return f"{' and '.join(absent)} not found (apt-get install iperf3 proxychains4)" if absent else None


def run(proxy_port: int, *, seconds: int, reverse: bool, folder: Path) -> tuple[float, int]:
    """Bytes per second and bytes that the receiving end counted. `proxy_port` 0: no proxy. Raises BenchError."""
    program, chains = map(find, PROGRAMS)
    assert program is not None, "the caller has looked"
    assert chains is not None, "the caller has looked"
    port, settings = free_port(), folder / "proxychains.conf"
    settings.write_text(_CHAIN.format(port=proxy_port))
    client = [program, "-c", "127.0.0.1", "-p", str(port), "-t", str(seconds), "-J", *(["-R"] if reverse else [])]
    if proxy_port:
        client = [chains, "-q", "-f", str(settings), *client]
    server = [program, "-s", "-p", str(port), "-B", "127.0.0.1", "--forceflush"]
    return measure(server, client, seconds)


def measure(server: list[str], client: list[str], seconds: int) -> tuple[float, int]:
    """The same, of these two commands: `iperf3 -s ... --forceflush`, `iperf3 -c ... -J`. Raises BenchError."""
    with running(server, stdout=subprocess.PIPE) as process:
        _await_listening(process)
        try:
            done = subprocess.run(
                client, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds + 20, check=False
            )
        except subprocess.TimeoutExpired:
            raise BenchError(f"iperf3 did not end within {seconds + 20} s") from None
    return parse(done.stdout)


def parse(output: bytes) -> tuple[float, int]:
    """Bytes per second and bytes received, from the output of `iperf3 -J`. Raises BenchError."""
    try:
        report = json.loads(output)
        if "error" in report:
            raise BenchError(f"iperf3: {report['error']}")
        received = report["end"]["sum_received"]
        rate, moved = received["bits_per_second"] / 8, int(received["bytes"])
    except (ValueError, KeyError, TypeError) as error:
        raise BenchError(f"iperf3 gave no result: {output[:200].decode(errors='replace').strip()!r}") from error
    if not moved:
        raise BenchError("iperf3 moved no byte")
    return rate, moved


def _await_listening(process: subprocess.Popen[bytes]) -> None:
    """Its first lines say that it listens; a connection to find out would be taken for a client."""
    assert process.stdout is not None
    deadline = time.monotonic() + _START_SECONDS
    with contextlib.suppress(ValueError):
        while time.monotonic() < deadline and (line := process.stdout.readline()):
            if b"listening" in line:
                return
    raise BenchError("iperf3 -s did not listen")
