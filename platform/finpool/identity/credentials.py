"""Credentials: their format, their check, and their digest.

A credential is `prefix_`, 30 base62 characters (178 bits), and 6 base62 characters of CRC32 over all before them. The
checksum rejects a mistyped credential before any look-up, and lets scanners find leaked ones. The database holds only
an HMAC-SHA256 digest; at 178 random bits a slow password hash would add no security.
"""

import hashlib
import hmac
import re
import secrets
import zlib

from finpool.kernel.actor import Audience

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_LENGTH = 30
_CHECKSUM_LENGTH = 6
_HINT_LENGTH = 4

FINGERPRINTS_MAX = 100_000
"""Credentials whose digests a process remembers; each takes about 200 bytes."""

_PREFIXES = {Audience.TENANT: "fpk_", Audience.OPERATOR: "fpo_", Audience.REGULATOR: "fpr_"}
_PATTERNS = {
    audience: re.compile(rf"{prefix}[0-9A-Za-z]{{{_RANDOM_LENGTH + _CHECKSUM_LENGTH}}}")
    for audience, prefix in _PREFIXES.items()
}


def new_credential(audience: Audience) -> str:
    """Return a new credential for one door; show it once and never store it."""
    body = _PREFIXES[audience] + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))
    return body + _checksum(body)


def well_formed(credential: str, audience: Audience) -> bool:
    """Tell whether the credential has the prefix, length, alphabet and checksum of this door."""
    if _PATTERNS[audience].fullmatch(credential) is None:
        return False
    return _checksum(credential[:-_CHECKSUM_LENGTH]) == credential[-_CHECKSUM_LENGTH:]


def digest(credential: str, pepper: bytes) -> bytes:
    """Return the digest that the database stores: 32 bytes of HMAC-SHA256 under the pepper."""
    return hmac.digest(pepper, credential.encode(), "sha256")


class Fingerprints:
    """The digests of credentials that were found before: the next request of each saves checksum and HMAC.

    They are kept under a keyed BLAKE2b hash whose key is this process's own, so memory holds no credential. Unknown
    credentials are not kept, so no flood of them drives out a known one.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(64)
        self._digests: dict[bytes, bytes] = {}

    def digest(self, credential: str) -> bytes | None:
        """Return the digest of a credential that was found before, else None."""
        return self._digests.get(self._of(credential))

    def remember(self, credential: str, digest: bytes) -> None:
        """Keep the digest of a credential that was found; at the bound all are forgotten."""
        if len(self._digests) >= FINGERPRINTS_MAX:
            self._digests.clear()
        self._digests[self._of(credential)] = digest

    def _of(self, credential: str) -> bytes:
        return hashlib.blake2b(credential.encode(), key=self._key, digest_size=32).digest()


def hint(credential: str) -> str:
    """Return the last four characters, by which people recognise their keys."""
    return credential[-_HINT_LENGTH:]


def _checksum(body: str) -> str:
    value = zlib.crc32(body.encode())
    characters = []
    for _ in range(_CHECKSUM_LENGTH):
        value, index = divmod(value, len(_ALPHABET))
        characters.append(_ALPHABET[index])
    return "".join(reversed(characters))
