"""Log-ins on a clock and a hash function of our own: a "hash" here is CHEAP with the password behind it."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import pytest
import structlog

from proxy import auth, log
from proxy.auth import Users, hash_password, log_failure
from proxy.backoff import Backoff
from proxy.hashing import decoy
from proxy.settings import User
from sidedoor.settings import SettingsError

SOURCE, OTHER = "192.0.2.1", "192.0.2.2"
HASH = decoy("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$")


class World:
    """Users with a clock that stands still, and hashes that wait until they are let go."""

    made: ClassVar[list[World]] = []

    def __init__(self, **passwords: str) -> None:
        self.now = 1000.0
        self.begun: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.computed: list[tuple[str, bytes]] = []
        self.right: dict[str, bytes] = {}
        self.error: Exception | None = None
        self.released = threading.Event()
        self.released.set()
        self.answers: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
        accounts = {name: User(password=password) for name, password in passwords.items()}
        self.users = Users(accounts, now=lambda: self.now, matches=self.matches)
        self.made.append(self)

    def matches(self, text: str, password: bytes) -> bool:
        self.begun.put(password)
        self.released.wait(10)
        if self.error is not None:
            raise self.error
        self.computed.append((text, password))
        return self.right.get(text) == password

    def ask(self, user: bytes, password: bytes, source: str = SOURCE) -> bool | None:
        """The answer that comes at once."""
        return self.users.verify(user, password, source, lambda right: self.answers.put_nowait((source, right)))

    async def answer(self, user: bytes, password: bytes, source: str = SOURCE) -> bool:
        """The answer that comes later."""
        assert self.ask(user, password, source) is None
        return (await self.answers.get())[1]


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    yield
    while World.made:
        world = World.made.pop()
        world.released.set()
        world.users.close()


def hashed() -> World:
    world = World(anna=HASH)
    world.right[HASH] = b"secret"
    return world


def ask(users: Users, user: bytes, password: bytes, source: str = SOURCE) -> bool | None:
    return users.verify(user, password, source, _never)


def _never(right: bool) -> None:
    raise AssertionError("a plain password is answered at once")


def test_plain_passwords_are_answered_at_once() -> None:
    users = Users({"anna": User(password="secret"), "": User(password=""), "jörg": User(password="ü")})
    assert users
    assert ask(users, b"anna", b"secret") is True
    assert ask(users, b"", b"") is True
    assert ask(users, "jörg".encode(), "ü".encode()) is True
    for user, password in (
        (b"anna", b""),
        (b"anna", b"secret "),
        (b"nobody", b"secret"),
        (b"\xff", b""),
        (b"annas", b"ecret"),
    ):
        assert ask(users, user, password) is False
    users.close()


def test_nobody() -> None:
    users = Users({})
    assert not users
    assert ask(users, b"", b"") is False


def test_a_malformed_hash_is_named_and_not_shown() -> None:
    with pytest.raises(SettingsError, match=r"^users\.anna\.password: ") as caught:
        Users({"anna": User(password="$argon2id$oops")})
    assert "oops" not in str(caught.value)


async def test_hashes_of_the_real_library() -> None:
    users = Users({"anna": User(password=hash_password("secret"))})
    answers: asyncio.Queue[bool] = asyncio.Queue()
    for password, right in ((b"wrong", False), (b"secret", True)):
        assert users.verify(b"anna", password, SOURCE, answers.put_nowait) is None
        assert await answers.get() is right
    assert ask(users, b"anna", b"secret") is True
    users.close()


async def test_only_the_first_right_login_costs_a_hash() -> None:
    world = hashed()
    assert await world.answer(b"anna", b"secret")
    assert world.ask(b"anna", b"secret") is True
    assert world.ask(b"anna", b"secret", OTHER) is True
    assert await world.answer(b"anna", b"wrong") is False
    assert world.computed == [(HASH, b"secret"), (HASH, b"wrong")]


async def test_an_unknown_user_costs_a_hash_too() -> None:
    world = World(anna=HASH, plain="plain")
    assert await world.answer(b"nobody", b"secret") is False
    assert await world.answer(b"plain", b"wrong") is False
    assert world.ask(b"plain", b"plain") is True
    assert [text.rpartition("$")[0] for text, _ in world.computed] == [HASH.rpartition("$")[0]] * 2
    assert HASH not in dict(world.computed)
    assert world.users.failed == 2


async def test_a_decoy_lets_nobody_in() -> None:
    world = hashed()
    world.users._decoy = HASH  # as if somebody had found its password
    assert await world.answer(b"nobody", b"secret") is False


def test_after_five_failures_a_source_pauses() -> None:
    world = World(anna="secret")
    for _ in range(6):
        assert world.ask(b"anna", b"wrong") is False
    assert (world.users.failed, world.users.blocked) == (6, 0)
    assert world.ask(b"anna", b"secret") is False  # right, but it may have been guessed
    assert world.ask(b"anna", b"secret", OTHER) is True
    assert (world.users.failed, world.users.blocked) == (6, 1)
    world.now += 1
    assert world.ask(b"anna", b"secret") is True
    assert world.ask(b"anna", b"wrong") is False  # the success has cleared it
    assert world.ask(b"anna", b"secret") is True


def test_in_a_pause_known_users_go_on() -> None:
    world = World(anna="secret", bert="other")
    assert world.ask(b"anna", b"secret") is True
    for _ in range(6):
        world.ask(b"bert", b"guess")
    assert world.ask(b"anna", b"secret") is True
    assert world.ask(b"bert", b"other") is False
    assert world.ask(b"bert", b"other", OTHER) is True


def test_who_has_an_account_clears_his_failures_once() -> None:
    world = World(mallory="own", anna="secret")
    for number in range(7):
        world.ask(b"anna", b"guess %d" % number)
        world.ask(b"mallory", b"own")
    assert world.users.blocked == 0
    assert world.ask(b"anna", b"secret") is False
    assert world.users.blocked == 1


async def test_in_a_pause_nothing_is_hashed() -> None:
    world = hashed()
    for _ in range(6):
        assert await world.answer(b"anna", b"wrong") is False
    assert world.ask(b"anna", b"wrong") is False
    assert world.ask(b"anna", b"secret") is False
    assert len(world.computed) == 6
    assert world.users.blocked == 2
    assert await world.answer(b"anna", b"secret", OTHER)


async def test_a_flood_from_one_source_holds_up_no_other() -> None:
    world = hashed()
    world.released.clear()
    flood = [world.ask(b"anna", b"guess %d" % number) for number in range(1000)]
    assert flood.count(None) == 1 + auth.WAITING_MOST_PER_SOURCE  # one is under way
    assert world.ask(b"anna", b"secret", OTHER) is None
    # The other's hash is under way beside the flood's first, before any is done.
    assert {world.begun.get(timeout=10) for _ in range(2)} == {b"guess 0", b"secret"}
    world.released.set()
    answers = [await world.answers.get() for _ in range(flood.count(None) + 1)]
    assert (OTHER, True) in answers
    assert len(world.computed) == 6 + 1  # then the flood was in its pause
    assert world.users.failed == 6
    assert world.users.blocked == 1000 - 6


async def test_there_is_an_end_to_waiting_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "WAITING_MOST", 4)
    world = hashed()
    world.released.clear()
    answers = [world.ask(b"anna", b"secret", f"192.0.2.{number}") for number in range(10)]
    assert answers == [None] * 6 + [False] * 4
    assert world.users.blocked == 4
    world.released.set()
    assert all([(await world.answers.get())[1] for _ in range(6)])


async def test_the_same_login_many_times_takes_one_hash() -> None:
    world = hashed()
    assert [world.ask(b"anna", b"secret") for _ in range(6)] == [None] * 6
    assert all([(await world.answers.get())[1] for _ in range(6)])
    assert len(world.computed) == 1


async def test_a_hash_that_cannot_be_computed_is_nobodys_failure() -> None:
    world = hashed()
    world.error = MemoryError()
    with structlog.testing.capture_logs() as lines:
        assert await world.answer(b"anna", b"secret") is False
    assert lines == [{"event": "hash_failed", "error": "MemoryError", "log_level": "warning"}]
    assert (world.users.failed, world.users.blocked, len(world.users.backoff)) == (0, 1, 0)
    world.error = None
    assert await world.answer(b"anna", b"secret")


async def test_closing_answers_who_waits() -> None:
    world = hashed()
    world.released.clear()
    for _ in range(3):
        assert world.ask(b"anna", b"secret") is None
    world.users.close()
    assert [world.answers.get_nowait() for _ in range(2)] == [(SOURCE, False)] * 2
    assert world.ask(b"anna", b"secret", OTHER) is False
    world.released.set()
    assert await world.answers.get() == (SOURCE, True)


def test_the_failures_outlive_a_change_of_users() -> None:
    backoff = Backoff()
    old = Users({"anna": User(password="old")}, backoff=backoff, now=lambda: 0.0)
    for _ in range(6):
        ask(old, b"anna", b"wrong")
    assert ask(Users({"anna": User(password="new")}, backoff=old.backoff, now=lambda: 0.0), b"anna", b"new") is False


def test_the_memory_of_known_users_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "KNOWN_MOST", 2)
    world = World(anna="secret")
    for source in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3"):
        assert world.ask(b"anna", b"secret", source) is True
    assert {source for source, _ in world.users._known} == {"192.0.2.1", "192.0.2.3"}


async def test_no_secret_in_a_repr() -> None:
    world = hashed()
    world.released.clear()
    world.ask(b"anna", b"secret")
    world.ask(b"anna", b"secret")
    [waiting] = world.users._turns._waiting[SOURCE]
    assert "secret" not in repr(waiting)


@contextmanager
def captured() -> Iterator[list[dict[str, object]]]:
    log._logger.cache_clear()
    with structlog.testing.capture_logs() as lines:
        yield lines  # type: ignore[misc]
    log._logger.cache_clear()


@pytest.mark.parametrize(
    ("source", "expected"),
    [("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("fe80::1%eth0", "fe80::1"), ("?", "?")],
)
def test_failures_are_logged_for_firewalls(source: str, expected: str) -> None:
    with captured() as lines:
        log_failure(source, "192.0.2.1:5", b'an"na\xff', "wrong user or password")
    assert lines == [
        {
            "source": expected,
            "client": "192.0.2.1:5",
            "user": 'an"na\\xff',
            "reason": "wrong user or password",
            "event": "login_failed",
            "log_level": "warning",
        }
    ]


def test_a_user_as_long_as_http_lets_him_be_is_cut_off_in_the_log() -> None:
    with captured() as lines:
        log_failure(SOURCE, f"{SOURCE}:5", b"a" * 12000, "wrong user or password")
    assert lines[0]["user"] == "a" * 255
