from proxy.turns import Turns


def test_places_take_turns_whatever_they_have_queued() -> None:
    turns: Turns[str] = Turns(each=10, most=10)
    for job in ("a1", "a2", "a3", "b1", "c1", "c2"):
        assert turns.add(job[0], job)
    done = []
    while (job := turns.next()) is not None:
        done.append(job)
        turns.finished(job[0])
    assert done == ["a1", "b1", "c1", "a2", "c2", "a3"]
    assert len(turns) == 0


def test_of_a_place_one_job_is_under_way() -> None:
    turns: Turns[str] = Turns(each=10, most=10)
    turns.add("a", "a1")
    turns.add("a", "a2")
    assert turns.next() == "a1"
    assert turns.next() is None
    turns.add("a", "a3")
    turns.add("b", "b1")
    assert turns.next() == "b1"
    assert turns.next() is None
    turns.finished("a")
    assert turns.next() == "a2"
    turns.finished("a")
    assert turns.next() == "a3"
    turns.finished("a")
    turns.add("a", "a4")
    assert turns.next() == "a4"


def test_there_is_room_for_so_many() -> None:
    turns: Turns[str] = Turns(each=2, most=3)
    assert [turns.add(job[0], job) for job in ("a1", "a2", "a3", "b1", "b2")] == [True, True, False, True, False]
    assert len(turns) == 3
    assert turns.next() == "a1"  # what is under way does not wait
    assert turns.add("b", "b2")


def test_clear_gives_back_what_waits() -> None:
    turns: Turns[str] = Turns(each=2, most=9)
    for job in ("a1", "a2", "b1"):
        turns.add(job[0], job)
    assert turns.next() == "a1"
    assert sorted(turns.clear()) == ["a2", "b1"]
    assert len(turns) == 0
    assert turns.next() is None
    turns.finished("a")
    turns.add("a", "a3")
    assert turns.next() == "a3"
