from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from client.list_keeper import ListKeeper
from client.proxy_list import ListSource, sign
from client.settings import ProxyListSettings, Socks5Route
from sidedoor.settings import SettingsError

KEY, OTHER_KEY = SigningKey(bytes(range(32))), SigningKey(bytes(32))
NOW = datetime(2027, 1, 1, tzinfo=UTC)
MONTH = timedelta(days=30)


def document(version: int, key: SigningKey = KEY, expires: datetime = NOW + MONTH, part: int = 0) -> bytes:
    routes = tuple(Socks5Route(name=f"proxy{number}", host="198.51.100.1") for number in range(version + 8))
    return sign(ListSource(version=version, expires=expires, routes=routes, parts=2), key)[part]


class Keepers:
    """Keepers of one file, one life after the other, and what they reported."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "proxies.signed"
        self.events: list[tuple[str, dict[str, Any]]] = []

    def emit(self, event: str, /, **fields: Any) -> None:
        self.events.append((event, fields))

    def start(self, now: datetime = NOW, most_proxies: int | None = None) -> ListKeeper:
        public_key = bytes(KEY.verify_key).hex()
        settings = ProxyListSettings(file=str(self.file), public_key=public_key, most_proxies=most_proxies)
        return ListKeeper(settings, "alice", self.emit, now)

    @property
    def reasons(self) -> list[str]:
        return [fields["reason"] for event, fields in self.events if event == "proxy_list_refused"]


@pytest.fixture
def keepers(tmp_path: Path) -> Keepers:
    return Keepers(tmp_path)


def test_a_newer_list_is_used_and_still_known_in_the_next_life(keepers: Keepers) -> None:
    keeper = keepers.start()
    assert (keeper.version, keeper.routes) == (0, ())
    assert keeper.offered(document(3), NOW)
    assert keeper.version == 3
    assert keeper.offered(document(4), NOW)
    again = keepers.start()
    assert (again.version, again.routes) == (4, keeper.routes)
    assert keepers.file.stat().st_mode & 0o777 == 0o600
    assert [event for event, _ in keepers.events] == ["proxy_list_updated"] * 2


@pytest.mark.parametrize(
    ("offer", "reason"),
    [
        (b"nonsense", "malformed"),
        (document(4, OTHER_KEY), "bad_signature"),
        (document(4).replace(b"198.51.100.1", b"203.0.113.66"), "bad_signature"),
        (document(2), "older"),
        (document(4, expires=NOW), "expired"),
    ],
    ids=["malformed", "another's", "tampered", "older", "expired"],
)
def test_what_is_refused_changes_nothing(keepers: Keepers, offer: bytes, reason: str) -> None:
    keeper = keepers.start()
    keeper.offered(document(3), NOW)
    before = keepers.file.read_bytes()
    assert not keeper.offered(offer, NOW)
    assert keepers.reasons == [reason]
    assert keeper.version == 3
    assert keepers.file.read_bytes() == before


def test_an_older_list_is_refused_after_a_restart_too(keepers: Keepers) -> None:
    keepers.start().offered(document(3), NOW)
    assert not keepers.start().offered(document(2), NOW)
    assert keepers.reasons == ["older"]


def test_nothing_newer_and_another_part_of_the_same_version_are_no_news(keepers: Keepers) -> None:
    keeper = keepers.start()
    keeper.offered(document(3), NOW)
    routes = keeper.routes
    assert not keeper.offered(b"", NOW)
    assert not keeper.offered(document(3, part=1), NOW)
    assert keeper.routes == routes
    assert not keepers.reasons


def test_a_kept_list_that_has_expired_is_used_until_there_is_a_newer_one(keepers: Keepers) -> None:
    keepers.start().offered(document(3), NOW)
    later = NOW + 2 * MONTH
    keeper = keepers.start(later)
    assert keeper.version == 3
    assert keepers.events[-1][0] == "proxy_list_expired"
    assert keeper.offered(document(4, expires=later + MONTH), later)


def test_a_file_that_is_no_list_is_reported_and_replaced(keepers: Keepers) -> None:
    keepers.file.write_bytes(document(3, OTHER_KEY))
    keeper = keepers.start()
    assert keeper.version == 0
    assert keepers.reasons == ["bad_signature"]
    assert keeper.offered(document(1), NOW)
    assert keepers.start().version == 1


def test_a_file_that_cannot_be_read_or_written_is_reported(keepers: Keepers) -> None:
    keepers.file.mkdir()
    keeper = keepers.start()
    assert keepers.reasons == ["unreadable"]
    assert keeper.offered(document(3), NOW)
    assert keepers.events[-1] == ("proxy_list_unwritable", {"file": str(keepers.file), "detail": "Is a directory"})


def test_a_client_uses_its_own_few_of_the_proxies(keepers: Keepers) -> None:
    keeper = keepers.start(most_proxies=2)
    keeper.offered(document(3), NOW)
    assert len(keeper.routes) == 2
    assert keepers.events[0][1]["routes"] == [route.name for route in keeper.routes]
    assert keepers.start(most_proxies=2).routes == keeper.routes


def test_a_file_in_a_folder_that_is_not_there_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"proxy_list .*/no/proxies.signed: there is no folder .*/no; make it"):
        Keepers(tmp_path / "no").start()
