"""Who may use the proxy: user and password (RFC 1929), compared in constant time."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest


class Users:
    """The users of the settings, as digests. An unknown user costs as much time as a wrong password."""

    def __init__(self, users: Mapping[str, str]) -> None:
        self._digests = {user.encode(): sha256(password.encode()).digest() for user, password in users.items()}
        self._nobody = secrets.token_bytes(32)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def verify(self, user: bytes, password: bytes) -> bool:
        """Whether `password` is the one of `user`, both as they came off the wire (UTF-8 in the settings)."""
        return compare_digest(self._digests.get(user, self._nobody), sha256(password).digest())
