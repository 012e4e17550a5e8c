"""The messenger's processes as roles: the origin, the bridge, the receiver, and the sender with its traffic.

The sender's command `finish` (within_seconds) ends the traffic, waits for what is under way, and says how many
messages were never acknowledged, and how many bytes its host's interfaces have carried since it began. `connections`
says how many TCP connections are established there, by the port at their other end.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from client.bridge import serve_bridge
from client.origin import serve_origin
from client.receiver import run_receiver
from client.sender import Sender
from client.settings import BridgeSettings, OriginSettings, ReceiverSettings, SenderSettings
from lab.control import RoleControl
from lab.measurement.plaintext import body
from lab.scenario import Traffic
from sidedoor.events import Emit
from sidedoor.settings import convert

_INTERFACES = Path("/proc/self/net/dev")
_CONNECTIONS = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
_TIMER_SECONDS = 0.01
_LATE_SECONDS = 0.005  # what exceeds a timer's own granularity, by far


def interface_bytes(table: str) -> int:
    """Bytes received and sent by all interfaces but the loopback, out of the text of /proc/net/dev (proc(5))."""
    rows = (line.partition(":") for line in table.splitlines()[2:])
    return sum(int(row.split()[0]) + int(row.split()[8]) for name, _, row in rows if name.strip() != "lo")


def established(*tables: str) -> dict[str, int]:
    """Established TCP connections by remote port, out of the texts of /proc/net/tcp and tcp6 (proc(5))."""
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    return dict(Counter(str(int(row[2].rpartition(":")[2], 16)) for row in rows if row[3] == "01"))


async def watch_timer(emit: Emit) -> None:
    """Report each time that a 10 ms timer of this event loop is more than 5 ms late, until cancelled."""
    while True:
        due = time.monotonic() + _TIMER_SECONDS
        await asyncio.sleep(_TIMER_SECONDS)
        late = time.monotonic() - due
        if late > _LATE_SECONDS:
            emit("timer_late", seconds=round(late, 6))


async def run_origin(settings: dict[str, Any], control: RoleControl) -> None:
    """Serve until cancelled."""
    origin = convert(settings, OriginSettings, origin="origin")
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(serve_origin(origin, control.emit, ready=ready), name="origin")
        await ready.wait()
        control.emit("role_ready")


async def run_bridge(settings: dict[str, Any], control: RoleControl) -> None:
    """Serve until cancelled."""
    bridge = convert(settings, BridgeSettings, origin="bridge")
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(serve_bridge(bridge, control.emit, ready=ready), name="bridge")
        await ready.wait()
        control.emit("role_ready")


async def run_receiver_role(settings: dict[str, Any], control: RoleControl) -> None:
    """Receive until cancelled."""
    receiver = convert(settings, ReceiverSettings, origin="receiver")
    control.emit("role_ready")
    await run_receiver(receiver, control.emit)


class SenderRole(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The sender, and what it sends."""

    sender: SenderSettings
    traffic: Traffic = Traffic()
    marker: str = ""
    """What each message begins with, as far as there is room; random bytes are behind it."""
    watch_timer: bool = False
    """Report (`timer_late`) when a timer of this process is late: the machine has too much to do for its times."""


async def run_sender(settings: dict[str, Any], control: RoleControl) -> None:
    """Send a message every `interval_seconds` until `finish`, or until cancelled."""
    role = convert(settings, SenderRole, origin="sender")
    sender = Sender(role.sender, control.emit)
    carried_before = interface_bytes(_INTERFACES.read_text())

    async def send() -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await sender.room()
            sender.submit(body(role.marker, role.traffic.message_bytes, os.urandom(role.traffic.message_bytes)))
            # On a grid, so that a slow moment does not change how many messages a run has.
            due += role.traffic.interval_seconds
            await asyncio.sleep(max(0.0, due - loop.time()))

    async with asyncio.TaskGroup() as group:
        group.create_task(sender.run(), name="sender")
        traffic = group.create_task(send(), name="traffic")
        if role.watch_timer:
            group.create_task(watch_timer(control.emit), name="timer")

        async def finish(within_seconds: float) -> dict[str, Any]:
            traffic.cancel()
            await sender.drain(within_seconds)
            carried = interface_bytes(_INTERFACES.read_text()) - carried_before
            return {"pending": sender.unacknowledged, "wire_bytes": carried}

        async def connections() -> dict[str, Any]:
            return {"established": established(*(table.read_text() for table in _CONNECTIONS if table.exists()))}

        control.on("finish", finish)
        control.on("connections", connections)
        control.emit("role_ready")
