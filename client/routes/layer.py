"""What stands between TLS and the TCP transport: bytes that go out, or come in, are changed on the way."""

from __future__ import annotations

import asyncio
from typing import Any, cast


class Layer(asyncio.Transport, asyncio.Protocol):
    """A transport for what is above, a protocol for the transport below. As it is it changes nothing.

    Has what `loop.start_tls` asks of a transport; asyncio tells those that it may wrap by `_start_tls_compatible`.
    """

    _start_tls_compatible = True

    def __init__(self, below: asyncio.Transport) -> None:
        super().__init__()
        self._below = below
        self._above: asyncio.BaseProtocol | None = None
        self._failure: Exception | None = None
        below.set_protocol(self)

    # -- from above

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._below.write(data)

    def close(self) -> None:
        self._below.close()

    def abort(self) -> None:
        self._below.abort()

    def _force_close(self, exc: BaseException | None) -> None:
        """What asyncio's TLS calls when it fails."""
        self.abort()

    def is_closing(self) -> bool:
        return self._below.is_closing()

    def pause_reading(self) -> None:
        self._below.pause_reading()

    def resume_reading(self) -> None:
        self._below.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._above = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._below.get_extra_info(name, default)

    # -- from below

    def data_received(self, data: bytes) -> None:
        self._deliver(data)

    def eof_received(self) -> bool | None:
        return cast(asyncio.Protocol, self._above).eof_received() if self._above is not None else None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._above is not None:
            self._above.connection_lost(self._failure or exc)

    def pause_writing(self) -> None:
        if self._above is not None:
            self._above.pause_writing()

    def resume_writing(self) -> None:
        if self._above is not None:
            self._above.resume_writing()

    # -- for layers

    def _fail(self, failure: Exception) -> None:
        """What came cannot be: the end, which those above see as `failure`."""
        self._failure = failure
        self._below.abort()

    def _deliver(self, data: bytes) -> None:
        above = self._above
        if isinstance(above, asyncio.BufferedProtocol):
            view = memoryview(data)
            while view:
                buffer = memoryview(above.get_buffer(len(view)))
                length = min(len(buffer), len(view))
                buffer[:length] = view[:length]
                above.buffer_updated(length)
                view = view[length:]
        elif above is not None:
            cast(asyncio.Protocol, above).data_received(data)
