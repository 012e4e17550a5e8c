from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from client import proxy_list as module
from client.proxy_list import ListError, ListSource, claimed, part_for, personal, sign, verified
from client.settings import DirectRoute, RouteSettings, Socks5Route

KEY = SigningKey(bytes(range(32)))
PUBLIC = bytes(KEY.verify_key)
NOW = datetime(2027, 1, 1, tzinfo=UTC)


def route(number: int) -> Socks5Route:
    return Socks5Route(name=f"proxy{number}", host=f"198.51.100.{number}")


def source(routes: int = 3, parts: int = 1, version: int = 7) -> ListSource:
    return ListSource(
        version=version,
        expires=NOW + timedelta(days=30),
        routes=tuple(route(number) for number in range(1, routes + 1)),
        parts=parts,
    )


def signed(fields: Any, key: SigningKey = KEY) -> bytes:
    """A document with any content, rightly signed."""
    payload = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return base64.b64encode(key.sign(b"sidedoor proxy list 1\n" + payload).signature) + b" " + payload


PAYLOAD: dict[str, Any] = {"version": 7, "expires": "2027-01-31T00:00:00Z", "part": 0, "parts": 1, "routes": []}


def reason(document: bytes) -> str:
    with pytest.raises(ListError) as caught:
        verified(document, PUBLIC)
    assert str(caught.value)
    return caught.value.reason


def test_a_signed_list_comes_back() -> None:
    (document,) = sign(source(), KEY)
    assert b"\n" not in document
    listing = verified(document + b"\n", PUBLIC)
    assert listing.routes == source().routes
    assert (listing.header.version, listing.header.expires) == (7, source().expires)
    assert listing.skipped == 0
    assert claimed(document) == listing.header


def test_the_signature_is_of_ed25519_over_a_first_line_and_the_json() -> None:
    """By another implementation than the one that signs."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    (document,) = sign(source(), KEY)
    signature, _, payload = document.partition(b" ")
    Ed25519PublicKey.from_public_bytes(PUBLIC).verify(base64.b64decode(signature), b"sidedoor proxy list 1\n" + payload)


def test_not_one_changed_bit_goes_unnoticed() -> None:
    (document,) = sign(source(routes=1), KEY)
    for index in range(len(document)):
        for bit in range(8):
            changed = bytearray(document)
            changed[index] ^= 1 << bit
            if bytes(changed).strip() != document:
                assert reason(bytes(changed)) in ("malformed", "bad_signature")


def test_another_key_and_another_purpose() -> None:
    (document,) = sign(source(), SigningKey(bytes(32)))
    assert reason(document) == "bad_signature"
    payload = json.dumps(PAYLOAD).encode()
    assert reason(base64.b64encode(KEY.sign(payload).signature) + b" " + payload) == "bad_signature"
    with pytest.raises(ListError, match="signature"):
        verified(document, b"short")


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"x",
        b"AAAA {}",
        b"\xff " + b"{}",
        bytes(module.LIMIT_BYTES + 1),
        signed(b"{"),
        signed(b'{"version": "\xff"}'),
    ],
    ids=["empty", "one word", "short signature", "no base64", "too long", "no JSON", "no UTF-8"],
)
def test_what_is_no_list(document: bytes) -> None:
    assert reason(document) == "malformed"


@pytest.mark.parametrize(
    "change",
    [
        {"version": 0},
        {"version": 1 << 53},
        {"expires": "2027-01-31T00:00:00"},
        {"part": -1},
        {"parts": 0},
        {"routes": [{"kind": "socks5", "name": "p"}]},
        {"routes": [{"name": "p"}]},
        {"routes": [{"kind": "direct"}]},
        {"routes": [{"kind": "socks5", "name": "p", "host": "::1"}] * 2},
    ],
    ids=str,
)
def test_a_wrong_content_is_refused_though_signed(change: dict[str, Any]) -> None:
    assert reason(signed(PAYLOAD | change)) == "malformed"


def test_what_later_versions_may_add_is_skipped() -> None:
    routes = [{"kind": "pigeon", "loft": 3}, {"kind": "socks5", "name": "p", "host": "::1"}]
    listing = verified(signed(PAYLOAD | {"routes": routes, "comment": "new"}), PUBLIC)
    assert [found.name for found in listing.routes] == ["p"]
    assert listing.skipped == 1


@pytest.mark.parametrize(
    ("now", "known", "reason"),
    [
        (NOW, 0, None),
        (NOW, 7, None),
        (NOW, 8, "older"),
        (NOW + timedelta(days=30), 7, "expired"),
        (NOW + timedelta(days=30), 8, "older"),
    ],
)
def test_age(now: datetime, known: int, reason: str | None) -> None:
    listing = verified(sign(source(), KEY)[0], PUBLIC)
    if reason is None:
        listing.check_age(now, known)
        return
    with pytest.raises(ListError) as caught:
        listing.check_age(now, known)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("routes", "message"),
    [((route(1), route(1)), "same name"), ((DirectRoute(),), "no `direct` route")],
    ids=["twice", "direct"],
)
def test_what_is_not_signed(routes: tuple[RouteSettings, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ListSource(version=1, expires=NOW, routes=routes)


def test_a_list_too_long_for_one_document_is_not_signed() -> None:
    with pytest.raises(ListError, match="more `parts`"):
        sign(source(routes=5000), KEY)
    assert len(sign(source(routes=5000, parts=4), KEY)) == 4


def test_each_route_is_in_one_part_and_stays_there() -> None:
    before = [{found.name for found in verified(document, PUBLIC).routes} for document in sign(source(40, 4), KEY)]
    after = [{found.name for found in verified(document, PUBLIC).routes} for document in sign(source(60, 4, 8), KEY)]
    assert sorted(name for part in before for name in part) == sorted(found.name for found in source(40).routes)
    assert all(len(part) >= 4 for part in before)
    assert all(old <= new for old, new in zip(before, after, strict=True))


def test_a_network_sees_one_part() -> None:
    assert len({part_for(f"203.0.113.{host}", 64) for host in range(256)}) == 1
    assert part_for("::ffff:203.0.113.9", 64) == part_for("203.0.113.1", 64)
    assert part_for("2001:db8:1::1", 64) == part_for("2001:db8:1:ffff::2%eth0", 64)
    assert {part_for(f"198.18.{network}.1", 4) for network in range(64)} == {0, 1, 2, 3}


@given(st.text(min_size=1, max_size=20), st.integers(1, 12))
def test_a_client_has_its_own_few_proxies_in_the_lists_order(name: str, most: int) -> None:
    routes = source(10).routes
    chosen = personal(routes, name, most)
    assert len(chosen) == min(most, 10)
    assert [found for found in routes if found in chosen] == list(chosen)
    assert personal(tuple(reversed(routes)), name, most) == tuple(reversed(chosen))
    gone = personal(tuple(found for found in routes if found != chosen[0]), name, most)
    assert set(chosen[1:]) <= set(gone)


def test_clients_differ_and_without_a_limit_all_are_used() -> None:
    routes = source(10).routes
    assert len({personal(routes, f"client {number}", 2) for number in range(50)}) > 20
    assert personal(routes, "alice", None) == routes


def test_what_is_no_proxy_is_not_counted() -> None:
    routes = (DirectRoute(), *source(3).routes)
    chosen = personal(routes, "alice", 1)
    assert chosen[0] == DirectRoute()
    assert len(chosen) == 2


def test_a_document_is_json_that_other_programs_can_read() -> None:
    (document,) = sign(source(1), KEY)
    content = msgspec.json.decode(document.partition(b" ")[2])
    assert content["routes"][0]["kind"] == "socks5"
    assert content["expires"] == "2027-01-31T00:00:00Z"
