from __future__ import annotations

import asyncio
import errno
import ssl
from typing import Any

import aiohttp
import dns.exception
import dns.message
import dns.resolver
import pytest
from python_socks._protocols.errors import ReplyError

from client.routes.failures import failure_of, in_words

# Their constructors have no annotations.
RESOLVER: Any = dns.resolver
FORM_ERROR: Any = dns.exception.FormError


def certificate_error(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = code
    return error


def no_nameservers(text: str) -> BaseException:
    request = dns.message.make_query("messenger.example", "A")
    error: BaseException = RESOLVER.NoNameservers(request=request, errors=[("198.18.0.53", False, 53, text, None)])
    return error


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "connection_refused"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "connection_reset"),
        (aiohttp.ClientOSError(errno.ECONNRESET, "reset"), "connection_reset"),
        (OSError(errno.EHOSTUNREACH, "no route"), "host_unreachable"),
        (OSError(errno.ENETUNREACH, "no network"), "network_unreachable"),
        (TimeoutError(errno.ETIMEDOUT, "the kernel's"), "timed_out"),
        (TimeoutError(), "generic_timeout_error"),
        (ConnectionResetError(), "eof_error"),
        (aiohttp.ServerDisconnectedError(), "eof_error"),
        (asyncio.IncompleteReadError(b"", 1), "eof_error"),
        (asyncio.CancelledError(), "interrupted"),
        (ssl.SSLEOFError(8, "EOF occurred"), "eof_error"),
        (ssl.SSLError(1, "wrong version number"), "ssl_failed_handshake"),
        (certificate_error(62), "ssl_invalid_hostname"),
        (certificate_error(19), "ssl_unknown_authority"),
        (certificate_error(10), "ssl_invalid_certificate"),
        (RESOLVER.NXDOMAIN(), "dns_nxdomain_error"),
        (RESOLVER.LifetimeTimeout(timeout=2.0, errors=[]), "generic_timeout_error"),
        (no_nameservers("SERVFAIL"), "dns_servfail_error"),
        (no_nameservers("REFUSED"), "dns_refused_error"),
        (FORM_ERROR(), "unknown_failure: DNS message is malformed."),
        (ReplyError("failure", error_code=0x01), "socks_server_failure"),
        (ReplyError("not allowed", error_code=0x02), "socks_connection_not_allowed"),
        (ReplyError("no network", error_code=0x03), "socks_network_unreachable"),
        (ReplyError("unreachable", error_code=0x04), "socks_host_unreachable"),
        (ReplyError("refused", error_code=0x05), "socks_connection_refused"),
        (ReplyError("expired", error_code=0x06), "socks_ttl_expired"),
        (ReplyError("no CONNECT", error_code=0x07), "socks_command_not_supported"),
        (ReplyError("no names", error_code=0x08), "socks_address_not_supported"),
        (ReplyError("Username and password authentication failure"), "socks_error"),
        (ZeroDivisionError(), "unknown_failure: ZeroDivisionError"),
    ],
)
def test_failures(error: BaseException, failure: str) -> None:
    assert failure_of(error) == failure


def test_an_answer_without_addresses() -> None:
    query = dns.message.make_query("messenger.example", "A")
    assert failure_of(RESOLVER.NoAnswer(response=dns.message.make_response(query))) == "dns_no_answer"


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        ("dns_nxdomain_error", "NXDOMAIN (there is no such name)"),
        ("connection_refused", "connection refused"),
        ("socks_server_failure", "the proxy failed"),
        ("unknown_failure: HTTP status 403 Forbidden", "HTTP status 403 Forbidden"),
    ],
)
def test_words(failure: str, words: str) -> None:
    assert in_words(failure) == words
