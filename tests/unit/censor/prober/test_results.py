"""censor/prober/results.py"""

from __future__ import annotations

import pytest

from censor.prober.results import OUTCOMES, End, Outcome, ProbeResult, is_answered_replay, judge
from censor.prober.settings import Evidence, ProbeName, ProberSettings

DEFAULT = ProberSettings().verdict


def result(probe: ProbeName, *evidence: Evidence, answer: bytes = b"", end: End = End.SILENCE) -> ProbeResult:
    return ProbeResult(probe, OUTCOMES[end], end, evidence, "", answer, len(answer))


def results(*all_: ProbeResult) -> dict[ProbeName, ProbeResult]:
    return {one.probe: one for one in all_}


def test_every_end_is_an_outcome() -> None:
    assert OUTCOMES.keys() == set(End)
    assert set(OUTCOMES.values()) == set(Outcome) - {Outcome.ANSWERED_PROXY, Outcome.ANSWERED_OTHER}


@pytest.mark.parametrize("end", End)
def test_whether_there_was_a_connection(end: End) -> None:
    assert result("tls", end=end).connected == (end in {End.PROBER, End.FIN, End.RST, End.SILENCE})


def test_only_what_convicts_counts_in_the_verdicts_order() -> None:
    found = results(result("socks4", "socks4", "open-proxy"), result("socks5-no-auth", "socks5-method"))
    assert judge(DEFAULT, found) == ("socks5-method", "socks4")
    assert judge(("open-proxy",), found) == ("open-proxy",)
    assert judge(("http-proxy",), found) == ()


def test_the_same_evidence_twice_is_one() -> None:
    found = results(result("socks5-wrong-password", "socks5-method"), result("socks5-no-auth", "socks5-method"))
    assert judge(DEFAULT, found) == ("socks5-method",)


REPLAY = result("replay", answer=b"x")


@pytest.mark.parametrize(
    ("control", "evidence"),
    [
        (result("random"), ("replay",)),
        (result("random", end=End.FIN), ("replay",)),
        (result("random", end=End.RST), ("replay",)),
        (result("random", answer=b"y"), ()),
        (result("random", end=End.REFUSED), ()),
        (result("tls"), ()),
    ],
)
def test_a_replays_answer_counts_where_random_bytes_get_none(control: ProbeResult, evidence: tuple[str, ...]) -> None:
    assert judge(DEFAULT, results(REPLAY, control)) == evidence


def test_a_replay_without_answer_is_none() -> None:
    assert judge(DEFAULT, results(result("replay"), result("random"))) == ()
    assert not is_answered_replay(results(result("replay")))
    assert not is_answered_replay({})
    assert is_answered_replay(results(REPLAY))
