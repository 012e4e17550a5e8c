"""Sans-IO: the HTTP response that a censor sends in a server's name instead of the page that was asked for."""

from __future__ import annotations

import http


def block_page(status: int, body: bytes, location: str | None = None) -> bytes:
    """An HTTP/1.1 response (RFC 9112) of `status` with the HTML page `body`, after which the connection ends.

    location: where a redirection (3xx) leads, as some censors send readers to a page of their own. Raises ValueError:
    `status` is unknown, or `location` is not printable ASCII (what else it held could be more of the response).
    """
    lines = [f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}"]
    if location is not None:
        if not (location.isascii() and location.isprintable()):
            raise ValueError(f"location {location!r} is not printable ASCII")
        lines.append(f"Location: {location}")
    lines += ["Content-Type: text/html; charset=utf-8", f"Content-Length: {len(body)}", "Connection: close"]
    return "".join(f"{line}\r\n" for line in lines).encode("ascii") + b"\r\n" + body
