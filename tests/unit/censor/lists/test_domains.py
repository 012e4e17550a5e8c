"""censor/lists/domains.py"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from censor.lists.domains import DomainSet, canonical, checked

labels = st.text("abcxyz0_-", min_size=1, max_size=5).map(lambda label: f"{label}a")
names = st.lists(labels, min_size=1, max_size=5).map(".".join)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Messenger.Example.", "messenger.example"),
        ("*.messenger.example", "messenger.example"),
        ("_dmarc.messenger.example", "_dmarc.messenger.example"),
        ("example", "example"),
        ("ПРИМЕР.рф", "xn--e1afmkfd.xn--p1ai"),
        ("www.ёж-1.example", "www.xn---1-plc1i.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("例え。example", "xn--r8jz45g.example"),
        ("и\u0306.example", "xn--i1a.example"),  # a decomposed letter
        ("a" * 63 + ".example", "a" * 63 + ".example"),
        (".".join(["a" * 63] * 3 + ["a" * 61]), ".".join(["a" * 63] * 3 + ["a" * 61])),
    ],
)
def test_canonical_names(text: str, name: str) -> None:
    assert canonical(text) == checked(text) == name
    assert canonical(name) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "*.",
        "a..example",
        ".example",
        "example..",
        "*.*.example",
        "a b.example",
        "example/path",
        "example:443",
        "192.0.2.1",
        "192.0.2",
        "a" * 64 + ".example",
        "a." * 127 + "a",
        "я" * 60 + ".example",  # too long as punycode only
        ".".join(["яяяяяяяяяя"] * 23),  # the same for the whole name
        "пример..рф",
        "xn--пример.рф",
        "\ufffd.example",
        "при мер.рф",
        "я" * 100_000,
    ],
)
def test_what_is_no_domain_name(text: str) -> None:
    assert canonical(text) is None


def test_the_first_that_is_no_name_is_named() -> None:
    with pytest.raises(ValueError, match=r"'192\.0\.2\.1' is not a domain name"):
        DomainSet(["a.example", "192.0.2.1"])


@given(st.text("абвгдеёжзийклмнопрстуфхцчшщъыьэюяABCxyz0-", min_size=1, max_size=12).filter(lambda s: s != "xn--"))
def test_punycode_by_hand_is_what_the_codec_says(label: str) -> None:
    try:
        expected = label.lower().encode("idna").decode()
    except UnicodeError:
        return
    assert canonical(f"{label}.example") == f"{expected}.example"


@given(st.text())
def test_any_text_has_a_canonical_name_or_none(text: str) -> None:
    name = canonical(text)
    assert name is None or canonical(name) == name


SET = DomainSet(["messenger.example", "*.cdn.example", "a.messenger.example"])


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("messenger.example", "messenger.example"),
        ("www.messenger.example", "messenger.example"),
        ("x.a.messenger.example", "a.messenger.example"),
        ("cdn.example", "cdn.example"),
        ("notmessenger.example", None),
        ("messenger.example.net", None),
        ("example", None),
        ("", None),
        ("b." * 30_000 + "messenger.example", "messenger.example"),
        ("a." * 30_000 + "example", None),
        ("a" * 60_000, None),
    ],
)
def test_under(name: str, listed: str | None) -> None:
    assert SET.under(name) == listed


def test_exact() -> None:
    assert SET.exact("messenger.example")
    assert not SET.exact("www.messenger.example")


def test_the_empty_set() -> None:
    assert DomainSet().under("a.example") is None
    assert DomainSet().under("") is None
    assert not DomainSet().exact("")
    assert len(DomainSet()) == 0


@given(st.lists(names), names)
def test_under_is_the_longest_listed_name_above(listed: list[str], name: str) -> None:
    above = [one for one in listed if name == one or name.endswith(f".{one}")]
    assert DomainSet(listed).under(name) == max(above, key=len, default=None)


@given(st.sets(names), st.sets(names))
def test_diff_leads_from_old_to_new(old: set[str], new: set[str]) -> None:
    added, removed = DomainSet(new).diff(DomainSet(old))
    assert (old - removed) | added == new
    assert not added & old
    assert removed <= old


def test_equality() -> None:
    one, same = DomainSet(["A.example", "a.example."]), DomainSet.from_canonical(["a.example"])
    assert one == same
    assert hash(one) == hash(same)
    assert one != DomainSet()
    assert one != "a.example"
    assert len(one) == 1
    assert repr(one) == "<DomainSet of 1>"
