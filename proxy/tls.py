"""TLS listeners: what stands between a client that speaks TLS and the socket that its session reads.

A session and the relay know plain sockets only. A `TlsFront` has the client's connection and one end of a socketpair;
the session gets the other one. Bytes pass through OpenSSL here, on memory (RFC 8446, RFC 5246): a close_notify is the
end of one direction, as a FIN is (RFC 8446 6.1), and the other goes on. What a socketpair cannot say, a reset, is said
by calls: `client_reset` outwards, `over` inwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from socket import SocketType

from proxy.relay.flow import close_orderly
from proxy.wire import ProtocolError
from proxy.wire.proxy_protocol import ProxyHeader, read_proxy_header
from sidedoor.settings import SettingsError

BUFFER_BYTES = 64 * 1024
"""The most that is read at once, and so the most that is kept for a side that takes nothing."""
FLUSH_SECONDS = 60.0
"""How long a client may take for its last bytes when all is over."""
LINGER_SECONDS = 1.0
"""How long it may then take to close its side, too: closing on unread bytes is a reset, which may overtake the last."""


def server_context(certificate: str, key: str, listen: str) -> ssl.SSLContext:
    """What a listener needs to speak TLS 1.2 and 1.3. `listen` is its address, for errors. Raises SettingsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2

    def no_password() -> str:
        # OpenSSL would ask for one on the terminal, and wait; in a reload, too.
        raise SettingsError(
            f"listen: {listen}: key {key} is encrypted; expected one that is not (openssl pkey -in {key} -out ...)"
        )

    try:
        context.load_cert_chain(certificate, key, no_password)
    except ssl.SSLError as error:
        why = error.reason or str(error)
        raise SettingsError(
            f"listen: {listen}: certificate {certificate} and key {key} do not serve: {why}; expected two PEM files "
            f"that belong together"
        ) from error
    except OSError as error:
        raise SettingsError(
            f"listen: {listen}: certificate {certificate} or key {key} cannot be read: {error.strerror}"
        ) from error
    return context


class TlsFront:
    """Carries one client's connection over TLS. Owns `sock` and its own end of the socketpair, not `inner`.

    `failed` is told why the client is lost before its handshake was through, `gone` that both descriptors are closed.
    """

    def __init__(
        self,
        sock: SocketType,
        context: ssl.SSLContext,
        *,
        failed: Callable[[str], object],
        gone: Callable[[TlsFront], object],
    ) -> None:
        self.sock = sock
        self.client_reset: Callable[[], object] = _nothing
        """Called once when the client's connection is reset, or ends without the end that TLS asks for."""
        near, far = socket.socketpair()
        self.inner = SocketType(socket.AF_UNIX, socket.SOCK_STREAM, 0, far.detach())
        self._near = near
        near.setblocking(False)
        self.inner.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.header: Callable[[ProxyHeader], object] | None = None
        """Gets the PROXY protocol header that comes first, where one does; None again when it has come."""
        self._preamble = bytearray()
        self._failed = failed
        self._gone = gone
        self._shaken = False
        self._to_client = b""
        self._to_inner = b""
        self._client_ended = False  # nothing more comes from the client
        self._inner_ended = False  # nothing more comes from the session or the relay
        self._over = False
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._loop.add_reader(sock, self._client_readable)

    def over(self, *, reset: bool) -> None:
        """The session or its flow has ended: end the client's connection too, by a reset or in order."""
        if self._closed or self._over:
            return
        self._over = True
        if reset:
            self._close(orderly=False)
        else:
            self._timer = self._loop.call_later(FLUSH_SECONDS, self.abort)
            self._attend()

    def abort(self) -> None:
        """End the client's connection now, by a reset if there is anything left to say."""
        self._close(orderly=self._over and not self._to_client)

    # From the client inwards.

    def _client_readable(self) -> None:
        try:
            data = self.sock.recv(BUFFER_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._reset()
            return
        if not data:
            self._incoming.write_eof()
        elif self.header is not None:
            self._read_header(data)
        else:
            self._incoming.write(data)
        if not self._closed and self.header is None:
            self._decrypt()
        elif not data:
            self._fail("the connection ended before its PROXY protocol header")

    def _read_header(self, data: bytes) -> None:
        self._preamble += data
        try:
            found = read_proxy_header(self._preamble)
        except ProtocolError as error:
            self._fail(str(error))
            return
        if found is not None:
            assert self.header is not None
            self.header(found)
            self.header = None
            self._incoming.write(bytes(self._preamble))

    def _decrypt(self) -> None:
        try:
            if not self._shaken:
                self._tls.do_handshake()
                self._shaken = True
                self._loop.add_reader(self._near, self._inner_readable)
            # All that is there, taken or not: a close_notify of ours does not go out while there is more (`unwrap`).
            while not self._client_ended:
                data = self._tls.read(BUFFER_BYTES)
                if not data:
                    raise ssl.SSLZeroReturnError
                self._to_inner += data
                self._flush_inner()
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            # Many clients close without a close_notify: their FIN is taken for the end that it is.
            self._client_ends()
        except ssl.SSLError as error:
            self._flush_client(self._outgoing.read())  # the alert, if it goes
            self._fail(error.reason or "TLS failed")
            return
        self._flush_client(self._outgoing.read())
        self._attend()

    def _client_ends(self) -> None:
        self._client_ended = True
        if not self._shaken:
            self._fail("the connection ended in the TLS handshake")
            return
        if not self._to_inner:
            self._shut_inner()

    def _shut_inner(self) -> None:
        with contextlib.suppress(OSError):
            self._near.shutdown(socket.SHUT_WR)

    def _flush_inner(self) -> None:
        try:
            self._to_inner = self._to_inner[self._near.send(self._to_inner) :]
        except BlockingIOError:
            pass
        except OSError:
            self._to_inner = b""  # nobody is there any more; `over` has been or will be called
            self._client_ended = True

    def _inner_writable(self) -> None:
        self._flush_inner()
        if not self._to_inner:
            self._loop.remove_writer(self._near)
            if self._client_ended:
                self._shut_inner()
            self._attend()

    # From the session or the relay to the client.

    def _inner_readable(self) -> None:
        try:
            data = self._near.recv(BUFFER_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._tls.write(data)
        else:
            self._inner_ended = True
            with contextlib.suppress(ssl.SSLError):  # it wants the client's close_notify, which may take its time
                self._tls.unwrap()
        self._flush_client(self._outgoing.read())
        self._attend()

    def _flush_client(self, data: bytes) -> None:
        if self._closed:
            return
        self._to_client += data
        if not self._to_client:
            return
        try:
            self._to_client = self._to_client[self.sock.send(self._to_client) :]
        except BlockingIOError:
            pass
        except OSError:
            self._reset()

    def _client_writable(self) -> None:
        self._flush_client(b"")
        self._attend()

    # Whom to listen to.

    def _attend(self) -> None:
        """Read from a side only while the other one takes what it says; close when all is said."""
        if self._closed:
            return
        loop = self._loop
        if self._to_client:
            loop.add_writer(self.sock, self._client_writable)
            loop.remove_reader(self._near)
        else:
            loop.remove_writer(self.sock)
            if self._shaken and not self._inner_ended:
                loop.add_reader(self._near, self._inner_readable)
            else:
                loop.remove_reader(self._near)
        if self._to_inner:
            loop.add_writer(self._near, self._inner_writable)
        if self._over and not self._to_client and (self._inner_ended or not self._shaken):
            self._linger()
        elif self._to_inner or self._client_ended:
            loop.remove_reader(self.sock)
        else:
            loop.add_reader(self.sock, self._client_readable)

    def _linger(self) -> None:
        if self._client_ended or not self._shaken:
            self._close()
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(LINGER_SECONDS, self._close)
        self._loop.remove_writer(self._near)
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        self._loop.add_reader(self.sock, self._last_words)

    def _last_words(self) -> None:
        try:
            if self.sock.recv(BUFFER_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close()

    def _fail(self, why: str) -> None:
        """The client is lost before it said anything."""
        if not self._shaken:
            self._failed(why)
            self._close()
        else:
            self._reset()

    def _reset(self) -> None:
        self._close(orderly=False)
        self.client_reset()

    def _close(self, *, orderly: bool = True) -> None:
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for sock in (self.sock, self._near):
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)
        (close_orderly if orderly else SocketType.close)(self.sock)
        self._near.close()
        self._gone(self)


def _nothing() -> None:
    """Nobody has to know."""
