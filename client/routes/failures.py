"""Exceptions as OONI's failure strings (ooni/spec data-formats/df-007-errors.md)."""

from __future__ import annotations

import asyncio
import errno
import ssl

import aiohttp
import dns.exception
import dns.resolver
from python_socks._protocols.errors import ReplyError

_ERRNO = {
    errno.ECONNREFUSED: "connection_refused",
    errno.ECONNRESET: "connection_reset",
    errno.EPIPE: "connection_reset",
    errno.ECONNABORTED: "connection_aborted",
    errno.EHOSTUNREACH: "host_unreachable",
    errno.ENETUNREACH: "network_unreachable",
    errno.ETIMEDOUT: "timed_out",
}
_SOCKS_REPLY = {  # RFC 1928 section 6, in the words of ooni/probe-legacy.
    0x01: "socks_server_failure",
    0x02: "socks_connection_not_allowed",
    0x03: "socks_network_unreachable",
    0x04: "socks_host_unreachable",
    0x05: "socks_connection_refused",
    0x06: "socks_ttl_expired",
    0x07: "socks_command_not_supported",
    0x08: "socks_address_not_supported",
}
_WORDS = {
    "socks_server_failure": "the proxy failed",
    "socks_connection_not_allowed": "the proxy does not allow it",
    "socks_network_unreachable": "the proxy cannot reach that network",
    "socks_host_unreachable": "the proxy cannot reach that host",
    "socks_connection_refused": "the origin refused the proxy's connection",
    "socks_ttl_expired": "the proxy's packets expired on the way",
    "socks_command_not_supported": "the proxy does not know CONNECT",
    "socks_address_not_supported": "the proxy takes no such address",
    "socks_error": "the proxy does not agree; is it SOCKS5, with this login?",
    "dns_nxdomain_error": "NXDOMAIN (there is no such name)",
    "dns_servfail_error": "SERVFAIL (the nameserver could not find out)",
    "dns_refused_error": "REFUSED (the nameserver does not want to say)",
    "dns_no_answer": "the name has no address",
    "generic_timeout_error": "no answer in time",
    "timed_out": "no answer in time",
    "eof_error": "the other side closed the connection",
    "ssl_unknown_authority": "its certificate comes from another authority than --ca-file has",
    "ssl_invalid_hostname": "its certificate is for other names",
    "ssl_invalid_certificate": "its certificate is not valid",
    "ssl_failed_handshake": "the handshake failed; is it TLS?",
}
_X509_UNKNOWN_AUTHORITY = (18, 19, 20, 21)  # OpenSSL's X509_V_ERR_*: self-signed, or no issuer found.
_X509_HOSTNAME_MISMATCH = (62, 64)


def failure_of(error: BaseException) -> str:
    """OONI's word for this exception; `unknown_failure: ...` where it has none."""
    if isinstance(error, dns.exception.DNSException):
        return _of_dns(error)
    if isinstance(error, ReplyError):
        return _SOCKS_REPLY.get(error.error_code or 0, "socks_error")
    if isinstance(error, ssl.SSLError):
        return _of_tls(error)
    if isinstance(error, EOFError | asyncio.IncompleteReadError | aiohttp.ServerDisconnectedError):
        return "eof_error"
    if isinstance(error, OSError) and error.errno in _ERRNO:
        return _ERRNO[error.errno]
    if isinstance(error, TimeoutError):
        return "generic_timeout_error"
    if isinstance(error, ConnectionError):  # asyncio's own, without an errno: the peer ended the stream.
        return "eof_error"
    if isinstance(error, asyncio.CancelledError):
        return "interrupted"
    return f"unknown_failure: {str(error) or type(error).__name__}"


def in_words(failure: str) -> str:
    """OONI's string for people."""
    return _WORDS.get(failure) or failure.removeprefix("unknown_failure: ").replace("_", " ")


def _of_dns(error: dns.exception.DNSException) -> str:
    if isinstance(error, dns.resolver.NXDOMAIN):
        return "dns_nxdomain_error"
    if isinstance(error, dns.resolver.NoAnswer):
        return "dns_no_answer"
    if isinstance(error, dns.resolver.NoNameservers):
        return "dns_refused_error" if "REFUSED" in str(error) else "dns_servfail_error"
    if isinstance(error, dns.exception.Timeout):
        return "generic_timeout_error"
    return f"unknown_failure: {error}"


def _of_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _X509_HOSTNAME_MISMATCH:
            return "ssl_invalid_hostname"
        if error.verify_code in _X509_UNKNOWN_AUTHORITY:
            return "ssl_unknown_authority"
        return "ssl_invalid_certificate"
    return "eof_error" if isinstance(error, ssl.SSLEOFError) else "ssl_failed_handshake"
