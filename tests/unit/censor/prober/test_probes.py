"""censor/prober/probes.py: what is said, what an answer is evidence of, and what it is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from censor.prober.client_hello import client_hello
from censor.prober.probes import Probe, make_probe
from censor.prober.results import KEPT_BYTES, End, Outcome, ProbeResult
from censor.prober.settings import PROBE_NAMES, ProbeName
from proxy.wire import (
    Address,
    Reply,
    ReplyCode,
    Socks4Request,
    read_credentials,
    read_http_request,
    read_request,
    read_socks4_request,
    write_reply,
)

DESTINATION = Address.of("192.0.2.80", 80)
REQUEST = b"\x05\x01\x00\x01\xc0\x00\x02\x50\x00\x50"
GRANTED = write_reply(Reply(ReplyCode.SUCCEEDED))
REFUSED = write_reply(Reply(ReplyCode.CONNECTION_REFUSED))


def made(name: ProbeName, seed: int = 1) -> Probe:
    return make_probe(name, DESTINATION, b"recorded", 221, seed)


def talk(name: ProbeName, *answers: bytes, end: End = End.SILENCE) -> ProbeResult:
    """Let the server say these, each after what the probe has said; then the end, unless the probe is done."""
    probe = made(name)
    assert probe.begin()
    for answer in answers:
        assert not probe.done
        probe.receive(answer)
    return probe.result(End.PROBER if probe.done else end, 0.5, 1.5)


@pytest.mark.parametrize(
    ("name", "bytes_"),
    [
        ("socks5-no-auth", b"\x05\x01\x00"),
        ("socks5-wrong-password", b"\x05\x01\x02"),
        ("replay", b"recorded"),
        ("socks4", b"\x04\x01\x00\x50\xc0\x00\x02\x50\x00"),
        ("http-connect", b"CONNECT 192.0.2.80:80 HTTP/1.1\r\nHost: 192.0.2.80:80\r\n\r\n"),
    ],
)
def test_what_is_said_first(name: ProbeName, bytes_: bytes) -> None:
    assert made(name).begin() == bytes_


def test_names_go_by_socks4a_and_as_they_are() -> None:
    name = Address.of("canary.example", 8080)
    socks4 = read_socks4_request(bytearray(make_probe("socks4", name, b"", 1, 1).begin()))
    assert isinstance(socks4, Socks4Request)
    assert socks4.target == name
    http = read_http_request(bytearray(make_probe("http-connect", name, b"", 1, 1).begin()))
    assert http is not None
    assert http.target == name


def test_what_is_random_comes_of_the_seed() -> None:
    for name in ("random", "tls"):
        assert made(name, 1).begin() == made(name, 1).begin() != made(name, 2).begin()
    assert len(made("random").begin()) == 221
    assert len(made("tls").begin()) == len(client_hello(bytes(32)))


def test_the_wrong_password_is_another_one_each_time() -> None:
    said = []
    for seed in (1, 2):
        probe = made("socks5-wrong-password", seed)
        probe.begin()
        said.append(read_credentials(bytearray(probe.receive(b"\x05\x02"))))
    assert None not in said
    assert said[0] != said[1]


def test_an_open_proxy_is_asked_to_connect() -> None:
    probe = made("socks5-no-auth")
    probe.begin()
    assert probe.receive(b"\x05\x00") == REQUEST
    request = read_request(bytearray(REQUEST))
    assert request is not None
    assert request.target == DESTINATION
    assert probe.receive(GRANTED) == b""
    assert probe.done


def test_answers_may_come_in_pieces() -> None:
    probe = made("socks5-no-auth")
    probe.begin()
    assert (probe.receive(b"\x05"), probe.receive(b"\x00")) == (b"", REQUEST)
    for byte in GRANTED[:-1]:
        assert probe.receive(bytes((byte,))) == b""
        assert not probe.done
    probe.receive(GRANTED[-1:])
    assert probe.result(End.PROBER, 0.1, 0.2).evidence == ("socks5-method", "open-proxy")


@pytest.mark.parametrize(
    ("name", "answers", "evidence", "said"),
    [
        ("socks5-no-auth", [b"\x05\xff"], ["socks5-method"], "SOCKS5: no acceptable method"),
        ("socks5-no-auth", [b"\x05\x00"], ["socks5-method"], "SOCKS5: no authentication"),
        (
            "socks5-no-auth",
            [b"\x05\x00", GRANTED],
            ["socks5-method", "open-proxy"],
            "SOCKS5: no authentication; reply 00 succeeded",
        ),
        (
            "socks5-no-auth",
            [b"\x05\x00", REFUSED],
            ["socks5-method"],
            "SOCKS5: no authentication; reply 05 connection refused",
        ),
        (
            "socks5-no-auth",
            [b"\x05\x00", b"\x05\x63\x00\x01"],
            ["socks5-method"],
            "SOCKS5: no authentication",
        ),
        ("socks5-wrong-password", [b"\x05\xff"], ["socks5-method"], "SOCKS5: no acceptable method"),
        (
            "socks5-wrong-password",
            [b"\x05\x02", b"\x01\x01"],
            ["socks5-method", "socks5-auth"],
            "SOCKS5: user and password; a wrong password is refused",
        ),
        (
            "socks5-wrong-password",
            [b"\x05\x02", b"\x01", b"\x00", GRANTED],
            ["socks5-method", "socks5-auth", "open-proxy"],
            "SOCKS5: user and password; a wrong password is accepted; reply 00 succeeded",
        ),
        (
            "socks5-wrong-password",
            [b"\x05\x02", b"\x05\x00"],
            ["socks5-method"],
            "SOCKS5: user and password; authentication result: version 5, expected 1",
        ),
        ("socks4", [b"\x00\x5a" + bytes(5), b"\x00"], ["socks4", "open-proxy"], "SOCKS4: 90 granted"),
        ("socks4", [b"\x00\x5b" + bytes(6)], ["socks4"], "SOCKS4: 91 rejected"),
        ("http-connect", [b"HTTP/1.1 200 OK\r\n", b"\r\n"], ["http-proxy", "open-proxy"], "HTTP 200"),
        ("http-connect", [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"], ["http-proxy"], "HTTP 407"),
    ],
)
def test_what_proxies_say(name: ProbeName, answers: list[bytes], evidence: list[str], said: str) -> None:
    result = talk(name, *answers)
    assert (result.outcome, list(result.evidence), result.said) == (Outcome.ANSWERED_PROXY, evidence, said)


ECHO = [(name, [made(name).begin()]) for name in PROBE_NAMES]


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        *ECHO,
        ("socks5-no-auth", [b"SSH-2.0-OpenSSH_9.2\r\n"]),
        ("socks5-no-auth", [b"HTTP/1.1 400 Bad Request\r\n\r\n"]),
        ("socks5-no-auth", [b"\x05\x02"]),
        ("socks5-no-auth", [b"\x05"]),
        ("socks5-no-auth", [b"\x05\x00\x0d\x03\x10\x00\x00\x00"]),
        ("socks5-wrong-password", [b"\x05\x00"]),
        ("socks4", [b"\x00\x00" + bytes(6)]),
        ("http-connect", [b"HTTP/1.1 405 Method Not Allowed\r\n\r\n"]),
        ("http-connect", [b"HTTP/1.1 502 Bad Gateway\r\n\r\n"]),
        ("replay", [b"\x05\x00"]),
        ("random", [b"\x05\x00"]),
    ],
)
def test_what_others_say_is_evidence_of_nothing(name: ProbeName, answers: list[bytes]) -> None:
    result = talk(name, *answers)
    assert (result.outcome, result.evidence) == (Outcome.ANSWERED_OTHER, ())


@pytest.mark.parametrize(
    ("answer", "said"),
    [(b"\x15\x03\x03", "TLS: an alert"), (b"\x16\x03\x03", "TLS: a handshake"), (b"\x15\x04", ""), (b"HTTP/1.1", "")],
)
def test_tls_is_told_by_its_records(answer: bytes, said: str) -> None:
    assert talk("tls", answer).said == said


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (End.SILENCE, Outcome.NO_ANSWER),
        (End.FIN, Outcome.CLOSED),
        (End.RST, Outcome.RESET),
        (End.REFUSED, Outcome.REFUSED),
        (End.UNREACHABLE, Outcome.UNREACHABLE),
        (End.TIMEOUT, Outcome.TIMEOUT),
    ],
)
@pytest.mark.parametrize("name", PROBE_NAMES)
def test_how_a_silent_server_ends_is_the_outcome(name: ProbeName, end: End, outcome: Outcome) -> None:
    result = talk(name, end=end)
    assert (result.probe, result.outcome, result.end, result.answered) == (name, outcome, end, False)


@given(st.sampled_from(PROBE_NAMES), st.lists(st.binary(min_size=1), max_size=4))
def test_no_bytes_are_too_much_for_a_probe(name: ProbeName, answers: list[bytes]) -> None:
    probe = made(name)
    probe.begin()
    sent = 0
    for answer in answers:
        if not probe.done:
            probe.receive(answer)
            sent += len(answer)
    result = probe.result(End.FIN, None, 1.0)
    assert (result.received_bytes, result.received) == (sent, b"".join(answers)[: min(sent, KEPT_BYTES)])


def test_the_head_of_what_was_received_is_kept() -> None:
    probe = made("http-connect")
    probe.begin()
    probe.receive(b"HTTP/1.1 200 OK\r\nX: ")
    probe.receive(b"y" * 1000)
    result = probe.result(End.FIN, 0.5, 1.5)
    assert (len(result.received), result.received_bytes) == (KEPT_BYTES, 1020)
    assert (result.answer_seconds, result.seconds) == (0.5, 1.5)
