"""Who was first, judged from what came; that races are run is tests/lab/test_bench_censor.py."""

from __future__ import annotations

import dns.message
import dns.rrset

from lab.benchmarks.censor import race
from lab.benchmarks.censor.subjects import FORGED_ADDRESS, FORGED_NAME


def test_the_outcome_of_tries() -> None:
    found = race.outcome([(True, 0.1), (True, 0.2), (False, 0.4), (None, 3.0)])
    assert found == race.Outcome(won=2, lost=1, silent=1, p50_seconds=0.4)


def test_the_servers_answer_is_not_the_censors() -> None:
    query = dns.message.make_query(FORGED_NAME, "A")
    answer = race.answer_to(query.to_wire())
    assert dns.message.from_wire(answer).id == query.id
    assert not race.is_forged(answer)
    forged = dns.message.make_response(query)
    assert not race.is_forged(forged.to_wire())
    forged.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", FORGED_ADDRESS))
    assert race.is_forged(forged.to_wire())
