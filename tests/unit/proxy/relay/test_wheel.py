from proxy.relay.wheel import UNSET, Wheel


class Item:
    def __init__(self) -> None:
        self.tick = UNSET


def test_nothing_expires_early_and_nothing_later_than_a_tick() -> None:
    wheel: Wheel[Item] = Wheel(0.5)
    items = [Item() for _ in range(20)]
    for number, item in enumerate(items):
        wheel.set(item, number / 10)
    expired: dict[Item, float] = {}
    for step in range(60):
        now = step / 20
        for item in wheel.expire(now):
            expired[item] = now
    for number, item in enumerate(items):
        assert number / 10 <= expired[item] <= number / 10 + 0.55
    assert not wheel


def test_a_deadline_can_be_replaced_and_cleared() -> None:
    wheel: Wheel[Item] = Wheel(1)
    item, other = Item(), Item()
    wheel.set(item, 1)
    wheel.set(item, 1.5)
    wheel.set(other, 1)
    wheel.set(item, 5)
    assert wheel.expire(3) == [other]
    assert other.tick == UNSET
    wheel.clear(other)
    wheel.clear(item)
    assert not wheel
    assert wheel.expire(100) == []


def test_what_expires_comes_in_order_and_can_be_set_again() -> None:
    wheel: Wheel[Item] = Wheel(1)
    late, early = Item(), Item()
    wheel.set(late, 7)
    wheel.set(early, 2)
    assert wheel.expire(20) == [early, late]
    wheel.set(early, 30)
    assert wheel
    assert wheel.expire(31) == [early]
