"""censor/lists/urls.py"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from censor.lists.urls import Url, parse_url


@pytest.mark.parametrize(
    ("text", "url", "key"),
    [
        ("http://News.Example", Url("http", "news.example", False, "/"), "news.example/"),
        ("HTTPS://news.example/a?b=c#d", Url("https", "news.example", False, "/a?b=c"), "news.example/a?b=c"),
        ("http://news.example?b", Url("http", "news.example", False, "/?b"), "news.example/?b"),
        ("http://news.example#d", Url("http", "news.example", False, "/"), "news.example/"),
        ("http://me:x@news.example:8080/a|b", Url("http", "news.example", False, "/a|b"), "news.example/a|b"),
        ("http://пример.рф/я а%20", Url("http", "xn--e1afmkfd.xn--p1ai", False, "/%D1%8F%20%D0%B0%20"), None),
        ("http://192.0.2.1/a", Url("http", "192.0.2.1", True, "/a"), "192.0.2.1/a"),
        ("http://[2001:DB8::1]:80/a", Url("http", "2001:db8::1", True, "/a"), "[2001:db8::1]/a"),
        ("newcamd525://192.0.2.1:9/", Url("newcamd525", "192.0.2.1", True, "/"), "192.0.2.1/"),
    ],
)
def test_urls(text: str, url: Url, key: str | None) -> None:
    assert parse_url(text) == url
    assert url.key == key or key is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not an absolute URL"),
        ("news.example/a", "not an absolute URL"),
        ("//news.example/a", "not an absolute URL"),
        ("http://", "host '' is neither"),
        ("http:///a", "host '' is neither"),
        ("http://a b/", "host 'a b' is neither"),
        ("http://192.0.2.256/", "is neither"),
        ("http://192.0.2.1-192.0.2.9/", "more than one address"),
    ],
)
def test_what_is_no_url(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_url(text)


@given(st.text())
def test_the_path_is_printable_ascii(path: str) -> None:
    found = parse_url(f"http://news.example/{path}").path
    assert found.startswith("/")
    assert all("!" <= character <= "~" for character in found)
