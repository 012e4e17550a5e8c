"""Captures on real packets, in a network namespace of their own, as an ordinary user would have it."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from lab.measurement.packets import read

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.netns

# Run inside the namespace: the capture's folder is argv[1]; what it prints is checked outside.
PROGRAM = """
import asyncio, json, socket, sys, time
from lab.capture import Capture, CaptureSettings, run_capture

def datagrams():
    sender, receiver = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    receiver.bind(("127.0.0.1", 0))
    return lambda payload: sender.sendto(payload, receiver.getsockname())

async def count(folder):
    send = datagrams()
    capture = Capture(CaptureSettings(folder=folder, host="one", interfaces={"loop": "lo"}))
    capture.start()
    before = time.time()
    send(b"x" * 60000)
    for number in range(20000):
        send(b"%d" % number)
        if number % 100 == 0:
            await asyncio.sleep(0)
    await capture.flush()
    flushed = capture.stats()["loop"].packets
    stats = (await capture.stop())["loop"]
    again = (await capture.stop())["loop"]
    print(json.dumps([before, time.time(), flushed, stats.packets, stats.dropped, again == stats]))

async def burst(folder):
    send = datagrams()
    async with Capture(CaptureSettings(folder=folder, host="burst", interfaces={"loop": "lo"}, snaplen=100)) as capture:
        for _ in range(1000):
            send(b"y" * 40000)  # 40 MB into a ring of 8 MB, while the loop does not run
    print(json.dumps(capture.stats()["loop"].dropped))

async def role(folder):
    send, events = datagrams(), []
    settings = CaptureSettings(folder=folder, host="role", interfaces={"loop": "lo"})
    ready = asyncio.Event()
    def emit(event, /, **fields):
        events.append([event, fields])
        ready.set()
    task = asyncio.create_task(run_capture(settings, emit))
    await ready.wait()
    send(b"last words")
    task.cancel()
    await asyncio.wait([task])
    print(json.dumps([task.cancelled(), events]))

async def wrong(folder):
    capture = Capture(CaptureSettings(folder=folder, host="wrong", interfaces={"a": "lo", "b": "nosuch0"}))
    try:
        capture.start()
    except OSError as error:
        print(json.dumps([error.errno, capture.stats()]))

asyncio.run(globals()[sys.argv[2]](sys.argv[1]))
"""


def inside(what: str, folder: Path) -> object:
    """Run a part of PROGRAM in new user and network namespaces; what it printed."""
    script = 'ip link set lo up && exec "$@"'
    done = subprocess.run(
        ["unshare", "-Urn", "sh", "-c", script, "sh", sys.executable, "-c", PROGRAM, str(folder), what],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout)


def test_every_packet_once_with_its_time_and_all_its_bytes(tmp_path: Path) -> None:
    before, after, flushed, packets, dropped, same = inside("count", tmp_path)  # type: ignore[misc]  # as printed
    assert (flushed, packets, dropped, same) == (20001, 20001, 0, True)
    found = list(read(tmp_path / "one-loop.pcap"))
    assert [packet.payload for packet in found] == [b"x" * 60000, *(b"%d" % number for number in range(20000))]
    assert before <= found[0].t <= found[-1].t <= after
    assert all(earlier.t <= later.t for earlier, later in pairwise(found))


def test_what_the_kernel_had_to_drop_is_counted(tmp_path: Path) -> None:
    dropped = inside("burst", tmp_path)
    written = (tmp_path / "burst-loop.pcap").read_bytes()
    records = (len(written) - 24) // (16 + 100)
    assert isinstance(dropped, int)
    assert 0 < dropped < 1000
    assert records + dropped == 1000
    stats = msgspec.json.decode((tmp_path / "burst.json").read_bytes())
    assert stats == {"loop": {"packets": records, "dropped": dropped}}


def test_a_cancelled_role_leaves_complete_files_and_says_so(tmp_path: Path) -> None:
    assert inside("role", tmp_path) == [
        True,
        [["role_ready", {}], ["capture_ended", {"host": "role", "packets": 1, "dropped": 0}]],
    ]
    (packet,) = read(tmp_path / "role-loop.pcap")
    assert packet.payload == b"last words"


def test_a_device_that_is_not_there_fails_and_leaves_nothing_open(tmp_path: Path) -> None:
    assert inside("wrong", tmp_path) == [19, {}]
