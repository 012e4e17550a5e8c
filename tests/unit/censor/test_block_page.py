"""censor/block_page.py: as http.client reads it."""

from __future__ import annotations

import http.client
import io

import pytest

from censor.block_page import block_page


class Connection(io.BytesIO):
    """What http.client asks of a socket."""

    def makefile(self, _mode: str) -> io.BytesIO:
        return self


def read(response: bytes) -> http.client.HTTPResponse:
    found = http.client.HTTPResponse(Connection(response))  # type: ignore[arg-type]  # reads through makefile only
    found.begin()
    return found


def test_page() -> None:
    page = read(block_page(451, b"<h1>blocked</h1>" * 200))
    assert (page.status, page.reason) == (451, "Unavailable For Legal Reasons")
    assert page.getheader("Content-Type") == "text/html; charset=utf-8"
    assert page.getheader("Location") is None
    assert page.will_close
    assert page.read() == b"<h1>blocked</h1>" * 200


def test_redirection() -> None:
    page = read(block_page(302, b"", "http://203.0.113.99/?why=law"))
    assert (page.status, page.getheader("Location"), page.read()) == (302, "http://203.0.113.99/?why=law", b"")


@pytest.mark.parametrize(("status", "location"), [(999, None), (302, "/\r\nX: y"), (302, "/é")])
def test_what_cannot_be_sent(status: int, location: str | None) -> None:
    with pytest.raises(ValueError, match=r"999|not printable ASCII"):
        block_page(status, b"", location)
