"""The unit files: systemd finds nothing wrong with them, and they fit the settings and the example."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

import proxy
from proxy.settings import ProxySettings

DEPLOY = Path(proxy.__file__).parent / "deploy"
UNITS = DEPLOY / "systemd"
SECONDS = 60.0
HIGHEST_EXPOSURE = 2.5
"""On systemd's scale from 0 to 10, of which 10 is a service as root without any restriction."""


def values(unit: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", (UNITS / unit).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture
def analyzed(tmp_path: Path) -> Path:
    """A folder with the units, whose program is one that this machine has."""
    for unit in UNITS.iterdir():
        text = unit.read_text(encoding="utf-8")
        (tmp_path / unit.name).write_text(text.replace("/usr/bin/sidedoor", str(shutil.which("true"))))
    return tmp_path


def analyze(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.programs("systemd-analyze")
def test_systemd_finds_nothing_wrong_with_them(analyzed: Path) -> None:
    done = analyze(analyzed, "verify", "--man=no", "./sidedoor-proxy.service", "./sidedoor-proxy.socket")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.programs("systemd-analyze")
def test_systemd_says_when_something_is_wrong(analyzed: Path) -> None:
    (analyzed / "sidedoor-proxy.service").write_text("[Service]\nExecStart=/bin/no-such-program\nKilMode=mixed\n")
    done = analyze(analyzed, "verify", "--man=no", "./sidedoor-proxy.service")
    assert "KilMode" in done.stderr


@pytest.mark.programs("systemd-analyze")
def test_the_service_is_exposed_to_little(analyzed: Path) -> None:
    threshold = f"--threshold={round(HIGHEST_EXPOSURE * 10)}"
    done = analyze(analyzed, "security", "--offline=true", threshold, "./sidedoor-proxy.service")
    print(done.stdout.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr


def test_systemd_waits_for_longer_than_the_drain() -> None:
    [seconds] = values("sidedoor-proxy.service", "TimeoutStopSec")
    assert int(seconds) > ProxySettings().drain_seconds


def test_the_socket_unit_listens_where_the_example_says() -> None:
    example = tomllib.loads((DEPLOY / "proxy.toml").read_text(encoding="utf-8"))
    assert set(example["listen"]) <= set(values("sidedoor-proxy.socket", "ListenStream"))


def test_the_example_writes_where_the_service_may() -> None:
    example = (DEPLOY / "proxy.toml").read_text(encoding="utf-8")
    for key, folder in (("StateDirectory", "/var/lib/"), ("LogsDirectory", "/var/log/"), ("RuntimeDirectory", "/run/")):
        [name] = values("sidedoor-proxy.service", key)
        assert f"{folder}{name}/" in example


def test_service_and_socket_belong_together() -> None:
    assert {unit.stem for unit in UNITS.iterdir()} == {"sidedoor-proxy"}
    for command in values("sidedoor-proxy.service", "ExecStart"):
        assert command == "/usr/bin/sidedoor proxy --config /etc/sidedoor/proxy.toml"
