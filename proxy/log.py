"""The proxy's log. structlog is loaded with the first line: importing it takes as long as all the rest of the proxy.

`sidedoor proxy` says with `configure` how to log; whoever runs `proxy.server.serve` otherwise has configured
structlog as a whole, or lives with its defaults.
"""

from __future__ import annotations

from functools import cache
from typing import Any

_verbose: bool | None = None


def configure(*, verbose: bool) -> None:
    """Log JSON lines to stderr, from INFO (DEBUG when `verbose`) up. To be called before the first line."""
    global _verbose
    _verbose = verbose


def debug(event: str, /, **fields: Any) -> None:
    """What happens to single clients every day."""
    if _verbose is not False:
        _logger().debug(event, **fields)


def info(event: str, /, **fields: Any) -> None:
    """What somebody may want to count."""
    _logger().info(event, **fields)


def warning(event: str, /, **fields: Any) -> None:
    """What somebody should look at."""
    _logger().warning(event, **fields)


def exception(event: str, /, **fields: Any) -> None:
    """A mistake of this program; with the traceback of the exception that is being handled."""
    _logger().exception(event, **fields)


@cache
def _logger() -> Any:
    import structlog

    if _verbose is not None:
        from sidedoor import logs

        logs.configure(verbose=_verbose)
    return structlog.get_logger("proxy")
