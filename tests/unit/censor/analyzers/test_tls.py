"""censor/analyzers/tls.py"""

from __future__ import annotations

import ssl
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from censor.analyzers import Finding, Outcome, Wanted
from censor.analyzers.tls import ANALYZER, ClientHello, client_hello, hello_properties
from censor.properties import Properties
from tests.unit.censor.analyzers.streams import calls, damaged, read_growing


def real_hello(name: str | None, alpn: list[str] | None = None, highest: ssl.TLSVersion | None = None) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.create_default_context()
    context.check_hostname = name is not None
    if alpn:
        context.set_alpn_protocols(alpn)
    if highest:
        context.maximum_version = highest
    outgoing = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


VERSION_AND_RANDOM = b"\x03\x03" + bytes(32)
SESSION_SUITES_COMPRESSION = b"\0" + b"\0\x02\x13\x01" + b"\1\0"


def hello(
    *extensions: tuple[int, bytes], head: bytes = VERSION_AND_RANDOM, before: bytes = SESSION_SUITES_COMPRESSION
) -> bytes:
    """A ClientHello in one record."""
    listed = b"".join(struct.pack("!HH", type_, len(content)) + content for type_, content in extensions)
    body = head + before + struct.pack("!H", len(listed)) + listed
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + struct.pack("!H", len(message)) + message


def sni(name: bytes) -> tuple[int, bytes]:
    return 0, struct.pack("!HBH", len(name) + 3, 0, len(name)) + name


def numbers(text: str, length_bytes: int = 2) -> bytes:
    """A list of 16-bit numbers behind its length."""
    content = bytes.fromhex(text)
    return len(content).to_bytes(length_bytes, "big") + content


def chromium_hello() -> bytes:
    """With the lists of technical_details/JA4.md, GREASE where Chromium puts it, padded to 517 bytes."""
    suites = numbers("6a6a 1301 1302 1303 c02b c02f c02c c030 cca9 cca8 c013 c014 009c 009d 002f 0035")
    extensions = [
        (0x8A8A, b""),
        (0x001B, b"\x02\0\x02"),
        sni(b"www.messenger.example"),
        (0x0033, bytes(43)),
        (0x0010, b"\0\x0c\x02h2\x08http/1.1"),
        (0x4469, b"\0\x03\x02h2"),
        (0x0017, b""),
        (0x002D, b"\x01\x01"),
        (0x000D, numbers("0403 0804 0401 0503 0805 0501 0806 0601")),
        (0x0005, b"\x01\0\0\0\0"),
        (0x0023, b""),
        (0x0012, b""),
        (0x002B, numbers("2a2a 0304 0303", 1)),
        (0xFF01, b"\0"),
        (0x000B, b"\x01\0"),
        (0x000A, numbers("3a3a 001d 0017 0018")),
        (0xDADA, b"\0"),
    ]
    before = b"\x20" + bytes(32) + suites + b"\1\0"
    padding = 517 - 4 - len(hello(*extensions, before=before))
    return hello(*extensions, (0x0015, bytes(padding)), before=before)


HELLO = real_hello("Messenger.example", ["h2", "http/1.1"])
EVERYTHING: Wanted = frozenset(ANALYZER.properties)


def read(data: bytes, wanted: Wanted = EVERYTHING) -> Finding | Outcome:
    assert ANALYZER.stream is not None
    return ANALYZER.stream(data, wanted)


def properties(data: bytes, *wanted: str) -> Properties:
    found = read(data, frozenset(wanted) or EVERYTHING)
    assert isinstance(found, Finding)
    assert found.consumed == len(data)
    return found.properties


def message(data: bytes) -> bytes:
    """A record of its own around a handshake message."""
    return b"\x16\x03\x01" + struct.pack("!H", len(data)) + data


def records(handshake: bytes, sizes: list[int]) -> bytes:
    """`handshake` in records of these sizes, and what is left in a last one."""
    spread = b""
    for size in [*sizes, 1 << 14]:
        if handshake:
            spread += message(handshake[:size])
            handshake = handshake[size:]
    return spread


def test_properties_of_a_real_hello() -> None:
    found = properties(HELLO)
    assert found.keys() == EVERYTHING
    assert (found["tls"], found["tls.sni"], found["tls.sni_raw"]) == (True, "messenger.example", "messenger.example")
    assert (found["tls.alpn"], found["tls.version"]) == (("h2", "http/1.1"), "1.3")
    assert (found["tls.ech"], found["tls.esni"]) == (False, False)
    assert (found["tls.records"], found["tls.hello_bytes"]) == (1, len(HELLO) - 5)


def test_what_a_real_hello_lacks_is_absent() -> None:
    found = properties(real_hello(None, highest=ssl.TLSVersion.TLSv1_2))
    assert (found["tls.sni"], found["tls.sni_raw"], found["tls.alpn"]) == (None, None, None)
    assert found["tls.version"] == "1.2"


def test_chromium_hello() -> None:
    data = chromium_hello()
    assert len(data) == 517
    found = properties(data)
    assert found["tls.ja4"] == "t13d1516h2_8daaf6152771_e5627efa2ab1"
    assert found["tls.sni"] == "www.messenger.example"
    assert hello_properties(data[9:], frozenset({"quic.ja4", "quic.sni", "tls.alpn"}), "quic") == {
        "quic.ja4": "q13d1516h2_8daaf6152771_e5627efa2ab1",
        "quic.sni": "www.messenger.example",
    }


def test_published_ja3() -> None:
    """ja3's README: 769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0"""
    suites = numbers("002f 0035 0005 000a c009 c00a c013 c014 0032 0038 0013 0004")
    data = hello(
        sni(b"x"),
        (10, numbers("0017 0018 0019")),
        (11, b"\1\0"),
        head=b"\x03\x01" + bytes(32),
        before=b"\0" + suites + b"\1\0",
    )
    assert properties(data, "tls.ja3")["tls.ja3"] == "ada70206e40642a3e4461f35503241d5"


def test_fingerprints_of_a_bare_hello() -> None:
    found = properties(hello())
    assert found["tls.ja4"] == "t12i010000_0f2cb44170f4_000000000000"
    assert properties(hello((0x0A0A, b"")), "tls.ja4")["tls.ja4"] == found["tls.ja4"]


@given(st.frozensets(st.sampled_from(sorted(EVERYTHING))))
def test_the_same_whatever_else_is_wanted(wanted: Wanted) -> None:
    everything = properties(chromium_hello())
    always = {"tls", "tls.records", "tls.hello_bytes"}
    assert properties(chromium_hello(), "x", *wanted) == {name: everything[name] for name in wanted | always}


@pytest.mark.parametrize(
    ("offered", "version"),
    [
        ("0304 0303", "1.3"),
        ("fafa 0303", "1.2"),
        ("0302 0301", "1.1"),
        ("7f1c 0301", "1.0"),  # a draft of 1.3
        ("7f1c", None),
        ("fafa", "1.2"),  # nothing but GREASE: legacy_version
    ],
)
def test_highest_version(offered: str, version: str | None) -> None:
    assert properties(hello((43, numbers(offered, 1))), "tls.version")["tls.version"] == version


def test_bytes_behind_are_not_consumed() -> None:
    found = read(HELLO + b"\x17\x03\x03" + bytes(100))
    assert found == read(HELLO)
    early_data = read(HELLO[:3] + struct.pack("!H", len(HELLO) - 5 + 3) + HELLO[5:] + b"xyz")
    assert isinstance(early_data, Finding)
    assert early_data.consumed == len(HELLO)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=600))
def test_spread_over_records(sizes: list[int]) -> None:
    spread = records(HELLO[5:], sizes)
    whole = properties(HELLO)
    assert properties(spread) == {**whole, "tls.records": (len(spread) - len(HELLO)) // 5 + 1}
    assert read_growing(read, spread[:-1], EVERYTHING) is Outcome.MORE


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1",
        b"\x17\x03\x03\0\x01x",
        b"\x14\x03\x03\0\x01\x01" + HELLO,  # ChangeCipherSpec
        b"\x15\x03\x03\0\x02\x01\0" + HELLO,  # an alert
        b"\x16\x02",
        b"\x16\x03\x01\0\0",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\0\x01\x02",  # a ServerHello
        b"\x16\x03\x01\0\x01\x01\x17",  # another record in mid-message
        b"\x16\x03\x01\0\x04\x01\0\0\0",  # empty
        hello(before=b"\xff"),
        hello(before=b"\0\0\x02\x13\x01\xff"),
        hello(before=b"", head=b"\x03"),
        hello(before=b"\0\xff\xff\1\0"),
    ],
)
def test_something_else(data: bytes) -> None:
    assert read_growing(read, data, EVERYTHING) is Outcome.OTHER
    assert client_hello(data) is Outcome.OTHER


def test_names() -> None:
    def names(*extensions: tuple[int, bytes]) -> tuple[object, object]:
        found = properties(hello(*extensions), "tls.sni", "tls.sni_raw")
        return found["tls.sni"], found["tls.sni_raw"]

    assert names(sni(b"A.Example.")) == ("a.example", "a.example.")
    assert names(sni(b"\xff")) == ("\\xff", "\\xff")
    assert names(sni(b"")) == (None, None)
    assert names(sni(b".")) == (None, ".")
    assert names(sni(b"x" * 300)) == ("x" * 300, "x" * 300)
    assert names((0, b"\0\4\1\0\1x")) == (None, None)  # not a host_name
    assert names((0, b"\0")) == (None, None)
    assert names((0, b"\0\xff\0\0\xffa")) == ("a", "a")  # never beyond the extension
    assert properties(hello((16, b"\0\4\1a\0\1b")), "tls.alpn")["tls.alpn"] == ("a",)  # up to what is no name
    assert names(sni(b"first"), sni(b"second")) == ("first", "first")
    assert properties(hello(sni(b"first"), sni(b"second")))["tls.sni"] == "first"


def test_encrypted_names() -> None:
    found = properties(hello((0xFE0D, b"x"), sni(b"outer.example")))
    assert (found["tls.sni"], found["tls.ech"], found["tls.esni"]) == ("outer.example", True, False)
    found = properties(hello((0xFFCE, b"x")))
    assert (found["tls.sni"], found["tls.ech"], found["tls.esni"]) == (None, False, True)


def test_extensions_up_to_the_one_cut_off() -> None:
    whole = hello(sni(b"a.example"), (16, b"\0\3\2h2"))
    found = properties(message(b"\x01" + (len(whole) - 10).to_bytes(3, "big") + whole[9:-1]))
    assert (found["tls.sni"], found["tls.alpn"]) == ("a.example", None)
    assert properties(message(b"\x01\0\0\x29" + VERSION_AND_RANDOM + SESSION_SUITES_COMPRESSION))["tls.sni"] is None


@given(st.binary(max_size=400) | damaged(HELLO) | damaged(chromium_hello()) | damaged(records(HELLO[5:], [100] * 4)))
def test_any_bytes_in_any_pieces(data: bytes) -> None:
    read_growing(read, data, EVERYTHING)
    names = read(data, frozenset({"tls.sni"}))
    everything = read(data)
    if isinstance(everything, Finding):
        assert isinstance(names, Finding)
        assert names.properties["tls.sni"] == everything.properties["tls.sni"]
    else:
        assert names is everything


@given(st.lists(st.tuples(st.sampled_from([0, 10, 11, 13, 16, 43, 0xFE0D]), st.binary(max_size=40)), max_size=6))
def test_any_extensions_make_a_hello(extensions: list[tuple[int, bytes]]) -> None:
    assert isinstance(client_hello(hello(*extensions)), ClientHello)
    assert properties(hello(*extensions)).keys() == EVERYTHING


ENDLESS = b"\x01\xff\xff\xff"
MANY = 16000


@pytest.mark.parametrize(
    "data",
    [
        records(ENDLESS, [1] * 4) + message(b"x") * 10900,
        records(hello(*[(type_, b"") for type_ in range(MANY // 4)])[5:], [1000]),
        hello(*[(1, b"")] * (MANY // 4)),
        hello((16, b"\0\0" + bytes(MANY))),
        hello((16, b"\0\0" + b"\1x" * (MANY // 2))),
        records(hello(*((type_, bytes(15000)) for type_ in (10, 11, 13, 43)))[5:], [1 << 14] * 4),
        hello(before=b"\0" + numbers("1301" * (MANY // 2)) + b"\1\0"),
    ],
)
def test_work_is_bounded_by_the_bytes(data: bytes) -> None:
    assert calls(read, data, EVERYTHING) < 100 + 4 * len(data)


def test_nobody_looks_behind_the_name_if_only_that_is_wanted() -> None:
    assert calls(read, hello(sni(b"a.example"), *[(1, b"")] * 1000), frozenset({"tls.sni", "tls.sni_raw"})) < 60


def test_hello_as_the_core_asks_for_it() -> None:
    assert client_hello(HELLO) == ClientHello("messenger.example", ("h2", "http/1.1"), ech=False)
    assert client_hello(real_hello(None)) == ClientHello("", (), ech=False)
    assert client_hello(hello((0xFE0D, b"x"), sni(b"A.Example."))) == ClientHello("a.example", (), ech=True)
    assert client_hello(HELLO[:-1]) is Outcome.MORE
