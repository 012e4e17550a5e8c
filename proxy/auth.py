"""Who may use the proxy: user and password (RFC 1929), with a back-off for those who guess.

Plain passwords are compared in constant time and at once. Argon2 hashes are computed on threads, once per user and
password: what was right is remembered as a keyed digest. Sources take turns, and one that failed too often is refused
without a hash, so that guessing costs the others little. An unknown user costs as much time as a wrong password.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from proxy import log
from proxy.backoff import Backoff, place_of
from proxy.hashing import HASH_MARK, Hashers, check_hash, decoy, hash_password, matches
from proxy.policy.networks import parse_address
from proxy.settings import User
from proxy.turns import Turns

__all__ = ["Users", "hash_password", "log_failure"]

WAITING_MOST_PER_SOURCE = 64
WAITING_MOST = 256
"""Log-ins that wait for their hash; at some 30 ms each they are through before their handshake's deadline."""
SHOWN_BYTES = 255
"""Of a user, in the log."""
KNOWN_MOST = 65536
"""Pairs of a source and a user who logged in from it."""


@dataclass(frozen=True, slots=True)
class _Login:
    """A log-in that waits for its hash."""

    user: bytes
    password: bytes = field(repr=False)
    source: str
    digest: bytes = field(repr=False)
    done: Callable[[bool], object]


class Users:
    """The users of the settings. Raises SettingsError for what begins like a hash and is none.

    `now` is the clock of `backoff`; who replaces the users of a running server hands the old `backoff` on.
    """

    def __init__(
        self,
        accounts: Mapping[str, User],
        *,
        backoff: Backoff | None = None,
        now: Callable[[], float] = time.monotonic,
        matches: Callable[[str, bytes], bool] = matches,
    ) -> None:
        self.backoff = Backoff() if backoff is None else backoff
        self.failed = 0
        """Log-ins that were looked at and were wrong."""
        self.blocked = 0
        """Log-ins refused unseen: in a pause of their source, or where too many waited for their hash."""
        self._now = now
        self._secret = secrets.token_bytes(32)
        self._nobody = secrets.token_bytes(32)
        self._number = len(accounts)
        self._right: dict[bytes, bytes] = {}  # user -> digest of the password; where it is hashed, once it is known
        self._hashes: dict[bytes, str] = {}
        for name, account in accounts.items():
            user = name.encode()
            if account.password.startswith(HASH_MARK):
                check_hash(f"users.{name}.password", account.password)
                self._hashes[user] = account.password
            else:
                self._right[user] = self._digest(user, account.password.encode())
        self._decoy = decoy(next(iter(self._hashes.values()))) if self._hashes else ""
        self._known: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        self._turns: Turns[_Login] = Turns(each=WAITING_MOST_PER_SOURCE, most=WAITING_MOST)
        self._hashers = Hashers(matches)
        self._closed = False

    def __bool__(self) -> bool:
        return self._number > 0

    def verify(self, user: bytes, password: bytes, source: str, done: Callable[[bool], object]) -> bool | None:
        """Whether `password` is the one of `user`, both as they came off the wire (UTF-8 in the settings).

        None: that takes a hash; `done` is called with the answer, later, in the running loop. `source` is the client's
        address without port. In a pause of its source a log-in is refused, right or wrong, unless the same user has
        logged in from there with the same password before: neighbours behind one address go on.
        """
        digest = self._digest(user, password)
        if self._is_right(user, digest):
            return self._accept(source, digest)
        if self._pauses(source):
            return self._block()
        if not self._hashes:
            return self._fail(source)
        # Wrong plain passwords take a hash, too, where there are hashes: else haste would tell whose are plain.
        login = _Login(user, password, source, digest, done)
        if self._closed or not self._turns.add(place_of(source), login):
            return self._block()
        self._begin()
        return None

    def close(self) -> None:
        """Refuse who waits for a hash, now and later; those whose hash is being computed get their answer."""
        self._closed = True
        waiting = self._turns.clear()
        self._hashers.close()
        for login in waiting:
            login.done(self._block())

    def _begin(self) -> None:
        """Give free threads what is next; what needs no hash any more is answered."""
        answered = []
        while self._hashers.idle and (login := self._turns.next()) is not None:
            if self._is_right(login.user, login.digest):  # the same log-in was in front of it
                answered.append((login, self._accept(login.source, login.digest)))
            elif self._pauses(login.source):
                answered.append((login, self._block()))
            else:
                self._submit(login)
                continue
            self._turns.finished(place_of(login.source))
        for login, answer in answered:
            login.done(answer)

    def _submit(self, login: _Login) -> None:
        def settled(answer: bool | Exception) -> None:
            self._turns.finished(place_of(login.source))
            if answer is True and login.user in self._hashes:
                self._right[login.user] = login.digest
                right = self._accept(login.source, login.digest)
            elif isinstance(answer, Exception):
                log.warning("hash_failed", error=str(answer) or type(answer).__name__)
                right = self._block()
            else:
                right = self._fail(login.source)
            self._begin()
            login.done(right)

        self._hashers.submit(self._hashes.get(login.user, self._decoy), login.password, settled)

    def _digest(self, user: bytes, password: bytes) -> bytes:
        return hmac.digest(self._secret, b"%d:%b%b" % (len(user), user, password), "sha256")

    def _is_right(self, user: bytes, digest: bytes) -> bool:
        return hmac.compare_digest(self._right.get(user, self._nobody), digest)

    def _pauses(self, source: str) -> bool:
        return self.backoff.refused_until(source, self._now()) > 0

    def _accept(self, source: str, digest: bytes) -> bool:
        """Accept a right password, but not in a pause if it is new to this source: it may have been guessed.

        Only what is new to the source clears its failures: else who has an account could try those of others for
        ever, with a log-in of his own after each five.
        """
        known = place_of(source), digest
        if known in self._known:
            self._known.move_to_end(known)
            return True
        if self._pauses(source):
            return self._block()
        self.backoff.succeeded(source)
        self._known[known] = None
        if len(self._known) > KNOWN_MOST:
            self._known.popitem(last=False)
        return True

    def _fail(self, source: str) -> bool:
        self.failed += 1
        self.backoff.failed(source, self._now())
        return False

    def _block(self) -> bool:
        self.blocked += 1
        return False


def log_failure(source: str, client: str, user: bytes, reason: str) -> None:
    """Log a failed log-in, for people and for proxy/deploy/fail2ban. The password is none of its business.

    `source` comes first, before anything that the client chose; the log's JSON escapes the rest.
    """
    try:
        source = str(parse_address(source))  # as a firewall needs it: no zone, no mapped IPv4
    except ValueError:
        pass
    # HTTP has no limit for users but the head's; none that is longer than SOCKS5's can be right.
    shown = user[:SHOWN_BYTES].decode(errors="backslashreplace")
    log.warning("login_failed", source=source, client=client, user=shown, reason=reason)
