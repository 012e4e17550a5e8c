"""Routes: how a connection to the origin comes about, stage by stage.

A `Route` dials; the dial passes stages, each timed in an `Attempt`, and ends with a `Connection`
(`client.routes.connection`) or a `DialError` that names stage and failure. Failures are OONI's strings (spec df-007;
`client.routes.failures`). A new route is one new module with a `dial`, its settings type (`client.routes.settings`),
and its line in `client.routes.catalogue`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from client.routes.failures import failure_of

if TYPE_CHECKING:
    from client.routes.connection import Connection

STAGES = (
    "dns",
    "tcp",
    "proxy_tls",
    "socks_greeting",
    "socks_auth",
    "socks_request",
    "http_connect",
    "tls",
    "upgrade",
)
"""All of them, in the order that a dial passes them; each route has those that it needs."""


class DialError(Exception):
    """A dial ended without a connection. `stage`: one of STAGES; `failure`: OONI's string."""

    def __init__(self, stage: str, failure: str, detail: str = "") -> None:
        super().__init__(f"{stage}: {failure}" + (f" ({detail})" if detail else ""))
        self.stage = stage
        self.failure = failure


@dataclass(slots=True)
class Attempt:
    """What one dial did so far. `stages`: {stage: seconds} of the finished ones; `locals`: "address:port" of each TCP
    socket that it used, those that failed or lost the race included; `addresses`: what the origin's name was found to
    be, where the client asks a nameserver for it; `entered` is called as each stage begins."""

    stages: dict[str, float] = field(default_factory=dict)
    locals: list[str] = field(default_factory=list)
    addresses: tuple[str, ...] = ()
    entered: Callable[[str], None] = lambda stage: None

    @asynccontextmanager
    async def stage(self, name: str) -> AsyncIterator[None]:
        """Time a stage. Any failure inside, timeouts included, becomes a DialError of this stage."""
        began = time.monotonic()
        self.entered(name)
        try:
            yield
        except DialError:
            raise
        except Exception as error:
            raise DialError(name, failure_of(error), str(error)) from error
        finally:
            self.stages[name] = time.monotonic() - began


class Route(Protocol):
    """One way to the origin."""

    @property
    def name(self) -> str: ...

    async def dial(self, attempt: Attempt) -> Connection:
        """A connection to the origin. Raises DialError; `attempt` tells what happened on the way in either case."""
        ...
