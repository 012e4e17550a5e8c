import pytest

from proxy.admission import OpenHandshakes


def opened(*sources: str) -> OpenHandshakes[int]:
    """Number 0 from the first source, and so on."""
    handshakes: OpenHandshakes[int] = OpenHandshakes()
    for number, source in enumerate(sources):
        handshakes.add(number, source)
    return handshakes


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["192.0.2.1"], 0),
        (["192.0.2.1", "192.0.2.2", "192.0.2.2"], 1),
        (["192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.2"], 0),
        (["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"], 0),
        (["2001:db8:0:1::1", "2001:db8::1", "2001:db8::2%eth0"], 1),
    ],
    ids=["one", "the most", "as many", "mapped", "a /64 is one source"],
)
def test_the_oldest_of_the_source_with_the_most_goes_first(sources: list[str], expected: int) -> None:
    assert opened(*sources).first_to_go() == expected


def test_whoever_floods_makes_room_for_his_own() -> None:
    handshakes = opened("192.0.2.1", *["192.0.2.2"] * 3)
    gone = []
    for number in range(100, 110):
        gone.append(handshakes.first_to_go())
        handshakes.discard(gone[-1])
        handshakes.add(number, "192.0.2.2")
    assert gone == [1, 2, 3, *range(100, 107)]
    assert len(handshakes) == 4


def test_what_is_over_is_forgotten() -> None:
    handshakes = opened("192.0.2.1", "192.0.2.1", "192.0.2.2")
    handshakes.discard(0)
    handshakes.discard(0)
    assert (len(handshakes), list(handshakes), handshakes.first_to_go()) == (2, [1, 2], 1)
    handshakes.discard(1)
    assert handshakes.first_to_go() == 2


def test_handshakes_may_end_while_they_are_gone_through() -> None:
    handshakes = opened("192.0.2.1", "192.0.2.2")
    for one in handshakes:
        handshakes.discard(one)
    assert len(handshakes) == 0
