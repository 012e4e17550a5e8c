"""The access log on real files, pipes, and a device that is always full."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy import access
from proxy.access import AccessLog, AccessRecord, flow_line, piece_end, quoted, way_of
from sidedoor.settings import UsageError
from tests.integration.proxy.world import SECONDS

FULL = Path("/dev/full")


def record(flow: int = 1, user: str = "anna") -> AccessRecord:
    return AccessRecord(
        time=datetime.fromtimestamp(1.7e9, UTC),
        flow=flow,
        worker=0,
        client="127.0.0.1:40000",
        listener="127.0.0.1:1080",
        user=user,
        protocol="socks5",
        command="connect",
        target="example.com:443",
        address="192.0.2.1:443",
        rule="",
        via="",
        reply="succeeded",
        reason="eof",
        bytes_up=10,
        bytes_down=2000,
        seconds=1.25,
        dns_seconds=None,
        dial_seconds=0.01,
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def until(holds: Callable[[], object]) -> None:
    """Look, turn by turn of the loop, until it does."""
    async with asyncio.timeout(SECONDS):
        while not holds():  # noqa: ASYNC110  # what a thread does to a file sets no event
            await asyncio.sleep(0)


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The log lines of the access log."""
    found: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(access.log, "warning", lambda event, **fields: found.append((event, fields)))
    return found


def test_pieces_end_with_a_line() -> None:
    assert piece_end(b"one\ntwo\n", 0) == 8
    many = b"x" * 99 + b"\n"
    end = piece_end(many * 100, 0)
    assert end == access.ATOMIC_BYTES // 100 * 100
    assert piece_end(many * 100, 9_950) == 10_000
    long = b"y" * (access.ATOMIC_BYTES + 5) + b"\n"
    assert piece_end(long + many, 0) == len(long)


@pytest.mark.parametrize("user", ["", "anna", 'quoted "\\', "Zoë", "\x1b[2J"])
@pytest.mark.parametrize("seconds", [0.0, 0.25])
def test_a_flows_line_is_what_its_record_would_be(user: str, seconds: float) -> None:
    full = AccessRecord(
        time=datetime.fromtimestamp(1.7e9 + 0.25, UTC),
        flow=7,
        worker=1,
        client="[::1]:40000",
        listener="[::1]:1080",
        user=user,
        protocol="socks5",
        command="connect",
        target="example.com:443",
        address="192.0.2.1",
        rule=user,
        via="far",
        reply="SUCCEEDED",
        reason="eof",
        bytes_up=10,
        bytes_down=2000,
        seconds=1.25,
        dns_seconds=seconds or None,
        dial_seconds=seconds or None,
    )
    way = way_of("[::1]:1080", user, "socks5", "connect", user, "far")
    target = quoted("example.com:443")
    made = flow_line(
        1.7e9 + 0.25, 7, 1, "[::1]:40000", way, target, "192.0.2.1", "eof", 10, 2000, 1.25, seconds, seconds
    )
    expected = json.loads(msgspec.json.encode(full))
    assert list(json.loads(made).items()) == list((expected | {"time": "2023-11-14T22:13:20.250000Z"}).items())


async def test_records_become_lines_after_a_moment(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "log"))
    log.write(record())
    assert lines(tmp_path / "log") == []
    await until(lambda: lines(tmp_path / "log"))
    log.close()
    [line] = lines(tmp_path / "log")
    assert list(line)[:5] == ["time", "flow", "worker", "client", "listener"]
    assert line["time"] == "2023-11-14T22:13:20Z"
    assert (line["user"], line["dns_seconds"], line["dial_seconds"]) == ("anna", None, 0.01)
    assert log.take_lost() == 0


async def test_a_line_has_all_fields_and_the_documentation_names_them(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "log"))
    log.write(AccessRecord(client="127.0.0.1:40000", reply="NOT_ALLOWED"))
    log.close()
    [line] = lines(tmp_path / "log")
    assert line["flow"] is line["dial_seconds"] is None
    assert datetime.fromisoformat(line["time"]) <= datetime.now(UTC)
    text = (Path(__file__).parents[3] / "docs/proxy-metrics.md").read_text(encoding="utf-8")
    named = re.findall(
        r"`(\w+)`", "".join(re.findall(r"^\|(.*?)\|", text.partition("## The access log")[2], re.MULTILINE))
    )
    assert sorted(named) == sorted(line)


async def test_closing_writes_what_there_is_and_a_new_log_appends(tmp_path: Path) -> None:
    for flow in (1, 2):
        log = AccessLog(str(tmp_path / "log"))
        log.write(record(flow))
        log.close()
    assert [line["flow"] for line in lines(tmp_path / "log")] == [1, 2]


async def test_a_log_that_had_nothing_to_write_closes_too(tmp_path: Path) -> None:
    AccessLog(str(tmp_path / "log")).close()
    assert lines(tmp_path / "log") == []


async def test_many_records_are_written_before_their_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "BATCH_LINES", 10)
    monkeypatch.setattr(access, "FLUSH_SECONDS", 1000.0)
    log = AccessLog(str(tmp_path / "log"))
    for flow in range(25):
        log.write(record(flow))
    # A write is seen page by page: the last line may have no end yet.
    await until(lambda: (tmp_path / "log").read_text().count("\n") == 20)
    log.close()
    assert [line["flow"] for line in lines(tmp_path / "log")] == list(range(25))


async def test_after_reopening_a_new_file_takes_over(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "log"))
    log.write(record(1))
    (tmp_path / "log").rename(tmp_path / "log.1")
    log.write(record(2))
    log.reopen()
    log.write(record(3))
    log.close()
    assert [line["flow"] for line in lines(tmp_path / "log.1")] == [1, 2]
    assert [line["flow"] for line in lines(tmp_path / "log")] == [3]


async def test_where_the_folder_has_gone_the_old_file_goes_on(
    tmp_path: Path, warnings: list[tuple[str, dict[str, Any]]]
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = AccessLog(str(folder / "log"))
    folder.rename(tmp_path / "moved")
    log.reopen()
    log.write(record(1))
    log.close()
    assert [line["flow"] for line in lines(tmp_path / "moved" / "log")] == [1]
    [(event, fields)] = warnings
    assert event == "access_log_failed"
    assert fields["error"] == "No such file or directory"


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
async def test_a_full_disk_loses_lines_counts_them_and_says_so_once(
    warnings: list[tuple[str, dict[str, Any]]],
) -> None:
    log = AccessLog(str(FULL))
    for flow in range(3):
        log.write(record(flow))
    log.reopen()
    log.write(record())
    log.close()
    assert log.take_lost() == 4
    assert log.take_lost() == 0
    [(event, fields)] = warnings
    assert (event, fields["lost"], fields["error"]) == ("access_log_failed", 3, "No space left on device")


async def test_a_line_that_a_full_disk_cut_off_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings: list[tuple[str, dict[str, Any]]]
) -> None:
    path, write, room = tmp_path / "log", os.write, [700]

    def limited(fd: int, data: bytes) -> int:
        if threading.current_thread().name != "access log":
            return write(fd, data)
        if not room[0]:
            raise OSError(28, "No space left on device")
        size = write(fd, bytes(data)[: room[0]])
        room[0] -= size
        return size

    monkeypatch.setattr(access.os, "write", limited)
    log = AccessLog(str(path))
    for flow in (1, 2, 3):
        log.write(record(flow))
    log.reopen()
    await until(lambda: not room[0] and warnings)
    room[0] = 10_000
    log.write(record(4))
    log.close()
    whole, torn, last = path.read_text().splitlines()
    assert (json.loads(whole)["flow"], json.loads(last)["flow"]) == (1, 4)
    with pytest.raises(json.JSONDecodeError):
        json.loads(torn)
    assert log.take_lost() == 2


async def test_a_reader_that_does_not_read_costs_lines_and_never_the_proxy(
    monkeypatch: pytest.MonkeyPatch, warnings: list[tuple[str, dict[str, Any]]], tmp_path: Path
) -> None:
    monkeypatch.setattr(access, "BATCH_LINES", 100)
    monkeypatch.setattr(access, "QUEUE_BYTES", 1 << 18)
    monkeypatch.setattr(access, "CLOSE_SECONDS", 0.05)
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(str(tmp_path / "pipe"))
    began = time.monotonic()
    for flow in range(3000):
        log.write(record(flow))
    log.close()
    assert time.monotonic() - began < SECONDS
    lost = log.take_lost()
    assert 1000 < lost < 3000
    assert [event for event, _ in warnings] == ["access_log_hangs"]

    # Once somebody reads, what was handed over comes, in whole lines.
    data = b""
    async with asyncio.timeout(SECONDS):
        while data.count(b"\n") < 3000 - lost:
            try:
                data += os.read(reader, 1 << 16)
            except BlockingIOError:
                await asyncio.sleep(0)
    assert len([json.loads(line) for line in data.splitlines()]) == 3000 - lost
    os.close(reader)
    log._writer._thread.join(SECONDS)  # type: ignore[union-attr]
    os.close(log._writer._fd)


async def test_workers_share_a_pipe_line_by_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    logs = [AccessLog(str(tmp_path / "pipe")) for _ in range(2)]
    for flow in range(300):
        for log in logs:
            log.write(record(flow))
    data = b""
    async with asyncio.timeout(SECONDS):
        while data.count(b"\n") < 600:
            try:
                data += os.read(reader, 1 << 16)
            except BlockingIOError:
                await asyncio.sleep(0.001)
    assert sorted(json.loads(line)["flow"] for line in data.splitlines()) == sorted([*range(300)] * 2)
    for log in logs:
        log.close()
    os.close(reader)


async def test_text_that_is_no_unicode_loses_its_line_only(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "log"))
    for flow, user in enumerate(("anna", "\udcff", 'a"\nb')):
        log.write(record(flow, user))
    log.close()
    assert [(line["flow"], line["user"]) for line in lines(tmp_path / "log")] == [(0, "anna"), (2, 'a"\nb')]
    assert log.take_lost() == 1


async def test_where_no_line_can_be_written_there_is_none(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "log"))
    log.write(record(1, "\udcff"))
    (tmp_path / "log").rename(tmp_path / "log.1")
    log.close()
    assert log.take_lost() == 1
    assert not (tmp_path / "log").exists(), "nothing was opened again"


async def test_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    log = AccessLog("-")
    log.write(record(7))
    log.close()
    assert json.loads(capfd.readouterr().out)["flow"] == 7


def test_a_log_made_before_a_fork_writes_in_each_process(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "log"))

    async def write(flow: int) -> None:
        log.write(record(flow))
        log.close()

    pid = os.fork()
    if not pid:
        try:
            asyncio.run(write(1))
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    asyncio.run(write(2))
    assert [line["flow"] for line in lines(tmp_path / "log")] == [1, 2]


def test_a_path_that_cannot_be_written_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"access_log: .*/missing/log: cannot be written: No such file or directory"):
        AccessLog(str(tmp_path / "missing" / "log"))
