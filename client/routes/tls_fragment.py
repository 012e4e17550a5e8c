"""The direct route with the ClientHello in several TLS records: for censors that read the name in the first one."""

from __future__ import annotations

import asyncio

from client.routes import Attempt
from client.routes.client_hello import begins_application_data, in_records, records
from client.routes.connection import Connection, DialContext, open_connection
from client.routes.direct import direct_stream
from client.routes.layer import Layer
from client.routes.settings import TlsFragmentRoute


class TlsFragment:
    """Implements `client.routes.Route`."""

    def __init__(self, route: TlsFragmentRoute, dial: DialContext) -> None:
        self.name = route.name
        self._records = route.records
        self._dial = dial

    async def dial(self, attempt: Attempt) -> Connection:
        stream = await direct_stream(self._dial, attempt)
        return await open_connection(_Fragmenter(stream.transport, self._records), self._dial, attempt)


class _Fragmenter(Layer):
    """All records of a write stay in one write: what evades is the records, whatever the segments are."""

    def __init__(self, below: asyncio.Transport, count: int) -> None:
        super().__init__(below)
        self._count = count
        self._over = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._over:
            data = bytes(data)
            self._over = begins_application_data(data)
            data = b"".join(in_records(record, self._count) for record in records(data))
        super().write(data)
