import pytest

from proxy.resolver.answers import Answer, Status
from proxy.resolver.cache import Cache


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def found(ttl: float, *, partial: bool = False) -> Answer:
    return Answer(Status.FOUND, ("192.0.2.1",), ttl, partial=partial)


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (found(60), 60),
        (found(0), 5),
        (found(1e6), 100),
        (found(60, partial=True), 5),
        (Answer(Status.NO_NAME, ttl_seconds=30), 30),
        (Answer(Status.NO_ADDRESS, ttl_seconds=0), 5),
    ],
)
def test_how_long_an_answer_is_kept(answer: Answer, seconds: float) -> None:
    clock = Clock()
    cache = Cache(10, 5, 100, clock)
    cache.put("a.example", answer)
    clock.now += seconds - 0.001
    assert cache.get("a.example") == answer
    clock.now += 0.001
    assert cache.get("a.example") is None
    assert len(cache) == 0


def test_the_longest_time_wins_over_the_shortest() -> None:
    clock = Clock()
    cache = Cache(10, 50, 10, clock)
    cache.put("a.example", found(0))
    clock.now += 10
    assert cache.get("a.example") is None


@pytest.mark.parametrize(
    ("names", "ttl_least", "answer"),
    [(10, 5, Answer(Status.FAILED, error="SERVFAIL")), (10, 0, found(0)), (0, 5, found(60))],
)
def test_what_is_not_kept(names: int, ttl_least: float, answer: Answer) -> None:
    cache = Cache(names, ttl_least, 100, Clock())
    cache.put("a.example", answer)
    assert cache.get("a.example") is None


def test_the_one_not_asked_for_the_longest_makes_room() -> None:
    cache = Cache(2, 5, 100, Clock())
    cache.put("a.example", found(60))
    cache.put("b.example", found(60))
    cache.get("a.example")
    cache.put("c.example", found(60))
    cache.put("c.example", found(60))
    assert [name for name in "abc" if cache.get(f"{name}.example")] == ["a", "c"]
