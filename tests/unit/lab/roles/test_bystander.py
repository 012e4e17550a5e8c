"""A bystander's failures in OONI's words."""

from __future__ import annotations

import errno
import socket
import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from lab.roles.bystander import _failure

KEY = ConnectionKey("shop.example", 443, True, True, None, None, None)


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def connector(error: OSError) -> BaseException:
    """As aiohttp wraps what a connection attempt came to."""
    return caused(aiohttp.ClientConnectorError(KEY, error), error)


def unverified(verify_code: int) -> BaseException:
    """A certificate that OpenSSL refused, as aiohttp wraps it."""
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_code = verify_code
    return caused(aiohttp.ClientConnectorCertificateError(KEY, cause), cause)


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (connector(ConnectionRefusedError(errno.ECONNREFUSED, "refused")), "connection_refused"),
        (connector(ConnectionResetError(errno.ECONNRESET, "reset")), "connection_reset"),
        (connector(socket.gaierror(socket.EAI_NONAME, "unknown")), "dns_nxdomain_error"),
        (connector(OSError(errno.EHOSTUNREACH, "no route")), "host_unreachable"),
        (connector(OSError(errno.ENETUNREACH, "no route")), "network_unreachable"),
        (connector(TimeoutError(errno.ETIMEDOUT, "timed out")), "timed_out"),
        (aiohttp.ConnectionTimeoutError("slow"), "generic_timeout_error"),
        (TimeoutError(), "generic_timeout_error"),
        (aiohttp.ClientConnectorDNSError(KEY, OSError(None, "no answer")), "dns_nxdomain_error"),
        (unverified(18), "ssl_unknown_authority"),
        (unverified(62), "ssl_invalid_hostname"),
        (caused(aiohttp.ClientConnectorSSLError(KEY, OSError()), ssl.SSLError(1, "alert")), "ssl_failed_handshake"),
        (caused(aiohttp.ClientConnectorSSLError(KEY, OSError()), ssl.SSLEOFError(8, "eof")), "eof_error"),
        (aiohttp.ClientOSError(errno.ECONNRESET, "reset"), "connection_reset"),
        (caused(aiohttp.ClientPayloadError("cut"), ConnectionResetError(104, "reset")), "connection_reset"),
        (aiohttp.ServerDisconnectedError(), "eof_error"),
        (aiohttp.ClientPayloadError("cut"), "unknown_failure: cut"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_failures(error: BaseException, word: str) -> None:
    assert _failure(error) == word


def test_a_cause_in_the_middle_of_the_chain() -> None:
    deep = caused(aiohttp.ClientError(), caused(RuntimeError(), ConnectionRefusedError(111, "refused")))
    assert _failure(deep) == "connection_refused"
