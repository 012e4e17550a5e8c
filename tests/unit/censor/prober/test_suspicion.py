"""censor/prober/suspicion.py"""

from __future__ import annotations

from censor.prober.suspicion import ProbeOrder, Suspicions

A, B, C = ((bytes((192, 0, 2, last)), 1080) for last in (1, 2, 3))


def order() -> ProbeOrder:
    return ProbeOrder(A, "tls", 0.0, b"", 221, 0)


def test_connections_are_counted_and_the_latest_is_kept() -> None:
    suspicions = Suspicions(10, 4, 60.0)
    suspicions.see(A, b"first", 1.0, "entropy")
    suspect = suspicions.see(A, b"second", 2.0, "socks5")
    assert suspicions.get(A) is suspect
    assert (suspect.connections, suspect.reason, suspect.payload) == (2, "socks5", b"seco")
    assert suspicions.get(B) is None


def test_what_is_replayed_does_not_change_while_a_probe_waits() -> None:
    suspicions = Suspicions(10, 2048, 60.0)
    suspicions.see(A, b"first", 1.0, "entropy").order = order()
    suspect = suspicions.see(A, b"second", 2.0, "socks5")
    assert (suspect.connections, suspect.reason, suspect.payload) == (2, "entropy", b"first")


def test_one_that_was_quiet_is_new() -> None:
    suspicions = Suspicions(10, 2048, 60.0)
    suspicions.see(A, b"", 0.0, "entropy")
    assert suspicions.see(A, b"", 60.0, "entropy").connections == 2
    assert suspicions.see(A, b"", 120.5, "entropy").connections == 1


def test_nothing_is_forgotten_while_a_probe_waits_or_a_verdict_holds() -> None:
    suspicions = Suspicions(10, 2048, 60.0)
    suspect = suspicions.see(A, b"", 0.0, "entropy")
    suspect.order = order()
    assert suspicions.see(A, b"", 100.0, "entropy") is suspect
    suspect.order, suspect.settled_until = None, 300.0
    assert suspicions.see(A, b"", 299.0, "entropy") is suspect
    assert suspicions.see(A, b"", 360.0, "entropy") is not suspect


def test_the_least_recently_suspected_makes_room() -> None:
    suspicions = Suspicions(2, 2048, 60.0)
    for t, server in enumerate((A, B, A, C)):
        suspicions.see(server, b"", t, "entropy")
    assert [suspicions.get(server) is not None for server in (A, B, C)] == [True, False, True]
    assert len(suspicions) == 2
