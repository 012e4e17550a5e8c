"""The messenger's processes as roles: the origin, the bridge, the receiver, and the sender with its traffic.

The sender's command `finish` (within_seconds) ends the traffic, waits for what is under way, and says how many
messages were never acknowledged.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import msgspec

from client.bridge import serve_bridge
from client.origin import serve_origin
from client.receiver import run_receiver
from client.sender import Sender
from client.settings import BridgeSettings, OriginSettings, ReceiverSettings, SenderSettings
from lab.control import RoleControl
from lab.scenario import Traffic
from sidedoor.settings import convert


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


async def run_sender(settings: dict[str, Any], control: RoleControl) -> None:
    """Send a message every `interval_seconds` until `finish`, or until cancelled."""
    role = convert(settings, SenderRole, origin="sender")
    sender = Sender(role.sender, control.emit)

    async def send() -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await sender.room()
            sender.submit(os.urandom(role.traffic.message_bytes))
            # On a grid, so that a slow moment does not change how many messages a run has.
            due += role.traffic.interval_seconds
            await asyncio.sleep(max(0.0, due - loop.time()))

    async with asyncio.TaskGroup() as group:
        group.create_task(sender.run(), name="sender")
        traffic = group.create_task(send(), name="traffic")

        async def finish(within_seconds: float) -> dict[str, Any]:
            traffic.cancel()
            await sender.drain(within_seconds)
            return {"pending": sender.unacknowledged}

        control.on("finish", finish)
        control.emit("role_ready")
