"""Hashes on threads; those of the real library where its answers matter, which takes some 30 ms each."""

from __future__ import annotations

import asyncio
import threading

import pytest

from proxy import hashing
from proxy.hashing import Hashers, check_hash, decoy, hash_password, matches
from sidedoor.settings import SettingsError

CHEAP = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$xwFWx2MmTwBJGGRaJrVqrTFcBvdPGLCWgwLvFjY6dXo"


def test_a_hash_matches_its_password_only() -> None:
    text = hash_password("sécret")
    assert text.startswith(hashing.HASH_MARK)
    check_hash("users.anna.password", text)
    assert matches(text, "sécret".encode())
    assert not matches(text, b"secret")
    assert not matches(decoy(text), "sécret".encode())
    assert hash_password("sécret") != text


def test_a_decoy_costs_what_the_hash_costs() -> None:
    other = decoy(CHEAP)
    check_hash("", other)
    assert other.split("$")[:5] == CHEAP.split("$")[:5]
    assert other != decoy(CHEAP)


@pytest.mark.parametrize(
    "text",
    [
        "$argon2",
        "$argon2id$",
        CHEAP[:-1] + "!",
        CHEAP + "$",
        CHEAP + "\n",
        CHEAP.replace("id", "ix"),
        CHEAP.replace("v=19", "v=20"),
        CHEAP.replace("v=19$", ""),
        CHEAP.replace("m=8,", ""),
        CHEAP.replace("c2FsdHNhbHQ", "c2FsdHNhbHR"),  # bits left over
        CHEAP.replace("c2FsdHNhbHQ", "c2FsdHNhbHQaa"),  # no whole byte
        CHEAP.replace("c2FsdHNhbHQ", "short"),
    ],
)
def test_what_is_no_hash_is_not_shown(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^users\.anna\.password: .*hash-password") as caught:
        check_hash("users.anna.password", text)
    assert "c2FsdHNhbHQ" not in str(caught.value)


@pytest.mark.parametrize(
    "parameters", ["m=7,t=1,p=1", "m=8,t=0,p=1", "m=8,t=1,p=0", "m=8,t=1,p=2", "m=1048577,t=1,p=1"]
)
def test_parameters_that_nobody_can_compute(parameters: str) -> None:
    with pytest.raises(SettingsError, match=f"users.anna.password: is a hash with {parameters}; expected") as caught:
        check_hash("users.anna.password", CHEAP.replace("m=8,t=1,p=1", parameters))
    assert "c2FsdHNhbHQ" not in str(caught.value)


async def test_two_at_a_time() -> None:
    release = threading.Event()

    def slow(text: str, password: bytes) -> bool:
        release.wait(10)
        return text == password.decode()

    hashers = Hashers(slow)
    answers: asyncio.Queue[bool | Exception] = asyncio.Queue()
    assert hashers.idle
    hashers.submit("a", b"a", answers.put_nowait)
    assert hashers.idle
    hashers.submit("a", b"b", answers.put_nowait)
    assert not hashers.idle
    release.set()
    assert {await answers.get(), await answers.get()} == {True, False}
    assert hashers.idle
    hashers.submit("a", b"a", answers.put_nowait)
    hashers.close()
    assert await answers.get() is True  # submitted before it was closed


async def test_what_goes_wrong_is_the_answer() -> None:
    def broken(text: str, password: bytes) -> bool:
        raise MemoryError

    hashers = Hashers(broken)
    answers: asyncio.Queue[bool | Exception] = asyncio.Queue()
    hashers.submit("a", b"a", answers.put_nowait)
    assert isinstance(await answers.get(), MemoryError)
    hashers.close()


def test_a_closed_loop_ends_its_threads() -> None:
    begun, release = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def slow(text: str, password: bytes) -> bool:
        threads.append(threading.current_thread())
        begun.set()
        release.wait(10)
        return True

    async def submit() -> None:
        Hashers(slow).submit("a", b"a", lambda answer: None)

    asyncio.run(submit())
    assert begun.wait(10)
    release.set()
    threads[0].join(10)
    assert not threads[0].is_alive()
