"""The obfuscated stream: uniformly random bytes from the first one on, whose lengths say little. Sans-IO.

For each direction, in the spirit of Shadowsocks 2022 (SIP022):

    salt (32 random bytes), records
    record = sealed(payload's length, padding's length: 2 + 2 bytes), sealed(payload, padding)

`sealed` is ChaCha20-Poly1305 (RFC 8439): 16 bytes more; its key comes from the shared key and the salt by HKDF-SHA256
(RFC 5869), its nonce counts. The client's first record has its time as payload, so that the bridge has to remember
salts for a while only; the bridge's key comes from both salts, so that its bytes fit to this stream and to no other.

It is not forward secret and needs not be: TLS to the origin is inside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SALT_BYTES = 32
PAYLOAD_LIMIT_BYTES = 16384
"""The most that one record carries."""
GREETING_PADDING_BYTES = 900
"""The most padding behind the client's time: more than a ClientHello has (SIP022's MaxPaddingLength)."""
RECORD_PADDING_BYTES = 255
"""The most padding behind any other payload."""
WINDOW_SECONDS = 300.0
"""How far the two clocks may differ, and so how long salts are remembered."""

_TAG_BYTES, _KEY_BYTES, _NONCE_BYTES, _TIME_BYTES = 16, 32, 12, 8
_LENGTHS_BYTES = 4 + _TAG_BYTES
_CLIENT, _BRIDGE = b"sidedoor obfuscation 1 client", b"sidedoor obfuscation 1 bridge"


class ObfuscationError(Exception):
    """The bytes are not what the other side, with the same key, would send now. To be answered by silence."""


class Randomness(Protocol):
    """What is asked of a source: `random.SystemRandom` in life, a seeded `random.Random` in tests."""

    def randbytes(self, n: int, /) -> bytes: ...

    def randint(self, a: int, b: int, /) -> int:
        """From `a` to `b`, both included."""
        ...


class SaltMemory:
    """Tells a stream that is new from one that is played again. Only salts of streams with the right key come here.

    `started_at`: when this memory begins to know, in the same seconds since the epoch as all others here; what was
    sent before may have been seen by somebody whose memory is gone, and is refused.
    """

    def __init__(self, started_at: float, window_seconds: float = WINDOW_SECONDS) -> None:
        self._started_at = started_at
        self._window_seconds = window_seconds
        self._seen: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def admit(self, salt: bytes, sent_at: float, now: float) -> bool:
        """Whether the stream is new. Its salt is remembered until its time alone betrays it."""
        if sent_at < self._started_at or abs(now - sent_at) > self._window_seconds:
            return False
        while self._seen and next(iter(self._seen.values())) < now - 2 * self._window_seconds:
            del self._seen[next(iter(self._seen))]
        if salt in self._seen:
            return False
        self._seen[salt] = now
        return True


class ClientCodec:
    """The client's end. `now`: seconds since the epoch; `key`: 32 bytes."""

    def __init__(self, key: bytes, random: Randomness, now: float) -> None:
        self._key = key
        self._salt = random.randbytes(SALT_BYTES)
        sealer = _Sealer(_derive(key, self._salt, _CLIENT), random)
        greeting = int(now * 1_000_000).to_bytes(_TIME_BYTES, "big")
        self._first = self._salt + sealer.record(greeting, random.randint(0, GREETING_PADDING_BYTES))
        self._sealer = sealer
        self._arrived = bytearray()
        self._opener: _Opener | None = None

    def seal(self, data: bytes) -> bytes:
        """What goes out for `data`; the first time with all that comes before."""
        first, self._first = self._first, b""
        return first + self._sealer.seal(data)

    def open(self, data: bytes) -> bytes:
        """What `data` carries, as far as it has come. Raises ObfuscationError."""
        if self._opener is None:
            self._arrived += data
            if len(self._arrived) < SALT_BYTES:
                return b""
            salts = self._salt + bytes(self._arrived[:SALT_BYTES])
            self._opener = _Opener(_derive(self._key, salts, _BRIDGE))
            data = bytes(self._arrived[SALT_BYTES:])
        return b"".join(self._opener.open(data))


class BridgeCodec:
    """The bridge's end. `admit` gets the salt and the time that the client sent it at (`SaltMemory.admit`)."""

    def __init__(self, key: bytes, random: Randomness, admit: Callable[[bytes, float], bool]) -> None:
        self._key = key
        self._random = random
        self._admit = admit
        self._arrived = bytearray()
        self._salt = b""
        self._opener: _Opener | None = None
        self._sealer: _Sealer | None = None
        self.admitted = False

    def open(self, data: bytes) -> bytes:
        """What `data` carries, as far as it has come; `admitted` once the client is known. Raises ObfuscationError."""
        if self._opener is None:
            self._arrived += data
            if len(self._arrived) < SALT_BYTES:
                return b""
            self._salt = bytes(self._arrived[:SALT_BYTES])
            self._opener = _Opener(_derive(self._key, self._salt, _CLIENT))
            data = bytes(self._arrived[SALT_BYTES:])
        payloads = self._opener.open(data)
        if payloads and not self.admitted:
            self._greet(payloads.pop(0))
        return b"".join(payloads)

    def seal(self, data: bytes) -> bytes:
        """What goes out for `data`. Not before a client is admitted: a bridge has nothing to say to anybody else."""
        assert self.admitted
        if self._sealer is None:
            salt = self._random.randbytes(SALT_BYTES)
            self._sealer = _Sealer(_derive(self._key, self._salt + salt, _BRIDGE), self._random)
            return salt + self._sealer.seal(data)
        return self._sealer.seal(data)

    def _greet(self, payload: bytes) -> None:
        if len(payload) != _TIME_BYTES or not self._admit(self._salt, int.from_bytes(payload, "big") / 1e6):
            raise ObfuscationError("a stream of another time, or one played again")
        self.admitted = True


def _derive(key: bytes, salt: bytes, purpose: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(HKDF(SHA256(), _KEY_BYTES, salt, purpose).derive(key))


class _Sealer:
    def __init__(self, cipher: ChaCha20Poly1305, random: Randomness) -> None:
        self._cipher = cipher
        self._random = random
        self._count = 0

    def seal(self, data: bytes) -> bytes:
        return b"".join(
            self.record(data[at : at + PAYLOAD_LIMIT_BYTES], self._random.randint(0, RECORD_PADDING_BYTES))
            for at in range(0, len(data), PAYLOAD_LIMIT_BYTES)
        )

    def record(self, payload: bytes, padding: int) -> bytes:
        lengths = len(payload).to_bytes(2, "big") + padding.to_bytes(2, "big")
        return self._encrypt(lengths) + self._encrypt(payload + bytes(padding))

    def _encrypt(self, data: bytes) -> bytes:
        nonce = self._count.to_bytes(_NONCE_BYTES, "little")
        self._count += 1
        return self._cipher.encrypt(nonce, data, None)


class _Opener:
    def __init__(self, cipher: ChaCha20Poly1305) -> None:
        self._cipher = cipher
        self._count = 0
        self._arrived = bytearray()
        self._lengths: tuple[int, int] | None = None

    def open(self, data: bytes) -> list[bytes]:
        """The payloads of the records that are complete. Raises ObfuscationError."""
        self._arrived += data
        payloads: list[bytes] = []
        while True:
            if self._lengths is None:
                if len(self._arrived) < _LENGTHS_BYTES:
                    return payloads
                lengths = self._decrypt(_LENGTHS_BYTES)
                self._lengths = int.from_bytes(lengths[:2], "big"), int.from_bytes(lengths[2:], "big")
            payload, padding = self._lengths
            if len(self._arrived) < payload + padding + _TAG_BYTES:
                return payloads
            payloads.append(self._decrypt(payload + padding + _TAG_BYTES)[:payload])
            self._lengths = None

    def _decrypt(self, length: int) -> bytes:
        nonce = self._count.to_bytes(_NONCE_BYTES, "little")
        self._count += 1
        sealed = bytes(self._arrived[:length])
        del self._arrived[:length]
        try:
            return self._cipher.decrypt(nonce, sealed, None)
        except InvalidTag:
            raise ObfuscationError("not sealed with this key, or changed on the way") from None
